//! Clients that write and read, each on a host of its own, one call after the other, over the project's own client.

use std::{
    cell::{Cell, RefCell},
    collections::BTreeMap,
    rc::Rc,
    sync::Arc,
    time::Duration,
};

use kvstore::{
    client::{Client, ClientConfig, StrongClient},
    error::{ErrorCode, Result},
    replication::strong::{
        Answer, Call, Command, Freshness, Guard, KeyspaceId, Lifetime, Operation, OperationKind, Read, ReadAnswer,
        ReadCall, ReadKind, Reply, Revision, Space, Submission, Transaction,
    },
    types::{Address, Key, KeyRange, PageRequest, Value},
};
use rand::{rngs::StdRng, seq::SliceRandom, Rng, SeedableRng};

use super::{
    judge::{Asked, Judge},
    plan::StrongPlan,
    truth::TAG,
};
use crate::{
    cluster::Hosts,
    doors::{Contact, SimClock},
    plan::mix,
};

/// The keyspace that is there for the whole run, and the one that comes and goes.
pub const MAIN: &str = "main";
const PASSING: &str = "passing";

/// How a value that is an integer is marked.
const INTEGER_FLAGS: u32 = 2;

/// What the clients have to do now.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    Chaos,
    /// Wait until the members agree.
    Calm,
    /// Write and read once more, at each node: all must succeed.
    Serve,
    Over,
}

/// What clients and driver share.
pub struct Shared {
    pub plan: StrongPlan,
    pub hosts: Arc<Hosts>,
    pub judge: RefCell<Judge>,
    pub phase: Cell<Phase>,
    /// Clients that have served, or have nothing to serve.
    pub served: Cell<usize>,
    /// When a write through each node was last acknowledged to the client that writes there alone.
    pub written: RefCell<BTreeMap<usize, Duration>>,
}

/// How often a client that waits looks at the phase.
pub const PHASE_CHECK: Duration = Duration::from_millis(50);

/// The deadline of a call in a healed group.
pub const SERVE_TIMEOUT: Duration = Duration::from_secs(5);

pub fn now() -> Duration {
    turmoil::sim_elapsed().expect("a client runs inside the simulation")
}

impl Shared {
    /// A session with these nodes.
    pub fn connect(&self, targets: Vec<Address>, seed: u64) -> (Client, StrongClient) {
        let env = self.hosts.env(Arc::new(SimClock::default()), seed, Contact::default());
        let client = Client::new(
            ClientConfig { discover: false, ..ClientConfig::new(targets) },
            env,
            tokio::runtime::Handle::current(),
        );
        let client = client.expect("the number of targets is within its bounds");
        let session = StrongClient::of_client(&client);
        (client, session)
    }

    pub fn addresses(&self) -> Vec<Address> {
        self.hosts.nodes.iter().map(|host| host.address.clone()).collect()
    }

    pub fn is_over(&self) -> bool {
        self.phase.get() != Phase::Chaos
    }

    pub async fn until(&self, is_it: impl Fn(Phase) -> bool) {
        while !is_it(self.phase.get()) {
            tokio::time::sleep(PHASE_CHECK).await;
        }
    }

    pub fn ask(&self) -> Asked {
        self.judge.borrow().ask()
    }

    /// Makes the keyspace that everybody uses, unless it is there.
    pub async fn create(&self, session: &StrongClient, keyspace: &str, timeout: Duration) -> Result<Reply> {
        let command = Command::CreateKeyspace { name: keyspace.to_string() };
        let outcome = session.call(submit(keyspace, command), Some(timeout)).await;
        self.judge.borrow_mut().changed(now(), &format!("create {keyspace}"), &outcome);
        outcome
    }
}

pub fn submit(keyspace: &str, command: Command) -> Call {
    Call::Submit(Submission { id: None, keyspace: keyspace.to_string(), command })
}

pub fn key(text: &str) -> Key {
    Key::new(text.as_bytes()).expect("the key is within its bounds")
}

