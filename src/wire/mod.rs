//! The wire (L1): generated protobuf messages and the conversions between them and the words of `types`.

mod convert;
pub mod kv;

pub use convert::ConvertError;

/// Generated from `proto/kvstore/v1`.
#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("kvstore.v1");
}
