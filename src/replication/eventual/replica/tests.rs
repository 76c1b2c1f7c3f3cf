//! The rules of a session, one by one: two replicas, or one and a peer that says what the test wants.

mod reports;

use super::*;
use crate::{
    env::SimulatedClock,
    limits::{PARTITIONS, PROTOCOL_VERSION, REDIAL_MAX},
    replication::eventual::OutboxBounds,
    storage::partition_of,
    types::{
        Command, CommandKind, Dot, Hello, Key, Membership, PartitionChanges, PartitionId, PartitionPosition, PeerState,
        Positions, Record, Sequence, StateChunk, StateEnd, StateRecord, Timestamp, TransferId, Value, VersionVector,
    },
};

const ME: u64 = 5;
const SESSION: SessionId = SessionId(1);

/// One replica, and the test as all of its peers.
struct Bench {
    replica: Replica,
    keyspace: Arc<Eventual>,
    now: Now,
}

fn address(port: u16) -> Address {
    Address::new("node", port).unwrap()
}

fn hello(node: u64, port: u16) -> Hello {
    Hello {
        protocol_version: PROTOCOL_VERSION,
        cluster: "test".to_string(),
        sender: Member { node: NodeId(node), address: address(port), born_ms: 0 },
        partitions: PARTITIONS,
        membership: Membership::default(),
    }
}

fn vector(entries: &[(u64, u64)]) -> VersionVector {
    entries.iter().map(|&(node, sequence)| (NodeId(node), Sequence(sequence))).collect()
}

/// The peer stands at `entries` in the partition of the key `k`, and streams from `outbox_first` on.
fn positions(entries: &[(u64, u64)], outbox_first: u64) -> PeerMessage {
    let position = PartitionPosition {
        partition: partition_of(b"k"),
        vector: vector(entries),
        outbox_first: Sequence(outbox_first),
        low: Timestamp::ZERO,
        digest: None,
        floor: Timestamp::ZERO,
    };
    PeerMessage::Positions(Positions { partitions: vec![position], ..Positions::default() })
}

impl Bench {
    fn new(peers: &[u16], outbox_writes_max: usize) -> Bench {
        let clock = Arc::new(SimulatedClock::new(1000));
        let bounds = OutboxBounds { bytes_max: 10_000, writes_max: outbox_writes_max, spare_writes: outbox_writes_max };
        let keyspace = Arc::new(Eventual::with_outbox_bounds(NodeId(ME), clock, bounds));
        let config = ReplicaConfig {
            cluster: "test".to_string(),
            advertise: address(5),
            peers: peers.iter().map(|&port| address(port)).collect(),
            bounds: Bounds::default(),
            membership: Membership::default(),
            seed: 1,
        };
        let now = Now { monotonic: Duration::ZERO, wall_ms: 1000 };
        Bench { replica: Replica::new(config, Arc::clone(&keyspace), now), keyspace, now }
    }

    fn handle(&mut self, event: Event) -> Vec<Action> {
        let mut actions = Vec::new();
        self.replica.handle(self.now, event, &mut actions);
        actions
    }

    fn after(&mut self, pause: Duration, event: Event) -> Vec<Action> {
        self.now.monotonic += pause;
        self.now.wall_ms += pause.as_millis() as u64;
        self.handle(event)
    }

    fn receive(&mut self, session: SessionId, message: PeerMessage) -> Vec<Action> {
        self.handle(Event::Received { session, message })
    }

    /// The peer dials us and says who it is.
    fn accept(&mut self, session: SessionId, node: u64, port: u16) -> Vec<Action> {
        self.handle(Event::Accepted { session });
        self.receive(session, PeerMessage::Hello(hello(node, port)))
    }

    /// We dial the peer, and it says who it is.
    fn dial(&mut self, session: SessionId, node: u64, port: u16) -> Vec<Action> {
        self.handle(Event::DialSucceeded { address: address(port), session });
        self.receive(session, PeerMessage::Hello(hello(node, port)))
    }

    fn put(&mut self, value: &str) {
        let kind = CommandKind::Put { value: Value::new(value.as_bytes()).unwrap(), flags: 0, ttl_ms: None };
        self.keyspace.write(Command { key: Key::new(b"k").unwrap(), kind }).unwrap();
    }

    fn position_of(&self, node: u64) -> u64 {
        self.keyspace.position(partition_of(b"k"), NodeId(node)).0
    }

    fn sessions(&self) -> Vec<u64> {
        self.replica.sessions.keys().map(|id| id.0).collect()
    }
}

