//! A whole cluster in one thread: replicas on a network that delays, reorders between sessions, loses and cuts, all drawn
//! from one seed. What happens is checked against everything that was ever written.

mod clocks;

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use rand::{rngs::StdRng, Rng, SeedableRng};

use super::*;
use crate::{
    env::{Clock, SimulatedClock},
    replication::eventual::OutboxBounds,
    storage::partition_of,
    types::{Command, CommandKind, Dot, Key, PartitionId, Record, RecordRef, Value, VersionVector},
};

/// How often a node's timers run. Rarer than in the world, to save time.
const TICK_MS: u64 = 100;

/// What every wall clock begins with.
const WALL_MS: u64 = 1_000_000;

/// How far ahead a stamp may be.
const MAX_DRIFT: Duration = Duration::from_secs(2);

/// How far a bad clock is off.
const BAD_OFFSET_MS: i64 = 4000;

pub(super) struct Simulation {
    pub(super) rng: StdRng,
    pub(super) nodes: BTreeMap<u16, Node>,
    /// Everything that was written, by partition and dot.
    pub(super) written: BTreeMap<(PartitionId, NodeId, u64), (Key, Record)>,
    /// What the writer of each had applied when it wrote.
    pub(super) applied: BTreeMap<(PartitionId, NodeId, u64), VersionVector>,
    queue: BTreeMap<(u64, u64), Delivery>,
    serial: u64,
    now_ms: u64,
    wires: Vec<Wire>,
    outbox_writes_max: usize,
    bounds: Bounds,
    /// There were nodes with old writes that others had never heard of.
    pub(super) were_apart: bool,
    /// How far the wall clock of each port is off. By port, because of two incarnations the one born later stands.
    pub(super) offsets_ms: BTreeMap<u16, i64>,
    /// How often each rare path was taken: a test that never took one proves nothing about it.
    pub(super) counts: BTreeMap<&'static str, u64>,
}

pub(super) struct Node {
    pub(super) keyspace: Arc<Eventual>,
    pub(super) replica: Replica,
    clock: Arc<SimulatedClock>,
    pub(super) is_paused: bool,
    /// What arrived during the pause.
    waiting: Vec<Event>,
    streams: BTreeMap<SessionId, (usize, usize)>,
    has_news_queued: bool,
}

/// A connection: who is at its two ends, and until when each direction is busy.
struct Wire {
    ends: [(u16, NodeId, SessionId); 2],
    busy_until_ms: [u64; 2],
    is_broken: bool,
}

enum Delivery {
    Event { to: (u16, NodeId), event: Event },
    Dial { from: (u16, NodeId), to: Address },
    Tick { to: (u16, NodeId) },
    News { to: (u16, NodeId) },
}

pub(super) fn address(port: u16) -> Address {
    Address::new("node", port).unwrap()
}

impl Simulation {
    pub(super) fn new(seed: u64) -> Simulation {
        let mut rng = StdRng::seed_from_u64(seed);
        let outbox_writes_max = [2, 5, 1000][rng.random_range(0..3)];
        let mut offsets_ms: BTreeMap<u16, i64> = (1..=4).map(|port| (port, rng.random_range(-500..500))).collect();
        let mut bounds = bounds::TINY;
        if rng.random_bool(0.3) {
            let bad = if rng.random_bool(0.5) { BAD_OFFSET_MS } else { -BAD_OFFSET_MS };
            offsets_ms.insert(rng.random_range(1..=4), bad);
            // The grace has to exceed what clocks differ by.
            bounds.tombstone_grace = Duration::from_secs(6);
        }
        Simulation {
            rng,
            nodes: BTreeMap::new(),
            written: BTreeMap::new(),
            applied: BTreeMap::new(),
            queue: BTreeMap::new(),
            serial: 0,
            now_ms: 0,
            wires: Vec::new(),
            outbox_writes_max,
            bounds,
            offsets_ms,
            were_apart: false,
            counts: BTreeMap::new(),
        }
    }

