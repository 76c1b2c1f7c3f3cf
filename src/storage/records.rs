//! One partition's records: slots that are found by the hash of their key and kept in key order, counts, a digest that
//! grows with them, and what is to be looked at again: tombstones by age, values by their end.

mod hash;
mod index;
mod order;
mod packed;
mod run;
mod slots;
mod table;
#[cfg(test)]
mod tests;

use std::ops::Bound;

use hash::{record_hash, write_hash};
use index::Index;
use order::Order;
use slots::{SlotId, Slots};
use table::Table;
use xxhash_rust::xxh3::xxh3_64;

use crate::types::{Key, Record, RecordRef, Timestamp};

/// Where a range of keys begins and ends.
pub type KeyBounds<'a> = (Bound<&'a [u8]>, Bound<&'a [u8]>);

/// Records, by key and in key order. Deletes are records too (tombstones).
///
/// Each record lies in a slot with its key. A table finds slots by the hash of the key, in half the time that a search in
/// an ordered map takes, because it touches half as much memory; an order of slots serves ranges. Both know slots
/// by their numbers, four bytes each (`docs/decisions/0002-store-layout.md`, `0012-records-in-slots.md`). Neither the
/// numbers nor the table's order are ever seen.
#[derive(Debug, Default)]
pub struct Records {
    slots: Slots,
    table: Table,
    order: Order,
    stats: RecordsStats,
    /// The sum of the [`write_hash`] of each record that has a value.
    write_digest: u64,
    index: Index,
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
    fn add(&mut self, key: &[u8], record: RecordRef<'_>) {
        *self += RecordsStats::of(key, record);
    }

    fn remove(&mut self, key: &[u8], record: RecordRef<'_>) {
        let gone = RecordsStats::of(key, record);
        self.keys -= gone.keys;
        self.tombstones -= gone.tombstones;
        self.bytes -= gone.bytes;
        self.expiring -= gone.expiring;
    }

    /// What one record amounts to.
    pub fn of(key: &[u8], record: RecordRef<'_>) -> RecordsStats {
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
    pub fn get(&self, key: &[u8]) -> Option<RecordRef<'_>> {
        self.find(xxh3_64(key), key).map(|id| self.slots.record(id))
    }

    fn find(&self, hash: u64, key: &[u8]) -> Option<SlotId> {
        self.table.find(hash, |id| self.slots.key(id) == key)
    }

    /// Keeps the later of the record that is there and this one ([`Record::supersedes`]).
    pub fn merge(&mut self, key: Key, record: Record) -> Merged {
        self.merge_with(key, |_| Some(record)).expect("a record was given")
    }

    /// Merges the record that `next` makes of the one that is there, with one search for both. `None` from `next`
    /// leaves everything as it is and comes back as `None`.
    pub fn merge_with(
        &mut self,
        key: Key,
        next: impl FnOnce(Option<RecordRef<'_>>) -> Option<Record>,
    ) -> Option<Merged> {
        let hash = xxh3_64(&key);
        let Some(id) = self.find(hash, &key) else {
            let record = next(None)?;
            let id = self.add(hash, &key, record);
            self.order.insert(&key, id, &self.slots);
            return Some(Merged::Inserted);
        };
        let held = self.slots.record(id);
        let record = next(Some(held))?;
        if !record.view().supersedes(held) {
            return Some(Merged::Kept);
        }
        self.stats.remove(&key, held);
        self.stats.add(&key, record.view());
        let change = write_hash(hash, record.view()).wrapping_sub(write_hash(hash, held));
        self.write_digest = self.write_digest.wrapping_add(change);
        self.index.remove(&key, held);
        self.index.add(&key, record.view());
        Some(Merged::Replaced(self.slots.replace(id, record)))
    }

    /// Merges many records, and quickly those whose keys come in order and after all that are held: such a record is put
    /// behind the others without a search.
    pub fn load_sorted(&mut self, records: impl IntoIterator<Item = (Key, Record)>) {
        for (key, record) in records {
            let last = self.order.last();
            if last.is_none_or(|last| self.slots.key(last) < key.as_slice()) {
                let id = self.add(xxh3_64(&key), &key, record);
                self.order.push(&key, id);
            } else {
                self.merge(key, record);
            }
        }
    }

    /// Adds a record of a new key everywhere but to the order.
    fn add(&mut self, hash: u64, key: &Key, record: Record) -> SlotId {
        self.stats.add(key, record.view());
        self.write_digest = self.write_digest.wrapping_add(write_hash(hash, record.view()));
        self.index.add(key, record.view());
        let id = self.slots.push(key, record);
        self.table.insert(hash, id, |id| xxh3_64(self.slots.key(id)));
        id
    }

    /// Forgets a key with its record. Only for what nobody can need any more: a merge cannot tell it from a key that was
    /// never written.
    pub fn forget(&mut self, key: &[u8]) -> Option<Record> {
        let hash = xxh3_64(key);
        let id = self.find(hash, key)?;
        self.table.remove(hash, id, |id| xxh3_64(self.slots.key(id)));
        self.order.remove(key, &self.slots);
        if let Some(last) = self.slots.last().filter(|last| *last != id) {
            self.table.renumber(xxh3_64(self.slots.key(last)), last, id);
            self.order.renumber(last, id, &self.slots);
        }
        let record = self.slots.swap_remove(id);
        self.stats.remove(key, record.view());
        self.write_digest = self.write_digest.wrapping_sub(write_hash(hash, record.view()));
        self.index.remove(&Key::of_held(key), record.view());
        Some(record)
    }

    /// The tombstones that are stamped up to `stamp`, from the oldest on.
    pub fn tombstones_until(&self, stamp: Timestamp) -> impl Iterator<Item = (&Key, RecordRef<'_>)> {
        let old = self.index.tombstones().take_while(move |(timestamp, _)| *timestamp <= stamp);
        old.map(|(_, key)| (key, self.get(key).expect("every tombstone in the index is held")))
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
    /// When the lower bound lies after the upper one.
    pub fn range(&self, bounds: KeyBounds<'_>) -> impl DoubleEndedIterator<Item = (&[u8], RecordRef<'_>)> {
        self.order.range(bounds, &self.slots).map(|id| (self.slots.key(id), self.slots.record(id)))
    }

    /// The records after a key (`None`: all), in order.
    pub fn after(&self, key: Option<&[u8]>) -> impl Iterator<Item = (&[u8], RecordRef<'_>)> {
        self.range((key.map_or(Bound::Unbounded, Bound::Excluded), Bound::Unbounded))
    }

    /// What is held.
    pub fn stats(&self) -> RecordsStats {
        self.stats
    }

    /// How many records there are, tombstones included.
    pub fn len(&self) -> usize {
        self.slots.len()
    }

    /// Whether there are none.
    pub fn is_empty(&self) -> bool {
        self.len() == 0
    }

    /// The sum of a hash of each record with a value: equal values give equal digests in whatever order they were written,
    /// and different ones differ but with a chance of 2^-64. Tombstones do not count, because nodes drop them at different
    /// times. Reads every record.
    pub fn digest(&self) -> u64 {
        let values = self.slots.iter().filter(|(_, record)| record.value.is_some());
        values.fold(0, |sum: u64, (key, record)| sum.wrapping_add(record_hash(key, record)))
    }

    /// As [`Records::digest`], but kept up to date with each write, and blind to the bytes of the values: it tells which
    /// writes are held. Costs nothing to ask for.
    pub fn write_digest(&self) -> u64 {
        self.write_digest
    }
}
