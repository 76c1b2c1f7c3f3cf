//! Replication lag: how long own writes take to a peer and back.

use std::time::Duration;

use hdrhistogram::Histogram;

use crate::{
    limits::{LAG_MS_MAX, LAG_WINDOW},
    types::ReplicationLag,
};

/// The lag of the last writes, in two windows that take turns: what is reported is between one and two windows old.
#[derive(Debug)]
pub(super) struct Lag {
    current: Histogram<u64>,
    previous: Histogram<u64>,
    began: Duration,
}

/// Significant digits that a histogram keeps.
const DIGITS: u8 = 2;

impl Lag {
    /// No samples yet.
    pub(super) fn new(now: Duration) -> Lag {
        Lag { current: histogram(), previous: histogram(), began: now }
    }

    /// `writes` were acknowledged after this many milliseconds.
    pub(super) fn record(&mut self, lag_ms: u64, writes: u64) {
        self.current.saturating_record_n(lag_ms, writes);
    }

    /// Lets old samples go.
    pub(super) fn rotate(&mut self, now: Duration) {
        if now.saturating_sub(self.began) >= LAG_WINDOW {
            std::mem::swap(&mut self.current, &mut self.previous);
            self.current.clear();
            self.began = now;
        }
    }

    /// The lag over both windows.
    pub(super) fn summary(&self) -> ReplicationLag {
        let mut all = self.current.clone();
        all.add(&self.previous).expect("both have the same range");
        if all.is_empty() {
            return ReplicationLag::default();
        }
        ReplicationLag {
            samples: all.len(),
            p50_ms: all.value_at_quantile(0.5) as f64,
            p99_ms: all.value_at_quantile(0.99) as f64,
            max_ms: all.max() as f64,
        }
    }
}

fn histogram() -> Histogram<u64> {
    Histogram::new_with_max(LAG_MS_MAX, DIGITS).expect("the range and the digits are within the histogram's bounds")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn samples_count_for_one_to_two_windows() {
        let mut lag = Lag::new(Duration::ZERO);
        assert_eq!(lag.summary(), ReplicationLag::default());
        lag.record(4, 99);
        lag.record(100, 1);
        let expected = ReplicationLag { samples: 100, p50_ms: 4.0, p99_ms: 4.0, max_ms: 100.0 };
        assert_eq!(lag.summary(), expected);
        lag.rotate(LAG_WINDOW);
        assert_eq!(lag.summary(), expected);
        lag.rotate(LAG_WINDOW * 2);
        assert_eq!(lag.summary(), ReplicationLag::default());
    }
}
