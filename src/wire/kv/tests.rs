//! Operations, answers and failures survive the wire, and nothing out of bounds gets in.

use std::num::NonZeroU64;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    error::{Error, ErrorCode, ErrorKind, Result},
    limits,
    types::{
        Answer, Command, CommandKind, Conflict, ConflictQuery, Dot, Entry, EntryPage, Key, KeyRange, LostWrite, NodeId,
        Operation, PageRequest, Record, Seen, Sequence, Space, Timestamp, Value, Written,
    },
};

fn write(key: Key, kind: CommandKind) -> Operation {
    Operation::Write(Command { key, kind })
}

fn written(version: u64, existed: bool) -> Answer {
    Answer::Written(Written { version: Timestamp(version), existed })
}

fn key() -> impl Strategy<Value = Key> {
    prop::collection::vec(any::<u8>(), 1..40).prop_map(|bytes| Key::new(&bytes).unwrap())
}

fn ttl() -> impl Strategy<Value = Option<u64>> {
    prop::option::of(1..=limits::TTL_MS_MAX)
}

fn range() -> impl Strategy<Value = KeyRange> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    (bytes(), prop::option::of(bytes()), prop::option::of(bytes())).prop_map(|(prefix, start, end)| KeyRange {
        prefix,
        start,
        end,
    })
}

fn page() -> impl Strategy<Value = PageRequest> {
    (range(), any::<bool>(), 1..=limits::PAGE_KEYS_MAX).prop_map(|(range, reverse, keys_max)| PageRequest {
        range,
        reverse,
        keys_max,
        bytes_target: limits::PAGE_BYTES_TARGET,
    })
}

