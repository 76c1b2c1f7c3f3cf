//! Random logs, with retries, elections, clocks that jump, compactions and snapshots in between.

use std::collections::{BTreeMap, BTreeSet};

use proptest::{prelude::*, strategy::ValueTree, test_runner::TestRunner};

use super::{
    model::{How, Model},
    *,
};

const CLIENT_ANSWERS: u64 = 6;

fn bounds() -> Bounds {
    Bounds { history_changes: 40, history_age_ms: 400, client_answers: CLIENT_ANSWERS, ..Bounds::default() }
}

/// What a random log does next. Numbers pick from what is there when it is its turn.
#[derive(Clone, Debug)]
pub(super) struct Step {
    elects: bool,
    clock_ms: u64,
    asks: Vec<Ask>,
    snapshot: bool,
}

#[derive(Clone, Debug)]
enum Ask {
    New { client: Option<u64>, skip: u64, what: What },
    Again { back: usize },
}

#[derive(Clone, Debug)]
enum What {
    Transact { keyspace: u64, guards: Vec<(u8, u8, u8)>, operations: Vec<(u8, Op)> },
    Grant { ttl_ms: u64 },
    Lease { kind: u8, lease: u64 },
    Expire { former: bool, stale: bool, leases: Vec<u64> },
    Acquire { keyspace: u64, name: u8, lease: u64, wait: bool },
    Release { keyspace: u64, name: u8, lease: u64 },
    Proclaim { keyspace: u64, name: u8, off: u8 },
    Create { name: u8 },
    Drop { keyspace: u64 },
    Compact { back: u64 },
    Retain { changes: u64, age_ms: u64 },
}

#[derive(Clone, Debug)]
enum Op {
    Put(u8, u8),
    Delete,
    Touch(u8),
    Increment(i64, u8),
}

fn op() -> impl Strategy<Value = Op> {
    prop_oneof![
        4 => (any::<u8>(), any::<u8>()).prop_map(|(value, lifetime)| Op::Put(value, lifetime)),
        2 => Just(Op::Delete),
        1 => any::<u8>().prop_map(Op::Touch),
        2 => (prop_oneof![-5i64..5, Just(i64::MAX)], any::<u8>()).prop_map(|(by, life)| Op::Increment(by, life)),
    ]
}

fn what() -> impl Strategy<Value = What> {
    let keyspace = || prop_oneof![8 => 1u64..3, 1 => 0u64..5];
    let lease = || 1u64..5;
    let guards = prop::collection::vec((0u8..4, 0u8..5, 0u8..4), 0..2);
    let operations = prop::collection::vec((0u8..5, op()), 0..4);
    prop_oneof![
        10 => (keyspace(), guards, operations)
            .prop_map(|(keyspace, guards, operations)| What::Transact { keyspace, guards, operations }),
        2 => (1u64..200).prop_map(|ttl_ms| What::Grant { ttl_ms }),
        2 => (0u8..4, lease()).prop_map(|(kind, lease)| What::Lease { kind, lease }),
        2 => (any::<bool>(), any::<bool>(), prop::collection::vec(lease(), 0..4))
            .prop_map(|(former, stale, leases)| What::Expire { former, stale, leases }),
        4 => (keyspace(), 0u8..2, lease(), any::<bool>())
            .prop_map(|(keyspace, name, lease, wait)| What::Acquire { keyspace, name, lease, wait }),
        2 => (keyspace(), 0u8..2, lease()).prop_map(|(keyspace, name, lease)| What::Release { keyspace, name, lease }),
        1 => (keyspace(), 0u8..2, 0u8..3).prop_map(|(keyspace, name, off)| What::Proclaim { keyspace, name, off }),
        1 => (0u8..4).prop_map(|name| What::Create { name }),
        1 => prop_oneof![9 => Just(99), 1 => 1u64..5].prop_map(|keyspace| What::Drop { keyspace }),
        1 => (0u64..6).prop_map(|back| What::Compact { back }),
        1 => (5u64..80, 100u64..800).prop_map(|(changes, age_ms)| What::Retain { changes, age_ms }),
    ]
}

fn ask() -> impl Strategy<Value = Ask> {
    let client = prop::option::of(prop_oneof![9 => 1u64..3, 1 => 3u64..5]);
    let new = (client, prop_oneof![5 => Just(1), 1 => 0u64..3], what());
    prop_oneof![
        5 => new.prop_map(|(client, skip, what)| Ask::New { client, skip, what }),
        1 => (1usize..12).prop_map(|back| Ask::Again { back }),
    ]
}

