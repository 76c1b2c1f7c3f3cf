//! The wire (L1): generated protobuf messages and the conversions between them and the words of `types`. Each
//! conversion goes both ways; decoding checks every bound and names the bad field.

pub mod admin;
pub mod change;
mod convert;
pub mod kv;
mod peer;

pub use convert::ConvertError;

/// Generated from `proto/kvstore/v1`.
#[allow(clippy::all, clippy::pedantic, missing_docs, reason = "generated code")]
pub mod v1 {
    tonic::include_proto!("kvstore.v1");
}
