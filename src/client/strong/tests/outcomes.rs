//! What a call gets when its tries fail: once applied, or the truth about it.

use super::*;
use crate::limits::{STRONG_TRY_FIRST, STRONG_TRY_GRACE};

/// The error of a call that has to come when its time is over, and not much later.
async fn late(client: &StrongClient, call: Call, timeout: Duration) -> Error {
    let started = Instant::now();
    let error = client.call(call, Some(timeout)).await.unwrap_err();
    let took = started.elapsed();
    assert!(took >= timeout && took <= timeout + 2 * STRONG_TRY_GRACE, "{took:?}");
    error
}

fn is_unknown(error: &Error) -> (ErrorCode, bool) {
    (error.code(), error.is_maybe_applied())
}

#[tokio::test(start_paused = true)]
async fn a_change_whose_answers_are_lost_is_applied_once() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(increment("n"), SECONDS).await.unwrap();
    for _ in 0..10 {
        group.order([Fault::Lose(lost()), Fault::Refuse(no_leader()), Fault::Hang, Fault::Lose(lost())]);
        client.call(increment("n"), SECONDS).await.unwrap();
    }
    assert_eq!(sum(&group, "n"), Some(11));
    let tries = group.submissions().len();
    assert_eq!(tries, 2 + 10 * 5);
}

#[tokio::test(start_paused = true)]
async fn a_grant_whose_answer_is_lost_makes_one_lease() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(increment("n"), SECONDS).await.unwrap();
    group.order([Fault::Lose(lost())]);
    let reply = client.call(grant(Duration::from_secs(60)), SECONDS).await.unwrap();
    assert!(matches!(reply, Reply::Done(Answer::Leased { lease: LeaseId(1), .. })), "{reply:?}");
    let error = client.call(Call::Lease(LeaseId(2)), SECONDS).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn a_refusal_is_definite_also_after_a_lost_answer() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(put("a", b"text"), SECONDS).await.unwrap();
    group.order([Fault::Refuse(lost())]);
    let error = client.call(increment("a"), SECONDS).await.unwrap_err();
    assert_eq!(is_unknown(&error), (ErrorCode::NotAnInteger, false));
}

#[tokio::test(start_paused = true)]
async fn what_is_said_without_the_log_leaves_a_lost_answer_open() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(put("a", b"1"), SECONDS).await.unwrap();
    let drop_keyspace = || change("jobs", Command::DropKeyspace { keyspace: KeyspaceId::default() });
    // It is dropped, and so there is no such keyspace when it is tried again.
    group.order([Fault::Lose(lost())]);
    let error = client.call(drop_keyspace(), SECONDS).await.unwrap_err();
    assert_eq!(is_unknown(&error), (ErrorCode::UnknownKeyspace, true));
    let error = client.call(drop_keyspace(), SECONDS).await.unwrap_err();
    assert_eq!(is_unknown(&error), (ErrorCode::UnknownKeyspace, false));
    group.order([Fault::Refuse(lost()), Fault::Refuse(Error::new(ErrorCode::Overloaded, "full"))]);
    let error = client.call(put("a", b"1"), SECONDS).await.unwrap_err();
    assert_eq!(is_unknown(&error), (ErrorCode::Overloaded, true));
    group.order([Fault::Refuse(Error::new(ErrorCode::Overloaded, "full"))]);
    let error = client.call(put("a", b"1"), SECONDS).await.unwrap_err();
    assert_eq!(is_unknown(&error), (ErrorCode::Overloaded, false));
}

#[tokio::test(start_paused = true)]
async fn a_revoke_whose_answer_is_lost_is_no_lost_lease() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(grant(Duration::from_secs(60)), SECONDS).await.unwrap();
    let revoke = || change("", Command::Revoke { lease: LeaseId(1) });
    group.order([Fault::Lose(lost())]);
    assert_eq!(client.call(revoke(), SECONDS).await, Ok(Reply::Done(Answer::Revoked)));
    assert_eq!(client.call(revoke(), SECONDS).await.unwrap_err().code(), ErrorCode::LeaseLost);
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_a_call_fails_at_its_deadline_and_nothing_was_changed() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(put("a", b"1"), SECONDS).await.unwrap();
    let timeout = Duration::from_secs(3);
    for call in [put("a", b"2"), read(Freshness::Linearizable, &["a"])] {
        group.order(vec![Fault::Refuse(no_leader()); 100]);
        let before = group.calls().len();
        let error = late(&client, call, timeout).await;
        assert_eq!(is_unknown(&error), (ErrorCode::NoLeader, false));
        let tries = group.calls().len() - before;
        // The pauses grow to half a second, of which a half is jitter.
        assert!((7..=16).contains(&tries), "{tries} tries");

        group.forget_faults();
    }
    assert_eq!(group.item(&key("a")).unwrap().value.as_slice(), b"1");
}

