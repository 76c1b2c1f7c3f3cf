//! Both sides of each bound, and what a message may weigh.

use super::*;
use crate::limits::{
    BATCH_BYTES_MAX, GROUP_READ_BYTES_TARGET, KEYSPACE_NAME_BYTES_MAX, KEY_BYTES_MAX, LEASES_PER_PAGE_MAX,
    STRONG_MESSAGE_BYTES_MAX, STRONG_READS_MAX, TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX, VALUE_BYTES_MAX,
};
use v1::{read_operation::Read as ReadBody, strong_operation::Operation as Body, submit_request::Command as Asked};

fn submit(keyspace: &str, command: Asked) -> v1::SubmitRequest {
    v1::SubmitRequest { id: None, keyspace: keyspace.into(), command: Some(command) }
}

fn transact(guards: Vec<v1::Guard>, operations: Vec<v1::StrongOperation>) -> v1::SubmitRequest {
    submit("jobs", Asked::Transact(v1::TransactCommand { guards, operations }))
}

fn operation(key: usize, operation: Option<Body>) -> v1::StrongOperation {
    v1::StrongOperation { key: vec![b'k'; key].into(), operation }
}

fn put(value: usize, lifetime: Option<v1::lifetime::Lifetime>) -> Option<Body> {
    let lifetime = lifetime.map(|lifetime| v1::Lifetime { lifetime: Some(lifetime) });
    Some(Body::Put(v1::StrongPut { value: vec![0; value].into(), flags: 0, lifetime }))
}

fn guard(guard: v1::guard::Guard) -> Vec<v1::Guard> {
    vec![v1::Guard { guard: Some(guard) }]
}

fn acquire(lock: usize, value: usize) -> Asked {
    let (lock, value) = (vec![b'l'; lock].into(), vec![0; value].into());
    Asked::Acquire(v1::AcquireCommand { lock, lease: 1, value, wait: true })
}

fn read(read: Option<ReadBody>) -> v1::ReadRequest {
    let reads = vec![v1::ReadOperation { locks: false, read }];
    v1::ReadRequest { keyspace: "jobs".into(), reads, ..v1::ReadRequest::default() }
}

fn read_key(length: usize) -> v1::ReadOperation {
    let key = v1::ReadKey { key: vec![b'k'; length].into(), metadata_only: false };
    v1::ReadOperation { locks: false, read: Some(ReadBody::Key(key)) }
}

/// The error, whose text has to begin with the field.
fn assert_refused<T: std::fmt::Debug>(decoded: Result<T>, code: ErrorCode, field: &str) {
    let error = decoded.expect_err(field);
    assert_eq!((error.code(), error.is_maybe_applied()), (code, false), "{error}");
    assert!(error.message().starts_with(field), "{error} does not begin with {field}");
}