    /// One without bad clocks, for a story that is told step by step.
    pub(super) fn calm(seed: u64) -> Simulation {
        let offsets_ms = BTreeMap::new();
        Simulation { offsets_ms, bounds: bounds::TINY, outbox_writes_max: 1000, ..Simulation::new(seed) }
    }

    /// A new incarnation at this port.
    pub(super) fn start(&mut self, port: u16, peers: &[u16]) {
        let id = NodeId(self.rng.random_range(1..u64::MAX));
        let clock = Arc::new(SimulatedClock::new(0));
        clock.advance(Duration::from_millis(self.now_ms));
        clock.set_wall_ms(self.wall_ms(port));
        let bounds = OutboxBounds {
            bytes_max: 1000,
            writes_max: self.outbox_writes_max,
            spare_writes: self.outbox_writes_max / 4,
        };
        let keyspace = Eventual::with_outbox_bounds(id, Arc::clone(&clock) as Arc<dyn Clock>, bounds);
        let keyspace = Arc::new(keyspace.with_max_drift(MAX_DRIFT));
        let config = ReplicaConfig {
            cluster: "simulated".to_string(),
            advertise: address(port),
            peers: peers.iter().map(|&port| address(port)).collect(),
            bounds: self.bounds,
            membership: Membership::default(),
            seed: self.rng.random(),
        };
        let replica = Replica::new(config, Arc::clone(&keyspace), now_of(&clock));
        let node = Node {
            keyspace,
            replica,
            clock,
            is_paused: false,
            waiting: Vec::new(),
            streams: BTreeMap::new(),
            has_news_queued: false,
        };
        self.nodes.insert(port, node);
        self.queue(1, Delivery::Tick { to: (port, id) });
    }

    /// The node is gone with its memory; its peers learn of it soon, late or never.
    pub(super) fn kill(&mut self, port: u16) {
        if self.nodes.remove(&port).is_some() {
            self.break_wires(|ends| ends.contains(&port));
            self.count("kills");
        }
    }

    /// Loses every connection between two ports.
    pub(super) fn cut(&mut self, a: u16, b: u16) {
        self.break_wires(|ends| ends.contains(&a) && ends.contains(&b));
        self.count("cuts");
    }

    pub(super) fn pause(&mut self, port: u16) {
        if let Some(node) = self.nodes.get_mut(&port) {
            node.is_paused = true;
            self.count("pauses");
        }
    }

    pub(super) fn resume(&mut self, port: u16) {
        let Some(node) = self.nodes.get_mut(&port) else { return };
        node.is_paused = false;
        for event in std::mem::take(&mut node.waiting) {
            self.handle(port, event);
        }
    }

    /// A client's write, acknowledged when this returns.
    pub(super) fn write(&mut self, port: u16, key: &str, value: Option<&str>, ttl_ms: Option<u64>) {
        let Some(node) = self.nodes.get_mut(&port) else { return };
        let kind = value.map_or(CommandKind::Delete, |value| CommandKind::Put {
            value: Value::new(value.as_bytes()).unwrap(),
            flags: 0,
            ttl_ms,
        });
        let key = Key::new(key.as_bytes()).unwrap();
        let partition = partition_of(&key);
        let applied = node.keyspace.vector(partition);
        node.keyspace.write(Command { key: key.clone(), kind }).unwrap();
        let record = node.keyspace.records(partition, |records| records.get(&key).map(RecordRef::to_record)).unwrap();
        let Dot { node: origin, sequence } = record.dot;
        self.written.insert((partition, origin, sequence.0), (key, record));
        self.applied.insert((partition, origin, sequence.0), applied);
        self.queue_news(port);
        self.count("writes");
    }

