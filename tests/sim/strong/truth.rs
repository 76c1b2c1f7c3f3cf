//! The log as the members have applied it: the truth that every answer is compared with.
//!
//! A witness sees each entry that any member applies, with its answers. The first to apply an entry makes it true; whoever
//! applies another one at its place, or comes to another state by it, has lost or invented something (ST-7, PE-1). From the
//! entries alone a reference is driven, one request at a time, and beside it plain tables are kept: each version of each key, each
//! request with its answer. What the reference does to them is checked naively, so that a mistake in the machine, which the
//! reference shares, is seen too.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kvstore::{
    replication::strong::{
        Answer, Bounds, Command, Entry, Guard, Item, KeyspaceId, LogPosition, Machine, Operation, OperationKind, Place,
        Refusal, Request, RequestId, Revision, Space, Transaction, Witness,
    },
    types::{Key, NodeId},
};
use parking_lot::Mutex;

use super::leases::Leases;
use crate::plan::mix;

/// The beginning of keys that are never written: a transaction that wants one of them absent can be found in the log.
pub const TAG: &str = "~";

/// An entry as the first member applied it.
struct Logged {
    at: LogPosition,
    log_hash: u64,
}

/// A request with a tag in the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Seen {
    pub index: u64,
    pub answer: Answer,
}

/// What a revision made of a place.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changed {
    pub place: Place,
    pub after: Option<Arc<Item>>,
    pub before: Option<Arc<Item>>,
}

/// Versions of a place, by the revision that made them; `None`: it is not there since.
type Versions = BTreeMap<Revision, Option<Arc<Item>>>;

#[derive(Default)]
pub struct Truth {
    reference: Machine,
    /// Requests are entries of their own to the reference.
    steps: u64,
    entries: Vec<Logged>,
    /// How far each member is, since it last started.
    members: BTreeMap<NodeId, Option<LogPosition>>,
    tags: BTreeMap<String, Vec<Seen>>,
    ids: BTreeMap<RequestId, Answer>,
    versions: BTreeMap<Place, Versions>,
    /// Those that may still change.
    places: BTreeSet<Place>,
    changes: BTreeMap<Revision, Vec<Changed>>,
    names: BTreeMap<String, Vec<KeyspaceId>>,
    /// The greatest token of each lock.
    tokens: BTreeMap<Place, Revision>,
    pub leases: Leases,
    /// Changes with the log, and with nothing else.
    pub hash: u64,
    /// When something was last applied for the first time.
    pub moved: Duration,
    pub violations: Vec<String>,
    pub tallies: BTreeMap<&'static str, u64>,
}

/// What the members of this process tell.
pub struct Eyes(pub Arc<Mutex<Truth>>);

impl Witness for Eyes {
    fn applied(&self, member: NodeId, at: LogPosition, entry: Option<(&Entry, &[Answer])>, log_hash: u64) {
        self.0.lock().applied(member, at, entry, log_hash);
    }

    fn restored(&self, member: NodeId, at: Option<LogPosition>, log_hash: u64) {
        self.0.lock().restored(member, at, log_hash);
    }
}

impl Truth {
    pub fn new() -> Truth {
        // It forgets nothing, so that the past can be asked for.
        let bounds = Bounds {
            history_changes: u64::MAX,
            history_bytes: u64::MAX,
            history_age_ms: u64::MAX,
            ..Bounds::default()
        };
        Truth { reference: Machine::new(bounds), ..Truth::default() }
    }

    pub fn violated(&mut self, text: String) {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        self.violations.push(format!("{:.3} s: {text}", now.as_secs_f64()));
    }

    pub fn count(&mut self, name: &'static str) {
        *self.tallies.entry(name).or_default() += 1;
    }

    pub fn revision(&self) -> Revision {
        self.reference.revision()
    }

    /// Where the log ends, as far as anybody has applied it.
    pub fn end(&self) -> u64 {
        self.entries.len() as u64
    }

    /// The hash after the entry at an index, if anybody has applied it.
    pub fn hash_at(&self, index: u64) -> Option<u64> {
        self.entries.get(usize::try_from(index).ok()?).map(|logged| logged.log_hash)
    }

    /// Every time that a tag is in the log.
    pub fn seen(&self, tag: &str) -> &[Seen] {
        self.tags.get(tag).map_or(&[], Vec::as_slice)
    }

    /// The keyspaces that ever had this name.
    pub fn keyspaces_named(&self, name: &str) -> Vec<KeyspaceId> {
        self.names.get(name).cloned().unwrap_or_default()
    }

    /// What was at a place as of a revision.
    pub fn at(&self, place: &Place, revision: Revision) -> Option<Arc<Item>> {
        self.versions.get(place)?.range(..=revision).next_back()?.1.clone()
    }

