//! How a keyspace comes back from disk: the state of a checkpoint first, then every entry of the log after it, in order.
//!
//! An entry changes memory here as it did when it was made, by the same functions and in the same order, so the keyspace
//! ends as it was: contents, vectors, what writers had seen, conflicts. What the checkpoint holds already changes nothing.

use super::{
    conflicts::Merging,
    progress::{merge, Progress},
    Eventual,
};
use crate::{
    error::{Error, ErrorCode, Result},
    storage::{
        codec::{put_list, Decoded, Reader, Stored},
        partition_of,
    },
    types::{
        Conflict, Dot, Key, NodeId, PartitionChanges, PartitionId, Record, SeenStep, StateEnd, StateRecord, Timestamp,
        VersionVector,
    },
};

/// What a node keeps of a partition beside its records.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(in crate::replication::eventual) struct PartitionHead {
    /// What it has, its own writes included.
    pub(in crate::replication::eventual) vector: VersionVector,
    /// Covers every tombstone that was dropped.
    pub(in crate::replication::eventual) dropped: VersionVector,
    /// The greatest stamp of a tombstone that was dropped.
    pub(in crate::replication::eventual) dropped_until: Timestamp,
    /// What the writers had seen of each other.
    pub(in crate::replication::eventual) seen: Vec<SeenStep>,
}

impl Stored for PartitionHead {
    const BYTES_LEAST: usize = VersionVector::BYTES_LEAST * 2 + Timestamp::BYTES_LEAST + 1;

    fn put(&self, buf: &mut Vec<u8>) {
        self.vector.put(buf);
        self.dropped.put(buf);
        self.dropped_until.put(buf);
        put_list(buf, &self.seen);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<PartitionHead> {
        Ok(PartitionHead {
            vector: VersionVector::take(reader)?,
            dropped: VersionVector::take(reader)?,
            dropped_until: Timestamp::take(reader)?,
            seen: reader.take_list("seen")?,
        })
    }
}

impl Progress {
    /// What is kept beside the records.
    pub(in crate::replication::eventual) fn head(&self, me: NodeId) -> PartitionHead {
        PartitionHead {
            vector: self.vector(me),
            dropped: self.dropped.clone(),
            dropped_until: self.dropped_until,
            seen: self.seen.all(),
        }
    }
}

impl Eventual {
    /// Begins a partition with what a checkpoint says of it; its records follow.
    pub(in crate::replication::eventual) fn restore_head(&self, partition: PartitionId, head: PartitionHead) {
        let mut guard = self.partitions.write(partition);
        let sidecar = &mut guard.sidecar;
        for (node, sequence) in head.vector.iter() {
            if node == self.me {
                sidecar.outbox.resume(sequence);
            } else {
                sidecar.others.raise(node, sequence);
            }
        }
        sidecar.dropped = head.dropped;
        sidecar.dropped_until = head.dropped_until;
        self.hlc.note(head.dropped_until);
        head.seen.into_iter().for_each(|step| sidecar.seen.note(step));
        // A node that was somebody else when this was written has seen all of it before its first write.
        let from = sidecar.outbox.last().next();
        for (of, seen) in sidecar.others.iter() {
            sidecar.seen.note(SeenStep { writer: self.me, of, from, seen });
        }
    }

    /// Takes records of a checkpoint into a partition.
    ///
    /// # Errors
    /// That of the first record that has one.
    pub(in crate::replication::eventual) fn restore_records(
        &self,
        partition: PartitionId,
        records: impl Iterator<Item = Result<(Key, Record)>>,
    ) -> Result<()> {
        let (mut latest, mut failure) = (Timestamp::ZERO, None);
        let records = records.map_while(|item| {
            let (key, record) = item.map_err(|error| failure = Some(error)).ok()?;
            latest = latest.max(record.timestamp);
            Some((key, record))
        });
        self.partitions.write(partition).records.load_sorted(records);
        self.hlc.note(latest);
        failure.map_or(Ok(()), Err)
    }

    /// Takes over conflicts that were noticed before.
    pub(in crate::replication::eventual) fn restore_conflicts(&self, conflicts: Vec<Conflict>) {
        self.journal.record(conflicts, |_| None);
    }

    /// Stamps up to here were drawn or told.
    pub(in crate::replication::eventual) fn restore_clock(&self, until: Timestamp) {
        self.hlc.note(until);
    }

