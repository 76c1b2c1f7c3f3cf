//! One partition's records: a hash table for reads and writes of one key, the keys in order for ranges, and counts.

use std::{collections::BTreeSet, ops::Bound};

use hashbrown::{hash_table, HashTable};
use xxhash_rust::xxh3::{xxh3_64, Xxh3Default};

use crate::types::{Key, Record};

/// Where a range of keys begins and ends.
pub type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Records, by key and in key order. Deletes are records too (tombstones).
///
/// A key is found in half the time that a search in an ordered map takes, because it touches half as much memory; the
/// price is a second copy of each key (`docs/decisions/0002-store-layout.md`). The table's own order, which depends on
/// its size, is never seen.
#[derive(Debug, Default)]
pub struct Records {
    table: HashTable<Slot>,
    /// The keys of the table.
    order: BTreeSet<Key>,
    stats: RecordsStats,
}

#[derive(Debug)]
struct Slot {
    key: Key,
    record: Record,
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
        self.table.find(xxh3_64(key), |slot| slot.key.as_slice() == key).map(|slot| &slot.record)
    }

    /// Keeps the later of the record that is there and this one ([`Record::supersedes`]).
    pub fn merge(&mut self, key: Key, record: Record) -> Merged {
        self.merge_with(key, |_| Some(record)).expect("a record was given")
    }

    /// Merges the record that `next` makes of the one that is there, with one search for both. `None` from `next`
    /// leaves everything as it is and comes back as `None`.
    pub fn merge_with(&mut self, key: Key, next: impl FnOnce(Option<&Record>) -> Option<Record>) -> Option<Merged> {
        match self.table.entry(xxh3_64(&key), |slot| slot.key == key, |slot| xxh3_64(&slot.key)) {
            hash_table::Entry::Vacant(entry) => {
                let record = next(None)?;
                self.stats.add(&key, &record);
                self.order.insert(key.clone());
                entry.insert(Slot { key, record });
                Some(Merged::Inserted)
            }
            hash_table::Entry::Occupied(entry) => {
                let slot = entry.into_mut();
                let record = next(Some(&slot.record))?;
                if !record.supersedes(&slot.record) {
                    return Some(Merged::Kept);
                }
                self.stats.remove(&slot.key, &slot.record);
                self.stats.add(&slot.key, &record);
                Some(Merged::Replaced(std::mem::replace(&mut slot.record, record)))
            }
        }
    }

    /// The records between two keys, in order, from both ends.
    ///
    /// # Panics
    /// When the lower bound lies after the upper one, or both exclude the same key.
    pub fn range(&self, bounds: KeyBounds<'_>) -> impl DoubleEndedIterator<Item = (&Key, &Record)> {
        self.order.range::<[u8], _>(bounds).map(|key| self.entry(key))
    }

    /// The records after a key (`None`: all), in order.
    pub fn after<'a>(&'a self, key: Option<&[u8]>) -> impl Iterator<Item = (&'a Key, &'a Record)> {
        let lower = key.map_or(Bound::Unbounded, Bound::Excluded);
        self.order.range::<[u8], _>((lower, Bound::Unbounded)).map(|key| self.entry(key))
    }

    fn entry<'a>(&'a self, key: &'a Key) -> (&'a Key, &'a Record) {
        (key, self.get(key).expect("every key in the order has a record"))
    }

    /// What is held.
    pub fn stats(&self) -> RecordsStats {
        self.stats
    }

    /// How many records there are, tombstones included.
    pub fn len(&self) -> usize {
        self.table.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.table.is_empty()
    }

    /// The sum of a hash of each record: equal contents give equal digests in whatever order they were written, and
    /// different contents differ but with a chance of 2^-64.
    pub fn digest(&self) -> u64 {
        self.table.iter().fold(0, |sum: u64, slot| sum.wrapping_add(record_hash(&slot.key, &slot.record)))
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
