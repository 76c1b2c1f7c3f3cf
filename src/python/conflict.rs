//! An acknowledged write that lost, as Python sees it, and how it is restored.

use pyo3::{
    basic::CompareOp,
    prelude::*,
    types::{PyBytes, PyList, PyString, PyTuple, PyType},
};

use super::{convert, entry::PyEntry, errors};
use crate::{
    env::{Clock, SystemClock},
    types::{Command, CommandKind, Conflicts, Key, LostWrite, Value},
};

/// The conflicts that could be had; the members that kept silent are in the log.
pub(super) fn conflict_list<'py>(
    py: Python<'py>,
    codec: Option<&Bound<'py, PyAny>>,
    conflicts: &Conflicts,
) -> PyResult<Bound<'py, PyAny>> {
    let list = PyList::empty(py);
    for write in &conflicts.writes {
        list.append(Bound::new(py, PyConflict::decode(py, codec, write)?)?)?;
    }
    Ok(list.into_any())
}

/// One conflict. Immutable; equal when all fields are. See `_core.pyi`.
#[pyclass(frozen, name = "Conflict", module = "kvstore")]
pub(super) struct PyConflict {
    key_bytes: Py<PyBytes>,
    lost: Option<Py<PyEntry>>,
    won: Option<Py<PyEntry>>,
    noticed_ms: u64,
    node: String,
    /// The lost value as it was stored: restoring it must not depend on a codec.
    payload: Py<PyBytes>,
}

impl PyConflict {
    /// Decodes both sides with a codec; `None` is AUTO.
    pub(super) fn decode(
        py: Python<'_>,
        codec: Option<&Bound<'_, PyAny>>,
        conflict: &LostWrite,
    ) -> PyResult<PyConflict> {
        let entry = |entry: &Option<_>| -> PyResult<Option<Py<PyEntry>>> {
            let decoded = entry.as_ref().map(|entry| PyEntry::decode(py, codec, entry)).transpose()?;
            decoded.map(|entry| Py::new(py, entry)).transpose()
        };
        let payload = conflict.lost.as_ref().map_or(&[][..], |lost| &lost.value);
        Ok(PyConflict {
            key_bytes: PyBytes::new(py, &conflict.key).unbind(),
            lost: entry(&conflict.lost)?,
            won: entry(&conflict.won)?,
            noticed_ms: conflict.noticed_ms,
            node: conflict.node.to_string(),
            payload: PyBytes::new(py, payload).unbind(),
        })
    }

    /// The command that writes the lost side again, or deletes again.
    ///
    /// # Errors
    /// `InvalidArgumentError` when what was lost has expired.
    pub(super) fn restore(&self, py: Python<'_>) -> PyResult<Command> {
        let key = Key::new(self.key_bytes.as_bytes(py))?;
        let Some(lost) = &self.lost else { return Ok(Command { key, kind: CommandKind::Delete }) };
        let (flags, expires_ms) = lost.get().stored_as();
        let ttl_ms = match expires_ms.map(|expires_ms| expires_ms.saturating_sub(SystemClock::new().wall_ms())) {
            Some(0) => return Err(errors::invalid("conflict: what was lost has expired, there is nothing to restore")),
            left_ms => left_ms,
        };
        let value = Value::new(self.payload.as_bytes(py))?;
        Ok(Command { key, kind: CommandKind::Put { value, flags, ttl_ms } })
    }

    fn fields<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyTuple>> {
        let fields = (&self.key_bytes, &self.lost, &self.won, self.noticed_ms, &self.node, &self.payload);
        fields.into_pyobject(py)
    }
}

#[pymethods]
impl PyConflict {
    #[new]
    #[pyo3(signature = (key_bytes, lost, won, noticed_ms, node, payload))]
    fn new(
        key_bytes: Py<PyBytes>,
        lost: Option<Py<PyEntry>>,
        won: Option<Py<PyEntry>>,
        noticed_ms: u64,
        node: String,
        payload: Py<PyBytes>,
    ) -> PyConflict {
        PyConflict { key_bytes, lost, won, noticed_ms, node, payload }
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
    fn lost<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyEntry>> {
        self.lost.as_ref().map(|lost| lost.bind(py).clone())
    }

    #[getter]
    fn won<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyEntry>> {
        self.won.as_ref().map(|won| won.bind(py).clone())
    }

    #[getter]
    fn when<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        convert::moment(py, self.noticed_ms)
    }

    #[getter]
    #[pyo3(name = "where")]
    fn node(&self) -> &str {
        &self.node
    }

    fn __richcmp__(&self, other: &Bound<'_, PyAny>, op: CompareOp, py: Python<'_>) -> PyResult<Py<PyAny>> {
        let Ok(other) = other.cast::<PyConflict>() else { return Ok(py.NotImplemented()) };
        match op {
            CompareOp::Eq | CompareOp::Ne => Ok(self.fields(py)?.rich_compare(other.get().fields(py)?, op)?.unbind()),
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
        let side = |entry: &Option<Py<PyEntry>>| match entry {
            Some(entry) => Ok::<_, PyErr>(entry.bind(py).repr()?.to_string()),
            None => Ok("None".to_string()),
        };
        let (lost, won) = (side(&self.lost)?, side(&self.won)?);
        Ok(format!(
            "Conflict(key={key}, lost={lost}, won={won}, when={}, where={:?})",
            self.when(py)?.str()?,
            self.node
        ))
    }
}
