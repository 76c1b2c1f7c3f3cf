//! What a keyspace writes to the log of its node, and when that is on disk.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::entry::{begin_state_piece, begin_stretch, encode_own_write, Entry, EntryKind};
use crate::{
    error::Result,
    faults::is_mutant,
    limits::CLOCK_RESERVE,
    storage::{
        codec::{put_keyed, Stored},
        log::{Durability as LogDurability, Log, Position},
    },
    types::{
        Dot, Key, Membership, NodeId, PartitionChanges, PartitionId, Record, SeenStep, StateEnd, StateRecord, Timestamp,
    },
};

/// The stream of the log that belongs to the eventual keyspace `default`.
pub(super) const STREAM: u32 = 1;

/// The log of a node, as its keyspace sees it. What changes memory is appended under the same lock, so that the order of
/// the entries of a partition is the order of its changes.
pub struct Ledger {
    log: Arc<Log>,
    /// Guards what a checkpoint has to hold beside the partitions, together with where in the log it was written.
    facts: Mutex<Facts>,
}

/// What a node knows beside its records.
#[derive(Clone, Debug, Default)]
pub(super) struct Facts {
    /// Who belongs to the cluster.
    pub(super) membership: Membership,
    /// Stamps up to here may have been drawn or told.
    pub(super) clock_bound: Timestamp,
    /// The last run.
    pub(super) run: Option<Run>,
}

/// From one start of a node to its end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Run {
    /// Under which id.
    pub(super) node: NodeId,
    /// Nothing that others could build on left it before it was on disk.
    pub(super) synchronous: bool,
    /// It ended in order.
    pub(super) is_over: bool,
}

impl Ledger {
    /// A ledger that goes on with what was known when the node stopped: a run of `node` begins.
    pub(super) fn begin(log: Arc<Log>, node: NodeId, facts: Facts) -> Ledger {
        let synchronous = log.durability() == LogDurability::Sync;
        let run = Some(Run { node, synchronous, is_over: false });
        let ledger = Ledger { log, facts: Mutex::new(Facts { run, ..facts }) };
        ledger.append_entry(&Entry::Started { node, synchronous });
        ledger
    }

    /// The log.
    pub fn log(&self) -> &Arc<Log> {
        &self.log
    }

    /// Whether a write waits until it is on disk. Then nothing that a peer could build on leaves the node before, either.
    pub fn is_synchronous(&self) -> bool {
        self.log.durability() == LogDurability::Sync
    }

    /// Lets a write begin. To be asked before memory is changed: afterwards there is no way back.
    ///
    /// # Errors
    /// `DISK_FULL`, `OVERLOADED` when the disk does not keep up, `DISK_FAILED`.
    pub(in crate::replication::eventual) fn check(&self) -> Result<()> {
        self.log.check_room()
    }

    /// Where the log ends now: the place of the next entry.
    pub(in crate::replication::eventual) fn end(&self) -> Position {
        self.log.next()
    }

    /// Up to where the log is on disk.
    pub(in crate::replication::eventual) fn synced(&self) -> Position {
        self.log.synced_before()
    }

    /// Waits until everything before `end` is on disk.
    ///
    /// # Errors
    /// `DISK_FAILED`: the outcome of what was written is unknown.
    pub(in crate::replication::eventual) async fn durable(&self, end: Position) -> Result<()> {
        match end.0.checked_sub(1) {
            Some(last) => self.log.synced(Position(last)).await,
            None => Ok(()),
        }
    }

    /// As [`Ledger::durable`], for a thread that may block.
    ///
    /// # Errors
    /// `DISK_FAILED`, `DEADLINE_EXCEEDED`.
    pub(in crate::replication::eventual) fn wait_durable(&self, end: Position, timeout: Duration) -> Result<()> {
        match end.0.checked_sub(1) {
            Some(last) => self.log.wait_synced(Position(last), timeout),
            None => Ok(()),
        }
    }

    fn append(&self, kind: EntryKind, encode: impl FnOnce(&mut Vec<u8>)) {
        // A log that has failed takes nothing any more, and nobody is told that this was taken: whoever waits for the log
        // gets the failure, and what waits for it before it is sent to peers is never sent.
        if let Err(error) = self.log.append_with(STREAM, kind.number(), encode) {
            tracing::debug!(%error, "the log takes nothing any more");
        }
    }

