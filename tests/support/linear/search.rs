//! The search for one order that explains every answer.
//!
//! A configuration is which operations are in the order so far, and the state they leave. From it the next operation is
//! one that no other one has to precede: it was called before any that is left had returned. Each configuration is
//! tried once. These make the search short, none of which loses an order:
//!
//! * An operation that wrote nothing, wherever it stands, and teaches nothing of versions goes next as soon as it
//!   agrees with the state, without a choice: any order that has it later stays good when it comes first.
//! * Of all good orders take one with the fewest unknown writes. None of them is last, and without it the operation
//!   after it would fail, or leave a state after which less is possible ([`State::dominates`]); else it could be left
//!   out. So after an unknown write only such operations are tried.
//! * Of unknown writes that ask for the same only the one that was called first is tried: the others would do no
//!   better.
//! * A write that tells a version is not tried before an operation that has to come and tells an older one of the same
//!   key.
//! * What leaves an operation without the value that it has to find, and without anybody who could bring it back in
//!   time, is not tried.

use std::{cmp::Reverse, collections::BTreeSet};

use super::{
    outlook::{Left, Outlook},
    state::State,
    Action, Change, Outcome, Write,
};

/// How many states of a failure are told.
const STATES_TOLD: usize = 4;

/// An operation on the object at hand.
#[derive(Clone, Debug)]
pub(super) struct Call {
    /// Its place in the history.
    pub(super) at: usize,
    pub(super) called: u64,
    /// `u64::MAX` if its outcome is unknown.
    pub(super) returned: u64,
    pub(super) action: Action<usize>,
    pub(super) outcome: Outcome,
}

/// How many steps were taken, and how many may be.
#[derive(Clone, Copy, Debug)]
pub(super) struct Steps {
    pub(super) taken: u64,
    pub(super) max: u64,
}

/// What came of it.
#[derive(Debug)]
pub(super) enum Found {
    Order,
    /// The call that returns first of those that no order could take, and some states in which it could not.
    None {
        stuck: usize,
        states: Vec<State>,
    },
    OutOfSteps,
}

/// A set of small numbers that fills up from below.
#[derive(Clone, Debug, Default, PartialEq, Eq, PartialOrd, Ord)]
struct Bits {
    /// So many words before the others are full.
    full: usize,
    words: Vec<u64>,
}

#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Configuration {
    known: Bits,
    unknown: Bits,
    state: State,
    /// After an unknown write, the state without it: the next call has to need it.
    owed: Option<State>,
}

/// What may come next, and the call that returns first of those that are left.
struct Next {
    known: Vec<usize>,
    unknown: Vec<usize>,
    first_back: usize,
}

pub(super) struct Search<'a> {
    /// Those that have to be in the order, by the time of their call.
    known: &'a [Call],
    /// Those that may be, by the time of their call.
    unknown: &'a [Call],
    keys: usize,
    outlook: Outlook<'a>,
    looks_ahead: bool,
    seen: BTreeSet<Configuration>,
    open: Vec<Configuration>,
    /// The latest return that no order came past, with its call.
    stuck: (u64, usize),
    states: Vec<State>,
}

