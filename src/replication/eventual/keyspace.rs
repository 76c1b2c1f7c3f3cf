//! The data of one eventual keyspace on one node, and the only code that changes it.

use std::{num::NonZeroU64, sync::Arc};

use tokio::sync::Notify;

use super::{Hlc, Outbox};
use crate::{
    env::Clock,
    error::{Error, ErrorCode, Result},
    storage::{partition_of, Merged, Partition, Partitions, Records, RecordsStats},
    sync::{AtomicBool, AtomicU64, Ordering},
    types::{
        Command, CommandKind, Dot, Key, KeyRange, NodeId, Page, PageRequest, PartitionChanges, PartitionDigest,
        PartitionId, Record, Sequence, StateRecord, Timestamp, VersionVector, Written,
    },
};

/// What the engine changes together with the records of a partition, under the same lock.
#[derive(Debug, Default)]
pub struct Progress {
    /// Own recent writes.
    pub outbox: Outbox,
    /// What was applied of the *other* nodes' writes; the outbox knows the own ones.
    others: VersionVector,
}

/// One eventual keyspace on one node. Reads and writes are local, synchronous and thread-safe.
pub struct Eventual {
    me: NodeId,
    clock: Arc<dyn Clock>,
    hlc: Hlc,
    partitions: Partitions<Progress>,
    /// Own acknowledged writes that a peer replaced without having seen them.
    conflicts: AtomicU64,
    /// There are own writes that the replica has not been told of.
    has_news: AtomicBool,
    news: Notify,
}

/// What became of a stretch of a peer's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// All are applied; the peer's writes are now covered up to here.
    UpTo(Sequence),
    /// The stretch begins after a gap and was not applied; the peer's writes are covered up to here.
    Gap(Sequence),
}

impl Eventual {
    /// An empty keyspace of the node `me`.
    pub fn new(me: NodeId, clock: Arc<dyn Clock>) -> Eventual {
        Eventual {
            me,
            clock,
            hlc: Hlc::new(),
            partitions: Partitions::new(|_| Progress::default()),
            conflicts: AtomicU64::new(0),
            has_news: AtomicBool::new(false),
            news: Notify::new(),
        }
    }

    /// The node whose replica this is.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// The record of a key as a reader sees it: no tombstone, not expired.
    pub fn read(&self, key: &[u8]) -> Option<Record> {
        let record = self.partitions.get(key)?;
        // Only a record that can expire is worth a look at the clock.
        let is_visible = record.value.is_some() && (record.expires_ms.is_none() || !record.is_expired(self.now_ms()));
        is_visible.then_some(record)
    }

    /// Applies a client's write here; replication follows by itself.
    ///
    /// # Errors
    /// `INTERNAL` when the clock has reached the end of time.
    pub fn write(&self, command: Command) -> Result<Written> {
        let now_ms = self.now_ms();
        let Command { key, kind } = command;
        let mut guard = self.partitions.write(partition_of(&key));
        let Partition { records, sidecar } = &mut *guard;
        let sequence = sidecar.outbox.last().next();
        let (mut existed, mut next) = (false, None);
        let merged = records.merge_with(key.clone(), |previous| {
            let visible = previous.filter(|record| record.is_visible(now_ms));
            existed = visible.is_some();
            next = self.next_record(kind, visible, sequence, now_ms);
            next.clone()
        });
        let Some(record) = next else { return Ok(Written { version: Timestamp::ZERO, existed }) };
        if merged == Some(Merged::Kept) {
            return Err(Error::new(ErrorCode::Internal, "the clock has reached the end of time"));
        }
        let version = record.timestamp;
        sidecar.outbox.push(key, record);
        drop(guard);
        self.announce();
        Ok(Written { version, existed })
    }

    /// The record that a command makes of the visible one; `None`: there is nothing to write.
    fn next_record(
        &self,
        kind: CommandKind,
        visible: Option<&Record>,
        sequence: Sequence,
        now_ms: u64,
    ) -> Option<Record> {
        let (value, flags, ttl_ms) = match (kind, visible) {
            (CommandKind::Put { value, flags, ttl_ms }, _) => (Some(value), flags, ttl_ms),
            // Also a delete of a key that is not here leaves a tombstone: the put may be on its way from a peer.
            (CommandKind::Delete, _) => (None, 0, None),
            (CommandKind::Touch { ttl_ms }, Some(record)) => (record.value.clone(), record.flags, ttl_ms),
            (CommandKind::Touch { .. }, None) => return None,
        };
        let timestamp = self.hlc.tick(now_ms);
        let expires_ms = ttl_ms.and_then(|ttl_ms| NonZeroU64::new(now_ms.saturating_add(ttl_ms)));
        Some(Record { value, flags, timestamp, dot: Dot { node: self.me, sequence }, expires_ms })
    }

    /// One page of a scan.
    pub fn page(&self, request: &PageRequest) -> Page {
        self.partitions.page(request, self.now_ms())
    }

    /// How many keys of a range a reader sees.
    pub fn count(&self, range: &KeyRange) -> u64 {
        self.partitions.count(range, self.now_ms())
    }

    /// What is held.
    pub fn stats(&self) -> RecordsStats {
        self.partitions.stats()
    }

    /// How many own acknowledged writes a peer replaced without having seen them.
    pub fn conflicts(&self) -> u64 {
        self.conflicts.load(Ordering::Relaxed)
    }

