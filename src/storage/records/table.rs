//! Finds a record's slot by the hash of its key.
//!
//! A hash table in the manner of F14 (Bronson and Shi, "Open-sourcing F14", 2019): entries lie in lines of twelve, a
//! line is one line of the processor's cache. It holds a byte of each hash, compared all at once, and the number of each
//! slot, so that a search mostly touches one line and then the slot itself. A full line passes entries on to the next
//! and counts them; a search goes on only where that count is not zero, and there are no marks of what was removed.
//!
//! The table consists of a fixed number of segments, each of which grows alone, by half: under the lock of a partition
//! never more than one of them is rebuilt.

use super::slots::SlotId;
use crate::limits::TABLE_SEGMENTS;

/// Entries of a line.
const LINE_ENTRIES: usize = 12;

/// Entries of each line, on average, beyond which a segment grows. With more, one line in three would pass entries on.
const LINE_ENTRIES_TARGET: usize = 10;

/// The bits of a hash that tell the segment. Those below tell the partition (32 to 35) and the line (the lower half), the
/// highest are compared in the line.
const SEGMENT_SHIFT: u32 = 36;
const TAG_SHIFT: u32 = 56;

/// The tags of a line are the lowest twelve bytes of a word.
const TAGS: u128 = (1 << (8 * LINE_ENTRIES)) - 1;
const EVERY_BYTE: u128 = TAGS / 0xff;
const LOW_BITS: u128 = EVERY_BYTE * 0x7f;

#[derive(Debug)]
pub(super) struct Table {
    segments: Box<[Segment]>,
}

/// A part of the table.
#[derive(Clone, Debug, Default)]
struct Segment {
    lines: Box<[Line]>,
    entries: usize,
}

#[derive(Clone, Copy, Debug, Default)]
#[repr(align(64))]
struct Line {
    /// A byte of the hash of each entry, 0 where there is none; above them how many entries were passed on.
    tags: u128,
    ids: [SlotId; LINE_ENTRIES],
}

impl Default for Table {
    fn default() -> Table {
        Table { segments: vec![Segment::default(); TABLE_SEGMENTS].into_boxed_slice() }
    }
}

impl Table {
    /// The slot of a key with this hash.
    #[inline]
    pub(super) fn find(&self, hash: u64, is_it: impl Fn(SlotId) -> bool) -> Option<SlotId> {
        let segment = &self.segments[segment_of(hash)];
        let (line, at) = segment.find(hash, is_it)?;
        Some(segment.lines[line].ids[at])
    }

    /// Adds a slot that is not here yet.
    pub(super) fn insert(&mut self, hash: u64, id: SlotId, hash_of: impl Fn(SlotId) -> u64) {
        let segment = &mut self.segments[segment_of(hash)];
        if segment.entries >= segment.lines.len() * LINE_ENTRIES_TARGET {
            segment.rebuild(segment.lines.len() * 3 / 2 + 1, hash_of);
        }
        segment.insert(hash, id);
    }

    /// Takes a slot out that is here.
    pub(super) fn remove(&mut self, hash: u64, id: SlotId, hash_of: impl Fn(SlotId) -> u64) {
        let segment = &mut self.segments[segment_of(hash)];
        segment.remove(hash, id);
        // Down to where it can grow by half again, or shrink by half, before it is rebuilt once more.
        if segment.entries * 4 < segment.lines.len() * LINE_ENTRIES_TARGET {
            segment.rebuild((segment.entries * 3 / 2).div_ceil(LINE_ENTRIES_TARGET), hash_of);
        }
    }

    /// The record in slot `from` is about to move to `to`.
    pub(super) fn renumber(&mut self, hash: u64, from: SlotId, to: SlotId) {
        let segment = &mut self.segments[segment_of(hash)];
        let (line, at) = segment.find(hash, |id| id == from).expect("every slot is in the table");
        segment.lines[line].ids[at] = to;
    }

    /// How many entries there is room for, lines filled to the last.
    #[cfg(test)]
    pub(super) fn places(&self) -> usize {
        self.segments.iter().map(|segment| segment.lines.len() * LINE_ENTRIES).sum()
    }
}

impl Segment {
    #[inline]
    fn find(&self, hash: u64, is_it: impl Fn(SlotId) -> bool) -> Option<(usize, usize)> {
        let tag = tag_of(hash);
        let mut at = self.home(hash);
        for _ in 0..self.lines.len() {
            let line = &self.lines[at];
            for place in line.matches(tag) {
                if is_it(line.ids[place]) {
                    return Some((at, place));
                }
            }
            if !line.has_passed() {
                return None;
            }
            at = self.after(at);
        }
        None
    }

