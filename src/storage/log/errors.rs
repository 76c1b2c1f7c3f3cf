//! What goes wrong with the log, told with the file and the place.

use std::{io, path::Path};

use crate::error::{Error, ErrorCode};

/// Damage at a place of a file.
pub(super) fn corrupt(path: &Path, offset: u64, why: &str) -> Error {
    Error::new(ErrorCode::Corrupt, format!("log: {} is damaged at byte {offset}: {why}", path.display()))
}

/// A call of the disk that failed.
pub(super) fn failed(operation: &str, path: &Path, error: io::Error) -> Error {
    let code = match error.kind() {
        kind if is_full(kind) => ErrorCode::DiskFull,
        io::ErrorKind::WouldBlock => ErrorCode::DataDirInUse,
        _ => ErrorCode::DiskFailed,
    };
    Error::new(code, format!("log: cannot {operation} {}: {error}", path.display()))
}

/// Whether more space would help.
pub(super) fn is_full(kind: io::ErrorKind) -> bool {
    matches!(kind, io::ErrorKind::StorageFull | io::ErrorKind::QuotaExceeded)
}
