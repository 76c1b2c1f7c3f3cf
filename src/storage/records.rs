//! One partition's records: a hash table for reads and writes of one key, the keys in order for ranges, counts, a digest
//! that grows with them, and what is to be looked at again: tombstones by age, values by their end.

mod hash;
mod index;

use std::{collections::BTreeSet, ops::Bound};

use hash::{record_hash, write_hash};
use hashbrown::{hash_table, HashTable};
use index::Index;
use xxhash_rust::xxh3::xxh3_64;

use crate::types::{Key, Record, Timestamp};

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
    /// The sum of the [`write_hash`] of each record that has a value.
    write_digest: u64,
    index: Index,
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
        let hash = xxh3_64(&key);
        match self.table.entry(hash, |slot| slot.key == key, |slot| xxh3_64(&slot.key)) {
            hash_table::Entry::Vacant(entry) => {
                let record = next(None)?;
                self.stats.add(&key, &record);
                self.write_digest = self.write_digest.wrapping_add(write_hash(hash, &record));
                self.index.add(&key, &record);
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
                let change = write_hash(hash, &record).wrapping_sub(write_hash(hash, &slot.record));
                self.write_digest = self.write_digest.wrapping_add(change);
                self.index.remove(&slot.key, &slot.record);
                self.index.add(&slot.key, &record);
                Some(Merged::Replaced(std::mem::replace(&mut slot.record, record)))
            }
        }
    }

    /// Forgets a key with its record. Only for what nobody can need any more: a merge cannot tell it from a key that was
    /// never written.
    pub fn forget(&mut self, key: &[u8]) -> Option<Record> {
        let hash = xxh3_64(key);
        let Ok(entry) = self.table.find_entry(hash, |slot| slot.key.as_slice() == key) else { return None };
        let (Slot { key, record }, _) = entry.remove();
        self.order.remove(&key);
        self.stats.remove(&key, &record);
        self.write_digest = self.write_digest.wrapping_sub(write_hash(hash, &record));
        self.index.remove(&key, &record);
        Some(record)
    }

    /// The tombstones that are stamped up to `stamp`, from the oldest on.
    pub fn tombstones_until(&self, stamp: Timestamp) -> impl Iterator<Item = (&Key, &Record)> {
        self.index.tombstones().take_while(move |(timestamp, _)| *timestamp <= stamp).map(|(_, key)| self.entry(key))
    }

    /// When the oldest tombstone was written.
    pub fn oldest_tombstone(&self) -> Option<Timestamp> {
        self.index.tombstones().next().map(|(timestamp, _)| *timestamp)
    }

    /// When the newest tombstone was written that is stamped up to `stamp`.
    pub fn newest_tombstone(&self, stamp: Timestamp) -> Option<Timestamp> {
        self.index.newest_until(stamp)
    }

    /// The keys whose values have ended at `now_ms`, from the first to end on.
    pub fn expired(&self, now_ms: u64) -> impl Iterator<Item = &Key> {
        self.index.expiring().take_while(move |(expires_ms, _)| *expires_ms <= now_ms).map(|(_, key)| key)
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

    /// The sum of a hash of each record with a value: equal values give equal digests in whatever order they were written,
    /// and different ones differ but with a chance of 2^-64. Tombstones do not count, because nodes drop them at different
    /// times. Reads every record.
    pub fn digest(&self) -> u64 {
        let values = self.table.iter().filter(|slot| slot.record.value.is_some());
        values.fold(0, |sum: u64, slot| sum.wrapping_add(record_hash(&slot.key, &slot.record)))
    }

    /// As [`Records::digest`], but kept up to date with each write, and blind to the bytes of the values: it tells which
    /// writes are held. Costs nothing to ask for.
    pub fn write_digest(&self) -> u64 {
        self.write_digest
    }
}
