//! The clients: the project's own, each on a host of its own, one call after the other.

use std::{
    cell::{Cell, RefCell},
    collections::{BTreeSet, VecDeque},
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use kvstore::{
    client::{Client, ClientConfig},
    error::{ErrorCode, Result},
    types::{Address, Answer, Command, CommandKind, Key, NodeId, Operation, ReadLevel, Timestamp, Value},
};
use rand::{rngs::StdRng, seq::SliceRandom, Rng, SeedableRng};

use super::{
    cluster::Hosts,
    doors::{Contact, SimClock},
    history::{held, Judge, Outcome, Read, Write, Wrote},
    plan::{mix, Plan},
};

/// What the clients have to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Work, whatever happens.
    Chaos,
    /// Wait until the nodes agree.
    Calm,
    /// Write and read once more, at each node: all must succeed.
    Serve,
    /// The clients are done, and the nodes quiet again: watchers come to the end of what there is.
    Watching { since: Duration },
    /// So they have.
    Watched,
}

/// A write made when all was healed and idle: how soon do all nodes have it?
#[derive(Clone, Debug)]
pub struct Marker {
    pub key: String,
    pub version: u64,
    pub acked: Duration,
}

/// What clients and driver share.
pub struct Shared {
    pub plan: Plan,
    pub hosts: Arc<Hosts>,
    pub judge: RefCell<Judge>,
    pub phase: Cell<Phase>,
    /// Markers that are still on their way.
    pub markers: RefCell<Vec<Marker>>,
    /// Nodes that the operator is to remove, and how many removals were confirmed.
    pub orders: RefCell<VecDeque<NodeId>>,
    pub removals: Cell<u64>,
    pub is_admin_gone: Cell<bool>,
    /// Clients that have served.
    pub served: Cell<usize>,
    /// Watchers that know all there is.
    pub caught_up: RefCell<BTreeSet<usize>>,
    /// Sessions so far.
    pub sessions: Cell<usize>,
}

/// How often a client that waits looks at the phase.
pub const PHASE_CHECK: Duration = Duration::from_millis(50);

/// The deadline of a call in a healed cluster.
const SERVE_TIMEOUT: Duration = Duration::from_secs(5);

/// The longest pause between two calls of a client to an idle cluster.
const SERVE_PAUSE_MS: u64 = 300;

/// One client.
pub struct Worker {
    number: usize,
    shared: Rc<Shared>,
    rng: StdRng,
    serial: u64,
    /// The session of the client that is being used.
    session: usize,
}

/// One operation of a call.
struct Asked {
    key: String,
    asked: Duration,
    /// The number of the write; `None`: a read.
    write: Option<usize>,
    level: ReadLevel,
    /// The node that was connected, and the version that it held of the key.
    held: Option<(NodeId, u64)>,
}

pub fn now() -> Duration {
    turmoil::sim_elapsed().expect("a client runs inside the simulation")
}

impl Worker {
    pub fn new(number: usize, shared: Rc<Shared>) -> Worker {
        let rng = StdRng::seed_from_u64(mix(&[shared.plan.seed, 2, number as u64]));
        Worker { number, shared, rng, serial: 0, session: 0 }
    }

    /// A client with these targets, and where to see whom it is connected with.
    fn connect(&mut self, targets: Vec<Address>) -> (Client, Contact) {
        self.session = self.shared.sessions.replace(self.shared.sessions.get() + 1);
        let contact = Contact::default();
        let seed = self.rng.random();
        let env = self.shared.hosts.env(Arc::new(SimClock::default()), seed, contact.clone());
        let client = Client::new(
            ClientConfig { discover: false, ..ClientConfig::new(targets) },
            env,
            tokio::runtime::Handle::current(),
        );
        (client.expect("the number of targets is within its bounds"), contact)
    }

