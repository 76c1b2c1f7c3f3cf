//! Ranges of keys and pages of a scan.

use std::ops::Bound;

use super::{Key, Record};

/// The lower and the upper bound of a range.
pub type OwnedBounds = (Bound<Vec<u8>>, Bound<Vec<u8>>);

/// Keys that start with `prefix` and lie in `[start, end)`, compared bytewise.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct KeyRange {
    /// What every key starts with; empty: anything.
    pub prefix: Vec<u8>,
    /// The first key that may be in it; `None`: from the first.
    pub start: Option<Vec<u8>>,
    /// The first key after it; `None`: to the last.
    pub end: Option<Vec<u8>>,
}

impl KeyRange {
    /// The keys under a prefix; the empty prefix means all.
    pub fn prefix(prefix: &[u8]) -> KeyRange {
        KeyRange { prefix: prefix.to_vec(), start: None, end: None }
    }

    /// The bounds for an ordered map, or `None` when no key can lie between them.
    pub fn bounds(&self) -> Option<OwnedBounds> {
        let lower = self.start.as_deref().unwrap_or_default().max(&self.prefix).to_vec();
        let upper = match (self.end.clone(), prefix_end(&self.prefix)) {
            (Some(end), Some(prefix_end)) => Some(end.min(prefix_end)),
            (end, prefix_end) => end.or(prefix_end),
        };
        match upper {
            Some(upper) if lower >= upper => None,
            Some(upper) => Some((Bound::Included(lower), Bound::Excluded(upper))),
            None => Some((Bound::Included(lower), Bound::Unbounded)),
        }
    }

    /// Whether `key` lies in the range.
    pub fn contains(&self, key: &[u8]) -> bool {
        key.starts_with(&self.prefix)
            && self.start.as_deref().is_none_or(|start| key >= start)
            && self.end.as_deref().is_none_or(|end| key < end)
    }
}

/// The first byte string after all that start with `prefix`; `None` when there is none.
fn prefix_end(prefix: &[u8]) -> Option<Vec<u8>> {
    let last = prefix.iter().rposition(|&byte| byte != u8::MAX)?;
    let mut end = prefix[..=last].to_vec();
    end[last] += 1;
    Some(end)
}

/// One page of a scan.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PageRequest {
    /// Of which keys.
    pub range: KeyRange,
    /// From the last key to the first.
    pub reverse: bool,
    /// At most this many entries, 1 to [`crate::limits::PAGE_KEYS_MAX`].
    pub keys_max: usize,
    /// The page ends when its keys and values reach this many bytes.
    pub bytes_target: usize,
}

/// The answer to a [`PageRequest`]: visible records in key order (in reverse: from the last).
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Page {
    /// Keys with their records.
    pub entries: Vec<(Key, Record)>,
    /// There may be more beyond the last entry.
    pub more: bool,
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn bytes() -> impl Strategy<Value = Vec<u8>> {
        prop::collection::vec(prop_oneof![Just(0u8), Just(1), Just(254), Just(255)], 0..4)
    }

    proptest! {
        #[test]
        fn the_bounds_hold_exactly_the_keys_of_the_range(
            prefix in bytes(), start in prop::option::of(bytes()), end in prop::option::of(bytes()), key in bytes(),
        ) {
            let range = KeyRange { prefix, start, end };
            let inside = range.bounds().is_some_and(|bounds| {
                let after = match &bounds.0 { Bound::Included(lower) => key >= *lower, _ => true };
                let before = match &bounds.1 { Bound::Excluded(upper) => key < *upper, _ => true };
                after && before
            });
            prop_assert_eq!(inside, range.contains(&key));
        }
    }
}