    /// The places of a keyspace that are there as of a revision, in order.
    pub fn all_at(&self, keyspace: KeyspaceId, space: Space, revision: Revision) -> Vec<(Key, Arc<Item>)> {
        let places = self.versions.keys().filter(|place| place.keyspace == keyspace && place.space == space);
        places.filter_map(|place| Some((place.key.clone(), self.at(place, revision)?))).collect()
    }

    /// What happened after one revision up to another, in places that are wanted.
    pub fn changes(
        &self,
        (since, until): (Revision, Revision),
        is_wanted: impl Fn(&Place) -> bool,
    ) -> Vec<(Revision, Vec<Changed>)> {
        if since >= until {
            return Vec::new();
        }
        let of = |(revision, changed): (&Revision, &Vec<Changed>)| {
            let wanted: Vec<Changed> = changed.iter().filter(|changed| is_wanted(&changed.place)).cloned().collect();
            (!wanted.is_empty()).then_some((*revision, wanted))
        };
        self.changes.range(since.next()..=until).filter_map(of).collect()
    }

    fn restored(&mut self, member: NodeId, at: Option<LogPosition>, log_hash: u64) {
        self.members.insert(member, at);
        let Some(at) = at else { return };
        self.count("states taken from snapshots");
        match self.entries.get(at.index as usize) {
            Some(known) if known.at == at && known.log_hash == log_hash => {}
            _ => self.violated(format!("ST-7 same log, same state: {member} restored another state at {at}")),
        }
    }

    fn applied(&mut self, member: NodeId, at: LogPosition, entry: Option<(&Entry, &[Answer])>, log_hash: u64) {
        let before = self.members.insert(member, Some(at)).flatten();
        if before.map_or(0, |before| before.index + 1) != at.index {
            self.violated(format!("ST-7 same log, same state: {member} applied {at} after {before:?}"));
        }
        let known = self.entries.get(at.index as usize).map(|known| (known.at, known.log_hash));
        match known {
            Some(known) if known == (at, log_hash) => self.count("entries applied again, and equal"),
            Some((was, _)) => {
                let text = format!("ST-7, PE-1 an applied entry stays: {member} applied {at} where {was} was applied");
                self.violated(text);
            }
            None if at.index == self.end() => {
                self.entries.push(Logged { at, log_hash });
                self.hash = mix(&[self.hash, at.term, at.index, log_hash]);
                self.moved = turmoil::sim_elapsed().unwrap_or_default();
                if let Some((entry, answers)) = entry {
                    self.take(at, entry, answers);
                }
            }
            None => self
                .violated(format!("ST-7 same log, same state: {member} applied {at}, the log ends at {}", self.end())),
        }
    }

    fn take(&mut self, at: LogPosition, entry: &Entry, answers: &[Answer]) {
        if entry.requests.len() != answers.len() {
            return self.violated(format!(
                "ST-1 {} answers to {} requests at {at}",
                answers.len(),
                entry.requests.len()
            ));
        }
        self.count("entries applied");
        if std::env::var_os("KVSTORE_SIM_TRACE").is_some() {
            let (now, count) = (self.moved.as_secs_f64(), answers.len());
            println!("{now:10.4} entry {at} shows {} ms: {count} {:?}", entry.time_ms, entry.requests.first());
        }
        self.leases.observe(at.term, entry.time_ms);
        self.step(at, entry.time_ms, None);
        for (request, answer) in entry.requests.iter().zip(answers) {
            self.count("requests applied");
            self.request(at, entry.time_ms, request, answer);
        }
        let elapsed_ms = self.reference.elapsed_ms();
        let problems = self.leases.compare(&self.reference, elapsed_ms);
        problems.into_iter().for_each(|problem| self.violated(format!("{problem}, at {at}")));
    }

    /// Gives the reference one request, or only the time; what it answered.
    fn step(&mut self, at: LogPosition, time_ms: u64, request: Option<&Request>) -> Option<Answer> {
        self.steps += 1;
        let entry = Entry { time_ms, requests: request.into_iter().cloned().collect() };
        let before = self.reference.revision();
        let answer = self.reference.apply(LogPosition { term: at.term, index: self.steps }, &entry).pop();
        let after = self.reference.revision();
        if matches!(request, Some(Request { command: Command::Begin(_), .. })) {
            // Before it nobody has written anything.
            if before != Revision::ZERO && after != before {
                self.violated(format!("ST-3 a group begins once: {after} after {before}, at {at}"));
            }
            return answer;
        }
        if after.0 > before.0 + 1 {
            self.violated(format!("ST-3 revisions grow by one: {after} after {before}, at {at}"));
        }
        if after > before {
            self.note_changes(at, after, request);
        }
        answer
    }

