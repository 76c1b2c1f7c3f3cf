//! Keys, durations and read levels as Python gives them.

use std::{ops::Deref, time::Duration};

use pyo3::{
    exceptions::{PyTypeError, PyUnicodeEncodeError},
    prelude::*,
    sync::PyOnceLock,
    types::{PyBytes, PyDelta, PyFloat, PyInt, PyString},
};

use super::errors;
use crate::{
    error::Result,
    limits,
    types::{Key, ReadLevel},
};

static MOMENT: PyOnceLock<Py<PyAny>> = PyOnceLock::new();

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

/// Milliseconds since the Unix epoch as an aware `datetime`.
pub(super) fn moment(py: Python<'_>, wall_ms: u64) -> PyResult<Bound<'_, PyAny>> {
    MOMENT.import(py, "kvstore._options", "moment")?.call1((wall_ms,))
}

/// Seconds as int, float or timedelta; `name` is what the argument is called.
fn seconds(object: &Bound<'_, PyAny>, name: &str) -> PyResult<f64> {
    let seconds = match object.cast::<PyDelta>() {
        Ok(delta) => delta.call_method0("total_seconds")?.extract::<f64>()?,
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

/// How fresh a read has to be; the default (`...` or None) is "session". Refuses what an eventual keyspace does not
/// promise.
pub(super) fn read_level(read: Option<&Bound<'_, PyAny>>) -> PyResult<ReadLevel> {
    let Some(read) = read.filter(|read| !read.is(read.py().Ellipsis())) else { return Ok(ReadLevel::default()) };
    // Python's ReadLevel is a str, too.
    match read.cast::<PyString>().map(|level| level.to_cow()) {
        Ok(level) => level_of(&level?),
        Err(_) => Err(PyTypeError::new_err(format!("read is a str, not {}", type_name(read)))),
    }
}

fn level_of(level: &str) -> PyResult<ReadLevel> {
    match level {
        "local" => Ok(ReadLevel::Local),
        "session" => Ok(ReadLevel::Session),
        "linearizable" => Err(errors::unsupported("read: an eventual keyspace has no linearizable reads")),
        other => Err(errors::invalid(format!("read: {other:?} is not \"local\", \"session\" or \"linearizable\""))),
    }
}

/// Refuses the conditions that an eventual keyspace cannot check.
pub(super) fn refuse_conditions(if_absent: bool, if_version: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    let name = match (if_absent, if_version) {
        (true, _) => "if_absent",
        (false, Some(_)) => "if_version",
        (false, None) => return Ok(()),
    };
    Err(errors::unsupported(format!("{name}: an eventual keyspace takes writes without conditions only")))
}

/// [`read_level`] for Python: the conversion is the check.
#[pyfunction(name = "check_read")]
#[pyo3(signature = (read, /))]
pub(super) fn py_check_read(read: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    read_level(read).map(drop)
}

/// [`refuse_conditions`] for Python.
#[pyfunction(name = "refuse_conditions")]
#[pyo3(signature = (if_absent, if_version))]
pub(super) fn py_refuse_conditions(if_absent: bool, if_version: Option<&Bound<'_, PyAny>>) -> PyResult<()> {
    refuse_conditions(if_absent, if_version)
}
