//! Records beside a dumb twin, an ordered map, at sizes where tables split and shrink and runs are cut and joined.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included, Unbounded},
};

use proptest::prelude::*;

use super::{run::Run, *};
use crate::{
    limits::RUN_SLOTS_MAX,
    types::{Dot, NodeId, Sequence, Value},
};

type Twin = BTreeMap<Key, Record>;

/// Well spread, and the same in each run (SplitMix64).
fn mixed(number: u64) -> u64 {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// Short keys and long ones.
fn key_of(number: u64) -> Key {
    let digits = format!("{number:08}");
    Key::new(if number.is_multiple_of(3) { digits.repeat(4) } else { digits }.as_bytes()).unwrap()
}

fn record_of(stamp: u64) -> Record {
    Record {
        value: (!stamp.is_multiple_of(5)).then(|| Value::new(&stamp.to_le_bytes()).unwrap()),
        flags: (stamp % 11) as u32,
        timestamp: Timestamp(stamp),
        dot: Dot { node: NodeId(stamp % 3 + 1), sequence: Sequence(stamp) },
        expires_ms: std::num::NonZeroU64::new(stamp % 2 * stamp),
    }
}

fn assert_equal(records: &Records, twin: &Twin) {
    assert_eq!((records.len(), records.is_empty()), (twin.len(), twin.is_empty()));
    let held = records.after(None).map(|(key, record)| (key.to_vec(), record.to_record()));
    assert!(held.eq(twin.iter().map(|(key, record)| (key.to_vec(), record.clone()))));
    for (key, record) in twin {
        assert_eq!(records.get(key), Some(record.view()));
    }
    let sum = twin.iter().filter(|(_, record)| record.value.is_some());
    let digest = sum.fold(0u64, |sum, (key, record)| sum.wrapping_add(record_hash(key, record.view())));
    assert_eq!(records.digest(), digest);
}

/// Keys of a range from both ends, in turns, as far as the twin has them.
fn assert_range(records: &Records, twin: &Twin, bounds: KeyBounds<'_>, turns: u64) {
    let (mut held, mut expected) = (records.range(bounds), twin.range::<[u8], _>(bounds));
    for turn in 0.. {
        let (next, wanted) = match mixed(turns ^ turn) % 2 {
            0 => (held.next(), expected.next()),
            _ => (held.next_back(), expected.next_back()),
        };
        assert_eq!(next.map(|(key, _)| key), wanted.map(|(key, _)| key.as_slice()), "{bounds:?}");
        if wanted.is_none() {
            return;
        }
    }
}

fn filled(count: u64, number_of: impl Fn(u64) -> u64) -> (Records, Twin) {
    let (mut records, mut twin) = (Records::new(), Twin::new());
    for stamp in 1..=count {
        let (key, record) = (key_of(number_of(stamp)), record_of(stamp));
        records.merge(key.clone(), record.clone());
        twin.insert(key, record);
    }
    (records, twin)
}

#[test]
fn many_records_in_any_order_are_those_of_the_twin() {
    const COUNT: u64 = 7_000;
    let orders: [&dyn Fn(u64) -> u64; 3] = [&|stamp| mixed(stamp) % COUNT, &|stamp| stamp, &|stamp| COUNT - stamp];
    for number_of in orders {
        let (mut records, mut twin) = filled(COUNT, number_of);
        assert_equal(&records, &twin);
        assert!(records.order.runs.len() as u64 > COUNT / 2 / RUN_SLOTS_MAX as u64);
        // All but one in seven, then all.
        for seventh in [true, false] {
            let all: Vec<Key> = twin.keys().cloned().collect();
            for key in all.iter().zip(0..).filter(|(_, at)| !seventh || at % 7 != 0).map(|(key, _)| key) {
                assert_eq!(records.forget(key), twin.remove(key));
            }
            assert_equal(&records, &twin);
        }
        assert_eq!(records.forget(b"00000001"), None);
        assert_eq!(records.write_digest(), 0);
        assert_eq!(records.stats(), RecordsStats::default());
    }
}

#[test]
fn keys_in_order_fill_their_runs() {
    let (records, _) = filled(1000, |stamp| stamp);
    let lengths: Vec<usize> = records.order.runs.values().map(Run::len).collect();
    assert_eq!(lengths, [[RUN_SLOTS_MAX; 1000 / RUN_SLOTS_MAX].as_slice(), &[1000 % RUN_SLOTS_MAX]].concat());
}

#[test]
fn memory_comes_back_with_the_records() {
    let count = 15_000;
    let (mut records, twin) = filled(count, mixed_below(count * 100));
    let held = twin.len() / 16;
    for key in twin.keys().skip(held) {
        records.forget(key);
    }
    assert_eq!(records.len(), held);
    assert!(records.slots.capacity() <= 4 * held, "room for {} of {held} records", records.slots.capacity());
    assert!(records.table.places() <= 16 * held, "{} places for {held} records", records.table.places());
    let runs: usize = records.order.runs.values().map(Run::capacity).sum();
    assert!(runs <= 8 * held, "room for {runs} in the order of {held}");
}

fn mixed_below(bound: u64) -> impl Fn(u64) -> u64 {
    move |stamp| mixed(stamp) % bound
}

fn some_key() -> impl Strategy<Value = Vec<u8>> {
    (0u64..700).prop_map(|number| key_of(number).to_vec())
}

fn bound() -> impl Strategy<Value = std::ops::Bound<Vec<u8>>> {
    prop_oneof![some_key().prop_map(Included), some_key().prop_map(Excluded), Just(Unbounded)]
}

#[derive(Clone, Debug)]
enum Step {
    Merge(u64, u64),
    Forget(u64),
    Load(u64, u64),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..700, 1u64..5000).prop_map(|(key, stamp)| Step::Merge(key, stamp)),
        3 => (0u64..700).prop_map(Step::Forget),
        1 => (0u64..700, 1u64..50).prop_map(|(from, count)| Step::Load(from, count)),
    ]
}

