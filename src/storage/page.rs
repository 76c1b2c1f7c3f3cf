//! One page of a scan over partitions that are cut by hash, so that neighbours in key order lie in different ones.
//!
//! The range is read stripe by stripe. A step of a few records in the first partition tells where a stripe ends; since
//! the hash spreads keys evenly, every other partition has about as many in it. Each partition's part of a stripe is
//! read once, under its own lock and no other, and only about as many records are copied as the page gives back. Stripes do
//! not overlap, so no key is skipped or doubled. A page is no snapshot: partitions are read one after another.

use std::ops::Bound;

use super::{KeyBounds, Partitions};
use crate::{
    limits::{PARTITIONS, STRIPE_RECORDS_MAX},
    types::{Key, Page, PageRequest, Record, RecordRef},
};

/// A bound that owns its key.
type KeyBound = Bound<Vec<u8>>;

/// A page while it is gathered.
struct Gathering<'a> {
    request: &'a PageRequest,
    now_ms: u64,
    entries: Vec<(Key, Record)>,
    /// How many of the entries fit into the page. Those beyond tell that there are more.
    fitting: usize,
    /// Keys and values of the fitting entries.
    bytes: usize,
}

/// One page of a scan at `now_ms`.
pub(super) fn page<S>(partitions: &Partitions<S>, request: &PageRequest, now_ms: u64) -> Page {
    let Some((mut lower, mut upper)) = request.range.bounds() else { return Page::default() };
    let mut gathering = Gathering { request, now_ms, entries: Vec::new(), fitting: 0, bytes: 0 };
    // A page is mostly full after one stripe: the spread of such a step is about its square root.
    let share = request.keys_max / usize::from(PARTITIONS);
    let mut step = share + share.isqrt() + 1;
    loop {
        let cut = stripe_end(partitions, (bound_of(&lower), bound_of(&upper)), step, request.reverse);
        let Some(cut) = cut else {
            gathering.add_stripe(partitions, (bound_of(&lower), bound_of(&upper)));
            return gathering.into_page();
        };
        let cut_bound = Bound::Included(cut.as_slice());
        let stripe = if request.reverse { (cut_bound, bound_of(&upper)) } else { (bound_of(&lower), cut_bound) };
        gathering.add_stripe(partitions, stripe);
        if gathering.is_full() {
            return gathering.into_page();
        }
        *if request.reverse { &mut upper } else { &mut lower } = Bound::Excluded(cut.to_vec());
        // Where most records are tombstones many steps are needed, so they grow.
        step = (step * 2).min(STRIPE_RECORDS_MAX);
    }
}

fn bound_of(bound: &KeyBound) -> Bound<&[u8]> {
    bound.as_ref().map(Vec::as_slice)
}

/// The key at which a stripe of `step` records in the first partition ends; `None`: the stripe takes all that is left.
fn stripe_end<S>(partitions: &Partitions<S>, rest: KeyBounds<'_>, step: usize, reverse: bool) -> Option<Key> {
    let first = partitions.ids().next()?;
    let guard = partitions.read(first);
    let mut range = guard.records.range(rest);
    let last = if reverse { range.nth_back(step - 1) } else { range.nth(step - 1) };
    last.map(|(key, _)| Key::of_held(key))
}

impl Gathering<'_> {
    /// Adds what all partitions have in a stripe that follows those before.
    fn add_stripe<S>(&mut self, partitions: &Partitions<S>, stripe: KeyBounds<'_>) {
        for id in partitions.ids() {
            let guard = partitions.read(id);
            let mut range = guard.records.range(stripe);
            self.add_part(std::iter::from_fn(|| if self.request.reverse { range.next_back() } else { range.next() }));
        }
        let start = self.fitting;
        let reverse = self.request.reverse;
        self.entries[start..].sort_unstable_by(|(a, _), (b, _)| if reverse { b.cmp(a) } else { a.cmp(b) });
        self.fit();
    }

    /// Copies the visible records of one partition, up to the first that the page could not hold even if no other
    /// partition had any: whatever lies behind it cannot be in the page.
    fn add_part<'r>(&mut self, records: impl Iterator<Item = (&'r [u8], RecordRef<'r>)>) {
        let mut keys_left = self.request.keys_max - self.fitting;
        let mut bytes = self.bytes;
        for (key, record) in records.filter(|(_, record)| record.is_visible(self.now_ms)) {
            self.entries.push((Key::of_held(key), record.to_record()));
            if keys_left == 0 || bytes >= self.request.bytes_target {
                return;
            }
            keys_left -= 1;
            bytes += key.len() + record.value_bytes();
        }
    }

    /// Counts the entries that fit into the page.
    fn fit(&mut self) {
        let keys_max = self.entries.len().min(self.request.keys_max);
        while self.fitting < keys_max && self.bytes < self.request.bytes_target {
            let (key, record) = &self.entries[self.fitting];
            self.bytes += key.len() + record.value_bytes();
            self.fitting += 1;
        }
    }

    /// Whether there is an entry beyond the page.
    fn is_full(&self) -> bool {
        self.entries.len() > self.fitting
    }

    fn into_page(mut self) -> Page {
        let more = self.is_full();
        self.entries.truncate(self.fitting);
        Page { entries: self.entries, more }
    }
}
