//! The machine's own time. Leases and times to live are measured in it.
//!
//! It adds up what passed between entries *of the same term*, by the clock of that term's leader, and stands still from the
//! last entry of a leader to the first of the next. So a clock that is ahead of the former leader's ends nothing early, and
//! a lease that had five seconds left has five seconds left under the next leader: remaining times survive, and never
//! start over (etcd's leases did, etcd-io/etcd#13508).

use crate::faults;

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Clock {
    /// The term of the last entry.
    pub(super) term: u64,
    /// The greatest that the leader of that term has shown.
    pub(super) shown_ms: u64,
    /// What has passed.
    pub(super) elapsed_ms: u64,
}

impl Clock {
    /// An entry of `term` shows `time_ms`. A clock that goes back makes time stand still.
    pub(super) fn observe(&mut self, term: u64, time_ms: u64) {
        let is_same_leader = self.term == term || (faults::is_mutant("strong_time_across_terms") && self.term != 0);
        if is_same_leader {
            self.elapsed_ms = self.elapsed_ms.saturating_add(time_ms.saturating_sub(self.shown_ms));
            self.shown_ms = self.shown_ms.max(time_ms);
        } else {
            self.shown_ms = time_ms;
        }
        self.term = term;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn elapsed(entries: &[(u64, u64)]) -> u64 {
        let mut clock = Clock::default();
        entries.iter().for_each(|&(term, time_ms)| clock.observe(term, time_ms));
        clock.elapsed_ms
    }

    #[test]
    fn time_passes_under_one_leader_only() {
        assert_eq!(elapsed(&[(1, 1000)]), 0, "the first entry only says where the clock stands");
        assert_eq!(elapsed(&[(1, 1000), (1, 1500), (1, 1500), (1, 1600)]), 600);
        assert_eq!(elapsed(&[(1, 1000), (1, 1500), (1, 1400), (1, 1450), (1, 1510)]), 510, "back is standing still");
        assert_eq!(elapsed(&[(1, 1000), (1, 1500), (2, 99_000), (2, 99_100)]), 600, "a clock that is ahead");
        assert_eq!(elapsed(&[(1, 1000), (1, 1500), (2, 10), (2, 110)]), 600, "a clock that is behind");
        assert_eq!(elapsed(&[(1, 0), (1, u64::MAX), (2, 0), (2, u64::MAX)]), u64::MAX);
    }
}
