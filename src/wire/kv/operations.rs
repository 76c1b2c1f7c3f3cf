//! Operations, into messages and out of them.

use std::num::NonZeroU64;

use bytes::Bytes;

use super::{bad, v1};
use crate::{
    error::{Error, ErrorCode, Result},
    limits,
    types::{Command, CommandKind, Key, KeyRange, Operation, PageRequest, Value},
};

/// A scan as it was asked for by the unary call, whose limit spans its pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPlan {
    /// The first page; `keys_max` is never above the limit.
    pub page: PageRequest,
    /// Leave the values of the entries empty.
    pub keys_only: bool,
    /// Entries in all; `None`: no limit.
    pub limit: Option<NonZeroU64>,
}

/// The operation of a pipeline message; its id is the caller's business.
///
/// # Errors
/// Those of the `decode_` function of its kind, and `MALFORMED_MESSAGE` when there is none.
pub fn decode_operation(operation: v1::Operation) -> Result<Operation> {
    use v1::operation::Operation as Body;
    match operation.operation {
        Some(Body::Get(request)) => decode_get(request),
        Some(Body::Put(request)) => decode_put(request),
        Some(Body::Delete(request)) => decode_delete(request),
        Some(Body::Touch(request)) => decode_touch(request),
        Some(Body::Count(request)) => decode_count(request),
        Some(Body::Scan(request)) => decode_scan(request).map(|ScanPlan { page, keys_only, .. }| {
            // In a pipeline one page is the whole answer, so the limit is that of the page.
            Operation::Scan { page, keys_only }
        }),
        Some(Body::Ping(v1::PingRequest {})) => Ok(Operation::Ping),
        Some(Body::CatchUp(_)) => Err(bad("operation.catch_up", "asks for no data").into()),
        None => Err(bad("operation", "is absent or of a kind this version does not know").into()),
    }
}

/// The operation of a unary get.
///
/// # Errors
/// `KEY_EMPTY`, `KEY_TOO_LONG`.
pub fn decode_get(request: v1::GetRequest) -> Result<Operation> {
    Ok(Operation::Get { key: Key::new(&request.key)?, metadata_only: request.metadata_only })
}

/// The operation of a unary put.
///
/// # Errors
/// `KEY_EMPTY`, `KEY_TOO_LONG`, `VALUE_TOO_LARGE`, `BAD_TTL`.
pub fn decode_put(request: v1::PutRequest) -> Result<Operation> {
    request.ttl_ms.map_or(Ok(()), limits::check_ttl_ms)?;
    let (key, value) = (Key::new(&request.key)?, Value::new(&request.value)?);
    Ok(write(key, CommandKind::Put { value, flags: request.flags, ttl_ms: request.ttl_ms }))
}

/// The operation of a unary delete.
///
/// # Errors
/// `KEY_EMPTY`, `KEY_TOO_LONG`.
pub fn decode_delete(request: v1::DeleteRequest) -> Result<Operation> {
    Ok(write(Key::new(&request.key)?, CommandKind::Delete))
}

/// The operation of a unary touch.
///
/// # Errors
/// `KEY_EMPTY`, `KEY_TOO_LONG`, `BAD_TTL`.
pub fn decode_touch(request: v1::TouchRequest) -> Result<Operation> {
    request.ttl_ms.map_or(Ok(()), limits::check_ttl_ms)?;
    Ok(write(Key::new(&request.key)?, CommandKind::Touch { ttl_ms: request.ttl_ms }))
}

/// The operation of a unary count.
///
/// # Errors
/// `KEY_TOO_LONG` for a bound that no key reaches.
pub fn decode_count(request: v1::CountRequest) -> Result<Operation> {
    Ok(Operation::Count(decode_range(request.range)?))
}

