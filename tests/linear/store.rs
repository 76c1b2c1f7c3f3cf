//! Makes histories: a simulated atomic store, clients that call and return around the moment at which it acts, and one
//! mistake if one is wanted.

use std::collections::BTreeMap;

use rand::{rngs::StdRng, Rng};

use super::linear::{
    Action, Applied, Change, ConflictFound, Found, Guard, History, Operation, Outcome, Reading, Write,
};

#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Mistake {
    None,
    /// A read shows what was there earlier.
    StaleRead,
    /// An acknowledged write does nothing.
    LostWrite,
    /// An increment is applied again.
    DuplicatedIncrement,
    /// Two clients get each other's answer.
    SwappedAnswers,
}

pub const MISTAKES: [Mistake; 4] =
    [Mistake::StaleRead, Mistake::LostWrite, Mistake::DuplicatedIncrement, Mistake::SwappedAnswers];

/// Which answers tell versions.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    All,
    Some,
    None,
}

#[derive(Clone, Copy, Debug)]
pub struct Plan {
    pub clients: u64,
    pub operations: usize,
    pub keys: usize,
    /// With transactions and snapshots.
    pub is_multi: bool,
    pub told: Told,
    /// With guards that name versions.
    pub is_versioned: bool,
    pub unknown_percent: u32,
    pub refused_percent: u32,
    pub mistake: Mistake,
}

/// A history, and what is true of it.
pub struct Made {
    pub history: History,
    pub log: Vec<Applied>,
    /// Whether there was an occasion for the mistake.
    pub is_wrong: bool,
}

/// When a client calls, when the store acts, if it does, and when the client has its answer.
struct Slot {
    client: u64,
    called: u64,
    acts: Option<u64>,
    returned: Option<u64>,
    is_refused: bool,
}

#[derive(Clone, Default)]
struct State {
    items: BTreeMap<String, (i64, u64)>,
    revision: u64,
}

struct Store<'a> {
    plan: Plan,
    rng: &'a mut StdRng,
    state: State,
    past: Vec<State>,
    log: Vec<Applied>,
    next_value: i64,
    /// The mistake is made at the first occasion from this operation on.
    wrong_from: usize,
    is_wrong: bool,
}

pub fn make(plan: Plan, rng: &mut StdRng) -> Made {
    let slots = slots(&plan, rng);
    let mut order: Vec<usize> = (0..slots.len()).collect();
    order.sort_by_key(|&at| (slots[at].acts.unwrap_or(slots[at].called), at));
    let wrong_from = rng.random_range(0..plan.operations);
    let mut store = Store {
        plan,
        rng,
        state: State::default(),
        past: vec![State::default()],
        log: Vec::new(),
        next_value: 0,
        wrong_from,
        is_wrong: false,
    };
    let mut history: Vec<(usize, Operation)> = Vec::new();
    for (number, &at) in order.iter().enumerate() {
        history.push((at, store.operation(number, &slots[at], format!("r{at}"))));
    }
    history.sort_by_key(|(at, _)| *at);
    let mut history: History = history.into_iter().map(|(_, operation)| operation).collect();
    if plan.mistake == Mistake::SwappedAnswers {
        store.is_wrong = swap_answers(&mut history, store.rng);
    }
    for operation in &mut history {
        hide(operation, plan.told, store.rng);
    }
    let mut log = store.log;
    log.sort_by(|a, b| a.request.cmp(&b.request));
    Made { is_wrong: store.is_wrong, log, history }
}

fn slots(plan: &Plan, rng: &mut StdRng) -> Vec<Slot> {
    let mut free = vec![0_u64; plan.clients as usize];
    let mut slots = Vec::new();
    for _ in 0..plan.operations {
        // Whoever is idle for longest goes on, so that all of them are busy.
        let client =
            (0..plan.clients).min_by_key(|&client| (free[client as usize], client)).expect("there are clients");
        let called = free[client as usize] + rng.random_range(0..4);
        let acts = called + rng.random_range(0..8);
        let returned = acts + rng.random_range(0..8);
        free[client as usize] = returned + rng.random_range(0..3);
        let fate = rng.random_range(0..100);
        let (is_unknown, is_refused) = (fate < plan.unknown_percent, fate >= 100 - plan.refused_percent);
        let acts = match (is_unknown, rng.random_bool(0.5)) {
            (true, true) => Some(called + rng.random_range(0..30)),
            (true, false) => None,
            (false, _) => (!is_refused).then_some(acts),
        };
        slots.push(Slot { client, called, acts, returned: (!is_unknown).then_some(returned), is_refused });
    }
    slots
}

