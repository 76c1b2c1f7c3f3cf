//! The naive twin: a whole copy of everything for each revision, plain loops, nothing kept beside.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::super::*;
use crate::types::{Consistency, Key, Value};

type Copy = BTreeMap<Place, Item>;

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum How {
    Written,
    Deleted,
    Expired,
}

#[derive(Default)]
pub(super) struct Model {
    term: u64,
    shown_ms: u64,
    elapsed_ms: u64,
    time_ms: u64,
    pub(super) answers_max: usize,
    /// As was said last.
    pub(super) history: HistoryBounds,
    /// The state after each revision; the last is the present one.
    pub(super) copies: Vec<Copy>,
    /// What each revision touched, and when by the machine's own time.
    pub(super) touched: Vec<(u64, BTreeMap<Place, How>)>,
    pub(super) leases: BTreeMap<LeaseId, (u64, u64, u64)>,
    waiting: Vec<(Place, LeaseId, Value)>,
    pub(super) keyspaces: BTreeMap<KeyspaceId, String>,
    eventual: BTreeSet<KeyspaceId>,
    ids: (u64, u64, u64),
    answered: BTreeMap<ClientId, (u64, BTreeMap<u64, Answer>)>,
}

impl Model {
    pub(super) fn new(answers_max: usize, history: HistoryBounds) -> Model {
        let (copies, touched) = (vec![Copy::new()], vec![(0, BTreeMap::new())]);
        Model { copies, touched, answers_max, history, ..Model::default() }
    }

    pub(super) fn revision(&self) -> Revision {
        Revision(self.copies.len() as u64 - 1)
    }

    pub(super) fn now(&self) -> &Copy {
        self.copies.last().unwrap()
    }

    pub(super) fn facts(&self, keyspace: KeyspaceId) -> Option<(&str, Consistency)> {
        let is_eventual = self.eventual.contains(&keyspace);
        let consistency = if is_eventual { Consistency::Eventual } else { Consistency::Strong };
        self.keyspaces.get(&keyspace).map(|name| (name.as_str(), consistency))
    }

    pub(super) fn elapsed_ms(&self) -> u64 {
        self.elapsed_ms
    }

    pub(super) fn apply(&mut self, term: u64, entry: &Entry) -> Vec<Answer> {
        if term == self.term && entry.time_ms > self.shown_ms {
            self.elapsed_ms += entry.time_ms - self.shown_ms;
        }
        self.shown_ms = if term == self.term { self.shown_ms.max(entry.time_ms) } else { entry.time_ms };
        (self.term, self.time_ms) = (term, entry.time_ms);
        let is_due = |item: &Item| matches!(item.until, Until::Elapsed(deadline) if deadline <= self.elapsed_ms);
        let due: Vec<Place> =
            self.now().iter().filter(|(_, item)| is_due(item)).map(|(place, _)| place.clone()).collect();
        self.step(due.into_iter().map(|place| (place, (None, How::Expired))).collect());
        entry.requests.iter().map(|request| self.answer(request)).collect()
    }

    /// One more copy, unless nothing changes.
    fn step(&mut self, changes: BTreeMap<Place, (Option<Item>, How)>) -> Option<Revision> {
        if changes.is_empty() {
            return None;
        }
        let mut copy = self.now().clone();
        let mut touched = BTreeMap::new();
        for (place, (item, how)) in changes {
            touched.insert(place.clone(), if item.is_some() { How::Written } else { how });
            match item {
                Some(item) => drop(copy.insert(place, item)),
                None => drop(copy.remove(&place)),
            }
        }
        self.copies.push(copy);
        self.touched.push((self.elapsed_ms, touched));
        Some(self.revision())
    }

    fn answer(&mut self, request: &Request) -> Answer {
        let Some(RequestId { client, number }) = request.id else { return self.execute(&request.command) };
        let Some((floor, answers)) = self.answered.get(&client) else {
            return Answer::Refused(Refusal::UnknownClient { client });
        };
        if let Some(answer) = answers.get(&number) {
            return answer.clone();
        }
        if number <= *floor {
            return Answer::Refused(Refusal::AnswerForgotten { floor: *floor });
        }
        let answer = self.execute(&request.command);
        let (floor, answers) = self.answered.get_mut(&client).unwrap();
        answers.insert(number, answer.clone());
        if answers.len() > self.answers_max {
            *floor = (*floor).max(answers.pop_first().unwrap().0);
        }
        answer
    }

