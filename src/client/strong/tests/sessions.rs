//! Registration, numbers, revisions, reads in parts, and what bounds a session.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio::task::JoinSet;

use super::*;
use crate::limits::{CLIENT_ANSWERS_MAX, STRONG_CALLS_MAX, STRONG_LOCK_WAITS_MAX, STRONG_UNDER_WAY_MAX};

fn numbers(group: &FakeGroup) -> Vec<(u64, u64)> {
    group.submissions().iter().filter_map(|change| change.id).map(|id| (id.client.0, id.number)).collect()
}

#[tokio::test(start_paused = true)]
async fn the_first_changes_register_once_and_every_change_has_a_number_of_its_own() {
    let group = FakeGroup::new();
    let client = near(&group);
    let mut calls = JoinSet::new();
    for _ in 0..50 {
        let client = client.clone();
        calls.spawn(async move { client.call(increment("n"), SECONDS).await.map(|reply| revision_of(&reply)) });
    }
    while let Some(outcome) = calls.join_next().await {
        outcome.unwrap().unwrap();
    }
    assert_eq!(sum(&group, "n"), Some(50));
    let registrations = group.submissions().iter().filter(|change| change.command == Command::Register).count();
    assert_eq!(registrations, 1);
    let mut numbers = numbers(&group);
    numbers.sort_unstable();
    assert_eq!(numbers, (1..=50).map(|number| (1, number)).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn reads_and_keep_alives_need_no_registration() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(read(Freshness::Linearizable, &["a"]), SECONDS).await.unwrap();
    client.call(Call::Keyspaces, SECONDS).await.unwrap();
    let keep_alive = change("", Command::KeepAlive { lease: LeaseId(1) });
    let error = client.call(keep_alive, SECONDS).await.unwrap_err();
    assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::LeaseLost, false));
    assert_eq!(numbers(&group), []);
    assert!(!group.submissions().iter().any(|change| change.command == Command::Register));
}

#[tokio::test(start_paused = true)]
async fn a_registration_that_fails_is_tried_again_by_the_next_change() {
    let group = FakeGroup::new();
    let client = near(&group);
    group.order([Fault::Refuse(Error::new(ErrorCode::Overloaded, "full")), Fault::Nothing]);
    let error = client.call(put("a", b"1"), SECONDS).await.unwrap_err();
    assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::Overloaded, false));
    client.call(put("a", b"1"), SECONDS).await.unwrap();
    group.order([Fault::Lose(lost())]);
    near(&group).call(put("a", b"2"), SECONDS).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_session_that_the_group_has_forgotten_registers_anew_and_says_so_if_a_change_is_in_doubt() {
    let forgotten = || Fault::Refuse(Error::new(ErrorCode::RequestForgotten, "who is it").maybe_applied());
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(increment("n"), SECONDS).await.unwrap();
    group.order([forgotten()]);
    client.call(increment("n"), SECONDS).await.unwrap();
    assert_eq!(numbers(&group), [(1, 1), (1, 2), (2, 1)], "refused at the first try: it has not happened");
    group.order([Fault::Lose(lost()), forgotten()]);
    let error = client.call(increment("n"), SECONDS).await.unwrap_err();
    assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::RequestForgotten, true));
    assert_eq!(sum(&group, "n"), Some(3), "it has");
    client.call(increment("n"), SECONDS).await.unwrap();
    group.order([forgotten(), Fault::Nothing, forgotten()]);
    let error = client.call(increment("n"), SECONDS).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::RequestForgotten, "once is enough");
}

#[tokio::test(start_paused = true)]
async fn no_more_changes_are_under_way_than_the_limit() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(increment("n"), SECONDS).await.unwrap();
    let closed = group.gate.forget_permits(usize::MAX);
    let mut calls = JoinSet::new();
    for _ in 0..2 * STRONG_UNDER_WAY_MAX {
        let client = client.clone();
        calls.spawn(async move { client.call(increment("n"), SECONDS).await });
    }
    until(|| numbers(&group).len() > STRONG_UNDER_WAY_MAX).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(numbers(&group).len(), 1 + STRONG_UNDER_WAY_MAX);
    group.gate.add_permits(closed);
    while let Some(outcome) = calls.join_next().await {
        outcome.unwrap().unwrap();
    }
    assert_eq!(sum(&group, "n"), Some(1 + 2 * STRONG_UNDER_WAY_MAX as i64));
}

