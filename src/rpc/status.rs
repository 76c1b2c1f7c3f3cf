//! [`Error`] <-> `tonic::Status`. The kind and code travel as metadata, as `kv.proto` promises; the gRPC code is for
//! strangers, and for what never reached our code.

use std::error::Error as _;

use tonic::{metadata::MetadataValue, Code, Status, TimeoutExpired};

use crate::{
    error::{Error, ErrorCode, ErrorKind, FailedGuard},
    wire::kv::nearest_code,
};

const KIND: &str = "kvstore-error-kind";
const CODE: &str = "kvstore-error-code";
const MAYBE_APPLIED: &str = "kvstore-maybe-applied";
const GUARD: &str = "kvstore-guard";
const FOUND: &str = "kvstore-found";

/// The status that carries an error.
pub fn to_status(error: &Error) -> Status {
    let mut status = Status::new(grpc_code(error.code()), error.message());
    let metadata = status.metadata_mut();
    metadata.insert(KIND, MetadataValue::from_static(error.kind().as_str()));
    metadata.insert(CODE, MetadataValue::from_static(error.code().as_str()));
    if error.is_maybe_applied() {
        metadata.insert(MAYBE_APPLIED, MetadataValue::from_static("true"));
    }
    if let Some(FailedGuard { index, found }) = error.failed_guard() {
        metadata.insert(GUARD, MetadataValue::from(index));
        metadata.insert(FOUND, MetadataValue::from(found));
    }
    status
}

impl From<Error> for Status {
    fn from(error: Error) -> Status {
        to_status(&error)
    }
}

fn grpc_code(code: ErrorCode) -> Code {
    match code {
        ErrorCode::WrongCluster => Code::FailedPrecondition,
        ErrorCode::Overloaded => Code::ResourceExhausted,
        ErrorCode::TokenRefused | ErrorCode::CertificateRefused => Code::Unauthenticated,
        code => match code.kind() {
            ErrorKind::InvalidArgument => Code::InvalidArgument,
            ErrorKind::Unsupported => Code::Unimplemented,
            ErrorKind::Conflict => Code::Aborted,
            // To a stranger a node that is being stopped is one to try later, or to replace by another.
            ErrorKind::Unavailable | ErrorKind::Closed => Code::Unavailable,
            ErrorKind::Timeout => Code::DeadlineExceeded,
            ErrorKind::Denied => Code::PermissionDenied,
            ErrorKind::Corrupt => Code::DataLoss,
            ErrorKind::Internal => Code::Internal,
        },
    }
}

/// The error that a status carries. One that our code never saw is told from where it came: the connection, a limit
/// of the server, a deadline.
pub fn from_status(status: &Status) -> Error {
    let text = |name| status.metadata().get(name).and_then(|value| value.to_str().ok());
    let code = match text(KIND).and_then(ErrorKind::from_name) {
        Some(kind) => nearest_code(text(CODE).unwrap_or_default(), kind),
        None => code_of_stranger(status),
    };
    let mut error = Error::new(code, text_of(status));
    let number = |name| text(name).and_then(|text| text.parse::<u64>().ok());
    if let (Some(index), Some(found)) = (number(GUARD), number(FOUND)) {
        error = error.at_guard(FailedGuard { index, found });
    }
    if text(MAYBE_APPLIED) == Some("true") {
        return error.maybe_applied();
    }
    error
}

/// Whether our code of a node made this status: then it says itself whether a write may have been applied.
pub(super) fn is_from_a_node(status: &Status) -> bool {
    status.metadata().contains_key(KIND)
}

/// What a status says. One of the connection says no more than that; why is told by what it was made of.
fn text_of(status: &Status) -> String {
    let mut deepest = status.source();
    while let Some(source) = deepest.and_then(std::error::Error::source) {
        deepest = Some(source);
    }
    match deepest.map(ToString::to_string) {
        Some(why) if why != status.message() => format!("{}: {why}", status.message()),
        Some(_) | None => status.message().to_string(),
    }
}

fn code_of_stranger(status: &Status) -> ErrorCode {
    // A status with a source was made on this side, out of a deadline of its own or an error of the connection.
    if let Some(source) = status.source() {
        return if is_timeout(source) { ErrorCode::DeadlineExceeded } else { ErrorCode::ConnectionLost };
    }
    match status.code() {
        // The server says Cancelled when its own deadline has passed.
        Code::Cancelled | Code::DeadlineExceeded => ErrorCode::DeadlineExceeded,
        Code::InvalidArgument => ErrorCode::InvalidArgument,
        Code::OutOfRange => ErrorCode::MalformedMessage,
        Code::Unimplemented => ErrorCode::Unsupported,
        Code::PermissionDenied | Code::Unauthenticated => ErrorCode::Denied,
        Code::ResourceExhausted => ErrorCode::Overloaded,
        Code::FailedPrecondition => ErrorCode::WrongCluster,
        Code::Unavailable | Code::Aborted => ErrorCode::ConnectionLost,
        Code::DataLoss => ErrorCode::Corrupt,
        Code::Ok | Code::Unknown | Code::NotFound | Code::AlreadyExists | Code::Internal => ErrorCode::Internal,
    }
}

fn is_timeout(error: &(dyn std::error::Error + 'static)) -> bool {
    error.is::<TimeoutExpired>() || error.source().is_some_and(is_timeout)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_error_survives_the_way_over_a_status() {
        for &code in ErrorCode::ALL {
            let error = Error::new(code, "why: \"x\" is not \u{e9}");
            assert_eq!(from_status(&to_status(&error)), error);
            let unknown = error.maybe_applied();
            assert_eq!(from_status(&to_status(&unknown)), unknown);
        }
        let guarded = Error::new(ErrorCode::VersionConflict, "why").at_guard(FailedGuard { index: 3, found: u64::MAX });
        assert_eq!(from_status(&to_status(&guarded)), guarded);
    }

    #[test]
    fn a_code_of_a_later_version_keeps_its_kind() {
        let mut status = to_status(&Error::new(ErrorCode::KeyEmpty, "key"));
        status.metadata_mut().insert(CODE, MetadataValue::from_static("FROM_THE_FUTURE"));
        assert_eq!(from_status(&status).code(), ErrorCode::InvalidArgument);
    }

    #[test]
    fn a_status_that_our_code_never_saw_is_told_by_its_grpc_code() {
        let cases = [
            (Status::cancelled("Timeout expired"), ErrorCode::DeadlineExceeded),
            (Status::resource_exhausted("busy"), ErrorCode::Overloaded),
            (Status::unavailable("gone"), ErrorCode::ConnectionLost),
            (Status::from_error(Box::new(std::io::Error::other("reset"))), ErrorCode::ConnectionLost),
            (Status::from_error(Box::new(TimeoutExpired(()))), ErrorCode::DeadlineExceeded),
            (Status::unknown("?"), ErrorCode::Internal),
        ];
        for (status, code) in cases {
            assert_eq!(from_status(&status).code(), code, "{status:?}");
        }
        let reset = Status::from_error(Box::new(std::io::Error::other("reset")));
        assert_eq!(from_status(&reset).message(), "reset");
    }
}
