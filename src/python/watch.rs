//! Watches, from any thread and for asyncio. A thread or loop waits until there is something, and takes it afterwards: so
//! a wait that is given up loses no event.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;
use pyo3::{
    prelude::*,
    types::{PyBytes, PyString, PyType},
};

use super::{
    convert::{self, KeyBytes, Timeout},
    entry::PyEntry,
    errors,
    runtime::{forked, ProcessBound},
    slot::Slot,
};
use crate::{
    client::{Wake, Watch},
    env::{Clock, SystemClock},
    error::Result,
    limits::SIGNAL_CHECK_INTERVAL,
    types::{
        Dot, PartitionId, WatchChange, WatchEvent, WatchFilter, WatchPage, WatchPosition, WatchRequest, WatchStart,
    },
    wire::kv::{decode_position, encode_position},
};

/// What to watch: key, prefix, `since`, `initial`, and how many events may wait.
#[derive(FromPyObject)]
pub(super) struct Wanted<'py>(Option<KeyBytes<'py>>, Option<KeyBytes<'py>>, Option<Vec<u8>>, bool, usize);

impl Wanted<'_> {
    /// The request, and how many events may wait.
    ///
    /// # Errors
    /// `InvalidArgumentError` that names the argument.
    pub(super) fn request(self) -> PyResult<(WatchRequest, usize)> {
        let Wanted(key, prefix, since, initial, buffer) = self;
        let filter = match (key, prefix) {
            (Some(_), Some(_)) => return Err(errors::invalid("prefix: there is a key already; give one of the two")),
            (Some(key), None) => WatchFilter::Key(key.to_key()?),
            (None, Some(prefix)) if !prefix.is_empty() => WatchFilter::Prefix(prefix.to_vec()),
            (None, _) => WatchFilter::All,
        };
        let start = match (since, initial) {
            (Some(_), true) => return Err(errors::invalid("initial: there is a `since` already; give one of the two")),
            (Some(since), false) => WatchStart::After(decode_position(&filter, &since)?),
            (None, true) => WatchStart::Initial,
            (None, false) => WatchStart::Now,
        };
        Ok((WatchRequest { filter, start }, buffer))
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, module = "kvstore._core")]
pub(super) struct Changes {
    watch: ProcessBound<Watch>,
    filter: WatchFilter,
    state: Mutex<State>,
}

struct State {
    is_begun: bool,
    /// After the last event that was handed out.
    position: WatchPosition,
    /// Of the last page, those that were not handed out.
    events: VecDeque<(WatchEvent, usize)>,
    trail: Arc<Trail>,
    /// Reached once the events are handed out.
    marks: Vec<(PartitionId, crate::types::VersionVector)>,
}

/// From where the events of a page lead where: the positions are made when somebody asks for one.
struct Trail {
    filter: WatchFilter,
    base: WatchPosition,
    dots: Vec<(PartitionId, Dot)>,
}

impl Trail {
    fn position(&self, place: usize) -> Vec<u8> {
        let mut position = self.base.clone();
        self.dots.iter().take(place + 1).for_each(|&(partition, dot)| position.pass(partition, dot));
        encode_position(&self.filter, &position)
    }
}

impl Changes {
    /// A watch that `open` begins.
    ///
    /// # Errors
    /// Those of `open`.
    pub(super) fn open(request: WatchRequest, open: impl FnOnce(WatchRequest) -> Result<Watch>) -> Result<Changes> {
        let position = match &request.start {
            WatchStart::Now | WatchStart::Initial => WatchPosition::new(),
            WatchStart::After(position) | WatchStart::InitialAfter(position) => position.clone(),
        };
        let filter = request.filter.clone();
        let trail = Trail { filter: filter.clone(), base: WatchPosition::new(), dots: Vec::new() };
        let is_begun = !matches!(request.start, WatchStart::Now);
        let state = State { is_begun, position, events: VecDeque::new(), trail: Arc::new(trail), marks: Vec::new() };
        Ok(Changes { watch: ProcessBound::new(open(request)?), filter, state: Mutex::new(state) })
    }

    fn watch(&self) -> Result<&Watch> {
        self.watch.get().ok_or_else(|| forked("Watch"))
    }

    /// Lets somebody know when there is something to take.
    ///
    /// # Errors
    /// `FORKED`.
    pub(super) fn on_change(&self, wake: Wake) -> Result<()> {
        self.watch()?.on_change(wake);
        Ok(())
    }

