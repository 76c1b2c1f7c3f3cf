//! The client API on the wire: operations, answers and failures, both ways.
//!
//! Decoding checks every limit, so that an [`Operation`](crate::types::Operation) that comes out of here may be
//! executed as it is; the errors name the bad field. What a message does not carry reads as nothing: the answer to a put
//! comes back with `existed` false, the answer to a touch with version zero.

mod answers;
mod conflicts;
mod nodes;
mod operations;
mod session;
mod watch;

use super::{v1, ConvertError};

pub use answers::{
    count_response, decode_entry, decode_failure, decode_get_response, decode_page, decode_put_response, decode_result,
    delete_response, encode_entry, encode_failure, encode_result, get_response, nearest_code, put_response, scan_page,
    touch_response, AnswerKind,
};
pub use conflicts::{conflicts_page, decode_conflicts, decode_conflicts_page, encode_conflicts};
pub use nodes::{decode_nodes, encode_nodes};
pub use operations::{
    check_name, decode_batch_delete, decode_batch_get, decode_batch_put, decode_count, decode_delete, decode_get,
    decode_operation, decode_put, decode_range, decode_scan, decode_touch, encode_body, encode_operation, encode_range,
    encode_session_body, keyspace_of, wants_seen, ScanPlan,
};
pub use session::{
    decode_catch_up, decode_caught_up, decode_mark, decode_seen, encode_catch_up, encode_caught_up, encode_mark,
    encode_seen, CatchUp,
};

pub use watch::{decode_position, decode_watch, decode_watch_page, encode_position, encode_watch, encode_watch_page};

fn bad(field: &'static str, why: impl Into<String>) -> ConvertError {
    ConvertError { field, why: why.into() }
}

#[cfg(test)]
mod tests;