    /// Lets so much time pass.
    pub(super) fn run(&mut self, ms: u64) {
        let end_ms = self.now_ms + ms;
        while let Some(entry) = self.queue.first_entry() {
            if entry.key().0 > end_ms {
                break;
            }
            let ((at_ms, _), delivery) = entry.remove_entry();
            self.advance(at_ms);
            self.deliver(delivery);
        }
        self.advance(end_ms);
    }

    fn advance(&mut self, to_ms: u64) {
        let step = Duration::from_millis(to_ms - self.now_ms);
        self.nodes.values().for_each(|node| node.clock.advance(step));
        self.now_ms = to_ms;
    }

    pub(super) fn count(&mut self, what: &'static str) {
        *self.counts.entry(what).or_default() += 1;
    }

    fn queue(&mut self, after_ms: u64, delivery: Delivery) {
        self.serial += 1;
        self.queue.insert((self.now_ms + after_ms, self.serial), delivery);
    }

    fn queue_news(&mut self, port: u16) {
        let Some(node) = self.nodes.get_mut(&port) else { return };
        if !std::mem::replace(&mut node.has_news_queued, true) {
            let to = (port, node.keyspace.me());
            let after_ms = self.rng.random_range(0..3);
            self.queue(after_ms, Delivery::News { to });
        }
    }

    fn is_alive(&self, (port, id): (u16, NodeId)) -> bool {
        self.nodes.get(&port).is_some_and(|node| node.keyspace.me() == id)
    }

    fn deliver(&mut self, delivery: Delivery) {
        match delivery {
            Delivery::Event { to, event } if self.is_alive(to) => self.handle(to.0, event),
            Delivery::Tick { to } if self.is_alive(to) => {
                self.queue(TICK_MS, Delivery::Tick { to });
                if !self.nodes[&to.0].is_paused {
                    self.handle(to.0, Event::Tick);
                }
            }
            Delivery::News { to } if self.is_alive(to) => {
                self.nodes.get_mut(&to.0).unwrap().has_news_queued = false;
                self.handle(to.0, Event::News);
            }
            Delivery::Dial { from, to } if self.is_alive(from) => self.connect(from, to),
            Delivery::Event { .. } | Delivery::Tick { .. } | Delivery::News { .. } | Delivery::Dial { .. } => {}
        }
    }

    fn connect(&mut self, from: (u16, NodeId), to: Address) {
        let problem = Error::new(ErrorCode::Unreachable, "nobody listens");
        let Some(target) = self.nodes.get(&to.port()) else {
            return self.handle(from.0, Event::DialFailed { address: to, problem });
        };
        let to_id = target.keyspace.me();
        let wire = self.wires.len();
        let (ours, theirs) = (SessionId(2 * wire as u64), SessionId(2 * wire as u64 + 1));
        let ends = [(from.0, from.1, ours), (to.port(), to_id, theirs)];
        self.wires.push(Wire { ends, busy_until_ms: [self.now_ms; 2], is_broken: false });
        for (side, (port, _, session)) in ends.into_iter().enumerate() {
            self.nodes.get_mut(&port).unwrap().streams.insert(session, (wire, side));
        }
        let after_ms = self.delay();
        self.arrive((wire, 1), after_ms, Event::Accepted { session: theirs });
        self.handle(from.0, Event::DialSucceeded { address: to, session: ours });
    }

    fn delay(&mut self) -> u64 {
        if self.rng.random_bool(0.02) {
            return self.rng.random_range(0..3000);
        }
        self.rng.random_range(0..40)
    }

    /// Something reaches one end of a wire, after all that went there before.
    fn arrive(&mut self, (wire, side): (usize, usize), after_ms: u64, event: Event) {
        let at_ms = self.wires[wire].busy_until_ms[side].max(self.now_ms + after_ms);
        self.wires[wire].busy_until_ms[side] = at_ms;
        let (port, id, _) = self.wires[wire].ends[side];
        self.queue(at_ms - self.now_ms, Delivery::Event { to: (port, id), event });
    }

