//! What a node that does not wait for its disk has told of itself is not taken back by a loss of power.

use std::collections::BTreeMap;

use super::*;
use crate::{
    limits::{PARTITIONS, POSITIONS_INTERVAL, PROTOCOL_VERSION},
    replication::eventual::{
        durable::Lows,
        replica::{self, Action, Bounds, Now, Replica, ReplicaConfig},
    },
    storage::partition_of,
    types::{Address, Hello, Member, Membership, PartitionId, PartitionPosition, Positions, Timestamp},
};

const KEYS: u8 = 12;

/// What may happen between two losses of power.
#[derive(Clone, Debug)]
enum Event {
    Own(u8),
    Pushed(u8),
    PushedDelete(u8),
    Tell,
    /// What was appended is handed to the system, which has synced nothing yet.
    Write,
    Flush,
    Checkpoint,
    PowerLoss,
}

fn event() -> impl Strategy<Value = Event> {
    prop_oneof![
        2 => (0..KEYS).prop_map(Event::Own),
        4 => (0..KEYS).prop_map(Event::Pushed),
        2 => (0..KEYS).prop_map(Event::PushedDelete),
        6 => Just(Event::Tell),
        3 => Just(Event::Write),
        2 => Just(Event::Flush),
        1 => Just(Event::Checkpoint),
        2 => Just(Event::PowerLoss),
    ]
}

/// Stamps by key, of deleted ones too.
fn held(keyspace: &Arc<Eventual>) -> BTreeMap<Key, Timestamp> {
    let records = keyspace.partition_ids().flat_map(|partition| {
        let mut snapshot = Snapshot::take(keyspace, partition, VersionVector::new());
        snapshot.next_piece(PieceBounds { records_max: 1000, visits_max: 1000, bytes_target: 1 << 20 })
    });
    records.map(|StateRecord { key, record }| (key, record.timestamp)).collect()
}

/// A node, what it held at any time since its start, and what it told.
struct Told {
    bench: Bench,
    node: Opened,
    peer: Arc<Eventual>,
    lows: Lows,
    stamps: BTreeMap<Key, Vec<Timestamp>>,
    lows_told: BTreeMap<PartitionId, Timestamp>,
}

impl Told {
    async fn new(seed: u64) -> Told {
        let bench = Bench::new(seed, Durability::Memory);
        let (node, peer) = (bench.open().await.unwrap(), other(&bench.clock, 77));
        let (lows, stamps, lows_told) = (Lows::default(), BTreeMap::new(), BTreeMap::new());
        Told { bench, node, peer, lows, stamps, lows_told }
    }

    fn note(&mut self) {
        for (key, stamp) in held(&self.node.keyspace) {
            self.stamps.entry(key).or_default().push(stamp);
        }
    }

    /// All that the peer has written is pushed, so the node is complete up to what both clocks say. Gives the greatest low
    /// that is told of a partition.
    fn tell(&mut self) -> Timestamp {
        push(&self.peer, &self.node.keyspace);
        self.note();
        let low = self.peer.tick().min(self.node.keyspace.tick());
        let mut greatest = Timestamp::ZERO;
        for partition in self.node.keyspace.partition_ids() {
            let told = self.lows.tell(&self.node.keyspace, partition, low);
            let before = self.lows_told.entry(partition).or_default();
            *before = told.max(*before);
            greatest = greatest.max(told);
        }
        greatest
    }

    async fn lose_power(self) -> Result<Told, TestCaseError> {
        let Told { bench, node, peer, stamps, lows_told, .. } = self;
        bench.lose_power(node).await;
        let node = bench.open().await.unwrap();
        let there = held(&node.keyspace);
        for (key, stamps) in stamps {
            let low = lows_told.get(&partition_of(&key)).copied().unwrap_or_default();
            let Some(least) = stamps.into_iter().filter(|stamp| *stamp <= low).max() else { continue };
            let found = there.get(&key).copied().unwrap_or_default();
            prop_assert!(found >= least, "{key:?}: {least} was told of by {low}, {found} is there");
        }
        // What was not told of may be lost, and what the peer has of it comes again.
        let stamps = there.into_iter().map(|(key, stamp)| (key, vec![stamp])).collect();
        Ok(Told { bench, node, peer, lows: Lows::default(), stamps, lows_told })
    }

    async fn play(mut self, events: Vec<Event>) -> Result<(), TestCaseError> {
        for event in events {
            self.bench.clock.advance(std::time::Duration::from_millis(3));
            match event {
                Event::Own(key) => put(&self.node.keyspace, &format!("k{key}"), "mine"),
                Event::Pushed(key) => put(&self.peer, &format!("k{key}"), "theirs"),
                Event::PushedDelete(key) => delete(&self.peer, &format!("k{key}")),
                Event::Tell => drop(self.tell()),
                Event::Write => write_out().await,
                Event::Flush => flush(&self.node).await,
                Event::Checkpoint => drop(self.node.keeper.checkpoint().await.unwrap()),
                Event::PowerLoss => self = self.lose_power().await?,
            }
        }
        self.lose_power().await.map(drop)
    }
}

