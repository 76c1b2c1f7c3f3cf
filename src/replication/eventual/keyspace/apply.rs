//! Writes that come from other nodes: pushed by their origin, or as part of a state transfer.

use super::{progress::merge, Eventual};
use crate::{
    storage::Merged,
    sync::Ordering,
    types::{Dot, NodeId, PartitionChanges, PartitionId, Record, SeenStep, Sequence, StateEnd, StateRecord},
};

/// What became of a stretch of a peer's writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Applied {
    /// All are applied; the peer's writes are now covered up to here.
    UpTo(Sequence),
    /// The stretch begins after a gap and was not applied; the peer's writes are covered up to here.
    Gap(Sequence),
}

impl Eventual {
    /// Merges a stretch of writes that `origin` accepted. Applying it again changes nothing; a stretch that begins after
    /// a gap is not applied, because the vector speaks of writes without gaps.
    pub fn apply_changes(&self, origin: NodeId, stretch: PartitionChanges) -> Applied {
        let mut guard = self.partitions.write(stretch.partition);
        let position = guard.sidecar.others.sequence(origin);
        if stretch.first_sequence > position.next() {
            return Applied::Gap(position);
        }
        let known = usize::try_from(position.next().0 - stretch.first_sequence.0).unwrap_or(usize::MAX);
        let mut sequence = position;
        for change in stretch.changes.into_iter().skip(known) {
            self.hlc.observe(change.timestamp);
            sequence = sequence.next();
            let record = Record {
                value: change.value,
                flags: change.flags,
                timestamp: change.timestamp,
                dot: Dot { node: origin, sequence },
                expires_ms: change.expires_ms,
            };
            let Merged::Replaced(old) = merge(&mut guard, change.key, record) else { continue };
            if old.dot.node == self.me && old.dot.sequence > seen_of(&stretch.seen, self.me, sequence) {
                self.conflicts.fetch_add(1, Ordering::Relaxed);
            }
        }
        guard.sidecar.others.raise(origin, sequence);
        drop(guard);
        self.listeners.wake();
        Applied::UpTo(sequence)
    }

    /// Merges a part of a state transfer. The whole of it, and then its vector, must follow before anything else is
    /// served from this partition: until then there are records here that the vector does not cover.
    pub fn apply_state(&self, partition: PartitionId, records: Vec<StateRecord>) {
        let mut guard = self.partitions.write(partition);
        guard.sidecar.merging = true;
        for StateRecord { key, record } in records {
            self.hlc.observe(record.timestamp);
            merge(&mut guard, key, record);
        }
    }

    /// Takes over the end of a state transfer that was merged whole. The vector's entry of this node itself is ignored:
    /// nobody knows more of it than itself.
    pub fn adopt_end(&self, partition: PartitionId, end: &StateEnd) {
        let mut guard = self.partitions.write(partition);
        for (node, sequence) in end.vector.iter().filter(|&(node, _)| node != self.me) {
            guard.sidecar.others.raise(node, sequence);
        }
        guard.sidecar.merging = false;
        guard.sidecar.feed.rescan();
        drop(guard);
        self.listeners.wake();
    }
}

/// Up to which of `of`'s writes the writer of a stretch had applied when it made its write `at`.
fn seen_of(steps: &[SeenStep], of: NodeId, at: Sequence) -> Sequence {
    let steps = steps.iter().filter(|step| step.of == of && step.from <= at);
    steps.max_by_key(|step| step.from).map_or(Sequence::ZERO, |step| step.seen)
}