fn step() -> impl Strategy<Value = Step> {
    let clock = prop_oneof![8 => 0u64..40, 1 => 100u64..1000];
    let asks = prop::collection::vec(ask(), 0..4);
    let step = (prop::bool::weighted(0.08), clock, asks, prop::bool::weighted(0.1));
    step.prop_map(|(elects, clock_ms, asks, snapshot)| Step { elects, clock_ms, asks, snapshot })
}

pub(super) fn steps() -> impl Strategy<Value = Vec<Step>> {
    prop::collection::vec(step(), 1..60)
}

/// A log as it grows, and the twin that says what the picks mean.
struct Run {
    model: Model,
    at: LogPosition,
    clock_ms: u64,
    numbers: BTreeMap<u64, u64>,
    sent: Vec<Request>,
    /// As of the entry before.
    compacted: Revision,
}

impl Run {
    fn new() -> Run {
        let model = Model::new(CLIENT_ANSWERS as usize, bounds().history());
        let at = LogPosition { term: 1, index: 0 };
        Run { model, at, clock_ms: 50_000, numbers: BTreeMap::new(), sent: Vec::new(), compacted: Revision::ZERO }
    }

    fn entry(&mut self, step: &Step) -> Entry {
        self.at.index += 1;
        if step.elects {
            self.at.term += 1;
            // Another clock: ahead of the former one or behind it.
            self.clock_ms = 50_000 + step.clock_ms * 1000 % 77_777;
        }
        self.clock_ms += step.clock_ms;
        let requests = step.asks.iter().map(|ask| self.request(ask)).collect();
        Entry { time_ms: self.clock_ms, requests }
    }

    fn request(&mut self, ask: &Ask) -> Request {
        let request = match ask {
            Ask::Again { back } => match self.sent.len().checked_sub(*back) {
                Some(at) => self.sent[at].clone(),
                None => Request { id: None, command: Command::Register },
            },
            Ask::New { client, skip, what } => {
                let id = client.map(|client| {
                    let number = self.numbers.entry(client).or_default();
                    *number += skip;
                    RequestId { client: ClientId(client), number: *number }
                });
                Request { id, command: self.command(what) }
            }
        };
        self.sent.push(request.clone());
        request
    }

    fn command(&self, what: &What) -> Command {
        let name = |name: u8| key(&format!("k{name}"));
        let lock = |keyspace: u64, lock: u8| LockName { keyspace: KeyspaceId(keyspace), name: name(lock) };
        let token =
            |lock: &LockName| self.model.now().get(&model::place_of(lock)).map_or(Revision::ZERO, |held| held.created);
        match what {
            What::Transact { keyspace, guards, operations } => {
                self.transaction(KeyspaceId(*keyspace), guards, operations)
            }
            What::Grant { ttl_ms } => Command::Grant { ttl_ms: *ttl_ms },
            What::Lease { kind: 0, lease } => Command::Revoke { lease: LeaseId(*lease) },
            What::Lease { lease, .. } => Command::KeepAlive { lease: LeaseId(*lease) },
            What::Expire { former, stale, leases } => {
                let generation =
                    |lease: u64| self.model.leases.get(&LeaseId(lease)).map_or(0, |(_, _, generation)| *generation);
                let seen = |lease: &u64| SeenLease {
                    lease: LeaseId(*lease),
                    generation: generation(*lease).wrapping_sub(u64::from(*stale)) % 1000,
                };
                Command::Expire { term: self.at.term - u64::from(*former), leases: leases.iter().map(seen).collect() }
            }
            What::Acquire { keyspace, name, lease, wait } => Command::Acquire {
                lock: lock(*keyspace, *name),
                lease: LeaseId(*lease),
                value: value(&format!("by {lease}")),
                wait: *wait,
            },
            What::Release { keyspace, name, lease } => {
                Command::Release { lock: lock(*keyspace, *name), lease: LeaseId(*lease) }
            }
            What::Proclaim { keyspace, name, off } => {
                let lock = lock(*keyspace, *name);
                let token = Revision(token(&lock).0.saturating_sub(u64::from(*off / 2)));
                Command::Proclaim { lock, token, value: value("proclaimed") }
            }
            What::Create { name } => super::eventual::create_some(*name),
            What::Drop { keyspace } => Command::DropKeyspace { keyspace: KeyspaceId(*keyspace) },
            What::Compact { back } => {
                Command::Compact { revision: Revision((self.model.revision().0 + 1).saturating_sub(*back)) }
            }
            &What::Retain { changes, age_ms } => Command::Retain(HistoryBounds { changes, age_ms, bytes: 1 << 20 }),
        }
    }

