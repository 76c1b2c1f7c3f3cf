//! Keys, numbers, durations and read levels as Python gives them.

use std::{ops::Deref, time::Duration};

use pyo3::{
    exceptions::{PyOverflowError, PyTypeError, PyUnicodeEncodeError},
    prelude::*,
    types::{PyBytes, PyDelta, PyFloat, PyInt, PyString},
};

use super::{
    call::call_method,
    errors,
    imports::{Import, Name},
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits,
    replication::strong::{Freshness, Revision},
    types::{Key, ReadLevel},
};

static MOMENT: Import = Import::new("kvstore._options", "moment");
static TOTAL_SECONDS: Name = Name::new("total_seconds");

/// For [`super::imports`].
pub(super) static IMPORTS: [&Import; 1] = [&MOMENT];

/// For [`super::imports`].
pub(super) static NAMES: [&Name; 1] = [&TOTAL_SECONDS];

/// The bytes of a key, a prefix or the end of a range: `bytes` as they are, `str` as UTF-8 (with surrogateescape, so that
/// every key that was handed out as `str` finds its bytes again). Nothing is copied but the UTF-8 of a `str`: the stable
/// ABI of 3.8 does not lend it.
pub(super) struct KeyBytes<'py>(Bound<'py, PyBytes>);

impl Deref for KeyBytes<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        self.0.as_bytes()
    }
}

impl KeyBytes<'_> {
    /// The key.
    ///
    /// # Errors
    /// `KEY_EMPTY` or `KEY_TOO_LONG`.
    pub(super) fn to_key(&self) -> Result<Key> {
        Key::new(self)
    }
}

impl<'py> FromPyObject<'_, 'py> for KeyBytes<'py> {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<KeyBytes<'py>> {
        if let Ok(text) = object.cast::<PyString>() {
            return match text.encode_utf8() {
                Ok(bytes) => Ok(KeyBytes(bytes)),
                Err(error) if error.is_instance_of::<PyUnicodeEncodeError>(object.py()) => escaped(&text),
                Err(error) => Err(error),
            };
        }
        match object.cast::<PyBytes>() {
            Ok(bytes) => Ok(KeyBytes(bytes.to_owned())),
            Err(_) => Err(PyTypeError::new_err(format!("a key is str or bytes, not {}", type_name(&object)))),
        }
    }
}

fn escaped<'py>(text: &Bound<'py, PyString>) -> PyResult<KeyBytes<'py>> {
    match text.call_method1("encode", ("utf-8", "surrogateescape")) {
        Ok(bytes) => Ok(KeyBytes(bytes.cast_into::<PyBytes>()?)),
        Err(error) => Err(errors::invalid(format!("key: {}", error.value(text.py())))),
    }
}

/// The name of an object's type, for messages.
pub(super) fn type_name(object: &Bound<'_, PyAny>) -> String {
    object.get_type().name().map_or_else(|_| "an unnamed type".to_string(), |name| name.to_string())
}

/// A key as `str`: bytes that are no UTF-8 come with surrogateescape, as from `os.fsdecode`.
pub(super) fn key_text<'py>(py: Python<'py>, key: &[u8]) -> PyResult<Bound<'py, PyString>> {
    PyString::from_bytes(py, key)
        .or_else(|_| PyString::from_encoded_object(&PyBytes::new(py, key), Some(c"utf-8"), Some(c"surrogateescape")))
}

/// A number of 64 bits without a sign; `name` is what the argument is called.
///
/// # Errors
/// `InvalidArgumentError` when it is out of range, `TypeError` when it is no int.
pub(super) fn number(object: &Bound<'_, PyAny>, name: &str) -> PyResult<u64> {
    object.extract().map_err(|error: PyErr| {
        if error.is_instance_of::<PyOverflowError>(object.py()) {
            return errors::invalid(format!("{name}: {object}, must be from 0 to 2**64 - 1"));
        }
        PyTypeError::new_err(format!("{name} is an int, not {}", type_name(object)))
    })
}

/// As [`number`], of what is counted in memory. What memory has no room for is refused by whoever has a limit.
pub(super) fn count(object: &Bound<'_, PyAny>, name: &str) -> PyResult<usize> {
    Ok(usize::try_from(number(object, name)?).unwrap_or(usize::MAX))
}

/// A version that a key must have.
pub(super) fn if_version(object: &Bound<'_, PyAny>) -> PyResult<Option<u64>> {
    (!object.is_none()).then(|| number(object, "if_version")).transpose()
}

/// The id of a lease.
pub(super) fn lease_id(object: &Bound<'_, PyAny>) -> PyResult<u64> {
    number(object, "lease_id")
}

