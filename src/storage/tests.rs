//! The laws of records, and partitions beside a dumb twin: a vector in key order.

use std::num::NonZeroU64;

use proptest::prelude::*;

use super::{partition_of, Merged, Partitions, Records, RecordsStats};
use crate::types::{Dot, Key, KeyRange, NodeId, Page, PageRequest, Record, RecordRef, Sequence, Timestamp, Value};

const NOW_MS: u64 = 1000;

/// A record of one of a few writes: the stamp and the node name a write, so they decide everything else in it.
fn record(stamp: u64, node: u64) -> Record {
    let write = stamp * 31 + node * 7;
    let has_value = !write.is_multiple_of(4);
    Record {
        value: has_value.then(|| Value::new(&vec![write as u8; (write % 50) as usize]).unwrap()),
        flags: (write % 3) as u32,
        timestamp: Timestamp(stamp),
        dot: Dot { node: NodeId(node), sequence: Sequence(stamp + 1) },
        // Around the present, so that some are past, some just past and some to come.
        expires_ms: if write.is_multiple_of(3) { NonZeroU64::new(NOW_MS - 2 + write % 5) } else { None },
    }
}

fn writes() -> impl Strategy<Value = Vec<(Key, Record)>> {
    let write = (prop::collection::vec(0u8..4, 1..4), 0u64..20, 1u64..4);
    let write = write.prop_map(|(key, stamp, node)| (Key::new(&key).unwrap(), record(stamp, node)));
    prop::collection::vec(write, 0..60)
}

fn merged(writes: &[(Key, Record)]) -> Records {
    let mut records = Records::new();
    for (key, record) in writes {
        records.merge(key.clone(), record.clone());
    }
    records
}

fn contents(records: &Records) -> Vec<(Key, Record)> {
    records.after(None).map(|(key, record)| (Key::of_held(key), record.to_record())).collect()
}

/// The records with a value, all that digests speak of.
fn values(records: &Records) -> Vec<(Key, Record)> {
    contents(records).into_iter().filter(|(_, record)| record.value.is_some()).collect()
}

fn tombstones(records: &Records, until: u64) -> Vec<(Timestamp, Key)> {
    records.tombstones_until(Timestamp(until)).map(|(key, record)| (record.timestamp, key.clone())).collect()
}

fn recount(records: &Records) -> RecordsStats {
    let mut stats = RecordsStats::default();
    for (key, record) in records.after(None) {
        match record.value {
            Some(value) => {
                stats.keys += 1;
                stats.bytes += (key.len() + value.len()) as u64;
                stats.expiring += u64::from(record.expires_ms.is_some());
            }
            None => {
                stats.tombstones += 1;
                stats.bytes += key.len() as u64;
            }
        }
    }
    stats
}

fn small_bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(0u8..4, 0..3)
}

fn ranges() -> impl Strategy<Value = KeyRange> {
    let parts = (small_bytes(), prop::option::of(small_bytes()), prop::option::of(small_bytes()));
    parts.prop_map(|(prefix, start, end)| KeyRange { prefix, start, end })
}

fn requests() -> impl Strategy<Value = PageRequest> {
    let bytes_target = prop_oneof![0usize..200, Just(usize::MAX)];
    (ranges(), any::<bool>(), 1usize..40, bytes_target)
        .prop_map(|(range, reverse, keys_max, bytes_target)| PageRequest { range, reverse, keys_max, bytes_target })
}

fn spread(records: &Records) -> Partitions<()> {
    let partitions = Partitions::new(|_| ());
    for (key, record) in records.after(None) {
        partitions.write(partition_of(key)).records.merge(Key::of_held(key), record.to_record());
    }
    partitions
}

/// What a page must be, by the plainest way there is.
fn page_of_the_twin(sorted: &[(Key, Record)], request: &PageRequest) -> Page {
    let in_range = |(key, record): &&(Key, Record)| request.range.contains(key) && record.is_visible(NOW_MS);
    let mut wanted: Vec<_> = sorted.iter().filter(in_range).cloned().collect();
    if request.reverse {
        wanted.reverse();
    }
    let (mut bytes, mut fitting) = (0, 0);
    while fitting < wanted.len() && fitting < request.keys_max && bytes < request.bytes_target {
        bytes += wanted[fitting].0.len() + wanted[fitting].1.value_bytes();
        fitting += 1;
    }
    let more = wanted.len() > fitting;
    wanted.truncate(fitting);
    Page { entries: wanted, more }
}

