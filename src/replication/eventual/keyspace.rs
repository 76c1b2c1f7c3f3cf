//! The data of the eventual keyspaces on one node, and the only code that changes it. Keys are those that are held
//! ([`Space`](crate::types::Space)): here they are all alike.

mod apply;
mod budget;
mod clients;
mod conflicts;
mod durability;
mod observe;
mod progress;
mod restore;
mod seen_by;
mod spaces;
mod upkeep;

use std::{num::NonZeroU64, sync::Arc, time::Duration};

use tokio::sync::Notify;

pub use apply::Applied;
use budget::Budget;
use progress::merge_with;
pub(super) use progress::Progress;
pub(super) use restore::{PartitionHead, StatePiece};
pub use upkeep::Standing;

use super::{
    durable::Ledger, journal::Journal, listeners::Listeners, outbox::OutboxBounds, snapshot::Pins, spaces::Spaces, Hlc,
    Outbox,
};
use crate::{
    env::Clock,
    error::{Error, ErrorCode, Result},
    limits::{CLOCK_DRIFT_MAX, OUTBOX_TRIM_WRITES},
    replication::Tap,
    storage::{partition_of, Merged, Partition, Partitions, Records, RecordsStats},
    sync::{AtomicBool, AtomicU64, Ordering},
    types::{
        Change, Command, CommandKind, Dot, Key, KeyRange, NodeId, Page, PageRequest, PartitionChanges, PartitionDigest,
        PartitionId, Record, RecordRef, Seen, Sequence, Timestamp, VersionVector, Written,
    },
};

/// The eventual keyspaces on one node. Reads and writes are local, synchronous and thread-safe.
pub struct Eventual {
    me: NodeId,
    clock: Arc<dyn Clock>,
    hlc: Hlc,
    /// How far ahead of the wall clock a remote stamp may be.
    max_drift_ms: u64,
    partitions: Partitions<Progress>,
    /// Own acknowledged writes that a peer replaced without having seen them.
    journal: Journal,
    /// Values that turned into tombstones here because their time to live had passed.
    expired: AtomicU64,
    /// This node was removed from the cluster: nobody would take its writes.
    is_removed: AtomicBool,
    /// There are own writes that the replica has not been told of.
    has_news: AtomicBool,
    news: Notify,
    /// Told of everything that arrives, while somebody waits for it.
    arrivals: Notify,
    /// How many wait.
    waiters: AtomicU64,
    /// Watchers, and what they have to know of the peers.
    listeners: Listeners,
    /// The replica has caught up with a peer, or has none.
    is_caught_up: AtomicBool,
    /// Where changes are written, if they are to outlive the process.
    ledger: Option<Arc<Ledger>>,
    /// How much memory the data may take; `None`: what the machine has.
    budget: Option<Budget>,
    /// What `default` is to clients, a [`DefaultKeyspace`](crate::types::DefaultKeyspace).
    default_keyspace: AtomicU64,
    /// The others.
    spaces: Spaces,
    /// Where the calls of clients pass by, those to strong keyspaces too.
    tap: Arc<Tap>,
}

impl Eventual {
    /// An empty keyspace of the node `me`.
    pub fn new(me: NodeId, clock: Arc<dyn Clock>) -> Eventual {
        Eventual::with_outbox_bounds(me, clock, OutboxBounds::default())
    }

    /// An empty keyspace of the node `me` whose outboxes hold this much, each.
    pub fn with_outbox_bounds(me: NodeId, clock: Arc<dyn Clock>, bounds: OutboxBounds) -> Eventual {
        Eventual {
            me,
            tap: Arc::new(Tap::new(clock.clone())),
            clock,
            hlc: Hlc::new(),
            max_drift_ms: CLOCK_DRIFT_MAX.as_millis() as u64,
            partitions: Partitions::new(|_| Progress { outbox: Outbox::new(bounds), ..Progress::default() }),
            journal: Journal::default(),
            expired: AtomicU64::new(0),
            is_removed: AtomicBool::new(false),
            has_news: AtomicBool::new(false),
            news: Notify::new(),
            arrivals: Notify::new(),
            waiters: AtomicU64::new(0),
            listeners: Listeners::default(),
            is_caught_up: AtomicBool::new(true),
            ledger: None,
            budget: None,
            default_keyspace: AtomicU64::new(0),
            spaces: Spaces::default(),
        }
    }

