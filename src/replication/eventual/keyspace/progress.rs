//! What is kept beside the records of a partition, and the only way into them.

use crate::{
    replication::eventual::{
        feed::{Changed, Feed},
        seen::SeenLog,
        snapshot::Pins,
        Outbox,
    },
    storage::{Merged, Partition},
    types::{Dot, Key, NodeId, Record, RecordRef, SeenStep, Sequence, Timestamp, VersionVector},
};

/// What the engine changes together with the records of a partition, under the same lock.
#[derive(Debug, Default)]
pub(in crate::replication::eventual) struct Progress {
    /// Own recent writes.
    pub(in crate::replication::eventual) outbox: Outbox,
    /// What was applied of the *other* nodes' writes; the outbox knows the own ones.
    pub(super) others: VersionVector,
    /// What the writers of all nodes had seen of each other.
    pub(in crate::replication::eventual) seen: SeenLog,
    /// What the state transfer covers that is being merged: until its end the records are ahead of the vector.
    pub(super) incoming: VersionVector,
    /// Snapshots that are being read.
    pub(in crate::replication::eventual) pins: Pins,
    /// Covers every tombstone that was dropped.
    pub(super) dropped: VersionVector,
    /// The greatest stamp of a tombstone that was dropped.
    pub(super) dropped_until: Timestamp,
    /// Fetched state is being merged: the records are ahead of the vector.
    pub(in crate::replication::eventual) is_merging: bool,
    /// Recent changes, for watchers.
    pub(in crate::replication::eventual) feed: Feed,
}

impl Progress {
    /// What `me`, the owner of the outbox, has of this partition: its own writes too.
    pub(in crate::replication::eventual) fn vector(&self, me: NodeId) -> VersionVector {
        let mut vector = self.others.clone();
        vector.raise(me, self.outbox.last());
        vector
    }

    /// The writes of `node`, another one, are applied up to `sequence`. What `me` writes from now on has seen them.
    pub(super) fn raise(&mut self, me: NodeId, node: NodeId, sequence: Sequence) {
        if sequence > self.others.sequence(node) {
            self.others.raise(node, sequence);
            self.seen.trim_pair(node, me, sequence);
            self.seen.note(SeenStep { writer: me, of: node, from: self.outbox.last().next(), seen: sequence });
        }
    }

    /// Whether the write named by `dot` was applied, or made, by `me`, the owner of the outbox.
    pub(super) fn covers(&self, me: NodeId, dot: Dot) -> bool {
        self.others.covers(dot) || (dot.node == me && dot.sequence <= self.outbox.last())
    }
}

/// Merges a record; see [`merge_with`].
pub(super) fn merge(partition: &mut Partition<Progress>, key: Key, record: Record) -> Merged {
    merge_with(partition, key, |_| Some(record)).expect("a record was given")
}

/// The only way into the records: snapshots that are being read keep what is replaced, and watchers are told what is new.
pub(super) fn merge_with(
    partition: &mut Partition<Progress>,
    key: Key,
    next: impl FnOnce(Option<RecordRef<'_>>) -> Option<Record>,
) -> Option<Merged> {
    let Partition { records, sidecar } = partition;
    if sidecar.pins.is_empty() && !sidecar.feed.is_watched() {
        return records.merge_with(key, next);
    }
    let merged = records.merge_with(key.clone(), next);
    if let Some(Merged::Replaced(old)) = &merged {
        sidecar.pins.keep(&key, old);
    }
    let is_changed = matches!(merged, Some(Merged::Inserted | Merged::Replaced(_)));
    // The dots of fetched state come out of order; a scan tells of them once it is whole.
    if is_changed && sidecar.feed.is_watched() && !sidecar.is_merging {
        if let Some(record) = records.get(&key) {
            let changed = Changed::new(key, record);
            sidecar.feed.push(changed);
        }
    }
    merged
}
