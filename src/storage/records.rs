//! One partition's records: an ordered map that merges and counts.

use std::{
    collections::{btree_map, BTreeMap},
    ops::Bound,
};

use xxhash_rust::xxh3::Xxh3Default;

use crate::types::{Key, Record};

/// Where a range of keys begins and ends.
pub type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Records in key order. Deletes are records too (tombstones).
#[derive(Debug, Default)]
pub struct Records {
    map: BTreeMap<Key, Record>,
    stats: RecordsStats,
}

/// What a set of records holds.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RecordsStats {
    /// Records with a value, expired ones included.
    pub keys: u64,
    /// Records of deletes.
    pub tombstones: u64,
    /// Bytes of keys and values; tombstones count with their keys.
    pub bytes: u64,
    /// Records with a value that ends at some time, past or to come.
    pub expiring: u64,
}

impl RecordsStats {
    fn add(&mut self, key: &Key, record: &Record) {
        *self += RecordsStats::of(key, record);
    }

    fn remove(&mut self, key: &Key, record: &Record) {
        let gone = RecordsStats::of(key, record);
        self.keys -= gone.keys;
        self.tombstones -= gone.tombstones;
        self.bytes -= gone.bytes;
        self.expiring -= gone.expiring;
    }

    /// What one record amounts to.
    fn of(key: &Key, record: &Record) -> RecordsStats {
        let has_value = record.value.is_some();
        RecordsStats {
            keys: u64::from(has_value),
            tombstones: u64::from(!has_value),
            bytes: (key.len() + record.value_bytes()) as u64,
            expiring: u64::from(has_value && record.expires_ms.is_some()),
        }
    }
}

impl std::ops::AddAssign for RecordsStats {
    fn add_assign(&mut self, other: RecordsStats) {
        self.keys += other.keys;
        self.tombstones += other.tombstones;
        self.bytes += other.bytes;
        self.expiring += other.expiring;
    }
}

/// What a merge did.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Merged {
    /// There was no record of this key.
    Inserted,
    /// The new record replaced this one.
    Replaced(Record),
    /// The record that was there stays: it is the same or a later one.
    Kept,
}

impl Records {
    /// No records.
    pub fn new() -> Records {
        Records::default()
    }

    /// The record of a key, tombstones and expired ones included.
    pub fn get(&self, key: &[u8]) -> Option<&Record> {
        self.map.get(key)
    }

    /// Keeps the later of the record that is there and this one ([`Record::supersedes`]).
    pub fn merge(&mut self, key: Key, record: Record) -> Merged {
        self.merge_with(key, |_| Some(record)).expect("a record was given")
    }

    /// Merges the record that `next` makes of the one that is there, with one search for both. `None` from `next`
    /// leaves everything as it is and comes back as `None`.
    pub fn merge_with(&mut self, key: Key, next: impl FnOnce(Option<&Record>) -> Option<Record>) -> Option<Merged> {
        match self.map.entry(key) {
            btree_map::Entry::Vacant(entry) => {
                let record = next(None)?;
                self.stats.add(entry.key(), &record);
                entry.insert(record);
                Some(Merged::Inserted)
            }
            btree_map::Entry::Occupied(mut entry) => {
                let record = next(Some(entry.get()))?;
                if !record.supersedes(entry.get()) {
                    return Some(Merged::Kept);
                }
                self.stats.remove(entry.key(), entry.get());
                self.stats.add(entry.key(), &record);
                Some(Merged::Replaced(entry.insert(record)))
            }
        }
    }

    /// The records between two keys, in order, from both ends.
    ///
    /// # Panics
    /// When the lower bound lies after the upper one, or both exclude the same key.
    pub fn range(&self, bounds: KeyBounds<'_>) -> impl DoubleEndedIterator<Item = (&Key, &Record)> {
        self.map.range::<[u8], _>(bounds)
    }

    /// The records after a key (`None`: all), in order.
    pub fn after<'a>(&'a self, key: Option<&[u8]>) -> impl Iterator<Item = (&'a Key, &'a Record)> {
        let lower = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.map.range::<[u8], _>((lower, Bound::Unbounded))
    }

    /// What is held.
    pub fn stats(&self) -> RecordsStats {
        self.stats
    }

    /// How many records there are, tombstones included.
    pub fn len(&self) -> usize {
        self.map.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.map.is_empty()
    }

    /// The sum of a hash of each record: equal contents give equal digests in whatever order they were written, and
    /// different contents differ but with a chance of 2^-64.
    pub fn digest(&self) -> u64 {
        self.map.iter().fold(0, |sum: u64, (key, record)| sum.wrapping_add(record_hash(key, record)))
    }
}

/// A hash of everything a replica must agree on. Lengths come before bytes, so that no two records share an encoding.
fn record_hash(key: &Key, record: &Record) -> u64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(&record.timestamp.0.to_le_bytes());
    hasher.update(&record.dot.node.0.to_le_bytes());
    hasher.update(&record.dot.sequence.0.to_le_bytes());
    hasher.update(&record.expires_ms.map_or(0, |ms| ms.get()).to_le_bytes());
    hasher.update(&record.flags.to_le_bytes());
    hasher.update(&[u8::from(record.value.is_some())]);
    if let Some(value) = &record.value {
        hasher.update(value);
    }
    hasher.digest()
}
