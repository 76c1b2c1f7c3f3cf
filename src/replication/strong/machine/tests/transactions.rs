//! ST-2 to ST-4: all or nothing, at one revision, and what each kind of operation does.

use super::*;
use crate::limits::{TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX, TTL_MS_MAX, VALUE_BYTES_MAX};

fn item(log: &Log, name: &str) -> Item {
    Item::clone(log.machine.get(KEYSPACE, Space::Data, name.as_bytes()).unwrap().unwrap())
}

fn written(revision: u64, outcomes: &[(bool, Option<i64>)]) -> Answer {
    let outcomes = outcomes.iter().map(|&(existed, number)| Outcome { existed, number }).collect();
    Answer::Written { revision: Some(Revision(revision)).filter(|revision| revision.0 > 0), outcomes }
}

#[test]
fn a_key_says_when_it_was_made_when_it_was_written_and_how_often() {
    let mut log = Log::new();
    log.put("other", "");
    for _ in 0..3 {
        log.put("a", "x");
    }
    let found = item(&log, "a");
    assert_eq!((found.created, found.modified, found.writes), (Revision(2), Revision(4), 3));
    log.written(vec![delete("a")]);
    log.put("a", "y");
    let found = item(&log, "a");
    assert_eq!((found.created, found.modified, found.writes), (Revision(6), Revision(6), 1));
    assert_eq!(found.modified_ms, log.time_ms);
}

#[test]
fn st_2_4_one_guard_that_fails_stops_all() {
    let mut log = Log::new();
    log.put("a", "1");
    let version = |version| Guard::Version { key: key("a"), version };
    let write = || vec![put("b", "2", Lifetime::Forever), delete("a")];
    for (guards, guard, found) in [
        (vec![version(Revision(2))], 0, Revision(1)),
        (vec![version(Revision::ZERO)], 0, Revision(1)),
        (vec![version(Revision(1)), Guard::Absent { key: key("a") }], 1, Revision(1)),
        (vec![Guard::Present { key: key("b") }], 0, Revision::ZERO),
        (vec![Guard::Version { key: key("b"), version: Revision::ZERO }], 0, Revision::ZERO),
    ] {
        let before = log.machine.state_hash();
        assert_eq!(log.transact(guards, write()), Answer::Refused(Refusal::Guard { guard, found }));
        assert_eq!((log.text("a"), log.text("b")), (Some("1".into()), None));
        assert_eq!(log.machine.revision(), Revision(1));
        assert_ne!(before, log.machine.state_hash(), "the log has grown all the same");
    }
    let guards = vec![version(Revision(1)), Guard::Absent { key: key("b") }, Guard::Present { key: key("a") }];
    assert_eq!(log.transact(guards, write()), written(2, &[(false, None), (true, None)]));
    assert_eq!((log.text("a"), log.text("b")), (None, Some("2".into())));
}

#[test]
fn st_4_one_operation_that_fails_undoes_those_before_it() {
    let mut log = Log::new();
    log.put("text", "no number");
    let operations = vec![put("a", "1", Lifetime::Forever), increment("text", 1)];
    assert_eq!(log.transact(Vec::new(), operations), Answer::Refused(Refusal::NotAnInteger { operation: 1 }));
    let operations = vec![increment("n", i64::MAX), increment("n", 1)];
    assert_eq!(log.transact(Vec::new(), operations), Answer::Refused(Refusal::Overflow { operation: 1 }));
    let operations = vec![put("a", "1", Lifetime::Ttl(TTL_MS_MAX + 1))];
    assert_eq!(log.transact(Vec::new(), operations), Answer::Refused(Refusal::BadTtl));
    assert_eq!((log.text("a"), log.machine.revision()), (None, Revision(1)));
}

#[test]
fn operations_see_those_before_them_and_a_key_changes_once() {
    let mut log = Log::new();
    let operations = vec![increment("n", 5), increment("n", -2), put("a", "1", Lifetime::Forever), delete("a")];
    let outcomes = [(false, Some(5)), (true, Some(3)), (false, None), (true, None)];
    assert_eq!(log.transact(Vec::new(), operations), written(1, &outcomes));
    assert_eq!((item(&log, "n").writes, log.text("a")), (1, None));
    let told = log.changes(Space::Data, Revision::ZERO).unwrap();
    assert_eq!(told.transactions[0].changes.len(), 1, "a came and went within it");
    let operations = vec![delete("n"), increment("n", 1)];
    assert_eq!(log.transact(Vec::new(), operations), written(2, &[(true, None), (false, Some(1))]));
    assert_eq!((item(&log, "n").created, item(&log, "n").writes), (Revision(2), 1), "it was deleted in between");
}