#[test]
fn a_bad_field_of_a_change_is_named() {
    use ErrorCode::*;
    let long = "n".repeat(KEYSPACE_NAME_BYTES_MAX + 1);
    let id = |client, number| v1::SubmitRequest {
        id: Some(v1::RequestId { client, number }),
        ..submit("", Asked::Register(v1::RegisterCommand {}))
    };
    let drop_keyspace = Asked::DropKeyspace(v1::DropKeyspaceCommand {});
    let grant = |ttl_ms| Asked::Grant(v1::GrantCommand { ttl_ms });
    let version = v1::guard::Guard::Version(v1::VersionGuard { key: Bytes::new(), version: 1 });
    let holds = v1::guard::Guard::Holds(v1::HoldsGuard { lock: Bytes::new(), token: 1 });
    let release = Asked::Release(v1::ReleaseCommand { lock: Bytes::new(), lease: 1 });
    let proclaim = |lock: &'static [u8], value| {
        Asked::Proclaim(v1::ProclaimCommand { lock: lock.into(), token: 1, value: vec![0; value].into() })
    };
    let cases = [
        (v1::SubmitRequest::default(), MalformedMessage, "command"),
        (id(0, 1), MalformedMessage, "id.client"),
        (id(1, 0), MalformedMessage, "id.number"),
        (submit("", drop_keyspace.clone()), InvalidArgument, "keyspace"),
        (submit(&long, drop_keyspace), InvalidArgument, "keyspace"),
        (submit("", Asked::CreateKeyspace(v1::CreateKeyspaceCommand::default())), InvalidArgument, "keyspace"),
        (submit("jobs", grant(1)), InvalidArgument, "keyspace"),
        (submit("", grant(0)), BadTtl, "ttl"),
        (submit("", grant(TTL_MS_MAX + 1)), BadTtl, "ttl"),
        (submit("", acquire(1, 0)), InvalidArgument, "keyspace"),
        (submit("jobs", acquire(0, 0)), KeyEmpty, "acquire.lock"),
        (submit("jobs", acquire(KEY_BYTES_MAX + 1, 0)), KeyTooLong, "acquire.lock"),
        (submit("jobs", acquire(1, VALUE_BYTES_MAX + 1)), ValueTooLarge, "acquire.value"),
        (submit("jobs", release), KeyEmpty, "release.lock"),
        (submit("jobs", proclaim(b"", 0)), KeyEmpty, "proclaim.lock"),
        (submit("jobs", proclaim(b"l", VALUE_BYTES_MAX + 1)), ValueTooLarge, "proclaim.value"),
        (transact(vec![v1::Guard { guard: None }], vec![]), MalformedMessage, "guards[0].guard"),
        (transact(guard(version), vec![]), KeyEmpty, "guards[0].version.key"),
        (transact(guard(v1::guard::Guard::Absent(Bytes::new())), vec![]), KeyEmpty, "guards[0].absent"),
        (transact(guard(v1::guard::Guard::Present(Bytes::new())), vec![]), KeyEmpty, "guards[0].present"),
        (transact(guard(holds), vec![]), KeyEmpty, "guards[0].holds.lock"),
        (transact(vec![], vec![operation(1, None)]), MalformedMessage, "operations[0].operation"),
        (transact(vec![], vec![operation(0, put(0, None))]), KeyEmpty, "operations[0].key"),
        (
            transact(vec![], vec![operation(1, put(VALUE_BYTES_MAX + 1, None))]),
            ValueTooLarge,
            "operations[0].put.value",
        ),
        (
            transact(vec![], vec![operation(1, put(0, Some(v1::lifetime::Lifetime::TtlMs(0))))]),
            BadTtl,
            "operations[0].ttl",
        ),
    ];
    for (request, code, field) in cases {
        assert_refused(decode_submission(request), code, field);
    }
}

#[test]
fn a_bad_field_of_a_read_or_question_is_named() {
    use ErrorCode::*;
    let page = |limit, start: usize| {
        let range = v1::Range { start: Some(vec![0; start].into()), ..v1::Range::default() };
        Some(ReadBody::Page(v1::ReadPage { range: Some(range), limit, ..v1::ReadPage::default() }))
    };
    let count = |prefix: usize| ReadBody::Count(v1::Range { prefix: vec![0; prefix].into(), ..v1::Range::default() });
    let many = |count, length| v1::ReadRequest { reads: vec![read_key(length); count], ..read(None) };
    let cases = [
        (v1::ReadRequest { keyspace: String::new(), ..many(1, 1) }, InvalidArgument, "keyspace"),
        (v1::ReadRequest { freshness: 9, ..many(1, 1) }, MalformedMessage, "freshness"),
        (read(None), MalformedMessage, "reads[0].read"),
        (many(1, 0), KeyEmpty, "reads[0].key"),
        (read(page(PAGE_KEYS_MAX as u32 + 1, 0)), InvalidArgument, "reads[0].limit"),
        (read(page(0, KEY_BYTES_MAX + 2)), KeyTooLong, "reads[0].range.start"),
        (read(Some(count(KEY_BYTES_MAX + 2))), KeyTooLong, "reads[0].range.prefix"),
        (many(STRONG_READS_MAX + 1, 1), BatchTooLarge, "reads"),
        (many(BATCH_BYTES_MAX / KEY_BYTES_MAX + 1, KEY_BYTES_MAX), BatchTooLarge, "reads"),
    ];
    for (request, code, field) in cases {
        assert_refused(decode_reads(request), code, field);
    }
    assert!(decode_reads(many(STRONG_READS_MAX, 1)).is_ok());
    let wait = |lock: &'static [u8], wait_ms| v1::AwaitLockRequest {
        keyspace: "jobs".into(),
        lock: lock.into(),
        lease: 1,
        wait_ms,
    };
    let most_ms = GROUP_LOCK_WAIT_MAX.as_millis() as u32;
    assert_refused(decode_await_lock(wait(b"", 1)), KeyEmpty, "lock");
    assert_refused(decode_await_lock(wait(b"l", most_ms + 1)), InvalidArgument, "wait_ms");
    assert!(decode_await_lock(wait(b"l", most_ms)).is_ok());
}

