//! The client API on the wire: operations, answers and failures, both ways.
//!
//! Decoding checks every limit, so that an [`Operation`] that comes out of here may be executed as it is; the errors
//! name the bad field. What a message does not carry reads as nothing: the answer to a put comes back with `existed`
//! false, the answer to a touch with version zero.

use std::num::NonZeroU64;

use bytes::Bytes;

use super::{v1, ConvertError};
use crate::{
    error::{Error, ErrorCode, ErrorKind, Result},
    limits,
    types::{
        Answer, Command, CommandKind, Entry, EntryPage, Key, KeyRange, Operation, PageRequest, Timestamp, Value,
        Written,
    },
};

/// The only keyspace there is; an empty name means it too.
pub const DEFAULT_KEYSPACE: &str = "default";

/// Which message answers an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    Get,
    Put,
    Delete,
    Touch,
    Count,
    Scan,
    Ping,
}

impl AnswerKind {
    /// The kind of answer that `operation` gets.
    pub fn of(operation: &Operation) -> AnswerKind {
        match operation {
            Operation::Get { .. } => AnswerKind::Get,
            Operation::Write(Command { kind: CommandKind::Put { .. }, .. }) => AnswerKind::Put,
            Operation::Write(Command { kind: CommandKind::Delete, .. }) => AnswerKind::Delete,
            Operation::Write(Command { kind: CommandKind::Touch { .. }, .. }) => AnswerKind::Touch,
            Operation::Count(_) => AnswerKind::Count,
            Operation::Scan { .. } => AnswerKind::Scan,
            Operation::Ping => AnswerKind::Ping,
        }
    }
}

/// A scan as it was asked for by the unary call, whose limit spans its pages.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScanPlan {
    /// The first page; `keys_max` is never above the limit.
    pub page: PageRequest,
    pub keys_only: bool,
    /// Entries in all; `None`: no limit.
    pub limit: Option<NonZeroU64>,
}

// Operations in.

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
        None => Err(bad("operation", "is absent or of a kind this version does not know").into()),
    }
}

/// # Errors
/// `UNKNOWN_KEYSPACE`, `KEY_EMPTY`, `KEY_TOO_LONG`.
pub fn decode_get(request: v1::GetRequest) -> Result<Operation> {
    check_keyspace(&request.keyspace)?;
    Ok(Operation::Get { key: Key::new(&request.key)?, metadata_only: request.metadata_only })
}

/// # Errors
/// `UNKNOWN_KEYSPACE`, `KEY_EMPTY`, `KEY_TOO_LONG`, `VALUE_TOO_LARGE`, `BAD_TTL`.
pub fn decode_put(request: v1::PutRequest) -> Result<Operation> {
    check_keyspace(&request.keyspace)?;
    request.ttl_ms.map_or(Ok(()), limits::check_ttl_ms)?;
    let (key, value) = (Key::new(&request.key)?, Value::new(&request.value)?);
    Ok(write(key, CommandKind::Put { value, flags: request.flags, ttl_ms: request.ttl_ms }))
}

/// # Errors
/// `UNKNOWN_KEYSPACE`, `KEY_EMPTY`, `KEY_TOO_LONG`.
pub fn decode_delete(request: v1::DeleteRequest) -> Result<Operation> {
    check_keyspace(&request.keyspace)?;
    Ok(write(Key::new(&request.key)?, CommandKind::Delete))
}

/// # Errors
/// `UNKNOWN_KEYSPACE`, `KEY_EMPTY`, `KEY_TOO_LONG`, `BAD_TTL`.
pub fn decode_touch(request: v1::TouchRequest) -> Result<Operation> {
    check_keyspace(&request.keyspace)?;
    request.ttl_ms.map_or(Ok(()), limits::check_ttl_ms)?;
    Ok(write(Key::new(&request.key)?, CommandKind::Touch { ttl_ms: request.ttl_ms }))
}

/// # Errors
/// `UNKNOWN_KEYSPACE`, `KEY_TOO_LONG` for a bound that no key reaches.
pub fn decode_count(request: v1::CountRequest) -> Result<Operation> {
    check_keyspace(&request.keyspace)?;
    Ok(Operation::Count(decode_range(request.range)?))
}

/// # Errors
/// `UNKNOWN_KEYSPACE`, `KEY_TOO_LONG` for a bound that no key reaches, `INVALID_ARGUMENT` for a page size over
/// [`limits::PAGE_KEYS_MAX`].
pub fn decode_scan(request: v1::ScanRequest) -> Result<ScanPlan> {
    check_keyspace(&request.keyspace)?;
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
    check_keyspace(&request.keyspace)?;
    limits::check_batch(request.keys.len(), request.keys.iter().map(Bytes::len).sum())?;
    let get = |key: &Bytes| Ok(Operation::Get { key: Key::new(key)?, metadata_only: false });
    request.keys.iter().enumerate().map(|(place, key)| get(key).map_err(at("keys", place))).collect()
}