pub fn integer(number: i64) -> Value {
    Value::new(&number.to_le_bytes()).expect("eight bytes are within the bounds")
}

pub fn put(name: &str, number: i64, lifetime: Lifetime) -> Operation {
    Operation { key: key(name), kind: OperationKind::Put { value: integer(number), flags: INTEGER_FLAGS, lifetime } }
}

/// A transaction that can be found in the log.
pub fn transact(keyspace: &str, tag: &str, mut guards: Vec<Guard>, operations: Vec<Operation>) -> Call {
    guards.push(Guard::Absent { key: key(tag) });
    let transaction = Transaction { keyspace: KeyspaceId::default(), guards, operations };
    submit(keyspace, Command::Transact(transaction))
}

fn get(name: &str) -> Read {
    Read { space: Space::Data, kind: ReadKind::Key { key: key(name), metadata_only: false } }
}

/// Everything in a keyspace.
fn scan() -> Read {
    let range = KeyRange { prefix: Vec::new(), start: None, end: None };
    let page = PageRequest { range, reverse: false, keys_max: 1000, bytes_target: 1 << 20 };
    Read { space: Space::Data, kind: ReadKind::Page { page, keys_only: false } }
}

/// One client.
pub struct Worker {
    name: String,
    /// Part of its values, and of nobody else's.
    number: i64,
    shared: Rc<Shared>,
    rng: StdRng,
    serial: i64,
    /// The newest that it has seen, for session reads.
    seen: Revision,
    /// The versions of keys as it knows them.
    versions: BTreeMap<String, Revision>,
}

impl Worker {
    pub fn new(name: String, number: i64, shared: Rc<Shared>) -> Worker {
        let rng = StdRng::seed_from_u64(mix(&[shared.plan.base.seed, 22, number as u64]));
        Worker { name, number, shared, rng, serial: 0, seen: Revision::ZERO, versions: BTreeMap::new() }
    }

    pub async fn run(mut self) -> turmoil::Result {
        let mut targets = self.shared.addresses();
        targets.shuffle(&mut self.rng);
        let (client, session) = self.shared.connect(targets, self.rng.random());
        while !self.shared.is_over() && !self.is_made(&session).await {}
        while !self.shared.is_over() {
            let timeout = Duration::from_millis(self.rng.random_range(300..4000));
            self.act(&session, timeout).await;
            let think = self.rng.random_range(0..=self.shared.plan.base.think_max_ms);
            tokio::time::sleep(Duration::from_millis(think)).await;
        }
        client.close();
        self.shared.until(|phase| phase == Phase::Serve).await;
        self.serve().await;
        self.shared.served.set(self.shared.served.get() + 1);
        Ok(())
    }

    /// Writes through one node alone, all the time: whether a group can write is seen by its clients (ME-3).
    pub async fn probe(mut self, node: usize) -> turmoil::Result {
        let target = self.shared.hosts.nodes[node].address.clone();
        let (client, session) = self.shared.connect(vec![target], self.rng.random());
        while !self.shared.is_over() {
            if self.is_made(&session).await {
                let name = format!("p{node}");
                let number = self.value();
                let operations = vec![put(&name, number, Lifetime::Forever)];
                if self.write(&session, MAIN, Vec::new(), operations, Duration::from_secs(2)).await.is_ok() {
                    self.shared.written.borrow_mut().insert(node, now());
                }
            }
            tokio::time::sleep(Duration::from_millis(400)).await;
        }
        client.close();
        self.shared.served.set(self.shared.served.get() + 1);
        Ok(())
    }

    async fn is_made(&mut self, session: &StrongClient) -> bool {
        if !self.shared.judge.borrow().truth.lock().keyspaces_named(MAIN).is_empty() {
            return true;
        }
        // Another one may have made it.
        drop(self.shared.create(session, MAIN, Duration::from_secs(2)).await);
        false
    }

    /// A number that nobody else writes.
    fn value(&mut self) -> i64 {
        self.serial += 1;
        self.number * 1_000_000 + self.serial
    }