    /// The next event with its place in its page, if it is there; the trail is the page's.
    fn pop(&self) -> Result<Option<(WatchEvent, usize, Arc<Trail>)>> {
        let watch = self.watch()?;
        let mut state = self.state.lock();
        state.fill(&self.filter, watch)?;
        let Some((event, place)) = state.events.pop_front() else { return Ok(None) };
        state.position.pass(event.partition, event.dot);
        if state.events.is_empty() {
            state.reach_marks();
        }
        Ok(Some((event, place, state.trail.clone())))
    }
}

impl State {
    /// Takes pages until one has events, or there is none.
    fn fill(&mut self, filter: &WatchFilter, watch: &Watch) -> Result<()> {
        while self.events.is_empty() {
            let Some(WatchPage { events, marks, is_initial_done: _ }) = watch.take()? else { return Ok(()) };
            self.is_begun = true;
            let dots = events.iter().map(|event| (event.partition, event.dot)).collect();
            self.trail = Arc::new(Trail { filter: filter.clone(), base: self.position.clone(), dots });
            self.events = events.into_iter().zip(0..).collect();
            self.marks = marks;
            if self.events.is_empty() {
                self.reach_marks();
            }
        }
        Ok(())
    }

    fn reach_marks(&mut self) {
        for (partition, vector) in std::mem::take(&mut self.marks) {
            self.position.reach(partition, &vector);
        }
    }
}

#[pymethods]
impl Changes {
    /// The next event, if it is there.
    #[pyo3(signature = (codec, /))]
    fn take<'py>(&self, py: Python<'py>, codec: Option<&Bound<'py, PyAny>>) -> PyResult<Option<PyEvent>> {
        let Some((event, place, trail)) = self.pop()? else { return Ok(None) };
        PyEvent::new(py, codec, event, place, trail).map(Some)
    }

    /// Waits until there may be something to take, with the GIL released; False after the timeout.
    #[pyo3(signature = (timeout, /))]
    fn wait(&self, py: Python<'_>, timeout: Timeout) -> PyResult<bool> {
        let slot = Arc::new(Slot::new());
        let filled = slot.clone();
        self.on_change(Box::new(move || filled.fill(())))?;
        let clock = SystemClock::new();
        loop {
            let left = timeout.0.map(|timeout| timeout.saturating_sub(clock.monotonic()));
            let slice = left.unwrap_or(SIGNAL_CHECK_INTERVAL).min(SIGNAL_CHECK_INTERVAL);
            if py.detach(|| slot.take(slice)).is_some() {
                return Ok(true);
            }
            py.check_signals()?;
            if left.is_some_and(|left| left.is_zero()) {
                return Ok(false);
            }
        }
    }

    /// Whether it is known where the watch begins: nothing is missed from then on.
    #[getter]
    fn begun(&self) -> PyResult<bool> {
        let watch = self.watch()?;
        let mut state = self.state.lock();
        state.fill(&self.filter, watch)?;
        Ok(state.is_begun)
    }

    #[getter]
    fn position<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyBytes>> {
        self.watch()?;
        Ok(PyBytes::new(py, &encode_position(&self.filter, &self.state.lock().position)))
    }

    fn cancel(&self) {
        if let Some(watch) = self.watch.get() {
            watch.cancel();
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
    initial: bool,
    trail: Arc<Trail>,
    place: usize,
}

impl PyEvent {
    fn new(
        py: Python<'_>,
        codec: Option<&Bound<'_, PyAny>>,
        event: WatchEvent,
        place: usize,
        trail: Arc<Trail>,
    ) -> PyResult<PyEvent> {
        let (kind, entry) = match &event.change {
            WatchChange::Put(entry) => ("put", Some(Py::new(py, PyEntry::decode(py, codec, entry)?)?)),
            WatchChange::Delete { .. } => ("delete", None),
            WatchChange::Expire { .. } => ("expire", None),
        };
        let key_bytes = PyBytes::new(py, event.key()).unbind();
        let version = event.version().0;
        Ok(PyEvent { kind, key_bytes, version, entry, initial: event.is_initial, trail, place })
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
        PyBytes::new(py, &self.trail.position(self.place))
    }

    #[getter]
    fn revision(&self) -> Option<u64> {
        None
    }

    #[getter]
    fn entry<'py>(&self, py: Python<'py>) -> Option<Bound<'py, PyEntry>> {
        self.entry.as_ref().map(|entry| entry.bind(py).clone())
    }

    #[getter]
    fn previous(&self) -> Option<Py<PyEntry>> {
        None
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
