//! Every value comes back as it went in, has one form only, and no bytes make a decoder panic.

use std::{fmt::Debug, num::NonZeroU64};

use proptest::prelude::*;

use super::*;
use crate::{
    limits::{KEY_BYTES_MAX, PARTITIONS, SEQUENCE_MAX, VALUE_BYTES_MAX},
    types::{
        Address, Change, Conflict, Dot, Key, Member, NodeId, PartitionId, Record, SeenStep, Sequence, StateEnd,
        StateRecord, Timestamp, Value, VersionVector,
    },
};

pub(crate) fn node() -> impl Strategy<Value = NodeId> {
    (1..=u64::MAX).prop_map(NodeId)
}

pub(crate) fn partition() -> impl Strategy<Value = PartitionId> {
    (0..PARTITIONS).prop_map(PartitionId)
}

/// Small and large ones, so that each length of a number is met.
pub(crate) fn sequence(from: u64) -> impl Strategy<Value = Sequence> {
    (0u32..62).prop_flat_map(move |bits| from..=(SEQUENCE_MAX >> bits).max(from)).prop_map(Sequence)
}

pub(crate) fn key() -> impl Strategy<Value = Key> {
    let length = prop_oneof![8 => 1usize..40, 1 => 120usize..140, 1 => Just(KEY_BYTES_MAX)];
    length.prop_flat_map(|length| prop::collection::vec(any::<u8>(), length)).prop_map(|key| Key::new(&key).unwrap())
}

fn value() -> impl Strategy<Value = Value> {
    prop::collection::vec(any::<u8>(), 0..300).prop_map(|bytes| Value::new(&bytes).unwrap())
}

pub(crate) fn change() -> impl Strategy<Value = Change> {
    let flags = prop_oneof![Just(0), any::<u32>()];
    let expires_ms = prop::option::of((1..=u64::MAX).prop_map(|ms| NonZeroU64::new(ms).unwrap()));
    let change = (key(), prop::option::of(value()), flags, any::<u64>(), expires_ms);
    change.prop_map(|(key, value, flags, stamp, expires_ms)| Change {
        key,
        value,
        flags,
        timestamp: Timestamp(stamp),
        expires_ms,
    })
}

pub(crate) fn state_record() -> impl Strategy<Value = StateRecord> {
    (change(), node(), sequence(1)).prop_map(|(change, node, sequence)| {
        let Change { key, value, flags, timestamp, expires_ms } = change;
        StateRecord { key, record: Record { value, flags, timestamp, dot: Dot { node, sequence }, expires_ms } }
    })
}

fn record() -> impl Strategy<Value = Record> {
    state_record().prop_map(|StateRecord { record, .. }| record)
}

pub(crate) fn vector() -> impl Strategy<Value = VersionVector> {
    prop::collection::vec((node(), sequence(1)), 0..5).prop_map(|entries| entries.into_iter().collect())
}

pub(crate) fn step() -> impl Strategy<Value = SeenStep> {
    let step = (node(), node(), sequence(0), sequence(0));
    step.prop_map(|(writer, of, from, seen)| SeenStep { writer, of, from, seen })
}

pub(crate) fn end() -> impl Strategy<Value = StateEnd> {
    let end = (vector(), prop::collection::vec(step(), 0..5), vector());
    end.prop_map(|(vector, seen, dropped)| StateEnd { vector, seen, dropped })
}

pub(crate) fn member() -> impl Strategy<Value = Member> {
    let host = prop_oneof![Just("127.0.0.1"), Just("::1"), Just("db-1.example.org")];
    (node(), host, 1..=u16::MAX, any::<u64>()).prop_map(|(node, host, port, born_ms)| {
        let address = Address::new(host, port).unwrap();
        Member { node, address, born_ms }
    })
}

fn conflict() -> impl Strategy<Value = Conflict> {
    let conflict = (key(), record(), record(), any::<u64>(), node());
    conflict.prop_map(|(key, lost, won, noticed_ms, node)| Conflict { key, lost, won, noticed_ms, node })
}

fn encoded<T: Stored>(value: &T) -> Vec<u8> {
    let mut bytes = Vec::new();
    value.put(&mut bytes);
    bytes
}

/// The laws of one value: it comes back, its bytes are at least as many as is said, and no part of them is a value.
fn check<T: Stored + PartialEq + Debug>(value: &T) -> Result<(), TestCaseError> {
    let bytes = encoded(value);
    prop_assert!(bytes.len() >= T::BYTES_LEAST, "{} bytes, at least {} were promised", bytes.len(), T::BYTES_LEAST);
    prop_assert_eq!(&decode::<T>("whole", &bytes).unwrap(), value);
    for length in (0..bytes.len()).rev().take(300) {
        let short = decode::<T>("whole", &bytes[..length]).unwrap_err();
        prop_assert_eq!(short.fault, Fault::Short, "of {} bytes {}", bytes.len(), length);
    }
    let mut longer = bytes;
    longer.push(0);
    prop_assert_eq!(decode::<T>("whole", &longer).unwrap_err().to_string(), "whole: 1 bytes follow the last field");
    Ok(())
}