proptest! {
    #[test]
    fn merges_commute_and_repeat_without_effect(
        mut writes in writes(), split in any::<prop::sample::Index>(), seed in any::<u64>(),
    ) {
        let once = merged(&writes);
        let mut again = merged(&writes);
        for (key, record) in &writes {
            prop_assert_eq!(again.merge(key.clone(), record.clone()), Merged::Kept);
        }
        prop_assert_eq!(contents(&again), contents(&once));
        // Another order, and the same split into two replicas of which one takes over the other: associativity.
        writes.sort_by_key(|(key, record)| record.rank().0.0.wrapping_mul(seed | 1).wrapping_add(u64::from(key[0])));
        prop_assert_eq!(contents(&merged(&writes)), contents(&once));
        let (left, right) = writes.split_at(split.index(writes.len() + 1));
        let joined = [contents(&merged(left)), contents(&merged(right))].concat();
        prop_assert_eq!(contents(&merged(&joined)), contents(&once));
        prop_assert_eq!(merged(&joined).digest(), once.digest());
        prop_assert_eq!(merged(&joined).write_digest(), once.write_digest());
    }

    #[test]
    fn a_merge_with_a_given_record_is_a_merge(writes in writes(), key in 0u8..4, stamp in 0u64..20, node in 1u64..4) {
        let (key, record) = (Key::new(&[key]).unwrap(), record(stamp, node));
        let (mut plain, mut other) = (merged(&writes), merged(&writes));
        prop_assert_eq!(other.merge_with(key.clone(), |_| None), None);
        prop_assert_eq!(contents(&other), contents(&plain));
        let before = plain.get(&key).map(RecordRef::to_record);
        let result = other.merge_with(key.clone(), |found| {
            assert_eq!(found, before.as_ref().map(Record::view));
            Some(record.clone())
        });
        prop_assert_eq!(result, Some(plain.merge(key, record)));
        prop_assert_eq!(contents(&other), contents(&plain));
        prop_assert_eq!(other.stats(), plain.stats());
    }

    #[test]
    fn stats_equal_a_recount(writes in writes()) {
        let records = merged(&writes);
        prop_assert_eq!(records.stats(), recount(&records));
        prop_assert_eq!(records.len() as u64, records.stats().keys + records.stats().tombstones);
    }

    #[test]
    fn digests_are_equal_exactly_when_values_are(left in writes(), right in writes(), drop_one in any::<bool>()) {
        let (a, b) = (merged(&left), merged(&right));
        // Two that differ by one record at most.
        let near = merged(&left[usize::from(drop_one && !left.is_empty())..]);
        for other in [b, near] {
            let is_equal = values(&a) == values(&other);
            prop_assert_eq!(a.digest() == other.digest(), is_equal);
            prop_assert_eq!(a.write_digest() == other.write_digest(), is_equal);
        }
    }

    #[test]
    fn what_is_forgotten_leaves_no_trace(writes in writes(), forgotten in 0u8..4) {
        let forgotten = Key::new(&[forgotten]).unwrap();
        let mut records = merged(&writes);
        let before = records.get(&forgotten).map(RecordRef::to_record);
        prop_assert_eq!(records.forget(&forgotten), before);
        let others: Vec<_> = writes.into_iter().filter(|(key, _)| *key != forgotten).collect();
        let without = merged(&others);
        prop_assert_eq!(contents(&records), contents(&without));
        prop_assert_eq!(records.stats(), without.stats());
        prop_assert_eq!(records.write_digest(), without.write_digest());
        prop_assert_eq!(tombstones(&records, u64::MAX), tombstones(&without, u64::MAX));
    }

    #[test]
    fn tombstones_and_expired_values_are_found_by_their_time(writes in writes(), until in 0u64..25) {
        let records = merged(&writes);
        let mut old: Vec<_> = contents(&records)
            .into_iter()
            .filter(|(_, record)| record.value.is_none() && record.timestamp.0 <= until)
            .map(|(key, record)| (record.timestamp, key))
            .collect();
        old.sort();
        prop_assert_eq!(records.newest_tombstone(Timestamp(until)), old.last().map(|(timestamp, _)| *timestamp));
        prop_assert_eq!(tombstones(&records, until), old);
        let mut expired: Vec<Key> = records.expired(NOW_MS).cloned().collect();
        expired.sort();
        let is_over = |record: &Record| record.value.is_some() && record.is_expired(NOW_MS);
        let over = contents(&records).into_iter().filter(|(_, record)| is_over(record)).map(|(key, _)| key);
        prop_assert_eq!(expired, over.collect::<Vec<_>>());
    }

    #[test]
    fn pages_and_counts_equal_those_of_a_sorted_vector(writes in writes(), request in requests()) {
        let records = merged(&writes);
        let sorted = contents(&records);
        let partitions = spread(&records);
        prop_assert_eq!(partitions.page(&request, NOW_MS), page_of_the_twin(&sorted, &request));
        let in_range = |(key, record): &&(Key, Record)| request.range.contains(key) && record.is_visible(NOW_MS);
        prop_assert_eq!(partitions.count(&request.range, NOW_MS), sorted.iter().filter(in_range).count() as u64);
        let all = sorted.iter().filter(|(_, record)| record.is_visible(NOW_MS)).count() as u64;
        prop_assert_eq!(partitions.count(&KeyRange::default(), NOW_MS), all);
    }
}

