//! What is kept beside the records of a partition, and the only way into them.

use crate::{
    replication::eventual::{snapshot::Pins, Outbox},
    storage::{Merged, Partition},
    types::{Key, NodeId, Record, VersionVector},
};

/// What the engine changes together with the records of a partition, under the same lock.
#[derive(Debug, Default)]
pub(in crate::replication::eventual) struct Progress {
    /// Own recent writes.
    pub(in crate::replication::eventual) outbox: Outbox,
    /// What was applied of the *other* nodes' writes; the outbox knows the own ones.
    pub(super) others: VersionVector,
    /// What the state transfer covers that is being merged: until its end the records are ahead of the vector.
    pub(super) incoming: VersionVector,
    /// Snapshots that are being read.
    pub(in crate::replication::eventual) pins: Pins,
}

impl Progress {
    /// What `me`, the owner of the outbox, has of this partition: its own writes too.
    pub(in crate::replication::eventual) fn vector(&self, me: NodeId) -> VersionVector {
        let mut vector = self.others.clone();
        vector.raise(me, self.outbox.last());
        vector
    }
}

/// Merges a record; see [`merge_with`].
pub(super) fn merge(partition: &mut Partition<Progress>, key: Key, record: Record) -> Merged {
    merge_with(partition, key, |_| Some(record)).expect("a record was given")
}

/// The only way into the records: snapshots that are being read keep what is replaced.
pub(super) fn merge_with(
    partition: &mut Partition<Progress>,
    key: Key,
    next: impl FnOnce(Option<&Record>) -> Option<Record>,
) -> Option<Merged> {
    let Partition { records, sidecar } = partition;
    if sidecar.pins.is_empty() {
        return records.merge_with(key, next);
    }
    let merged = records.merge_with(key.clone(), next);
    if let Some(Merged::Replaced(old)) = &merged {
        sidecar.pins.keep(&key, old);
    }
    merged
}
