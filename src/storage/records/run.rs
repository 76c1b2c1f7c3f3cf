//! A short stretch of the order: slots whose keys are neighbours.
//!
//! Beside the number of each slot stand four bytes of its key, the first ones that can differ within the run. A search
//! mostly gets by with them (Graefe, "Modern B-Tree Techniques", 2011, 3.5, "poor man's normalized keys"): a slot that is
//! far away in memory is only visited where they are equal.

use std::cmp::Ordering;

use super::slots::{SlotId, Slots};
use crate::{
    limits::{RUN_SLOTS_MAX, RUN_SLOTS_STEP},
    types::Key,
};

/// A slot in the order.
#[derive(Clone, Copy, Debug)]
pub(super) struct Entry {
    pub(super) id: SlotId,
    /// The bytes of the key after those that the run skips, zeros where there are none.
    hint: u32,
}

/// Slots in the order of their keys.
#[derive(Debug, Default)]
pub(super) struct Run {
    entries: Vec<Entry>,
    /// So many bytes all keys and the fence have in common.
    skip: usize,
}

impl Run {
    /// A run of one key, which is also its fence.
    pub(super) fn of(key: &Key, id: SlotId) -> Run {
        Run { entries: vec![Entry { id, hint: 0 }], skip: key.len() }
    }

    pub(super) fn entries(&self) -> &[Entry] {
        &self.entries
    }

    pub(super) fn len(&self) -> usize {
        self.entries.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.entries.is_empty()
    }

    pub(super) fn is_full(&self) -> bool {
        self.entries.len() >= RUN_SLOTS_MAX
    }

    /// How many slots there is room for.
    #[cfg(test)]
    pub(super) fn capacity(&self) -> usize {
        self.entries.capacity()
    }

    /// How many keys come before this one: where it lies, or would.
    pub(super) fn position(&self, fence: &Key, key: &[u8], slots: &Slots) -> usize {
        self.partition(fence, key, slots, Ordering::is_lt)
    }

    /// How many keys come before this one or are it.
    pub(super) fn position_after(&self, fence: &Key, key: &[u8], slots: &Slots) -> usize {
        self.partition(fence, key, slots, Ordering::is_le)
    }

    fn partition(&self, fence: &Key, key: &[u8], slots: &Slots, is_before: impl Fn(Ordering) -> bool) -> usize {
        let common = &fence[..self.skip];
        if !key.starts_with(common) {
            return if common < key { self.entries.len() } else { 0 };
        }
        let hint = hint_of(key, self.skip);
        self.entries.partition_point(|entry| {
            let order = entry.hint.cmp(&hint);
            is_before(order.then_with(|| slots.key(entry.id).cmp(key)))
        })
    }

    /// Adds a slot whose key is above the fence.
    pub(super) fn insert(&mut self, fence: &Key, key: &[u8], id: SlotId, slots: &Slots) {
        self.share(fence, key);
        let at = self.position(fence, key, slots);
        self.make_room();
        self.entries.insert(at, Entry { id, hint: hint_of(key, self.skip) });
    }

    /// Adds a slot whose key is above all others.
    pub(super) fn push(&mut self, fence: &Key, key: &[u8], id: SlotId) {
        self.share(fence, key);
        self.make_room();
        self.entries.push(Entry { id, hint: hint_of(key, self.skip) });
    }

    /// Takes the slot of a key out that is here.
    pub(super) fn remove(&mut self, fence: &Key, key: &[u8], slots: &Slots) {
        self.entries.remove(self.position(fence, key, slots));
    }

    /// The slot of a key that is here has another number.
    pub(super) fn renumber(&mut self, fence: &Key, key: &[u8], to: SlotId, slots: &Slots) {
        let at = self.position(fence, key, slots);
        self.entries[at].id = to;
    }

    /// The upper half, and its fence.
    pub(super) fn split(&mut self, fence: &Key, slots: &Slots) -> (Key, Run) {
        let upper = self.entries.split_off(self.entries.len() / 2);
        self.entries.shrink_to_fit();
        self.skip_all(fence, slots);
        let upper_fence = Key::of_held(slots.key(upper[0].id));
        let mut run = Run { entries: upper, skip: 0 };
        run.skip_all(&upper_fence, slots);
        (upper_fence, run)
    }

    /// Adds the slots of the run behind.
    pub(super) fn join(&mut self, fence: &Key, next: &Run, slots: &Slots) {
        for entry in &next.entries {
            self.push(fence, slots.key(entry.id), entry.id);
        }
    }

    /// Gives memory back that a run of this length does not need.
    pub(super) fn shrink(&mut self) {
        if self.entries.len() + 2 * RUN_SLOTS_STEP <= self.entries.capacity() {
            self.entries.shrink_to(self.entries.len() + RUN_SLOTS_STEP);
        }
    }

    /// Skips all that the keys and the fence have in common.
    fn skip_all(&mut self, fence: &Key, slots: &Slots) {
        let last = self.entries.last().map_or(fence.as_slice(), |entry| slots.key(entry.id));
        self.skip = common_bytes(fence, last);
        for entry in &mut self.entries {
            entry.hint = hint_of(slots.key(entry.id), self.skip);
        }
    }

    /// Skips no more bytes than this key has in common with the others. What the hints then have to begin with is known from
    /// the fence.
    fn share(&mut self, fence: &Key, key: &[u8]) {
        let common = common_bytes(&fence[..self.skip], key);
        if common < self.skip {
            let gained = &fence[common..self.skip];
            for entry in &mut self.entries {
                let bytes = [gained, &entry.hint.to_be_bytes()].concat();
                entry.hint = hint_of(&bytes, 0);
            }
            self.skip = common;
        }
    }

    fn make_room(&mut self) {
        if self.entries.len() == self.entries.capacity() {
            self.entries.reserve_exact(RUN_SLOTS_STEP);
        }
    }
}

fn hint_of(key: &[u8], skip: usize) -> u32 {
    let rest = &key[skip..];
    if let Some(bytes) = rest.first_chunk() {
        return u32::from_be_bytes(*bytes);
    }
    let mut padded = [0; 4];
    padded[..rest.len()].copy_from_slice(rest);
    u32::from_be_bytes(padded)
}

fn common_bytes(a: &[u8], b: &[u8]) -> usize {
    a.iter().zip(b).take_while(|(a, b)| a == b).count()
}