    fn transaction(&self, keyspace: KeyspaceId, guards: &[(u8, u8, u8)], operations: &[(u8, Op)]) -> Command {
        let name = |name: u8| key(&format!("k{name}"));
        let item = |space, of: u8| self.model.now().get(&Place { keyspace, space, key: name(of) });
        let guard = |&(kind, of, off): &(u8, u8, u8)| {
            let near = |revision: u64| Revision(revision.saturating_sub(u64::from(off / 3)));
            match kind {
                0 => Guard::Absent { key: name(of) },
                1 => Guard::Present { key: name(of) },
                2 => Guard::Version { key: name(of), version: near(item(Space::Data, of).map_or(0, |i| i.modified.0)) },
                _ => Guard::Holds {
                    lock: name(of % 2),
                    token: near(item(Space::Locks, of % 2).map_or(0, |i| i.created.0)),
                },
            }
        };
        let lifetime = |pick: u8| match pick % 4 {
            0 | 1 => Lifetime::Forever,
            2 => Lifetime::Ttl(1 + u64::from(pick)),
            _ => Lifetime::Lease(LeaseId(u64::from(pick / 4 % 6))),
        };
        let operation = |(of, op): &(u8, Op)| {
            let kind = match op {
                Op::Put(text, life) => OperationKind::Put {
                    value: value(&text.to_string()),
                    flags: u32::from(*text % 3),
                    lifetime: lifetime(*life),
                },
                Op::Delete => OperationKind::Delete,
                Op::Touch(life) => OperationKind::Touch { lifetime: lifetime(*life) },
                Op::Increment(by, life) => OperationKind::Increment { by: *by, initial: 3, lifetime: lifetime(*life) },
            };
            Operation { key: name(*of), kind }
        };
        let guards = guards.iter().map(guard).collect();
        Command::Transact(Transaction { keyspace, guards, operations: operations.iter().map(operation).collect() })
    }

    /// What was compacted only grows, at least to what was asked for, and only as far as the bounds demand.
    fn check_compaction(&mut self, machine: &Machine, entry: &Entry, answers: &[Answer]) {
        let mut least = self.compacted;
        for (request, answer) in entry.requests.iter().zip(answers) {
            if let (Command::Compact { revision }, Answer::Compacted) = (&request.command, answer) {
                if request.id.is_none() {
                    least = least.max(*revision);
                }
            }
        }
        assert!(machine.compacted() >= least, "{:?} < {least:?}", machine.compacted());
        let kept = |from: Revision| self.model.touched[from.0 as usize + 1..].iter();
        let changes = |from| kept(from).map(|(_, touched)| touched.len() as u64).sum::<u64>();
        let bounds = self.model.history;
        assert_eq!(machine.history().0, bounds);
        assert!(changes(machine.compacted()) <= bounds.changes);
        let asked = entry.requests.iter().any(|request| matches!(request.command, Command::Compact { .. }));
        if !asked && machine.compacted() > self.compacted {
            let before = Revision(machine.compacted().0 - 1);
            let is_old = kept(before).next().is_some_and(|(at, _)| self.model.elapsed_ms() - at > bounds.age_ms);
            assert!(changes(before) > bounds.changes || is_old, "compacted without need");
        }
        self.compacted = machine.compacted();
    }

    fn check_reads(&self, machine: &Machine) {
        assert_eq!((machine.revision(), machine.elapsed_ms()), (self.model.revision(), self.model.elapsed_ms()));
        for (keyspace, facts) in machine.keyspaces() {
            assert_eq!(self.model.facts(keyspace), Some((facts.name.as_str(), facts.consistency)));
            assert_eq!((facts.keys, facts.bytes), self.model.size(keyspace));
            for space in [Space::Data, Space::Locks] {
                for revision in (0..=machine.revision().0).map(Revision) {
                    self.check_revision(machine, keyspace, space, revision);
                }
            }
        }
        assert_eq!(machine.keyspaces().count(), self.model.keyspaces.len());
        assert_eq!(machine.size(), self.model.size_of_all());
    }

    fn check_revision(&self, machine: &Machine, keyspace: KeyspaceId, space: Space, revision: Revision) {
        let read = all_at(machine, keyspace, space, revision);
        if revision < machine.compacted() {
            let compacted = machine.compacted();
            assert_eq!(read, Err(ReadError::Compacted { asked: revision, compacted }));
            return;
        }
        assert_eq!(read, Ok(self.model.all_at(keyspace, space, revision)), "at {revision}");
    }

