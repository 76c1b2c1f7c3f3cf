//! How much room keys take: what a look at one page of a keyspace tells, and how it is summed up.

use std::{cmp::Reverse, collections::BTreeSet};

use bytes::Bytes;
use xxhash_rust::xxh3::xxh3_64;

use super::KeyRange;

/// Of how many samples a share is a part.
pub const SHARE_WHOLE: u32 = 1_000_000;

/// Where a key ends that stands for all that begin with it, as a directory does.
const SEPARATORS: [u8; 2] = *b"/:";

/// What is to be looked at.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SurveyQuery {
    /// The keyspace; an empty name means `default`.
    pub keyspace: String,
    /// Which keys. Folds end at the first separator after its prefix.
    pub range: KeyRange,
    /// Keys that count, in a million: which those are, their hash says.
    pub share: u32,
    /// How many of the largest values are told.
    pub top: usize,
}

/// What one page of a keyspace holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Survey {
    /// Keys that were looked at, whether they count or not.
    pub visited: u64,
    /// Of those that count, the keys with the largest values, and the bytes of those; the largest first.
    pub largest: Vec<(Bytes, u64)>,
    /// Those that count, by what they begin with, in key order.
    pub folds: Vec<Fold>,
    /// From which key on the next page is; `None`: that was the last.
    pub next: Option<Vec<u8>>,
}

/// Keys that begin with the same, up to a separator.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Fold {
    /// The separator included. The prefix that was asked for: the keys behind it that have no further separator.
    pub prefix: Vec<u8>,
    /// How many.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
}

/// Sums up what is looked at. Holds the largest values and the folds of one page, and no more.
#[derive(Debug)]
pub struct Tally {
    prefix_bytes: usize,
    share: u32,
    top: usize,
    visited: u64,
    /// The smallest that may still have to give way first.
    largest: BTreeSet<(u64, Reverse<Bytes>)>,
    /// Keys that lie side by side have the same fold, but for those of the first one, which have none.
    folds: Vec<Fold>,
}

impl Tally {
    /// Of nothing yet.
    pub fn new(query: &SurveyQuery) -> Tally {
        let loose = Fold { prefix: query.range.prefix.clone(), ..Fold::default() };
        Tally {
            prefix_bytes: query.range.prefix.len(),
            share: query.share,
            top: query.top,
            visited: 0,
            largest: BTreeSet::new(),
            folds: vec![loose],
        }
    }

    /// Takes a key in that follows those before it.
    pub fn add(&mut self, key: &[u8], value_bytes: u64) {
        self.visited += 1;
        if xxh3_64(key) % u64::from(SHARE_WHOLE) >= u64::from(self.share) {
            return;
        }
        self.keep_largest(key, value_bytes);
        let fold = match fold_of(key, self.prefix_bytes) {
            None => &mut self.folds[0],
            Some(prefix) => self.fold(prefix),
        };
        fold.keys += 1;
        fold.bytes += key.len() as u64 + value_bytes;
    }

    fn keep_largest(&mut self, key: &[u8], value_bytes: u64) {
        let is_larger = |(least, _): &(u64, Reverse<Bytes>)| value_bytes > *least;
        if self.largest.len() >= self.top && !self.largest.first().is_some_and(is_larger) {
            return;
        }
        self.largest.insert((value_bytes, Reverse(Bytes::copy_from_slice(key))));
        if self.largest.len() > self.top {
            self.largest.pop_first();
        }
    }

    fn fold(&mut self, prefix: &[u8]) -> &mut Fold {
        if self.folds.len() == 1 || self.folds.last().is_none_or(|last| last.prefix != prefix) {
            self.folds.push(Fold { prefix: prefix.to_vec(), ..Fold::default() });
        }
        self.folds.last_mut().expect("there is the first one")
    }

    /// What was found; `next` is where the next page begins.
    pub fn into_survey(self, next: Option<Vec<u8>>) -> Survey {
        let largest = self.largest.into_iter().rev().map(|(bytes, Reverse(key))| (key, bytes)).collect();
        let folds = self.folds.into_iter().filter(|fold| fold.keys > 0).collect();
        Survey { visited: self.visited, largest, folds, next }
    }
}

