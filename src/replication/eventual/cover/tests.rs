//! When a node says that it has what a session has seen.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::*;
use crate::{
    env::SimulatedClock,
    limits::SESSION_WAITERS_MAX,
    storage::partition_of,
    types::{Command, CommandKind, Key, Seen, Sequence, Timestamp, Value},
};

/// What is out of reach, as the test says.
struct Said(Mutex<Vec<NodeId>>);

impl Reach for Said {
    fn out_of_reach(&self, wanted: Vec<(PartitionId, Dot)>) -> Reaching<'_> {
        let gone = self.0.lock().clone();
        Box::pin(async move { wanted.into_iter().filter(|(_, dot)| gone.contains(&dot.node)).collect() })
    }
}

fn nobody_gone() -> Said {
    Said(Mutex::new(Vec::new()))
}

fn keyspace(node: u64) -> Arc<Eventual> {
    Arc::new(Eventual::new(NodeId(node), Arc::new(SimulatedClock::new(1_700_000_000_000))))
}

fn put(keyspace: &Eventual, key: &str) -> Seen {
    let kind = CommandKind::Put { value: Value::new(b"v").unwrap(), flags: 0, ttl_ms: None };
    keyspace.write_seen(Command { key: Key::new(key.as_bytes()).unwrap(), kind }).unwrap().1
}

fn wanted(keyspace: &Eventual) -> Vec<(PartitionId, VersionVector)> {
    keyspace.seen().vectors
}

fn push(from: &Eventual, to: &Eventual) {
    for partition in from.partition_ids() {
        let stretch = from.own_changes(partition, to.me(), Sequence(1), (100, 1 << 20)).unwrap();
        to.apply_changes(from.me(), stretch);
    }
}

fn after(wait: Duration) -> Instant {
    Instant::now() + wait
}

const LONG: Duration = Duration::from_secs(60);