    fn execute(&mut self, command: &Command) -> Answer {
        self.try_execute(command).unwrap_or_else(Answer::Refused)
    }

    fn try_execute(&mut self, command: &Command) -> Result<Answer, Refusal> {
        match command {
            Command::Register => {
                self.ids.0 += 1;
                self.answered.insert(ClientId(self.ids.0), (0, BTreeMap::new()));
                Ok(Answer::Registered(ClientId(self.ids.0)))
            }
            Command::Transact(transaction) => self.transact(transaction),
            Command::Grant { ttl_ms } => {
                self.ids.1 += 1;
                let lease = LeaseId(self.ids.1);
                self.leases.insert(lease, (*ttl_ms, self.elapsed_ms + ttl_ms, 0));
                Ok(Answer::Leased { lease, generation: 0, ttl_ms: *ttl_ms })
            }
            Command::KeepAlive { lease } => {
                let (ttl_ms, deadline, generation) =
                    self.leases.get_mut(lease).ok_or(Refusal::UnknownLease { lease: *lease })?;
                (*deadline, *generation) = (self.elapsed_ms + *ttl_ms, *generation + 1);
                Ok(Answer::Leased { lease: *lease, generation: *generation, ttl_ms: *ttl_ms })
            }
            Command::Revoke { lease } => {
                self.leases.get(lease).ok_or(Refusal::UnknownLease { lease: *lease })?;
                self.end_lease(*lease, How::Deleted);
                Ok(Answer::Revoked)
            }
            Command::Expire { term, leases } => self.expire(*term, leases),
            Command::Acquire { lock, lease, value, wait } => self.acquire(&place_of(lock), *lease, value, *wait),
            Command::Release { lock, lease } => self.release(&place_of(lock), *lease),
            Command::Proclaim { lock, token, value } => self.proclaim(&place_of(lock), *token, value),
            Command::CreateKeyspace { name } | Command::CreateEventual { name, .. } => {
                if let Some((keyspace, _)) = self.keyspaces.iter().find(|(_, found)| *found == name) {
                    return Err(Refusal::KeyspaceExists { keyspace: *keyspace });
                }
                self.ids.2 += 1;
                self.keyspaces.insert(KeyspaceId(self.ids.2), name.clone());
                if matches!(command, Command::CreateEventual { .. }) {
                    self.eventual.insert(KeyspaceId(self.ids.2));
                }
                Ok(Answer::Created(KeyspaceId(self.ids.2)))
            }
            Command::DropKeyspace { keyspace } => {
                self.keyspaces.remove(keyspace).ok_or(Refusal::UnknownKeyspace { keyspace: *keyspace })?;
                self.waiting.retain(|(place, ..)| place.keyspace != *keyspace);
                self.copies.last_mut().unwrap().retain(|place, _| place.keyspace != *keyspace);
                Ok(Answer::Dropped)
            }
            Command::Compact { revision } if *revision > self.revision() => {
                Err(Refusal::FutureRevision { revision: self.revision() })
            }
            Command::Compact { .. } => Ok(Answer::Compacted),
            Command::Retain(history) => {
                self.history = *history;
                Ok(Answer::Compacted)
            }
            // The random logs have begun already.
            Command::Begin(_) => Ok(Answer::Compacted),
        }
    }

    fn check(&self, keyspace: KeyspaceId) -> Result<(), Refusal> {
        let found = self.keyspaces.get(&keyspace).filter(|_| !self.eventual.contains(&keyspace));
        found.map(|_| ()).ok_or(Refusal::UnknownKeyspace { keyspace })
    }

    fn token(&self, place: &Place) -> Revision {
        self.now().get(place).map_or(Revision::ZERO, |item| item.created)
    }

