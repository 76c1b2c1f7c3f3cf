//! Watches, from any thread and for asyncio. A thread or loop waits until there is something, and takes it afterwards: so
//! a wait that is given up loses no event.

mod either;
mod eventual;
mod strong;

use std::sync::Arc;

use bytes::Bytes;
use pyo3::{
    prelude::*,
    types::{PyBytes, PyString, PyType},
};

use self::{
    either::Either,
    eventual::{Eventual, Trail},
    strong::{Strong, StrongPosition},
};
use super::{
    convert::{self, KeyBytes, Timeout},
    entry::PyEntry,
    errors,
    runtime::{forked, ProcessBound},
    slot::{wait_patiently, Slot},
};
use crate::{
    client::{Known, Wake, Watch},
    error::Result,
    replication::strong as group,
    types::{Consistency, Entry, WatchFilter, WatchRequest, WatchStart},
    wire::kv::decode_position,
};

/// What to watch: key, prefix, `since`, `initial`, how many events may wait, the keyspace, whether it is known to be strong, and
/// whether its locks.
#[derive(FromPyObject)]
pub(super) struct Wanted<'py>(
    Option<KeyBytes<'py>>,
    Option<KeyBytes<'py>>,
    Option<Vec<u8>>,
    bool,
    Bound<'py, PyAny>,
    String,
    bool,
    bool,
);

impl Wanted<'_> {
    /// Of which keyspace.
    pub(super) fn keyspace(&self) -> &str {
        &self.5
    }

    /// Begins the watch, in the keyspace that is wanted, as that is known to be; a watch that knows nothing finds out.
    ///
    /// # Errors
    /// `InvalidArgumentError` that names the argument; those of `eventual` and `strong`.
    pub(super) fn open(
        self,
        known: Arc<Known>,
        eventual: impl FnOnce(WatchRequest, usize) -> Result<Watch>,
        strong: impl FnOnce(group::GroupWatch, usize) -> Result<Watch<group::WatchPage>> + Send + 'static,
    ) -> PyResult<Changes> {
        let Wanted(key, prefix, since, initial, buffer, keyspace, strong_only, locks) = self;
        let buffer = convert::count(&buffer, "buffer")?;
        let filter = match (key, prefix) {
            (Some(_), Some(_)) => return Err(errors::invalid("prefix: there is a key already; give one of the two")),
            (Some(key), None) => WatchFilter::Key(key.to_key()?),
            (None, Some(prefix)) if !prefix.is_empty() => WatchFilter::Prefix(prefix.to_vec()),
            (None, _) => WatchFilter::All,
        };
        if since.is_some() && initial {
            return Err(errors::invalid("initial: there is a `since` already; give one of the two"));
        }
        let is_strong = strong_only
            || known.get() == Some(Consistency::Strong)
            || since.as_deref().is_some_and(StrongPosition::is_one);
        if is_strong {
            let source = Strong::open((keyspace, locks, filter), (since.as_deref(), initial), |w| strong(w, buffer))?;
            return Ok(Changes(ProcessBound::new(Box::new(source))));
        }
        let as_strong = {
            let (keyspace, filter) = (keyspace.clone(), filter.clone());
            move || Strong::open((keyspace, false, filter), (None, initial), |w| strong(w, buffer))
        };
        let has_position = since.is_some();
        let start = match (since, initial) {
            (Some(since), _) => WatchStart::After(decode_position(&keyspace, &filter, &since)?),
            (None, true) => WatchStart::Initial,
            (None, false) => WatchStart::Now,
        };
        let source = Eventual::open(keyspace, WatchRequest { filter, start }, |request| eventual(request, buffer))?;
        // From a position in an eventual keyspace no strong one goes on.
        let source: Box<dyn Source> = match known.get().is_none() && !has_position {
            true => Box::new(Either::new(source, (known, initial), as_strong)),
            false => Box::new(source),
        };
        Ok(Changes(ProcessBound::new(source)))
    }
}

/// Where events come from.
trait Source: Send + Sync {
    /// Lets somebody know when there is something to take.
    fn on_change(&self, wake: Wake);
    /// The next event, if it is there.
    fn pop(&self) -> Result<Option<Told>>;
    /// Whether it is known where the watch begins.
    fn is_begun(&self) -> Result<bool>;
    /// After the last event that was handed out.
    fn position(&self) -> Vec<u8>;
    /// Whether the next event belongs to the same transaction as the last, and is there.
    fn is_inside(&self) -> bool;
    /// Ends it: nothing more is handed out, and the position stays where it is.
    fn cancel(&self);
}

/// An event before it is Python's.
struct Told {
    kind: &'static str,
    key: Bytes,
    version: u64,
    entry: Option<Entry>,
    previous: Option<Entry>,
    revision: Option<u64>,
    initial: bool,
    place: Place,
}

