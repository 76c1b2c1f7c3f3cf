//! Entries, answers and pieces come back as they went in, have one form only, and no bytes make a decoder panic.

use proptest::prelude::*;

use super::{super::snapshot::Piece, *};
use crate::storage::codec::{decode, Stored};

fn a_key() -> impl Strategy<Value = Key> {
    prop::collection::vec(any::<u8>(), 1..40).prop_map(|bytes| Key::new(&bytes).unwrap())
}

fn a_value() -> impl Strategy<Value = Value> {
    prop::collection::vec(any::<u8>(), 0..40).prop_map(|bytes| Value::new(&bytes).unwrap())
}

fn lifetime() -> impl Strategy<Value = Lifetime> {
    let ttl = any::<u64>().prop_map(Lifetime::Ttl);
    prop_oneof![Just(Lifetime::Forever), ttl, any::<u64>().prop_map(|lease| Lifetime::Lease(LeaseId(lease)))]
}

fn operation() -> impl Strategy<Value = Operation> {
    let put = (a_value(), any::<u32>(), lifetime());
    let increment = (any::<i64>(), any::<i64>(), lifetime());
    let kind = prop_oneof![
        put.prop_map(|(value, flags, lifetime)| OperationKind::Put { value, flags, lifetime }),
        Just(OperationKind::Delete),
        lifetime().prop_map(|lifetime| OperationKind::Touch { lifetime }),
        increment.prop_map(|(by, initial, lifetime)| OperationKind::Increment { by, initial, lifetime }),
    ];
    (a_key(), kind).prop_map(|(key, kind)| Operation { key, kind })
}

fn guard() -> impl Strategy<Value = Guard> {
    (0u8..4, a_key(), any::<u64>()).prop_map(|(kind, key, revision)| match kind {
        0 => Guard::Version { key, version: Revision(revision) },
        1 => Guard::Absent { key },
        2 => Guard::Present { key },
        _ => Guard::Holds { lock: key, token: Revision(revision) },
    })
}

fn lock_name() -> impl Strategy<Value = LockName> {
    (any::<u64>(), a_key()).prop_map(|(keyspace, name)| LockName { keyspace: KeyspaceId(keyspace), name })
}

fn command() -> impl Strategy<Value = Command> {
    let lease = || any::<u64>().prop_map(LeaseId);
    let seen = (lease(), any::<u64>()).prop_map(|(lease, generation)| SeenLease { lease, generation });
    let lists = (prop::collection::vec(guard(), 0..4), prop::collection::vec(operation(), 0..4));
    prop_oneof![
        Just(Command::Register),
        (any::<u64>(), lists).prop_map(|(keyspace, (guards, operations))| Command::Transact(Transaction {
            keyspace: KeyspaceId(keyspace),
            guards,
            operations
        })),
        any::<u64>().prop_map(|ttl_ms| Command::Grant { ttl_ms }),
        lease().prop_map(|lease| Command::KeepAlive { lease }),
        lease().prop_map(|lease| Command::Revoke { lease }),
        (any::<u64>(), prop::collection::vec(seen, 0..4)).prop_map(|(term, leases)| Command::Expire { term, leases }),
        (lock_name(), lease(), a_value(), any::<bool>()).prop_map(|(lock, lease, value, wait)| Command::Acquire {
            lock,
            lease,
            value,
            wait
        }),
        (lock_name(), lease()).prop_map(|(lock, lease)| Command::Release { lock, lease }),
        (lock_name(), any::<u64>(), a_value()).prop_map(|(lock, token, value)| Command::Proclaim {
            lock,
            token: Revision(token),
            value
        }),
        "[a-z]{0,64}".prop_map(|name| Command::CreateKeyspace { name }),
        ("[a-z]{0,64}", any::<u64>(), any::<u64>()).prop_map(|(name, group, keep_conflicts)| Command::CreateEventual {
            name,
            group,
            keep_conflicts
        }),
        any::<u64>().prop_map(|keyspace| Command::DropKeyspace { keyspace: KeyspaceId(keyspace) }),
        any::<u64>().prop_map(|revision| Command::Compact { revision: Revision(revision) }),
        any::<(u64, u64, u64)>().prop_map(|(changes, bytes, age_ms)| Command::Retain(HistoryBounds {
            changes,
            bytes,
            age_ms
        })),
        any::<u64>().prop_map(|first| Command::Begin(Revision(first))),
    ]
}

fn entry() -> impl Strategy<Value = Entry> {
    let id = (any::<u64>(), any::<u64>()).prop_map(|(client, number)| RequestId { client: ClientId(client), number });
    let request = (prop::option::of(id), command()).prop_map(|(id, command)| Request { id, command });
    (any::<u64>(), prop::collection::vec(request, 0..4)).prop_map(|(time_ms, requests)| Entry { time_ms, requests })
}

fn refusal() -> impl Strategy<Value = Refusal> {
    (0u8..17, any::<u64>(), any::<u64>()).prop_map(|(kind, a, b)| match kind {
        0 => Refusal::Guard { guard: a, found: Revision(b) },
        1 => Refusal::NotAnInteger { operation: a },
        2 => Refusal::Overflow { operation: a },
        3 => Refusal::UnknownLease { lease: LeaseId(a) },
        4 => Refusal::LeaseFull { lease: LeaseId(a) },
        5 => Refusal::BadTtl,
        6 => Refusal::LockHeld { lease: LeaseId(a), token: Revision(b) },
        7 => Refusal::NotHolder { token: Revision(a) },
        8 => Refusal::FormerLeader { term: a },
        9 => Refusal::UnknownKeyspace { keyspace: KeyspaceId(a) },
        10 => Refusal::KeyspaceExists { keyspace: KeyspaceId(a) },
        11 => Refusal::BadName,
        12 => Refusal::TooLarge,
        13 => Refusal::Full,
        14 => Refusal::FutureRevision { revision: Revision(a) },
        15 => Refusal::UnknownClient { client: ClientId(a) },
        _ => Refusal::AnswerForgotten { floor: a },
    })
}

