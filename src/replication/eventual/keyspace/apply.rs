//! Writes that come from other nodes: pushed by their origin, or as part of a state transfer.

use super::{conflicts::Merging, Eventual, Progress};
use crate::{
    storage::Partition,
    types::{
        Conflict, Dot, NodeId, PartitionChanges, PartitionId, Record, SeenStep, Sequence, StateEnd, StateRecord,
        Timestamp, VersionVector,
    },
};

/// What became of a stretch of a peer's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// All are applied; the peer's writes are now covered up to here.
    UpTo(Sequence),
    /// The stretch begins after a gap and was not applied; the peer's writes are covered up to here.
    Gap(Sequence),
    /// The write after `position` is stamped too far ahead of this node's clock. It and what follows was not applied.
    Skewed {
        /// Up to where the peer's writes are covered.
        position: Sequence,
        /// By how much the next one is ahead of the wall clock.
        ahead_ms: u64,
    },
}

impl Eventual {
    /// Merges a stretch of writes that `origin` accepted. Applying it again changes nothing; a stretch that begins after
    /// a gap is not applied, because the vector speaks of writes without gaps. Ends before the first write that is stamped
    /// more than the drift bound ahead of the wall clock.
    pub fn apply_changes(&self, origin: NodeId, mut stretch: PartitionChanges) -> Applied {
        let wall_ms = self.now_ms();
        let mut guard = self.partitions.write(stretch.partition);
        let position = guard.sidecar.others.sequence(origin);
        if stretch.first_sequence > position.next() {
            return Applied::Gap(position);
        }
        let refused = self.admit(&mut stretch, position, wall_ms);
        if let Some(ledger) = self.ledger() {
            ledger.stretch(origin, &stretch, wall_ms);
        }
        let (sequence, conflicts) = self.merge_stretch(&mut guard, origin, stretch, self.merging(wall_ms));
        self.record_conflicts(conflicts);
        drop(guard);
        self.announce_arrival();
        self.listeners.wake();
        refused.map_or(Applied::UpTo(sequence), |ahead_ms| Applied::Skewed { position: sequence, ahead_ms })
    }

    /// This node merges, now.
    fn merging(&self, noticed_ms: u64) -> Merging {
        Merging { node: self.me, noticed_ms }
    }

    /// Cuts from a stretch what is applied already, up to `position`, and what comes from the first write on that is
    /// stamped too far ahead; by how many milliseconds, if there is one. The clock takes note of the rest.
    fn admit(&self, stretch: &mut PartitionChanges, position: Sequence, wall_ms: u64) -> Option<u64> {
        let known = usize::try_from(position.next().0 - stretch.first_sequence.0).unwrap_or(usize::MAX);
        stretch.changes.drain(..known.min(stretch.changes.len()));
        stretch.first_sequence = position.next();
        for (at, change) in stretch.changes.iter().enumerate() {
            if let Err(ahead_ms) = self.hlc.observe(change.timestamp, wall_ms, self.max_drift_ms) {
                stretch.changes.truncate(at);
                return Some(ahead_ms);
            }
        }
        None
    }

    /// Merges a stretch that begins right after what is applied; up to where the origin's writes are covered then.
    pub(super) fn merge_stretch(
        &self,
        partition: &mut Partition<Progress>,
        origin: NodeId,
        stretch: PartitionChanges,
        merging: Merging,
    ) -> (Sequence, Vec<Conflict>) {
        for step in stretch.seen {
            // The writer is the sender, whatever the step says.
            partition.sidecar.seen.note(SeenStep { writer: origin, ..step });
        }
        let mut conflicts = Vec::new();
        let mut sequence = partition.sidecar.others.sequence(origin);
        for change in stretch.changes {
            sequence = sequence.next();
            let record = Record {
                value: change.value,
                flags: change.flags,
                timestamp: change.timestamp,
                dot: Dot { node: origin, sequence },
                expires_ms: change.expires_ms,
            };
            self.merge_and_judge(partition, change.key, record, (merging, &mut conflicts));
        }
        partition.sidecar.raise(self.me, origin, sequence);
        (sequence, conflicts)
    }

    /// Lets the clock observe a part of a state transfer, before it is kept: the merge of the whole must not fail half
    /// way. Whatever is given to [`Eventual::apply_state`] has to pass here before.
    ///
    /// # Errors
    /// By how many milliseconds a stamp is further ahead of the wall clock than the drift bound allows.
    pub fn admit_state(&self, records: &[StateRecord]) -> Result<(), u64> {
        let latest = records.iter().map(|StateRecord { record, .. }| record.timestamp).max();
        self.hlc.observe(latest.unwrap_or(Timestamp::ZERO), self.now_ms(), self.max_drift_ms)
    }

    /// A state transfer is about to be merged that ends like this: from here on readers may see what only the end covers.
    pub fn expect_end(&self, partition: PartitionId, end: &StateEnd) {
        self.partitions.write(partition).sidecar.incoming.merge(&end.vector);
    }

    /// Merges a part of a state transfer that was admitted. The whole of it, and then its end, must follow before anything
    /// else is served from this partition: until then there are records here that the vector does not cover. What their
    /// writers had seen must be known already ([`Eventual::learn_seen`]).
    ///
    /// What the vector covers is here, or was replaced, or was dropped after it had been deleted: it is left out, lest
    /// deleted values come back. A repair takes everything, because then the vector has proved wrong.
    pub fn apply_state(&self, partition: PartitionId, records: Vec<StateRecord>, repair: bool) {
        let mut guard = self.partitions.write(partition);
        if let Some(ledger) = self.ledger() {
            ledger.state_piece(partition, &records, repair);
        }
        guard.sidecar.is_merging = true;
        let conflicts = self.merge_state(&mut guard, records, repair, self.merging(self.now_ms()));
        self.record_conflicts(conflicts);
    }

    /// As [`Eventual::apply_state`], under the lock. Gives the conflicts.
    pub(super) fn merge_state(
        &self,
        partition: &mut Partition<Progress>,
        records: Vec<StateRecord>,
        repair: bool,
        merging: Merging,
    ) -> Vec<Conflict> {
        let mut conflicts = Vec::new();
        for StateRecord { key, record } in records {
            if repair || !partition.sidecar.covers(self.me, record.dot) {
                self.merge_and_judge(partition, key, record, (merging, &mut conflicts));
            }
        }
        conflicts
    }

    /// Takes over the end of a state transfer that was merged whole. The vector's entry of this node itself is ignored:
    /// nobody knows more of it than itself.
    pub fn adopt_end(&self, partition: PartitionId, end: &StateEnd) {
        let mut guard = self.partitions.write(partition);
        if let Some(ledger) = self.ledger() {
            ledger.state_end(partition, end, self.now_ms());
        }
        self.close_merge(&mut guard, end);
        drop(guard);
        self.announce_arrival();
        self.listeners.wake();
    }

    /// As [`Eventual::adopt_end`], under the lock.
    pub(super) fn close_merge(&self, partition: &mut Partition<Progress>, end: &StateEnd) {
        let sidecar = &mut partition.sidecar;
        for (node, sequence) in end.vector.iter().filter(|&(node, _)| node != self.me) {
            sidecar.raise(self.me, node, sequence);
        }
        sidecar.dropped.merge(&end.dropped);
        sidecar.is_merging = false;
        sidecar.incoming = VersionVector::new();
        sidecar.feed.rescan();
    }
}
