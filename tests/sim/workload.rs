//! The clients: the project's own, each on a host of its own, one call after the other.

use std::{cell::Cell, cell::RefCell, collections::BTreeSet, rc::Rc, sync::Arc, time::Duration};

use kvstore::{
    client::{Client, ClientConfig},
    error::Result,
    types::{Address, Answer, Command, CommandKind, Key, NodeId, Operation, Timestamp, Value},
};
use rand::{rngs::StdRng, seq::SliceRandom, Rng, SeedableRng};

use super::{
    cluster::Hosts,
    doors::{Contact, SimClock},
    history::{Judge, Outcome, Read, Wrote},
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
}

/// How often a client that waits looks at the phase.
const PHASE_CHECK: Duration = Duration::from_millis(50);

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
}

fn now() -> Duration {
    turmoil::sim_elapsed().expect("a client runs inside the simulation")
}

impl Worker {
    pub fn new(number: usize, shared: Rc<Shared>) -> Worker {
        let rng = StdRng::seed_from_u64(mix(&[shared.plan.seed, 2, number as u64]));
        Worker { number, shared, rng, serial: 0 }
    }

    /// A client with these targets, and where to see whom it is connected with.
    fn connect(&mut self, targets: Vec<Address>) -> (Client, Contact) {
        let contact = Contact::default();
        let seed = self.rng.random();
        let env = self.shared.hosts.env(Arc::new(SimClock::default()), seed, contact.clone());
        let client = Client::new(ClientConfig { targets }, env, tokio::runtime::Handle::current());
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
        Ok(())
    }

    /// One call of several operations, each on a key of its own.
    async fn call(&mut self, client: &Client, contact: &Contact, count: usize, timeout: Duration) {
        let mut keys = BTreeSet::new();
        while keys.len() < count.min(self.shared.plan.keys) {
            keys.insert(format!("k{}", self.rng.random_range(0..self.shared.plan.keys)));
        }
        let (mut operations, mut asked) = (Vec::new(), Vec::new());
        for key in keys {
            let wrote = self.draw();
            operations.push(operation(&key, wrote.as_ref()));
            let index = wrote.map(|wrote| self.shared.judge.borrow_mut().invoke(self.number, &key, wrote));
            asked.push((key, index));
        }
        let outcome = client.call(operations, Some(timeout)).await;
        let by = *contact.lock();
        let results = match outcome {
            Ok(results) => results,
            Err(error) => vec![Err(error); asked.len()],
        };
        for ((key, index), result) in asked.into_iter().zip(results) {
            self.record(&key, index, result, by);
        }
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

    fn record(&mut self, key: &str, index: Option<usize>, result: Result<Answer>, by: Option<NodeId>) {
        let mut judge = self.shared.judge.borrow_mut();
        match (index, result) {
            // The answer to a touch tells no version; that of a missing key wrote nothing.
            (Some(index), Ok(Answer::Written(written))) if written.version == Timestamp::ZERO => {
                judge.wrote(now(), index, if written.existed { Outcome::Done } else { Outcome::Refused });
            }
            (Some(index), Ok(Answer::Written(written))) => {
                judge.wrote(now(), index, Outcome::Acked { version: written.version.0, by });
            }
            (Some(index), Err(error)) if error.is_maybe_applied() => judge.wrote(now(), index, Outcome::Unknown),
            (Some(index), Err(error)) => {
                judge.note(now(), &format!("refused: {error}"));
                judge.wrote(now(), index, Outcome::Refused);
            }
            (None, Ok(Answer::Entry(entry))) => {
                let found = entry.map(|entry| (entry.version.0, String::from_utf8_lossy(&entry.value).into_owned()));
                judge.read(now(), &Read { client: self.number, key: key.to_string(), found, by });
            }
            (None, Err(_)) => judge.history.counts.reads_failed += 1,
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
            let asked = operation(&key, Some(&wrote));
            let index = self.shared.judge.borrow_mut().invoke(self.number, &key, wrote);
            let result = one(client.call(vec![asked], Some(SERVE_TIMEOUT)).await);
            if let Ok(Answer::Written(written)) = &result {
                let marker = Marker { key: key.clone(), version: written.version.0, acked: now() };
                self.shared.markers.borrow_mut().push(marker);
            }
            self.must(&target.address, &result);
            self.record(&key, Some(index), result, *contact.lock());
            for number in 0..self.shared.plan.keys.min(4) {
                let key = format!("k{number}");
                let result = one(client.call(vec![operation(&key, None)], Some(SERVE_TIMEOUT)).await);
                self.must(&target.address, &result);
                self.record(&key, None, result, *contact.lock());
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