/// The puts of a batch, in order.
///
/// # Errors
/// `BATCH_TOO_LARGE`, and those of [`decode_put`]; the text names the place in the batch.
pub fn decode_batch_put(request: v1::BatchPutRequest) -> Result<Vec<Operation>> {
    check_keyspace(&request.keyspace)?;
    let bytes = request.items.iter().map(|item| item.key.len() + item.value.len()).sum();
    limits::check_batch(request.items.len(), bytes)?;
    request.items.into_iter().enumerate().map(|(place, item)| decode_put(item).map_err(at("items", place))).collect()
}

/// The deletes of a batch, in order.
///
/// # Errors
/// `BATCH_TOO_LARGE`, and those of [`decode_delete`]; the text names the place in the batch.
pub fn decode_batch_delete(request: v1::BatchDeleteRequest) -> Result<Vec<Operation>> {
    check_keyspace(&request.keyspace)?;
    limits::check_batch(request.keys.len(), request.keys.iter().map(Bytes::len).sum())?;
    let delete = |key: &Bytes| Ok(write(Key::new(key)?, CommandKind::Delete));
    request.keys.iter().enumerate().map(|(place, key)| delete(key).map_err(at("keys", place))).collect()
}

fn decode_range(range: Option<v1::Range>) -> Result<KeyRange> {
    let v1::Range { prefix, start, end } = range.unwrap_or_default();
    check_bound("range.prefix", &prefix)?;
    start.as_ref().map_or(Ok(()), |start| check_bound("range.start", start))?;
    end.as_ref().map_or(Ok(()), |end| check_bound("range.end", end))?;
    Ok(KeyRange { prefix: prefix.into(), start: start.map(Into::into), end: end.map(Into::into) })
}

fn check_bound(field: &str, bound: &[u8]) -> Result<()> {
    if bound.len() > limits::RANGE_BOUND_BYTES_MAX {
        let text = format!("{field}: {} bytes, the limit is {}", bound.len(), limits::RANGE_BOUND_BYTES_MAX);
        return Err(Error::new(ErrorCode::KeyTooLong, text));
    }
    Ok(())
}

fn check_keyspace(keyspace: &str) -> Result<()> {
    if keyspace.is_empty() || keyspace == DEFAULT_KEYSPACE {
        return Ok(());
    }
    // A hostile name must not come back as a megabyte of error text.
    let shown: String = keyspace.chars().take(64).collect();
    Err(Error::new(ErrorCode::UnknownKeyspace, format!("keyspace: there is no {shown:?}, only {DEFAULT_KEYSPACE:?}")))
}

fn write(key: Key, kind: CommandKind) -> Operation {
    Operation::Write(Command { key, kind })
}

/// Says at which place of a repeated field an error is.
fn at(field: &'static str, place: usize) -> impl Fn(Error) -> Error {
    move |error| Error::new(error.code(), format!("{field}[{place}].{}", error.message()))
}

fn bad(field: &'static str, why: impl Into<String>) -> ConvertError {
    ConvertError { field, why: why.into() }
}

// Operations out.

/// The pipeline message of an operation. A scan's `bytes_target` is the server's choice and not sent.
pub fn encode_operation(id: u64, operation: &Operation) -> v1::Operation {
    use v1::operation::Operation as Body;
    let keyspace = String::new;
    let body = match operation {
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
            Body::Count(v1::CountRequest { keyspace: keyspace(), range: Some(encode_range(range)) })
        }
        Operation::Scan { page, keys_only } => Body::Scan(v1::ScanRequest {
            keyspace: keyspace(),
            range: Some(encode_range(&page.range)),
            reverse: page.reverse,
            keys_only: *keys_only,
            limit: 0,
            page_size: u32::try_from(page.keys_max).unwrap_or(u32::MAX),
        }),
        Operation::Ping => Body::Ping(v1::PingRequest {}),
    };
    v1::Operation { id, operation: Some(body) }
}

fn encode_range(range: &KeyRange) -> v1::Range {
    v1::Range {
        prefix: range.prefix.clone().into(),
        start: range.start.clone().map(Into::into),
        end: range.end.clone().map(Into::into),
    }
}

// Answers out.