    /// Breaks connections: what is sent from now on is lost, and each side learns of it after a while, or does not.
    fn break_wires(&mut self, is_hit: impl Fn([u16; 2]) -> bool) {
        for wire in 0..self.wires.len() {
            let ports = self.wires[wire].ends.map(|(port, _, _)| port);
            if self.wires[wire].is_broken || !is_hit(ports) {
                continue;
            }
            self.wires[wire].is_broken = true;
            for side in 0..2 {
                if self.rng.random_bool(0.8) {
                    let after_ms = self.delay();
                    let session = self.wires[wire].ends[side].2;
                    self.arrive((wire, side), after_ms, Event::Closed { session, problem: None });
                }
            }
        }
    }

    fn handle(&mut self, port: u16, event: Event) {
        let Some(node) = self.nodes.get_mut(&port) else { return };
        if node.is_paused {
            node.waiting.push(event);
            return;
        }
        let mut actions = Vec::new();
        node.replica.handle(now_of(&node.clock), event, &mut actions);
        if node.replica.has_backlog() {
            self.queue_news(port);
        }
        for action in actions {
            self.perform(port, action);
        }
    }

    fn perform(&mut self, port: u16, action: Action) {
        let from = (port, self.nodes[&port].keyspace.me());
        match action {
            Action::Dial { address } => {
                let after_ms = self.delay();
                self.queue(after_ms, Delivery::Dial { from, to: address });
            }
            Action::Send { session, message } => {
                self.check_sent(from.1, &message);
                let Some(&(wire, side)) = self.nodes[&port].streams.get(&session) else { return };
                let after_ms = self.delay();
                if !self.wires[wire].is_broken {
                    let session = self.wires[wire].ends[1 - side].2;
                    self.arrive((wire, 1 - side), after_ms, Event::Received { session, message });
                }
            }
            Action::Close { session, why } => {
                let is_fine =
                    ["another session", "silent", "new incarnation", "was removed", "has the address", "leaves"]
                        .iter()
                        .any(|fine| why.contains(fine));
                assert!(is_fine, "a correct peer was cut off: {why}");
                let Some((wire, side)) = self.nodes.get_mut(&port).unwrap().streams.remove(&session) else { return };
                let after_ms = self.delay();
                if !std::mem::replace(&mut self.wires[wire].is_broken, true) {
                    let session = self.wires[wire].ends[1 - side].2;
                    self.arrive((wire, 1 - side), after_ms, Event::Closed { session, problem: None });
                }
            }
        }
    }

    /// Whether a write that no client made may be: the end of a value that had expired, or a value written again.
    pub(super) fn is_upkeep(&self, key: &Key, value: Option<&Value>, expires: bool) -> bool {
        let is_same = |(of, record): &(Key, Record)| of == key && value.is_some() && record.value.as_ref() == value;
        (value.is_none() && expires) || self.written.values().any(is_same)
    }

    /// Only its origin pushes a write, and as it was written.
    fn check_sent(&mut self, from: NodeId, message: &PeerMessage) {
        match message {
            PeerMessage::Changes(stretches) => {
                for stretch in stretches {
                    for (sequence, change) in (stretch.first_sequence.0..).zip(&stretch.changes) {
                        match self.written.get(&(stretch.partition, from, sequence)) {
                            Some((key, record)) => {
                                assert_eq!((key, record.timestamp), (&change.key, change.timestamp));
                            }
                            None => {
                                assert!(self.is_upkeep(&change.key, change.value.as_ref(), change.expires_ms.is_some()))
                            }
                        }
                    }
                }
                self.count("pushes");
            }
            PeerMessage::StateChunk(chunk) if chunk.last.is_some() => self.count("state transfers"),
            PeerMessage::ClockSkew { .. } => self.count("refusals"),
            _ => {}
        }
    }
}

fn now_of(clock: &SimulatedClock) -> Now {
    Now { monotonic: clock.monotonic(), wall_ms: clock.wall_ms() }
}