    fn transact(&mut self, transaction: &Transaction) -> Result<Answer, Refusal> {
        let keyspace = transaction.keyspace;
        self.check(keyspace)?;
        let place = |key: &Key| Place { keyspace, space: Space::Data, key: key.clone() };
        let version = |key: &Key| self.now().get(&place(key)).map_or(Revision::ZERO, |item| item.modified);
        for (at, guard) in transaction.guards.iter().enumerate() {
            let (holds, found) = match guard {
                Guard::Version { key, version: wanted } => (version(key) == *wanted && wanted.0 > 0, version(key)),
                Guard::Absent { key } => (version(key).0 == 0, version(key)),
                Guard::Present { key } => (version(key).0 > 0, version(key)),
                Guard::Holds { lock, token } => {
                    let found = self.token(&Place { keyspace, space: Space::Locks, key: lock.clone() });
                    (found == *token && token.0 > 0, found)
                }
            };
            if !holds {
                return Err(Refusal::Guard { guard: at as u64, found });
            }
        }
        let mut copy = self.now().clone();
        let mut outcomes = Vec::new();
        let mut written = Vec::new();
        for (at, Operation { key, kind }) in transaction.operations.iter().enumerate() {
            let place = place(key);
            outcomes.push(self.operate(&mut copy, &place, at as u64, kind)?);
            written.push(place);
        }
        let is_real = |place: &Place| copy.contains_key(place) || self.now().contains_key(place);
        let changes = written.into_iter().filter(is_real).map(|place| {
            let item = copy.get(&place).cloned();
            (place, (item, How::Deleted))
        });
        let changes = changes.collect();
        Ok(Answer::Written { revision: self.step(changes), outcomes })
    }

    fn operate(&self, copy: &mut Copy, place: &Place, at: u64, kind: &OperationKind) -> Result<Outcome, Refusal> {
        let before = copy.get(place).cloned();
        let existed = before.is_some();
        let mut number = None;
        let (value, flags, until) = match (kind, &before) {
            (OperationKind::Put { value, flags, lifetime }, _) => (value.clone(), *flags, self.until(*lifetime)?),
            (OperationKind::Delete, _) => {
                copy.remove(place);
                return Ok(Outcome { existed, number });
            }
            (OperationKind::Touch { lifetime }, before) => {
                let until = self.until(*lifetime)?;
                let Some(before) = before else { return Ok(Outcome { existed, number }) };
                (before.value.clone(), before.flags, until)
            }
            (OperationKind::Increment { by, initial, lifetime }, before) => {
                let (base, until) = match before {
                    Some(item) if item.flags == 2 && item.value.len() == 8 => {
                        (i64::from_le_bytes(item.value.as_slice().try_into().unwrap()), item.until)
                    }
                    Some(_) => return Err(Refusal::NotAnInteger { operation: at }),
                    None => (*initial, self.until(*lifetime)?),
                };
                let sum = base.checked_add(*by).ok_or(Refusal::Overflow { operation: at })?;
                number = Some(sum);
                (Value::new(&sum.to_le_bytes()).unwrap(), 2, until)
            }
        };
        let modified = self.revision().next();
        let created = before.as_ref().map_or(modified, |before| before.created);
        let again = before.as_ref().is_some_and(|before| before.modified == modified);
        let writes = before.map_or(0, |before| before.writes) + u64::from(!again);
        copy.insert(place.clone(), Item { value, flags, created, modified, writes, modified_ms: self.time_ms, until });
        Ok(Outcome { existed, number })
    }

    fn until(&self, lifetime: Lifetime) -> Result<Until, Refusal> {
        match lifetime {
            Lifetime::Forever => Ok(Until::Deleted),
            Lifetime::Ttl(ttl_ms) => Ok(Until::Elapsed(self.elapsed_ms + ttl_ms)),
            Lifetime::Lease(lease) if self.leases.contains_key(&lease) => Ok(Until::Lease(lease)),
            Lifetime::Lease(lease) => Err(Refusal::UnknownLease { lease }),
        }
    }

    fn expire(&mut self, term: u64, leases: &[SeenLease]) -> Result<Answer, Refusal> {
        if term != self.term {
            return Err(Refusal::FormerLeader { term });
        }
        let mut count = 0;
        for seen in leases {
            let Some((_, deadline, generation)) = self.leases.get(&seen.lease) else { continue };
            if *deadline <= self.elapsed_ms && *generation == seen.generation {
                self.end_lease(seen.lease, How::Expired);
                count += 1;
            }
        }
        Ok(Answer::Expired(count))
    }

    fn end_lease(&mut self, lease: LeaseId, how: How) {
        self.leases.remove(&lease);
        self.waiting.retain(|(_, waiter, _)| *waiter != lease);
        let hangs = |item: &Item| item.until == Until::Lease(lease);
        let places: Vec<Place> =
            self.now().iter().filter(|(_, item)| hangs(item)).map(|(place, _)| place.clone()).collect();
        let changes = places.into_iter().map(|place| {
            let next = self.next(&place);
            (place, (next, how))
        });
        let changes = changes.collect();
        self.step(changes);
    }