/// Whatever the bytes are, they are refused, or the one form of what was read.
fn check_arbitrary<T: Stored>(bytes: &[u8]) -> Result<(), TestCaseError> {
    let mut reader = Reader::new(bytes);
    if let Ok(value) = T::take(&mut reader) {
        prop_assert_eq!(encoded(&value), &bytes[..bytes.len() - reader.remaining()]);
    }
    Ok(())
}

/// Bytes in which small numbers are frequent: more of them are nearly right than of random ones.
pub(crate) fn bytes() -> impl Strategy<Value = Vec<u8>> {
    prop::collection::vec(prop_oneof![2 => 0u8..8, 1 => any::<u8>()], 0..120)
}

proptest! {
    #[test]
    fn small_values_come_back_as_they_went_in(
        key in key(), value in value(), node in node(), sequence in sequence(1), stamp: u64, partition in partition(),
    ) {
        check(&key)?;
        check(&value)?;
        check(&node)?;
        check(&sequence)?;
        check(&Timestamp(stamp))?;
        check(&partition)?;
        check(&Dot { node, sequence })?;
    }

    #[test]
    fn records_come_back_as_they_went_in(state in state_record(), change in change(), conflict in conflict()) {
        check(&state.record)?;
        check(&change)?;
        check(&conflict)?;
        let mut keyed = Vec::new();
        put_keyed(&mut keyed, &state.key, &state.record);
        prop_assert_eq!(keyed, encoded(&state));
        check(&state)?;
    }

    #[test]
    fn knowledge_comes_back_as_it_went_in(vector in vector(), step in step(), end in end(), member in member()) {
        check(&vector)?;
        check(&step)?;
        check(&end)?;
        check(&member)?;
        check(&member.address)?;
    }

    #[test]
    fn a_write_reads_as_a_change(state in state_record()) {
        let mut bytes = Vec::new();
        put_write(&mut bytes, &state.key, &state.record);
        let Record { value, flags, timestamp, dot: _, expires_ms } = state.record;
        prop_assert_eq!(decode::<Change>("write", &bytes), Ok(Change { key: state.key, value, flags, timestamp, expires_ms }));
    }

    #[test]
    fn whatever_is_there_is_refused_or_in_its_one_form(bytes in bytes()) {
        check_arbitrary::<Key>(&bytes)?;
        check_arbitrary::<Value>(&bytes)?;
        check_arbitrary::<Sequence>(&bytes)?;
        check_arbitrary::<Dot>(&bytes)?;
        check_arbitrary::<Record>(&bytes)?;
        check_arbitrary::<StateRecord>(&bytes)?;
        check_arbitrary::<Change>(&bytes)?;
        check_arbitrary::<VersionVector>(&bytes)?;
        check_arbitrary::<SeenStep>(&bytes)?;
        check_arbitrary::<StateEnd>(&bytes)?;
        check_arbitrary::<Address>(&bytes)?;
        check_arbitrary::<Member>(&bytes)?;
        check_arbitrary::<Conflict>(&bytes)?;
    }

    #[test]
    fn a_damaged_record_is_refused_or_in_its_one_form(state in state_record(), at: prop::sample::Index, bit in 0u8..8) {
        let mut bytes = encoded(&state);
        let at = at.index(bytes.len());
        bytes[at] ^= 1 << bit;
        check_arbitrary::<StateRecord>(&bytes)?;
    }

    #[test]
    fn numbers_have_one_form(number: u64, shift in 0u32..64) {
        let mut bytes = Vec::new();
        put_number(&mut bytes, number >> shift);
        let mut reader = Reader::new(&bytes);
        prop_assert_eq!(reader.take_number("n"), Ok(number >> shift));
        prop_assert!(reader.is_empty());
        // The same number, with a byte of zeros after it.
        *bytes.last_mut().unwrap() |= 0x80;
        bytes.push(0);
        prop_assert_eq!(Reader::new(&bytes).take_number("n").unwrap_err().fault, Fault::Number);
    }
}

fn fault<T: Stored + Debug>(bytes: &[u8]) -> String {
    decode::<T>("whole", bytes).unwrap_err().to_string()
}