impl Store<'_> {
    fn operation(&mut self, number: usize, slot: &Slot, request: String) -> Operation {
        let may_be_wrong =
            number >= self.wrong_from && !self.is_wrong && slot.returned.is_some() && slot.acts.is_some();
        let wrong = if may_be_wrong { self.plan.mistake } else { Mistake::None };
        let (action, outcome, revision) = self.act(wrong, slot, &request);
        let (outcome, revision) = match (slot.is_refused, slot.returned) {
            (true, _) => (Outcome::Refused, None),
            (false, None) => (Outcome::Unknown, None),
            (false, Some(_)) => (outcome, Some(revision)),
        };
        Operation {
            client: slot.client,
            request: Some(request),
            called: slot.called,
            returned: slot.returned,
            action: if matches!(outcome, Outcome::Refused | Outcome::Unknown) { action.unanswered() } else { action },
            outcome,
            revision,
        }
    }

    fn act(&mut self, wrong: Mistake, slot: &Slot, request: &str) -> (Action<String>, Outcome, u64) {
        let is_reading = self.rng.random_range(0..100) < 35;
        if is_reading {
            let stale = wrong == Mistake::StaleRead && self.rng.random_bool(0.7);
            let readings = |state: &State, keys: &[String]| -> Vec<Reading<String>> {
                keys.iter().map(|key| Reading { key: key.clone(), found: found(state, key) }).collect()
            };
            let count = if self.plan.is_multi && self.rng.random_bool(0.5) { self.plan.keys } else { 1 };
            let keys = self.keys(count);
            let (now, revision) = (readings(&self.state, &keys), self.state.revision);
            let old = &self.past[self.rng.random_range(0..self.past.len())];
            if stale && readings(old, &keys) != now {
                self.is_wrong = true;
                // Some stores know how old what they show is.
                let revision = if self.rng.random_bool(0.5) { old.revision } else { revision };
                return (Action::Read(readings(old, &keys)), Outcome::Done { version: None }, revision);
            }
            return (Action::Read(now), Outcome::Done { version: None }, revision);
        }
        let (guards, changes) = self.transaction();
        for (at, guard) in guards.iter().enumerate() {
            let item = self.state.items.get(guard.key());
            let holds = match guard {
                Guard::Version { version, .. } => item.is_some_and(|item| item.1 == *version),
                Guard::Absent { .. } => item.is_none(),
                Guard::Present { .. } => item.is_some(),
            };
            if !holds {
                let found = item.map_or(ConflictFound::Absent, |item| ConflictFound::Version(item.1));
                let writes = changes.into_iter().map(|(key, change)| Write { key, change, existed: None }).collect();
                let outcome = Outcome::Conflict { guard: at, found };
                return (Action::Transact { guards, writes }, outcome, self.state.revision);
            }
        }
        let before = self.state.clone();
        let (writes, version) = self.write(&changes);
        let revision = self.state.revision;
        match version {
            Some(_) if slot.acts.is_none() => self.state = before,
            Some(_) if wrong == Mistake::LostWrite => {
                self.state.items = before.items;
                self.is_wrong = true;
                let is_logged = self.rng.random_bool(0.5);
                self.note(request, is_logged.then_some(revision));
            }
            Some(_) => self.note(request, version),
            None => {}
        }
        let is_increment = matches!(changes[..], [(_, Change::Increment { .. })]);
        if version.is_some() && wrong == Mistake::DuplicatedIncrement && is_increment {
            let (_, again) = self.write(&changes);
            self.is_wrong = true;
            let is_logged = self.rng.random_bool(0.5);
            self.note(request, again.filter(|_| is_logged));
        }
        (Action::Transact { guards, writes }, Outcome::Done { version }, revision)
    }

    fn note(&mut self, request: &str, revision: Option<u64>) {
        self.past.push(self.state.clone());
        self.log.extend(revision.map(|revision| Applied { request: request.to_string(), revision }));
    }

    fn keys(&mut self, count: usize) -> Vec<String> {
        let first = self.rng.random_range(0..self.plan.keys);
        (0..count).map(|key| format!("k{}", (first + key) % self.plan.keys)).collect()
    }

    fn transaction(&mut self) -> (Vec<Guard<String>>, Vec<(String, Change)>) {
        if self.plan.is_multi && self.rng.random_bool(0.5) {
            let keys = self.keys(2.min(self.plan.keys));
            let guards = match self.rng.random_range(0..3) {
                0 => Vec::new(),
                1 => vec![self.guard(&keys[0])],
                _ => keys.iter().map(|key| self.guard(key)).collect(),
            };
            let changes = keys.into_iter().map(|key| (key, self.change())).collect();
            return (guards, changes);
        }
        let key = self.keys(1).remove(0);
        let is_compare_and_set = self.rng.random_range(0..4) == 0;
        if is_compare_and_set {
            self.next_value += 1000;
            return (vec![self.guard(&key)], vec![(key, Change::Put(self.next_value))]);
        }
        let change = self.change();
        (Vec::new(), vec![(key, change)])
    }

    /// More often than not one that holds.
    fn guard(&mut self, key: &str) -> Guard<String> {
        let state = match self.rng.random_bool(0.7) {
            true => &self.state,
            false => &self.past[self.rng.random_range(0..self.past.len())],
        };
        match state.items.get(key) {
            Some(_) if !self.plan.is_versioned || self.rng.random_bool(0.2) => Guard::Present { key: key.to_string() },
            Some(item) => Guard::Version { key: key.to_string(), version: item.1 },
            None => Guard::Absent { key: key.to_string() },
        }
    }

    fn change(&mut self) -> Change {
        match self.rng.random_range(0..10) {
            0..5 => {
                self.next_value += 1000;
                Change::Put(self.next_value)
            }
            5..7 => Change::Delete,
            _ => Change::Increment { by: self.rng.random_range(1..3), initial: 0, sum: None },
        }
    }

    /// Writes at the next revision, if anything changes, and says what is answered.
    fn write(&mut self, changes: &[(String, Change)]) -> (Vec<Write<String>>, Option<u64>) {
        let revision = self.state.revision + if self.rng.random_bool(0.2) { 2 } else { 1 };
        let (mut writes, mut is_changed) = (Vec::new(), false);
        for (key, change) in changes {
            let before = self.state.items.get(key).map(|item| item.0);
            let mut change = *change;
            let value = match &mut change {
                Change::Put(value) => Some(*value),
                Change::Delete => None,
                Change::Increment { by, initial, sum } => {
                    *sum = Some(before.unwrap_or(*initial) + *by);
                    *sum
                }
            };
            match value {
                Some(value) => drop(self.state.items.insert(key.clone(), (value, revision))),
                None => drop(self.state.items.remove(key)),
            }
            is_changed |= before.is_some() || value.is_some();
            writes.push(Write { key: key.clone(), change, existed: Some(before.is_some()) });
        }
        if is_changed {
            self.state.revision = revision;
        }
        (writes, is_changed.then_some(revision))
    }
}

