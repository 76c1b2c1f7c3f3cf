//! What operators look at: how much room keys take, and which calls are made.

use std::{future::Future, sync::Arc, time::Duration};

use parking_lot::Mutex;
use pyo3::{
    prelude::*,
    types::{PyBytes, PyList},
};
use tokio::{sync::Mutex as AsyncMutex, task::AbortHandle};

use super::{
    client::PyClient,
    convert::{self, Timeout},
    errors,
    runtime::{self, forked, ProcessBound},
    slot::{wait_patiently, Slot},
};
use crate::{
    error::{Error, ErrorCode, Result},
    rpc::MonitorPages,
    types::{SamplePage, SampledCall, Sampling, Survey},
};

/// Keys looked at, pairs of a key and the bytes of its value, triples of a fold, its keys and its bytes, and where to go on.
pub(super) fn survey_page<'py>(py: Python<'py>, survey: &Survey) -> PyResult<Bound<'py, PyAny>> {
    let largest = survey.largest.iter().map(|(key, bytes)| (PyBytes::new(py, key), *bytes));
    let folds = survey.folds.iter().map(|fold| (PyBytes::new(py, &fold.prefix), fold.keys, fold.bytes));
    let (largest, folds) = (PyList::new(py, largest.collect::<Vec<_>>())?, PyList::new(py, folds.collect::<Vec<_>>())?);
    let next = survey.next.as_ref().map(|next| PyBytes::new(py, next));
    Ok((survey.visited, largest, folds, next).into_pyobject(py)?.into_any())
}

/// Listens to the calls of a node. See `_core.pyi`.
#[pyclass(frozen, name = "Monitor", module = "kvstore._core")]
pub(super) struct PyMonitor(ProcessBound<Mutex<State>>);

/// What is open in one process. Locked for a moment only.
enum State {
    Open {
        /// Locked by the task that waits for a page.
        pages: Arc<AsyncMutex<MonitorPages>>,
        /// The wait for a page that is under way: one that was given up goes on, so that it loses nothing.
        waiting: Option<Waiting<SamplePage>>,
    },
    Closed,
}

#[pymethods]
impl PyMonitor {
    /// Waits until the node has heard of it.
    #[new]
    #[pyo3(signature = (client, share, per_second, timeout, /))]
    fn new(
        py: Python<'_>,
        client: &PyClient,
        share: Option<u32>,
        per_second: Option<Bound<'_, PyAny>>,
        timeout: Timeout,
    ) -> PyResult<PyMonitor> {
        let sampling = match (share, per_second) {
            (Some(share), None) => Sampling::Share(share),
            (None, Some(rate)) => Sampling::Rate(convert::number(&rate, "per_second")?.try_into().unwrap_or(u32::MAX)),
            _ => return Err(errors::invalid("sample, per_second: give one of them")),
        };
        let client = client.connection()?.client;
        let opening = Waiting::begin(async move { client.monitor(sampling, timeout.0).await })?;
        let given_up = || Error::new(ErrorCode::Internal, "it ended without an outcome");
        let pages = opening.wait(py, None)?.ok_or_else(given_up)??;
        let state = State::Open { pages: Arc::new(AsyncMutex::new(pages)), waiting: None };
        Ok(PyMonitor(ProcessBound::new(Mutex::new(state))))
    }

    #[pyo3(signature = (timeout, /))]
    fn next<'py>(&self, py: Python<'py>, timeout: Timeout) -> PyResult<Option<Bound<'py, PyAny>>> {
        let state = self.0.get().ok_or_else(|| forked("Monitor"))?;
        let waiting = state.lock().waiting()?;
        let Some(page) = waiting.wait(py, timeout.0)? else { return Ok(None) };
        if let State::Open { waiting, .. } = &mut *state.lock() {
            *waiting = None;
        }
        sample_page(py, &page?).map(Some)
    }

    fn close(&self) {
        let state = self.0.get().map(|state| std::mem::replace(&mut *state.lock(), State::Closed));
        if let Some(State::Open { waiting: Some(waiting), .. }) = state {
            waiting.task.abort();
        }
    }
}

impl State {
    /// The wait for a page that is under way, or one that begins.
    ///
    /// # Errors
    /// `CLIENT_CLOSED`.
    fn waiting(&mut self) -> Result<Waiting<SamplePage>> {
        let State::Open { pages, waiting } = self else {
            return Err(Error::new(ErrorCode::ClientClosed, "this monitor was closed: make a new one"));
        };
        if let Some(waiting) = waiting {
            return Ok(waiting.clone());
        }
        let pages = pages.clone();
        let begun = Waiting::begin(async move { pages.lock().await.next().await })?;
        Ok(waiting.insert(begun).clone())
    }
}

/// A task of the clients' threads, and where its outcome comes to.
struct Waiting<T> {
    slot: Arc<Slot<Result<T>>>,
    task: AbortHandle,
}

impl<T> Clone for Waiting<T> {
    fn clone(&self) -> Waiting<T> {
        Waiting { slot: self.slot.clone(), task: self.task.clone() }
    }
}

impl<T: Send + 'static> Waiting<T> {
    fn begin(work: impl Future<Output = Result<T>> + Send + 'static) -> Result<Waiting<T>> {
        let slot = Arc::new(Slot::new());
        let filled = slot.clone();
        let task = runtime::spawn(async move { filled.fill(work.await) })?;
        Ok(Waiting { slot, task: task.abort_handle() })
    }

    /// Waits with the GIL released, looking for Ctrl-C from time to time; `None`: not within the timeout, and it goes on.
    fn wait(&self, py: Python<'_>, timeout: Option<Duration>) -> PyResult<Option<Result<T>>> {
        wait_patiently(py, timeout, |patience| self.slot.take(patience))
    }
}

/// Tuples of kind, keyspace, key, name of the client, bytes of the value and age in seconds; calls seen, and calls dropped.
fn sample_page<'py>(py: Python<'py>, page: &SamplePage) -> PyResult<Bound<'py, PyAny>> {
    let call = |(call, age): &(SampledCall, Duration)| {
        let (key, client) = (PyBytes::new(py, &call.key), call.client.as_ref().map(ToString::to_string));
        (call.kind.to_string(), call.keyspace.clone(), key, client, call.value_bytes, age.as_secs_f64())
    };
    let calls = PyList::new(py, page.calls.iter().map(call).collect::<Vec<_>>())?;
    Ok((calls, page.seen, page.dropped).into_pyobject(py)?.into_any())
}
