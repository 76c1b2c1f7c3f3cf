//! Where a thread that waits gets its outcome from whoever runs the tasks, without either taking the other's locks.

use std::{
    future::poll_fn,
    task::{Poll, Waker},
    time::Duration,
};

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;

use crate::{
    env::{Clock, SystemClock},
    limits::SIGNAL_CHECK_INTERVAL,
};

/// Waits with the GIL released, by `wait`, which gives `None` when it waited for so long in vain; looks for Ctrl-C in between.
/// `None`: not within the timeout.
///
/// # Errors
/// What a handler of a signal raises.
pub(super) fn wait_patiently<T: Send>(
    py: Python<'_>,
    timeout: Option<Duration>,
    wait: impl Fn(Duration) -> Option<T> + Sync,
) -> PyResult<Option<T>> {
    let clock = SystemClock::new();
    loop {
        let left = timeout.map(|timeout| timeout.saturating_sub(clock.monotonic()));
        let slice = left.unwrap_or(SIGNAL_CHECK_INTERVAL).min(SIGNAL_CHECK_INTERVAL);
        if let Some(outcome) = py.detach(|| wait(slice)) {
            return Ok(Some(outcome));
        }
        py.check_signals()?;
        if left.is_some_and(|left| left.is_zero()) {
            return Ok(None);
        }
    }
}

/// Filled once, taken once. One wake-up, of the one thread that waits.
pub(super) struct Slot<T> {
    inner: Mutex<Inner<T>>,
    filled: Condvar,
}

struct Inner<T> {
    outcome: Option<T>,
    /// Of who waits in a task.
    waker: Option<Waker>,
}

impl<T> Slot<T> {
    /// An empty one.
    pub(super) fn new() -> Slot<T> {
        Slot { inner: Mutex::new(Inner { outcome: None, waker: None }), filled: Condvar::new() }
    }

    /// Fills it and wakes who waits.
    pub(super) fn fill(&self, outcome: T) {
        let mut inner = self.inner.lock();
        inner.outcome = Some(outcome);
        let waker = inner.waker.take();
        drop(inner);
        match waker {
            Some(waker) => waker.wake(),
            None => drop(self.filled.notify_one()),
        }
    }

    /// Waits at most `patience`; `None`: it is still empty. To be called with the GIL released.
    pub(super) fn take(&self, patience: Duration) -> Option<T> {
        let mut inner = self.inner.lock();
        inner.waker = None;
        if inner.outcome.is_none() {
            self.filled.wait_for(&mut inner, patience);
        }
        inner.outcome.take()
    }

    /// As [`Slot::take`], in a task and for as long as it takes.
    pub(super) async fn taken(&self) -> T {
        poll_fn(|context| {
            let mut inner = self.inner.lock();
            if let Some(outcome) = inner.outcome.take() {
                return Poll::Ready(outcome);
            }
            inner.waker = Some(context.waker().clone());
            Poll::Pending
        })
        .await
    }
}
