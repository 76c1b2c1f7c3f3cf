//! Errors as Python exceptions. The classes are Python's (`kvstore.errors`): the stable ABI cannot subclass builtin
//! exceptions before 3.12.

use pyo3::{prelude::*, types::PyBytes};

use super::{convert, imports::Import};
use crate::error::{Error, ErrorCode};

const MODULE: &str = "kvstore.errors";

static FROM_CORE: Import = Import::new(MODULE, "from_core");
static FROM_GUARD: Import = Import::new(MODULE, "from_guard");
static CODEC_ERROR: Import = Import::new(MODULE, "CodecError");
static KEY_NOT_FOUND: Import = Import::new(MODULE, "key_not_found");

/// For [`super::imports`].
pub(super) static IMPORTS: [&Import; 4] = [&FROM_CORE, &FROM_GUARD, &CODEC_ERROR, &KEY_NOT_FOUND];

impl From<Error> for PyErr {
    fn from(error: Error) -> PyErr {
        Python::attach(|py| exception(py, &error))
    }
}

/// The exception for an error.
pub(super) fn exception(py: Python<'_>, error: &Error) -> PyErr {
    let fields = (
        error.kind().as_str(),
        error.code().as_str(),
        error.to_string(),
        error.is_retryable(),
        error.is_maybe_applied(),
        error.node(),
    );
    let made = FROM_CORE.make(py, fields);
    made.map_or_else(|failed| failed, PyErr::from_value)
}

/// The exception for a transaction whose guard does not hold: what the guard is, its key or lock, and what was found there.
pub(super) fn guard(py: Python<'_>, error: &Error, guard: &str, name: &[u8], found: u64) -> PyErr {
    let make = || {
        let fields = (guard, error.code().as_str(), convert::key_text(py, name)?, found, error.node());
        FROM_GUARD.make(py, fields)
    };
    make().map_or_else(|failed: PyErr| failed, PyErr::from_value)
}

/// A `CodecError`; `payload` is what could not be decoded.
pub(super) fn codec(py: Python<'_>, message: &str, payload: Option<&[u8]>) -> PyErr {
    let make = || {
        let error = CODEC_ERROR.make(py, (message,))?;
        error.setattr("payload", payload.map(|payload| PyBytes::new(py, payload)))?;
        Ok(error)
    };
    make().map_or_else(|failed: PyErr| failed, PyErr::from_value)
}

/// An `InvalidArgumentError` that names the argument first.
pub(super) fn invalid(message: impl Into<String>) -> PyErr {
    Error::new(ErrorCode::InvalidArgument, message).into()
}

/// An `UnsupportedError`; nothing was changed.
pub(super) fn unsupported(message: impl Into<String>) -> PyErr {
    Error::new(ErrorCode::Unsupported, message).into()
}

/// A refused time to live.
pub(super) fn bad_ttl(message: impl Into<String>) -> PyErr {
    Error::new(ErrorCode::BadTtl, message).into()
}

/// A `KeyNotFoundError`.
pub(super) fn key_not_found(py: Python<'_>, key: &[u8]) -> PyErr {
    let made = convert::key_text(py, key).and_then(|key| KEY_NOT_FOUND.make(py, (key,)));
    made.map_or_else(|failed| failed, PyErr::from_value)
}
