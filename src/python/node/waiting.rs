//! What a thread of Python waits for at a node of this process, with an eye on Ctrl-C.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::{patience, PyNode};
use crate::{
    env::{Clock, SystemClock},
    error::{Error, ErrorCode, Result},
    limits::{CALL_TIMEOUT, SIGNAL_CHECK_INTERVAL},
    node::{Node, Running},
    python::{answer::Outcome, convert::Timeout, request::Call, started::Started},
};

/// What a handler of a signal has raised.
#[derive(Clone, Default)]
struct Interrupt(Arc<Mutex<Option<PyErr>>>);

impl Interrupt {
    /// Ends once one has. To be polled by the thread of Python that waits: no other may look for signals.
    async fn raised(self) {
        loop {
            tokio::time::sleep(SIGNAL_CHECK_INTERVAL).await;
            if let Err(error) = Python::attach(|py| py.check_signals()) {
                *self.0.lock() = Some(error);
                return;
            }
        }
    }

    /// What was raised counts more than what came of the call.
    fn or<T>(self, outcome: Result<T>) -> PyResult<T> {
        match self.0.lock().take() {
            Some(raised) => Err(raised),
            None => Ok(outcome?),
        }
    }
}

/// Starts it. Ctrl-C gives the start up.
pub(super) fn start(py: Python<'_>, node: &Node) -> PyResult<()> {
    let interrupt = Interrupt::default();
    let given_up = interrupt.clone().raised();
    let started = py.detach(|| node.start_unless(given_up));
    interrupt.or(started)
}

/// Waits until it is ready. It runs on after Ctrl-C.
pub(super) fn wait_ready(py: Python<'_>, node: &Node, timeout: Timeout) -> PyResult<()> {
    let (clock, timeout) = (SystemClock::new(), patience(timeout));
    loop {
        let left = timeout.saturating_sub(clock.monotonic());
        match py.detach(|| node.wait_ready(left.min(SIGNAL_CHECK_INTERVAL))) {
            Err(error) if error.code() == ErrorCode::DeadlineExceeded && left > SIGNAL_CHECK_INTERVAL => {
                py.check_signals()?;
            }
            Err(error) if error.code() == ErrorCode::DeadlineExceeded => {
                return Err(Error::deadline("wait_ready", timeout).into());
            }
            outcome => return Ok(outcome?),
        }
    }
}

/// Stops it. Ctrl-C cuts that short: it is stopped all the same.
pub(super) fn stop(py: Python<'_>, node: &Node, timeout: Timeout) -> PyResult<()> {
    let interrupt = Interrupt::default();
    let cut_short = interrupt.clone().raised();
    let stopped = py.detach(|| node.stop_unless(patience(timeout), cut_short));
    interrupt.or(stopped)
}

/// Tells somebody the outcome of a call, whatever happens: what runs on a node is dropped when the node stops.
pub(super) struct Promise<F: FnOnce(Result<Outcome>)> {
    done: Option<F>,
    /// Whether a call that is dropped may have changed something.
    is_change: bool,
}

impl<F: FnOnce(Result<Outcome>)> Promise<F> {
    pub(super) fn new(is_change: bool, done: F) -> Promise<F> {
        Promise { done: Some(done), is_change }
    }

    pub(super) fn keep(mut self, outcome: Result<Outcome>) {
        if let Some(done) = self.done.take() {
            done(outcome);
        }
    }
}

impl<F: FnOnce(Result<Outcome>)> Drop for Promise<F> {
    fn drop(&mut self) {
        if let Some(done) = self.done.take() {
            let error = Error::new(ErrorCode::NotRunning, "the node was stopped before the call had ended");
            done(Err(open_if(self.is_change, error)));
        }
    }
}

/// The error of a call that was given up: of a change it leaves open whether that was made.
fn open_if(is_change: bool, error: Error) -> Error {
    match is_change {
        true => error.maybe_applied(),
        false => error,
    }
}

/// Whether other nodes or the disk are asked, by a task of the node.
pub(super) fn takes_long(call: &Call) -> bool {
    matches!(
        call,
        Call::Conflicts(_)
            | Call::RemoveMember { .. }
            | Call::MoveLeader { .. }
            | Call::Snapshot { .. }
            | Call::Survey(_)
    )
}

impl PyNode {
    /// Starts what takes long. Who waits no longer gives it up, but for a snapshot: that goes on and is whole.
    ///
    /// # Errors
    /// `NOT_RUNNING`, `FORKED`.
    pub(super) fn begin_long(
        &self,
        call: Call,
        timeout: Option<Duration>,
        done: impl FnOnce(Result<Outcome>) + Send + 'static,
    ) -> Result<Started> {
        let is_change = !matches!(call, Call::Conflicts(_) | Call::Survey(_));
        let (running, promise) = (self.node()?.running()?, Promise::new(is_change, done));
        let limit = match call {
            // Members that keep silent are given up earlier than that.
            Call::Conflicts(_) => Some(CALL_TIMEOUT),
            _ => timeout,
        };
        let (runtime, goes_on) = (running.runtime().clone(), matches!(call, Call::Snapshot { .. }));
        let work = runtime.spawn(async move { ask(&running, call).await });
        let handle = work.abort_handle();
        let waiting = runtime.spawn(async move {
            let ended = match limit {
                Some(limit) => match tokio::time::timeout(limit, work).await {
                    Ok(ended) => ended,
                    Err(_) => return promise.keep(Err(open_if(is_change, Error::deadline("this call", limit)))),
                },
                None => work.await,
            };
            let broken = |error| Error::new(ErrorCode::Internal, format!("a call broke off: {error}"));
            promise.keep(ended.map_err(broken).and_then(|outcome| outcome));
        });
        Ok(Started::Task(if goes_on { waiting.abort_handle() } else { handle }))
    }
}

async fn ask(running: &Running, call: Call) -> Result<Outcome> {
    match call {
        Call::Conflicts(query) => running.conflicts(query).await.map(Outcome::Conflicts),
        Call::RemoveMember { node, force } => running.remove_member(node, force).await.map(|()| Outcome::Removed),
        Call::MoveLeader { to } => running.move_leader(to).await.map(Outcome::Leader),
        Call::Snapshot { path } => running.snapshot(path).await.map(Outcome::Bytes),
        Call::Survey(query) => running.survey(query).await.map(Outcome::Survey),
        _ => Err(Error::new(ErrorCode::Internal, "this call is answered at once")),
    }
}