#[tokio::test(start_paused = true)]
async fn what_is_here_is_not_waited_for() {
    let keyspace = keyspace(1);
    put(&keyspace, "a");
    let wanted = wanted(&keyspace);
    assert_eq!(catch_up(&keyspace, &nobody_gone(), &wanted, Instant::now()).await, Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn it_ends_as_soon_as_the_last_write_arrives() {
    let (from, to) = (keyspace(1), keyspace(2));
    put(&from, "a");
    put(&from, "b");
    let started = Instant::now();
    let waiting = {
        let (to, wanted) = (to.clone(), wanted(&from));
        tokio::spawn(async move { cover(&to, &nobody_gone(), &wanted, after(LONG)).await })
    };
    tokio::time::advance(Duration::from_millis(100)).await;
    tokio::task::yield_now().await;
    assert!(!waiting.is_finished());
    push(&from, &to);
    assert_eq!(waiting.await.unwrap(), Ok(()));
    assert_eq!(started.elapsed(), Duration::from_millis(100));
}

#[tokio::test(start_paused = true)]
async fn what_can_still_come_is_waited_for_until_the_deadline() {
    let (from, to) = (keyspace(1), keyspace(2));
    put(&from, "a");
    let started = Instant::now();
    let error = catch_up(&to, &nobody_gone(), &wanted(&from), after(LONG)).await.unwrap_err();
    assert_eq!((error.code(), started.elapsed()), (ErrorCode::SessionBehind, LONG));
    assert!(error.message().contains("node 0000000000000001"), "{error}");
}

#[tokio::test(start_paused = true)]
async fn what_stays_out_of_reach_is_named_with_what_is_here_of_it() {
    let (from, to) = (keyspace(1), keyspace(2));
    put(&from, "a");
    push(&from, &to);
    put(&from, "a");
    let gone = Said(Mutex::new(vec![NodeId(1)]));
    let started = Instant::now();
    let lost = catch_up(&to, &gone, &wanted(&from), after(LONG)).await.unwrap();
    assert!((SESSION_LOST_AFTER..SESSION_LOST_AFTER + SESSION_LOOK_INTERVAL).contains(&started.elapsed()));
    let last_here = Sequence(1);
    assert_eq!(lost, [LostWrites { partition: partition_of(b"a"), node: NodeId(1), last_here }]);
    let error = cover(&to, &gone, &wanted(&from), after(LONG)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::SessionLost);
}

#[tokio::test(start_paused = true)]
async fn a_node_that_comes_back_in_time_loses_nothing() {
    let (from, to) = (keyspace(1), keyspace(2));
    put(&from, "a");
    let reach = Arc::new(Said(Mutex::new(vec![NodeId(1)])));
    let waiting = {
        let (to, reach, wanted) = (to.clone(), reach.clone(), wanted(&from));
        tokio::spawn(async move { catch_up(&to, &*reach, &wanted, after(LONG)).await })
    };
    tokio::time::sleep(SESSION_LOST_AFTER - SESSION_LOOK_INTERVAL).await;
    reach.0.lock().clear();
    tokio::time::sleep(SESSION_LOOK_INTERVAL).await;
    reach.0.lock().push(NodeId(1));
    tokio::time::sleep(SESSION_LOST_AFTER - SESSION_LOOK_INTERVAL).await;
    assert!(!waiting.is_finished());
    push(&from, &to);
    assert_eq!(waiting.await.unwrap(), Ok(Vec::new()));
}

#[tokio::test(start_paused = true)]
async fn those_who_wait_are_bounded() {
    let (from, to) = (keyspace(1), keyspace(2));
    put(&from, "a");
    let places: Vec<_> = (0..SESSION_WAITERS_MAX).map(|_| to.await_arrivals().unwrap()).collect();
    let error = catch_up(&to, &nobody_gone(), &wanted(&from), after(LONG)).await.unwrap_err();
    assert_eq!(error.code(), ErrorCode::Overloaded);
    drop(places);
    push(&from, &to);
    assert_eq!(catch_up(&to, &nobody_gone(), &wanted(&from), after(LONG)).await, Ok(Vec::new()));
}

#[test]
fn every_answer_names_the_write_it_shows_also_when_it_shows_nothing() {
    let keyspace = keyspace(1);
    assert_eq!(keyspace.read_seen(b"a"), (None, Seen::Nothing));
    let stored = put(&keyspace, "a");
    assert_eq!(keyspace.read_seen(b"a").1, stored);
    let key = Key::new(b"a").unwrap();
    let (_, deleted) = keyspace.write_seen(Command { key: key.clone(), kind: CommandKind::Delete }).unwrap();
    assert_ne!(deleted, stored);
    assert_eq!(keyspace.read_seen(b"a"), (None, deleted.clone()));
    let touch = Command { key, kind: CommandKind::Touch { ttl_ms: None } };
    assert_eq!(keyspace.write_seen(touch).unwrap().1, deleted);
}

#[test]
fn what_a_session_writes_after_its_clock_was_noted_is_above_all_that_it_has_seen() {
    let (ahead, behind) = (keyspace(1), keyspace(2));
    let millis = 1_700_000_000_000 + 9_000;
    ahead.observe_session(Timestamp::from_millis(millis)).unwrap();
    let Seen::Write(seen) = put(&ahead, "a") else { panic!("a put is seen") };
    behind.observe_session(seen.version).unwrap();
    let Seen::Write(next) = put(&behind, "a") else { panic!("a put is seen") };
    assert!(next.version > seen.version);
    let error = behind.observe_session(Timestamp::from_millis(millis + 2_000)).unwrap_err();
    assert_eq!(error.code(), ErrorCode::ClockSkew);
    let Seen::Write(last) = put(&behind, "a") else { panic!("a put is seen") };
    assert!(last.version < Timestamp::from_millis(millis + 2_000));
}

#[test]
fn while_state_is_merged_readers_may_have_seen_all_of_it() {
    let (from, to) = (keyspace(1), keyspace(2));
    put(&from, "a");
    let partition = partition_of(b"a");
    let end = crate::types::StateEnd { vector: from.vector(partition), ..Default::default() };
    assert!(to.seen().vectors.is_empty());
    to.expect_end(partition, &end);
    assert_eq!(to.seen().vectors, [(partition, from.vector(partition))]);
    assert!(to.vector(partition).is_empty());
    to.adopt_end(partition, &end);
    assert_eq!(to.seen().vectors, [(partition, from.vector(partition))]);
}