fn found(state: &State, key: &str) -> Option<Found> {
    state.items.get(key).map(|&(value, version)| Found { value, version: Some(version) })
}

/// Swaps the answers of two reads of the same keys, or of two increments by the same of the same key.
fn swap_answers(history: &mut History, rng: &mut StdRng) -> bool {
    let first = rng.random_range(0..history.len());
    for one in (0..history.len()).map(|at| (at + first) % history.len()) {
        for other in 0..history.len() {
            let (a, b) = (&history[one], &history[other]);
            let is_done = matches!((a.outcome, b.outcome), (Outcome::Done { .. }, Outcome::Done { .. }));
            if is_done && a.action != b.action && a.action.unanswered() == b.action.unanswered() {
                let (a, b) = ((a.action.clone(), a.outcome, a.revision), (b.action.clone(), b.outcome, b.revision));
                (history[one].action, history[one].outcome, history[one].revision) = b;
                (history[other].action, history[other].outcome, history[other].revision) = a;
                return true;
            }
        }
    }
    false
}

/// Takes versions out of what was answered.
fn hide(operation: &mut Operation, told: Told, rng: &mut StdRng) {
    let mut hides = || match told {
        Told::All => false,
        Told::Some => rng.random_bool(0.5),
        Told::None => true,
    };
    if let Action::Read(readings) = &mut operation.action {
        for found in readings.iter_mut().filter_map(|reading| reading.found.as_mut()) {
            found.version = found.version.filter(|_| !hides());
        }
    }
    if let Action::Transact { writes, .. } = &mut operation.action {
        writes.iter_mut().for_each(|write| write.existed = write.existed.filter(|_| !hides()));
    }
    match &mut operation.outcome {
        Outcome::Done { version } if hides() => *version = None,
        Outcome::Conflict { found, .. } if hides() => *found = ConflictFound::NotTold,
        Outcome::Done { .. } | Outcome::Conflict { .. } | Outcome::Refused | Outcome::Unknown => {}
    }
    operation.revision = operation.revision.filter(|_| told == Told::All);
}