    fn tag(&mut self) -> String {
        self.serial += 1;
        format!("{TAG}{}.{}", self.name, self.serial)
    }

    fn name(&mut self, kind: &str) -> String {
        format!("{kind}{}", self.rng.random_range(0..self.shared.plan.keys))
    }

    async fn act(&mut self, session: &StrongClient, timeout: Duration) {
        let kind = self.rng.random_range(0..100);
        match kind {
            0..26 => self.read(session, Freshness::Linearizable, timeout).await,
            26..33 => self.read(session, Freshness::Session(self.seen), timeout).await,
            33..38 => self.read(session, Freshness::Local, timeout).await,
            38..56 => {
                let operation = put(&self.name("k"), self.value(), Lifetime::Forever);
                drop(self.write(session, MAIN, Vec::new(), vec![operation], timeout).await);
            }
            56..63 => {
                let operation = Operation { key: key(&self.name("k")), kind: OperationKind::Delete };
                drop(self.write(session, MAIN, Vec::new(), vec![operation], timeout).await);
            }
            63..75 => self.compare_and_set(session, timeout).await,
            75..83 => {
                let kind = OperationKind::Increment { by: 1, initial: 0, lifetime: Lifetime::Forever };
                let operation = Operation { key: key(&self.name("n")), kind };
                drop(self.write(session, MAIN, Vec::new(), vec![operation], timeout).await);
            }
            83..91 => self.write_several(session, timeout).await,
            91..95 => {
                let ttl = Lifetime::Ttl(self.rng.random_range(300..3000));
                let operation = put(&self.name("t"), self.value(), ttl);
                drop(self.write(session, MAIN, Vec::new(), vec![operation], timeout).await);
            }
            95..98 => self.pass(session, timeout).await,
            _ => self.compact(session, timeout).await,
        }
    }

    /// Writes under a tag, and has it judged.
    async fn write(
        &mut self,
        session: &StrongClient,
        keyspace: &str,
        guards: Vec<Guard>,
        operations: Vec<Operation>,
        timeout: Duration,
    ) -> Result<Reply> {
        let (tag, asked) = (self.tag(), self.shared.ask());
        let keys: Vec<Key> = operations.iter().map(|operation| operation.key.clone()).collect();
        let (called, call) = (now(), transact(keyspace, &tag, guards.clone(), operations.clone()));
        let outcome = session.call(call, Some(timeout)).await;
        {
            let mut judge = self.shared.judge.borrow_mut();
            judge.wrote(now(), asked, &tag, &outcome);
            if keyspace == MAIN {
                judge.seen.wrote((called, now()), (&guards, &operations), &outcome);
            }
        }
        if let Ok(Reply::Done(Answer::Written { revision: Some(revision), .. })) = &outcome {
            self.seen = self.seen.max(*revision);
            for key in keys {
                self.versions.insert(String::from_utf8_lossy(&key).into_owned(), *revision);
            }
        }
        outcome
    }

    async fn compare_and_set(&mut self, session: &StrongClient, timeout: Duration) {
        let name = self.name("k");
        let guard = match (self.versions.get(&name), self.rng.random_range(0..10)) {
            (_, 0) => Guard::Present { key: key(&name) },
            (_, 1) | (None, _) => Guard::Absent { key: key(&name) },
            (Some(version), _) => Guard::Version { key: key(&name), version: *version },
        };
        let operation = put(&name, self.value(), Lifetime::Forever);
        let outcome = self.write(session, MAIN, vec![guard], vec![operation], timeout).await;
        if outcome.is_err_and(|error| error.code() == ErrorCode::VersionConflict) {
            self.versions.remove(&name);
        }
    }