#[test]
fn a_bad_field_of_an_answer_is_named() {
    use v1::{read_answer::Answer as Given, submit_response::Answer as Done};
    use ErrorCode::*;
    let written = |outcomes| v1::SubmitResponse {
        answer: Some(Done::Written(v1::WrittenAnswer { revision: 1, outcomes: vec![Default::default(); outcomes] })),
    };
    let none = Transaction { keyspace: KeyspaceId::default(), guards: vec![], operations: vec![] };
    let command = Command::Transact(none);
    assert_refused(decode_submitted(&command, written(1)), MalformedMessage, "written.outcomes");
    assert_refused(decode_submitted(&command, v1::SubmitResponse::default()), MalformedMessage, "answer");
    assert_refused(decode_submitted(&Command::Register, written(0)), MalformedMessage, "answer");

    let Ok(Call::Read(call)) = decode_reads(v1::ReadRequest { reads: vec![read_key(1)], ..read(None) }) else {
        panic!("a read is a read");
    };
    let answers = |answers: Vec<Option<Given>>| v1::ReadResponse {
        revision: 1,
        answers: answers.into_iter().map(|answer| v1::ReadAnswer { answer }).collect(),
    };
    let item = |item| Some(Given::Key(v1::KeyAnswer { item: Some(item) }));
    let found = |key: &'static [u8]| v1::StrongItem { key: key.into(), ..v1::StrongItem::default() };
    let cases = [
        (answers(vec![]), MalformedMessage, "answers"),
        (answers(vec![item(found(b"k")), item(found(b"k"))]), MalformedMessage, "answers"),
        (answers(vec![None]), MalformedMessage, "answers[0].answer"),
        (answers(vec![Some(Given::Count(1))]), MalformedMessage, "answers[0].answer"),
        (answers(vec![item(found(b"other"))]), MalformedMessage, "answers[0].answer"),
        (answers(vec![item(found(b""))]), KeyEmpty, "answers[0].item.key"),
        (
            answers(vec![item(v1::StrongItem { ttl_ms: Some(1), lease: Some(1), ..found(b"k") })]),
            MalformedMessage,
            "answers[0].item.lease",
        ),
    ];
    for (response, code, field) in cases {
        assert_refused(decode_read_answers(&call, response), code, field);
    }
    assert!(decode_read_answers(&call, answers(vec![item(found(b"k"))])).is_ok());
    let nameless = v1::KeyspacesResponse { keyspaces: vec![v1::StrongKeyspace::default()] };
    assert_refused(decode_keyspaces(nameless), InvalidArgument, "keyspace");
    let leases = |count| v1::ListLeasesResponse { leases: vec![v1::StrongLease::default(); count], more: false };
    assert!(decode_leases(leases(LEASES_PER_PAGE_MAX)).is_ok());
    assert_refused(decode_leases(leases(LEASES_PER_PAGE_MAX + 1)), MalformedMessage, "leases");
}

#[test]
fn a_call_that_no_client_may_make_is_refused() {
    let expire = Command::Expire { term: 1, leases: Vec::new() };
    let submission = Submission { id: None, keyspace: String::new(), command: expire };
    assert_refused(encode_submission(&submission), ErrorCode::InvalidArgument, "command");
    assert_refused(check_call(&Call::Submit(submission)), ErrorCode::InvalidArgument, "command");
    let command = Command::CreateKeyspace { name: "a".into() };
    let other = Call::Submit(Submission { id: None, keyspace: "b".into(), command });
    assert_refused(check_call(&other), ErrorCode::InvalidArgument, "keyspace");
    assert_eq!(encode_submitted(Reply::Lock(None)).unwrap_err().code(), ErrorCode::Internal);
    assert_eq!(encode_submitted(Reply::Done(Answer::Expired(1))).unwrap_err().code(), ErrorCode::Internal);
    let refused = encode_submitted(Reply::Done(Answer::Refused(Refusal::BadTtl))).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::BadTtl);
}