    /// The same with another bound on how far ahead of the wall clock a remote stamp may be.
    pub fn with_max_drift(self, max_drift: Duration) -> Eventual {
        Eventual { max_drift_ms: u64::try_from(max_drift.as_millis()).unwrap_or(u64::MAX), ..self }
    }

    /// The same with a bound on the memory that the data may take, in bytes.
    pub fn with_max_memory(self, max_memory: Option<u64>) -> Eventual {
        Eventual { budget: max_memory.map(Budget::new), ..self }
    }

    /// Where the calls of clients pass by.
    #[inline]
    pub fn tap(&self) -> &Arc<Tap> {
        &self.tap
    }

    /// The node whose replica this is.
    pub fn me(&self) -> NodeId {
        self.me
    }

    /// The record of a key as a reader sees it: no tombstone, not expired.
    pub fn read(&self, key: &[u8]) -> Option<Record> {
        self.look(key, |record| record.to_record())
    }

    /// As [`Eventual::read`], for readers that make something of the record on the spot: sharing its value would write to
    /// memory that only has to be read. `look` runs under the partition's lock: it must be quick, must not wait, and must
    /// not come back here.
    pub fn look<R>(&self, key: &[u8], look: impl FnOnce(RecordRef<'_>) -> R) -> Option<R> {
        let guard = self.partitions.read(partition_of(key));
        let record = guard.records.get(key)?;
        // Only a record that can expire is worth a look at the clock.
        let is_visible = record.value.is_some() && (record.expires_ms.is_none() || !record.is_expired(self.now_ms()));
        is_visible.then(|| look(record))
    }

    /// Applies a client's write here; replication follows by itself.
    ///
    /// # Errors
    /// `MEMBER_REMOVED` when the cluster removed this node; `INTERNAL` when the clock has reached the end of time.
    pub fn write(&self, command: Command) -> Result<Written> {
        self.write_seen(command).map(|(written, _)| written)
    }

    /// As [`Eventual::write`]; also says which write that was, or which one a touch without effect saw.
    ///
    /// # Errors
    /// Those of [`Eventual::write`].
    pub fn write_seen(&self, command: Command) -> Result<(Written, Seen)> {
        self.check_member()?;
        if let Some(ledger) = &self.ledger {
            ledger.check()?;
        }
        self.check_budget(&command)?;
        let now_ms = self.now_ms();
        let Command { key, kind } = command;
        let partition = partition_of(&key);
        let mut guard = self.partitions.write(partition);
        let sequence = guard.sidecar.outbox.last().next();
        let (mut existed, mut next, mut seen) = (false, None, Seen::Nothing);
        let merged = merge_with(&mut guard, key.clone(), |previous| {
            let visible = previous.filter(|record| record.is_visible(now_ms));
            existed = visible.is_some();
            next = self.next_record(kind, visible, sequence, now_ms);
            if let Some(shown) = next.as_ref().map(Record::view).or(previous) {
                seen = shown.seen_in(partition);
            }
            next.clone()
        });
        let Some(record) = next else { return Ok((Written { version: Timestamp::ZERO, existed }, seen)) };
        if merged == Some(Merged::Kept) {
            return Err(Error::new(ErrorCode::Internal, "the clock has reached the end of time"));
        }
        let version = record.timestamp;
        self.push_own(&mut guard, key, record);
        let is_watched = guard.sidecar.feed.is_watched();
        drop(guard);
        self.announce();
        if is_watched {
            self.listeners.wake();
        }
        Ok((Written { version, existed }, seen))
    }

    /// An own write was merged: it is written down, and enters the outbox.
    fn push_own(&self, partition: &mut Partition<Progress>, key: Key, record: Record) {
        if let Some(ledger) = &self.ledger {
            ledger.own_write(partition_of(&key), &key, &record);
        }
        partition.sidecar.outbox.push(key, record);
    }

    /// The record that a command makes of the visible one; `None`: there is nothing to write.
    fn next_record(
        &self,
        kind: CommandKind,
        visible: Option<RecordRef<'_>>,
        sequence: Sequence,
        now_ms: u64,
    ) -> Option<Record> {
        let (value, flags, ttl_ms) = match (kind, visible) {
            (CommandKind::Put { value, flags, ttl_ms }, _) => (Some(value), flags, ttl_ms),
            // Also a delete of a key that is not here leaves a tombstone: the put may be on its way from a peer.
            (CommandKind::Delete, _) => (None, 0, None),
            (CommandKind::Touch { ttl_ms }, Some(record)) => (record.value.cloned(), record.flags, ttl_ms),
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

    /// The digest of every partition, without tombstones: nodes drop them at different times. Reads every record.
    pub fn digests(&self) -> Vec<PartitionDigest> {
        let digest = |partition| {
            let guard = self.partitions.read(partition);
            PartitionDigest { partition, digest: guard.records.digest(), records: guard.records.stats().keys }
        };
        self.partitions.ids().map(digest).collect()
    }

    /// A stamp of the present: all own writes that are stamped up to it are in the partitions already, or will be before
    /// the next reader gets their locks, and every later one but the sweep's is stamped beyond. A write draws its stamp
    /// under its partition's lock, so whoever reads the vectors after this finds those writes covered.
    pub fn tick(&self) -> Timestamp {
        self.hlc.tick(self.now_ms())
    }

    /// Every partition.
    pub fn partition_ids(&self) -> impl Iterator<Item = PartitionId> {
        self.partitions.ids()
    }

    /// What this node has of a partition, its own writes included.
    pub fn vector(&self, partition: PartitionId) -> VersionVector {
        self.progress(partition, |progress| progress.vector(self.me))
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

    /// Drops own writes that every peer has, a bounded number.
    pub fn trim_outbox(&self, partition: PartitionId) {
        if self.outbox(partition, Outbox::has_excess) {
            self.partitions.write(partition).sidecar.outbox.trim(OUTBOX_TRIM_WRITES);
        }
    }

    /// Copies own writes from `from` on for `receiver`: at most `writes_max`, closed once they have `bytes_target`. No
    /// writes: there are no newer ones. `None`: the outbox no longer reaches back to `from`.
    ///
    /// Both the writes and what had been applied when they were made are read under one lock, so that a write made
    /// after another node's write was applied never looks like one made without having seen it.
    pub fn own_changes(
        &self,
        partition: PartitionId,
        from: Sequence,
        (writes_max, bytes_target): (usize, usize),
    ) -> Option<PartitionChanges> {
        self.progress(partition, |progress| {
            let writes = progress.outbox.from(from)?.take(writes_max);
            let (mut bytes, mut changes) = (0, Vec::with_capacity(writes.size_hint().0));
            for write in writes {
                bytes += write.bytes();
                changes.push(Change {
                    key: write.key.clone(),
                    value: write.record.value.clone(),
                    flags: write.record.flags,
                    timestamp: write.record.timestamp,
                    expires_ms: write.record.expires_ms,
                });
                if bytes >= bytes_target {
                    break;
                }
            }
            let last = Sequence(from.0 + changes.len() as u64 - 1);
            let seen = progress.seen.within(self.me, from, last);
            Some(PartitionChanges { partition, first_sequence: from, seen, changes })
        })
    }

    /// Refuses writes from now on, because the cluster removed this node and would refuse them.
    pub fn refuse_writes(&self) {
        self.is_removed.store(true, Ordering::Relaxed);
        // Watches end, for the same reason.
        self.listeners.wake();
    }

    /// # Errors
    /// `MEMBER_REMOVED` when the cluster removed this node.
    pub(super) fn check_member(&self) -> Result<()> {
        if self.is_removed.load(Ordering::Relaxed) {
            return Err(removed());
        }
        Ok(())
    }

    /// A partition under its read lock.
    pub(super) fn read_partition<R>(&self, id: PartitionId, look: impl FnOnce(&Partition<Progress>) -> R) -> R {
        look(&self.partitions.read(id))
    }

    /// The snapshots of a partition, under its write lock, together with its vector.
    pub(super) fn write_pins<R>(&self, id: PartitionId, change: impl FnOnce(&mut Pins, VersionVector) -> R) -> R {
        let mut guard = self.partitions.write(id);
        let vector = guard.sidecar.vector(self.me);
        change(&mut guard.sidecar.pins, vector)
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

#[cold]
fn removed() -> Error {
    let text = "this node was removed from the cluster: start it again, it comes back as a new, empty member";
    Error::new(ErrorCode::MemberRemoved, text)
}

#[cfg(test)]
mod tests;
