//! What the writers had seen: how far node O had applied the writes of node X when it made its own write number n.
//!
//! It decides one question, at X alone: when a write of O replaces a write of X, did O know what it replaced? For each
//! pair (O, X) the answer is a step function of O's own sequence. O notes a step when it applies writes of X, not when
//! it writes, so writers pay nothing. A step travels with the write it begins at: in the pushed stretch that holds the
//! write, or at the end of the state transfer that covers it. Hence the invariant
//!
//! > **Whoever has O's writes up to n has the steps of (O, X) up to n, as far as X may still ask.**
//!
//! X asks only about writes of O that it has not got, so a node that hears how far X has come keeps the step in force
//! there and drops those before it. Every node keeps the steps of all pairs: it may have to serve O's writes to X when
//! O is gone.
//!
//! Steps are never changed once the write they begin at exists, so learning one twice, or in another order, changes
//! nothing. A step that is missing makes its writer look as if it had seen less: a conflict may then be recorded that was
//! none, and none is ever missed.

use std::{
    collections::BTreeMap,
    ops::Bound::{Excluded, Included},
};

use crate::{
    limits::SEEN_STEPS_MAX,
    types::{NodeId, SeenStep, Sequence, VersionVector},
};

/// Whose knowledge, and of whose writes.
type Pair = (NodeId, NodeId);

/// The steps that one partition keeps.
#[derive(Debug)]
pub(super) struct SeenLog {
    /// By pair; from which write of the first on it had applied the writes of the second up to where. None is empty.
    pairs: BTreeMap<Pair, BTreeMap<Sequence, Sequence>>,
    steps: usize,
    steps_max: usize,
    forgotten: u64,
}

impl Default for SeenLog {
    fn default() -> SeenLog {
        SeenLog::with_bound(SEEN_STEPS_MAX)
    }
}

impl SeenLog {
    /// A log that keeps so many steps.
    pub(super) fn with_bound(steps_max: usize) -> SeenLog {
        SeenLog { pairs: BTreeMap::new(), steps: 0, steps_max, forgotten: 0 }
    }

    /// Takes note of a step. One that is known already, or says nothing new, changes nothing.
    pub(super) fn note(&mut self, step: SeenStep) {
        if step.seen == Sequence::ZERO {
            return;
        }
        let steps = self.pairs.entry((step.writer, step.of)).or_default();
        let in_force = steps.range(..=step.from).next_back().map(|(_, &seen)| seen);
        if in_force >= Some(step.seen) {
            return;
        }
        // A step of our own whose write does not exist yet is replaced.
        if steps.insert(step.from, step.seen).is_none() {
            self.steps += 1;
            self.make_room();
        }
    }

    /// Up to which of the writes of `of` the writer had applied when it made its write `at`.
    pub(super) fn seen(&self, writer: NodeId, of: NodeId, at: Sequence) -> Sequence {
        let steps = self.pairs.get(&(writer, of));
        let in_force = steps.and_then(|steps| steps.range(..=at).next_back());
        in_force.map_or(Sequence::ZERO, |(_, &seen)| seen)
    }

    /// The steps that begin at one of a writer's writes `first` to `last`.
    pub(super) fn within(&self, writer: NodeId, first: Sequence, last: Sequence) -> Vec<SeenStep> {
        let mut found = Vec::new();
        if first <= last {
            for (&pair, steps) in self.pairs.range((writer, NodeId(0))..=(writer, NodeId(u64::MAX))) {
                found.extend(steps.range(first..=last).map(|step| to_step(pair, step)));
            }
        }
        found
    }

    /// The steps that begin at writes which `vector` covers and `known` does not.
    pub(super) fn between(&self, known: &VersionVector, vector: &VersionVector) -> Vec<SeenStep> {
        let mut found = Vec::new();
        for (&pair, steps) in &self.pairs {
            let (after, last) = (known.sequence(pair.0), vector.sequence(pair.0));
            if after < last {
                found.extend(steps.range((Excluded(after), Included(last))).map(|step| to_step(pair, step)));
            }
        }
        found
    }

    /// Every step.
    pub(super) fn all(&self) -> Vec<SeenStep> {
        self.pairs.iter().flat_map(|(&pair, steps)| steps.iter().map(move |step| to_step(pair, step))).collect()
    }

    /// Whether [`SeenLog::trim`] would drop anything.
    pub(super) fn has_excess(&self, of: NodeId, vector: &VersionVector) -> bool {
        let about = self.pairs.iter().filter(|((_, node), _)| *node == of);
        about.into_iter().any(|((writer, _), steps)| steps.range(..=vector.sequence(*writer).next()).nth(1).is_some())
    }

    /// Drops what `of`, which stands at `vector`, will not ask about any more: of each writer the steps before the one
    /// in force at its next write.
    pub(super) fn trim(&mut self, of: NodeId, vector: &VersionVector) {
        for ((writer, _), steps) in self.pairs.iter_mut().filter(|((_, node), _)| *node == of) {
            let Some((&in_force, _)) = steps.range(..=vector.sequence(*writer).next()).next_back() else { continue };
            let before = steps.len();
            *steps = steps.split_off(&in_force);
            self.steps -= before - steps.len();
        }
    }

    /// As [`SeenLog::trim`], of one writer, which `of` follows up to `position`.
    pub(super) fn trim_pair(&mut self, writer: NodeId, of: NodeId, position: Sequence) {
        let Some(steps) = self.pairs.get_mut(&(writer, of)) else { return };
        let Some((&in_force, _)) = steps.range(..=position.next()).next_back() else { return };
        while steps.first_key_value().is_some_and(|(&from, _)| from < in_force) {
            steps.pop_first();
            self.steps -= 1;
        }
    }

    /// Drops what only a node that is gone for good could ask about.
    pub(super) fn forget_node(&mut self, node: NodeId) {
        self.pairs.retain(|(_, of), _| *of != node);
        self.steps = self.pairs.values().map(BTreeMap::len).sum();
    }

    /// Steps that were dropped although somebody could still ask.
    pub(super) fn forgotten(&self) -> u64 {
        self.forgotten
    }

    /// Beyond the bound the oldest steps of the longest pair go, some at once, so that the search for it pays.
    fn make_room(&mut self) {
        if self.steps <= self.steps_max {
            return;
        }
        let Some(longest) = self.pairs.values_mut().max_by_key(|steps| steps.len()) else { return };
        let count = longest.len() / 16 + 1;
        for _ in 0..count {
            longest.pop_first();
        }
        self.steps -= count;
        self.forgotten += count as u64;
        self.pairs.retain(|_, steps| !steps.is_empty());
    }
}

fn to_step((writer, of): Pair, (&from, &seen): (&Sequence, &Sequence)) -> SeenStep {
    SeenStep { writer, of, from, seen }
}

#[cfg(test)]
mod tests;
