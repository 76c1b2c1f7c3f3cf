//! What a crash leaves is what was acknowledged: whole nodes' data over a simulated disk, and the dumb twin that kept all of
//! it in memory.

mod clock;
mod damage;
mod told;
mod trouble;

use std::{path::Path, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    config::{DiskBounds, Durability},
    env::{Clock, Env, SeededRng, SimDisk, SimulatedClock, SimulatedNetwork},
    error::ErrorCode,
    limits::RECOVERY_WRITES_HELD_MAX,
    replication::eventual::{replica::SessionId, Eventual, PieceBounds, Snapshot},
    types::{
        Command, CommandKind, Key, NodeId, PartitionDigest, PeerMessage, Sequence, StateEnd, StateRecord, Value,
        VersionVector,
    },
};

const DIR: &str = "/node";

/// One node's disk, and what runs on it.
struct Bench {
    env: Env,
    disk: Arc<SimDisk>,
    clock: Arc<SimulatedClock>,
    durability: Durability,
    has_peers: bool,
    bounds: DiskBounds,
}

impl Bench {
    fn new(seed: u64, durability: Durability) -> Bench {
        let disk = Arc::new(SimDisk::new(seed));
        let clock = Arc::new(SimulatedClock::new(1_000_000));
        let env = Env {
            clock: clock.clone(),
            rng: Arc::new(SeededRng::new(seed)),
            transport: Arc::new(SimulatedNetwork::default()),
            disk: disk.clone(),
        };
        Bench { env, disk, clock, durability, has_peers: false, bounds: DiskBounds::default() }
    }

    async fn open(&self) -> crate::error::Result<Opened> {
        let config = OpenConfig {
            dir: Path::new(DIR).into(),
            cluster: "test".into(),
            durability: self.durability,
            has_peers: self.has_peers,
            bounds: self.bounds,
        };
        let clock = self.clock.clone();
        let make = move |id| Eventual::new(id, Arc::clone(&clock) as Arc<dyn Clock>);
        open(&config, &self.env, &make, &|_, _| Ok(Box::new(|| None))).await
    }

    /// The machine loses its power, and gets it back.
    async fn lose_power(&self, node: Opened) {
        self.disk.mark_dying();
        drop(node);
        self.disk.crash();
        // What ran on it ends when it is looked at next.
        for _ in 0..10 {
            tokio::task::yield_now().await;
        }
    }
}

fn put(keyspace: &Eventual, key: &str, value: &str) {
    let kind = CommandKind::Put { value: Value::new(value.as_bytes()).unwrap(), flags: 3, ttl_ms: Some(500_000) };
    keyspace.write(Command { key: Key::new(key.as_bytes()).unwrap(), kind }).unwrap();
}

fn delete(keyspace: &Eventual, key: &str) {
    keyspace.write(Command { key: Key::new(key.as_bytes()).unwrap(), kind: CommandKind::Delete }).unwrap();
}

fn value(keyspace: &Eventual, key: &str) -> Option<String> {
    let record = keyspace.read(key.as_bytes())?;
    record.value.map(|value| String::from_utf8(value.to_vec()).unwrap())
}

/// Everything that a node has to know again.
#[derive(Debug, PartialEq)]
struct Known {
    digests: Vec<PartitionDigest>,
    vectors: Vec<VersionVector>,
    tombstones: u64,
    dropped: Vec<VersionVector>,
    seen: Vec<Vec<crate::types::SeenStep>>,
    conflicts: Vec<Arc<crate::types::Conflict>>,
}

fn known(keyspace: &Eventual) -> Known {
    known_without(keyspace, &[])
}

/// As [`known`], but for what writers had seen of this node under ids that it gave up: nobody will ask.
fn known_without(keyspace: &Eventual, given_up: &[NodeId]) -> Known {
    let steps = |partition, vector: &VersionVector| -> Vec<_> {
        let all = keyspace.seen_between(partition, &VersionVector::new(), vector);
        all.into_iter().filter(|step| !given_up.contains(&step.of)).collect()
    };
    let vectors: Vec<_> = keyspace.partition_ids().map(|id| keyspace.vector(id)).collect();
    Known {
        digests: keyspace.digests(),
        tombstones: keyspace.stats().tombstones,
        dropped: keyspace.partition_ids().map(|id| keyspace.dropped(id)).collect(),
        seen: keyspace.partition_ids().zip(&vectors).map(|(id, vector)| steps(id, vector)).collect(),
        conflicts: keyspace.all_conflicts(),
        vectors,
    }
}