/// The first page of a scan, and what the rest of it needs.
///
/// # Errors
/// `KEY_TOO_LONG` for a bound that no key reaches, `INVALID_ARGUMENT` for a page size over
/// [`limits::PAGE_KEYS_MAX`].
pub fn decode_scan(request: v1::ScanRequest) -> Result<ScanPlan> {
    let page_size = usize::try_from(request.page_size).unwrap_or(usize::MAX);
    if page_size > limits::PAGE_KEYS_MAX {
        let text = format!("page_size: {page_size} entries, the limit is {}", limits::PAGE_KEYS_MAX);
        return Err(Error::new(ErrorCode::InvalidArgument, text));
    }
    let page_size = if page_size == 0 { limits::PAGE_KEYS_MAX } else { page_size };
    let limit = NonZeroU64::new(request.limit);
    let keys_max = limit.map_or(page_size, |limit| usize::try_from(limit.get()).unwrap_or(usize::MAX).min(page_size));
    let range = decode_range(request.range)?;
    let page = PageRequest { range, reverse: request.reverse, keys_max, bytes_target: limits::PAGE_BYTES_TARGET };
    Ok(ScanPlan { page, keys_only: request.keys_only, limit })
}

/// The gets of a batch, in order.
///
/// # Errors
/// `BATCH_TOO_LARGE`, and those of [`decode_get`]; the text names the place in the batch.
pub fn decode_batch_get(request: v1::BatchGetRequest) -> Result<Vec<Operation>> {
    limits::check_batch(request.keys.len(), request.keys.iter().map(Bytes::len).sum())?;
    let get = |key: &Bytes| Ok(Operation::Get { key: Key::new(key)?, metadata_only: false });
    request.keys.iter().enumerate().map(|(place, key)| get(key).map_err(at("keys", place))).collect()
}

/// The puts of a batch, in order.
///
/// # Errors
/// `BATCH_TOO_LARGE`, `INVALID_ARGUMENT` for an item of another keyspace, and those of [`decode_put`]; the text names the place in the batch.
pub fn decode_batch_put(request: v1::BatchPutRequest) -> Result<Vec<Operation>> {
    let bytes = request.items.iter().map(|item| item.key.len() + item.value.len()).sum();
    limits::check_batch(request.items.len(), bytes)?;
    let is_elsewhere = |item: &v1::PutRequest| !item.keyspace.is_empty() && item.keyspace != request.keyspace;
    if request.items.iter().any(is_elsewhere) {
        let text = "items.keyspace: must be empty, or that of the batch";
        return Err(Error::new(ErrorCode::InvalidArgument, text));
    }
    request.items.into_iter().enumerate().map(|(place, item)| decode_put(item).map_err(at("items", place))).collect()
}

/// The deletes of a batch, in order.
///
/// # Errors
/// `BATCH_TOO_LARGE`, and those of [`decode_delete`]; the text names the place in the batch.
pub fn decode_batch_delete(request: v1::BatchDeleteRequest) -> Result<Vec<Operation>> {
    limits::check_batch(request.keys.len(), request.keys.iter().map(Bytes::len).sum())?;
    let delete = |key: &Bytes| Ok(write(Key::new(key)?, CommandKind::Delete));
    request.keys.iter().enumerate().map(|(place, key)| delete(key).map_err(at("keys", place))).collect()
}

/// A range of keys; absent: all.
///
/// # Errors
/// `KEY_TOO_LONG` for a bound that no key reaches.
pub fn decode_range(range: Option<v1::Range>) -> Result<KeyRange> {
    let v1::Range { prefix, start, end } = range.unwrap_or_default();
    check_bound("range.prefix", &prefix)?;
    start.as_ref().map_or(Ok(()), |start| check_bound("range.start", start))?;
    end.as_ref().map_or(Ok(()), |end| check_bound("range.end", end))?;
    Ok(KeyRange { prefix: prefix.into(), start: start.map(Into::into), end: end.map(Into::into) })
}

pub(super) fn check_bound(field: &str, bound: &[u8]) -> Result<()> {
    if bound.len() > limits::RANGE_BOUND_BYTES_MAX {
        let text = format!("{field}: {} bytes, the limit is {}", bound.len(), limits::RANGE_BOUND_BYTES_MAX);
        return Err(Error::new(ErrorCode::KeyTooLong, text));
    }
    Ok(())
}

/// Checks the name of a keyspace; an empty one means `default`.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_name(keyspace: &str) -> Result<()> {
    match keyspace {
        "" => Ok(()),
        name => limits::check_keyspace_name(name),
    }
}

