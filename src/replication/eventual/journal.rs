//! The conflict journal of a node: the writes that it had acknowledged and that lost, for whoever wants to know or to
//! restore them. Bounded; the oldest go, and are counted.
//!
//! It has a lock of its own, the last in order: nothing is locked while it is held.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use crate::{
    limits::{CONFLICTS_BYTES_MAX, CONFLICTS_MAX},
    sync::RwLock,
    types::{Conflict, ConflictQuery, Space, SpaceId},
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
    /// How many there are of each keyspace that has a name.
    counts: BTreeMap<SpaceId, u64>,
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

    /// Appends conflicts; the oldest make room, and the oldest of a keyspace for that keyspace, where `keep` says how many of
    /// it are to be kept. `keep` must lock nothing.
    pub(super) fn record(&self, conflicts: Vec<Conflict>, keep: impl Fn(SpaceId) -> Option<u64>) {
        let mut entries = self.entries.write();
        for conflict in conflicts {
            let space = SpaceId::of_held(&conflict.key);
            entries.push(conflict);
            if let Some((space, keep)) = space.and_then(|space| Some((space, keep(space)?))) {
                while entries.counts.get(&space).is_some_and(|count| *count > keep) {
                    entries.drop_oldest_of(space);
                }
            }
        }
        while entries.conflicts.len() > self.bounds.conflicts_max || entries.bytes > self.bounds.bytes_max {
            entries.drop_at(0);
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
                self.record(vec![conflict], |_| None);
            }
        }
    }

    /// The conflicts of a keyspace that are wanted, the newest first.
    pub(super) fn list(&self, space: Space, query: &ConflictQuery) -> Vec<Arc<Conflict>> {
        let entries = self.entries.read();
        let wanted = entries.conflicts.iter().rev().filter(|conflict| query.wants(space, conflict));
        wanted.take(query.limit.unwrap_or(usize::MAX)).cloned().collect()
    }

    /// All of all keyspaces, the newest first.
    pub(super) fn all(&self) -> Vec<Arc<Conflict>> {
        self.entries.read().conflicts.iter().rev().cloned().collect()
    }

    /// How many are held of a keyspace.
    pub(super) fn count(&self, space: Space) -> u64 {
        let entries = self.entries.read();
        match space {
            Space::Default => (entries.conflicts.len() as u64).saturating_sub(entries.counts.values().sum()),
            Space::Named(space) => entries.counts.get(&space).copied().unwrap_or_default(),
        }
    }

    /// How many were recorded, and how many of them dropped since.
    pub(super) fn counts(&self) -> (u64, u64) {
        let entries = self.entries.read();
        (entries.recorded, entries.dropped)
    }
}

impl Entries {
    fn push(&mut self, conflict: Conflict) {
        self.recorded += 1;
        self.bytes += conflict.bytes();
        if let Some(space) = SpaceId::of_held(&conflict.key) {
            *self.counts.entry(space).or_default() += 1;
        }
        self.conflicts.push_back(Arc::new(conflict));
    }

    fn drop_oldest_of(&mut self, space: SpaceId) {
        let is_of = |conflict: &Arc<Conflict>| SpaceId::of_held(&conflict.key) == Some(space);
        match self.conflicts.iter().position(is_of) {
            Some(place) => self.drop_at(place),
            // There is none, whatever was counted.
            None => drop(self.counts.remove(&space)),
        }
    }

    fn drop_at(&mut self, place: usize) {
        let Some(conflict) = self.conflicts.remove(place) else { return };
        self.bytes -= conflict.bytes();
        self.dropped += 1;
        let Some(space) = SpaceId::of_held(&conflict.key) else { return };
        if let Some(count) = self.counts.get_mut(&space) {
            *count -= 1;
            if *count == 0 {
                self.counts.remove(&space);
            }
        }
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
        journal.list(Space::Default, query).iter().map(|conflict| conflict.noticed_ms).collect()
    }

    #[test]
    fn the_newest_come_first_by_prefix_time_and_number() {
        let journal = Journal::default();
        journal.record(vec![conflict("a/1", 1), conflict("b/1", 2), conflict("a/2", 3)], |_| None);
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
            (1..=4).for_each(|ms| journal.record(vec![conflict("abc", ms)], |_| None));
            let kept = noticed(&journal, &ConflictQuery::default());
            assert_eq!(kept.first(), Some(&4));
            assert_eq!(journal.counts(), (4, 4 - kept.len() as u64));
            assert!(kept.len() <= 2);
        }
    }
    #[test]
    fn a_keyspace_keeps_as_many_as_it_was_made_with() {
        let journal = Journal::with_bounds(JournalBounds { conflicts_max: 6, bytes_max: 1000 });
        let space = |keyspace| SpaceId { group: 1, keyspace };
        let of = |keyspace, ms| {
            let key = Space::Named(space(keyspace)).held(Key::new(b"k").unwrap());
            Conflict { key, ..conflict("k", ms) }
        };
        let listed = |space| -> Vec<u64> {
            journal.list(space, &ConflictQuery::default()).iter().map(|conflict| conflict.noticed_ms).collect()
        };
        let keep = |found: SpaceId| (found == space(1)).then_some(2);
        journal.record(vec![of(1, 1), conflict("k", 2), of(1, 3), of(2, 4), of(1, 5)], keep);
        assert_eq!(listed(Space::Named(space(1))), [5, 3], "the oldest went for the newest");
        assert_eq!((listed(Space::Named(space(2))), listed(Space::Default)), (vec![4], vec![2]));
        let counts = |spaces: [Space; 3]| spaces.map(|space| journal.count(space));
        assert_eq!(counts([Space::Default, Space::Named(space(1)), Space::Named(space(2))]), [1, 2, 1]);
        journal.record((6..=8).map(|ms| of(2, ms)).collect(), keep);
        assert_eq!(listed(Space::Named(space(2))), [8, 7, 6, 4]);
        assert_eq!((listed(Space::Default), listed(Space::Named(space(1)))), (vec![], vec![5, 3]), "2 was the oldest");
        assert_eq!((journal.all().len(), journal.counts()), (6, (8, 2)));
        journal.record(vec![of(1, 9)], |_| Some(0));
        assert_eq!((listed(Space::Named(space(1))), journal.count(Space::Named(space(1)))), (vec![], 0));
    }
}