/// Another node, in memory, that writes too.
fn other(clock: &Arc<SimulatedClock>, id: u64) -> Arc<Eventual> {
    Arc::new(Eventual::new(NodeId(id), Arc::clone(clock) as Arc<dyn Clock>))
}

/// All that `from` wrote and `to` has not got is pushed, where the outbox still has it.
fn push(from: &Eventual, to: &Eventual) {
    for partition in from.partition_ids() {
        let first = to.position(partition, from.me()).next();
        if let Some(stretch) = from.own_changes(partition, first, (7, usize::MAX)) {
            to.apply_changes(from.me(), stretch);
        }
    }
}

/// `to` fetches the state of `from`; the last partition only in part, as if the node died in the middle.
fn fetch(from: &Arc<Eventual>, to: &Eventual) {
    for partition in from.partition_ids() {
        let known = to.vector(partition);
        let mut snapshot = Snapshot::take(from, partition, known.clone());
        let vector = snapshot.vector().clone();
        to.expect_end(partition, &StateEnd { vector: vector.clone(), ..StateEnd::default() });
        to.learn_seen(partition, from.seen_between(partition, &known, &vector));
        while !snapshot.is_read() {
            let piece = snapshot.next_piece(PieceBounds { records_max: 2, visits_max: 5, bytes_target: 1000 });
            to.admit_state(&piece).unwrap();
            to.apply_state(partition, piece, false);
        }
        to.adopt_end(partition, &StateEnd { vector, dropped: from.dropped(partition), ..StateEnd::default() });
    }
}

/// What may happen to a node.
#[derive(Clone, Debug)]
enum Step {
    Put(u8, u8),
    Delete(u8),
    /// Another node writes, and pushes.
    Pushed(u8, u8),
    /// The other node gets what this one wrote.
    Push,
    /// The state of the other is fetched.
    Fetched,
    /// Everything that has expired is swept.
    Expire,
    Checkpoint,
    /// The node is stopped and started again.
    Restart,
    /// It comes back after a loss of power; everything was synced before.
    PowerLoss,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u8..12, any::<u8>()).prop_map(|(key, value)| Step::Put(key, value)),
        2 => (0u8..12).prop_map(Step::Delete),
        4 => (0u8..12, any::<u8>()).prop_map(|(key, value)| Step::Pushed(key, value)),
        2 => Just(Step::Push),
        2 => Just(Step::Fetched),
        1 => Just(Step::Expire),
        2 => Just(Step::Checkpoint),
        1 => Just(Step::Restart),
        2 => Just(Step::PowerLoss),
    ]
}

async fn flush(node: &Opened) {
    node.keyspace.ledger().unwrap().flush().await.unwrap();
}

async fn stop(node: Opened) {
    node.keeper.stop().await;
    node.keyspace.ledger().unwrap().end_run().await.unwrap();
}

async fn play(seed: u64, durability: Durability, steps: Vec<Step>) -> Result<(), TestCaseError> {
    let bench = Bench::new(seed, durability);
    let mut node = bench.open().await.unwrap();
    let peer = other(&bench.clock, 77);
    let mut given_up = Vec::new();
    for step in steps {
        bench.clock.advance(std::time::Duration::from_millis(3));
        match step {
            Step::Put(key, value) => put(&node.keyspace, &format!("k{key}"), &format!("mine {value}")),
            Step::Delete(key) => delete(&node.keyspace, &format!("k{key}")),
            Step::Pushed(key, value) => {
                put(&peer, &format!("k{key}"), &format!("theirs {value}"));
                push(&peer, &node.keyspace);
            }
            Step::Push => push(&node.keyspace, &peer),
            Step::Fetched => fetch(&peer, &node.keyspace),
            Step::Expire => {
                bench.clock.advance(std::time::Duration::from_secs(600));
                for partition in node.keyspace.partition_ids() {
                    while node.keyspace.sweep(partition, std::time::Duration::ZERO) {}
                }
            }
            Step::Checkpoint => drop(node.keeper.checkpoint().await.unwrap()),
            Step::Restart | Step::PowerLoss => {
                flush(&node).await;
                let id = node.keyspace.me();
                let is_same = durability == Durability::Sync || matches!(step, Step::Restart);
                given_up.extend((!is_same).then_some(id));
                let before = known_without(&node.keyspace, &given_up);
                let clock = node.keyspace.tick();
                node.keyspace.ledger().unwrap().tell_clock(clock, bench.clock.wall_ms());
                flush(&node).await;
                if matches!(step, Step::Restart) {
                    stop(node).await;
                } else {
                    bench.lose_power(node).await;
                }
                node = bench.open().await.unwrap();
                prop_assert_eq!(&known_without(&node.keyspace, &given_up), &before);
                prop_assert_eq!(node.keyspace.me() == id, is_same, "who waited, or ended in order, is who it was");
                prop_assert!(node.keyspace.tick() > clock, "the clock goes on");
            }
        }
    }
    stop(node).await;
    Ok(())
}

