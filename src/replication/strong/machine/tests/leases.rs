//! LE-1 to LE-3: a lease lasts as long as promised, through changes of leaders, and no former leader ends it.

use proptest::prelude::*;

use super::*;

fn keep_alive(log: &mut Log, lease: LeaseId) -> Answer {
    log.run(Command::KeepAlive { lease })
}

/// What the leader of `term` proposes who sees what `log` says now.
fn seen(log: &Log, lease: LeaseId) -> SeenLease {
    SeenLease { lease, generation: log.machine.lease(lease).expect("it is there").generation }
}

fn expire(log: &mut Log, term: u64, seen: SeenLease) -> Answer {
    log.run(Command::Expire { term, leases: vec![seen] })
}

fn remaining_ms(log: &Log, lease: LeaseId) -> Option<u64> {
    log.machine.lease(lease).map(|lease| lease.remaining_ms)
}

#[test]
fn le_1_a_lease_is_not_ended_before_its_time() {
    let mut log = Log::new();
    let lease = log.grant(1000);
    let decided = seen(&log, lease);
    log.pass(999);
    assert_eq!(expire(&mut log, 1, decided), Answer::Expired(0));
    assert_eq!(log.machine.due_leases(log.machine.elapsed_ms(), 10), []);
    log.pass(1);
    assert_eq!(log.machine.due_leases(log.machine.elapsed_ms(), 10), [decided]);
    assert_eq!(expire(&mut log, 1, decided), Answer::Expired(1));
    assert_eq!(keep_alive(&mut log, lease), Answer::Refused(Refusal::UnknownLease { lease }));
}

#[test]
fn le_2_what_was_decided_before_a_keep_alive_ends_nothing() {
    let mut log = Log::new();
    let lease = log.grant(1000);
    let decided = seen(&log, lease);
    log.pass(1500);
    assert_eq!(keep_alive(&mut log, lease), Answer::Leased { lease, generation: 1, ttl_ms: 1000 });
    log.pass(1500);
    assert_eq!(expire(&mut log, 1, decided), Answer::Expired(0), "its generation has passed");
    let decided = seen(&log, lease);
    assert_eq!(expire(&mut log, 1, decided), Answer::Expired(1));
}

#[test]
fn le_2_a_former_leader_ends_nothing() {
    let mut log = Log::new();
    let lease = log.grant(1000);
    log.pass(2000);
    let decided = seen(&log, lease);
    log.elect(500);
    assert_eq!(expire(&mut log, 1, decided), Answer::Refused(Refusal::FormerLeader { term: 1 }));
    assert_eq!(remaining_ms(&log, lease), Some(0));
    assert_eq!(expire(&mut log, 2, decided), Answer::Expired(1), "the present one may");
}

#[test]
fn le_2_a_lease_that_was_revoked_is_not_renewed_and_its_id_not_used_again() {
    let mut log = Log::new();
    let lease = log.grant(1000);
    log.written(vec![put("a", "1", Lifetime::Lease(lease)), put("b", "1", Lifetime::Forever)]);
    assert_eq!(log.run(Command::Revoke { lease }), Answer::Revoked);
    assert_eq!((log.text("a"), log.text("b")), (None, Some("1".into())));
    let unknown = Answer::Refused(Refusal::UnknownLease { lease });
    assert_eq!(keep_alive(&mut log, lease), unknown);
    assert_eq!(log.run(Command::Revoke { lease }), unknown);
    assert_eq!(log.transact(Vec::new(), vec![put("a", "2", Lifetime::Lease(lease))]), unknown);
    assert!(log.grant(1000) > lease);
}

#[test]
fn le_3_the_remaining_time_survives_a_change_of_leader() {
    for clock_ms in [0, 1_000_700, 99_000_000] {
        let mut log = Log::new();
        let lease = log.grant(1000);
        log.written(vec![put("ttl", "1", Lifetime::Ttl(1000))]);
        log.pass(700);
        log.elect(clock_ms);
        assert_eq!(remaining_ms(&log, lease), Some(300), "neither shorter nor from the start again");
        let decided = seen(&log, lease);
        assert_eq!(expire(&mut log, 2, decided), Answer::Expired(0));
        log.pass(299);
        assert_eq!((remaining_ms(&log, lease), log.text("ttl")), (Some(1), Some("1".into())));
        assert_eq!(expire(&mut log, 2, decided), Answer::Expired(0));
        log.pass(1);
        assert_eq!((remaining_ms(&log, lease), log.text("ttl")), (Some(0), None));
        assert_eq!(expire(&mut log, 2, decided), Answer::Expired(1));
    }
}

#[test]
fn le_3_the_remaining_time_survives_a_snapshot() {
    let mut log = Log::new();
    let lease = log.grant(1000);
    log.pass(400);
    log.reload();
    assert_eq!(remaining_ms(&log, lease), Some(600));
    log.pass(10);
    assert_eq!(remaining_ms(&log, lease), Some(590));
}

#[test]
fn all_that_hangs_on_a_lease_ends_at_one_revision() {
    let mut log = Log::new();
    assert_eq!(log.run(Command::CreateKeyspace { name: "second".into() }), Answer::Created(KeyspaceId(2)));
    let lease = log.grant(1000);
    log.written(vec![put("a", "1", Lifetime::Lease(lease)), put("b", "1", Lifetime::Lease(lease))]);
    let elsewhere = vec![put("c", "1", Lifetime::Lease(lease))];
    log.run(Command::Transact(Transaction { keyspace: KeyspaceId(2), guards: Vec::new(), operations: elsewhere }));
    log.written(vec![put("b", "2", Lifetime::Forever)]);
    let before = log.machine.revision();
    log.pass(1000);
    let decided = seen(&log, lease);
    assert_eq!(expire(&mut log, 1, decided), Answer::Expired(1));
    assert_eq!(log.machine.revision(), before.next());
    assert_eq!((log.text("a"), log.text("b")), (None, Some("2".into())), "b does not hang on it any more");
    assert_eq!(log.machine.get(KeyspaceId(2), Space::Data, b"c"), Ok(None));
    let told = log.changes(Space::Data, before).unwrap();
    assert_eq!(told.transactions[0].changes[0].state, VersionState::Expired);
}

