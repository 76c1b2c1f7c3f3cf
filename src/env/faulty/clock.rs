//! Clocks that can be set ahead.

use std::{
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::Duration,
};

use crate::env::Clock;

/// How far ahead the clocks of some nodes are. One number, so that all of them see it change at the same moment.
#[derive(Debug, Default)]
pub(super) struct ClockOffset {
    ms: AtomicU64,
}

impl ClockOffset {
    pub(super) fn advance(&self, by: Duration) {
        let ms = u64::try_from(by.as_millis()).unwrap_or(u64::MAX);
        self.ms.fetch_add(ms, Ordering::SeqCst);
    }

    fn ms(&self) -> u64 {
        self.ms.load(Ordering::SeqCst)
    }
}

/// A clock, set ahead.
pub(super) struct AdvancedClock {
    inner: Arc<dyn Clock>,
    offset: Arc<ClockOffset>,
}

impl AdvancedClock {
    pub(super) fn new(inner: Arc<dyn Clock>, offset: Arc<ClockOffset>) -> AdvancedClock {
        AdvancedClock { inner, offset }
    }
}

impl Clock for AdvancedClock {
    fn wall_ms(&self) -> u64 {
        self.inner.wall_ms().saturating_add(self.offset.ms())
    }

    fn monotonic(&self) -> Duration {
        self.inner.monotonic().saturating_add(Duration::from_millis(self.offset.ms()))
    }
}
