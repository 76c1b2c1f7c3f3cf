//! Answers for asyncio: one queue an event loop.
//!
//! A runtime thread pushes `(call, outcome)` and writes one byte to a socket pair, unless a wake-up is pending already;
//! the loop watches the other end (`loop.add_reader`) and calls [`Completions::drain`], which converts all that came
//! and sets the futures, in one hold of the GIL. What waits for a call (future, conversion) never leaves Python's side.

use std::{
    collections::BTreeMap,
    io::{ErrorKind, Read, Write},
    mem,
    os::{
        fd::{AsRawFd, RawFd},
        unix::net::UnixStream,
    },
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
};

use parking_lot::Mutex;
use pyo3::{exceptions::PyStopIteration, prelude::*};

use super::{
    answer::{Conversion, Outcome},
    call::{call_method, into_python},
    client::PyClient,
    convert::{Level, Timeout},
    durable::Limit,
    errors,
    imports::Name,
    node::PyNode,
    request::Request,
    runtime::{driver, forked, ProcessBound},
    started::{Ready, Started},
    watch::Changes,
};
use crate::error::{Error, ErrorCode, Result};

static DONE: Name = Name::new("done");
static SET_RESULT: Name = Name::new("set_result");
static SET_EXCEPTION: Name = Name::new("set_exception");

/// For [`super::imports`].
pub(super) static NAMES: [&Name; 3] = [&DONE, &SET_RESULT, &SET_EXCEPTION];

/// See `_core.pyi`.
#[pyclass(frozen, module = "kvstore._core")]
pub(super) struct Completions {
    /// The loop's end of the socket pair.
    reader: UnixStream,
    queue: ProcessBound<Arc<Queue>>,
    calls: Mutex<Calls>,
}

/// Calls whose futures still wait.
#[derive(Default)]
struct Calls {
    last: u64,
    waiting: BTreeMap<u64, Waiting>,
}

impl Calls {
    /// A call whose future waits from now on; its name.
    fn wait(&mut self, future: Py<PyAny>, conversion: Conversion) -> u64 {
        self.last += 1;
        self.waiting.insert(self.last, Waiting { future, conversion, started: None });
        self.last
    }
}

struct Waiting {
    future: Py<PyAny>,
    conversion: Conversion,
    /// `None` while the call is being started.
    started: Option<Started>,
}

/// What the threads of the runtime see.
struct Queue {
    finished: Mutex<Vec<(u64, Result<Outcome>)>>,
    /// A byte was written that the loop has not read.
    is_signalled: AtomicBool,
    writer: UnixStream,
}

impl Queue {
    fn push(&self, call: u64, outcome: Result<Outcome>) {
        self.finished.lock().push((call, outcome));
        if !self.is_signalled.swap(true, Ordering::AcqRel) {
            // A full pipe wakes the loop as well, and one whose reader is closed has nobody left to wake.
            if let Err(error) = (&self.writer).write(&[1]) {
                tracing::debug!(%error, "an event loop could not be woken");
            }
        }
    }
}

impl Completions {
    fn queue(&self) -> Result<&Arc<Queue>> {
        self.queue.get().ok_or_else(|| forked("AsyncClient"))
    }

    /// Keeps what gives a call up; a call that could not be started waits no longer.
    fn started(&self, id: u64, started: PyResult<Started>) -> PyResult<u64> {
        match started {
            Ok(started) => {
                // Only a thread with the GIL takes it out, so it is still there.
                if let Some(waiting) = self.calls.lock().waiting.get_mut(&id) {
                    waiting.started = Some(started);
                }
                Ok(id)
            }
            Err(error) => {
                let unused = self.calls.lock().waiting.remove(&id);
                drop(unused);
                Err(error)
            }
        }
    }

    /// Reads what was written, so that the loop sleeps again.
    fn clear_signal(&self, queue: &Queue) -> Result<()> {
        let mut bytes = [0; 8];
        match (&self.reader).read(&mut bytes) {
            Ok(_) => {}
            Err(error) if matches!(error.kind(), ErrorKind::WouldBlock | ErrorKind::Interrupted) => {}
            Err(error) => return Err(broken(&error)),
        }
        // After the read and before the queue is emptied: what is pushed from here on is either taken now or signalled.
        queue.is_signalled.store(false, Ordering::Release);
        Ok(())
    }
}

fn broken(error: &std::io::Error) -> Error {
    Error::new(ErrorCode::Internal, format!("the wake-up of an event loop failed: {error}"))
}