/// The pipeline message that answers operation `id`, of the kind `AnswerKind::of` gave for it.
pub fn encode_result(id: u64, kind: AnswerKind, result: Result<Answer>) -> v1::OperationResult {
    use v1::operation_result::Result as Body;
    let body = result.and_then(|answer| {
        Ok(match kind {
            AnswerKind::Get => Body::Get(get_response(answer)?),
            AnswerKind::Put => Body::Put(put_response(answer)?),
            AnswerKind::Delete => Body::Delete(delete_response(answer)?),
            AnswerKind::Touch => Body::Touch(touch_response(answer)?),
            AnswerKind::Count => Body::Count(count_response(answer)?),
            AnswerKind::Scan => Body::Scan(scan_page(answer)?),
            AnswerKind::Ping => Body::Ping(v1::PingResponse {}),
        })
    });
    let body = body.unwrap_or_else(|error| Body::Failure(encode_failure(&error)));
    v1::OperationResult { id, result: Some(body) }
}

/// # Errors
/// `INTERNAL` for the answer to something else than a get.
pub fn get_response(answer: Answer) -> Result<v1::GetResponse> {
    match answer {
        Answer::Entry(entry) => Ok(v1::GetResponse { entry: entry.map(encode_entry) }),
        other => Err(mismatch("get", &other)),
    }
}

/// # Errors
/// `INTERNAL` for the answer to something else than a write.
pub fn put_response(answer: Answer) -> Result<v1::PutResponse> {
    written("put", answer).map(|Written { version, .. }| v1::PutResponse { version: version.0 })
}

/// # Errors
/// `INTERNAL` for the answer to something else than a write.
pub fn delete_response(answer: Answer) -> Result<v1::DeleteResponse> {
    written("delete", answer).map(|Written { version, existed }| v1::DeleteResponse { existed, version: version.0 })
}

/// # Errors
/// `INTERNAL` for the answer to something else than a write.
pub fn touch_response(answer: Answer) -> Result<v1::TouchResponse> {
    written("touch", answer).map(|Written { existed, .. }| v1::TouchResponse { existed })
}

/// # Errors
/// `INTERNAL` for the answer to something else than a count.
pub fn count_response(answer: Answer) -> Result<v1::CountResponse> {
    match answer {
        Answer::Count(count) => Ok(v1::CountResponse { count }),
        other => Err(mismatch("count", &other)),
    }
}

/// # Errors
/// `INTERNAL` for the answer to something else than a scan.
pub fn scan_page(answer: Answer) -> Result<v1::ScanPage> {
    match answer {
        Answer::Page(EntryPage { entries, more }) => {
            Ok(v1::ScanPage { entries: entries.into_iter().map(encode_entry).collect(), more })
        }
        other => Err(mismatch("scan", &other)),
    }
}

fn written(operation: &str, answer: Answer) -> Result<Written> {
    match answer {
        Answer::Written(written) => Ok(written),
        other => Err(mismatch(operation, &other)),
    }
}

fn mismatch(operation: &str, answer: &Answer) -> Error {
    let found = match answer {
        Answer::Entry(_) => "an entry",
        Answer::Written(_) => "a write",
        Answer::Count(_) => "a count",
        Answer::Page(_) => "a page",
        Answer::Pong => "a pong",
    };
    Error::new(ErrorCode::Internal, format!("{operation} was answered by {found}"))
}

/// An entry for a message; its bytes are shared, not copied.
pub fn encode_entry(entry: Entry) -> v1::Entry {
    v1::Entry {
        key: entry.key,
        value: entry.value,
        flags: entry.flags,
        version: entry.version.0,
        modified_ms: entry.modified_ms,
        expires_ms: entry.expires_ms.map(NonZeroU64::get),
    }
}

/// An error for a pipeline message.
pub fn encode_failure(error: &Error) -> v1::Failure {
    let kind = match error.kind() {
        ErrorKind::InvalidArgument => v1::ErrorKind::InvalidArgument,
        ErrorKind::Unsupported => v1::ErrorKind::Unsupported,
        ErrorKind::Conflict => v1::ErrorKind::Conflict,
        ErrorKind::Unavailable => v1::ErrorKind::Unavailable,
        ErrorKind::Timeout => v1::ErrorKind::Timeout,
        ErrorKind::Denied => v1::ErrorKind::Denied,
        ErrorKind::Closed => v1::ErrorKind::Closed,
        ErrorKind::Corrupt => v1::ErrorKind::Corrupt,
        ErrorKind::Internal => v1::ErrorKind::Internal,
    };
    v1::Failure {
        kind: kind.into(),
        code: error.code().as_str().to_string(),
        message: error.message().to_string(),
        maybe_applied: error.is_maybe_applied(),
    }
}