fn block_on<T>(work: impl std::future::Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().build().unwrap().block_on(work)
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    #[test]
    fn a_node_comes_back_as_it_was(seed: u64, steps in prop::collection::vec(step(), 1..60)) {
        block_on(play(seed, Durability::Sync, steps))?;
    }

    #[test]
    fn one_that_does_not_wait_comes_back_under_another_id(seed: u64, steps in prop::collection::vec(step(), 1..40)) {
        block_on(play(seed, Durability::Memory, steps))?;
    }

    /// Writes of which some were acknowledged; then the power goes. What comes back is a prefix with all of those.
    #[test]
    fn acknowledged_writes_survive_a_loss_of_power(seed: u64, count in 1usize..60, acked in 0usize..60) {
        block_on(async {
            let bench = Bench::new(seed, Durability::Sync);
            let node = bench.open().await.unwrap();
            let acked = acked.min(count);
            for number in 0..count {
                put(&node.keyspace, &format!("k{number}"), "v");
                if number + 1 == acked {
                    node.keyspace.durable(node.keyspace.written()).await.unwrap();
                }
            }
            bench.lose_power(node).await;
            let node = bench.open().await.unwrap();
            let there = (0..count).filter(|number| value(&node.keyspace, &format!("k{number}")).is_some()).count();
            prop_assert!(there >= acked, "{there} of {acked} acknowledged writes are there");
            for number in 0..there {
                prop_assert!(value(&node.keyspace, &format!("k{number}")).is_some(), "no gap: {number} of {there}");
            }
            Ok(())
        })?;
    }
}

#[test]
fn no_write_gets_the_name_of_one_before() {
    block_on(async {
        let bench = Bench::new(1, Durability::Sync);
        let mut last = Sequence::ZERO;
        let partition = crate::storage::partition_of(b"k");
        for _ in 0..5 {
            let node = bench.open().await.unwrap();
            put(&node.keyspace, "k", "v");
            node.keyspace.durable(node.keyspace.written()).await.unwrap();
            let sequence = node.keyspace.vector(partition).sequence(node.keyspace.me());
            assert!(sequence > last, "{sequence:?} after {last:?}");
            last = sequence;
            bench.lose_power(node).await;
        }
    });
}

#[test]
fn more_writes_than_a_recovery_merges_at_once_come_back() {
    block_on(async {
        let bench = Bench::new(1, Durability::Sync);
        let node = bench.open().await.unwrap();
        // Each key several times, as value and as tombstone, in an order that is not theirs.
        for number in 0..RECOVERY_WRITES_HELD_MAX + 5_000 {
            let key = format!("{:05}", number * 7919 % 20_000);
            if number % 11 == 0 {
                delete(&node.keyspace, &key);
            } else {
                put(&node.keyspace, &key, &number.to_string());
            }
        }
        let before = known(&node.keyspace);
        stop(node).await;
        let node = bench.open().await.unwrap();
        assert_eq!(known(&node.keyspace), before);
        stop(node).await;
    });
}

#[test]
fn state_that_was_fetched_in_part_does_not_count() {
    block_on(async {
        let bench = Bench::new(1, Durability::Sync);
        let node = bench.open().await.unwrap();
        let peer = other(&bench.clock, 77);
        put(&peer, "k", "theirs");
        let partition = crate::storage::partition_of(b"k");
        let before = known(&node.keyspace);
        let mut snapshot = Snapshot::take(&peer, partition, VersionVector::new());
        let piece = snapshot.next_piece(PieceBounds { records_max: 9, visits_max: 9, bytes_target: 1000 });
        node.keyspace.admit_state(&piece).unwrap();
        node.keyspace.apply_state(partition, piece, false);
        assert_eq!(value(&node.keyspace, "k").as_deref(), Some("theirs"));
        flush(&node).await;
        bench.lose_power(node).await;
        let node = bench.open().await.unwrap();
        assert_eq!(known(&node.keyspace), before);
        fetch(&peer, &node.keyspace);
        flush(&node).await;
        let after = known(&node.keyspace);
        bench.lose_power(node).await;
        let node = bench.open().await.unwrap();
        assert_eq!(known(&node.keyspace), after);
        assert_eq!(value(&node.keyspace, "k").as_deref(), Some("theirs"));
    });
}