    pub async fn run(mut self) -> turmoil::Result {
        let mut targets: Vec<Address> = self.shared.hosts.nodes.iter().map(|host| host.address.clone()).collect();
        targets.shuffle(&mut self.rng);
        if self.rng.random_bool(0.5) {
            targets.truncate(1);
        }
        let (client, contact) = self.connect(targets);
        while self.shared.phase.get() == Phase::Chaos {
            let timeout = Duration::from_millis(self.rng.random_range(100..2500));
            let calls = if self.rng.random_bool(0.1) { self.rng.random_range(2..6) } else { 1 };
            self.call(&client, &contact, calls, timeout).await;
            let think = self.rng.random_range(0..=self.shared.plan.think_max_ms);
            tokio::time::sleep(Duration::from_millis(think)).await;
        }
        client.close();
        while self.shared.phase.get() == Phase::Calm {
            tokio::time::sleep(PHASE_CHECK).await;
        }
        self.serve().await;
        self.shared.served.set(self.shared.served.get() + 1);
        Ok(())
    }

    /// One call of several operations, each on a key of its own.
    async fn call(&mut self, client: &Client, contact: &Contact, count: usize, timeout: Duration) {
        let mut keys = BTreeSet::new();
        while keys.len() < count.min(self.shared.plan.keys) {
            keys.insert(format!("k{}", self.rng.random_range(0..self.shared.plan.keys)));
        }
        let level = if self.rng.random_bool(0.15) { ReadLevel::Local } else { ReadLevel::Session };
        let (mut operations, mut asked) = (Vec::new(), Vec::new());
        for key in keys {
            let wrote = self.draw();
            operations.push(operation(&key, wrote.as_ref()));
            asked.push(self.ask(key, wrote, level, *contact.lock()));
        }
        let outcome = client.call_at(operations, level, Some(timeout)).await;
        let by = *contact.lock();
        let results = match outcome {
            Ok(results) => results,
            Err(error) => {
                if error.code() == ErrorCode::SessionLost {
                    let node = self.shared.hosts.live().into_iter().find(|node| Some(node.keyspace().me()) == by);
                    self.shared.judge.borrow_mut().session_lost(now(), self.session, node);
                }
                vec![Err(error); asked.len()]
            }
        };
        for (asked, result) in asked.into_iter().zip(results) {
            self.record(asked, result, by);
        }
    }

    /// Notes what is about to be asked of the node that is connected.
    fn ask(&self, key: String, wrote: Option<Wrote>, level: ReadLevel, contact: Option<NodeId>) -> Asked {
        let nodes = self.shared.hosts.live();
        let node = nodes.iter().find(|node| Some(node.keyspace().me()) == contact);
        let record = node.and_then(|node| Some((node.keyspace().me(), held(node, &key)?.timestamp.0)));
        let (session, asked) = (self.session, now());
        let write = wrote.map(|wrote| {
            let (key, outcome) = (key.clone(), Outcome::Pending);
            let write = Write { client: self.number, session, asked, contact, key, wrote, outcome, why: None };
            self.shared.judge.borrow_mut().invoke(write)
        });
        Asked { key, asked, write, level, held: record }
    }

    /// `None`: a read.
    fn draw(&mut self) -> Option<Wrote> {
        match self.rng.random_range(0..100) {
            0..30 => None,
            30..50 => Some(Wrote::Delete),
            50..55 => Some(Wrote::Touch),
            kind => Some(Wrote::Put { value: self.value(), has_ttl: kind > 94 }),
        }
    }

    /// A value that nobody else writes.
    fn value(&mut self) -> String {
        self.serial += 1;
        let padding = self.rng.random_range(0..=self.shared.plan.padding_max);
        format!("c{}.{}:{}", self.number, self.serial, "x".repeat(padding))
    }