fn sent(actions: &[Action]) -> Vec<&PeerMessage> {
    let mut messages = Vec::new();
    for action in actions {
        if let Action::Send { message, .. } = action {
            messages.push(message);
        }
    }
    messages
}

fn closed(actions: &[Action]) -> Vec<(u64, &str)> {
    let mut closed = Vec::new();
    for action in actions {
        if let Action::Close { session, why } = action {
            closed.push((session.0, why.as_str()));
        }
    }
    closed
}

/// The first sequences of the stretches that were pushed, and how many writes each has.
fn pushed(actions: &[Action]) -> Vec<(u64, usize)> {
    let stretches = sent(actions).into_iter().filter_map(|message| match message {
        PeerMessage::Changes(stretches) => Some(stretches),
        _ => None,
    });
    stretches.flatten().map(|stretch| (stretch.first_sequence.0, stretch.changes.len())).collect()
}

/// The sessions and transfers of the state that was asked for in the partition of the key `k`.
fn asked(actions: &[Action]) -> Vec<(u64, TransferId)> {
    let request = |action: &Action| match action {
        Action::Send { session, message: PeerMessage::StateRequest { transfer, partition, .. } }
            if *partition == partition_of(b"k") =>
        {
            Some((session.0, *transfer))
        }
        _ => None,
    };
    actions.iter().filter_map(request).collect()
}

/// A piece of state with a write of node 9.
fn state_chunk(transfer: TransferId, last: Option<VersionVector>) -> PeerMessage {
    let record = Record {
        value: Some(Value::new(b"fetched").unwrap()),
        flags: 0,
        timestamp: Timestamp(7),
        dot: Dot { node: NodeId(9), sequence: Sequence(1) },
        expires_ms: None,
    };
    let records = vec![StateRecord { key: Key::new(b"k").unwrap(), record }];
    let end = last.map(|vector| StateEnd { vector, ..StateEnd::default() });
    PeerMessage::StateChunk(StateChunk { transfer, partition: partition_of(b"k"), records, last: end })
}

#[test]
fn both_sides_keep_the_session_of_the_smaller_id_and_only_its_dialler_closes_the_other() {
    let mut smaller_peer = Bench::new(&[3], 10);
    smaller_peer.dial(SessionId(1), 3, 3);
    assert_eq!(closed(&smaller_peer.accept(SessionId(2), 3, 3)), [(1, "there is another session with this peer")]);
    assert_eq!(smaller_peer.sessions(), [2]);

    let mut greater_peer = Bench::new(&[8], 10);
    greater_peer.dial(SessionId(1), 8, 8);
    assert_eq!(closed(&greater_peer.accept(SessionId(2), 8, 8)), []);
    assert_eq!(greater_peer.sessions(), [1, 2], "the peer closes the one it dialled");
}

#[test]
fn of_two_sessions_dialled_to_one_node_by_two_names_the_newest_stays() {
    let mut bench = Bench::new(&[8, 88], 10);
    bench.dial(SessionId(1), 8, 8);
    bench.handle(Event::DialSucceeded { address: address(88), session: SessionId(2) });
    let actions = bench.receive(SessionId(2), PeerMessage::Hello(hello(8, 8)));
    assert_eq!(closed(&actions), [(1, "there is another session with this peer")]);
    let actions = bench.after(REDIAL_MAX, Event::Tick);
    assert!(!actions.iter().any(|action| matches!(action, Action::Dial { .. })), "{actions:?}");
    assert_eq!(bench.replica.members().len(), 2, "one member with two names is one member");
}

#[test]
fn a_new_incarnation_at_an_address_replaces_the_former() {
    let mut bench = Bench::new(&[], 10);
    bench.accept(SessionId(1), 8, 8);
    assert_eq!(closed(&bench.accept(SessionId(2), 9, 8)), [(1, "a new incarnation has taken its place")]);
    assert_eq!(bench.replica.members()[1].node, Some(NodeId(9)));
}

#[test]
fn another_cluster_is_refused_and_the_status_says_why() {
    let mut bench = Bench::new(&[8], 10);
    bench.handle(Event::DialSucceeded { address: address(8), session: SESSION });
    let stranger = Hello { cluster: "other".to_string(), ..hello(8, 8) };
    let why = "node:8 belongs to cluster \"other\", this node to \"test\"";
    assert_eq!(closed(&bench.receive(SESSION, PeerMessage::Hello(stranger))), [(1, why)]);
    let status = bench.replica.status(bench.now.wall_ms);
    assert_eq!((status.peers[0].state, status.peers[0].problem.as_str()), (PeerState::Refused, why));
    assert_eq!(bench.after(REDIAL_MAX, Event::Tick), [Action::Dial { address: address(8) }]);
}

