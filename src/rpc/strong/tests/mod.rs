//! What a client asks and what it is answered survive the wire, and nothing out of bounds gets in.

mod bounds;
mod changes;

use std::sync::Arc;

use bytes::Bytes;
use proptest::prelude::*;
use prost::Message;

use super::{
    answers::{decode_submitted, encode_submitted},
    questions::*,
    reads::*,
    submissions::{decode_submission, encode_submission},
    *,
};
use crate::{
    limits::{GROUP_LOCK_WAIT_MAX, PAGE_BYTES_TARGET, PAGE_KEYS_MAX, TTL_MS_MAX},
    replication::strong::*,
    types::{Consistency, KeyRange, PageRequest},
};

fn key() -> impl Strategy<Value = Key> {
    prop::collection::vec(any::<u8>(), 1..40).prop_map(|bytes| Key::new(&bytes).unwrap())
}

fn value() -> impl Strategy<Value = Value> {
    prop::collection::vec(any::<u8>(), 0..60).prop_map(|bytes| Value::new(&bytes).unwrap())
}

fn name() -> impl Strategy<Value = String> {
    "[a-z\u{e9}]{1,20}"
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    prop_oneof![
        Just(Lifetime::Forever),
        (1..=TTL_MS_MAX).prop_map(Lifetime::Ttl),
        any::<u64>().prop_map(|lease| Lifetime::Lease(LeaseId(lease))),
    ]
}