/// Many records, of which one in `visible_every` is visible: enough for several stripes a page.
fn many(visible_every: u64) -> Records {
    let mut records = Records::new();
    for number in 0..5000u64 {
        let value = number.is_multiple_of(visible_every).then(|| Value::new(b"v").unwrap());
        let dot = Dot { node: NodeId(1), sequence: Sequence(number + 1) };
        let record = Record { value, flags: 0, timestamp: Timestamp(number + 1), dot, expires_ms: None };
        records.merge(Key::new(&number.to_be_bytes()).unwrap(), record);
    }
    records
}

#[test]
fn pages_one_after_another_give_every_visible_key_once() {
    for visible_every in [1, 7, 900, 10_000] {
        let records = many(visible_every);
        let partitions = spread(&records);
        for (keys_max, reverse) in [(1, false), (100, true), (100, false), (1000, true), (1000, false)] {
            let sorted = contents(&records);
            let mut request = PageRequest { range: KeyRange::default(), reverse, keys_max, bytes_target: usize::MAX };
            for _ in 0..20 {
                let page = partitions.page(&request, NOW_MS);
                assert_eq!(page, page_of_the_twin(&sorted, &request), "{visible_every} {request:?}");
                let (Some((last, _)), true) = (page.entries.last(), page.more) else { break };
                if reverse {
                    request.range.end = Some(last.to_vec());
                } else {
                    request.range.start = Some([&last[..], &[0]].concat());
                }
            }
        }
    }
}

#[test]
fn a_page_is_right_when_all_keys_lie_in_one_partition() {
    for wanted in [0, 5] {
        let mut records = Records::new();
        for (key, record) in many(1).after(None).filter(|(key, _)| partition_of(key).0 == wanted) {
            records.merge(Key::of_held(key), record.to_record());
        }
        let range = KeyRange::default();
        let request = PageRequest { range, reverse: false, keys_max: 100, bytes_target: usize::MAX };
        let page = spread(&records).page(&request, NOW_MS);
        assert_eq!(page, page_of_the_twin(&contents(&records), &request));
    }
}

#[test]
fn the_partition_of_a_key_is_the_same_for_ever() {
    // XXH3-64 of the empty string is 0x2d06800538d394c2 by its specification; the others were computed by this code and
    // hold every later version to it.
    assert_eq!(partition_of(b"").0, (0x2d06_8005_38d3_94c2_u64 >> 32) as u16 % 16);
    let keys: [&[u8]; 3] = [b"a", b"user:1", b"a key that is longer than sixteen bytes"];
    assert_eq!(keys.map(|key| partition_of(key).0), [6, 13, 13]);
}
