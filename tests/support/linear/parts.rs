//! Takes a history apart into objects that have no key in common, and judges each.

use std::collections::BTreeMap;

use super::{
    search::{Call, Found, Search, Steps},
    state::State,
    Action, Failure, History, Operation, Outcome, Verdict,
};

/// How many operations before the failure are told.
const BEFORE_TOLD: usize = 4;

/// Steps of all searches that find the place of a failure. With fewer, hard ones are told at the place where the search
/// noticed; with more, somebody waits for what only helps to read the report.
const LOCATING_STEPS: u64 = 200_000;

/// What a search of a whole history came to.
#[derive(Clone, Debug)]
pub struct Report {
    pub verdict: Verdict,
    /// Keys, or sets of keys that were judged together.
    pub objects: usize,
    /// Operations that are in the order.
    pub known: usize,
    /// Writes that may be in it.
    pub unknown: usize,
    /// Refused operations and unknown reads, which say nothing.
    pub unjudged: usize,
    /// Steps of all searches, those left out that find the place of a failure.
    pub steps: u64,
}

/// Whether one order explains the history, with at most so many steps for each object. Of objects for which there is
/// none, the one with the fewest operations is told.
pub fn check(history: &History, steps_max: u64) -> Report {
    let judged: Vec<usize> = (0..history.len()).filter(|&at| history[at].is_judged()).collect();
    let unknown = judged.iter().filter(|&&at| history[at].outcome == Outcome::Unknown).count();
    let objects = objects(history, &judged);
    let mut report = Report {
        verdict: Verdict::Linearizable,
        objects: objects.len(),
        known: judged.len() - unknown,
        unknown,
        unjudged: history.len() - judged.len(),
        steps: 0,
    };
    let mut failed: Option<Failed> = None;
    for operations in &objects {
        let object = Object::new(history, operations);
        let mut steps = Steps { taken: 0, max: steps_max };
        match search(&object.calls, object.names.len(), &mut steps) {
            Found::Order => {}
            Found::OutOfSteps => report.verdict = Verdict::Undecided,
            Found::None { stuck, .. } => {
                if failed.as_ref().is_none_or(|failed| object.calls.len() < failed.object.calls.len()) {
                    failed = Some(Failed { object, stuck });
                }
            }
        }
        report.steps += steps.taken;
    }
    if let Some(failed) = failed {
        report.verdict = Verdict::Violated(failed.tell(history));
    }
    report
}

/// Keys that were judged together, with their operations.
struct Object {
    names: Vec<String>,
    calls: Vec<Call>,
}

/// An object without an order, and the operation at which the search noticed.
struct Failed {
    object: Object,
    stuck: usize,
}

impl Object {
    fn new(history: &History, operations: &[usize]) -> Object {
        let names = names(operations.iter().map(|&at| &history[at]));
        let call = |&at: &usize| {
            let operation = &history[at];
            let is_unknown = operation.outcome == Outcome::Unknown;
            let returned = operation.returned.filter(|_| !is_unknown).unwrap_or(u64::MAX);
            let action = operation.action.rename(|key| names.binary_search(key).expect("every key has its name here"));
            Call { at, called: operation.called, returned, action, outcome: operation.outcome }
        };
        Object { calls: operations.iter().map(call).collect(), names }
    }
}

impl Failed {
    fn tell(self, history: &History) -> Failure {
        let Failed { object: Object { names, calls }, stuck } = self;
        let (at, states) = first_failure(&calls, names.len()).unwrap_or((stuck, Vec::new()));
        Failure {
            at,
            states: states.iter().map(|state| state.describe(&names)).collect(),
            around: around(history, &calls, at),
            operations: calls.len(),
            keys: names,
        }
    }
}

