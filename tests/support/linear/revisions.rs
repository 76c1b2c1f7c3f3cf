//! The judge of histories in which every answer tells its revision: sorting instead of searching.
//!
//! 1. Writes in the order of their revisions, and every answer in its place among them, agree with the store's model.
//! 2. If one operation returned before another one was called, its revision is not higher; if the other one wrote, it
//!    is lower.
//! 3. No two transactions have made the same revision, whether acknowledged or told by the log.
//! 4. What the log says agrees: what was acknowledged is there under its revision, what was refused is not, no request
//!    is there twice (ST-2, ST-6). What was unknown was applied if the log has it, and else was not.
//!
//! What keeps all this is linearizable, in the order of the revisions; not the other way round, since a store could be
//! right about values and wrong about revisions.

use std::collections::BTreeMap;

use super::{
    parts::names,
    state::{Effect, State},
    Action, Applied, History, Operation, Outcome,
};

/// What this judge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// All of it agrees. So many operations were in the order.
    Agrees(usize),
    /// The operations, by their places in the history, and what is wrong with them.
    Violated { at: Vec<usize>, why: String },
    /// An answer does not tell its revision, or nobody knows of an unknown write whether it was applied.
    CannotTell { at: usize, why: &'static str },
}

/// An operation with its revision.
#[derive(Clone, Copy)]
struct Placed {
    at: usize,
    revision: u64,
    /// It made the revision, rather than being answered at it.
    is_made: bool,
}

type Fault = Result<(), Judgement>;

/// Judges a history. `log` is every request that was applied, in any order; without it unknown writes cannot be judged.
pub fn check(history: &History, log: Option<&[Applied]>) -> Judgement {
    match judge(history, log) {
        Ok(count) => Judgement::Agrees(count),
        Err(judgement) => judgement,
    }
}

fn judge(history: &History, log: Option<&[Applied]>) -> Result<usize, Judgement> {
    let applied = log.map(applied).transpose()?;
    let mut placed = Vec::new();
    for (at, operation) in history.iter().enumerate() {
        if let Some(applied) = &applied {
            agrees_with_log(at, operation, applied)?;
        }
        placed.extend(place(at, operation, applied.as_ref())?);
    }
    // Among those of one revision the one that made it is first; the others have seen it.
    placed.sort_by_key(|placed| (placed.revision, !placed.is_made, history[placed.at].called));
    made_once(&placed)?;
    replay(history, &placed)?;
    real_time(history, &placed)?;
    Ok(placed.len())
}

/// The revision of each request of the log.
fn applied(log: &[Applied]) -> Result<BTreeMap<&str, u64>, Judgement> {
    let (mut requests, mut revisions) = (BTreeMap::new(), BTreeMap::new());
    for Applied { request, revision } in log {
        if let Some(before) = requests.insert(request.as_str(), *revision) {
            return violated(vec![], format!("request {request} was applied twice, at {before} and at {revision}"));
        }
        if let Some(before) = revisions.insert(*revision, request) {
            return violated(vec![], format!("revision {revision} was made by {before} and by {request}"));
        }
    }
    Ok(requests)
}

fn agrees_with_log(at: usize, operation: &Operation, applied: &BTreeMap<&str, u64>) -> Fault {
    let Some(request) = operation.request.as_deref() else { return Ok(()) };
    match (operation.outcome, applied.get(request).copied()) {
        (Outcome::Done { version: Some(told) }, logged) if logged != Some(told) => {
            let logged = logged.map_or("does not have it".into(), |logged| format!("has it at {logged}"));
            violated(vec![at], format!("request {request} was acknowledged at {told}; the log {logged}"))
        }
        (Outcome::Refused | Outcome::Conflict { .. }, Some(logged)) => {
            violated(vec![at], format!("request {request} was refused, and applied at {logged}"))
        }
        (Outcome::Done { .. } | Outcome::Conflict { .. } | Outcome::Refused | Outcome::Unknown, _) => Ok(()),
    }
}

