//! Writes that come from other nodes: pushed by their origin, or as part of a state transfer.

use super::Eventual;
use crate::types::{Dot, NodeId, PartitionChanges, PartitionId, Record, SeenStep, Sequence, StateEnd, StateRecord};

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
        for step in stretch.seen {
            // The writer is the sender, whatever the step says.
            guard.sidecar.seen.note(SeenStep { writer: origin, ..step });
        }
        let mut sequence = position;
        let mut conflicts = Vec::new();
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
            self.merge_and_judge(&mut guard, change.key, record, &mut conflicts);
        }
        guard.sidecar.raise(self.me, origin, sequence);
        drop(guard);
        self.record_conflicts(conflicts);
        Applied::UpTo(sequence)
    }

    /// Merges a part of a state transfer. The whole of it, and then its vector, must follow before anything else is
    /// served from this partition: until then there are records here that the vector does not cover. What their writers
    /// had seen must be known already ([`Eventual::learn_seen`]).
    pub fn apply_state(&self, partition: PartitionId, records: Vec<StateRecord>) {
        let mut guard = self.partitions.write(partition);
        let mut conflicts = Vec::new();
        for StateRecord { key, record } in records {
            self.hlc.observe(record.timestamp);
            self.merge_and_judge(&mut guard, key, record, &mut conflicts);
        }
        drop(guard);
        self.record_conflicts(conflicts);
    }

    /// Takes over the end of a state transfer that was merged whole. The vector's entry of this node itself is ignored:
    /// nobody knows more of it than itself.
    pub fn adopt_end(&self, partition: PartitionId, end: &StateEnd) {
        let mut guard = self.partitions.write(partition);
        for (node, sequence) in end.vector.iter().filter(|&(node, _)| node != self.me) {
            guard.sidecar.raise(self.me, node, sequence);
        }
    }
}