    fn append_entry(&self, entry: &Entry) {
        self.append(entry.kind(), |buffer| entry.encode(buffer));
    }

    /// An own write was merged.
    pub(in crate::replication::eventual) fn own_write(&self, partition: PartitionId, key: &Key, record: &Record) {
        self.append(EntryKind::OwnWrites, |buffer| encode_own_write(buffer, partition, key, record));
    }

    /// A stretch of a peer's writes is about to be merged.
    pub(in crate::replication::eventual) fn stretch(&self, origin: NodeId, stretch: &PartitionChanges, now_ms: u64) {
        let PartitionChanges { partition, first_sequence, seen, changes } = stretch;
        let first = Dot { node: origin, sequence: *first_sequence };
        self.append(EntryKind::Stretch, |buffer| {
            begin_stretch(buffer, *partition, first, now_ms, seen);
            changes.iter().for_each(|change| change.put(buffer));
        });
    }

    /// What the writers of a state transfer had seen.
    pub(in crate::replication::eventual) fn seen_steps(&self, partition: PartitionId, steps: &[SeenStep]) {
        self.append_entry(&Entry::SeenSteps { partition, steps: steps.to_vec() });
    }

    /// A piece of fetched state is about to be merged.
    pub(in crate::replication::eventual) fn state_piece(
        &self,
        partition: PartitionId,
        records: &[StateRecord],
        is_repair: bool,
    ) {
        self.append(EntryKind::StatePiece, |buffer| {
            begin_state_piece(buffer, partition, is_repair);
            records.iter().for_each(|StateRecord { key, record }| put_keyed(buffer, key, record));
        });
    }

    /// Fetched state was merged whole.
    pub(in crate::replication::eventual) fn state_end(&self, partition: PartitionId, end: &StateEnd, noticed_ms: u64) {
        self.append_entry(&Entry::StateEnd { partition, noticed_ms, end: end.clone() });
    }

    /// Who belongs to the cluster has changed.
    pub(in crate::replication::eventual) fn members(&self, membership: Membership) {
        let mut facts = self.facts.lock();
        let Membership { members, removed } = &membership;
        self.append_entry(&Entry::Members { counted: members.clone(), removed: removed.clone() });
        facts.membership = membership;
    }

    /// A stamp is about to be told to others, who may rely on it that none of this node's later writes is stamped before.
    /// Some time is taken in advance, so that a node at rest need not write each time: of the wall clock, because a restart
    /// goes on after it, and many of them must not add up. A stamp that is ahead of that takes a millisecond, which is
    /// thousands of stamps.
    pub(in crate::replication::eventual) fn tell_clock(&self, stamp: Timestamp, wall_ms: u64) {
        let mut facts = self.facts.lock();
        if stamp <= facts.clock_bound || is_mutant("clock_bound_not_kept") {
            return;
        }
        let reserve_ms = u64::try_from(CLOCK_RESERVE.as_millis()).unwrap_or(u64::MAX);
        let ahead_ms = wall_ms.saturating_add(reserve_ms).max(stamp.millis().saturating_add(1));
        let until = Timestamp::from_millis(ahead_ms).max(stamp);
        self.append_entry(&Entry::ClockBound { until });
        facts.clock_bound = until;
    }

    /// Waits until all that was appended is on disk, also in a node whose writes do not wait.
    ///
    /// # Errors
    /// `DISK_FAILED`.
    pub(super) async fn flush(&self) -> Result<()> {
        self.log.flush().await
    }

    /// Everything is in the log: the run ends here.
    ///
    /// # Errors
    /// `DISK_FAILED`.
    pub async fn end_run(&self) -> Result<()> {
        self.append_entry(&Entry::Stopped);
        self.log.close().await
    }

    /// What is known beside the records, and from where in the log on it may have changed since.
    pub(super) fn facts(&self) -> (Facts, Position) {
        let facts = self.facts.lock();
        (facts.clone(), self.log.next())
    }
}