proptest! {
    #[test]
    fn ranges_are_those_of_the_twin(
        steps in prop::collection::vec(step(), 0..1500), lower in bound(), upper in bound(), turns in any::<u64>(),
    ) {
        let (mut records, mut twin) = (Records::new(), Twin::new());
        for step in steps {
            match step {
                Step::Merge(key, stamp) => merge_both(&mut records, &mut twin, key_of(key), record_of(stamp)),
                Step::Forget(key) => prop_assert_eq!(records.forget(&key_of(key)), twin.remove(&key_of(key))),
                Step::Load(from, count) => {
                    let loaded = (from..from + count).map(|number| (key_of(number), record_of(number + 1)));
                    loaded.clone().for_each(|(key, record)| merge_twin(&mut twin, key, record));
                    records.load_sorted(loaded);
                }
            }
        }
        assert_equal(&records, &twin);
        // The twin refuses ranges that end before they begin.
        let is_range = match (&lower, &upper) {
            (Excluded(lower), Excluded(upper)) => lower < upper,
            (Included(lower) | Excluded(lower), Included(upper) | Excluded(upper)) => lower <= upper,
            (Unbounded, _) | (_, Unbounded) => true,
        };
        if is_range {
            assert_range(&records, &twin, (lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice)), turns);
        }
    }
}

fn merge_twin(twin: &mut Twin, key: Key, record: Record) {
    let held = twin.entry(key).or_insert_with(|| record.clone());
    if record.supersedes(held) {
        *held = record;
    }
}

fn merge_both(records: &mut Records, twin: &mut Twin, key: Key, record: Record) {
    records.merge(key.clone(), record.clone());
    merge_twin(twin, key, record);
}

#[test]
fn what_is_loaded_is_what_is_merged() {
    let sorted: Twin = (1..5000).map(|number| (key_of(mixed(number) % 100_000), record_of(number))).collect();
    let mut loaded = Records::new();
    loaded.load_sorted(sorted.clone());
    assert_equal(&loaded, &sorted);
    let mut merged = Records::new();
    sorted.iter().for_each(|(key, record)| drop(merged.merge(key.clone(), record.clone())));
    assert_eq!((loaded.stats(), loaded.write_digest()), (merged.stats(), merged.write_digest()));
    assert!(loaded.expired(u64::MAX).eq(merged.expired(u64::MAX)));
}
