//! When a node says that it has what a session has seen.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use proptest::prelude::*;

use super::*;
use crate::{
    env::SimulatedClock,
    limits::SESSION_WAITERS_MAX,
    replication::eventual::{PieceBounds, Snapshot},
    storage::partition_of,
    types::{Command, CommandKind, Key, Seen, Sequence, SessionToken, StateEnd, Timestamp, Value},
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
        let stretch = from.own_changes(partition, Sequence(1), (100, 1 << 20)).unwrap();
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
    let end = StateEnd { vector: from.vector(partition), ..StateEnd::default() };
    assert!(to.seen().vectors.is_empty());
    to.expect_end(partition, &end);
    assert_eq!(to.seen().vectors, [(partition, from.vector(partition))]);
    assert!(to.vector(partition).is_empty());
    to.adopt_end(partition, &end);
    assert_eq!(to.seen().vectors, [(partition, from.vector(partition))]);
}

/// Something that happens among three nodes and a session.
#[derive(Clone, Debug)]
enum Step {
    /// Somebody else writes.
    Write {
        at: usize,
        key: u8,
        is_delete: bool,
    },
    /// One node gets what another wrote itself.
    Push {
        from: usize,
        to: usize,
    },
    /// One node gets all that another has; the session may scan it while the partition of a key is merged.
    State {
        from: usize,
        to: usize,
        watched: Option<u8>,
    },
    /// The session writes, whatever the node has.
    Put {
        at: usize,
        key: u8,
    },
    /// The session reads, if the node has what it has seen.
    Get {
        at: usize,
        key: u8,
    },
    Scan {
        at: usize,
    },
}

fn step() -> impl Strategy<Value = Step> {
    let (node, key) = (|| 0..3usize, || 0..4u8);
    prop_oneof![
        (node(), key(), any::<bool>()).prop_map(|(at, key, is_delete)| Step::Write { at, key, is_delete }),
        (node(), node()).prop_map(|(from, to)| Step::Push { from, to }),
        (node(), node(), prop::option::of(key())).prop_map(|(from, to, watched)| Step::State { from, to, watched }),
        (node(), key()).prop_map(|(at, key)| Step::Put { at, key }),
        (node(), key()).prop_map(|(at, key)| Step::Get { at, key }),
        node().prop_map(|at| Step::Scan { at }),
    ]
}

/// A session that moves at will, and what it may not fall below.
struct Traveller {
    nodes: Vec<Arc<Eventual>>,
    token: SessionToken,
    floors: [Timestamp; 4],
}

impl Traveller {
    fn write(&self, at: usize, key: u8, is_delete: bool) -> Seen {
        let put = CommandKind::Put { value: Value::new(b"v").unwrap(), flags: 0, ttl_ms: None };
        let kind = if is_delete { CommandKind::Delete } else { put };
        self.nodes[at].write_seen(Command { key: Key::new(&[key]).unwrap(), kind }).unwrap().1
    }

    fn may_read(&self, at: usize) -> bool {
        self.token.wanted().vectors.iter().flat_map(dots).all(|(partition, dot)| self.nodes[at].covers(partition, dot))
    }

    fn look(&mut self, at: usize, key: u8) -> Seen {
        let (_, seen) = self.nodes[at].read_seen(&[key]);
        let version = if let Seen::Write(mark) = &seen { mark.version } else { Timestamp::ZERO };
        let floor = &mut self.floors[usize::from(key)];
        assert!(version >= *floor, "key {key} shows {version} after {floor}");
        *floor = version;
        seen
    }

    fn scan(&mut self, at: usize) {
        (0..4).for_each(|key| drop(self.look(at, key)));
        self.token.raise(&Seen::Partitions(self.nodes[at].seen()));
    }

    fn transfer(&mut self, from: usize, to: usize, watched: Option<u8>) {
        let bounds = PieceBounds { records_max: 1, visits_max: 3, bytes_target: usize::MAX };
        for partition in self.nodes[from].partition_ids() {
            let mut snapshot = Snapshot::take(&self.nodes[from], partition, self.nodes[to].vector(partition));
            let end = StateEnd { vector: snapshot.vector().clone(), ..StateEnd::default() };
            self.nodes[to].expect_end(partition, &end);
            while !snapshot.is_read() {
                let piece = snapshot.next_piece(bounds);
                self.nodes[to].admit_state(&piece).unwrap();
                self.nodes[to].apply_state(partition, piece, false);
            }
            if watched.is_some_and(|key| partition_of(&[key]) == partition) && self.may_read(to) {
                self.scan(to);
            }
            self.nodes[to].adopt_end(partition, &end);
        }
    }

    fn take(&mut self, step: Step) {
        match step {
            Step::Write { at, key, is_delete } => drop(self.write(at, key, is_delete)),
            Step::Push { from, to } if from != to => push(&self.nodes[from], &self.nodes[to]),
            Step::State { from, to, watched } if from != to => self.transfer(from, to, watched),
            Step::Push { .. } | Step::State { .. } => {}
            Step::Put { at, key } => {
                self.nodes[at].observe_session(self.token.wanted().clock).unwrap();
                let seen = self.write(at, key, false);
                let Seen::Write(mark) = &seen else { panic!("a put is seen") };
                assert!(self.floors.iter().all(|floor| mark.version > *floor), "{mark:?} after {:?}", self.floors);
                self.floors[usize::from(key)] = mark.version;
                self.token.raise(&seen);
            }
            Step::Get { at, key } if self.may_read(at) => {
                let seen = self.look(at, key);
                self.token.raise(&seen);
            }
            Step::Scan { at } if self.may_read(at) => self.scan(at),
            Step::Get { .. } | Step::Scan { .. } => {}
        }
    }
}

proptest! {
    /// Read your writes, monotonic reads, and the order of monotonic writes and of writes that follow reads, for a
    /// session that reads only where its token is covered.
    #[test]
    fn a_session_never_goes_back_wherever_it_goes(steps in prop::collection::vec(step(), 1..60)) {
        let clock = |node| Arc::new(SimulatedClock::new(1_700_000_000_000 + 3_000 * node));
        let nodes = (1..=3).map(|node| Arc::new(Eventual::new(NodeId(node), clock(node)))).collect();
        let mut session = Traveller { nodes, token: SessionToken::default(), floors: [Timestamp::ZERO; 4] };
        steps.into_iter().for_each(|step| session.take(step));
    }
}