/// The judged operations of each object, by the time of their call.
fn objects(history: &History, judged: &[usize]) -> Vec<Vec<usize>> {
    let mut numbers: BTreeMap<&String, usize> = BTreeMap::new();
    for key in judged.iter().flat_map(|&at| history[at].action.keys()) {
        let next = numbers.len();
        numbers.entry(key).or_insert(next);
    }
    // Each key points to another one of its object, or to itself if it is the one that stands for it.
    let mut parents: Vec<usize> = (0..numbers.len()).collect();
    for &at in judged {
        let mut keys = history[at].action.keys().into_iter().map(|key| numbers[key]);
        let Some(first) = keys.next() else { continue };
        for key in keys {
            let (one, other) = (root(&mut parents, first), root(&mut parents, key));
            parents[one] = other;
        }
    }
    let mut objects: BTreeMap<usize, Vec<usize>> = BTreeMap::new();
    for &at in judged {
        if let Some(key) = history[at].action.keys().first() {
            objects.entry(root(&mut parents, numbers[key])).or_default().push(at);
        }
    }
    let mut objects: Vec<Vec<usize>> = objects.into_values().collect();
    for operations in &mut objects {
        operations.sort_by_key(|&at| (history[at].called, at));
    }
    objects
}

fn root(parents: &mut [usize], mut key: usize) -> usize {
    while parents[key] != key {
        parents[key] = parents[parents[key]];
        key = parents[key];
    }
    key
}

fn search(calls: &[Call], keys: usize, steps: &mut Steps) -> Found {
    let (known, unknown) = split(calls);
    Search::new(&known, &unknown, keys).run(steps)
}

fn split(calls: &[Call]) -> (Vec<Call>, Vec<Call>) {
    calls.iter().cloned().partition(|call| call.outcome != Outcome::Unknown)
}

/// The first answer that cannot be explained, whatever comes later, and what was there in some of the orders before it;
/// `None` if finding it takes too long. The search itself may notice at another place, since it looks ahead.
fn first_failure(calls: &[Call], keys: usize) -> Option<(usize, Vec<State>)> {
    let mut steps = Steps { taken: 0, max: LOCATING_STEPS };
    let mut ends: Vec<(u64, usize)> = calls.iter().map(|call| (call.returned, call.at)).collect();
    ends.retain(|&(returned, _)| returned != u64::MAX);
    ends.sort_unstable();
    // All of them fail together and none does not; in between, what has failed once does not get better.
    let (mut good, mut bad) = (0, ends.len().checked_sub(1)?);
    while good < bad {
        let middle = good + (bad - good) / 2;
        match search(&until(calls, ends[middle].0), keys, &mut steps) {
            Found::Order => good = middle + 1,
            Found::None { .. } => bad = middle,
            Found::OutOfSteps => return None,
        }
    }
    let (time, at) = ends[bad];
    let (known, unknown) = split(&until(calls, time));
    match Search::new(&known, &unknown, keys).without_outlook().run(&mut steps) {
        Found::None { states, stuck } if stuck == at => Some((at, states)),
        Found::None { .. } | Found::Order | Found::OutOfSteps => Some((at, Vec::new())),
    }
}

/// What was to be seen at a time: calls that had not returned were unknown.
fn until(calls: &[Call], time: u64) -> Vec<Call> {
    let called = calls.iter().filter(|call| call.called <= time);
    let seen = called.filter(|call| call.returned <= time || matches!(call.action, Action::Transact { .. }));
    let as_seen = |call: &Call| match call.returned <= time {
        true => call.clone(),
        false => {
            Call { returned: u64::MAX, outcome: Outcome::Unknown, action: call.action.unanswered(), ..call.clone() }
        }
    };
    seen.map(as_seen).collect()
}

/// The keys of some operations, each once, ascending.
pub(super) fn names<'a>(operations: impl Iterator<Item = &'a Operation>) -> Vec<String> {
    let mut names: Vec<String> = operations.flat_map(|operation| operation.action.keys()).cloned().collect();
    names.sort();
    names.dedup();
    names
}

/// What was in flight together with an operation, and the last to return before its call.
fn around(history: &History, calls: &[Call], at: usize) -> Vec<usize> {
    let (called, returned) = (history[at].called, history[at].returned.unwrap_or(u64::MAX));
    let mut before: Vec<&Call> = calls.iter().filter(|call| call.returned < called).collect();
    before.sort_by_key(|call| call.returned);
    let told = before.split_off(before.len().saturating_sub(BEFORE_TOLD));
    let beside = calls.iter().filter(|call| call.returned >= called && call.called <= returned);
    let mut around: Vec<usize> = told.into_iter().chain(beside).map(|call| call.at).collect();
    around.sort_by_key(|&at| (history[at].called, at));
    around
}
