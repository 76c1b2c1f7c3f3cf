//! The records of a keyspace, cut into partitions by the hash of the key, each behind its own lock.

use std::ops::Bound;

use xxhash_rust::xxh3::xxh3_64;

use super::{page::page, Records, RecordsStats};
use crate::{
    limits::PARTITIONS,
    sync::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    types::{KeyRange, Page, PageRequest, PartitionId, Record, RecordRef, NAMED_FROM},
};

/// The partition of a key: the upper half of its XXH3 hash modulo the number of partitions. Part of the protocol, because sequences count
/// per partition: every node must agree.
pub fn partition_of(key: &[u8]) -> PartitionId {
    // The lower half chooses the place in the partition's table, which would be crowded if the two had bits in common.
    PartitionId(((xxh3_64(key) >> 32) % u64::from(PARTITIONS)) as u16)
}

/// Records and what the replication engine changes together with them.
#[derive(Debug)]
pub struct Partition<S> {
    /// The records.
    pub records: Records,
    /// What the replication engine changes under the same lock.
    pub sidecar: S,
}

/// All partitions of a keyspace.
#[derive(Debug)]
pub struct Partitions<S> {
    /// Each lock guards one partition. No caller holds two at a time.
    slots: Box<[RwLock<Partition<S>>]>,
}

impl<S> Partitions<S> {
    /// Empty partitions, each with the sidecar that `make` gives it.
    pub fn new(make: impl Fn(PartitionId) -> S) -> Partitions<S> {
        let slot = |id| RwLock::new(Partition { records: Records::new(), sidecar: make(PartitionId(id)) });
        Partitions { slots: (0..PARTITIONS).map(slot).collect() }
    }

    /// Every partition.
    pub fn ids(&self) -> impl Iterator<Item = PartitionId> {
        (0..PARTITIONS).map(PartitionId)
    }

    /// Locks a partition for reading.
    pub fn read(&self, id: PartitionId) -> RwLockReadGuard<'_, Partition<S>> {
        self.slots[id.index()].read()
    }

    /// Locks a partition for writing.
    pub fn write(&self, id: PartitionId) -> RwLockWriteGuard<'_, Partition<S>> {
        self.slots[id.index()].write()
    }

    /// A copy of the record of a key, tombstones and expired ones included.
    pub fn get(&self, key: &[u8]) -> Option<Record> {
        self.read(partition_of(key)).records.get(key).map(RecordRef::to_record)
    }

    /// What all partitions hold together.
    pub fn stats(&self) -> RecordsStats {
        let mut sum = RecordsStats::default();
        for id in self.ids() {
            sum += self.read(id).records.stats();
        }
        sum
    }

    /// How many keys of a range a reader at `now_ms` sees. Each partition is read once, under its own lock.
    pub fn count(&self, range: &KeyRange, now_ms: u64) -> u64 {
        let Some((lower, upper)) = range.bounds() else { return 0 };
        let bounds = (lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice));
        // All of `default`, which is all there is, but for what other keyspaces have.
        let is_default = matches!(bounds, (Bound::Included([]), Bound::Excluded(end)) if end == NAMED_FROM);
        let is_all = matches!(bounds, (Bound::Included([]), Bound::Unbounded));
        let visible = |id| {
            let records = &self.read(id).records;
            let stats = records.stats();
            if is_all && stats.expiring == 0 {
                return stats.keys;
            }
            if is_default && stats.expiring == 0 {
                let others = records.range((Bound::Included(&NAMED_FROM), Bound::Unbounded));
                return stats.keys - others.filter(|(_, record)| record.value.is_some()).count() as u64;
            }
            records.range(bounds).filter(|(_, record)| record.is_visible(now_ms)).count() as u64
        };
        self.ids().map(visible).sum()
    }

    /// One page of a scan at `now_ms`. No snapshot: partitions are read one after another, each under its own lock.
    pub fn page(&self, request: &PageRequest, now_ms: u64) -> Page {
        page(self, request, now_ms)
    }
}
