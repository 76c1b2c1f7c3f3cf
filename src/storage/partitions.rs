//! The records of a keyspace, cut into partitions by the hash of the key, each behind its own lock.

use parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard};
use xxhash_rust::xxh3::xxh3_64;

use super::{Records, RecordsStats};
use crate::{
    limits::PARTITIONS,
    types::{Key, KeyRange, Page, PageRequest, PartitionId, Record},
};

/// The partition of a key: its XXH3 hash modulo the number of partitions. Part of the protocol, because sequences count
/// per partition: every node must agree.
pub fn partition_of(key: &[u8]) -> PartitionId {
    PartitionId((xxh3_64(key) % u64::from(PARTITIONS)) as u16)
}

/// Records and what the replication engine changes together with them.
#[derive(Debug)]
pub struct Partition<S> {
    pub records: Records,
    pub sidecar: S,
}

/// All partitions of a keyspace.
#[derive(Debug)]
pub struct Partitions<S> {
    /// Each lock guards one partition. No caller holds two at a time, but for scans, which take read locks in order.
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
        self.read(partition_of(key)).records.get(key).cloned()
    }

    /// What all partitions hold together.
    pub fn stats(&self) -> RecordsStats {
        let mut sum = RecordsStats::default();
        for id in self.ids() {
            sum += self.read(id).records.stats();
        }
        sum
    }

    /// How many keys of a range a reader at `now_ms` sees.
    pub fn count(&self, range: &KeyRange, now_ms: u64) -> u64 {
        let Some(bounds) = range.bounds() else { return 0 };
        let visible = |id| self.read(id).records.range(bounds.clone()).filter(|(_, r)| r.is_visible(now_ms)).count();
        self.ids().map(|id| visible(id) as u64).sum()
    }

    /// One page of a scan at `now_ms`: each partition is read once, under its own lock.
    pub fn page(&self, request: &PageRequest, now_ms: u64) -> Page {
        let Some(bounds) = request.range.bounds() else { return Page::default() };
        let mut found: Vec<(Key, Record)> = Vec::new();
        for id in self.ids() {
            let partition = self.read(id);
            let mut range = partition.records.range(bounds.clone());
            let next = || if request.reverse { range.next_back() } else { range.next() };
            let visible = std::iter::from_fn(next).filter(|(_, record)| record.is_visible(now_ms));
            // One more than wanted tells whether there are more.
            found.extend(visible.take(request.keys_max + 1).map(|(key, record)| (key.clone(), record.clone())));
        }
        found.sort_unstable_by(|a, b| if request.reverse { b.0.cmp(&a.0) } else { a.0.cmp(&b.0) });
        cut_page(found, request)
    }
}

/// The first entries that fit into a page.
fn cut_page(mut entries: Vec<(Key, Record)>, request: &PageRequest) -> Page {
    let mut bytes = 0;
    let mut kept = 0;
    while kept < entries.len().min(request.keys_max) && bytes < request.bytes_target {
        let (key, record) = &entries[kept];
        bytes += key.len() + record.value_bytes();
        kept += 1;
    }
    let more = entries.len() > kept;
    entries.truncate(kept);
    Page { entries, more }
}