    fn request(&mut self, at: LogPosition, time_ms: u64, request: &Request, answer: &Answer) {
        let first = request.id.and_then(|id| self.ids.get(&id).cloned());
        let before = self.reference.revision();
        if first.is_none() {
            self.check_guards(at, request, answer);
        }
        let expected = match &request.command {
            // The reference forgets nothing.
            Command::Compact { .. } => Some(answer.clone()),
            Command::Expire { term, leases } => Some(self.expire(at, time_ms, (*term, leases.clone()), answer)),
            _ => self.step(at, time_ms, Some(request)),
        };
        if expected.as_ref() != Some(answer) {
            self.violated(format!(
                "ST-1 an answer is that of the model: {answer:?}, not {expected:?}, to {request:?} at {at}"
            ));
        }
        match first {
            Some(first) => self.check_retry(at, request, (&first, answer), before),
            None => self.check_effect(at, request, answer),
        }
        if let (Some(id), false) = (request.id, is_forgotten(answer)) {
            self.ids.entry(id).or_insert_with(|| answer.clone());
        }
        self.note_tag(at, request, answer);
        if let (Command::CreateKeyspace { name }, Answer::Created(keyspace)) = (&request.command, answer) {
            let named = self.names.entry(name.clone()).or_default();
            if !named.contains(keyspace) {
                named.push(*keyspace);
            }
        }
        if let (Command::DropKeyspace { keyspace }, Answer::Dropped) = (&request.command, answer) {
            self.places.retain(|place| place.keyspace != *keyspace);
        }
    }

    /// Ends leases one by one, so that each step is one revision.
    fn expire(
        &mut self,
        at: LogPosition,
        time_ms: u64,
        (term, leases): (u64, Vec<kvstore::replication::strong::SeenLease>),
        answer: &Answer,
    ) -> Answer {
        let mut ended = 0;
        for seen in leases {
            let request = Request { id: None, command: Command::Expire { term, leases: vec![seen] } };
            let was_there = self.reference.lease(seen.lease).is_some();
            let told = self.step(at, time_ms, Some(&request));
            if let Some(Answer::Refused(refusal)) = told {
                return Answer::Refused(refusal);
            }
            if was_there && self.reference.lease(seen.lease).is_none() {
                ended += 1;
                self.count("leases expired");
                if let Err(problem) = self.leases.expired(seen.lease, (term, at.term)) {
                    self.violated(format!("{problem}, at {at}"));
                }
            }
        }
        match answer {
            Answer::Refused(_) => answer.clone(),
            _ => Answer::Expired(ended),
        }
    }

    fn note_changes(&mut self, at: LogPosition, revision: Revision, request: Option<&Request>) {
        if let Some(request) = request {
            self.places.extend(places_of(&request.command));
        }
        let mut changed = Vec::new();
        for place in &self.places {
            let after = self.reference.get(place.keyspace, place.space, &place.key).ok().flatten().cloned();
            let versions = self.versions.entry(place.clone()).or_default();
            let before = versions.last_key_value().and_then(|(_, item)| item.clone());
            if before == after {
                continue;
            }
            versions.insert(revision, after.clone());
            changed.push(Changed { place: place.clone(), after, before });
        }
        for changed in &changed {
            let is_of_it = changed.after.as_ref().is_none_or(|item| item.modified == revision);
            if !is_of_it {
                self.violations
                    .push(format!("ST-3 a version is the revision that made it: {changed:?} at {revision}, {at}"));
            }
            if let (Space::Locks, Some(item)) = (changed.place.space, &changed.after) {
                let token = self.tokens.entry(changed.place.clone()).or_default();
                if item.created < *token {
                    let text = format!("LE-4 tokens grow: {} after {token} of {:?}", item.created, changed.place);
                    self.violations.push(text);
                }
                *token = item.created;
            }
        }
        if changed.is_empty() {
            self.violated(format!("ST-3 a revision changes something: {revision} at {at}"));
        }
        self.changes.insert(revision, changed);
    }

    /// Whether what is answered to a transaction that is looked at for the first time agrees with its guards (ST-2, LE-4).
    fn check_guards(&mut self, at: LogPosition, request: &Request, answer: &Answer) {
        let Command::Transact(transaction) = &request.command else { return };
        let failed = transaction.guards.iter().position(|guard| !self.holds(transaction.keyspace, guard));
        let is_right = match (failed, answer) {
            (None, Answer::Refused(Refusal::Guard { .. })) => false,
            (Some(failed), Answer::Refused(Refusal::Guard { guard, .. })) => failed as u64 == *guard,
            (Some(_), Answer::Written { .. }) => false,
            _ => true,
        };
        if transaction.guards.iter().any(|guard| matches!(guard, Guard::Holds { .. })) {
            self.count(if failed.is_some() { "writes under an old token refused" } else { "writes under a token" });
        }
        if !is_right {
            let guards = &transaction.guards;
            self.violated(format!(
                "ST-2, LE-4 a guard decides: {answer:?} to {guards:?}, of which fails {failed:?}, at {at}"
            ));
        }
    }

