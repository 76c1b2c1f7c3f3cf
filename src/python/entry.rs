//! One stored key as Python sees it. Native, because scans make thousands of them.

use pyo3::{
    basic::CompareOp,
    prelude::*,
    types::{PyBytes, PyString, PyTuple, PyType},
};

use super::{codec, convert};
use crate::{
    env::{Clock, SystemClock},
    types::Entry,
};

/// One stored key. Immutable; equal when all fields are. See `_core.pyi`.
#[pyclass(frozen, name = "Entry", module = "kvstore")]
pub(super) struct PyEntry {
    key_bytes: Py<PyBytes>,
    value: Py<PyAny>,
    version: u64,
    flags: u32,
    modified_ms: u64,
    expires_ms: Option<u64>,
}

impl PyEntry {
    /// Decodes an entry with a codec; `None` is AUTO.
    pub(super) fn decode(py: Python<'_>, codec: Option<&Bound<'_, PyAny>>, entry: &Entry) -> PyResult<PyEntry> {
        Ok(PyEntry {
            key_bytes: PyBytes::new(py, &entry.key).unbind(),
            value: codec::decode(py, codec, &entry.value, entry.flags)?.unbind(),
            version: entry.version.0,
            flags: entry.flags,
            modified_ms: entry.modified_ms,
            expires_ms: entry.expires_ms.map(|expires_ms| expires_ms.get()),
        })
    }

    /// Its flags, and when it ends.
    pub(super) fn stored_as(&self) -> (u32, Option<u64>) {
        (self.flags, self.expires_ms)
    }

    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let fields = (&self.key_bytes, &self.value, self.version, self.flags, self.modified_ms, self.expires_ms);
        fields.into_pyobject(py)
    }
}

#[pymethods]
impl PyEntry {
    #[new]
    #[pyo3(signature = (key_bytes, value, version, flags, modified_ms, expires_ms=None))]
    fn new(
        key_bytes: Py<PyBytes>,
        value: Py<PyAny>,
        version: u64,
        flags: u32,
        modified_ms: u64,
        expires_ms: Option<u64>,
    ) -> PyEntry {
        PyEntry { key_bytes, value, version, flags, modified_ms, expires_ms }
    }

    /// For annotations that are evaluated.
    #[classmethod]
    #[pyo3(signature = (item, /))]
    fn __class_getitem__<'py>(cls: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> Bound<'py, PyType> {
        let _ = item;
        cls.clone()
    }

    #[getter]
    fn key<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyString>> {
        convert::key_text(py, self.key_bytes.as_bytes(py))
    }

    #[getter]
    fn key_bytes<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        self.key_bytes.bind(py).clone()
    }

    #[getter]
    fn value<'py>(&self, py: Python<'py>) -> Bound<'py, PyAny> {
        self.value.bind(py).clone()
    }

    #[getter]
    fn version(&self) -> u64 {
        self.version
    }

    #[getter]
    fn flags(&self) -> u32 {
        self.flags
    }

    #[getter]
    fn modified<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::moment(py, self.modified_ms)
    }

    #[getter]
    fn expires<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        self.expires_ms.map(|expires_ms| convert::moment(py, expires_ms)).transpose()
    }

    #[getter]
    fn ttl(&self) -> Option<f64> {
        let left_ms = self.expires_ms?.saturating_sub(SystemClock::new().wall_ms());
        Some(left_ms as f64 / 1000.0)
    }

    fn __richcmp__(&self, other: &Bound<'_, PyAny>, op: CompareOp, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast::<PyEntry>() else { return Ok(py.NotImplemented()) };
        let compared = self.fields(py)?.rich_compare(other.get().fields(py)?, op);
        match op {
            CompareOp::Eq | CompareOp::Ne => Ok(compared?.unbind()),
            CompareOp::Lt | CompareOp::Le | CompareOp::Gt | CompareOp::Ge => Ok(py.NotImplemented()),
        }
    }

    fn __hash__(&self, py: Python<'_>) -> PyResult<isize> {
        self.fields(py)?.hash()
    }

    fn __reduce__<'py>(slf: &Bound<'py, Self>) -> PyResult<(Bound<'py, PyType>, Bound<'py, PyTuple>)> {
        Ok((slf.get_type(), slf.get().fields(slf.py())?))
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let key = self.key(py)?.repr()?.to_string();
        let value = self.value.bind(py).repr()?.to_string();
        let expires = match self.expires(py)? {
            Some(expires) => format!(", expires={}", expires.str()?),
            None => String::new(),
        };
        Ok(format!("Entry(key={key}, value={value}, version={}{expires})", self.version))
    }
}
