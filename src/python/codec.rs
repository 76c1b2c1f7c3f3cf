//! The AUTO codec: values come back as they went in. No pickle, and never `str()` of what it does not know.
//!
//! | flags | type | payload |
//! | --- | --- | --- |
//! | 0 | bytes (bytearray and memoryview come back as bytes) | as it is |
//! | 1 | str | UTF-8 |
//! | 2 | int of 64 bits | two's complement, little-endian |
//! | 3 | float | IEEE 754 binary64, little-endian |
//! | 4 | bool | one byte, 0 or 1 |
//! | 5 | None, list, dict, larger int | JSON in UTF-8 |
//!
//! 256 and up are the users' own codecs'. Only exact types are taken, in containers too: a tuple, a subclass or a key
//! that is no `str` would come back as something else.

use std::ops::Deref;

use pyo3::{
    exceptions::{PyRecursionError, PyValueError},
    prelude::*,
    types::{PyBool, PyByteArray, PyBytes, PyDict, PyFloat, PyInt, PyList, PyMemoryView, PyString, PyTuple},
};

use super::{
    call::{call, call_method},
    convert::type_name,
    errors,
    imports::{Import, Name},
};
use crate::limits::JSON_DEPTH_MAX;

const BYTES: u32 = 0;
const TEXT: u32 = 1;
const INT64: u32 = 2;
const FLOAT64: u32 = 3;
const BOOL: u32 = 4;
const JSON: u32 = 5;

const JSON_NULL: &[u8] = b"null";

static ENCODE_JSON: Import = Import::new("kvstore.codecs", "encode_json");
static DECODE_JSON: Import = Import::new("kvstore.codecs", "decode_json");
static ENCODE: Name = Name::new("encode");
static DECODE: Name = Name::new("decode");

/// For [`super::imports`].
pub(super) static IMPORTS: [&Import; 2] = [&ENCODE_JSON, &DECODE_JSON];

/// For [`super::imports`].
pub(super) static NAMES: [&Name; 2] = [&ENCODE, &DECODE];

/// An encoded value; what Python holds already is not copied.
pub(super) enum Payload<'py> {
    Bytes(Bound<'py, PyBytes>),
    Word([u8; 8]),
    Bool([u8; 1]),
    Null,
}

impl Deref for Payload<'_> {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Payload::Bytes(bytes) => bytes.as_bytes(),
            Payload::Word(bytes) => bytes,
            Payload::Bool(bytes) => bytes,
            Payload::Null => JSON_NULL,
        }
    }
}

/// Encodes with a codec; `None` is AUTO.
pub(super) fn encode<'py>(
    codec: Option<&Bound<'py, PyAny>>,
    value: &Bound<'py, PyAny>,
) -> PyResult<(Payload<'py>, u32)> {
    let Some(codec) = codec else { return auto(value) };
    let encoded = call_method(codec, ENCODE.get(value.py()), (value,))?;
    let Ok((payload, flags)) = encoded.extract::<(Bound<'py, PyBytes>, u32)>() else {
        let text = format!("encode() of the codec {codec} must return (bytes, flags up to 32 bits)");
        return Err(errors::codec(value.py(), &text, None));
    };
    Ok((Payload::Bytes(payload), flags))
}

/// Decodes with a codec; `None` is AUTO.
pub(super) fn decode<'py>(
    py: Python<'py>,
    codec: Option<&Bound<'py, PyAny>>,
    payload: &[u8],
    flags: u32,
) -> PyResult<Bound<'py, PyAny>> {
    match codec {
        None => from_auto(py, payload, flags),
        Some(codec) => call_method(codec, DECODE.get(py), (PyBytes::new(py, payload), flags)),
    }
}

/// Decodes what AUTO decodes without running any Python code, so also under a lock; `None`: [`decode`] has to do it.
pub(super) fn decode_plain<'py>(py: Python<'py>, payload: &[u8], flags: u32) -> Option<Bound<'py, PyAny>> {
    match flags {
        BYTES => Some(PyBytes::new(py, payload).into_any()),
        TEXT => Some(PyString::new(py, std::str::from_utf8(payload).ok()?).into_any()),
        FLOAT64 => Some(PyFloat::new(py, f64::from_le_bytes(payload.try_into().ok()?)).into_any()),
        INT64 => Some(PyInt::new(py, i64::from_le_bytes(payload.try_into().ok()?)).into_any()),
        _ => None,
    }
}

fn auto<'py>(value: &Bound<'py, PyAny>) -> PyResult<(Payload<'py>, u32)> {
    let py = value.py();
    if let Ok(bytes) = value.cast_exact::<PyBytes>() {
        return Ok((Payload::Bytes(bytes.clone()), BYTES));
    }
    if let Ok(text) = value.cast_exact::<PyString>() {
        let bytes = text.encode_utf8().map_err(|_| errors::codec(py, "value: a str with a lone surrogate", None))?;
        return Ok((Payload::Bytes(bytes), TEXT));
    }
    if let Ok(bool) = value.cast_exact::<PyBool>() {
        return Ok((Payload::Bool([u8::from(bool.is_true())]), BOOL));
    }
    if value.is_exact_instance_of::<PyInt>() {
        return match value.extract::<i64>() {
            Ok(int) => Ok((Payload::Word(int.to_le_bytes()), INT64)),
            Err(_) => Ok((to_json(value)?, JSON)),
        };
    }
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return Ok((Payload::Word(float.value().to_le_bytes()), FLOAT64));
    }
    if value.is_none() {
        return Ok((Payload::Null, JSON));
    }
    if value.is_exact_instance_of::<PyByteArray>() || value.is_exact_instance_of::<PyMemoryView>() {
        let bytes = py.get_type::<PyBytes>().call1((value,))?.cast_into::<PyBytes>()?;
        return Ok((Payload::Bytes(bytes), BYTES));
    }
    check_json(value, 0)?;
    Ok((to_json(value)?, JSON))
}

