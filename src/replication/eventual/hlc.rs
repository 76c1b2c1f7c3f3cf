//! The hybrid logical clock (Kulkarni et al., OPODIS 2014): close to the wall clock, never back, ahead of everything
//! this node has seen, but never further ahead of the wall clock than the drift bound.

use crate::{
    faults,
    sync::{AtomicU64, Ordering},
    types::Timestamp,
};

/// One node's clock. Shared by all partitions; lock-free.
///
/// It draws even stamps only. The odd one behind a stamp is left to the sweep of what has expired ([`super::Eventual::sweep`]),
/// which has to come after the write that it ends and before every other.
#[derive(Debug, Default)]
pub struct Hlc {
    latest: AtomicU64,
}

impl Hlc {
    /// A clock that has seen nothing.
    pub fn new() -> Hlc {
        Hlc::default()
    }

    /// A timestamp greater than every one drawn or observed before, and not before the wall clock. Always even.
    pub fn tick(&self, wall_ms: u64) -> Timestamp {
        let wall = Timestamp::from_millis(wall_ms);
        let mut latest = self.latest.load(Ordering::Relaxed);
        loop {
            let next = Timestamp(latest | 1).next().max(wall);
            match self.latest.compare_exchange_weak(latest, next.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return next,
                Err(newer) => latest = newer,
            }
        }
    }

    /// The greatest timestamp drawn or observed so far.
    pub fn latest(&self) -> Timestamp {
        Timestamp(self.latest.load(Ordering::Relaxed))
    }

    /// Takes note of a remote timestamp: later ticks are greater. One that is more than `max_drift_ms` ahead of the wall
    /// clock is refused and changes nothing, so that one bad clock does not become everybody's: the physical part of
    /// every stamp drawn here stays within the bound of the highest wall clock reading.
    ///
    /// # Errors
    /// By how many milliseconds it is ahead.
    pub fn observe(&self, remote: Timestamp, wall_ms: u64, max_drift_ms: u64) -> Result<(), u64> {
        let latest_allowed = Timestamp::from_millis(wall_ms.saturating_add(max_drift_ms));
        if remote > latest_allowed && !faults::is_mutant("clock_without_drift_bound") {
            return Err(remote.millis().saturating_sub(wall_ms));
        }
        self.note(remote);
        Ok(())
    }

    /// Takes note of a timestamp that is here already, or just behind one that is.
    pub(super) fn note(&self, held: Timestamp) {
        self.latest.fetch_max(held.0, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn ticks_grow_whatever_the_wall_clock_and_the_peers_say(
            steps in prop::collection::vec((any::<bool>(), 0u64..1 << 47), 1..100),
        ) {
            let clock = Hlc::new();
            let mut latest = Timestamp::ZERO;
            for (is_tick, number) in steps {
                if is_tick {
                    let stamp = clock.tick(number);
                    prop_assert!(stamp > latest, "{stamp} after {latest}");
                    prop_assert!(stamp >= Timestamp::from_millis(number) && stamp.0.is_multiple_of(2));
                    latest = stamp;
                } else {
                    let remote = Timestamp(number << 16);
                    clock.observe(remote, number, 0).unwrap();
                    latest = latest.max(remote);
                }
            }
        }

        #[test]
        fn no_stamp_shows_more_than_the_highest_wall_clock_and_the_bound(
            steps in prop::collection::vec((any::<bool>(), 0u64..1000, 0u64..1 << 26), 1..100), max_drift_ms in 0u64..100,
        ) {
            let clock = Hlc::new();
            let mut highest_ms = 0;
            for (is_tick, wall_ms, remote) in steps {
                highest_ms = highest_ms.max(wall_ms);
                if is_tick {
                    let latest = clock.tick(wall_ms);
                    prop_assert!(latest.millis() <= highest_ms + max_drift_ms, "{latest:?} at {highest_ms}");
                } else if let Err(ahead_ms) = clock.observe(Timestamp(remote), wall_ms, max_drift_ms) {
                    prop_assert!(ahead_ms >= max_drift_ms, "refused although only {ahead_ms} ms ahead");
                }
            }
        }
    }

    #[test]
    fn a_full_counter_carries_into_the_milliseconds() {
        let clock = Hlc::new();
        clock.observe(Timestamp(5 << 16 | 0xffff), 6, 0).unwrap();
        assert_eq!(clock.tick(5), Timestamp(6 << 16));
    }
}
