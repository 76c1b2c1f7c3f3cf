//! Where a thread that waits gets its outcome from a thread of the runtime, without either taking the other's locks.

use std::time::Duration;

use parking_lot::{Condvar, Mutex};

/// Filled once, taken once. One wake-up, of the one thread that waits.
pub(super) struct Slot<T> {
    outcome: Mutex<Option<T>>,
    filled: Condvar,
}

impl<T> Slot<T> {
    /// An empty one.
    pub(super) fn new() -> Slot<T> {
        Slot { outcome: Mutex::new(None), filled: Condvar::new() }
    }

    /// Fills it and wakes who waits.
    pub(super) fn fill(&self, outcome: T) {
        *self.outcome.lock() = Some(outcome);
        self.filled.notify_one();
    }

    /// Waits at most `patience`; `None`: it is still empty. To be called with the GIL released.
    pub(super) fn take(&self, patience: Duration) -> Option<T> {
        let mut outcome = self.outcome.lock();
        if outcome.is_none() {
            self.filled.wait_for(&mut outcome, patience);
        }
        outcome.take()
    }
}