#[test]
fn other_protocol_versions_and_partition_counts_are_refused() {
    for stranger in [Hello { protocol_version: 99, ..hello(8, 8) }, Hello { partitions: 7, ..hello(8, 8) }] {
        let mut bench = Bench::new(&[8], 10);
        bench.handle(Event::DialSucceeded { address: address(8), session: SESSION });
        assert_eq!(closed(&bench.receive(SESSION, PeerMessage::Hello(stranger))).len(), 1);
        assert_eq!(bench.replica.status(bench.now.wall_ms).peers[0].state, PeerState::Refused);
    }
}

#[test]
fn a_node_that_dialled_itself_does_not_do_it_again() {
    let mut bench = Bench::new(&[77], 10);
    bench.handle(Event::DialSucceeded { address: address(77), session: SESSION });
    assert_eq!(closed(&bench.receive(SESSION, PeerMessage::Hello(hello(ME, 5)))).len(), 1);
    bench.handle(Event::Closed { session: SESSION, problem: None });
    assert!(bench.after(REDIAL_MAX * 2, Event::Tick).is_empty());
    assert!(bench.replica.is_ready(), "there is nobody else to wait for");
}

#[test]
fn own_writes_are_pushed_from_where_the_peer_stands_and_again_after_a_gap() {
    let mut bench = Bench::new(&[], 10);
    (0..4).for_each(|_| bench.put("v"));
    assert_eq!(pushed(&bench.accept(SESSION, 8, 8)), [], "nobody knows yet where the peer stands");
    assert_eq!(pushed(&bench.receive(SESSION, positions(&[(ME, 2)], 1))), [(3, 2)]);
    let partition = partition_of(b"k");
    let gap = PeerMessage::Acknowledgements(vec![(partition, Sequence(1))]);
    assert_eq!(pushed(&bench.receive(SESSION, gap)), [(2, 3)]);
    assert!(!bench.replica.is_drained());
    let all = PeerMessage::Acknowledgements(vec![(partition, Sequence(4))]);
    assert_eq!(pushed(&bench.receive(SESSION, all)), []);
    assert!(bench.replica.is_drained());
}

#[test]
fn a_stretch_after_a_gap_is_answered_by_where_we_stand() {
    let mut bench = Bench::new(&[], 10);
    bench.accept(SESSION, 8, 8);
    let stretch = PartitionChanges {
        partition: partition_of(b"k"),
        first_sequence: Sequence(7),
        seen: Vec::new(),
        changes: Vec::new(),
    };
    let actions = bench.receive(SESSION, PeerMessage::Changes(vec![stretch]));
    assert_eq!(sent(&actions), [&PeerMessage::Acknowledgements(vec![(partition_of(b"k"), Sequence::ZERO)])]);
}

#[test]
fn a_peer_behind_the_outbox_is_told_so_and_pushed_to_again_once_it_has_fetched() {
    let mut bench = Bench::new(&[], 2);
    (0..5).for_each(|_| bench.put("v"));
    bench.accept(SESSION, 8, 8);
    let actions = bench.receive(SESSION, positions(&[], 1));
    assert_eq!(pushed(&actions), []);
    let told = sent(&actions).into_iter().any(|message| match message {
        PeerMessage::Positions(positions) => positions.partitions[0].outbox_first == Sequence(4),
        _ => false,
    });
    assert!(told, "{actions:?}");
    let fetched = PeerMessage::Acknowledgements(vec![(partition_of(b"k"), Sequence(3))]);
    assert_eq!(pushed(&bench.receive(SESSION, fetched)), [(4, 2)]);
}

#[test]
fn state_is_fetched_from_a_peer_whose_outbox_does_not_reach_back() {
    let mut bench = Bench::new(&[], 10);
    bench.accept(SESSION, 8, 8);
    assert_eq!(asked(&bench.receive(SESSION, positions(&[(8, 9)], 1))), [], "the push will bring it");
    assert_eq!(asked(&bench.receive(SESSION, positions(&[(8, 9)], 5))).len(), 1);
}

#[test]
fn writes_of_an_origin_that_is_gone_are_fetched_from_one_who_has_them() {
    let mut bench = Bench::new(&[], 10);
    bench.accept(SessionId(1), 8, 8);
    bench.accept(SessionId(2), 9, 9);
    assert_eq!(asked(&bench.receive(SessionId(1), positions(&[(9, 3)], 1))), [], "its origin is there");
    let actions = bench.handle(Event::Closed { session: SessionId(2), problem: None });
    assert_eq!(asked(&actions), []);
    let actions = bench.handle(Event::Tick);
    assert_eq!(asked(&actions).iter().map(|&(session, _)| session).collect::<Vec<_>>(), [1]);
    assert_eq!(asked(&bench.receive(SessionId(1), positions(&[(9, 3)], 1))), [], "once is enough");
}