fn operation() -> impl Strategy<Value = Operation> {
    let value = prop::collection::vec(any::<u8>(), 0..100).prop_map(|bytes| crate::types::Value::new(&bytes).unwrap());
    prop_oneof![
        (key(), any::<bool>()).prop_map(|(key, metadata_only)| Operation::Get { key, metadata_only }),
        (key(), value, any::<u32>(), ttl())
            .prop_map(|(key, value, flags, ttl_ms)| write(key, CommandKind::Put { value, flags, ttl_ms })),
        key().prop_map(|key| write(key, CommandKind::Delete)),
        (key(), ttl()).prop_map(|(key, ttl_ms)| write(key, CommandKind::Touch { ttl_ms })),
        range().prop_map(Operation::Count),
        (page(), any::<bool>()).prop_map(|(page, keys_only)| Operation::Scan { page, keys_only }),
        Just(Operation::Ping),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let bytes = |least| prop::collection::vec(any::<u8>(), least..40).prop_map(Bytes::from);
    (bytes(1), bytes(0), any::<u32>(), any::<u64>(), any::<u64>(), any::<u64>()).prop_map(
        |(key, value, flags, version, modified_ms, expires_ms)| Entry {
            key,
            value,
            flags,
            version: Timestamp(version),
            modified_ms,
            expires_ms: NonZeroU64::new(expires_ms),
        },
    )
}

/// An answer as the wire can carry it: without what its message has no field for.
fn answer() -> impl Strategy<Value = (AnswerKind, Answer)> {
    prop_oneof![
        prop::option::of(entry()).prop_map(|entry| (AnswerKind::Get, Answer::Entry(entry))),
        any::<u64>().prop_map(|version| (AnswerKind::Put, written(version, false))),
        any::<(u64, bool)>().prop_map(|(version, existed)| (AnswerKind::Delete, written(version, existed))),
        any::<bool>().prop_map(|existed| (AnswerKind::Touch, written(0, existed))),
        any::<u64>().prop_map(|count| (AnswerKind::Count, Answer::Count(count))),
        (prop::collection::vec(entry(), 0..5), any::<bool>())
            .prop_map(|(entries, more)| (AnswerKind::Scan, Answer::Page(EntryPage { entries, more }))),
        Just((AnswerKind::Ping, Answer::Pong)),
    ]
}

proptest! {
    #[test]
    fn an_operation_comes_back_as_it_went_in(id: u64, operation in operation()) {
        let bytes = encode_operation(id, "", &operation).encode_to_vec();
        let message = v1::Operation::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(message.id, id);
        prop_assert_eq!(decode_operation(message), Ok(operation));
    }

    #[test]
    fn an_answer_comes_back_as_it_went_in(id: u64, (kind, answer) in answer()) {
        let bytes = encode_result(id, kind, Ok((answer.clone(), Seen::Nothing))).encode_to_vec();
        let message = v1::OperationResult::decode(bytes.as_slice()).unwrap();
        prop_assert_eq!(message.id, id);
        prop_assert_eq!(decode_result(message), Ok((answer, Seen::Nothing)));
    }

    #[test]
    fn a_failure_comes_back_as_it_went_in(
        code in prop::sample::select(ErrorCode::ALL), message: String, maybe_applied: bool,
    ) {
        let error = Error::new(code, message);
        let error = if maybe_applied { error.maybe_applied() } else { error };
        let bytes = encode_result(1, AnswerKind::Get, Err(error.clone())).encode_to_vec();
        prop_assert_eq!(decode_result(v1::OperationResult::decode(bytes.as_slice()).unwrap()), Err(error));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_pass_a_limit(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = bytes.as_slice();
        if let Ok(message) = v1::Operation::decode(bytes) {
            if let Ok(operation) = decode_operation(message) {
                let again = decode_operation(encode_operation(0, "", &operation));
                prop_assert_eq!(again, Ok(operation));
            }
        }
        // Whether these are refused is for other tests; here they only must not panic.
        drop(v1::OperationResult::decode(bytes).map(decode_result));
        drop(v1::BatchGetRequest::decode(bytes).map(decode_batch_get));
        drop(v1::BatchPutRequest::decode(bytes).map(decode_batch_put));
        drop(v1::BatchDeleteRequest::decode(bytes).map(decode_batch_delete));
        drop(v1::ScanRequest::decode(bytes).map(decode_scan));
    }
}

fn code<T>(result: Result<T>) -> Option<ErrorCode> {
    result.err().map(|error| error.code())
}

fn get(keyspace: &str, key: &[u8]) -> v1::GetRequest {
    v1::GetRequest { keyspace: keyspace.into(), key: Bytes::copy_from_slice(key), metadata_only: false }
}

fn put(key: &[u8], value: usize, ttl_ms: Option<u64>) -> v1::PutRequest {
    let (key, value) = (Bytes::copy_from_slice(key), Bytes::from(vec![0; value]));
    v1::PutRequest { keyspace: String::new(), key, value, flags: 0, ttl_ms }
}

fn record() -> impl Strategy<Value = Record> {
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
    (value, any::<u32>(), any::<u64>(), any::<u64>()).prop_map(|(value, flags, timestamp, expires_ms)| Record {
        value: value.map(|bytes| crate::types::Value::new(&bytes).unwrap()),
        flags,
        timestamp: Timestamp(timestamp),
        dot: Dot { node: NodeId(1), sequence: Sequence(1) },
        expires_ms: NonZeroU64::new(expires_ms),
    })
}

proptest! {
    #[test]
    fn conflicts_and_questions_about_them_come_back_as_they_went_in(
        key in key(), lost in record(), won in record(), noticed_ms in 0..limits::TIMESTAMP_MS_MAX, node in 1..=u64::MAX,
        prefix in prop::collection::vec(any::<u8>(), 0..20), since_ms: u64, limit in prop::option::of(1usize..),
    ) {
        let conflict = Conflict { key, lost, won, noticed_ms, node: NodeId(node) };
        let wire = conflicts_page(Space::Default, std::iter::once(&conflict)).encode_to_vec();
        let decoded = decode_conflicts_page(v1::ConflictsPage::decode(&wire[..]).unwrap());
        prop_assert_eq!(decoded, Ok(vec![LostWrite::new(Space::Default, &conflict)]));
        let query = ConflictQuery { keyspace: "jobs".into(), prefix, since_ms, limit };
        prop_assert_eq!(decode_conflicts(encode_conflicts(&query)), Ok(query));
    }
}

#[test]
fn a_bad_conflict_is_refused_by_field() {
    let entry = |key: &'static [u8]| v1::Entry { key: key.into(), ..v1::Entry::default() };
    let good = v1::Conflict { key: "k".into(), node_id: 1, lost: Some(entry(b"k")), ..v1::Conflict::default() };
    let refused = |conflict| decode_conflicts_page(v1::ConflictsPage { conflicts: vec![conflict] }).map(drop);
    assert_eq!(refused(good.clone()), Ok(()));
    let bad = [
        (v1::Conflict { key: Bytes::new(), ..good.clone() }, "conflict.key"),
        (v1::Conflict { node_id: 0, ..good.clone() }, "conflict.node_id"),
        (v1::Conflict { noticed_ms: u64::MAX, ..good.clone() }, "conflict.noticed_ms"),
        (v1::Conflict { lost: Some(entry(b"j")), ..good.clone() }, "conflict.lost.key"),
        (v1::Conflict { won: Some(entry(b"j")), ..good.clone() }, "conflict.won.key"),
    ];
    for (conflict, field) in bad {
        let error = refused(conflict).unwrap_err();
        assert!(error.message().starts_with(field), "{error}");
    }
}

#[test]
fn a_name_of_a_keyspace_is_within_its_bounds() {
    assert_eq!(code(check_name("")), None);
    assert_eq!(code(check_name("default")), None);
    let error = check_name(&"x".repeat(100_000)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    assert!(error.message().len() < 200, "{} bytes of text", error.message().len());
}

#[test]
fn every_operation_says_which_keyspace_it_is_about() {
    let key = || Key::new(b"k").unwrap();
    let page = PageRequest { range: KeyRange::default(), reverse: false, keys_max: 1, bytes_target: 1 };
    let write = |kind| Operation::Write(Command { key: key(), kind });
    let put = CommandKind::Put { value: Value::new(b"v").unwrap(), flags: 0, ttl_ms: None };
    let operations = [
        Operation::Get { key: key(), metadata_only: false },
        write(put),
        write(CommandKind::Delete),
        write(CommandKind::Touch { ttl_ms: None }),
        Operation::Count(KeyRange::default()),
        Operation::Scan { page, keys_only: true },
    ];
    for operation in operations {
        assert_eq!(keyspace_of(&encode_operation(1, "jobs", &operation)), "jobs", "{operation:?}");
    }
    assert_eq!(keyspace_of(&encode_operation(1, "jobs", &Operation::Ping)), "", "it concerns none");
    let item = v1::PutRequest { keyspace: "other".into(), key: key().to_bytes(), ..v1::PutRequest::default() };
    let batch = |keyspace: &str| v1::BatchPutRequest { keyspace: keyspace.into(), items: vec![item.clone()] };
    assert_eq!(code(decode_batch_put(batch("jobs"))), Some(ErrorCode::InvalidArgument));
    assert_eq!(code(decode_batch_put(batch("other"))), None);
}

#[test]
fn each_limit_is_checked_and_its_field_is_named() {
    let long = [b'k'; limits::KEY_BYTES_MAX + 1];
    assert_eq!(code(decode_get(get("", b""))), Some(ErrorCode::KeyEmpty));
    assert_eq!(code(decode_get(get("", &long))), Some(ErrorCode::KeyTooLong));
    assert_eq!(code(decode_put(put(b"k", limits::VALUE_BYTES_MAX, None))), None);
    assert_eq!(code(decode_put(put(b"k", limits::VALUE_BYTES_MAX + 1, None))), Some(ErrorCode::ValueTooLarge));
    assert_eq!(code(decode_put(put(b"k", 0, Some(0)))), Some(ErrorCode::BadTtl));
    let range = v1::Range { start: Some(vec![0; limits::RANGE_BOUND_BYTES_MAX + 1].into()), ..v1::Range::default() };
    let error =
        decode_count(v1::CountRequest { keyspace: String::new(), range: Some(range), with_seen: false }).unwrap_err();
    assert!(error.message().starts_with("range.start:"), "{error}");
}

#[test]
fn a_page_size_of_zero_is_the_largest_and_a_larger_one_is_refused() {
    let scan = |page_size, limit| decode_scan(v1::ScanRequest { page_size, limit, ..v1::ScanRequest::default() });
    assert_eq!(scan(0, 0).unwrap().page.keys_max, limits::PAGE_KEYS_MAX);
    assert_eq!(scan(10, 3).unwrap().page.keys_max, 3);
    assert_eq!(scan(10, 30).unwrap().page.keys_max, 10);
    let error = scan(limits::PAGE_KEYS_MAX as u32 + 1, 0).unwrap_err();
    assert!(error.message().starts_with("page_size:"), "{error}");
}

#[test]
fn a_batch_is_checked_as_a_whole_and_names_the_bad_item() {
    let batch = |items| decode_batch_put(v1::BatchPutRequest { keyspace: String::new(), items });
    let error = batch(vec![put(b"k", 1, None), put(b"", 1, None)]).unwrap_err();
    assert_eq!((error.code(), error.message()), (ErrorCode::KeyEmpty, "items[1].key: must not be empty"));
    let five_mib = vec![put(b"k", limits::VALUE_BYTES_MAX, None); 5];
    assert_eq!(code(batch(five_mib)), Some(ErrorCode::BatchTooLarge));
    let keys = vec![Bytes::from_static(b"k"); limits::BATCH_OPERATIONS_MAX + 1];
    let keyspace = String::new();
    assert_eq!(
        code(decode_batch_get(v1::BatchGetRequest { keyspace: keyspace.clone(), keys: keys.clone() })),
        Some(ErrorCode::BatchTooLarge)
    );
    assert_eq!(code(decode_batch_delete(v1::BatchDeleteRequest { keyspace, keys })), Some(ErrorCode::BatchTooLarge));
}

#[test]
fn an_unknown_code_keeps_its_kind() {
    for kind in ErrorKind::ALL {
        assert_eq!(nearest_code("NOT_YET_INVENTED", kind).kind(), kind);
    }
    let failure = v1::Failure { kind: 99, code: "ALIEN".into(), message: "why".into(), maybe_applied: true };
    let error = decode_failure(failure);
    assert_eq!(error.code(), ErrorCode::Internal);
    assert!(error.is_maybe_applied());
}