fn answer() -> impl Strategy<Value = Answer> {
    let outcome = (any::<bool>(), prop::option::of(any::<i64>()));
    let outcomes = prop::collection::vec(outcome.prop_map(|(existed, number)| Outcome { existed, number }), 0..5);
    let plain = (0u8..11, any::<u64>(), any::<u64>(), any::<u64>()).prop_map(|(kind, a, b, c)| match kind {
        0 => Answer::Registered(ClientId(a)),
        1 => Answer::Leased { lease: LeaseId(a), generation: b, ttl_ms: c },
        2 => Answer::Revoked,
        3 => Answer::Expired(a),
        4 => Answer::Held { token: Revision(a) },
        5 => Answer::Queued { ahead: a },
        6 => Answer::Released,
        7 => Answer::Proclaimed { revision: Revision(a) },
        8 => Answer::Created(KeyspaceId(a)),
        9 => Answer::Dropped,
        _ => Answer::Compacted,
    });
    let written = (prop::option::of(any::<u64>()), outcomes)
        .prop_map(|(revision, outcomes)| Answer::Written { revision: revision.map(Revision), outcomes });
    prop_oneof![plain, written, refusal().prop_map(Answer::Refused)]
}

fn encoded(stored: &impl Stored) -> Vec<u8> {
    let mut bytes = Vec::new();
    stored.put(&mut bytes);
    bytes
}

/// Reads the bytes; what is read has these bytes and no others.
fn has_one_form<T: Stored>(bytes: &[u8]) {
    if let Ok(read) = decode::<T>("it", bytes) {
        assert_eq!(encoded(&read), bytes);
    }
}

proptest! {
    #[test]
    fn an_entry_comes_back_and_none_of_its_beginnings_does(entry in entry()) {
        let bytes = encoded(&entry);
        prop_assert!(bytes.len() >= Entry::BYTES_LEAST);
        prop_assert_eq!(decode::<Entry>("entry", &bytes), Ok(entry));
        for length in 0..bytes.len() {
            prop_assert!(decode::<Entry>("entry", &bytes[..length]).is_err());
        }
    }

    #[test]
    fn an_answer_comes_back_and_none_of_its_beginnings_does(answer in answer()) {
        let bytes = encoded(&answer);
        prop_assert_eq!(decode::<Answer>("answer", &bytes), Ok(answer));
        for length in 0..bytes.len() {
            prop_assert!(decode::<Answer>("answer", &bytes[..length]).is_err());
        }
    }

    #[test]
    fn any_bytes_are_read_or_refused(kind in 0u8..20, mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        has_one_form::<Entry>(&bytes);
        has_one_form::<Answer>(&bytes);
        bytes.insert(0, kind);
        has_one_form::<Answer>(&bytes);
        has_one_form::<Command>(&bytes);
        has_one_form::<Piece>(&bytes);
    }

    /// Also bytes with the right checks, as a faulty writer would make them.
    #[test]
    fn pieces_in_any_order_make_a_machine_or_an_error(
        order in prop::collection::vec((0usize..60, 0usize..40, any::<u8>()), 0..4),
    ) {
        let pieces = super::snapshots::shuffled(&order);
        if let Ok(machine) = super::snapshots::of_pieces(&pieces) {
            prop_assert!(reload(&machine) == machine);
        }
    }

    #[test]
    fn every_refusal_says_whether_the_request_may_have_happened(refusal in refusal()) {
        let error = crate::Error::from(refusal);
        prop_assert_eq!(error.is_maybe_applied(), refusal.is_maybe_applied());
        prop_assert!(!error.message().is_empty());
    }
}

/// Changing these bytes needs a new version of the log.
#[test]
fn golden_bytes() {
    let id = Some(RequestId { client: ClientId(3), number: 200 });
    let guards = vec![Guard::Version { key: key("k"), version: Revision(5) }];
    let operations = vec![put("k", "ada", Lifetime::Ttl(300)), increment("n", -1)];
    let retain = Command::Retain(HistoryBounds { changes: 300, bytes: 5, age_ms: 6 });
    let begin = Command::Begin(Revision(300));
    let commands = [transaction(guards, operations), Command::KeepAlive { lease: LeaseId(4) }, retain, begin];
    let entry = Entry { time_ms: 0x0102, requests: commands.map(|command| Request { id, command }).to_vec() };
    let wanted = concat!(
        "0201000000000000",                         // what the clock showed
        "04",                                       // requests
        "0103c801",                                 // client 3, request 200
        "0201",                                     // a transaction in keyspace 1
        "0101016b05",                               // one guard: "k" has version 5
        "02",                                       // operations
        "016b01036164610001ac02",                   // "k": put "ada", no flags, 300 ms
        "016e04ffffffffffffffff000000000000000000", // "n": add -1, from 0, for ever
        "0103c8010404",                             // the same id, keep alive lease 4
        "0103c8010eac020506",                       // the same id, retain 300 changes, 5 bytes, 6 ms
        "0103c8010fac02",                           // the same id, begin at revision 300
    );
    let hex = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    assert_eq!(hex(&encoded(&entry)), wanted);
}