/// Lets the log write what it has.
async fn write_out() {
    for _ in 0..10 {
        tokio::task::yield_now().await;
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Others forget deletes on the word of a node that it has everything up to a stamp. Were that word lost with the
    /// power, what such a delete hides could be on the disk, without it.
    #[test]
    fn what_a_told_low_is_about_survives_a_loss_of_power(seed: u64, events in prop::collection::vec(event(), 1..40)) {
        block_on(async { Told::new(seed).await.play(events).await })?;
    }
}

#[test]
fn a_low_is_told_once_what_it_is_about_is_on_disk() {
    block_on(async {
        let mut told = Told::new(1).await;
        put(&told.peer, "k", "theirs");
        assert_eq!(told.tell(), Timestamp::ZERO);
        write_out().await;
        assert_eq!(told.tell(), Timestamp::ZERO, "written is not synced");
        let stamp = held(&told.node.keyspace).into_values().max().unwrap();
        flush(&told.node).await;
        assert!(told.tell() > stamp);
    });
}

#[test]
fn a_low_from_before_a_member_was_met_is_not_told_of_its_older_writes() {
    block_on(async {
        let mut told = Told::new(1).await;
        let stranger = other(&told.bench.clock, 78);
        delete(&stranger, "k");
        let stamp = held(&stranger).into_values().max().unwrap();
        told.bench.clock.advance(std::time::Duration::from_millis(3));
        put(&told.peer, "k2", "theirs");
        told.tell();
        flush(&told.node).await;
        assert!(told.tell() > stamp, "nobody knows the stranger yet");
        told.lows.meet();
        push(&stranger, &told.node.keyspace);
        assert!(told.tell() < stamp, "its delete is not on disk");
        flush(&told.node).await;
        assert!(told.tell() > stamp);
    });
}

/// The node as its peers see it: two of them, of whom the second is met late and with an old delete.
struct Node {
    replica: Replica,
    bench: Bench,
}

impl Node {
    fn new(bench: Bench, keyspace: &Arc<Eventual>) -> Node {
        let config = ReplicaConfig {
            cluster: "test".to_string(),
            advertise: Address::new("node", 5).unwrap(),
            peers: Vec::new(),
            bounds: Bounds::default(),
            membership: Membership::default(),
            seed: 1,
        };
        Node { replica: Replica::new(config, Arc::clone(keyspace), now(&bench)), bench }
    }

    fn handle(&mut self, event: replica::Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.replica.handle(now(&self.bench), event, &mut actions);
        actions
    }

    fn receive(&mut self, from: &Eventual, message: PeerMessage) {
        let session = SessionId(from.me().0);
        self.handle(replica::Event::Received { session, message });
    }

    /// A peer opens a stream.
    fn meet(&mut self, peer: &Eventual) {
        let node = peer.me();
        self.handle(replica::Event::Accepted { session: SessionId(node.0) });
        let hello = Hello {
            protocol_version: PROTOCOL_VERSION,
            cluster: "test".to_string(),
            sender: Member { node, address: Address::new("node", node.0 as u16).unwrap(), born_ms: 0 },
            partitions: PARTITIONS,
            membership: Membership::default(),
        };
        self.receive(peer, PeerMessage::Hello(hello));
    }

    /// Peers say where they stand, time passes, and the low that the node tells of the key `k` is given.
    fn report(&mut self, peers: &[&Eventual]) -> Timestamp {
        self.bench.clock.advance(POSITIONS_INTERVAL * 2);
        for peer in peers {
            let standing = |partition| PartitionPosition {
                partition,
                vector: peer.vector(partition),
                outbox_first: Sequence(1),
                low: Timestamp::ZERO,
                digest: None,
                floor: Timestamp::ZERO,
            };
            let partitions = peer.partition_ids().map(standing).collect();
            let positions = Positions { clock: peer.tick(), partitions, ..Positions::default() };
            self.receive(peer, PeerMessage::Positions(positions));
        }
        self.bench.clock.advance(POSITIONS_INTERVAL * 2);
        let told = self.handle(replica::Event::Tick).into_iter().find_map(|action| match action {
            Action::Send { message: PeerMessage::Positions(positions), .. } => Some(positions),
            Action::Send { .. } | Action::Dial { .. } | Action::Close { .. } => None,
        });
        let told = told.expect("it is time to tell");
        told.partitions.iter().find(|told| told.partition == partition_of(b"k")).expect("it tells of all").low
    }
}

fn now(bench: &Bench) -> Now {
    Now { monotonic: bench.clock.monotonic(), wall_ms: bench.clock.wall_ms() }
}

#[test]
fn a_node_that_meets_a_member_holds_its_low_back_until_the_old_writes_of_that_member_are_on_disk() {
    block_on(async {
        let bench = Bench::new(1, Durability::Memory);
        let (opened, friend, stranger) =
            (bench.open().await.unwrap(), other(&bench.clock, 77), other(&bench.clock, 78));
        delete(&stranger, "k");
        let stamp = held(&stranger).into_values().max().unwrap();
        let mut node = Node::new(bench, &opened.keyspace);
        node.meet(&friend);
        node.report(&[&friend]);
        flush(&opened).await;
        assert!(node.report(&[&friend]) > stamp, "nobody knows the stranger yet");
        node.meet(&stranger);
        push(&stranger, &opened.keyspace);
        assert_eq!(node.report(&[&friend, &stranger]), Timestamp::ZERO, "its delete is not on disk");
        flush(&opened).await;
        assert!(node.report(&[&friend, &stranger]) > stamp);
    });
}

/// Each known mistake makes a test of what was told fail.
#[cfg(feature = "faults")]
#[test]
fn the_known_mistakes_are_caught() {
    use crate::faults::is_caught;
    const LOWS: &str = "what_a_told_low_is_about";
    const CLOCK: &str = "many_restarts_do_not_push_the_clock_ahead";
    assert!(!is_caught("none", &[LOWS, CLOCK]));
    for (mutant, test) in [("low_before_sync", LOWS), ("clock_bound_not_kept", CLOCK)] {
        assert!(is_caught(mutant, &[test]), "{mutant} survived");
    }
}
