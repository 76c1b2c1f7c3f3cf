//! What a member does by itself: it says how far a quiet watch is, and ends leases.

use super::{
    super::*,
    forming::{create, entry, founded, spawn, DEADLINE, ME},
};
use crate::{
    env::{Clock, SystemClock},
    limits::{GROUP_LOOK, LEASES_PER_EXPIRY_MAX, WATCH_UNTOLD_MAX},
    replication::strong::{
        Answer, Call, Command, GroupWatch, KeyspaceId, LeaseId, LeasePage, Lifetime, Operation, OperationKind, Reply,
        Space, Submission, Transaction,
    },
    types::{Key, KeyRange, Value},
};

const CALLS: usize = 512;

async fn jobs() -> Group {
    spawn(vec![founded(&[ME.0]), entry(1, vec![create("jobs")])], Consistency::Eventual).await
}

fn submit(keyspace: &str, command: Command) -> Call {
    Call::Submit(Submission { id: None, keyspace: keyspace.to_string(), command })
}

fn put() -> Call {
    let kind = OperationKind::Put { value: Value::new(b"1").unwrap(), flags: 0, lifetime: Lifetime::Forever };
    let operations = vec![Operation { key: Key::new(b"busy").unwrap(), kind }];
    submit("jobs", Command::Transact(Transaction { keyspace: KeyspaceId(0), guards: Vec::new(), operations }))
}

async fn do_often(group: &Group, call: Call, count: usize) {
    for begun in (0..count).step_by(CALLS) {
        let calls = vec![call.clone(); CALLS.min(count - begun)];
        for answer in group.call_many(calls, DEADLINE).await {
            answer.unwrap();
        }
    }
}

#[tokio::test]
async fn a_watch_that_is_told_nothing_says_how_far_the_changes_are() {
    let group = jobs().await;
    let range = KeyRange::prefix(b"quiet/");
    let watch = GroupWatch { keyspace: "jobs".into(), space: Space::Data, range, since: None, initial: false };
    let mut watcher = group.watch(watch, DEADLINE).await.unwrap();
    let begun = watcher.next().await.unwrap().until;
    let many = usize::try_from(WATCH_UNTOLD_MAX).unwrap();
    // After so many at once; after fewer when it has been silent for a while.
    for (count, until) in [(many, begun.0 + WATCH_UNTOLD_MAX), (1, begun.0 + WATCH_UNTOLD_MAX + 1)] {
        do_often(&group, put(), count).await;
        let page = tokio::time::timeout(DEADLINE, watcher.next()).await.unwrap().unwrap();
        assert_eq!((page.transactions, page.until.0), (Vec::new(), until));
    }
    group.retire().await;
}

async fn leases(group: &Group) -> LeasePage {
    match group.call(Call::Leases { after: LeaseId(0) }, DEADLINE).await.unwrap() {
        Reply::Leases(page) => page,
        other => panic!("leases were answered by {other:?}"),
    }
}

#[tokio::test]
async fn many_leases_that_end_together_are_ended_at_once() {
    // One entry a look would take so many looks.
    const LOOKS: usize = 100;
    let group = jobs().await;
    do_often(&group, submit("", Command::Grant { ttl_ms: 2000 }), LOOKS * LEASES_PER_EXPIRY_MAX).await;
    let last = group.call(submit("", Command::Grant { ttl_ms: 2000 }), DEADLINE).await.unwrap();
    let Reply::Done(Answer::Leased { lease, .. }) = last else { panic!("no lease: {last:?}") };
    let clock = SystemClock::new();
    // From when the last is due.
    while clock.monotonic() < DEADLINE
        && group
            .call(Call::Lease(lease), DEADLINE)
            .await
            .is_ok_and(|left| matches!(left, Reply::Lease(left) if left.remaining_ms > 0))
    {
        tokio::task::yield_now().await;
    }
    let due = clock.monotonic();
    while clock.monotonic() < DEADLINE {
        let page = leases(&group).await;
        if page.leases.is_empty() {
            break;
        }
        tokio::task::yield_now().await;
    }
    let took = clock.monotonic() - due;
    assert!(took < GROUP_LOOK * u32::try_from(LOOKS / 2).unwrap(), "{took:?}");
    group.retire().await;
}
