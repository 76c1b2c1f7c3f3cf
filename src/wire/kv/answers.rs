//! Answers and failures, into messages and out of them.

use std::num::NonZeroU64;

use super::{
    bad,
    session::{decode_mark, decode_seen, encode_mark, encode_seen},
    v1,
};
use crate::{
    error::{Error, ErrorCode, ErrorKind, Result},
    limits,
    types::{Answer, Command, CommandKind, Entry, EntryPage, Operation, Seen, Timestamp, Written},
    wire::ConvertError,
};

/// Which message answers an operation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum AnswerKind {
    /// By `GetResponse`.
    Get,
    /// By `PutResponse`.
    Put,
    /// By `DeleteResponse`.
    Delete,
    /// By `TouchResponse`.
    Touch,
    /// By `CountResponse`.
    Count,
    /// By `ScanPage`.
    Scan,
    /// By `PingResponse`.
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

/// The pipeline message that answers operation `id`, of the kind `AnswerKind::of` gave for it.
pub fn encode_result(id: u64, kind: AnswerKind, result: Result<(Answer, Seen)>) -> v1::OperationResult {
    use v1::operation_result::Result as Body;
    let body = result.and_then(|(answer, seen)| {
        Ok(match kind {
            AnswerKind::Get => Body::Get(get_response(answer, &seen)?),
            AnswerKind::Put => Body::Put(put_response(answer, &seen)?),
            AnswerKind::Delete => Body::Delete(delete_response(answer, &seen)?),
            AnswerKind::Touch => Body::Touch(touch_response(answer, &seen)?),
            AnswerKind::Count => Body::Count(count_response(answer, seen)?),
            AnswerKind::Scan => Body::Scan(scan_page(answer, seen)?),
            AnswerKind::Ping => Body::Ping(v1::PingResponse {}),
        })
    });
    let body = body.unwrap_or_else(|error| Body::Failure(encode_failure(&error)));
    v1::OperationResult { id, result: Some(body) }
}

/// The answer to a get.
///
/// # Errors
/// `INTERNAL` for the answer to something else than a get.
pub fn get_response(answer: Answer, seen: &Seen) -> Result<v1::GetResponse> {
    match answer {
        Answer::Entry(entry) => Ok(v1::GetResponse { entry: entry.map(encode_entry), mark: encode_mark(seen) }),
        other => Err(mismatch("get", &other)),
    }
}

/// The answer to a put.
///
/// # Errors
/// `INTERNAL` for the answer to something else than a write.
pub fn put_response(answer: Answer, seen: &Seen) -> Result<v1::PutResponse> {
    let Written { version, .. } = written("put", answer)?;
    Ok(v1::PutResponse { version: version.0, mark: encode_mark(seen) })
}

/// The answer to a delete.
///
/// # Errors
/// `INTERNAL` for the answer to something else than a write.
pub fn delete_response(answer: Answer, seen: &Seen) -> Result<v1::DeleteResponse> {
    let Written { version, existed } = written("delete", answer)?;
    Ok(v1::DeleteResponse { existed, version: version.0, mark: encode_mark(seen) })
}

/// The answer to a touch.
///
/// # Errors
/// `INTERNAL` for the answer to something else than a write.
pub fn touch_response(answer: Answer, seen: &Seen) -> Result<v1::TouchResponse> {
    let Written { existed, .. } = written("touch", answer)?;
    Ok(v1::TouchResponse { existed, mark: encode_mark(seen) })
}

/// The answer to a count.
///
/// # Errors
/// `INTERNAL` for the answer to something else than a count.
pub fn count_response(answer: Answer, seen: Seen) -> Result<v1::CountResponse> {
    match answer {
        Answer::Count(count) => Ok(v1::CountResponse { count, seen: encode_seen(seen) }),
        other => Err(mismatch("count", &other)),
    }
}

/// One page of the answer to a scan; its bytes are shared, not copied.
///
/// # Errors
/// `INTERNAL` for the answer to something else than a scan.
pub fn scan_page(answer: Answer, seen: Seen) -> Result<v1::ScanPage> {
    match answer {
        Answer::Page(EntryPage { entries, more }) => {
            let entries = entries.into_iter().map(encode_entry).collect();
            Ok(v1::ScanPage { entries, more, seen: encode_seen(seen) })
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

/// What a pipeline message answers: the outcome of the operation it names, and what it has shown.
///
/// # Errors
/// The operation's own failure, or `MALFORMED_MESSAGE`.
pub fn decode_result(result: v1::OperationResult) -> Result<(Answer, Seen)> {
    use v1::operation_result::Result as Body;
    match result.result {
        Some(Body::Get(mut response)) => {
            let seen = decode_mark(response.mark.take())?;
            Ok((decode_get_response(response)?, seen))
        }
        Some(Body::Put(response)) => Ok((decode_put_response(&response), decode_mark(response.mark)?)),
        Some(Body::Delete(response)) => {
            Ok((answer_written(response.version, response.existed), decode_mark(response.mark)?))
        }
        Some(Body::Touch(response)) => Ok((answer_written(0, response.existed), decode_mark(response.mark)?)),
        Some(Body::Count(response)) => Ok((Answer::Count(response.count), decode_seen(response.seen)?)),
        Some(Body::Scan(mut page)) => {
            let seen = decode_seen(page.seen.take())?;
            Ok((Answer::Page(decode_page(page)?), seen))
        }
        Some(Body::Ping(v1::PingResponse {})) => Ok((Answer::Pong, Seen::Nothing)),
        Some(Body::CatchUp(_)) => Err(bad("result", "is of a kind that was not asked for").into()),
        Some(Body::Failure(failure)) => Err(decode_failure(failure)),
        None => Err(bad("result", "is absent or of a kind this version does not know").into()),
    }
}

/// The answer to a get.
///
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

/// One page of the answer to a scan.
///
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