#[test]
fn a_transfer_that_breaks_off_changes_nothing_and_is_asked_of_another() {
    let mut bench = Bench::new(&[], 10);
    bench.accept(SessionId(1), 7, 7);
    bench.accept(SessionId(2), 8, 8);
    let asked_first = asked(&bench.receive(SessionId(1), positions(&[(9, 1)], 1)));
    bench.receive(SessionId(2), positions(&[(9, 1)], 1));
    let answer = bench.receive(SessionId(1), state_chunk(asked_first[0].1, None));
    assert!(matches!(sent(&answer)[..], [PeerMessage::StateChunkReceived { .. }]));
    bench.handle(Event::Closed { session: SessionId(1), problem: None });
    assert_eq!((bench.position_of(9), bench.keyspace.read(b"k")), (0, None));

    let asked_next = asked(&bench.handle(Event::Tick));
    assert_eq!(asked_next[0].0, 2);
    assert_eq!(closed(&bench.receive(SessionId(2), state_chunk(asked_first[0].1, None))), [], "late, not wrong");
    bench.receive(SessionId(2), state_chunk(asked_next[0].1, Some(vector(&[(9, 1)]))));
    assert_eq!(bench.position_of(9), 1);
    assert_eq!(bench.keyspace.read(b"k").unwrap().value.unwrap().as_slice(), b"fetched");
}

#[test]
fn a_transfer_that_stands_still_is_asked_of_another() {
    let mut bench = Bench::new(&[], 10);
    for (session, node) in [(SessionId(1), 7), (SessionId(2), 8)] {
        bench.accept(session, node, node as u16);
    }
    assert_eq!(asked(&bench.receive(SessionId(1), positions(&[(9, 1)], 1)))[0].0, 1);
    bench.receive(SessionId(2), positions(&[(9, 1)], 1));
    let mut asked_next = Vec::new();
    for _ in 0..11 {
        for session in [SessionId(1), SessionId(2)] {
            bench.receive(session, PeerMessage::Members(Membership::default()));
        }
        asked_next.extend(asked(&bench.after(Duration::from_secs(1), Event::Tick)));
    }
    assert_eq!(asked_next.iter().map(|&(session, _)| session).collect::<Vec<_>>(), [2]);
}

#[test]
fn a_peer_that_breaks_the_protocol_is_cut_off() {
    let partition = partition_of(b"k");
    let stretch = |partition, first_sequence| PartitionChanges {
        partition,
        first_sequence: Sequence(first_sequence),
        seen: Vec::new(),
        changes: Vec::new(),
    };
    let nowhere = PartitionId(PARTITIONS);
    for breach in [
        PeerMessage::Hello(hello(8, 8)),
        PeerMessage::Acknowledgements(vec![(partition, Sequence(1))]),
        PeerMessage::Acknowledgements(vec![(nowhere, Sequence::ZERO)]),
        positions(&[(ME, 1)], 1),
        PeerMessage::Changes(vec![stretch(partition, 0)]),
        PeerMessage::Changes(vec![stretch(nowhere, 1)]),
        PeerMessage::StateRequest { transfer: TransferId(1), partition: nowhere, vector: vector(&[]), repair: false },
    ] {
        let mut bench = Bench::new(&[], 10);
        bench.accept(SESSION, 8, 8);
        assert_eq!(closed(&bench.receive(SESSION, breach.clone())).len(), 1, "{breach:?}");
    }
    let mut bench = Bench::new(&[], 10);
    bench.handle(Event::Accepted { session: SESSION });
    assert_eq!(closed(&bench.receive(SESSION, positions(&[], 1))), [(1, "the first message is not a Hello")]);
}

#[test]
fn silent_peers_are_cut_off_but_not_for_a_pause_of_our_own() {
    let mut bench = Bench::new(&[], 10);
    bench.accept(SessionId(1), 8, 8);
    assert_eq!(closed(&bench.after(SESSION_SILENCE_MAX * 2, Event::Tick)), [], "it was us who slept");
    bench.handle(Event::Accepted { session: SessionId(2) });
    let mut cut = Vec::new();
    for _ in 0..6 {
        let actions = bench.after(Duration::from_secs(1), Event::Tick);
        cut.extend(closed(&actions).into_iter().map(|(session, _)| session));
    }
    assert_eq!(cut, [2, 1], "no Hello within its time, then nothing at all");
}
