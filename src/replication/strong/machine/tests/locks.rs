//! LE-4: one holder at a time, tokens that grow, a line that is kept, and a store that checks tokens itself.

use super::*;

fn acquire(log: &mut Log, name: &str, lease: LeaseId, wait: bool) -> Answer {
    log.run(Command::Acquire { lock: lock(name), lease, value: value(&lease.to_string()), wait })
}

fn release(log: &mut Log, name: &str, lease: LeaseId) -> Answer {
    log.run(Command::Release { lock: lock(name), lease })
}

fn token(answer: Answer) -> Revision {
    match answer {
        Answer::Held { token } => token,
        other => panic!("not held: {other:?}"),
    }
}

/// Who has the lock, and under which token.
fn holder(log: &Log, name: &str) -> Option<(Until, Revision)> {
    let held = log.machine.get(KEYSPACE, Space::Locks, name.as_bytes()).unwrap()?;
    Some((held.until, held.created))
}

#[test]
fn le_4_a_lock_has_one_holder_and_each_holder_a_greater_token() {
    let mut log = Log::new();
    let (a, b) = (log.grant(1000), log.grant(1000));
    let mut last = Revision::ZERO;
    for _ in 0..5 {
        for (ours, other) in [(a, b), (b, a)] {
            let held = token(acquire(&mut log, "l", ours, false));
            assert!(held > last, "{held} after {last}");
            last = held;
            assert_eq!(acquire(&mut log, "l", ours, false), Answer::Held { token: held }, "asked again");
            let refused = Answer::Refused(Refusal::LockHeld { lease: ours, token: held });
            assert_eq!(acquire(&mut log, "l", other, false), refused);
            assert_eq!(release(&mut log, "l", other), Answer::Refused(Refusal::NotHolder { token: held }));
            assert_eq!(release(&mut log, "l", ours), Answer::Released);
            assert_eq!(release(&mut log, "l", ours), Answer::Refused(Refusal::NotHolder { token: Revision::ZERO }));
        }
    }
}

#[test]
fn le_4_an_old_token_is_refused_by_the_store_itself() {
    let mut log = Log::new();
    let (a, b) = (log.grant(1000), log.grant(100_000));
    let guarded = |token| vec![Guard::Holds { lock: key("l"), token }];
    let write = |text: &str| vec![put("guarded", text, Lifetime::Forever)];
    let old = token(acquire(&mut log, "l", a, false));
    assert!(matches!(log.transact(guarded(old), write("a")), Answer::Written { .. }));
    // The holder is paused beyond its lease, and another takes the lock.
    log.pass(1000);
    let due = log.machine.due_leases(log.machine.elapsed_ms(), 1);
    log.run(Command::Expire { term: 1, leases: due });
    let refused = |found| Answer::Refused(Refusal::Guard { guard: 0, found });
    assert_eq!(log.transact(guarded(old), write("late")), refused(Revision::ZERO), "nobody has it");
    let new = token(acquire(&mut log, "l", b, false));
    assert!(matches!(log.transact(guarded(new), write("b")), Answer::Written { .. }));
    assert_eq!(log.transact(guarded(old), write("later")), refused(new));
    assert_eq!(log.transact(guarded(Revision::ZERO), write("never")), refused(new));
    assert_eq!(log.text("guarded"), Some("b".into()));
    release(&mut log, "l", b);
    assert_eq!(log.transact(guarded(Revision::ZERO), write("never")), refused(Revision::ZERO), "0 is no token");
}