/// Where an event stands; made into bytes when somebody asks.
enum Place {
    Trail(Arc<Trail>, usize),
    Strong(StrongPosition),
}

impl Place {
    fn to_bytes(&self) -> Vec<u8> {
        match self {
            Place::Trail(trail, place) => trail.position(*place),
            Place::Strong(position) => position.encode(),
        }
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "kvstore._core")]
pub(super) struct Changes(ProcessBound<Box<dyn Source>>);

impl Changes {
    fn source(&self) -> Result<&dyn Source> {
        self.0.get().map(|source| &**source).ok_or_else(|| forked("Watch"))
    }

    /// Lets somebody know when there is something to take.
    ///
    /// # Errors
    /// `FORKED`.
    pub(super) fn on_change(&self, wake: Wake) -> Result<()> {
        self.source()?.on_change(wake);
        Ok(())
    }
}

#[pymethods]
impl Changes {
    /// The next event, if it is there.
    #[pyo3(signature = (codec, /))]
    fn take<'py>(&self, py: Python<'py>, codec: Option<&Bound<'py, PyAny>>) -> PyResult<Option<PyEvent>> {
        let Some(told) = self.source()?.pop()? else { return Ok(None) };
        PyEvent::new(py, codec, told).map(Some)
    }

    /// Waits until there may be something to take, with the GIL released; False after the timeout.
    #[pyo3(signature = (timeout, /))]
    fn wait(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        let slot = Arc::new(Slot::new());
        let filled = slot.clone();
        self.on_change(Box::new(move || filled.fill(())))?;
        Ok(wait_patiently(py, timeout.0, |patience| slot.take(patience))?.is_some())
    }

    /// Whether it is known where the watch begins: nothing is missed from then on.
    #[getter]
    fn begun(&self) -> PyResult<bool> {
        Ok(self.source()?.is_begun()?)
    }

    /// Whether the next event belongs to the same transaction as the last.
    #[getter]
    fn inside(&self) -> PyResult<bool> {
        Ok(self.source()?.is_inside())
    }

    #[getter]
    fn position<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        Ok(PyBytes::new(py, &self.source()?.position()))
    }

    fn cancel(&self) {
        if let Some(source) = self.0.get() {
            source.cancel();
        }
    }
}

/// One change. See `_core.pyi`.
#[pyclass(frozen, name = "Event", module = "kvstore")]
pub(super) struct PyEvent {
    kind: &'static str,
    key_bytes: Py<PyBytes>,
    version: u64,
    entry: Option<Py<PyEntry>>,
    previous: Option<Py<PyEntry>>,
    revision: Option<u64>,
    initial: bool,
    place: Place,
}

impl PyEvent {
    fn new(py: Python<'_>, codec: Option<&Bound<'_, PyAny>>, told: Told) -> PyResult<PyEvent> {
        let decode =
            |entry: Option<Entry>| entry.map(|entry| Py::new(py, PyEntry::decode(py, codec, &entry)?)).transpose();
        Ok(PyEvent {
            kind: told.kind,
            key_bytes: PyBytes::new(py, &told.key).unbind(),
            version: told.version,
            entry: decode(told.entry)?,
            previous: decode(told.previous)?,
            revision: told.revision,
            initial: told.initial,
            place: told.place,
        })
    }
}

#[pymethods]
impl PyEvent {
    /// For annotations that are evaluated.
    #[classmethod]
    #[pyo3(signature = (item, /))]
    fn __class_getitem__<'py>(cls: &Bound<'py, PyType>, item: &Bound<'py, PyAny>) -> Bound<'py, PyType> {
        let _ = item;
        cls.clone()
    }

    #[getter]
    fn r#type(&self) -> &'static str {
        self.kind
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
    fn version(&self) -> u64 {
        self.version
    }

    #[getter]
    fn position<'py>(&self, py: Python<'py>) -> Bound<'py, PyBytes> {
        PyBytes::new(py, &self.place.to_bytes())
    }

    #[getter]
    fn revision(&self) -> Option<u64> {
        self.revision
    }

    #[getter]
    fn entry<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyEntry>> {
        self.entry.as_ref().map(|entry| entry.bind(py).clone())
    }

    #[getter]
    fn previous<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyEntry>> {
        self.previous.as_ref().map(|entry| entry.bind(py).clone())
    }

    #[getter]
    fn initial(&self) -> bool {
        self.initial
    }

    fn __repr__(&self, py: Python<'_>) -> PyResult<String> {
        let key = self.key(py)?.repr()?.to_string();
        let value = match &self.entry {
            Some(entry) => format!(", value={}", entry.bind(py).getattr("value")?.repr()?),
            None => String::new(),
        };
        let initial = if self.initial { ", initial=True" } else { "" };
        Ok(format!("Event(type='{}', key={key}, version={}{value}{initial})", self.kind, self.version))
    }
}
