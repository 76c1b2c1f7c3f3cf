//! What becomes of records that nobody reads any more: values that have expired, tombstones that nobody needs.

use std::time::Duration;

use super::{progress::merge_with, Eventual};
use crate::{
    faults,
    limits::{SWEEP_KEYS_MAX, TOMBSTONE_VISITS_MAX},
    storage::Merged,
    sync::Ordering,
    types::{Dot, Key, PartitionId, Record, RecordRef, Sequence, Timestamp, VersionVector},
};

/// Where a node stands in a partition, read under one lock.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Standing {
    /// What it has, its own writes included.
    pub vector: VersionVector,
    /// The oldest own write that it can still stream.
    pub outbox_first: Sequence,
    /// The digest of the writes whose values it holds; `None` while fetched state is being merged.
    pub digest: Option<u64>,
}

impl Eventual {
    /// Where this node stands in a partition.
    pub fn standing(&self, partition: PartitionId) -> Standing {
        let guard = self.partitions.read(partition);
        Standing {
            vector: guard.sidecar.vector(self.me),
            outbox_first: guard.sidecar.outbox.first(),
            digest: (!guard.sidecar.is_merging).then(|| guard.records.write_digest()),
        }
    }

    /// Covers every tombstone of a partition that was dropped, here or by whom its state came from.
    pub fn dropped(&self, partition: PartitionId) -> VersionVector {
        self.progress(partition, |progress| progress.dropped.clone())
    }

    /// The greatest stamp of a tombstone up to `told` that is held or was dropped. Of all that stamped up to `told`, which
    /// others may have dropped on the word of this node, none is greater.
    pub fn tombstone_floor(&self, partition: PartitionId, told: Timestamp) -> Timestamp {
        let guard = self.partitions.read(partition);
        guard.sidecar.dropped_until.max(guard.records.newest_tombstone(told).unwrap_or(Timestamp::ZERO))
    }

    /// Loses a record, as damaged memory might.
    #[cfg(test)]
    pub(in crate::replication::eventual) fn lose(&self, key: &Key) {
        self.partitions.write(crate::storage::partition_of(key)).records.forget(key);
    }

    /// How old the oldest tombstone is, in milliseconds; 0: there is none.
    pub fn oldest_tombstone_ms(&self) -> u64 {
        let oldest = |partition| self.partitions.read(partition).records.oldest_tombstone();
        let oldest = self.partitions.ids().filter_map(oldest).min();
        oldest.map_or(0, |oldest| self.now_ms().saturating_sub(oldest.millis()))
    }

    /// How many values turned into tombstones here because their time to live had passed.
    pub fn expired(&self) -> u64 {
        self.expired.load(Ordering::Relaxed)
    }

    /// Turns values of a partition that expired more than `grace` ago into tombstones, a bounded number. Returns whether
    /// there may be more. To be called by the owner of the partition; two owners at once do no harm.
    ///
    /// Such a tombstone is an own write, but it is not stamped with the present: it comes right behind the write that it
    /// ends, where the clock draws no stamps ([`super::super::Hlc`]). So every later write of the key wins against it,
    /// also one that is still on its way here: an acknowledged write is never lost to a sweep. (A write with the very
    /// stamp of the expired one, by a node with a greater id, is; it lost against nothing but a coin.)
    pub fn sweep(&self, partition: PartitionId, grace: Duration) -> bool {
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let Some(until_ms) = self.now_ms().checked_sub(grace_ms) else { return false };
        if self.partitions.read(partition).records.expired(until_ms).next().is_none() {
            return false;
        }
        let mut guard = self.partitions.write(partition);
        let keys: Vec<Key> = guard.records.expired(until_ms).take(SWEEP_KEYS_MAX).cloned().collect();
        for key in &keys {
            let dot = Dot { node: self.me, sequence: guard.sidecar.outbox.last().next() };
            let mut swept = None;
            let merged = merge_with(&mut guard, key.clone(), |ended| {
                let RecordRef { timestamp, expires_ms, .. } = ended?;
                // The stamp behind an odd one would be even, and that is somebody's.
                let timestamp = Timestamp(timestamp.0 | 1);
                swept = Some(Record { value: None, flags: 0, timestamp, dot, expires_ms });
                swept.clone()
            });
            let (Some(Merged::Replaced(_)), Some(record)) = (merged, swept) else { continue };
            self.hlc.note(record.timestamp);
            self.push_own(&mut guard, key.clone(), record);
            self.expired.fetch_add(1, Ordering::Relaxed);
        }
        drop(guard);
        self.announce();
        keys.len() >= SWEEP_KEYS_MAX
    }

