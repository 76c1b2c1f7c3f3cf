//! The conflict journal of a node: the writes that it had acknowledged and that lost, for whoever wants to know or to
//! restore them. Bounded; the oldest go, and are counted.
//!
//! It has a lock of its own, the last in order: nothing is locked while it is held.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    limits::{CONFLICTS_BYTES_MAX, CONFLICTS_MAX},
    sync::RwLock,
    types::{Conflict, ConflictQuery},
};

/// How much a journal holds.
#[derive(Clone, Copy, Debug)]
pub(super) struct JournalBounds {
    /// Conflicts.
    pub(super) conflicts_max: usize,
    /// Bytes of their keys and values.
    pub(super) bytes_max: usize,
}

impl Default for JournalBounds {
    fn default() -> JournalBounds {
        JournalBounds { conflicts_max: CONFLICTS_MAX, bytes_max: CONFLICTS_BYTES_MAX }
    }
}

/// The conflicts of one node, in the order in which they were noticed.
#[derive(Debug, Default)]
pub(super) struct Journal {
    bounds: JournalBounds,
    /// A leaf of the lock order: nothing is locked while it is held.
    entries: RwLock<Entries>,
}

#[derive(Debug, Default)]
struct Entries {
    /// The oldest first.
    conflicts: VecDeque<Arc<Conflict>>,
    bytes: usize,
    recorded: u64,
    dropped: u64,
}

impl Journal {
    /// An empty journal that holds this much.
    #[cfg(test)]
    pub(super) fn with_bounds(bounds: JournalBounds) -> Journal {
        Journal { bounds, entries: RwLock::new(Entries::default()) }
    }

    /// Appends conflicts; the oldest make room.
    pub(super) fn record(&self, conflicts: Vec<Conflict>) {
        let mut entries = self.entries.write();
        let Entries { conflicts: kept, bytes, recorded, dropped } = &mut *entries;
        for conflict in conflicts {
            *recorded += 1;
            *bytes += conflict.bytes();
            kept.push_back(Arc::new(conflict));
        }
        while kept.len() > self.bounds.conflicts_max || *bytes > self.bounds.bytes_max {
            let Some(oldest) = kept.pop_front() else { break };
            *bytes -= oldest.bytes();
            *dropped += 1;
        }
    }

    /// Appends conflicts that are not there yet: the log and a checkpoint may both tell of one. A write is lost once, so
    /// its dot and its key say which it is.
    pub(super) fn restore(&self, conflicts: Vec<Conflict>) {
        let missing = |conflict: &Conflict| {
            let entries = self.entries.read();
            let is_same = |kept: &Arc<Conflict>| kept.lost.dot == conflict.lost.dot && kept.key == conflict.key;
            !entries.conflicts.iter().any(is_same)
        };
        for conflict in conflicts {
            if missing(&conflict) {
                self.record(vec![conflict]);
            }
        }
    }

    /// The conflicts that are wanted, the newest first.
    pub(super) fn list(&self, query: &ConflictQuery) -> Vec<Arc<Conflict>> {
        let entries = self.entries.read();
        let wanted = entries.conflicts.iter().rev().filter(|conflict| query.wants(conflict));
        wanted.take(query.limit.unwrap_or(usize::MAX)).cloned().collect()
    }

    /// How many were recorded, and how many of them dropped since.
    pub(super) fn counts(&self) -> (u64, u64) {
        let entries = self.entries.read();
        (entries.recorded, entries.dropped)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Dot, Key, NodeId, Record, Sequence, Timestamp, Value};

    fn conflict(key: &str, noticed_ms: u64) -> Conflict {
        let record = |node| Record {
            value: Some(Value::new(b"12345").unwrap()),
            flags: 0,
            timestamp: Timestamp(noticed_ms),
            dot: Dot { node: NodeId(node), sequence: Sequence(1) },
            expires_ms: None,
        };
        let key = Key::new(key.as_bytes()).unwrap();
        Conflict { key, lost: record(1), won: record(2), noticed_ms, node: NodeId(1) }
    }

    fn noticed(journal: &Journal, query: &ConflictQuery) -> Vec<u64> {
        journal.list(query).iter().map(|conflict| conflict.noticed_ms).collect()
    }

    #[test]
    fn the_newest_come_first_by_prefix_time_and_number() {
        let journal = Journal::default();
        journal.record(vec![conflict("a/1", 1), conflict("b/1", 2), conflict("a/2", 3)]);
        let all = ConflictQuery::default();
        assert_eq!(noticed(&journal, &all), [3, 2, 1]);
        assert_eq!(noticed(&journal, &ConflictQuery { prefix: b"a/".to_vec(), ..all.clone() }), [3, 1]);
        assert_eq!(noticed(&journal, &ConflictQuery { since_ms: 2, ..all.clone() }), [3, 2]);
        assert_eq!(noticed(&journal, &ConflictQuery { limit: Some(1), ..all }), [3]);
    }

    #[test]
    fn beyond_a_bound_the_oldest_go_and_are_counted() {
        let by_count = Journal::with_bounds(JournalBounds { conflicts_max: 2, bytes_max: 1000 });
        let by_bytes = Journal::with_bounds(JournalBounds { conflicts_max: 10, bytes_max: 27 });
        for journal in [by_count, by_bytes] {
            (1..=4).for_each(|ms| journal.record(vec![conflict("abc", ms)]));
            let kept = noticed(&journal, &ConflictQuery::default());
            assert_eq!(kept.first(), Some(&4));
            assert_eq!(journal.counts(), (4, 4 - kept.len() as u64));
            assert!(kept.len() <= 2);
        }
    }
}