    /// Own writes of a partition, of this incarnation or a former one with the same data, in the order in which they were
    /// made. Leaves the list empty.
    ///
    /// They are merged in key order: which of two writes of a key stays does not depend on it, and keys that lie beside
    /// each other are found in memory that was just read.
    ///
    /// # Errors
    /// `CORRUPT` when writes before one of them are missing, or one belongs elsewhere.
    pub(in crate::replication::eventual) fn replay_own_writes(
        &self,
        partition: PartitionId,
        writes: &mut Vec<(Key, Record)>,
    ) -> Result<()> {
        let mut guard = self.partitions.write(partition);
        let (mut latest, mut failure) = (Timestamp::ZERO, None);
        writes.retain(|(key, record)| {
            let is_new = self.replay_progress(&mut guard.sidecar, partition, (key, record));
            latest = latest.max(record.timestamp);
            is_new.unwrap_or_else(|error| {
                failure.get_or_insert(error);
                false
            })
        });
        self.hlc.note(latest);
        writes.sort_unstable_by(|(one, _), (other, _)| one.cmp(other));
        writes.drain(..).for_each(|(key, record)| drop(merge(&mut guard, key, record)));
        failure.map_or(Ok(()), Err)
    }

    /// Takes note of an own write; false: it was here before.
    fn replay_progress(
        &self,
        sidecar: &mut Progress,
        partition: PartitionId,
        (key, record): (&Key, &Record),
    ) -> Result<bool> {
        let Dot { node, sequence } = record.dot;
        let is_mine = node == self.me;
        let next = if is_mine { sidecar.outbox.last() } else { sidecar.others.sequence(node) }.next();
        if sequence > next {
            return Err(gap(node, next.0, sequence.0));
        }
        if partition_of(key) != partition {
            let text = format!("the log has write {} of node {node} in partition {}", sequence.0, partition.0);
            return Err(Error::new(ErrorCode::Corrupt, text));
        }
        if sequence < next {
            return Ok(false);
        }
        if is_mine {
            sidecar.outbox.push(key.clone(), record.clone());
        } else {
            sidecar.raise(self.me, node, sequence);
        }
        Ok(true)
    }

    /// A stretch of another node's writes, as `node` merged it: this one, or its former self.
    ///
    /// # Errors
    /// `CORRUPT` when writes before it are missing.
    pub(in crate::replication::eventual) fn replay_stretch(
        &self,
        origin: NodeId,
        mut stretch: PartitionChanges,
        (node, noticed_ms): (NodeId, u64),
    ) -> Result<()> {
        let mut guard = self.partitions.write(stretch.partition);
        let next = guard.sidecar.others.sequence(origin).next();
        if stretch.first_sequence > next {
            return Err(gap(origin, next.0, stretch.first_sequence.0));
        }
        let known = usize::try_from(next.0 - stretch.first_sequence.0).unwrap_or(usize::MAX);
        stretch.changes.drain(..known.min(stretch.changes.len()));
        let latest = stretch.changes.iter().map(|change| change.timestamp).max();
        self.hlc.note(latest.unwrap_or(Timestamp::ZERO));
        let (_, conflicts) = self.merge_stretch(&mut guard, origin, stretch, Merging { node, noticed_ms });
        self.journal.restore(conflicts);
        Ok(())
    }

    /// What a former self of this node has seen from its next write on: everything that is here. Noted as it was then, each
    /// time that this grew.
    pub(in crate::replication::eventual) fn replay_seen(&self, partition: PartitionId, former: NodeId) {
        let mut guard = self.partitions.write(partition);
        let sidecar = &mut guard.sidecar;
        let from = sidecar.others.sequence(former).next();
        for (of, seen) in sidecar.others.iter().filter(|&(of, _)| of != former) {
            sidecar.seen.note(SeenStep { writer: former, of, from, seen });
        }
    }

    /// Steps that came with a state transfer.
    pub(in crate::replication::eventual) fn replay_steps(&self, partition: PartitionId, steps: Vec<SeenStep>) {
        self.note_steps(&mut self.partitions.write(partition), steps);
    }

    /// A state transfer that was merged whole, as `node` did.
    pub(in crate::replication::eventual) fn replay_state(
        &self,
        partition: PartitionId,
        pieces: Vec<StatePiece>,
        (end, node, noticed_ms): (&StateEnd, NodeId, u64),
    ) {
        let mut guard = self.partitions.write(partition);
        for StatePiece { records, is_repair } in pieces {
            let latest = records.iter().map(|StateRecord { record, .. }| record.timestamp).max();
            self.hlc.note(latest.unwrap_or(Timestamp::ZERO));
            let conflicts = self.merge_state(&mut guard, records, is_repair, Merging { node, noticed_ms });
            self.journal.restore(conflicts);
        }
        self.close_merge(&mut guard, end);
    }
}

/// A piece of a state transfer that waits for its end.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(in crate::replication::eventual) struct StatePiece {
    pub(in crate::replication::eventual) records: Vec<StateRecord>,
    pub(in crate::replication::eventual) is_repair: bool,
}

fn gap(node: NodeId, expected: u64, found: u64) -> Error {
    let text = format!("the log goes on with write {found} of node {node}, and write {expected} is missing");
    Error::new(ErrorCode::Corrupt, text)
}