#[test]
fn what_changes_nothing_takes_no_revision() {
    let mut log = Log::new();
    let touch = Operation { key: key("a"), kind: OperationKind::Touch { lifetime: Lifetime::Forever } };
    assert_eq!(log.transact(Vec::new(), vec![delete("a"), touch]), written(0, &[(false, None), (false, None)]));
    assert_eq!(log.transact(Vec::new(), Vec::new()), written(0, &[]));
    assert_eq!(log.machine.revision(), Revision::ZERO);
}

#[test]
fn a_touch_is_a_write_and_an_increment_keeps_the_lifetime() {
    let mut log = Log::new();
    log.written(vec![put("n", "1", Lifetime::Ttl(500))]);
    log.written(vec![Operation { key: key("n"), kind: OperationKind::Touch { lifetime: Lifetime::Ttl(900) } }]);
    let found = item(&log, "n");
    assert_eq!((found.modified, found.writes, found.value.to_vec()), (Revision(2), 2, b"1".to_vec()));
    assert_eq!(found.until, Until::Elapsed(log.machine.elapsed_ms() + 900));
    let kind = OperationKind::Increment { by: 1, initial: 10, lifetime: Lifetime::Ttl(700) };
    let count = || Operation { key: key("count"), kind: kind.clone() };
    assert_eq!(log.transact(Vec::new(), vec![count()]), written(3, &[(false, Some(11))]));
    log.pass(300);
    assert_eq!(log.transact(Vec::new(), vec![count()]), written(4, &[(true, Some(12))]));
    assert_eq!(item(&log, "count").until, Until::Elapsed(log.machine.elapsed_ms() + 400));
    assert_eq!((item(&log, "count").flags, item(&log, "count").value.to_vec()), (2, 12i64.to_le_bytes().to_vec()));
}

#[test]
fn a_transaction_is_bounded_on_both_sides_of_its_edges() {
    let mut log = Log::new();
    let deletes = |count: usize| (0..count).map(|at| delete(&at.to_string())).collect::<Vec<_>>();
    let full = log.transact(Vec::new(), deletes(TRANSACTION_OPERATIONS_MAX));
    assert!(matches!(full, Answer::Written { revision: None, .. }));
    let guard = vec![Guard::Absent { key: key("a") }];
    let too_large = Answer::Refused(Refusal::TooLarge);
    assert_eq!(log.transact(guard, deletes(TRANSACTION_OPERATIONS_MAX)), too_large);
    let megabyte = "x".repeat(VALUE_BYTES_MAX);
    let mut large: Vec<_> = ["a", "b", "c"].iter().map(|name| put(name, &megabyte, Lifetime::Forever)).collect();
    let room = TRANSACTION_BYTES_MAX - 3 * (VALUE_BYTES_MAX + 1);
    large.push(put("d", &megabyte[..room - 1], Lifetime::Forever));
    assert!(matches!(log.transact(Vec::new(), large.clone()), Answer::Written { revision: Some(_), .. }));
    assert_eq!(log.transact(vec![Guard::Absent { key: key("z") }], large), too_large);
}