#[test]
fn keys_end_by_themselves_once_their_time_is_over() {
    let mut log = Log::new();
    log.written(vec![put("a", "1", Lifetime::Ttl(100)), put("b", "1", Lifetime::Ttl(200))]);
    assert_eq!(log.machine.next_deadline_ms(), Some(log.machine.elapsed_ms() + 100));
    log.pass(99);
    assert_eq!(log.text("a"), Some("1".into()));
    log.time_ms += 1;
    // The entry that shows the time sees the key gone already: a condition on it holds.
    let answer = log.transact(vec![Guard::Absent { key: key("a") }], vec![put("a", "2", Lifetime::Forever)]);
    assert!(matches!(answer, Answer::Written { revision: Some(_), .. }), "{answer:?}");
    log.written(vec![Operation { key: key("b"), kind: OperationKind::Touch { lifetime: Lifetime::Forever } }]);
    log.pass(10_000);
    assert_eq!((log.text("a"), log.text("b")), (Some("2".into()), Some("1".into())));
    assert_eq!(log.machine.next_deadline_ms(), None);
}

#[test]
fn one_entry_ends_a_bounded_number_of_keys() {
    let mut log = Log::new();
    let many = EXPIRED_KEYS_PER_ENTRY + 1;
    log.written((0..many).map(|at| put(&format!("{at:05}"), "1", Lifetime::Ttl(1))).collect());
    let before = log.machine.revision();
    log.pass(1);
    assert_eq!(log.machine.size(), (1, 6));
    log.pass(0);
    assert_eq!(log.machine.size(), (0, 0));
    assert_eq!(log.machine.revision().0, before.0 + 2);
}

#[test]
fn leases_and_what_hangs_on_them_are_bounded() {
    let mut log = Log::with(Bounds { leases: 2, lease_keys: 3, ..Bounds::default() });
    let lease = log.grant(1000);
    log.grant(1000);
    assert_eq!(log.run(Command::Grant { ttl_ms: 1 }), Answer::Refused(Refusal::Full));
    assert_eq!(log.run(Command::Grant { ttl_ms: 0 }), Answer::Refused(Refusal::BadTtl));
    let on_lease = |name| put(name, "1", Lifetime::Lease(lease));
    log.written(vec![on_lease("a"), on_lease("b")]);
    let full = Answer::Refused(Refusal::LeaseFull { lease });
    assert_eq!(log.transact(Vec::new(), vec![on_lease("c"), on_lease("d")]), full);
    assert_eq!(log.text("c"), None);
    log.written(vec![on_lease("a"), on_lease("b"), on_lease("c")]);
    let acquire = Command::Acquire { lock: lock("l"), lease, value: value(""), wait: true };
    assert_eq!(log.run(acquire), full);
    let many = vec![SeenLease { lease, generation: 0 }; crate::limits::LEASES_PER_EXPIRY_MAX + 1];
    assert_eq!(log.run(Command::Expire { term: 1, leases: many }), Answer::Refused(Refusal::TooLarge));
}

proptest! {
    /// LE-1, LE-3: whatever the clocks of the leaders show, a lease that was not revoked outlives its time to live, counted
    /// from its last renewal by the leaders under which it passed.
    #[test]
    fn le_1_no_clock_shortens_a_lease(
        steps in prop::collection::vec((any::<bool>(), 0u64..1_000_000, 0u64..120, any::<bool>()), 1..80),
    ) {
        let mut log = Log::new();
        let (lease, mut lived_ms) = (log.grant(300), 0);
        for (elects, clock_ms, passes_ms, renews) in steps {
            if elects {
                log.elect(clock_ms);
            }
            log.pass(passes_ms);
            lived_ms += passes_ms;
            let (term, due) = (log.at.term, log.machine.due_leases(u64::MAX, 10));
            let answer = log.run(Command::Expire { term, leases: due });
            prop_assert_eq!(answer, Answer::Expired(u64::from(lived_ms >= 300)));
            if lived_ms >= 300 {
                break;
            }
            if renews {
                keep_alive(&mut log, lease);
                lived_ms = 0;
            }
        }
    }
}

#[test]
fn leases_are_listed_in_pages_by_age_without_those_that_have_ended() {
    let mut log = Log::new();
    let granted: Vec<LeaseId> = (1..=5).map(|seconds| log.grant(seconds * 1000)).collect();
    assert_eq!(log.run(Command::Revoke { lease: granted[2] }), Answer::Revoked);
    log.pass(500);
    let listed = |after: usize, most: usize| {
        let page = log.machine.leases_after(LeaseId(after as u64), most);
        for (id, lease) in &page.leases {
            assert_eq!(Some(*lease), log.machine.lease(*id));
        }
        (page.leases.into_iter().map(|(id, _)| id).collect::<Vec<_>>(), page.more)
    };
    let first = usize::try_from(granted[0].0).unwrap();
    assert_eq!(listed(0, 2), (granted[..2].to_vec(), true));
    assert_eq!(listed(first + 1, 2), (granted[3..].to_vec(), false), "the third has ended");
    assert_eq!(listed(0, 4), ([&granted[..2], &granted[3..]].concat(), false));
    assert!(listed(0, 3).1);
    assert_eq!(listed(first + 4, 2), (Vec::new(), false));
}
