//! The state of a partition at one moment, read in pieces while writes go on.
//!
//! A state transfer must be exact: *all* that the vector covers and *nothing* more. With less, the receiver would claim
//! writes it does not have, and old values come back (quickwit-oss/chitchat#121). With more, it would hold writes that no vector tells of;
//! should their origin die, its peers would stand at equal vectors with different contents, for ever. Exactness gives
//! the invariant on which convergence rests: **the contents of a partition are a function of its vector**.
//!
//! No lock is held between pieces. Instead each merge that replaces a record which a snapshot has still to read leaves
//! the old one with it, as an undo log does; records that entered later are recognised by their dots and left out.

use std::{collections::BTreeMap, sync::Arc};

use super::{keyspace::Progress, Eventual};
use crate::types::{Key, PartitionId, Record, RecordRef, StateRecord, VersionVector};

/// How much one piece of a snapshot holds.
#[derive(Clone, Copy, Debug)]
pub struct PieceBounds {
    /// Records in it.
    pub records_max: usize,
    /// Records looked at for it: bounds the time that the lock is held.
    pub visits_max: usize,
    /// Bytes of keys and values after which it ends.
    pub bytes_target: usize,
}

/// What a receiver that knows one vector lacks of a partition as it was at another. Dropping it releases what it keeps.
pub struct Snapshot {
    keyspace: Arc<Eventual>,
    partition: PartitionId,
    pin: u64,
    vector: VersionVector,
    is_read: bool,
}

impl Snapshot {
    /// The state of a partition as it is now, without what `known` covers.
    pub fn take(keyspace: &Arc<Eventual>, partition: PartitionId, known: VersionVector) -> Snapshot {
        let (pin, vector) = keyspace.write_pins(partition, |pins, vector| (pins.insert(vector.clone(), known), vector));
        Snapshot { keyspace: Arc::clone(keyspace), partition, pin, vector, is_read: false }
    }

    /// As [`Snapshot::take`], with what `look` sees under the same lock; nothing when that is `None`.
    pub(super) fn take_if<R>(
        keyspace: &Arc<Eventual>,
        partition: PartitionId,
        known: VersionVector,
        look: impl FnOnce(&Progress) -> Option<R>,
    ) -> Option<(Snapshot, R)> {
        keyspace.write_progress(partition, |progress, vector| {
            let seen = look(progress)?;
            let pin = progress.pins.insert(vector.clone(), known);
            Some((Snapshot { keyspace: Arc::clone(keyspace), partition, pin, vector, is_read: false }, seen))
        })
    }

    /// What the snapshot and `known` cover together.
    pub fn vector(&self) -> &VersionVector {
        &self.vector
    }

    /// Whether the last piece was read.
    pub fn is_read(&self) -> bool {
        self.is_read
    }

    /// The next piece, in key order. May be empty also before the last.
    pub fn next_piece(&mut self, bounds: PieceBounds) -> Vec<StateRecord> {
        let (records, cursor) = self.keyspace.read_partition(self.partition, |partition| {
            let Some(pin) = partition.sidecar.pins.pins.get(&self.pin) else { return (Vec::new(), None) };
            pin.piece(partition.records.after(pin.cursor.as_deref()), bounds)
        });
        self.is_read = cursor.is_none();
        // A writer that came in between left what it replaced as if it were still to be read; this drops it.
        self.keyspace.write_pins(self.partition, |pins, _| pins.advance(self.pin, cursor));
        records
    }
}

impl Drop for Snapshot {
    fn drop(&mut self) {
        self.keyspace.write_pins(self.partition, |pins, _| pins.pins.remove(&self.pin));
    }
}

/// The snapshots of one partition that are being read.
#[derive(Debug, Default)]
pub(super) struct Pins {
    next: u64,
    pins: BTreeMap<u64, Pin>,
}

impl Pins {
    /// Whether nobody reads.
    pub(super) fn is_empty(&self) -> bool {
        self.pins.is_empty()
    }

    /// Keeps a record that was replaced for the snapshots that have still to read it.
    pub(super) fn keep(&mut self, key: &Key, old: &Record) {
        for pin in self.pins.values_mut().filter(|pin| pin.wants(old.view()) && pin.cursor.as_ref() < Some(key)) {
            pin.replaced.insert(key.clone(), old.clone());
        }
    }

    pub(super) fn insert(&mut self, vector: VersionVector, known: VersionVector) -> u64 {
        self.next += 1;
        self.pins.insert(self.next, Pin { vector, known, cursor: None, replaced: BTreeMap::new() });
        self.next
    }

    fn advance(&mut self, pin: u64, cursor: Option<Key>) {
        match (self.pins.get_mut(&pin), cursor) {
            (Some(pin), Some(cursor)) => {
                pin.replaced = pin.replaced.split_off(&cursor);
                pin.replaced.remove(&cursor);
                pin.cursor = Some(cursor);
            }
            (Some(_), None) => drop(self.pins.remove(&pin)),
            (None, _) => {}
        }
    }
}

#[derive(Debug)]
struct Pin {
    /// The moment of the snapshot.
    vector: VersionVector,
    /// What its reader has already.
    known: VersionVector,
    /// The last key that was read.
    cursor: Option<Key>,
    /// Records of keys after the cursor that were replaced since the moment of the snapshot.
    replaced: BTreeMap<Key, Record>,
}

impl Pin {
    fn wants(&self, record: RecordRef<'_>) -> bool {
        self.vector.covers(record.dot) && !self.known.covers(record.dot)
    }

    /// A piece, and the key to go on after; `None`: it is the last.
    fn piece<'a>(
        &self,
        records: impl Iterator<Item = (&'a [u8], RecordRef<'a>)>,
        bounds: PieceBounds,
    ) -> (Vec<StateRecord>, Option<Key>) {
        let mut piece = Vec::new();
        let mut bytes = 0;
        for (visits, (key, current)) in (1..).zip(records) {
            let then =
                if self.vector.covers(current.dot) { Some(current) } else { self.replaced.get(key).map(Record::view) };
            if let Some(record) = then.filter(|record| self.wants(*record)) {
                bytes += key.len() + record.value_bytes();
                piece.push(StateRecord { key: Key::of_held(key), record: record.to_record() });
            }
            if piece.len() >= bounds.records_max || visits >= bounds.visits_max || bytes >= bounds.bytes_target {
                return (piece, Some(Key::of_held(key)));
            }
        }
        (piece, None)
    }
}
