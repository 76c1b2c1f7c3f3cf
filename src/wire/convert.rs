//! What all conversions share: the error that names the bad field, and the checks of single fields.

use std::num::NonZeroU64;

use crate::{
    error::{Error, ErrorCode},
    limits::{CLUSTER_NAME_BYTES_MAX, PARTITIONS, SEQUENCE_MAX, TIMESTAMP_MS_MAX},
    types::{Address, NodeId, PartitionId, Sequence, Timestamp},
};

/// A message that breaks a rule of the protocol.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{field}: {why}")]
pub struct ConvertError {
    /// The path of the field, such as `changes.key`.
    pub field: &'static str,
    /// The rule, with the value that breaks it.
    pub why: String,
}

impl From<ConvertError> for Error {
    fn from(error: ConvertError) -> Error {
        Error::new(ErrorCode::MalformedMessage, error.to_string())
    }
}

/// Shorthand for results of this module.
pub(super) type Converted<T> = Result<T, ConvertError>;

/// A [`ConvertError`] about `field`.
pub(super) fn bad(field: &'static str, why: impl Into<String>) -> ConvertError {
    ConvertError { field, why: why.into() }
}

/// Names the field in which a checked constructor found an error.
pub(super) fn within<T>(field: &'static str, result: Result<T, Error>) -> Converted<T> {
    result.map_err(|error| bad(field, error.message()))
}

/// A field that must be there.
pub(super) fn required<T>(field: &'static str, value: Option<T>) -> Converted<T> {
    value.ok_or_else(|| bad(field, "must be present"))
}

/// A list within its bound.
pub(super) fn check_count(field: &'static str, count: usize, count_max: usize) -> Converted<()> {
    if count > count_max {
        return Err(bad(field, format!("{count} entries, the limit is {count_max}")));
    }
    Ok(())
}

/// The id of a node; 0 is none.
pub(super) fn to_node(field: &'static str, id: u64) -> Converted<NodeId> {
    to_optional_node(id).ok_or_else(|| bad(field, "must not be 0"))
}

/// The id of a node that may be unknown, which is 0 on the wire.
pub(super) fn to_optional_node(id: u64) -> Option<NodeId> {
    (id != 0).then_some(NodeId(id))
}

/// A partition that exists.
pub(super) fn to_partition(field: &'static str, partition: u32) -> Converted<PartitionId> {
    let id = u16::try_from(partition).ok().filter(|&id| id < PARTITIONS);
    id.map(PartitionId).ok_or_else(|| bad(field, format!("{partition}, must be below {PARTITIONS}")))
}

/// A sequence below the end, so that counting up from it cannot overflow.
pub(super) fn to_sequence(field: &'static str, sequence: u64) -> Converted<Sequence> {
    if sequence > SEQUENCE_MAX {
        return Err(bad(field, format!("{sequence}, the limit is {SEQUENCE_MAX}")));
    }
    Ok(Sequence(sequence))
}

/// A timestamp that a real clock can show: one at the end of time would stop every clock that observes it.
pub(super) fn to_timestamp(field: &'static str, timestamp: u64) -> Converted<Timestamp> {
    let timestamp = Timestamp(timestamp);
    if timestamp.millis() > TIMESTAMP_MS_MAX {
        return Err(bad(field, format!("{} ms, the limit is {TIMESTAMP_MS_MAX} ms", timestamp.millis())));
    }
    Ok(timestamp)
}

/// An expiry; absent means never, 0 nothing.
pub(super) fn to_expiry(field: &'static str, expires_ms: Option<u64>) -> Converted<Option<NonZeroU64>> {
    let non_zero = |ms| NonZeroU64::new(ms).ok_or_else(|| bad(field, "must not be 0"));
    expires_ms.map(non_zero).transpose()
}

/// A `host:port`.
pub(super) fn to_address(field: &'static str, text: &str) -> Converted<Address> {
    within(field, text.parse())
}

/// The name of a cluster within its bound.
pub(super) fn to_cluster(field: &'static str, name: String) -> Converted<String> {
    if name.len() > CLUSTER_NAME_BYTES_MAX {
        return Err(bad(field, format!("{} bytes, the limit is {CLUSTER_NAME_BYTES_MAX}", name.len())));
    }
    Ok(name)
}
