//! The recent changes of one partition, for watchers: a ring, bounded in entries and bytes, that is empty while nobody
//! watches.
//!
//! The ring holds no values. A reader looks each key up again: when its record is another one by now, a later entry tells
//! of that. So a slow watcher skips what was replaced, and costs no memory. One that falls out of the ring compares the
//! records with its vector instead (`watch`).

use std::collections::VecDeque;

use crate::{
    limits::{FEED_BYTES_MAX, FEED_ENTRIES_MAX},
    types::{Dot, Key, RecordRef, Timestamp},
};

/// How much a feed keeps.
#[derive(Clone, Copy, Debug)]
pub struct FeedBounds {
    /// Changes.
    pub entries_max: usize,
    /// Bytes of their keys.
    pub bytes_max: usize,
}

impl Default for FeedBounds {
    fn default() -> FeedBounds {
        FeedBounds { entries_max: FEED_ENTRIES_MAX, bytes_max: FEED_BYTES_MAX }
    }
}

/// A change of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Changed {
    pub(super) key: Key,
    pub(super) dot: Dot,
    /// What a tombstone says, which outlives the tombstone itself.
    pub(super) end: Option<End>,
}

/// What a tombstone says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct End {
    pub(super) version: Timestamp,
    pub(super) is_expiry: bool,
}

impl Changed {
    /// What a record tells of its key.
    pub(super) fn new(key: Key, record: RecordRef<'_>) -> Changed {
        let end = End { version: record.timestamp, is_expiry: record.expires_ms.is_some() };
        Changed { key, dot: record.dot, end: record.value.is_none().then_some(end) }
    }
}

/// The ring. Entries are numbered from 0 without gaps, but for those that were left out on purpose.
#[derive(Debug, Default)]
pub(super) struct Feed {
    watchers: u64,
    bounds: FeedBounds,
    /// The number of the oldest entry that is held.
    first: u64,
    entries: VecDeque<Changed>,
    bytes: usize,
}

impl Feed {
    /// Whether anybody wants to know.
    pub(super) fn is_watched(&self) -> bool {
        self.watchers > 0
    }

    /// One more wants to know.
    pub(super) fn join(&mut self, bounds: FeedBounds) {
        self.bounds = bounds;
        self.watchers += 1;
    }

    /// One less wants to know. With the last one the ring gives its memory back.
    pub(super) fn leave(&mut self) {
        self.watchers -= 1;
        if self.watchers == 0 {
            self.rescan();
            self.entries = VecDeque::new();
        }
    }

    /// The number that the next entry gets.
    pub(super) fn next(&self) -> u64 {
        self.first + self.entries.len() as u64
    }

    /// Takes note of a change.
    pub(super) fn push(&mut self, changed: Changed) {
        self.bytes += changed.key.len();
        self.entries.push_back(changed);
        while self.entries.len() > self.bounds.entries_max || self.bytes > self.bounds.bytes_max {
            let Some(oldest) = self.entries.pop_front() else { break };
            self.bytes -= oldest.key.len();
            self.first += 1;
        }
    }

    /// Sends every reader to the records: something changed that was not noted one by one.
    pub(super) fn rescan(&mut self) {
        self.first = self.next() + 1;
        self.entries.clear();
        self.bytes = 0;
    }

    /// The entries from `number` on; `None` when they are not all held any more.
    pub(super) fn from(&self, number: u64) -> Option<impl Iterator<Item = &Changed>> {
        let skipped = usize::try_from(number.checked_sub(self.first)?).unwrap_or(usize::MAX);
        Some(self.entries.range(skipped.min(self.entries.len())..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{NodeId, Sequence};

    fn changed(sequence: u64) -> Changed {
        let dot = Dot { node: NodeId(1), sequence: Sequence(sequence) };
        Changed { key: Key::new(b"1234").unwrap(), dot, end: None }
    }

    fn held(feed: &Feed, from: u64) -> Option<Vec<u64>> {
        feed.from(from).map(|entries| entries.map(|entry| entry.dot.sequence.0).collect())
    }

    #[test]
    fn the_ring_keeps_the_last_entries_within_both_bounds() {
        let mut feed = Feed::default();
        feed.join(FeedBounds { entries_max: 3, bytes_max: 100 });
        (1..=5).for_each(|sequence| feed.push(changed(sequence)));
        assert_eq!((held(&feed, 1), held(&feed, 2), held(&feed, 5)), (None, Some(vec![3, 4, 5]), Some(vec![])));
        feed.join(FeedBounds { entries_max: 3, bytes_max: 8 });
        feed.push(changed(6));
        assert_eq!((held(&feed, 3), held(&feed, 4)), (None, Some(vec![5, 6])));
    }

    #[test]
    fn after_a_rescan_and_after_the_last_watcher_every_reader_has_fallen_out() {
        let mut feed = Feed::default();
        feed.join(FeedBounds::default());
        feed.push(changed(1));
        let next = feed.next();
        feed.rescan();
        assert_eq!((held(&feed, next), held(&feed, feed.next())), (None, Some(vec![])));
        let next = feed.next();
        feed.leave();
        assert!(!feed.is_watched() && held(&feed, next).is_none());
    }
}