#[tokio::test(start_paused = true)]
async fn a_change_that_is_slow_finds_its_answer_however_many_follow_it() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(increment("n"), SECONDS).await.unwrap();
    // It happens and is never heard of, until its first try is over.
    group.order([Fault::Hang]);
    let slow = client.clone();
    let slow = tokio::spawn(async move { slow.call(increment("slow"), SECONDS).await });
    until(|| numbers(&group).len() == 2).await;
    let more = 2 * CLIENT_ANSWERS_MAX as usize;
    for _ in 0..more {
        client.call(increment("n"), SECONDS).await.unwrap();
    }
    slow.await.unwrap().unwrap();
    assert_eq!((sum(&group, "slow"), sum(&group, "n")), (Some(1), Some(1 + more as i64)));
    let numbers = numbers(&group);
    let retry = numbers.iter().rposition(|&id| id == (1, 2)).unwrap();
    let furthest = numbers[..retry].iter().map(|&(_, number)| number).max().unwrap();
    // Without the bound the changes would have run far ahead before the slow one was tried again.
    assert_eq!(furthest, 1 + CLIENT_ANSWERS_MAX, "{numbers:?}");
}

#[tokio::test(start_paused = true)]
async fn a_session_read_asks_for_the_greatest_revision_that_the_session_has_seen() {
    let group = FakeGroup::new();
    let client = near(&group);
    let asked = |group: &FakeGroup| match group.calls().pop().unwrap().0 {
        Call::Read(call) => call.freshness,
        other => panic!("{other:?} is no read"),
    };
    let session = Freshness::Session(Revision::ZERO);
    client.call(read(session, &["a"]), SECONDS).await.unwrap();
    assert_eq!(asked(&group), session);
    let written = revision_of(&client.call(put("a", b"1"), SECONDS).await.unwrap()).unwrap();
    client.call(read(session, &["a"]), SECONDS).await.unwrap();
    assert_eq!(asked(&group), Freshness::Session(written));
    client.call(read(Freshness::Session(Revision(7)), &["a"]), SECONDS).await.unwrap();
    assert_eq!(asked(&group), Freshness::Session(Revision(7)));

    // What another session has written counts once this one has read it.
    let other = revision_of(&near(&group).call(put("a", b"2"), SECONDS).await.unwrap()).unwrap();
    client.call(read(Freshness::Linearizable, &["a"]), SECONDS).await.unwrap();
    client.clone().call(read(session, &["a"]), SECONDS).await.unwrap();
    assert_eq!(asked(&group), Freshness::Session(other));
    client.call(read(Freshness::Local, &["a"]), SECONDS).await.unwrap();
    assert_eq!(asked(&group), Freshness::Local);
}

#[tokio::test(start_paused = true)]
async fn reads_that_are_answered_in_parts_are_all_of_one_revision() {
    let group = FakeGroup::new();
    let client = near(&group);
    let names = ["a", "b", "c", "d", "e"];
    for name in names {
        client.call(put(name, name.as_bytes()), SECONDS).await.unwrap();
    }
    group.limit_answers(2);
    let reading = client.clone();
    let before = group.calls().len();
    group.gate.forget_permits(usize::MAX);
    let reading = tokio::spawn(async move { reading.call(read(Freshness::Linearizable, &names), SECONDS).await });
    until(|| group.calls().len() > before).await;
    group.gate.add_permits(1);
    let Reply::Read(reply) = reading.await.unwrap().unwrap() else { panic!("no read") };
    assert_eq!((reply.revision, reply.answers.len()), (Revision(5), 5));
    for (name, answer) in names.iter().zip(reply.answers) {
        let ReadAnswer::Key { key: found, item: Some(item), .. } = answer else { panic!("no item for {name}") };
        assert_eq!((found, &item.value[..]), (key(name), name.as_bytes()));
    }
    let parts = group.calls().split_off(before);
    let part = |(call, _): &(Call, Duration)| match call {
        Call::Read(call) => (call.at, call.freshness, call.reads.len()),
        other => panic!("{other:?} is no read"),
    };
    let rest = Freshness::Session(Revision(5));
    let expected = [(None, Freshness::Linearizable, 5), (Some(Revision(5)), rest, 3), (Some(Revision(5)), rest, 1)];
    assert_eq!(parts.iter().map(part).collect::<Vec<_>>(), expected);
}

