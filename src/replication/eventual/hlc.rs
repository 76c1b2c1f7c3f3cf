//! The hybrid logical clock (Kulkarni et al., OPODIS 2014): close to the wall clock, never back, ahead of everything
//! this node has seen.

use crate::{
    sync::{AtomicU64, Ordering},
    types::Timestamp,
};

/// One node's clock. Shared by all partitions; lock-free.
///
/// Not done here: a bound on how far a remote stamp may pull it ahead.
#[derive(Debug, Default)]
pub struct Hlc {
    latest: AtomicU64,
}

impl Hlc {
    /// A clock that has seen nothing.
    pub fn new() -> Hlc {
        Hlc::default()
    }

    /// A timestamp greater than every one drawn or observed before, and not before the wall clock.
    pub fn tick(&self, wall_ms: u64) -> Timestamp {
        let wall = Timestamp::from_millis(wall_ms);
        let mut latest = self.latest.load(Ordering::Relaxed);
        loop {
            let next = Timestamp(latest).next().max(wall);
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

    /// Takes note of a remote timestamp: later ticks are greater.
    pub fn observe(&self, remote: Timestamp) {
        self.latest.fetch_max(remote.0, Ordering::Relaxed);
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
                    prop_assert!(stamp >= Timestamp::from_millis(number));
                    latest = stamp;
                } else {
                    let remote = Timestamp(number << 16);
                    clock.observe(remote);
                    latest = latest.max(remote);
                }
            }
        }
    }

    #[test]
    fn a_full_counter_carries_into_the_milliseconds() {
        let clock = Hlc::new();
        clock.observe(Timestamp(5 << 16 | 0xffff));
        assert_eq!(clock.tick(5), Timestamp(6 << 16));
    }
}