/// As heavy as its framing can make it.
fn heavy(operations: usize, bytes: usize) -> v1::SubmitRequest {
    let lifetime = || Some(v1::Lifetime { lifetime: Some(v1::lifetime::Lifetime::TtlMs(TTL_MS_MAX)) });
    let each = bytes / operations;
    let mut of_all: Vec<_> = (0..operations)
        .map(|place| match place % 2 {
            0 => {
                let value = vec![0; each - 1].into();
                operation(1, Some(Body::Put(v1::StrongPut { value, flags: u32::MAX, lifetime: lifetime() })))
            }
            _ => {
                let increment = v1::StrongIncrement { by: i64::MIN, initial: i64::MIN, lifetime: lifetime() };
                operation(each, Some(Body::Increment(increment)))
            }
        })
        .collect();
    of_all[0].key = vec![b'k'; 1 + bytes - operations * each].into();
    let id = Some(v1::RequestId { client: u64::MAX, number: u64::MAX });
    v1::SubmitRequest { id, keyspace: "n".repeat(KEYSPACE_NAME_BYTES_MAX), ..transact(vec![], of_all) }
}

#[test]
fn a_full_transaction_and_its_answer_fit_into_a_message_and_one_more_byte_is_refused() {
    let (operations, bytes) = (TRANSACTION_OPERATIONS_MAX, TRANSACTION_BYTES_MAX);
    let full = heavy(operations, bytes);
    assert!(full.encoded_len() <= STRONG_MESSAGE_BYTES_MAX, "{} bytes", full.encoded_len());
    assert!(decode_submission(full).is_ok());
    assert_refused(decode_submission(heavy(operations, bytes + 1)), ErrorCode::BatchTooLarge, "transaction");
    assert_refused(decode_submission(heavy(operations + 1, bytes)), ErrorCode::BatchTooLarge, "transaction");
    let outcomes = vec![Outcome { existed: true, number: Some(i64::MIN) }; operations];
    let answer = encode_submitted(Reply::Done(Answer::Written { revision: Some(Revision(u64::MAX)), outcomes }));
    assert!(answer.unwrap().encoded_len() <= STRONG_MESSAGE_BYTES_MAX);
}

#[test]
fn the_heaviest_answer_to_reads_fits_into_a_message() {
    let item = |value: usize| {
        Arc::new(Item {
            value: Value::new(&vec![0; value]).unwrap(),
            flags: u32::MAX,
            created: Revision(u64::MAX),
            modified: Revision(u64::MAX),
            writes: u64::MAX,
            modified_ms: u64::MAX,
            until: Until::Lease(LeaseId(u64::MAX)),
        })
    };
    let long = Key::new(&[b'k'; KEY_BYTES_MAX]).unwrap();
    // A page ends with the item that brings it to its target: here the largest, after as many others as there can be.
    let mut items = vec![(Key::new(b"k").unwrap(), item(PAGE_BYTES_TARGET / PAGE_KEYS_MAX)); PAGE_KEYS_MAX - 1];
    items.push((long.clone(), item(VALUE_BYTES_MAX)));
    let page = |items: Vec<_>| ReadAnswer::Page { page: ItemPage { items, more: true }, keys_only: false };
    // Just below where no further answer is begun.
    let one = |value| ReadAnswer::Key { key: long.clone(), item: Some(item(value)), metadata_only: false };
    let before = [one(VALUE_BYTES_MAX), one(GROUP_READ_BYTES_TARGET - VALUE_BYTES_MAX - 2 * KEY_BYTES_MAX - 256)];
    let answers = before.into_iter().chain([page(items.clone()), page(items)]).collect();
    let reply = Reply::Read(ReadReply { revision: Revision(u64::MAX), elapsed_ms: 0, answers });
    let response = encode_read_answers(reply).unwrap();
    assert_eq!(response.answers.len(), 3);
    assert!(response.encoded_len() <= STRONG_MESSAGE_BYTES_MAX, "{} bytes", response.encoded_len());
}