    /// WA-1 to WA-5, WA-9: from any revision on, exactly what the copies differ by, or `Compacted`.
    fn check_changes(&self, machine: &Machine, keyspace: KeyspaceId, space: Space, since: Revision, target: usize) {
        let query = ChangesQuery { keyspace, space, range: KeyRange::default(), since, changes_target: target };
        let told = machine.changes_since(&query);
        if since < machine.compacted() {
            assert_eq!(told, Err(ReadError::Compacted { asked: since, compacted: machine.compacted() }));
            return;
        }
        let mut told = told.unwrap();
        let mut all = told.transactions;
        while told.more {
            told = machine.changes_since(&ChangesQuery { since: told.until, ..query.clone() }).unwrap();
            all.extend(told.transactions);
        }
        assert_eq!(told.until, machine.revision().max(since));
        let mut wanted = Vec::new();
        for revision in since.0 + 1..=machine.revision().0 {
            let (before, after) = (&self.model.copies[revision as usize - 1], &self.model.copies[revision as usize]);
            let touched = self.model.touched[revision as usize].1.iter();
            let ours = touched.filter(|(place, _)| (place.keyspace, place.space) == (keyspace, space));
            let change = |(place, how): (&Place, &How)| Change {
                key: place.key.clone(),
                state: match how {
                    How::Written => VersionState::Live(Arc::new(after[place].clone())),
                    How::Deleted => VersionState::Deleted,
                    How::Expired => VersionState::Expired,
                },
                previous: before.get(place).cloned().map(Arc::new),
            };
            let changes: Vec<Change> = ours.map(change).collect();
            if !changes.is_empty() {
                wanted.push((Revision(revision), changes));
            }
        }
        let all: Vec<_> = all.into_iter().map(|told| (told.revision, told.changes)).collect();
        assert_eq!(all, wanted, "since {since}");
    }
}

/// Says which kinds of answers there were.
fn play(steps: &[Step], target: usize) -> BTreeSet<String> {
    let mut kinds = BTreeSet::new();
    let (mut straight, mut hopping) = (Machine::new(bounds()), Machine::new(bounds()));
    let mut run = Run::new();
    let begin = [Command::Register, Command::Register, Command::CreateKeyspace { name: "keyspace 0".into() }];
    let begin = begin.map(|command| Ask::Again { back: usize::MAX }.with(command));
    let mut first = Some(Entry { time_ms: 50_000, requests: begin.to_vec() });
    for step in steps {
        let entry = first.take().inspect(|_| run.at.index += 1).unwrap_or_else(|| run.entry(step));
        let answers = straight.apply(run.at, &entry);
        assert_eq!(answers, run.model.apply(run.at.term, &entry), "entry {entry:?}");
        assert_eq!(answers, hopping.apply(run.at, &entry), "by way of snapshots");
        run.check_compaction(&straight, &entry, &answers);
        kinds.extend(answers.iter().map(kind));
        if step.snapshot {
            hopping = reload(&hopping);
            assert_eq!(hopping.state_hash(), straight.state_hash());
            assert_eq!(hopping.log_hash(), straight.log_hash());
            assert!(hopping == straight, "what follows from the state differs");
        }
    }
    run.check_reads(&straight);
    for (keyspace, ..) in straight.keyspaces() {
        for space in [Space::Data, Space::Locks] {
            for since in (0..=straight.revision().0 + 2).map(Revision) {
                run.check_changes(&straight, keyspace, space, since, target);
            }
        }
    }
    kinds
}

/// The name of an answer, with that of the refusal that it is.
fn kind(answer: &Answer) -> String {
    let text = match answer {
        Answer::Refused(refusal) => format!("{refusal:?}"),
        other => format!("{other:?}"),
    };
    text.chars().take_while(|c| c.is_alphabetic()).collect()
}

/// A law that is never put to the test holds for ever.
#[test]
fn random_logs_meet_every_answer_but_those_at_bounds_of_thousands() {
    let mut runner = TestRunner::deterministic();
    let mut met = BTreeSet::new();
    for _ in 0..200 {
        met.extend(play(&steps().new_tree(&mut runner).unwrap().current(), 5));
    }
    let wanted = "Registered Written Leased Revoked Expired Held Queued Released Proclaimed Created Dropped Compacted \
                  Guard NotAnInteger Overflow UnknownLease LockHeld NotHolder FormerLeader UnknownKeyspace \
                  KeyspaceExists FutureRevision UnknownClient AnswerForgotten";
    let missing: Vec<&str> = wanted.split_whitespace().filter(|kind| !met.contains(*kind)).collect();
    assert!(missing.is_empty(), "never met: {missing:?}");
}

impl Ask {
    fn with(self, command: Command) -> Request {
        Request { id: None, command }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 600, failure_persistence: None, ..ProptestConfig::default() })]

    /// ST-1 to ST-4, ST-6, ST-7, WA-1 to WA-5, WA-9, LE-1 to LE-4 against the twin.
    #[test]
    fn any_log_does_what_the_naive_twin_does(steps in steps(), target in 1usize..9) {
        play(&steps, target);
    }
}