    /// There must be room.
    fn insert(&mut self, hash: u64, id: SlotId) {
        let mut at = self.home(hash);
        loop {
            let line = &mut self.lines[at];
            if let Some(place) = line.matches(0).next() {
                line.set(place, tag_of(hash));
                line.ids[place] = id;
                self.entries += 1;
                return;
            }
            line.tags += TAGS + 1;
            at = self.after(at);
        }
    }

    fn remove(&mut self, hash: u64, id: SlotId) {
        let (found, place) = self.find(hash, |other| other == id).expect("every slot is in the table");
        let mut at = self.home(hash);
        while at != found {
            self.lines[at].tags -= TAGS + 1;
            at = self.after(at);
        }
        self.lines[found].set(place, 0);
        self.entries -= 1;
    }

    fn rebuild(&mut self, lines: usize, hash_of: impl Fn(SlotId) -> u64) {
        let empty = vec![Line::default(); lines].into_boxed_slice();
        let former = std::mem::replace(self, Segment { lines: empty, entries: 0 });
        for line in &former.lines {
            let taken = (0..LINE_ENTRIES).filter(|&place| line.tags >> (8 * place) & 0xff != 0);
            taken.for_each(|place| self.insert(hash_of(line.ids[place]), line.ids[place]));
        }
    }

    /// The line where the search for a hash begins.
    #[inline]
    fn home(&self, hash: u64) -> usize {
        (((hash & 0xffff_ffff) * self.lines.len() as u64) >> 32) as usize
    }

    fn after(&self, line: usize) -> usize {
        if line + 1 < self.lines.len() {
            line + 1
        } else {
            0
        }
    }
}

impl Line {
    /// The places with this tag, and no others: an empty place holds the number of a slot that may be gone.
    #[inline]
    fn matches(&self, tag: u8) -> impl Iterator<Item = usize> {
        let differing = (self.tags & TAGS) ^ (EVERY_BYTE * u128::from(tag));
        // The highest bit of each byte that is zero. No byte carries into the next, as in the shorter formula with a borrow.
        let mut zeros = !(((differing & LOW_BITS) + LOW_BITS) | differing | LOW_BITS) & TAGS;
        std::iter::from_fn(move || {
            let place = (zeros != 0).then(|| zeros.trailing_zeros() as usize / 8)?;
            zeros &= zeros - 1;
            Some(place)
        })
    }

    fn has_passed(&self) -> bool {
        self.tags > TAGS
    }

    fn set(&mut self, place: usize, tag: u8) {
        self.tags = self.tags & !(0xff << (8 * place)) | u128::from(tag) << (8 * place);
    }
}

fn segment_of(hash: u64) -> usize {
    (hash >> SEGMENT_SHIFT) as usize % TABLE_SEGMENTS
}

/// Never 0, which means that there is no entry.
fn tag_of(hash: u64) -> u8 {
    ((hash >> TAG_SHIFT) as u8).max(1)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn a_line_finds_exactly_the_places_with_a_tag(
            tags in prop::array::uniform12(prop_oneof![Just(0u8), Just(1), Just(0x80), any::<u8>()]), passed in 0u32..3, tag: u8,
        ) {
            let mut line = Line::default();
            (0..passed).for_each(|_| line.tags += TAGS + 1);
            tags.iter().enumerate().for_each(|(place, tag)| line.set(place, *tag));
            prop_assert_eq!(line.has_passed(), passed > 0);
            for tag in [tag, tags[0], tags[11], 0] {
                let exact: Vec<usize> = (0..LINE_ENTRIES).filter(|place| tags[*place] == tag).collect();
                prop_assert_eq!(line.matches(tag).collect::<Vec<usize>>(), exact);
            }
        }
    }

    #[test]
    fn a_line_is_one_of_the_cache() {
        assert_eq!((std::mem::size_of::<Line>(), std::mem::align_of::<Line>()), (64, 64));
    }

    #[test]
    fn equal_hashes_are_told_apart_and_removed_one_by_one() {
        // All in one line and the ones behind it, across the end of the segment, with one tag.
        for hash in [0, u64::MAX, 0x1234_5678_9abc_def0] {
            let mut table = Table::default();
            let ids: Vec<SlotId> = (0..500).map(SlotId::of_number).collect();
            for (count, id) in ids.iter().enumerate() {
                assert_eq!(table.find(hash, |other| other == *id), None);
                table.insert(hash, *id, |_| hash);
                assert!(ids[..=count].iter().all(|id| table.find(hash, |other| other == *id) == Some(*id)));
            }
            for (count, id) in ids.iter().enumerate() {
                table.remove(hash, *id, |_| hash);
                assert_eq!(table.find(hash, |other| other == *id), None);
                assert!(ids[count + 1..].iter().all(|id| table.find(hash, |other| other == *id) == Some(*id)));
            }
            let passed = table.segments.iter().flat_map(|segment| &segment.lines).filter(|line| line.tags != 0).count();
            assert_eq!((table.places(), passed), (0, 0));
        }
    }
}