    async fn write_several(&mut self, session: &StrongClient, timeout: Duration) {
        let mut operations =
            vec![put("x0", self.value(), Lifetime::Forever), put("x1", self.value(), Lifetime::Forever)];
        if self.rng.random_bool(0.5) {
            let kind = OperationKind::Increment { by: 2, initial: 5, lifetime: Lifetime::Forever };
            operations.push(Operation { key: key("n0"), kind });
        }
        let guards = match self.versions.get("x0") {
            Some(version) if self.rng.random_bool(0.5) => vec![Guard::Version { key: key("x0"), version: *version }],
            _ => Vec::new(),
        };
        if self.write(session, MAIN, guards, operations, timeout).await.is_err() {
            self.versions.remove("x0");
        }
    }

    async fn read(&mut self, session: &StrongClient, freshness: Freshness, timeout: Duration) {
        let reads = match self.rng.random_range(0..10) {
            0 => vec![scan()],
            1..4 => vec![get("x0"), get("x1"), get("n0")],
            4 => vec![get(&self.name("t")), get(&self.name("l"))],
            _ => vec![get(&self.name("k"))],
        };
        drop(self.read_all(session, MAIN, (freshness, reads), timeout).await);
    }

    async fn read_all(
        &mut self,
        session: &StrongClient,
        keyspace: &str,
        (freshness, reads): (Freshness, Vec<Read>),
        timeout: Duration,
    ) -> Result<Reply> {
        let asked = self.shared.ask();
        let call = ReadCall { keyspace: keyspace.to_string(), freshness, at: None, reads };
        let called = now();
        let outcome = session.call(Call::Read(call.clone()), Some(timeout)).await;
        {
            let mut judge = self.shared.judge.borrow_mut();
            judge.read(now(), asked, &call, &outcome);
            if keyspace == MAIN {
                judge.seen.read((called, now()), &call, &outcome);
            }
        }
        if let Ok(Reply::Read(reply)) = &outcome {
            self.seen = self.seen.max(reply.revision);
            for answer in &reply.answers {
                if let ReadAnswer::Key { key, item: Some(item), .. } = answer {
                    self.versions.insert(String::from_utf8_lossy(key).into_owned(), item.modified);
                }
            }
        }
        outcome
    }

    /// A keyspace is made, written to, read, dropped, by several at the same time.
    async fn pass(&mut self, session: &StrongClient, timeout: Duration) {
        match self.rng.random_range(0..4) {
            0 => drop(self.shared.create(session, PASSING, timeout).await),
            1 => {
                let command = Command::DropKeyspace { keyspace: KeyspaceId::default() };
                let outcome = session.call(submit(PASSING, command), Some(timeout)).await;
                self.shared.judge.borrow_mut().changed(now(), "drop", &outcome);
            }
            2 => {
                let operation = put(&self.name("d"), self.value(), Lifetime::Forever);
                drop(self.write(session, PASSING, Vec::new(), vec![operation], timeout).await);
            }
            _ => drop(self.read_all(session, PASSING, (Freshness::Linearizable, vec![get("d0")]), timeout).await),
        }
    }

    async fn compact(&mut self, session: &StrongClient, timeout: Duration) {
        let back = self.rng.random_range(0..20);
        let command = Command::Compact { revision: Revision(self.seen.0.saturating_sub(back)) };
        let outcome = session.call(submit("", command), Some(timeout)).await;
        self.shared.judge.borrow_mut().changed(now(), "compact", &outcome);
    }

    /// In a healed group every call succeeds, at every node.
    async fn serve(&mut self) {
        for address in self.shared.addresses() {
            let (client, session) = self.shared.connect(vec![address.clone()], self.rng.random());
            let operation = put(&self.name("k"), self.value(), Lifetime::Forever);
            let written = self.write(&session, MAIN, Vec::new(), vec![operation], SERVE_TIMEOUT).await;
            let reads = vec![scan()];
            let read = self.read_all(&session, MAIN, (Freshness::Linearizable, reads), SERVE_TIMEOUT).await;
            for error in [written.err(), read.err()].into_iter().flatten() {
                let text = format!("ME-3 a healed group serves: {address}: {error}");
                self.shared.judge.borrow_mut().violated(now(), &text);
            }
            client.close();
        }
    }
}