/// What a key begins with, up to the first separator after `prefix_bytes`, that included.
fn fold_of(key: &[u8], prefix_bytes: usize) -> Option<&[u8]> {
    let at = key.get(prefix_bytes..)?.iter().position(|byte| SEPARATORS.contains(byte))?;
    key.get(..=prefix_bytes + at)
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::*;

    fn query(prefix: &[u8], share: u32, top: usize) -> SurveyQuery {
        SurveyQuery { keyspace: String::new(), range: KeyRange::prefix(prefix), share, top }
    }

    fn survey(query: &SurveyQuery, keys: &BTreeMap<Vec<u8>, u64>) -> Survey {
        let mut tally = Tally::new(query);
        for (key, bytes) in keys.iter().filter(|(key, _)| query.range.contains(key)) {
            tally.add(key, *bytes);
        }
        tally.into_survey(None)
    }

    #[test]
    fn the_largest_come_first_and_folds_end_at_a_separator() {
        let keys = [("a", 3), ("user:1", 10), ("user:2:x", 2), ("z/1", 10)];
        let keys = keys.into_iter().map(|(key, bytes)| (key.as_bytes().to_vec(), bytes)).collect();
        let found = survey(&query(b"", SHARE_WHOLE, 2), &keys);
        assert_eq!(found.largest, [(Bytes::from("user:1"), 10), (Bytes::from("z/1"), 10)]);
        let fold = |prefix: &str, keys, bytes| Fold { prefix: prefix.as_bytes().to_vec(), keys, bytes };
        assert_eq!(found.folds, [fold("", 1, 4), fold("user:", 2, 26), fold("z/", 1, 13)]);
        let below = survey(&query(b"user:", SHARE_WHOLE, 0), &keys);
        assert_eq!((below.visited, below.largest), (2, vec![]));
        assert_eq!(below.folds, [fold("user:", 1, 16), fold("user:2:", 1, 10)]);
    }

    #[test]
    fn a_share_of_the_keys_counts_and_always_the_same() {
        let keys: BTreeMap<Vec<u8>, u64> = (0..10_000).map(|at| (format!("{at:05}").into_bytes(), 1)).collect();
        let found = survey(&query(b"", SHARE_WHOLE / 10, 3), &keys);
        let counted = found.folds[0].keys;
        assert!((800..1200).contains(&counted), "{counted}");
        assert_eq!((found.visited, found.largest.len()), (10_000, 3));
        assert_eq!(survey(&query(b"", SHARE_WHOLE / 10, 3), &keys), found);
        assert_eq!(survey(&query(b"", 0, 3), &keys), Survey { visited: 10_000, ..Survey::default() });
    }

    proptest! {
        #[test]
        fn a_tally_is_what_sorting_all_of_it_gives(
            keys in prop::collection::btree_map("[ab/:]{1,5}", 0u64..6, 0..40),
            prefix in "[ab/:]{0,2}", top in 0usize..6,
        ) {
            let keys: BTreeMap<Vec<u8>, u64> = keys.into_iter().map(|(key, bytes)| (key.into_bytes(), bytes)).collect();
            let query = query(prefix.as_bytes(), SHARE_WHOLE, top);
            let found = survey(&query, &keys);
            let mut within: Vec<_> = keys.iter().filter(|(key, _)| key.starts_with(prefix.as_bytes())).collect();
            let mut folds: BTreeMap<Vec<u8>, (u64, u64)> = BTreeMap::new();
            for (key, bytes) in &within {
                let end = (prefix.len()..key.len()).find(|&at| SEPARATORS.contains(&key[at]));
                let fold = end.map_or(prefix.as_bytes(), |end| &key[..=end]).to_vec();
                let sum = folds.entry(fold).or_default();
                *sum = (sum.0 + 1, sum.1 + key.len() as u64 + **bytes);
            }
            let told = found.folds.into_iter().map(|fold| (fold.prefix, (fold.keys, fold.bytes)));
            prop_assert_eq!(told.collect::<Vec<_>>(), folds.into_iter().collect::<Vec<_>>());
            within.sort_by_key(|(key, bytes)| (Reverse(**bytes), (*key).clone()));
            within.truncate(top);
            let within: Vec<_> = within.into_iter().map(|(key, bytes)| (Bytes::from(key.clone()), *bytes)).collect();
            prop_assert_eq!(found.largest, within);
        }
    }
}