/// The keyspace that an operation of a pipeline is about; empty: `default`, or none.
pub fn keyspace_of(operation: &v1::Operation) -> &str {
    use v1::operation::Operation as Body;
    match &operation.operation {
        Some(Body::Get(request)) => &request.keyspace,
        Some(Body::Put(request)) => &request.keyspace,
        Some(Body::Delete(request)) => &request.keyspace,
        Some(Body::Touch(request)) => &request.keyspace,
        Some(Body::Count(request)) => &request.keyspace,
        Some(Body::Scan(request)) => &request.keyspace,
        Some(Body::Ping(_) | Body::CatchUp(_)) | None => "",
    }
}

fn write(key: Key, kind: CommandKind) -> Operation {
    Operation::Write(Command { key, kind })
}

/// Says at which place of a repeated field an error is.
fn at(field: &'static str, place: usize) -> impl Fn(Error) -> Error {
    move |error| Error::new(error.code(), format!("{field}[{place}].{}", error.message()))
}

/// The pipeline message of an operation in a keyspace; an empty name means `default`.
pub fn encode_operation(id: u64, keyspace: &str, operation: &Operation) -> v1::Operation {
    v1::Operation { id, operation: Some(encode_body(keyspace, operation)) }
}

/// Whether the answer to a read of many keys is to say what it has seen.
pub fn wants_seen(operation: &v1::Operation) -> bool {
    use v1::operation::Operation as Body;
    match &operation.operation {
        Some(Body::Count(request)) => request.with_seen,
        Some(Body::Scan(request)) => request.with_seen,
        _ => false,
    }
}

/// The part of a pipeline message that says what to do, for a session: the answer is to say what it has seen.
pub fn encode_session_body(keyspace: &str, operation: &Operation) -> v1::operation::Operation {
    use v1::operation::Operation as Body;
    let mut body = encode_body(keyspace, operation);
    match &mut body {
        Body::Count(request) => request.with_seen = true,
        Body::Scan(request) => request.with_seen = true,
        _ => {}
    }
    body
}

/// The part of a pipeline message that says what to do. A scan's `bytes_target` is the server's choice and not sent.
pub fn encode_body(keyspace: &str, operation: &Operation) -> v1::operation::Operation {
    use v1::operation::Operation as Body;
    let keyspace = || keyspace.to_string();
    match operation {
        Operation::Get { key, metadata_only } => {
            Body::Get(v1::GetRequest { keyspace: keyspace(), key: key.to_bytes(), metadata_only: *metadata_only })
        }
        Operation::Write(Command { key, kind }) => match kind {
            CommandKind::Put { value, flags, ttl_ms } => Body::Put(v1::PutRequest {
                keyspace: keyspace(),
                key: key.to_bytes(),
                value: value.to_bytes(),
                flags: *flags,
                ttl_ms: *ttl_ms,
            }),
            CommandKind::Delete => Body::Delete(v1::DeleteRequest { keyspace: keyspace(), key: key.to_bytes() }),
            CommandKind::Touch { ttl_ms } => {
                Body::Touch(v1::TouchRequest { keyspace: keyspace(), key: key.to_bytes(), ttl_ms: *ttl_ms })
            }
        },
        Operation::Count(range) => {
            Body::Count(v1::CountRequest { keyspace: keyspace(), range: Some(encode_range(range)), with_seen: false })
        }
        Operation::Scan { page, keys_only } => Body::Scan(v1::ScanRequest {
            keyspace: keyspace(),
            range: Some(encode_range(&page.range)),
            reverse: page.reverse,
            keys_only: *keys_only,
            limit: 0,
            page_size: u32::try_from(page.keys_max).unwrap_or(u32::MAX),
            with_seen: false,
        }),
        Operation::Ping => Body::Ping(v1::PingRequest {}),
    }
}

/// The message of a range.
pub fn encode_range(range: &KeyRange) -> v1::Range {
    v1::Range {
        prefix: range.prefix.clone().into(),
        start: range.start.clone().map(Into::into),
        end: range.end.clone().map(Into::into),
    }
}
