//! Own acknowledged writes that lost: noticed while the writes of others are merged, kept in the journal.

use std::sync::Arc;

use super::{
    progress::{merge, Progress},
    Eventual,
};
use crate::{
    faults::is_mutant,
    storage::{Merged, Partition},
    types::{
        Conflict, ConflictCounts, ConflictQuery, Key, NodeId, PartitionId, Record, RecordRef, SeenStep, Sequence,
        Space, VersionVector,
    },
};

/// Who merges, and when.
#[derive(Clone, Copy, Debug)]
pub(super) struct Merging {
    /// Whose writes are acknowledged ones.
    pub(super) node: NodeId,
    /// Milliseconds since the Unix epoch.
    pub(super) noticed_ms: u64,
}

impl Eventual {
    /// The conflicts of a keyspace that this node noticed, the newest first.
    pub fn conflicts(&self, space: Space, query: &ConflictQuery) -> Vec<Arc<Conflict>> {
        self.journal.list(space, query)
    }

    /// Those of all keyspaces, the newest first.
    pub fn all_conflicts(&self) -> Vec<Arc<Conflict>> {
        self.journal.all()
    }

    /// How many of a keyspace are remembered.
    pub fn conflicts_of(&self, space: Space) -> u64 {
        self.journal.count(space)
    }

    /// How many conflicts there were.
    pub fn conflict_counts(&self) -> ConflictCounts {
        let (recorded, dropped) = self.journal.counts();
        let inexact = self.partition_ids().map(|id| self.progress(id, |progress| progress.seen.forgotten())).sum();
        ConflictCounts { recorded, dropped, inexact }
    }

    /// Takes note of what the writers of a state transfer had seen, before its records are merged.
    pub fn learn_seen(&self, partition: PartitionId, steps: Vec<SeenStep>) {
        if steps.is_empty() {
            return;
        }
        let mut guard = self.partitions.write(partition);
        if let Some(ledger) = self.ledger() {
            ledger.seen_steps(partition, &steps);
        }
        self.note_steps(&mut guard, steps);
    }

    /// As [`Eventual::learn_seen`], under the lock.
    pub(super) fn note_steps(&self, partition: &mut Partition<Progress>, steps: Vec<SeenStep>) {
        // Nobody knows better than this node what it had seen itself.
        steps.into_iter().filter(|step| step.writer != self.me).for_each(|step| partition.sidecar.seen.note(step));
    }

    /// What the writers of the writes had seen that `vector` covers and `known` does not.
    pub fn seen_between(&self, partition: PartitionId, known: &VersionVector, vector: &VersionVector) -> Vec<SeenStep> {
        self.progress(partition, |progress| progress.seen.between(known, vector))
    }

    /// A node stands at `vector` and will not ask about what that covers.
    pub fn trim_seen(&self, partition: PartitionId, node: NodeId, vector: &VersionVector) {
        if self.progress(partition, |progress| progress.seen.has_excess(node, vector)) {
            self.partitions.write(partition).sidecar.seen.trim(node, vector);
        }
    }

    /// A node is gone for good: it will not ask what others had seen of its writes.
    pub fn forget_seen(&self, node: NodeId) {
        self.partition_ids().for_each(|id| self.partitions.write(id).sidecar.seen.forget_node(node));
    }

    /// Merges a record of another node. If it replaces a write that this node had acknowledged, under its present id or as
    /// the former self whose log is replayed, and its writer had not applied, that is a conflict. It is to be recorded
    /// before the lock of the partition is released.
    pub(super) fn merge_and_judge(
        &self,
        partition: &mut Partition<Progress>,
        key: Key,
        record: Record,
        (merging, conflicts): (Merging, &mut Vec<Conflict>),
    ) {
        let Merging { node, noticed_ms } = merging;
        let sidecar = &partition.sidecar;
        let last = if node == self.me { sidecar.outbox.last() } else { sidecar.others.sequence(node) };
        let seen = sidecar.seen.seen(record.dot.node, node, record.dot.sequence);
        if !is_unseen(last, seen) {
            // Its writer had seen all our writes: nothing to look for, and no copy of the key to be made.
            merge(partition, key, record);
            return;
        }
        let dot = record.dot;
        // What is covered was judged when it was applied; it comes again only to repair a record that went wrong.
        let is_repair = dot.node == node || sidecar.others.covers(dot);
        let Merged::Replaced(lost) = merge(partition, key.clone(), record) else { return };
        if is_repair || lost.dot.node != node || lost.is_sweep() || !is_unseen(lost.dot.sequence, seen) {
            return;
        }
        let Some(won) = partition.records.get(&key).map(RecordRef::to_record) else { return };
        conflicts.push(Conflict { key, lost, won, noticed_ms, node });
    }

    /// Called under the lock of their partition, so that whoever reads the journal after a partition finds all of it.
    pub(super) fn record_conflicts(&self, conflicts: Vec<Conflict>) {
        if !conflicts.is_empty() {
            // The journal is the last in the order of locks.
            let catalogue = self.spaces.catalogue();
            self.journal.record(conflicts, |space| catalogue.keep_conflicts(space));
        }
    }
}

/// Whether a write lies beyond what was seen of its node.
fn is_unseen(write: Sequence, seen: Sequence) -> bool {
    if is_mutant("conflict_off_by_one") {
        write >= seen
    } else {
        write > seen
    }
}

#[cfg(test)]
mod tests;
