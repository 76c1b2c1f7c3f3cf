//! Every entry comes back as it went in, has one form only, and no bytes make the decoder panic.

use std::num::NonZeroU64;

use proptest::prelude::*;

use super::*;
use crate::{
    storage::codec::tests::{bytes, change, end, key, member, node, partition, sequence, state_record, step},
    types::{Address, Value, VersionVector},
};

fn own_writes() -> impl Strategy<Value = Entry> {
    let records = prop::collection::vec(change(), 1..5);
    (partition(), node(), sequence(1), records).prop_map(|(partition, node, sequence, changes)| {
        let first = Dot { node, sequence };
        let record = |(place, change): (usize, Change)| {
            let dot = Dot { node, sequence: sequence.plus(place as u64) };
            let Change { key, value, flags, timestamp, expires_ms } = change;
            (key, Record { value, flags, timestamp, dot, expires_ms })
        };
        Entry::OwnWrites { partition, first, records: changes.into_iter().enumerate().map(record).collect() }
    })
}

fn stretch() -> impl Strategy<Value = Entry> {
    let (steps, changes) = (prop::collection::vec(step(), 0..4), prop::collection::vec(change(), 0..5));
    (partition(), node(), sequence(1), steps, changes, any::<u64>()).prop_map(
        |(partition, origin, first_sequence, steps, changes, noticed_ms)| {
            let seen = steps.into_iter().map(|step| SeenStep { writer: origin, ..step }).collect();
            let changes = PartitionChanges { partition, first_sequence, seen, changes };
            Entry::Stretch { origin, changes, noticed_ms }
        },
    )
}

fn state_piece() -> impl Strategy<Value = Entry> {
    let records = prop::collection::vec(state_record(), 0..4);
    (partition(), any::<bool>(), records).prop_map(|(partition, repair, records)| Entry::StatePiece {
        partition,
        repair,
        records,
    })
}

fn state_end() -> impl Strategy<Value = Entry> {
    (partition(), any::<u64>(), end()).prop_map(|(partition, noticed_ms, end)| Entry::StateEnd {
        partition,
        noticed_ms,
        end,
    })
}

fn members() -> impl Strategy<Value = Entry> {
    let (counted, removed) = (prop::collection::vec(member(), 0..4), prop::collection::vec(node(), 0..4));
    (counted, removed).prop_map(|(counted, removed)| Entry::Members { counted, removed })
}

fn entry() -> impl Strategy<Value = Entry> {
    let clock_bound = any::<u64>().prop_map(|until| Entry::ClockBound { until: Timestamp(until) });
    let steps = (partition(), prop::collection::vec(step(), 0..4));
    let seen_steps = steps.prop_map(|(partition, steps)| Entry::SeenSteps { partition, steps });
    let started = (node(), any::<bool>()).prop_map(|(node, synchronous)| Entry::Started { node, synchronous });
    let run = prop_oneof![started, Just(Entry::Stopped)];
    prop_oneof![own_writes(), stretch(), state_piece(), state_end(), clock_bound, members(), seen_steps, run]
}

fn encoded(entry: &Entry) -> Vec<u8> {
    let mut buf = Vec::new();
    entry.encode(&mut buf);
    buf
}

fn check_arbitrary(kind: u8, payload: &[u8]) -> Result<(), TestCaseError> {
    match Entry::decode(kind, payload) {
        Ok(entry) => prop_assert_eq!(encoded(&entry), payload),
        Err(error) => prop_assert_eq!(error.code(), ErrorCode::Corrupt),
    }
    Ok(())
}

proptest! {
    #[test]
    fn an_entry_comes_back_as_it_went_in(entry in entry()) {
        let payload = encoded(&entry);
        prop_assert_eq!(Entry::decode(entry.kind().number(), &payload), Ok(entry));
    }

    #[test]
    fn part_of_an_entry_is_refused_or_has_fewer_writes(entry in entry()) {
        let payload = encoded(&entry);
        for length in (0..payload.len()).rev().take(200) {
            check_arbitrary(entry.kind().number(), &payload[..length])?;
        }
    }

    #[test]
    fn whatever_is_there_is_refused_or_in_its_one_form(kind in 0u8..12, payload in bytes()) {
        check_arbitrary(kind, &payload)?;
    }

    #[test]
    fn a_damaged_entry_is_refused_or_in_its_one_form(entry in entry(), at: prop::sample::Index, bit in 0u8..8) {
        let mut payload = encoded(&entry);
        prop_assume!(!payload.is_empty());
        let at = at.index(payload.len());
        payload[at] ^= 1 << bit;
        check_arbitrary(entry.kind().number(), &payload)?;
    }

    #[test]
    fn an_own_write_alone_is_an_entry_of_one(partition in partition(), key in key(), state in state_record()) {
        let mut payload = Vec::new();
        encode_own_write(&mut payload, partition, &key, &state.record);
        let first = state.record.dot;
        let entry = Entry::OwnWrites { partition, first, records: vec![(key, state.record)] };
        prop_assert_eq!(Entry::decode(EntryKind::OwnWrites.number(), &payload), Ok(entry));
    }
}