#[tokio::test(start_paused = true)]
async fn without_a_leader_after_a_lost_answer_the_outcome_is_open() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(increment("n"), SECONDS).await.unwrap();
    group.order([Fault::Lose(lost())]);
    group.order(vec![Fault::Refuse(no_leader()); 100]);
    let error = late(&client, increment("n"), Duration::from_secs(2)).await;
    assert_eq!(is_unknown(&error), (ErrorCode::NoLeader, true));
    assert_eq!(sum(&group, "n"), Some(2));
}

#[tokio::test(start_paused = true)]
async fn a_backend_that_is_silent_costs_the_deadline() {
    let group = FakeGroup::new();
    let client = near(&group);
    let timeout = Duration::from_secs(1);
    group.order([Fault::Hang]);
    let error = late(&client, put("a", b"1"), timeout).await;
    // It was not even registered.
    assert_eq!(is_unknown(&error), (ErrorCode::DeadlineExceeded, false));
    client.call(put("a", b"1"), SECONDS).await.unwrap();
    group.order([Fault::Hang]);
    assert_eq!(is_unknown(&late(&client, put("a", b"2"), timeout).await), (ErrorCode::DeadlineExceeded, true));
    group.order([Fault::Hang]);
    let error = late(&client, read(Freshness::Local, &["a"]), timeout).await;
    assert_eq!(is_unknown(&error), (ErrorCode::DeadlineExceeded, false));
}

#[tokio::test(start_paused = true)]
async fn a_stuck_try_is_given_up_and_each_further_one_gets_longer() {
    let group = FakeGroup::new();
    let client = near(&group);
    group.order([Fault::Hang, Fault::Hang, Fault::Nothing]);
    client.call(Call::Keyspaces, None).await.unwrap();
    let given: Vec<Duration> = group.calls().into_iter().map(|(_, timeout)| timeout).collect();
    assert_eq!(given, [STRONG_TRY_FIRST, 2 * STRONG_TRY_FIRST, 4 * STRONG_TRY_FIRST]);
}

#[tokio::test(start_paused = true)]
async fn a_wait_for_a_lock_is_given_its_own_time_and_no_more_after_a_failed_try() {
    let group = FakeGroup::new();
    let client = near(&group);
    let wait = |wait_ms| Call::AwaitLock { keyspace: "jobs".into(), lock: key("l"), lease: LeaseId(1), wait_ms };
    group.order([Fault::Hang]);
    let error = client.call(wait(15_000), None).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::LockLost);
    let waits: Vec<u64> = group
        .calls()
        .into_iter()
        .map(|(call, _)| match call {
            Call::AwaitLock { wait_ms, .. } => wait_ms,
            other => panic!("{other:?} waits for nothing"),
        })
        .collect();
    assert_eq!(waits, [15_000, 0]);
    // No longer than the call as a whole.
    client.call(wait(15_000), Some(Duration::from_secs(1))).await.unwrap_err();
    assert!(matches!(group.calls().pop(), Some((Call::AwaitLock { wait_ms: 950, .. }, _))));
}

#[tokio::test(start_paused = true)]
async fn a_call_that_is_given_up_is_never_completed() {
    let group = FakeGroup::new();
    let client = near(&group);
    client.call(increment("n"), SECONDS).await.unwrap();
    group.order([Fault::Hang]);
    let (sender, outcome) = oneshot::channel();
    let done: StrongCompletion = Box::new(|outcome| drop(sender.send(outcome)));
    let ticket = client.submit(increment("n"), None, done);
    until(|| group.submissions().len() == 3).await;
    ticket.cancel();
    ticket.cancel();
    assert!(outcome.await.is_err(), "the completion was called");
    // Its place is free again, and the next change is answered.
    client.call(increment("n"), SECONDS).await.unwrap();
    assert_eq!(sum(&group, "n"), Some(2));
}

#[test]
fn who_waits_is_told_when_the_runtime_ends() {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(1).enable_all().build().unwrap();
    let group = {
        let _context = runtime.enter();
        FakeGroup::new()
    };
    let client = StrongClient::of_backend(group.clone(), runtime.handle().clone(), Env::system());
    runtime.block_on(client.call(increment("n"), SECONDS)).unwrap();
    group.order([Fault::Hang]);
    let (sender, outcome) = oneshot::channel();
    let done: StrongCompletion = Box::new(|outcome| sender.send(outcome).unwrap());
    client.submit(increment("n"), None, done);
    runtime.block_on(until(|| group.submissions().len() == 3));
    drop(runtime);
    let error = outcome.blocking_recv().unwrap().unwrap_err();
    assert_eq!(is_unknown(&error), (ErrorCode::ClientClosed, true));
}