fn guard() -> impl Strategy<Value = Guard> {
    prop_oneof![
        (key(), any::<u64>()).prop_map(|(key, version)| Guard::Version { key, version: Revision(version) }),
        key().prop_map(|key| Guard::Absent { key }),
        key().prop_map(|key| Guard::Present { key }),
        (key(), any::<u64>()).prop_map(|(lock, token)| Guard::Holds { lock, token: Revision(token) }),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let kind = prop_oneof![
        (value(), any::<u32>(), lifetime()).prop_map(|(value, flags, lifetime)| OperationKind::Put {
            value,
            flags,
            lifetime
        }),
        Just(OperationKind::Delete),
        lifetime().prop_map(|lifetime| OperationKind::Touch { lifetime }),
        (any::<i64>(), any::<i64>(), lifetime()).prop_map(|(by, initial, lifetime)| OperationKind::Increment {
            by,
            initial,
            lifetime
        }),
    ];
    (key(), kind).prop_map(|(key, kind)| Operation { key, kind })
}

fn lock() -> impl Strategy<Value = LockName> {
    key().prop_map(|name| LockName { keyspace: KeyspaceId::default(), name })
}

fn lease() -> impl Strategy<Value = LeaseId> {
    any::<u64>().prop_map(LeaseId)
}

fn command() -> impl Strategy<Value = Command> {
    let transaction = (prop::collection::vec(guard(), 0..5), prop::collection::vec(operation(), 0..5));
    prop_oneof![
        Just(Command::Register),
        transaction.prop_map(|(guards, operations)| {
            Command::Transact(Transaction { keyspace: KeyspaceId::default(), guards, operations })
        }),
        (1..=TTL_MS_MAX).prop_map(|ttl_ms| Command::Grant { ttl_ms }),
        lease().prop_map(|lease| Command::KeepAlive { lease }),
        lease().prop_map(|lease| Command::Revoke { lease }),
        (lock(), lease(), value(), any::<bool>()).prop_map(|(lock, lease, value, wait)| Command::Acquire {
            lock,
            lease,
            value,
            wait
        }),
        (lock(), lease()).prop_map(|(lock, lease)| Command::Release { lock, lease }),
        (lock(), any::<u64>(), value()).prop_map(|(lock, token, value)| Command::Proclaim {
            lock,
            token: Revision(token),
            value
        }),
        name().prop_map(|name| Command::CreateKeyspace { name }),
        (name(), any::<u64>()).prop_map(|(name, keep_conflicts)| Command::CreateEventual {
            name,
            group: 0,
            keep_conflicts
        }),
        Just(Command::DropKeyspace { keyspace: KeyspaceId::default() }),
        any::<u64>().prop_map(|revision| Command::Compact { revision: Revision(revision) }),
    ]
}

fn submission() -> impl Strategy<Value = Submission> {
    let id = (1..=u64::MAX, 1..=u64::MAX).prop_map(|(client, number)| RequestId { client: ClientId(client), number });
    (prop::option::of(id), name(), command()).prop_map(|(id, name, command)| {
        let keyspace = match &command {
            Command::CreateKeyspace { name } | Command::CreateEventual { name, .. } => name.clone(),
            Command::Transact(_)
            | Command::Acquire { .. }
            | Command::Release { .. }
            | Command::Proclaim { .. }
            | Command::DropKeyspace { .. } => name,
            _ => String::new(),
        };
        Submission { id, keyspace, command }
    })
}

/// An answer to each kind of command, as the wire can carry it.
fn answer_to(command: &Command) -> BoxedStrategy<Answer> {
    match command {
        Command::Register => any::<u64>().prop_map(|id| Answer::Registered(ClientId(id))).boxed(),
        Command::Transact(transaction) => {
            let outcome = any::<(bool, Option<i64>)>().prop_map(|(existed, number)| Outcome { existed, number });
            let outcomes = prop::collection::vec(outcome, transaction.operations.len());
            let revision = prop::option::of((1..=u64::MAX).prop_map(Revision));
            (revision, outcomes).prop_map(|(revision, outcomes)| Answer::Written { revision, outcomes }).boxed()
        }
        Command::Grant { .. } | Command::KeepAlive { .. } => any::<(u64, u64)>()
            .prop_map(|(lease, ttl_ms)| Answer::Leased { lease: LeaseId(lease), generation: 0, ttl_ms })
            .boxed(),
        Command::Acquire { .. } => prop_oneof![
            any::<u64>().prop_map(|token| Answer::Held { token: Revision(token) }),
            any::<u64>().prop_map(|ahead| Answer::Queued { ahead }),
        ]
        .boxed(),
        Command::Proclaim { .. } => {
            any::<u64>().prop_map(|revision| Answer::Proclaimed { revision: Revision(revision) }).boxed()
        }
        Command::Revoke { .. } => Just(Answer::Revoked).boxed(),
        Command::Release { .. } => Just(Answer::Released).boxed(),
        Command::CreateKeyspace { .. } | Command::CreateEventual { .. } => {
            Just(Answer::Created(KeyspaceId::default())).boxed()
        }
        Command::DropKeyspace { .. } => Just(Answer::Dropped).boxed(),
        Command::Compact { .. } => Just(Answer::Compacted).boxed(),
        Command::Expire { .. } | Command::Retain(_) | Command::Begin(_) => panic!("no client asks for it"),
    }
}

fn range() -> impl Strategy<Value = KeyRange> {
    let bytes = || prop::collection::vec(any::<u8>(), 0..20);
    (bytes(), prop::option::of(bytes()), prop::option::of(bytes())).prop_map(|(prefix, start, end)| KeyRange {
        prefix,
        start,
        end,
    })
}

fn item() -> impl Strategy<Value = Arc<Item>> {
    let until = prop_oneof![
        Just(Until::Deleted),
        any::<u64>().prop_map(Until::Elapsed),
        any::<u64>().prop_map(|lease| Until::Lease(LeaseId(lease))),
    ];
    (value(), any::<u32>(), any::<[u64; 4]>(), until).prop_map(
        |(value, flags, [created, modified, writes, modified_ms], until)| {
            let (created, modified) = (Revision(created), Revision(modified));
            Arc::new(Item { value, flags, created, modified, writes, modified_ms, until })
        },
    )
}

/// A read and an answer to it.
fn read_and_answer() -> impl Strategy<Value = (Read, ReadAnswer)> {
    let space = prop_oneof![Just(Space::Data), Just(Space::Locks)];
    let items = prop::collection::vec((key(), item()), 0..4);
    let kinds = prop_oneof![
        (key(), prop::option::of(item())).prop_map(|(key, item)| {
            let answer = ReadAnswer::Key { key: key.clone(), item, metadata_only: false };
            (ReadKind::Key { key, metadata_only: false }, answer)
        }),
        (range(), any::<bool>(), 4..=PAGE_KEYS_MAX, items, any::<bool>()).prop_map(
            |(range, reverse, keys_max, items, more)| {
                let page = PageRequest { range, reverse, keys_max, bytes_target: PAGE_BYTES_TARGET };
                let answer = ReadAnswer::Page { page: ItemPage { items, more }, keys_only: false };
                (ReadKind::Page { page, keys_only: false }, answer)
            }
        ),
        (range(), any::<u64>()).prop_map(|(range, count)| (ReadKind::Count(range), ReadAnswer::Count(count))),
    ];
    (space, kinds).prop_map(|(space, (kind, answer))| (Read { space, kind }, answer))
}

fn read_call(reads: Vec<Read>) -> impl Strategy<Value = ReadCall> {
    let freshness = prop_oneof![
        Just(Freshness::Linearizable),
        any::<u64>().prop_map(|seen| Freshness::Session(Revision(seen))),
        Just(Freshness::Local),
    ];
    (name(), freshness, prop::option::of(any::<u64>().prop_map(Revision)))
        .prop_map(move |(keyspace, freshness, at)| ReadCall { keyspace, freshness, at, reads: reads.clone() })
}

fn reads_and_reply() -> impl Strategy<Value = (ReadCall, ReadReply)> {
    (prop::collection::vec(read_and_answer(), 0..5), any::<u64>()).prop_flat_map(|(pairs, revision)| {
        let (reads, answers) = pairs.into_iter().unzip();
        let reply = ReadReply { revision: Revision(revision), elapsed_ms: 0, answers };
        (read_call(reads), Just(reply))
    })
}

/// Over the wire and back.
fn carried<M: Message + Default>(message: M) -> M {
    M::decode(message.encode_to_vec().as_slice()).unwrap()
}

proptest! {
    #[test]
    fn a_change_and_its_answer_come_back_as_they_went_in(
        (submission, answer) in submission().prop_flat_map(|submission| {
            let answer = answer_to(&submission.command);
            (Just(submission), answer)
        }),
    ) {
        let request = carried(encode_submission(&submission).unwrap());
        let command = submission.command.clone();
        prop_assert_eq!(decode_submission(request), Ok(Call::Submit(submission)));
        let reply = Reply::Done(answer);
        let response = carried(encode_submitted(reply.clone()).unwrap());
        prop_assert_eq!(decode_submitted(&command, response), Ok(reply));
    }

    #[test]
    fn an_answer_to_another_command_is_found_out(
        asked in command(), (_, answer) in command().prop_flat_map(|other| {
            let answer = answer_to(&other);
            (Just(other), answer)
        }),
    ) {
        let response = encode_submitted(Reply::Done(answer)).unwrap();
        if let Ok(decoded) = decode_submitted(&asked, response.clone()) {
            // Then it reads as one that the command could have got.
            prop_assert_eq!(encode_submitted(decoded), Ok(response));
        }
    }

    #[test]
    fn reads_and_their_answers_come_back_as_they_went_in((call, reply) in reads_and_reply()) {
        let request = carried(encode_reads(&call));
        prop_assert_eq!(decode_reads(request), Ok(Call::Read(call.clone())));
        let reply = Reply::Read(reply);
        let response = carried(encode_read_answers(reply.clone()).unwrap());
        prop_assert_eq!(decode_read_answers(&call, response), Ok(reply));
    }

    #[test]
    fn questions_and_their_answers_come_back_as_they_went_in(
        keyspace in name(), lock in key(), lease in lease(), wait_ms in 0..=GROUP_LOCK_WAIT_MAX.as_millis() as u64,
        token: Option<u64>, times: [u64; 3],
        listed in prop::collection::vec((lease(), any::<[u64; 3]>()), 0..5), more: bool,
        names in prop::collection::vec((name(), any::<[u64; 2]>(), any::<bool>()), 0..5),
    ) {
        let request = carried(encode_await_lock(&keyspace, &lock, lease, wait_ms));
        prop_assert_eq!(decode_await_lock(request), Ok(Call::AwaitLock { keyspace, lock, lease, wait_ms }));
        let reply = Reply::Lock(token.filter(|&token| token != 0).map(Revision));
        prop_assert_eq!(decode_lock(carried(encode_lock(reply.clone()).unwrap())), reply);
        let [ttl_ms, remaining_ms, places] = times;
        let reply = Reply::Lease(Lease { ttl_ms, remaining_ms, generation: 0, places });
        prop_assert_eq!(decode_lease(carried(encode_lease(reply.clone()).unwrap())), reply);
        let page = listed.into_iter().map(|(id, [ttl_ms, remaining_ms, places])| {
            (id, Lease { ttl_ms, remaining_ms, generation: 0, places })
        });
        let reply = Reply::Leases(LeasePage { leases: page.collect(), more });
        prop_assert_eq!(decode_leases(carried(encode_leases(reply.clone()).unwrap())), Ok(reply));
        let facts = |(name, [keys, bytes], is_strong): (String, [u64; 2], bool)| {
            let consistency = if is_strong { Consistency::Strong } else { Consistency::Eventual };
            KeyspaceFacts { name, consistency, keys, bytes }
        };
        let reply = Reply::Keyspaces(names.into_iter().map(facts).collect());
        prop_assert_eq!(decode_keyspaces(carried(encode_keyspaces(reply.clone()).unwrap())), Ok(reply));
    }

    #[test]
    fn arbitrary_bytes_never_panic_and_never_pass_a_limit(bytes in prop::collection::vec(any::<u8>(), 0..300)) {
        let bytes = bytes.as_slice();
        if let Ok(Call::Submit(submission)) = v1::SubmitRequest::decode(bytes).map_or_else(|_| Ok(Call::Keyspaces), decode_submission) {
            let again = decode_submission(encode_submission(&submission).unwrap());
            prop_assert_eq!(again, Ok(Call::Submit(submission)));
        }
        if let Ok(Call::Read(call)) = v1::ReadRequest::decode(bytes).map_or_else(|_| Ok(Call::Keyspaces), decode_reads) {
            prop_assert_eq!(decode_reads(encode_reads(&call)), Ok(Call::Read(call)));
        }
        // Whether these are refused is for other tests; here they only must not panic.
        drop(v1::AwaitLockRequest::decode(bytes).map(decode_await_lock));
        drop(v1::SubmitResponse::decode(bytes).map(|response| decode_submitted(&Command::Register, response)));
        drop(v1::ListLeasesResponse::decode(bytes).map(decode_leases));
        drop(v1::KeyspacesResponse::decode(bytes).map(decode_keyspaces));
    }
}

#[test]
fn what_a_read_does_not_want_is_not_sent() {
    let key = Key::new(b"a").unwrap();
    let item = Arc::new(Item {
        value: Value::new(b"long").unwrap(),
        flags: 7,
        created: Revision(3),
        modified: Revision(4),
        writes: 2,
        modified_ms: 5,
        until: Until::Elapsed(1500),
    });
    let page = ItemPage { items: vec![(key.clone(), item.clone())], more: true };
    let answers = vec![
        ReadAnswer::Key { key, item: Some(item), metadata_only: true },
        ReadAnswer::Page { page, keys_only: true },
    ];
    let reply = Reply::Read(ReadReply { revision: Revision(9), elapsed_ms: 1000, answers });
    let expected = v1::StrongItem {
        key: Bytes::from_static(b"a"),
        value: Bytes::new(),
        flags: 7,
        version: 4,
        created: 3,
        writes: 2,
        modified_ms: 5,
        ttl_ms: Some(500),
        lease: None,
    };
    let response = encode_read_answers(reply).unwrap();
    assert_eq!(response.revision, 9);
    let [key, page] = <[v1::ReadAnswer; 2]>::try_from(response.answers).unwrap();
    assert_eq!(key.answer, Some(v1::read_answer::Answer::Key(v1::KeyAnswer { item: Some(expected.clone()) })));
    assert_eq!(page.answer, Some(v1::read_answer::Answer::Page(v1::StrongPage { items: vec![expected], more: true })));
}