#[test]
fn a_kind_that_is_not_known_is_refused() {
    let error = Entry::decode(10, b"").unwrap_err();
    assert_eq!(
        (error.code(), error.message()),
        (ErrorCode::Corrupt, "entry: 10 is no kind of entry that is known here")
    );
}

#[test]
fn the_entry_and_its_field_are_named() {
    let text = |kind: EntryKind, payload: &[u8]| Entry::decode(kind.number(), payload).unwrap_err().to_string();
    assert_eq!(text(EntryKind::ClockBound, &[1; 7]), "clock_bound: timestamp: the bytes end within it");
    assert_eq!(text(EntryKind::ClockBound, &[1; 9]), "clock_bound: payload: 1 bytes follow the last field");
    assert_eq!(text(EntryKind::StatePiece, &[1, 0, 2]), "state_piece: repair: 2 is none");
    let of_none = [&[1, 0][..], &[1; 8], &[1]].concat();
    assert_eq!(text(EntryKind::OwnWrites, &of_none), "own_writes: key: the bytes end within it");
}

fn a_record() -> Record {
    Record {
        value: Some(Value::new(b"ada").unwrap()),
        flags: 1,
        timestamp: Timestamp(0x0102_0304_0506_0708),
        dot: Dot { node: NodeId(9), sequence: Sequence(130) },
        expires_ms: NonZeroU64::new(5),
    }
}

/// The form is part of the logs that exist: a change of one of these bytes needs a new kind of entry.
#[test]
fn golden_bytes() {
    let key = || Key::new(b"k").unwrap();
    let (partition, record) = (PartitionId(3), a_record());
    let mut own_write = Vec::new();
    encode_own_write(&mut own_write, partition, &key(), &record);
    let write = b"\x01k\x07\x08\x07\x06\x05\x04\x03\x02\x01\x01\x05\x03ada";
    let head = b"\x03\0\x09\0\0\0\0\0\0\0\x82\x01";
    assert_eq!(own_write, [&head[..], write].concat());

    let Record { value, flags, timestamp, dot, expires_ms } = record.clone();
    let seen = vec![SeenStep { writer: dot.node, of: NodeId(8), from: Sequence(1), seen: Sequence(2) }];
    let changes = vec![Change { key: key(), value, flags, timestamp, expires_ms }];
    let changes = PartitionChanges { partition, first_sequence: dot.sequence, seen, changes };
    let stretch = Entry::Stretch { origin: dot.node, changes, noticed_ms: 7 };
    let middle = b"\x07\0\0\0\0\0\0\0\x01\x08\0\0\0\0\0\0\0\x01\x02";
    assert_eq!(encoded(&stretch), [&head[..], middle, write].concat());

    let records = vec![StateRecord { key: key(), record }];
    let piece = Entry::StatePiece { partition, repair: true, records };
    let dot_then_body = [b"\x09\0\0\0\0\0\0\0\x82\x01", &write[2..]].concat();
    assert_eq!(encoded(&piece), [&b"\x03\0\x01\x01k"[..], &dot_then_body].concat());

    let vector: VersionVector = [(NodeId(8), Sequence(2))].into_iter().collect();
    let end = StateEnd { vector, ..StateEnd::default() };
    let end = Entry::StateEnd { partition, noticed_ms: 7, end };
    assert_eq!(encoded(&end), b"\x03\0\x07\0\0\0\0\0\0\0\x01\x08\0\0\0\0\0\0\0\x02\0\0");

    assert_eq!(encoded(&Entry::ClockBound { until: Timestamp(258) }), b"\x02\x01\0\0\0\0\0\0");

    let counted = vec![Member { node: NodeId(1), address: Address::new("db", 7001).unwrap(), born_ms: 2 }];
    let members = Entry::Members { counted, removed: vec![NodeId(4)] };
    assert_eq!(encoded(&members), b"\x01\x01\0\0\0\0\0\0\0\x02db\x59\x1b\x02\0\0\0\0\0\0\0\x01\x04\0\0\0\0\0\0\0");
    assert_eq!(encoded(&Entry::Started { node: NodeId(9), synchronous: true }), b"\x09\0\0\0\0\0\0\0\x01");
    let steps = vec![SeenStep { writer: NodeId(9), of: NodeId(8), from: Sequence(1), seen: Sequence(2) }];
    let steps = encoded(&Entry::SeenSteps { partition, steps });
    assert_eq!(steps, b"\x03\0\x01\x09\0\0\0\0\0\0\0\x08\0\0\0\0\0\0\0\x01\x02");
    assert_eq!(encoded(&Entry::Stopped), b"");
    let numbers: Vec<u8> = EntryKind::ALL.into_iter().map(EntryKind::number).collect();
    assert_eq!(numbers, [1, 2, 3, 4, 5, 6, 7, 8, 9]);
}