/// Only what comes back as it went in.
fn check_json(value: &Bound<'_, PyAny>, depth: usize) -> PyResult<()> {
    if depth > JSON_DEPTH_MAX {
        let text = format!("value: nested deeper than {JSON_DEPTH_MAX} levels, or in itself");
        return Err(errors::codec(value.py(), &text, None));
    }
    if let Ok(list) = value.cast_exact::<PyList>() {
        return list.iter().try_for_each(|item| check_json(&item, depth + 1));
    }
    if let Ok(dict) = value.cast_exact::<PyDict>() {
        return dict.iter().try_for_each(|(key, item)| {
            if !key.is_exact_instance_of::<PyString>() {
                return Err(not_storable(&key, "as a key of a dict"));
            }
            check_json(&item, depth + 1)
        });
    }
    if let Ok(float) = value.cast_exact::<PyFloat>() {
        return match float.value().is_finite() {
            true => Ok(()),
            false => Err(errors::codec(value.py(), "value: JSON has no NaN and no infinity", None)),
        };
    }
    let is_scalar = value.is_none()
        || value.is_exact_instance_of::<PyString>()
        || value.is_exact_instance_of::<PyInt>()
        || value.is_exact_instance_of::<PyBool>();
    match is_scalar {
        true => Ok(()),
        false => Err(not_storable(value, if depth == 0 { "" } else { "inside a list or dict" })),
    }
}

fn not_storable(value: &Bound<'_, PyAny>, place: &str) -> PyErr {
    let name = type_name(value);
    let text = format!(
        "value: {name} {place}{}would not come back as it went in; convert it, or use a codec of your own",
        if place.is_empty() { "" } else { " " }
    );
    errors::codec(value.py(), &text, None)
}

fn to_json<'py>(value: &Bound<'py, PyAny>) -> PyResult<Payload<'py>> {
    let py = value.py();
    let encode = ENCODE_JSON.get(py)?;
    match call(encode, (value,)) {
        Ok(bytes) => Ok(Payload::Bytes(bytes.cast_into::<PyBytes>()?)),
        Err(error) => Err(as_codec_error(py, error, None)),
    }
}

fn from_auto<'py>(py: Python<'py>, payload: &[u8], flags: u32) -> PyResult<Bound<'py, PyAny>> {
    match flags {
        BYTES => Ok(PyBytes::new(py, payload).into_any()),
        TEXT => PyString::from_bytes(py, payload)
            .map(Bound::into_any)
            .map_err(|error| as_codec_error(py, error, Some(payload))),
        INT64 => Ok(i64::from_le_bytes(word(py, payload, "int")?).into_pyobject(py)?.into_any()),
        FLOAT64 => Ok(PyFloat::new(py, f64::from_le_bytes(word(py, payload, "float")?)).into_any()),
        BOOL => match payload {
            [0] => Ok(PyBool::new(py, false).to_owned().into_any()),
            [1] => Ok(PyBool::new(py, true).to_owned().into_any()),
            _ => Err(errors::codec(py, "stored value: a bool is one byte, 0 or 1", Some(payload))),
        },
        JSON if payload == JSON_NULL => Ok(py.None().into_bound(py)),
        JSON => {
            let decode = DECODE_JSON.get(py)?;
            call(decode, (PyBytes::new(py, payload),)).map_err(|error| as_codec_error(py, error, Some(payload)))
        }
        other => {
            let text = format!("stored value: flags {other} are not of this codec; read it with the one that wrote it");
            Err(errors::codec(py, &text, Some(payload)))
        }
    }
}

fn word(py: Python<'_>, payload: &[u8], what: &str) -> PyResult<[u8; 8]> {
    payload
        .try_into()
        .map_err(|_| errors::codec(py, &format!("stored value: this {what} has not 8 bytes"), Some(payload)))
}

/// What Python's JSON and UTF-8 complain of is about the value; anything else (memory, Ctrl-C) passes.
fn as_codec_error(py: Python<'_>, error: PyErr, payload: Option<&[u8]>) -> PyErr {
    if error.is_instance_of::<PyValueError>(py) || error.is_instance_of::<PyRecursionError>(py) {
        let whose = if payload.is_some() { "stored value" } else { "value" };
        return errors::codec(py, &format!("{whose}: {}", error.value(py)), payload);
    }
    error
}

/// `AUTO.encode`: the payload and its flags.
#[pyfunction]
#[pyo3(signature = (value, /))]
pub(super) fn encode_auto<'py>(value: &Bound<'py, PyAny>) -> PyResult<Bound<'py, PyTuple>> {
    let py = value.py();
    let (payload, flags) = auto(value)?;
    (PyBytes::new(py, &payload), flags).into_pyobject(py)
}

/// `AUTO.decode`: the value.
#[pyfunction]
#[pyo3(signature = (payload, flags, /))]
pub(super) fn decode_auto<'py>(payload: &Bound<'py, PyBytes>, flags: u32) -> PyResult<Bound<'py, PyAny>> {
    from_auto(payload.py(), payload.as_bytes(), flags)
}