/// Where an operation belongs; `None` if it says nothing.
fn place(at: usize, operation: &Operation, applied: Option<&BTreeMap<&str, u64>>) -> Result<Option<Placed>, Judgement> {
    if !operation.is_judged() {
        return Ok(None);
    }
    let logged = operation.request.as_deref().and_then(|request| applied?.get(request)).copied();
    let made = |revision| Ok(Some(Placed { at, revision, is_made: true }));
    match (operation.outcome, logged) {
        (Outcome::Done { version: Some(revision) }, _) | (Outcome::Done { version: None }, Some(revision)) => {
            made(revision)
        }
        (Outcome::Unknown, Some(revision)) => made(revision),
        (Outcome::Unknown, None) if applied.is_some() && operation.request.is_some() => Ok(None),
        (Outcome::Unknown, None) => Err(Judgement::CannotTell { at, why: "its outcome is unknown, and no log tells" }),
        (Outcome::Done { version: None } | Outcome::Conflict { .. } | Outcome::Refused, _) => {
            match operation.revision {
                Some(revision) => Ok(Some(Placed { at, revision, is_made: false })),
                None => Err(Judgement::CannotTell { at, why: "its answer tells no revision" }),
            }
        }
    }
}

fn made_once(placed: &[Placed]) -> Fault {
    let made: Vec<&Placed> = placed.iter().filter(|placed| placed.is_made).collect();
    for pair in made.windows(2) {
        if pair[0].revision == pair[1].revision {
            return violated(vec![pair[0].at, pair[1].at], format!("both made revision {}", pair[0].revision));
        }
    }
    Ok(())
}

fn replay(history: &History, placed: &[Placed]) -> Fault {
    let names = names(placed.iter().map(|placed| &history[placed.at]));
    let mut state = State::new(names.len(), true);
    for &Placed { at, revision, is_made } in placed {
        let operation = &history[at];
        let action: Action<usize> =
            operation.action.rename(|key| names.binary_search(key).expect("every key has its name here"));
        let outcome = if is_made { Outcome::Done { version: Some(revision) } } else { operation.outcome };
        let mut keys: Vec<usize> = action.keys().into_iter().copied().collect();
        keys.sort_unstable();
        keys.dedup();
        let before = state.of(&keys);
        let Some(effect) = state.apply(&action, outcome) else {
            let names: Vec<String> = keys.iter().map(|&key| names[key].clone()).collect();
            let before = before.describe(&names);
            return violated(
                vec![at],
                format!("its answer does not agree with revision {revision}, at which {before}"),
            );
        };
        if !is_made && effect == Effect::Written {
            return violated(vec![at], format!("it tells no revision of its own, and changed revision {revision}"));
        }
    }
    Ok(())
}

fn real_time(history: &History, placed: &[Placed]) -> Fault {
    let mut by_call: Vec<&Placed> = placed.iter().collect();
    by_call.sort_by_key(|placed| history[placed.at].called);
    let is_known = |placed: &&Placed| history[placed.at].outcome != Outcome::Unknown;
    let back = |placed: &Placed| history[placed.at].returned.unwrap_or(u64::MAX);
    let mut by_return: Vec<&Placed> = placed.iter().filter(is_known).collect();
    by_return.sort_by_key(|placed| back(placed));
    let mut returned = by_return.into_iter().peekable();
    let mut latest: Option<&Placed> = None;
    for later in by_call {
        while let Some(earlier) = returned.next_if(|earlier| back(earlier) < history[later.at].called) {
            if latest.is_none_or(|latest| earlier.revision > latest.revision) {
                latest = Some(earlier);
            }
        }
        let Some(earlier) = latest else { continue };
        if later.revision < earlier.revision || later.is_made && later.revision == earlier.revision {
            let (one, other) = (earlier.revision, later.revision);
            let why = format!("the one of revision {one} returned before the one of revision {other} was called");
            return violated(vec![earlier.at, later.at], why);
        }
    }
    Ok(())
}

fn violated<T>(at: Vec<usize>, why: String) -> Result<T, Judgement> {
    Err(Judgement::Violated { at, why })
}
