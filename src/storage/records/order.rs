//! The slots of a partition in the order of their keys: a B+-tree of which the lowest level holds numbers of slots and no
//! keys.
//!
//! The slots are cut into runs of bounded length. A tree finds the run of a key by its *fence*: a key that is not above any
//! in the run, and above all in the runs before. It stays when the key it was copied from goes. Keys themselves
//! are in their slots, so a record costs a few bytes here instead of a second copy of its key.

use std::{
    collections::{btree_map, BTreeMap},
    ops::Bound,
};

use super::{
    run::{Entry, Run},
    slots::{SlotId, Slots},
    KeyBounds,
};
use crate::{limits::RUN_SLOTS_MAX, types::Key};

/// A run that shrinks below this is joined with the next, if that is no longer than this either.
const RUN_SLOTS_MIN: usize = RUN_SLOTS_MAX / 4;

#[derive(Debug, Default)]
pub(super) struct Order {
    /// By fence. The first fence is the least key there is; no run but that one is empty.
    pub(super) runs: BTreeMap<Key, Run>,
}

impl Order {
    /// The last slot.
    pub(super) fn last(&self) -> Option<SlotId> {
        self.runs.values().next_back()?.entries().last().map(|entry| entry.id)
    }

    /// Adds a slot whose key is not here yet.
    pub(super) fn insert(&mut self, key: &Key, id: SlotId, slots: &Slots) {
        if self.last().is_none_or(|last| slots.key(last) < key.as_slice()) {
            return self.push(key, id);
        }
        let (fence, run) = self.run_mut(key);
        if !run.is_full() {
            return run.insert(fence, key, id, slots);
        }
        let (upper_fence, mut upper) = run.split(fence, slots);
        if *key < upper_fence {
            run.insert(fence, key, id, slots);
        } else {
            upper.insert(&upper_fence, key, id, slots);
        }
        self.runs.insert(upper_fence, upper);
    }

    /// Adds a slot whose key is above all others. Keys that come in order make full runs.
    pub(super) fn push(&mut self, key: &Key, id: SlotId) {
        match self.runs.iter_mut().next_back() {
            Some((fence, run)) if !run.is_full() => run.push(fence, key, id),
            Some(_) => drop(self.runs.insert(key.clone(), Run::of(key, id))),
            None => self.runs.entry(least_key()).or_default().push(&least_key(), key, id),
        }
    }

    /// Takes a slot out that is here.
    pub(super) fn remove(&mut self, key: &[u8], slots: &Slots) {
        let (fence, run) = self.run_mut(key);
        run.remove(fence, key, slots);
        if run.len() < RUN_SLOTS_MIN {
            let fence = fence.clone();
            self.join(&fence, slots);
        }
    }

    /// The record in slot `from` is about to move to `to`.
    pub(super) fn renumber(&mut self, from: SlotId, to: SlotId, slots: &Slots) {
        let key = slots.key(from);
        let (fence, run) = self.run_mut(key);
        run.renumber(fence, key, to, slots);
    }

    /// The slots between two keys, in order, from both ends.
    pub(super) fn range<'a>(&'a self, (lower, upper): KeyBounds<'_>, slots: &Slots) -> Range<'a> {
        let first = match lower {
            Bound::Included(key) | Bound::Excluded(key) => {
                let fences = self.runs.range::<[u8], _>((Bound::Unbounded, Bound::Included(key)));
                fences.map(|(fence, _)| fence.as_slice()).next_back()
            }
            Bound::Unbounded => None,
        };
        let first = first.map_or(Bound::Unbounded, Bound::Included);
        let mut runs = self.runs.range::<[u8], _>((first, upper));
        let begin = |(fence, run): (&Key, &Run)| match lower {
            Bound::Included(key) => run.position(fence, key, slots),
            Bound::Excluded(key) => run.position_after(fence, key, slots),
            Bound::Unbounded => 0,
        };
        let end = |(fence, run): (&Key, &Run)| match upper {
            Bound::Included(key) => run.position_after(fence, key, slots),
            Bound::Excluded(key) => run.position(fence, key, slots),
            Bound::Unbounded => run.len(),
        };
        let (front, back) = match (runs.next(), runs.next_back()) {
            (None, _) => (&[][..], &[][..]),
            (Some(only), None) => (only.1.entries().get(begin(only)..end(only)).unwrap_or_default(), &[][..]),
            (Some(front), Some(back)) => (&front.1.entries()[begin(front)..], &back.1.entries()[..end(back)]),
        };
        Range { front: front.iter(), runs, back: back.iter() }
    }

    fn run_mut(&mut self, key: &[u8]) -> (&Key, &mut Run) {
        let below = (Bound::Unbounded, Bound::Included(key));
        self.runs.range_mut::<[u8], _>(below).next_back().expect("the first fence is not above any key")
    }

    /// Joins a small run with the one behind it, and lets go of what it does not need.
    fn join(&mut self, fence: &Key, slots: &Slots) {
        let behind = (Bound::Excluded(fence.as_slice()), Bound::Unbounded);
        let next = self.runs.range::<[u8], _>(behind).next();
        let next = next.filter(|(_, next)| next.len() <= RUN_SLOTS_MIN).map(|(fence, _)| fence.clone());
        let next = next.and_then(|fence| self.runs.remove(&fence)).unwrap_or_default();
        let Some(run) = self.runs.get_mut(fence) else { return };
        run.join(fence, &next, slots);
        run.shrink();
        if run.is_empty() && *fence != least_key() {
            self.runs.remove(fence);
        }
    }
}

fn least_key() -> Key {
    Key::of_held(&[0])
}

/// Slots in order. Runs are taken from the map one after another at both ends.
pub(super) struct Range<'a> {
    front: std::slice::Iter<'a, Entry>,
    runs: btree_map::Range<'a, Key, Run>,
    back: std::slice::Iter<'a, Entry>,
}

impl Iterator for Range<'_> {
    type Item = SlotId;

    fn next(&mut self) -> Option<SlotId> {
        loop {
            if let Some(entry) = self.front.next() {
                return Some(entry.id);
            }
            match self.runs.next() {
                Some((_, run)) => self.front = run.entries().iter(),
                None => return self.back.next().map(|entry| entry.id),
            }
        }
    }
}

impl DoubleEndedIterator for Range<'_> {
    fn next_back(&mut self) -> Option<SlotId> {
        loop {
            if let Some(entry) = self.back.next_back() {
                return Some(entry.id);
            }
            match self.runs.next_back() {
                Some((_, run)) => self.back = run.entries().iter(),
                None => return self.front.next_back().map(|entry| entry.id),
            }
        }
    }
}