#[tokio::test(start_paused = true)]
async fn reads_without_an_answer_come_to_an_end() {
    let group = FakeGroup::new();
    group.limit_answers(0);
    let error = near(&group).call(read(Freshness::Local, &["a"]), SECONDS).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Internal);
    let Reply::Read(none) = near(&group).call(read(Freshness::Local, &[]), SECONDS).await.unwrap() else {
        panic!("no read")
    };
    assert_eq!(none.answers, []);
}

#[tokio::test(start_paused = true)]
async fn calls_beyond_the_bound_are_refused_and_those_that_end_make_room() {
    let group = FakeGroup::new();
    let client = near(&group);
    group.gate.forget_permits(usize::MAX);
    let done = Arc::new(AtomicUsize::new(0));
    let submit = || {
        let done = done.clone();
        let count: StrongCompletion = Box::new(move |outcome| {
            outcome.unwrap();
            done.fetch_add(1, Ordering::SeqCst);
        });
        client.submit(Call::Keyspaces, None, count)
    };
    let mut tickets: Vec<StrongTicket> = (0..STRONG_CALLS_MAX).map(|_| submit()).collect();
    let error = client.call(Call::Keyspaces, SECONDS).await.unwrap_err();
    assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::Overloaded, false));
    tickets.pop().unwrap().cancel();
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    tickets.push(submit());
    group.gate.add_permits(STRONG_CALLS_MAX);
    until(|| done.load(Ordering::SeqCst) == STRONG_CALLS_MAX).await;
    client.call(Call::Keyspaces, SECONDS).await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_call_over_the_limits_is_refused_at_once_and_not_sent() {
    let group = FakeGroup::new();
    let client = near(&group);
    let (sender, outcome) = oneshot::channel();
    let done: StrongCompletion = Box::new(|outcome| sender.send(outcome).unwrap());
    client.submit(change("", Command::Grant { ttl_ms: 0 }), None, done).cancel();
    assert_eq!(outcome.await.unwrap().unwrap_err().code(), ErrorCode::BadTtl);
    assert!(group.calls().is_empty());
}

#[tokio::test(start_paused = true)]
async fn waiting_for_locks_leaves_room_for_keep_alives() {
    let group = FakeGroup::new();
    let client = near(&group);
    let Reply::Done(Answer::Leased { lease, .. }) = client.call(grant(Duration::from_secs(9)), SECONDS).await.unwrap()
    else {
        panic!("no lease")
    };
    let name = LockName { keyspace: KeyspaceId::default(), name: key("l") };
    let value = Value::new(b"").unwrap();
    let acquire = Command::Acquire { lock: name, lease, value, wait: true };
    client.call(change("jobs", acquire), SECONDS).await.unwrap();
    group.gate.forget_permits(usize::MAX);
    let wait = || Call::AwaitLock { keyspace: "jobs".into(), lock: key("l"), lease, wait_ms: 1000 };
    let calls = STRONG_LOCK_WAITS_MAX + 9;
    let tickets: Vec<StrongTicket> = (0..calls).map(|_| client.submit(wait(), None, Box::new(drop))).collect();
    let waiting = || group.calls().iter().filter(|(call, _)| matches!(call, Call::AwaitLock { .. })).count();
    until(|| waiting() == STRONG_LOCK_WAITS_MAX).await;
    for _ in 0..1000 {
        tokio::task::yield_now().await;
    }
    assert_eq!(waiting(), STRONG_LOCK_WAITS_MAX);
    group.gate.add_permits(1);
    until(|| waiting() == calls).await;
    drop(tickets);
}