    fn held(&self, lease: LeaseId, value: &Value) -> Item {
        let revision = self.revision().next();
        let (value, modified_ms, until) = (value.clone(), self.time_ms, Until::Lease(lease));
        Item { value, flags: 0, created: revision, modified: revision, writes: 1, modified_ms, until }
    }

    /// The first who waits for a lock takes it.
    fn next(&mut self, place: &Place) -> Option<Item> {
        let first = self.waiting.iter().position(|(waited, ..)| waited == place)?;
        let (_, lease, value) = self.waiting.remove(first);
        Some(self.held(lease, &value))
    }

    fn acquire(&mut self, place: &Place, lease: LeaseId, value: &Value, wait: bool) -> Result<Answer, Refusal> {
        self.check(place.keyspace)?;
        self.leases.get(&lease).ok_or(Refusal::UnknownLease { lease })?;
        let line: Vec<LeaseId> =
            self.waiting.iter().filter(|(waited, ..)| waited == place).map(|(_, waiter, _)| *waiter).collect();
        if let Some(ahead) = line.iter().position(|waiter| *waiter == lease) {
            return Ok(Answer::Queued { ahead: ahead as u64 });
        }
        let Some(held) = self.now().get(place) else {
            let item = self.held(lease, value);
            let token = self.step(BTreeMap::from([(place.clone(), (Some(item), How::Written))])).unwrap();
            return Ok(Answer::Held { token });
        };
        match held.until {
            Until::Lease(holder) if holder == lease => Ok(Answer::Held { token: held.created }),
            Until::Lease(holder) if !wait => Err(Refusal::LockHeld { lease: holder, token: held.created }),
            _ => {
                self.waiting.push((place.clone(), lease, value.clone()));
                Ok(Answer::Queued { ahead: line.len() as u64 })
            }
        }
    }

    fn release(&mut self, place: &Place, lease: LeaseId) -> Result<Answer, Refusal> {
        self.check(place.keyspace)?;
        let before = self.waiting.len();
        self.waiting.retain(|(waited, waiter, _)| waited != place || *waiter != lease);
        if self.waiting.len() < before {
            return Ok(Answer::Released);
        }
        if self.now().get(place).is_none_or(|held| held.until != Until::Lease(lease)) {
            return Err(Refusal::NotHolder { token: self.token(place) });
        }
        let next = self.next(place);
        self.step(BTreeMap::from([(place.clone(), (next, How::Deleted))]));
        Ok(Answer::Released)
    }

    fn proclaim(&mut self, place: &Place, token: Revision, value: &Value) -> Result<Answer, Refusal> {
        self.check(place.keyspace)?;
        let Some(held) = self.now().get(place).filter(|held| held.created == token) else {
            return Err(Refusal::NotHolder { token: self.token(place) });
        };
        let (modified, modified_ms) = (self.revision().next(), self.time_ms);
        let item = Item { value: value.clone(), modified, modified_ms, writes: held.writes + 1, ..held.clone() };
        let revision = self.step(BTreeMap::from([(place.clone(), (Some(item), How::Written))])).unwrap();
        Ok(Answer::Proclaimed { revision })
    }

    /// How many keys are in a keyspace, and the bytes of keys and values.
    pub(super) fn size(&self, keyspace: KeyspaceId) -> (u64, u64) {
        let there = self.now().iter().filter(|(place, _)| (place.keyspace, place.space) == (keyspace, Space::Data));
        there.fold((0, 0), |(keys, bytes), (place, item)| {
            (keys + 1, bytes + (place.key.len() + item.value.len()) as u64)
        })
    }

    /// Those of all keyspaces together.
    pub(super) fn size_of_all(&self) -> (u64, u64) {
        let sizes = self.keyspaces.keys().map(|keyspace| self.size(*keyspace));
        sizes.fold((0, 0), |sum, size| (sum.0 + size.0, sum.1 + size.1))
    }

    /// What a keyspace that is there had at a revision.
    pub(super) fn all_at(&self, keyspace: KeyspaceId, space: Space, revision: Revision) -> Vec<(Key, Arc<Item>)> {
        let copy = &self.copies[revision.0 as usize];
        let there = copy.iter().filter(|(place, _)| (place.keyspace, place.space) == (keyspace, space));
        there.map(|(place, item)| (place.key.clone(), Arc::new(item.clone()))).collect()
    }
}

pub(super) fn place_of(lock: &LockName) -> Place {
    Place { keyspace: lock.keyspace, space: Space::Locks, key: lock.name.clone() }
}
