//! Writes that wait for the disk of a node in this process.

use std::time::Duration;

use pyo3::prelude::*;

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