// Answers in.

/// What a pipeline message answers: the outcome of the operation it names.
///
/// # Errors
/// The operation's own failure, or `MALFORMED_MESSAGE`.
pub fn decode_result(result: v1::OperationResult) -> Result<Answer> {
    use v1::operation_result::Result as Body;
    match result.result {
        Some(Body::Get(response)) => decode_get_response(response),
        Some(Body::Put(response)) => Ok(decode_put_response(&response)),
        Some(Body::Delete(response)) => Ok(answer_written(response.version, response.existed)),
        Some(Body::Touch(response)) => Ok(answer_written(0, response.existed)),
        Some(Body::Count(response)) => Ok(Answer::Count(response.count)),
        Some(Body::Scan(page)) => decode_page(page).map(Answer::Page),
        Some(Body::Ping(v1::PingResponse {})) => Ok(Answer::Pong),
        Some(Body::Failure(failure)) => Err(decode_failure(failure)),
        None => Err(bad("result", "is absent or of a kind this version does not know").into()),
    }
}

/// # Errors
/// `MALFORMED_MESSAGE`.
pub fn decode_get_response(response: v1::GetResponse) -> Result<Answer> {
    Ok(Answer::Entry(response.entry.map(decode_entry).transpose()?))
}

/// The answer to a put.
pub fn decode_put_response(response: &v1::PutResponse) -> Answer {
    answer_written(response.version, false)
}

fn answer_written(version: u64, existed: bool) -> Answer {
    Answer::Written(Written { version: Timestamp(version), existed })
}

/// # Errors
/// `MALFORMED_MESSAGE`.
pub fn decode_page(page: v1::ScanPage) -> Result<EntryPage> {
    let entries = page.entries.into_iter().map(decode_entry).collect::<Result<_, _>>()?;
    Ok(EntryPage { entries, more: page.more })
}

/// An entry of an answer; its bytes share those of the message.
///
/// # Errors
/// Names the field that breaks a rule.
pub fn decode_entry(entry: v1::Entry) -> Result<Entry, ConvertError> {
    limits::check_key(&entry.key).map_err(|error| bad("entry.key", error.message()))?;
    limits::check_value(&entry.value).map_err(|error| bad("entry.value", error.message()))?;
    let nonzero = |ms| NonZeroU64::new(ms).ok_or_else(|| bad("entry.expires_ms", "must not be 0"));
    Ok(Entry {
        key: entry.key,
        value: entry.value,
        flags: entry.flags,
        version: Timestamp(entry.version),
        modified_ms: entry.modified_ms,
        expires_ms: entry.expires_ms.map(nonzero).transpose()?,
    })
}

/// The error that a pipeline message carries. One whose code this version does not know keeps its kind.
pub fn decode_failure(failure: v1::Failure) -> Error {
    let kind = match failure.kind() {
        v1::ErrorKind::InvalidArgument => ErrorKind::InvalidArgument,
        v1::ErrorKind::Unsupported => ErrorKind::Unsupported,
        v1::ErrorKind::Conflict => ErrorKind::Conflict,
        v1::ErrorKind::Unavailable => ErrorKind::Unavailable,
        v1::ErrorKind::Timeout => ErrorKind::Timeout,
        v1::ErrorKind::Denied => ErrorKind::Denied,
        v1::ErrorKind::Closed => ErrorKind::Closed,
        v1::ErrorKind::Corrupt => ErrorKind::Corrupt,
        v1::ErrorKind::Internal | v1::ErrorKind::Unspecified => ErrorKind::Internal,
    };
    let error = Error::new(nearest_code(&failure.code, kind), failure.message);
    if failure.maybe_applied {
        return error.maybe_applied();
    }
    error
}

/// The code with this name, or, from a node of another version, the most general code of the kind it says.
pub fn nearest_code(name: &str, kind: ErrorKind) -> ErrorCode {
    ErrorCode::from_name(name).filter(|code| code.kind() == kind).unwrap_or(match kind {
        ErrorKind::InvalidArgument => ErrorCode::InvalidArgument,
        ErrorKind::Unsupported => ErrorCode::Unsupported,
        ErrorKind::Conflict => ErrorCode::Conflict,
        ErrorKind::Unavailable => ErrorCode::Unreachable,
        ErrorKind::Timeout => ErrorCode::DeadlineExceeded,
        ErrorKind::Denied => ErrorCode::Denied,
        ErrorKind::Closed => ErrorCode::NotRunning,
        ErrorKind::Corrupt => ErrorCode::Corrupt,
        ErrorKind::Internal => ErrorCode::Internal,
    })
}

#[cfg(test)]
mod tests;