/// Milliseconds since the Unix epoch as an aware `datetime`.
pub(super) fn moment(py: Python<'_>, wall_ms: u64) -> PyResult<Bound<'_, PyAny>> {
    MOMENT.make(py, (wall_ms,))
}

/// Seconds as int, float or timedelta; `name` is what the argument is called.
fn seconds(object: &Bound<'_, PyAny>, name: &str) -> PyResult<f64> {
    let seconds = match object.cast::<PyDelta>() {
        Ok(delta) => call_method(delta, TOTAL_SECONDS.get(object.py()), ())?.extract::<f64>()?,
        Err(_) if object.is_instance_of::<PyFloat>() || object.is_instance_of::<PyInt>() => {
            object.extract::<f64>().map_err(|_| errors::invalid(format!("{name}: {object} seconds are too many")))?
        }
        Err(_) => {
            let text = format!("{name} is seconds (int, float) or timedelta, not {}", type_name(object));
            return Err(PyTypeError::new_err(text));
        }
    };
    if seconds.is_finite() {
        return Ok(seconds);
    }
    Err(errors::invalid(format!("{name}: {seconds} is no number of seconds")))
}

/// A time to live, rounded up to milliseconds; `None`: for ever.
pub(super) fn ttl_ms(object: Option<&Bound<'_, PyAny>>) -> PyResult<Option<u64>> {
    let Some(object) = object else { return Ok(None) };
    let seconds = seconds(object, "ttl")?;
    if seconds <= 0.0 {
        return Err(errors::bad_ttl(format!("ttl: {seconds} s, must be more than 0")));
    }
    // A float cast saturates, and what is beyond the limit is refused.
    let ttl_ms = (seconds * 1000.0).ceil() as u64;
    limits::check_ttl_ms(ttl_ms)?;
    Ok(Some(ttl_ms))
}

/// A time to live that has to be given.
pub(super) fn ttl(object: &Bound<'_, PyAny>) -> PyResult<Duration> {
    ttl_ms(Some(object)).map(|ttl_ms| Duration::from_millis(ttl_ms.unwrap_or_default()))
}

/// A deadline for a call; `None`: no limit.
pub(super) struct Timeout(pub(super) Option<Duration>);

impl<'py> FromPyObject<'_, 'py> for Timeout {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Timeout> {
        if object.is_none() {
            return Ok(Timeout(None));
        }
        let seconds = seconds(&object, "timeout")?;
        if seconds < 0.0 {
            return Err(errors::invalid(format!("timeout: {seconds} s, must not be negative")));
        }
        // Centuries are no limit.
        Ok(Timeout(Duration::try_from_secs_f64(seconds).ok().filter(|limit| *limit < TIMEOUT_MAX)))
    }
}

/// Longer timeouts count as none, so that adding one to a clock cannot overflow.
const TIMEOUT_MAX: Duration = Duration::from_millis(limits::TTL_MS_MAX);

/// Refuses a timeout that no call could have: the conversion is the check.
#[pyfunction(name = "check_timeout")]
#[pyo3(signature = (timeout, /))]
pub(super) fn py_check_timeout(timeout: Timeout) {
    let Timeout(_) = timeout;
}

/// How fresh a read has to be, as the caller said it; `...` and None leave it to the keyspace.
#[derive(Clone, Copy)]
pub(super) enum Level {
    Usual,
    Local,
    Session,
    Linearizable,
}

impl Level {
    /// In an eventual keyspace; the default is "session".
    ///
    /// # Errors
    /// `UNSUPPORTED`.
    pub(super) fn eventual(self) -> Result<ReadLevel> {
        match self {
            Level::Usual => Ok(ReadLevel::default()),
            Level::Local => Ok(ReadLevel::Local),
            Level::Session => Ok(ReadLevel::Session),
            Level::Linearizable => {
                Err(Error::new(ErrorCode::Unsupported, "read: an eventual keyspace has no linearizable reads"))
            }
        }
    }

    /// In a strong keyspace; the default is "linearizable".
    pub(super) fn strong(self) -> Freshness {
        match self {
            Level::Usual | Level::Linearizable => Freshness::Linearizable,
            // What the session has seen is for the client to say.
            Level::Session => Freshness::Session(Revision::ZERO),
            Level::Local => Freshness::Local,
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for Level {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Level> {
        if object.is_none() || object.is(object.py().Ellipsis()) {
            return Ok(Level::Usual);
        }
        // Python's ReadLevel is a str, too.
        let Ok(level) = object.cast::<PyString>() else {
            return Err(PyTypeError::new_err(format!("read is a str, not {}", type_name(&object))));
        };
        match &*level.to_cow()? {
            "local" => Ok(Level::Local),
            "session" => Ok(Level::Session),
            "linearizable" => Ok(Level::Linearizable),
            other => Err(errors::invalid(format!("read: {other:?} is not \"local\", \"session\" or \"linearizable\""))),
        }
    }
}

/// Refuses what an eventual keyspace cannot check or keep.
pub(super) fn refuse_conditions(
    lease: Option<&Bound<'_, PyAny>>,
    if_absent: bool,
    if_version: Option<&Bound<'_, PyAny>>,
) -> PyResult<()> {
    let name = match (lease, if_absent, if_version) {
        (Some(_), ..) => return Err(errors::unsupported("lease: an eventual keyspace has none; use a strong one")),
        (None, true, _) => "if_absent",
        (None, false, Some(_)) => "if_version",
        (None, false, None) => return Ok(()),
    };
    Err(errors::unsupported(format!("{name}: an eventual keyspace takes writes without conditions only")))
}