#[test]
fn keyspaces_are_apart_and_their_ids_are_never_used_again() {
    let mut log = Log::new();
    let create = |name: &str| Command::CreateKeyspace { name: name.into() };
    assert_eq!(log.run(create("first")), Answer::Refused(Refusal::KeyspaceExists { keyspace: KEYSPACE }));
    assert_eq!(log.run(create("second")), Answer::Created(KeyspaceId(2)));
    let lease = log.grant(1000);
    let there = |operations| Command::Transact(Transaction { keyspace: KeyspaceId(2), guards: Vec::new(), operations });
    let both = || vec![put("a", "there", Lifetime::Ttl(50)), put("b", "there", Lifetime::Lease(lease))];
    log.put("a", "here");
    assert!(matches!(log.run(there(both())), Answer::Written { revision: Some(_), .. }));
    assert_eq!(log.text("a"), Some("here".into()));
    let other = LockName { keyspace: KeyspaceId(2), name: key("l") };
    log.run(Command::Acquire { lock: other, lease, value: value(""), wait: true });
    assert_eq!(log.machine.lease(lease).unwrap().places, 2);
    assert_eq!(log.run(Command::DropKeyspace { keyspace: KeyspaceId(2) }), Answer::Dropped);
    assert_eq!((log.machine.lease(lease).unwrap().places, log.machine.next_deadline_ms()), (0, Some(1000)));
    let gone = Refusal::UnknownKeyspace { keyspace: KeyspaceId(2) };
    assert_eq!(log.run(there(both())), Answer::Refused(gone));
    assert_eq!(log.run(Command::DropKeyspace { keyspace: KeyspaceId(2) }), Answer::Refused(gone));
    assert_eq!(log.run(create("second")), Answer::Created(KeyspaceId(3)));
    assert_eq!(log.run(there(both())), Answer::Refused(gone), "what was meant for the old one does not meet the new");
    log.reload();
    log.run(Command::DropKeyspace { keyspace: KeyspaceId(3) });
    log.reload();
    assert_eq!(log.run(create("third")), Answer::Created(KeyspaceId(4)));
    log.run(Command::Revoke { lease });
    assert_eq!(log.text("a"), Some("here".into()));
}

#[test]
fn keyspaces_and_their_names_are_bounded() {
    let mut log = Log::with(Bounds { keyspaces: 2, ..Bounds::default() });
    let mut create = |name: &str| log.run(Command::CreateKeyspace { name: name.into() });
    let longest = crate::limits::KEYSPACE_NAME_BYTES_MAX;
    assert_eq!(create(""), Answer::Refused(Refusal::BadName));
    assert_eq!(create(&"x".repeat(longest + 1)), Answer::Refused(Refusal::BadName));
    assert_eq!(create(&"x".repeat(longest)), Answer::Created(KeyspaceId(2)));
    assert_eq!(create("third"), Answer::Refused(Refusal::Full));
}

#[test]
fn pages_of_a_range_go_both_ways_and_end_where_they_should() {
    let mut log = Log::new();
    log.written(["a", "b", "c", "d"].iter().map(|name| put(name, "12345", Lifetime::Forever)).collect());
    log.written(vec![delete("b")]);
    let page = |reverse, keys_max, bytes_target, revision| {
        let range = KeyRange { prefix: Vec::new(), start: None, end: Some(b"d".to_vec()) };
        let request = PageRequest { range, reverse, keys_max, bytes_target };
        let page = log.machine.page_at(KEYSPACE, Space::Data, &request, Revision(revision)).unwrap();
        let names: String = page.items.iter().map(|(key, _)| char::from(key[0])).collect();
        (names, page.more)
    };
    assert_eq!(page(false, 9, 999, 1), ("abc".into(), false));
    assert_eq!(page(false, 9, 999, 2), ("ac".into(), false));
    assert_eq!(page(true, 2, 999, 1), ("cb".into(), true));
    assert_eq!(page(true, 2, 999, 2), ("ca".into(), false));
    assert_eq!(page(false, 9, 6, 2), ("a".into(), true));
    let future = ReadError::Future { asked: Revision(3), revision: Revision(2) };
    assert_eq!(log.machine.get_at(KEYSPACE, Space::Data, b"a", Revision(3)), Err(future));
}

#[test]
#[should_panic(expected = "entry 1-1 after 1-1")]
fn an_entry_is_not_applied_again() {
    let mut log = Log::new();
    log.machine.apply(LogPosition { term: 1, index: 1 }, &Entry::default());
}

#[test]
fn the_first_entry_of_a_log_may_be_at_0() {
    let mut machine = Machine::default();
    assert_eq!(machine.applied(), None);
    let first = LogPosition { term: 0, index: 0 };
    machine.pass(first);
    assert_eq!((machine.applied(), reload(&machine).applied()), (Some(first), Some(first)));
}

#[test]
fn entries_of_others_are_passed_over() {
    let mut log = Log::new();
    log.at.index += 1;
    log.machine.pass(log.at);
    assert_eq!(log.machine.applied(), Some(log.at));
    log.put("a", "1");
    assert_eq!(log.machine.applied().map(|at| at.index), Some(3));
}