    fn record(&mut self, asked: Asked, result: Result<Answer>, by: Option<NodeId>) {
        let Asked { key, asked, write, level, held } = asked;
        let mut judge = self.shared.judge.borrow_mut();
        match (write, result) {
            // The answer to a touch tells no version; that of a missing key wrote nothing.
            (Some(index), Ok(Answer::Written(written))) if written.version == Timestamp::ZERO => {
                judge.wrote(now(), index, if written.existed { Outcome::Done } else { Outcome::Refused }, by);
            }
            (Some(index), Ok(Answer::Written(written))) => {
                let version = written.version.0;
                let maker = judge.history.maker(&key, version, by);
                judge.wrote(now(), index, Outcome::Acked { version, by: maker }, by);
            }
            (Some(index), Err(error)) if error.is_maybe_applied() => judge.wrote(now(), index, Outcome::Unknown, by),
            (Some(index), Err(error)) => judge.refused(now(), index, error.code(), by),
            (None, Ok(Answer::Entry(entry))) => {
                let found = entry.map(|entry| (entry.version.0, String::from_utf8_lossy(&entry.value).into_owned()));
                let held = held.filter(|(node, _)| Some(*node) == by).map(|(_, version)| version);
                judge.read(
                    now(),
                    &Read { client: self.number, session: self.session, asked, level, key, found, by, held },
                );
            }
            (None, Err(error)) => judge.read_failed(now(), error.code()),
            (_, Ok(answer)) => judge.violated(now(), &format!("EV-9 no phantom: {key} was answered by {answer:?}")),
        }
    }

    /// In a healed cluster every call succeeds.
    async fn serve(&mut self) {
        let hosts = self.shared.hosts.clone();
        for (host, target) in hosts.nodes.iter().enumerate() {
            let (client, contact) = self.connect(vec![target.address.clone()]);
            let key = format!("m{}.{host}", self.number);
            let wrote = Wrote::Put { value: self.value(), has_ttl: false };
            let operations = vec![operation(&key, Some(&wrote))];
            let asked = self.ask(key.clone(), Some(wrote), ReadLevel::Session, None);
            let result = one(client.call(operations, Some(SERVE_TIMEOUT)).await);
            if let Ok(Answer::Written(written)) = &result {
                let marker = Marker { key, version: written.version.0, acked: now() };
                self.shared.markers.borrow_mut().push(marker);
            }
            self.must(&target.address, &result);
            self.record(asked, result, *contact.lock());
            for number in 0..self.shared.plan.keys.min(4) {
                let key = format!("k{number}");
                let operations = vec![operation(&key, None)];
                let asked = self.ask(key, None, ReadLevel::Session, *contact.lock());
                let result = one(client.call(operations, Some(SERVE_TIMEOUT)).await);
                self.must(&target.address, &result);
                self.record(asked, result, *contact.lock());
            }
            client.close();
            let pause = self.rng.random_range(0..SERVE_PAUSE_MS);
            tokio::time::sleep(Duration::from_millis(pause)).await;
        }
    }

    fn must(&self, target: &Address, result: &Result<Answer>) {
        if let Err(error) = result {
            let text = format!("EV-1 convergence: {target} is healed and does not serve: {error}");
            self.shared.judge.borrow_mut().violated(now(), &text);
        }
    }
}

fn one(outcome: Result<Vec<Result<Answer>>>) -> Result<Answer> {
    outcome.and_then(|mut results| results.pop().expect("one operation has one answer"))
}

fn operation(key: &str, wrote: Option<&Wrote>) -> Operation {
    let key = Key::new(key.as_bytes()).expect("the key is within its bounds");
    let kind = match wrote {
        None => return Operation::Get { key, metadata_only: false },
        Some(Wrote::Put { value, has_ttl }) => CommandKind::Put {
            value: Value::new(value.as_bytes()).expect("the value is within its bounds"),
            flags: 0,
            ttl_ms: has_ttl.then_some(TTL_MS),
        },
        Some(Wrote::Delete) => CommandKind::Delete,
        Some(Wrote::Touch) => CommandKind::Touch { ttl_ms: Some(TTL_MS) },
    };
    Operation::Write(Command { key, kind })
}

/// Short enough to end within a run.
const TTL_MS: u64 = 3000;