    /// The digest of every partition. Reads every record.
    pub fn digests(&self) -> Vec<PartitionDigest> {
        let digest = |partition| {
            let guard = self.partitions.read(partition);
            PartitionDigest { partition, digest: guard.records.digest(), records: guard.records.len() as u64 }
        };
        self.partitions.ids().map(digest).collect()
    }

    /// Every partition.
    pub fn partition_ids(&self) -> impl Iterator<Item = PartitionId> {
        self.partitions.ids()
    }

    /// What this node has of a partition, its own writes included.
    pub fn vector(&self, partition: PartitionId) -> VersionVector {
        self.progress(partition, |progress| {
            let mut vector = progress.others.clone();
            vector.raise(self.me, progress.outbox.last());
            vector
        })
    }

    /// How far this node has applied the writes of another.
    pub fn position(&self, partition: PartitionId, node: NodeId) -> Sequence {
        self.progress(partition, |progress| progress.others.sequence(node))
    }

    /// Looks at the outbox of a partition, under its read lock.
    pub fn outbox<R>(&self, partition: PartitionId, look: impl FnOnce(&Outbox) -> R) -> R {
        self.progress(partition, |progress| look(&progress.outbox))
    }

    /// Looks at the records of a partition, under its read lock.
    pub fn records<R>(&self, partition: PartitionId, look: impl FnOnce(&Records) -> R) -> R {
        look(&self.partitions.read(partition).records)
    }

    fn progress<R>(&self, partition: PartitionId, look: impl FnOnce(&Progress) -> R) -> R {
        look(&self.partitions.read(partition).sidecar)
    }

    /// Merges a stretch of writes that `origin` accepted. Applying it again changes nothing; a stretch that begins after
    /// a gap is not applied, because the vector speaks of writes without gaps.
    pub fn apply_changes(&self, origin: NodeId, stretch: PartitionChanges) -> Applied {
        let mut guard = self.partitions.write(stretch.partition);
        let Partition { records, sidecar } = &mut *guard;
        let position = sidecar.others.sequence(origin);
        if stretch.first_sequence > position.next() {
            return Applied::Gap(position);
        }
        let mut sequence = stretch.first_sequence;
        for change in stretch.changes {
            self.hlc.observe(change.timestamp);
            let record = Record {
                value: change.value,
                flags: change.flags,
                timestamp: change.timestamp,
                dot: Dot { node: origin, sequence },
                expires_ms: change.expires_ms,
            };
            sequence = sequence.next();
            let Merged::Replaced(old) = records.merge(change.key, record) else { continue };
            if old.dot.node == self.me && old.dot.sequence > stretch.seen {
                self.conflicts.fetch_add(1, Ordering::Relaxed);
            }
        }
        sidecar.others.raise(origin, Sequence(sequence.0 - 1));
        Applied::UpTo(sidecar.others.sequence(origin))
    }

    /// Merges a part of a state transfer. It may hold writes from anywhere, also own ones.
    pub fn apply_state(&self, partition: PartitionId, records: Vec<StateRecord>) {
        let mut guard = self.partitions.write(partition);
        for StateRecord { key, record } in records {
            self.hlc.observe(record.timestamp);
            guard.records.merge(key, record);
        }
    }

    /// Takes over the vector of a peer whose state at that vector was merged whole. The entry of this node itself is
    /// ignored: nobody knows more of it than itself.
    pub fn adopt_vector(&self, partition: PartitionId, vector: &VersionVector) {
        let mut guard = self.partitions.write(partition);
        for (node, sequence) in vector.iter().filter(|&(node, _)| node != self.me) {
            guard.sidecar.others.raise(node, sequence);
        }
    }

    /// Copies records of a partition that `vector` does not cover, in key order from after `cursor`: at most
    /// `records_max` of at most `visits_max` looked at. Also says where to go on; `None`: the partition is at its end.
    pub fn state_after(
        &self,
        partition: PartitionId,
        vector: &VersionVector,
        cursor: Option<&Key>,
        (records_max, visits_max): (usize, usize),
    ) -> (Vec<StateRecord>, Option<Key>) {
        let guard = self.partitions.read(partition);
        let mut wanted = Vec::new();
        for (visits, (key, record)) in guard.records.after(cursor.map(Key::as_slice)).enumerate() {
            if !vector.covers(record.dot) {
                wanted.push(StateRecord { key: key.clone(), record: record.clone() });
            }
            if wanted.len() >= records_max || visits + 1 >= visits_max {
                return (wanted, Some(key.clone()));
            }
        }
        (wanted, None)
    }

    /// Returns when there are own writes that were made after the last call returned.
    pub async fn news(&self) {
        while !self.has_news.swap(false, Ordering::AcqRel) {
            self.news.notified().await;
        }
    }

    /// Tells the replica once; further writes cost one load until it has looked.
    ///
    /// Nothing is lost between the two: a write that finds the flag set made its change under a lock that the replica
    /// takes after it has cleared the flag, so the replica either sees the write or had not cleared the flag yet.
    fn announce(&self) {
        if !self.has_news.load(Ordering::Acquire) && !self.has_news.swap(true, Ordering::AcqRel) {
            self.news.notify_one();
        }
    }

    fn now_ms(&self) -> u64 {
        self.clock.wall_ms()
    }
}