impl<'a> Search<'a> {
    pub(super) fn new(known: &'a [Call], unknown: &'a [Call], keys: usize) -> Search<'a> {
        let outlook = Outlook::new(known, unknown);
        Search {
            known,
            unknown,
            keys,
            outlook,
            looks_ahead: true,
            seen: BTreeSet::new(),
            open: Vec::new(),
            stuck: (0, 0),
            states: Vec::new(),
        }
    }

    /// The same without looking ahead, so that it comes to the very place of a failure. Slower.
    pub(super) fn without_outlook(mut self) -> Search<'a> {
        self.looks_ahead = false;
        self
    }

    pub(super) fn run(mut self, steps: &mut Steps) -> Found {
        if let Some(call) = self.outlook.unexplained().filter(|_| self.looks_ahead) {
            return Found::None { stuck: self.known[call].at, states: Vec::new() };
        }
        let state = State::new(self.keys, self.outlook.is_versioned());
        self.push(Configuration { known: Bits::default(), unknown: Bits::default(), state, owed: None });
        while let Some(configuration) = self.open.pop() {
            if configuration.known.first_missing() >= self.known.len() {
                return Found::Order;
            }
            if steps.taken >= steps.max {
                return Found::OutOfSteps;
            }
            self.expand(&configuration, steps);
        }
        Found::None { stuck: self.known[self.stuck.1].at, states: self.states }
    }

    fn push(&mut self, configuration: Configuration) {
        if self.seen.insert(configuration.clone()) {
            self.open.push(configuration);
        }
    }

    fn expand(&mut self, from: &Configuration, steps: &mut Steps) {
        let next = self.next(from);
        self.note_stuck(next.first_back, &from.state);
        let mut after = Vec::with_capacity(next.known.len());
        for &place in &next.known {
            steps.taken += 1;
            let call = &self.known[place];
            let state = from.after(call);
            if call.is_reading() && state.as_ref() == Some(&from.state) {
                return self.push(from.with(place, from.state.clone()));
            }
            after.extend(state.map(|state| (place, state)));
        }
        for &place in &next.unknown {
            steps.taken += 1;
            if let Some(state) = from.after(&self.unknown[place]) {
                self.push_unless_hopeless(from, from.with_unknown(place, state));
            }
        }
        // The one pushed last is tried first: the oldest version, or else the first to return.
        after.sort_by_key(|(place, _)| Reverse((self.outlook.made(*place), self.known[*place].returned)));
        for (place, state) in after {
            if !self.outlook.is_too_early(place, &next.known) {
                self.push_unless_hopeless(from, from.with(place, state));
            }
        }
    }

    /// Leaves it out if what it overwrites is needed later, and gone.
    fn push_unless_hopeless(&mut self, from: &Configuration, to: Configuration) {
        let is_lost = |key| self.outlook.is_lost(key, from.state.value(key), to.state.value(key), &to);
        if !self.looks_ahead || !(0..self.keys).any(is_lost) {
            self.push(to);
        }
    }

    fn next(&self, from: &Configuration) -> Next {
        let mut next = Next { known: Vec::new(), unknown: Vec::new(), first_back: from.known.first_missing() };
        let mut back = u64::MAX;
        for call in from.known.first_missing()..self.known.len() {
            if self.known[call].called > back {
                break;
            }
            if from.known.contains(call) {
                continue;
            }
            next.known.push(call);
            if self.known[call].returned < back {
                back = self.known[call].returned;
                next.first_back = call;
            }
        }
        for call in from.unknown.first_missing()..self.unknown.len() {
            if self.unknown[call].called > back {
                break;
            }
            let is_like_it = |&other: &usize| self.unknown[other].action == self.unknown[call].action;
            if !from.unknown.contains(call) && !next.unknown.iter().any(is_like_it) {
                next.unknown.push(call);
            }
        }
        next
    }

    fn note_stuck(&mut self, call: usize, state: &State) {
        let place = (self.known[call].returned, call);
        if self.states.is_empty() || place > self.stuck {
            self.stuck = place;
            self.states.clear();
        }
        if place == self.stuck && self.states.len() < STATES_TOLD && !self.states.contains(state) {
            self.states.push(state.clone());
        }
    }
}

impl Call {
    /// Whether its answer says that it wrote nothing. A delete that does not tell may find something at another place.
    fn is_reading(&self) -> bool {
        let found_nothing = |write: &Write<usize>| write.change == Change::Delete && write.existed == Some(false);
        match (&self.action, self.outcome) {
            (Action::Read(_), _) | (_, Outcome::Conflict { .. }) => true,
            (Action::Transact { writes, .. }, Outcome::Done { .. }) => writes.iter().all(found_nothing),
            (Action::Transact { .. }, Outcome::Refused | Outcome::Unknown) => false,
        }
    }
}

impl Configuration {
    /// The state after one more call; `None` if it cannot be next, or need not come right after an unknown write.
    fn after(&self, call: &Call) -> Option<State> {
        let state = self.state.after(&call.action, call.outcome)?;
        let without = self.owed.as_ref().and_then(|owed| owed.after(&call.action, call.outcome));
        without.is_none_or(|without| !without.dominates(&state)).then_some(state)
    }

    fn with(&self, call: usize, state: State) -> Configuration {
        let mut known = self.known.clone();
        known.insert(call);
        Configuration { known, unknown: self.unknown.clone(), state, owed: None }
    }

    fn with_unknown(&self, call: usize, state: State) -> Configuration {
        let mut unknown = self.unknown.clone();
        unknown.insert(call);
        Configuration { known: self.known.clone(), unknown, state, owed: Some(self.state.clone()) }
    }
}

impl Left for Configuration {
    fn known(&self, call: usize) -> bool {
        !self.known.contains(call)
    }

    fn unknown(&self, call: usize) -> bool {
        !self.unknown.contains(call)
    }
}

impl Bits {
    fn contains(&self, bit: usize) -> bool {
        match (bit / 64).checked_sub(self.full) {
            Some(word) => self.words.get(word).is_some_and(|word| word >> (bit % 64) & 1 == 1),
            None => true,
        }
    }

    fn insert(&mut self, bit: usize) {
        let word = (bit / 64).checked_sub(self.full).expect("what is put in was not there");
        if word >= self.words.len() {
            self.words.resize(word + 1, 0);
        }
        self.words[word] |= 1 << (bit % 64);
        while self.words.first() == Some(&u64::MAX) {
            self.words.remove(0);
            self.full += 1;
        }
    }

    fn first_missing(&self) -> usize {
        self.full * 64 + self.words.first().map_or(0, |word| word.trailing_ones() as usize)
    }
}