#[test]
fn waiting_is_in_the_order_of_asking() {
    let mut log = Log::new();
    let leases: Vec<LeaseId> = (0..4).map(|_| log.grant(1000)).collect();
    let first = token(acquire(&mut log, "l", leases[0], true));
    for (ahead, &lease) in leases[1..].iter().enumerate() {
        assert_eq!(acquire(&mut log, "l", lease, true), Answer::Queued { ahead: ahead as u64 });
    }
    assert_eq!(acquire(&mut log, "l", leases[2], true), Answer::Queued { ahead: 1 }, "asking again keeps the place");
    log.reload();
    assert_eq!(release(&mut log, "l", leases[2]), Answer::Released, "it leaves the line");
    assert_eq!(release(&mut log, "l", leases[0]), Answer::Released);
    let next = holder(&log, "l").unwrap();
    assert_eq!(next.0, Until::Lease(leases[1]));
    assert_eq!(next.1, log.machine.revision(), "at the revision of the release");
    assert!(next.1 > first);
    assert_eq!(acquire(&mut log, "l", leases[1], true), Answer::Held { token: next.1 });
    // The end of a lease hands the lock on as a release does.
    log.run(Command::Revoke { lease: leases[1] });
    assert_eq!(holder(&log, "l").unwrap().0, Until::Lease(leases[3]));
    log.run(Command::Revoke { lease: leases[3] });
    assert_eq!(holder(&log, "l"), None);
}

#[test]
fn who_waits_and_loses_its_lease_is_passed_over() {
    let mut log = Log::new();
    let leases: Vec<LeaseId> = (0..3).map(|_| log.grant(1000)).collect();
    leases.iter().for_each(|&lease| drop(acquire(&mut log, "l", lease, true)));
    log.run(Command::Revoke { lease: leases[1] });
    release(&mut log, "l", leases[0]);
    assert_eq!(holder(&log, "l").unwrap().0, Until::Lease(leases[2]));
}

#[test]
fn the_line_is_bounded_and_a_lease_must_be_there() {
    let mut log = Log::with(Bounds { lock_waiters: 1, ..Bounds::default() });
    let leases: Vec<LeaseId> = (0..3).map(|_| log.grant(1000)).collect();
    acquire(&mut log, "l", leases[0], true);
    assert_eq!(acquire(&mut log, "l", leases[1], true), Answer::Queued { ahead: 0 });
    assert_eq!(acquire(&mut log, "l", leases[2], true), Answer::Refused(Refusal::Full));
    let lease = LeaseId(99);
    assert_eq!(acquire(&mut log, "l", lease, true), Answer::Refused(Refusal::UnknownLease { lease }));
}

#[test]
fn an_election_is_a_lock_that_shows_what_its_holder_proclaims() {
    let mut log = Log::new();
    let (a, b) = (log.grant(1000), log.grant(1000));
    let shown = |log: &Log| {
        let held = log.machine.get(KEYSPACE, Space::Locks, b"leader").unwrap().unwrap();
        (String::from_utf8(held.value.to_vec()).unwrap(), held.created)
    };
    let begun = log.machine.revision();
    let first = token(acquire(&mut log, "leader", a, true));
    acquire(&mut log, "leader", b, true);
    let proclaim = |token, text: &str| Command::Proclaim { lock: lock("leader"), token, value: value(text) };
    assert!(matches!(log.run(proclaim(first, "here")), Answer::Proclaimed { .. }));
    assert_eq!(shown(&log), ("here".into(), first), "the token stays");
    release(&mut log, "leader", a);
    let (text, second) = shown(&log);
    assert_eq!(text, b.to_string());
    assert_eq!(log.run(proclaim(first, "late")), Answer::Refused(Refusal::NotHolder { token: second }));
    let told = log.changes(Space::Locks, begun).unwrap();
    let leaders: Vec<_> = told.transactions.iter().map(|told| told.changes[0].state.live().unwrap().created).collect();
    assert_eq!(leaders, [first, first, second], "watchers see each change of leadership, and no moment without");
}

#[test]
fn locks_and_keys_of_one_name_are_apart() {
    let mut log = Log::new();
    let lease = log.grant(1000);
    log.put("l", "mine");
    let held = token(acquire(&mut log, "l", lease, false));
    log.written(vec![delete("l")]);
    assert_eq!(holder(&log, "l"), Some((Until::Lease(lease), held)));
}