    /// Drops tombstones of a partition that nobody can need any more, a bounded number: stamped up to `stable`, which
    /// every member has everything up to; `covered` by what every member says it has; and older than `grace` (see
    /// `stability.rs` for why that is safe).
    pub fn drop_tombstones(
        &self,
        partition: PartitionId,
        stable: Timestamp,
        covered: &VersionVector,
        grace: Duration,
    ) -> usize {
        let by_age_alone = faults::is_mutant("tombstones_by_age");
        let stable = if by_age_alone { Timestamp(u64::MAX) } else { stable };
        let grace_ms = u64::try_from(grace.as_millis()).unwrap_or(u64::MAX);
        let Some(until_ms) = self.now_ms().checked_sub(grace_ms) else { return 0 };
        let until = stable.min(Timestamp(Timestamp::from_millis(until_ms).0 | 0xffff));
        if self.partitions.read(partition).records.oldest_tombstone().is_none_or(|oldest| oldest > until) {
            return 0;
        }
        let mut guard = self.partitions.write(partition);
        let old = guard.records.tombstones_until(until).take(TOMBSTONE_VISITS_MAX);
        let unneeded = old.filter(|(_, tombstone)| by_age_alone || covered.covers(tombstone.dot));
        let keys: Vec<Key> = unneeded.map(|(key, _)| key.clone()).collect();
        for key in &keys {
            // Snapshots that are being read need not keep it: who reads them is a member, and has it.
            let Some(tombstone) = guard.records.forget(key) else { continue };
            guard.sidecar.dropped.raise(tombstone.dot.node, tombstone.dot.sequence);
            guard.sidecar.dropped_until = guard.sidecar.dropped_until.max(tombstone.timestamp);
        }
        keys.len()
    }

    /// Writes again what is held after the key `after`, has a value, is stamped up to `floor` and is not covered by
    /// `theirs`, with a fresh stamp; looks at no more than `visits_max` records. Returns how many, and where to go on.
    pub(in crate::replication::eventual) fn reissue(
        &self,
        partition: PartitionId,
        after: Option<&Key>,
        theirs: &VersionVector,
        (floor, visits_max): (Timestamp, usize),
    ) -> (usize, Option<Key>) {
        let now_ms = self.now_ms();
        let mut guard = self.partitions.write(partition);
        let is_wanted = |record: RecordRef<'_>| {
            record.is_visible(now_ms) && record.timestamp <= floor && !theirs.covers(record.dot)
        };
        let visited = guard.records.after(after.map(|key| key.as_slice())).take(visits_max);
        let visited: Vec<(Key, bool)> = visited.map(|(key, record)| (Key::of_held(key), is_wanted(record))).collect();
        let mut count = 0;
        for (key, _) in visited.iter().filter(|(_, is_wanted)| *is_wanted) {
            let dot = Dot { node: self.me, sequence: guard.sidecar.outbox.last().next() };
            let timestamp = self.hlc.tick(now_ms);
            let mut made = None;
            let merged = merge_with(&mut guard, key.clone(), |held| {
                made = held.map(|held| Record { timestamp, dot, ..held.to_record() });
                made.clone()
            });
            let (Some(Merged::Replaced(_)), Some(record)) = (merged, made) else { continue };
            self.push_own(&mut guard, key.clone(), record);
            count += 1;
        }
        drop(guard);
        if count > 0 {
            self.announce();
        }
        let is_end = visited.len() < visits_max;
        (count, visited.into_iter().next_back().filter(|_| !is_end).map(|(key, _)| key))
    }
}