/// Hands an outcome to its future, unless that was cancelled meanwhile.
fn settle(py: Python<'_>, waiting: Waiting, outcome: Result<Outcome>) -> PyResult<()> {
    let future = waiting.future.bind(py);
    if call_method(future, DONE.get(py), ())?.is_truthy()? {
        return Ok(());
    }
    match waiting.conversion.finish(py, outcome) {
        Ok(answer) => call_method(future, SET_RESULT.get(py), (answer,)).map(drop),
        Err(error) => fail(py, future, error),
    }
}

/// Fails a future. None takes a `StopIteration`, which only a codec can have raised.
fn fail(py: Python<'_>, future: &Bound<'_, PyAny>, error: PyErr) -> PyResult<()> {
    let error = match error.is_instance_of::<PyStopIteration>(py) {
        true => {
            let text = into_python(py, || format!("decode() of the codec raised {error}"));
            let instead = errors::codec(py, &text, None);
            instead.set_cause(py, Some(error));
            instead
        }
        false => error,
    };
    call_method(future, SET_EXCEPTION.get(py), (error.into_value(py),)).or_else(|refused| {
        let text = format!("an error could not be handed to its future: {refused}");
        let instead = PyErr::from(Error::new(ErrorCode::Internal, text));
        call_method(future, SET_EXCEPTION.get(py), (instead.into_value(py),))
    })?;
    Ok(())
}

#[pymethods]
impl Completions {
    #[new]
    fn new() -> PyResult<Completions> {
        let pair = || {
            let (reader, writer) = UnixStream::pair()?;
            reader.set_nonblocking(true)?;
            writer.set_nonblocking(true)?;
            Ok((reader, writer))
        };
        let (reader, writer) = pair().map_err(|error| broken(&error))?;
        let queue = Queue { finished: Mutex::default(), is_signalled: AtomicBool::new(false), writer };
        Ok(Completions { reader, queue: ProcessBound::new(Arc::new(queue)), calls: Mutex::default() })
    }

    fn fileno(&self) -> RawFd {
        self.reader.as_raw_fd()
    }

    #[pyo3(signature = (client, request, timeout, read, future, /))]
    fn submit(
        &self,
        client: &PyClient,
        request: &Request,
        timeout: Timeout,
        read: Level,
        future: Py<PyAny>,
    ) -> PyResult<u64> {
        let queue = Arc::clone(self.queue()?);
        let connection = client.connection()?;
        let (call, conversion) = request.take()?;
        let id = self.calls.lock().wait(future, conversion);
        let started = Ready::new(connection, call).start((read, timeout.0), move |outcome| queue.push(id, outcome));
        // Nobody waits for it who could drive.
        driver()?.run_alone();
        self.started(id, started.map_err(PyErr::from))
    }

    /// As [`Completions::submit`], for what a node of this process does not answer at once: a write, which is on disk when the
    /// future is set, and everything about strong keyspaces.
    #[pyo3(signature = (node, request, timeout, read, future, /))]
    fn submit_local(
        &self,
        node: &Bound<'_, PyNode>,
        request: &Request,
        timeout: Limit,
        read: Level,
        future: Py<PyAny>,
    ) -> PyResult<u64> {
        let queue = Arc::clone(self.queue()?);
        let (call, conversion) = request.take()?;
        let id = self.calls.lock().wait(future, conversion);
        let limits = (read, timeout.duration());
        let begun = node.get().begin(node.py(), call, limits, move |outcome| queue.push(id, outcome));
        self.started(id, begun)
    }

    /// Sets a future when there may be something to take from a watch.
    #[pyo3(signature = (changes, future, /))]
    fn watch(&self, changes: &Changes, future: Py<PyAny>) -> PyResult<u64> {
        let queue = Arc::clone(self.queue()?);
        let id = self.calls.lock().wait(future, Conversion::Nothing);
        if let Err(error) = changes.on_change(Box::new(move || queue.push(id, Ok(Outcome::Answers(Vec::new()))))) {
            let unused = self.calls.lock().waiting.remove(&id);
            drop(unused);
            return Err(error.into());
        }
        Ok(id)
    }

    #[pyo3(signature = (call, /))]
    fn cancel(&self, call: u64) {
        let waiting = self.calls.lock().waiting.remove(&call);
        if let Some(started) = waiting.and_then(|waiting| waiting.started) {
            started.cancel();
        }
    }

    fn drain(&self, py: Python<'_>) -> PyResult<()> {
        let queue = self.queue()?;
        self.clear_signal(queue)?;
        let finished = mem::take(&mut *queue.finished.lock());
        // A future that cannot be set must not keep the others from their answers.
        let mut settled = Ok(());
        for (call, outcome) in finished {
            let waiting = self.calls.lock().waiting.remove(&call);
            if let Some(waiting) = waiting {
                settled = settled.and(settle(py, waiting, outcome));
            }
        }
        settled
    }
}