    fn holds(&self, keyspace: KeyspaceId, guard: &Guard) -> bool {
        let latest = |space, key: &Key| {
            let place = Place { keyspace, space, key: key.clone() };
            self.at(&place, Revision(u64::MAX))
        };
        match guard {
            Guard::Version { key, version } => latest(Space::Data, key).is_some_and(|item| item.modified == *version),
            Guard::Absent { key } => latest(Space::Data, key).is_none(),
            Guard::Present { key } => latest(Space::Data, key).is_some(),
            Guard::Holds { lock, token } => latest(Space::Locks, lock).is_some_and(|item| item.created == *token),
        }
    }

    /// ST-6: a request is applied once.
    fn check_retry(
        &mut self,
        at: LogPosition,
        request: &Request,
        (first, answer): (&Answer, &Answer),
        before: Revision,
    ) {
        self.count("retries of requests with an id");
        let is_same = first == answer || is_forgotten(answer);
        if !is_same || self.reference.revision() != before {
            self.violated(format!("ST-6 once a request id: {answer:?} after {first:?} to {request:?} at {at}"));
        }
    }

    /// What a request must have done, given its answer.
    fn check_effect(&mut self, at: LogPosition, request: &Request, answer: &Answer) {
        if let Err(problem) = self.leases.note(&request.command, answer) {
            self.violated(format!("{problem}, at {at}"));
        }
        let (Command::Transact(transaction), Answer::Written { revision, outcomes }) = (&request.command, answer)
        else {
            return;
        };
        if outcomes.len() != transaction.operations.len() {
            return self.violated(format!("ST-4 {} outcomes of {transaction:?}", outcomes.len()));
        }
        let revision = revision.unwrap_or(self.reference.revision());
        for (operation, outcome) in transaction.operations.iter().zip(outcomes) {
            let place = Place { keyspace: transaction.keyspace, space: Space::Data, key: operation.key.clone() };
            let after = self.at(&place, revision);
            if !is_done(operation, outcome.number, after.as_deref()) {
                self.violated(format!("ST-4 all of a transaction: {operation:?} left {after:?} at {at}"));
            }
        }
    }

    fn note_tag(&mut self, at: LogPosition, request: &Request, answer: &Answer) {
        let Some(tag) = tag_of(&request.command) else { return };
        let seen = self.tags.entry(tag.clone()).or_default();
        let first = seen.first().map(|first| first.answer.clone());
        seen.push(Seen { index: at.index, answer: answer.clone() });
        if first.is_some_and(|first| first != *answer && !is_forgotten(answer)) {
            self.violated(format!(
                "ST-6 once a write: {tag} is in the log with two answers, at last {answer:?} at {at}"
            ));
        }
    }
}

fn is_done(operation: &Operation, number: Option<i64>, after: Option<&Item>) -> bool {
    match &operation.kind {
        OperationKind::Put { value, .. } => after.is_some_and(|item| item.value == *value),
        OperationKind::Delete => after.is_none(),
        OperationKind::Touch { .. } => true,
        OperationKind::Increment { .. } => {
            let sum = number.map(i64::to_le_bytes);
            after.is_some_and(|item| Some(&item.value[..]) == sum.as_ref().map(|sum| &sum[..]))
        }
    }
}

/// Nobody knows what became of it any more, which is told and no other answer.
fn is_forgotten(answer: &Answer) -> bool {
    matches!(answer, Answer::Refused(refusal) if refusal.is_maybe_applied())
}

fn places_of(command: &Command) -> Vec<Place> {
    let data = |keyspace, key: &Key| Place { keyspace, space: Space::Data, key: key.clone() };
    match command {
        Command::Transact(Transaction { keyspace, operations, .. }) => {
            operations.iter().map(|operation| data(*keyspace, &operation.key)).collect()
        }
        Command::Acquire { lock, .. } | Command::Release { lock, .. } | Command::Proclaim { lock, .. } => {
            vec![Place { keyspace: lock.keyspace, space: Space::Locks, key: lock.name.clone() }]
        }
        _ => Vec::new(),
    }
}

/// By what a request is found: the value of a lock, or a key that is to be absent and always is.
fn tag_of(command: &Command) -> Option<String> {
    match command {
        Command::Transact(transaction) => transaction.guards.iter().find_map(|guard| match guard {
            Guard::Absent { key } if key.starts_with(TAG.as_bytes()) => Some(text(key)),
            _ => None,
        }),
        Command::Acquire { value, .. } | Command::Proclaim { value, .. } => Some(text(value)),
        _ => None,
    }
}

fn text(bytes: &[u8]) -> String {
    String::from_utf8_lossy(bytes).into_owned()
}