#[test]
fn each_bad_field_is_named_with_its_rule() {
    assert_eq!(fault::<NodeId>(&[0; 8]), "node: 0 is none");
    assert_eq!(fault::<PartitionId>(&[16, 0]), "partition: 16, the limit is 15");
    assert_eq!(fault::<Key>(&[0]), "key: 0 is none");
    assert_eq!(fault::<Key>(&[0x8f, 0x40]), "key: 8207, the limit is 8206");
    assert_eq!(fault::<Value>(&[0x81, 0x80, 0x40]), "value: 1048577, the limit is 1048576");
    assert_eq!(fault::<Sequence>(&[0xff; 10]), "sequence: no number in its shortest form");
    assert_eq!(fault::<Dot>(&[1, 0, 0, 0, 0, 0, 0, 0, 0]), "dot.sequence: 0 is none");
    assert_eq!(fault::<Address>(b"\x01A\x01\x00"), "address: its text is none");
    assert_eq!(fault::<Address>(b"\x01\xff\x01\x00"), "address.host: its text is none");
    let dot = [1, 0, 0, 0, 0, 0, 0, 0, 1];
    assert_eq!(fault::<Record>(&[&dot[..], &[8], &[0; 8]].concat()), "record.shape: 8 is none");
    assert_eq!(fault::<Record>(&[&dot[..], &[2], &[0; 8], &[0]].concat()), "record.flags: 0 is none");
    assert_eq!(fault::<Record>(&[&dot[..], &[4], &[0; 8], &[0]].concat()), "record.expires_ms: 0 is none");
    assert_eq!(fault::<VersionVector>(&[&[2][..], &dot, &dot].concat()), "vector: its keys do not grow");
}

#[test]
fn a_count_beyond_the_bytes_takes_no_memory() {
    // 2^62 values are claimed: memory for them could not be had.
    let mut claim = Vec::new();
    put_number(&mut claim, 1 << 62);
    claim.extend([0; 64]);
    assert_eq!(Reader::new(&claim).take_list::<SeenStep>("seen").unwrap_err().fault, Fault::Short);
    assert_eq!(fault::<VersionVector>(&claim), "vector: the bytes end within it");
}

#[test]
fn the_limits_fit() {
    let largest = StateRecord {
        key: Key::new(&vec![b'k'; KEY_BYTES_MAX]).unwrap(),
        record: Record {
            value: Some(Value::new(&vec![b'v'; VALUE_BYTES_MAX]).unwrap()),
            flags: u32::MAX,
            timestamp: Timestamp(u64::MAX),
            dot: Dot { node: NodeId(u64::MAX), sequence: Sequence(SEQUENCE_MAX) },
            expires_ms: NonZeroU64::new(u64::MAX),
        },
    };
    let mut bytes = Vec::new();
    put_keyed(&mut bytes, &largest.key, &largest.record);
    assert_eq!(decode::<StateRecord>("whole", &bytes), Ok(largest));
}

/// The form is part of the files that exist: a change of one of these bytes needs a new version of their containers.
#[test]
fn golden_bytes() {
    let record = Record {
        value: Some(Value::new(b"ada").unwrap()),
        flags: 300,
        timestamp: Timestamp(0x0102_0304_0506_0708),
        dot: Dot { node: NodeId(0xa1a2_a3a4_a5a6_a7a8), sequence: Sequence(200) },
        expires_ms: NonZeroU64::new(1000),
    };
    let state = StateRecord { key: Key::new(b"user:1").unwrap(), record };
    let expected = [
        &b"\x06user:1"[..],
        b"\xa8\xa7\xa6\xa5\xa4\xa3\xa2\xa1\xc8\x01",
        b"\x07\x08\x07\x06\x05\x04\x03\x02\x01\xac\x02\xe8\x07\x03ada",
    ];
    assert_eq!(encoded(&state), expected.concat());
    let tombstone = Record { value: None, flags: 0, expires_ms: None, ..state.record };
    assert_eq!(encoded(&tombstone), b"\xa8\xa7\xa6\xa5\xa4\xa3\xa2\xa1\xc8\x01\x00\x08\x07\x06\x05\x04\x03\x02\x01");
    let member = Member { node: NodeId(1), address: Address::new("db", 7001).unwrap(), born_ms: 2 };
    assert_eq!(encoded(&member), b"\x01\0\0\0\0\0\0\0\x02db\x59\x1b\x02\0\0\0\0\0\0\0");
    let vector: VersionVector = [(NodeId(2), Sequence(5)), (NodeId(1), Sequence(128))].into_iter().collect();
    assert_eq!(encoded(&vector), b"\x02\x01\0\0\0\0\0\0\0\x80\x01\x02\0\0\0\0\0\0\0\x05");
    let step = SeenStep { writer: NodeId(1), of: NodeId(2), from: Sequence(3), seen: Sequence(4) };
    assert_eq!(encoded(&step), b"\x01\0\0\0\0\0\0\0\x02\0\0\0\0\0\0\0\x03\x04");
}
