//! Writes that wait for the disk of a node in this process.

use std::{future::Future, sync::Arc, time::Duration};

use futures_util::FutureExt;
use pyo3::prelude::*;
use tokio::sync::{OwnedSemaphorePermit, Semaphore};

use super::convert::Timeout;
use crate::{
    env::{Clock, SystemClock},
    error::{Error, ErrorCode, Result},
    limits::{CALL_TIMEOUT, SIGNAL_CHECK_INTERVAL},
    replication::eventual::Eventual,
    storage::log::Position,
};

/// Waits until what was written just now is on disk, with the GIL released, and looks for Ctrl-C from time to time. Costs
/// nothing in a node that lives in memory.
///
/// # Errors
/// `DeadlineError` and `UnavailableError`, both with an unknown outcome.
#[inline]
pub(super) fn wait(py: Python<'_>, keyspace: &Eventual, limit: Limit) -> PyResult<()> {
    if keyspace.written().is_none() {
        return Ok(());
    }
    wait_for_disk(py, keyspace, limit)
}

/// How long a call of a node may take.
#[derive(Clone, Copy)]
pub(super) enum Limit {
    /// As long as the calls of a client: nothing was said, or `...`.
    Usual,
    /// So long; `None`: for ever.
    Given(Option<Duration>),
}

impl Limit {
    /// `None`: for ever.
    pub(super) fn duration(self) -> Option<Duration> {
        match self {
            Limit::Usual => Some(CALL_TIMEOUT),
            Limit::Given(limit) => limit,
        }
    }
}

impl<'py> FromPyObject<'_, 'py> for Limit {
    type Error = PyErr;

    fn extract(object: Borrowed<'_, 'py, PyAny>) -> PyResult<Limit> {
        if object.is(object.py().Ellipsis()) {
            return Ok(Limit::Usual);
        }
        object.extract().map(|Timeout(limit)| Limit::Given(limit))
    }
}

/// Waits until the log takes another write. Those that do not wait for the disk come faster than it takes them, and wait
/// here instead of failing.
///
/// # Errors
/// What the log refuses with: nothing was changed.
#[inline]
pub(super) fn make_room(py: Python<'_>, keyspace: &Eventual, limit: Limit) -> PyResult<()> {
    match keyspace.ledger().map(|ledger| ledger.log().check_room()) {
        Some(Err(error)) if error.code() == ErrorCode::Overloaded => wait_for_room(py, keyspace, limit),
        Some(Err(error)) => Err(error.into()),
        Some(Ok(())) | None => Ok(()),
    }
}

#[cold]
fn wait_for_room(py: Python<'_>, keyspace: &Eventual, limit: Limit) -> PyResult<()> {
    let Some(ledger) = keyspace.ledger() else { return Ok(()) };
    let (timeout, clock) = (limit.duration(), SystemClock::new());
    loop {
        let left = timeout.map_or(Duration::MAX, |timeout| timeout.saturating_sub(clock.monotonic()));
        match py.detach(|| ledger.log().wait_for_room(left.min(SIGNAL_CHECK_INTERVAL))) {
            Err(error) if error.code() == ErrorCode::Overloaded && left > SIGNAL_CHECK_INTERVAL => {
                py.check_signals()?
            }
            outcome => return Ok(outcome?),
        }
    }
}

#[cold]
fn wait_for_disk(py: Python<'_>, keyspace: &Eventual, limit: Limit) -> PyResult<()> {
    let written = keyspace.written();
    let timeout = limit.duration();
    let clock = SystemClock::new();
    loop {
        let left = timeout.map_or(Duration::MAX, |timeout| timeout.saturating_sub(clock.monotonic()));
        match py.detach(|| keyspace.wait_durable(written, left.min(SIGNAL_CHECK_INTERVAL))) {
            Ok(()) => return Ok(()),
            Err(error) if error.code() != ErrorCode::DeadlineExceeded => return Err(error.into()),
            Err(_) if left <= SIGNAL_CHECK_INTERVAL => {
                return Err(Error::deadline("writing to disk", timeout.unwrap_or_default()).maybe_applied().into());
            }
            Err(_) => py.check_signals()?,
        }
    }
}

/// Waits until everything up to `written` is on disk, in a task.
///
/// # Errors
/// `DEADLINE_EXCEEDED`, `DISK_FAILED`, both with an unknown outcome.
pub(super) async fn settled(keyspace: &Eventual, written: Option<Position>, timeout: Option<Duration>) -> Result<()> {
    let Some(limit) = timeout else { return keyspace.durable(written).await };
    let settled = tokio::time::timeout(limit, keyspace.durable(written)).await;
    settled.unwrap_or_else(|_| Err(Error::deadline("writing to disk", limit).maybe_applied()))
}

/// The writes of tasks for which the log has no room yet, in the order in which they were started: the last one of a key is
/// the one that stays, so none may pass another.
///
/// Not bounded: each is a call of a program in this process, which holds the value until it is answered.
#[derive(Clone)]
pub(super) struct Turns(Arc<Semaphore>);

impl Turns {
    pub(super) fn new() -> Turns {
        Turns(Arc::new(Semaphore::new(1)))
    }

    /// Whether a write may be made now: none waits, and the log has room.
    pub(super) fn is_mine(&self, keyspace: &Eventual) -> bool {
        self.0.available_permits() > 0 && keyspace.has_room()
    }

    /// A place behind all that wait. What comes of it is kept until the write is made.
    pub(super) fn line_up(&self) -> impl Future<Output = Option<OwnedSemaphorePermit>> + Send {
        let mut place = Box::pin(self.0.clone().acquire_owned());
        // The first look takes the place: a task may run later than one that was started after it.
        let first = place.as_mut().now_or_never();
        async move {
            match first {
                Some(turn) => turn.ok(),
                None => place.await.ok(),
            }
        }
    }
}

/// Writes when the turn has come and the log has room, and waits until that is on disk, in a task.
///
/// # Errors
/// `OVERLOADED` when there was no room within the timeout: nothing was changed. Those of `write` and of [`settled`].
pub(super) async fn in_turn<T>(
    keyspace: &Eventual,
    turn: impl Future<Output = Option<OwnedSemaphorePermit>>,
    timeout: Option<Duration>,
    write: impl FnOnce() -> Result<T>,
) -> Result<T> {
    let clock = SystemClock::new();
    let room = async {
        let turn = turn.await;
        keyspace.room().await;
        turn
    };
    let turn = match timeout {
        None => room.await,
        Some(limit) => tokio::time::timeout(limit, room).await.map_err(|_| {
            let text =
                format!("log: no room for a write within {:.3} s, the disk does not keep up", limit.as_secs_f64());
            Error::new(ErrorCode::Overloaded, text)
        })?,
    };
    let outcome = write();
    drop(turn);
    let left = timeout.map(|timeout| timeout.saturating_sub(clock.monotonic()));
    settled(keyspace, keyspace.written(), left).await.and(outcome)
}
