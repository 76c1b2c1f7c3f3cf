//! What loses is kept: each acknowledged write that lost against one whose maker had not applied it is in the conflict
//! journal of its node, exactly once, and no other write is (docs/eventual.md, "Conflicts").
//!
//! The oracle is the chronicle, which saw what every maker had applied. It can say for sure where the makers of *all* later
//! writes of the key had applied the lost one, or none of them had: of several of which some had, it depends on which one
//! came first. A journal goes where its node goes, so it is the nodes that are there in the end that are asked.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kvstore::{
    limits::{CLOCK_DRIFT_MAX, TOMBSTONE_GRACE},
    node::Running,
    types::{Conflict, ConflictQuery, NodeId, Space},
};

use super::{Invariant, Reopening, Verdict};
use crate::{
    chronicle::{Chronicle, Knew, Made, WriteName},
    doors::EPOCH_MS,
    history::History,
};

/// How sure the oracle was.
#[derive(Default)]
pub struct ConflictJournal {
    must: u64,
    must_not: u64,
    may: u64,
    /// Deletes that their node had dropped, when it counted nobody who could lack them, before they lost.
    dropped: u64,
    /// Who a node was before, with the same data.
    formers: BTreeMap<NodeId, BTreeSet<NodeId>>,
}

impl ConflictJournal {
    /// A node, and who it was before.
    fn selves(&self, me: NodeId) -> BTreeSet<NodeId> {
        self.formers.get(&me).into_iter().flatten().copied().chain([me]).collect()
    }

    fn check(&mut self, node: &Running, history: &History) -> Verdict {
        let chronicle = &history.chronicle;
        let keyspace = node.keyspace();
        let mut recorded: BTreeMap<WriteName, u64> = BTreeMap::new();
        for conflict in keyspace.conflicts(Space::Default, &ConflictQuery::default()) {
            let name = check_entry(node, &conflict, chronicle, &self.selves(keyspace.me()))?;
            *recorded.entry(name).or_default() += 1;
        }
        let counts = keyspace.conflict_counts();
        if (counts.dropped, counts.inexact) != (0, 0) {
            return Err(format!("{counts:?} in a run so short"));
        }
        for (name, lost) in chronicle.of_node(keyspace.me()) {
            let times = recorded.get(&name).copied().unwrap_or(0);
            let told = || format!("{:?} is in the journal of its node {times} times", lost.record);
            let is_final = chronicle.decides(&lost.key, keyspace).is_some_and(|(decisive, _)| decisive == name);
            let (known, unknown) = later(lost, name, node, chronicle);
            match (is_final, known, unknown, times) {
                _ if times > 1 => return Err(told()),
                _ if lost.record.is_sweep() && times > 0 => return Err(format!("{}: it is a sweep", told())),
                (true, _, _, 1) => return Err(format!("{}, and it was not lost", told())),
                (_, _, 0, 1) => return Err(format!("{}, and whoever replaced it had seen it", told())),
                (true, ..) | (_, _, 0, _) => self.must_not += 1,
                (false, 0, _, 0) if lost.record.is_sweep() => self.must_not += 1,
                (false, 0, _, 0) if is_dropped_before_meeting(lost, name, node, history) => {
                    self.dropped += 1;
                }
                (false, 0, _, 0) => return Err(format!("{}, and it was lost unseen", told())),
                (false, 0, _, _) => self.must += 1,
                (false, ..) => self.may += 1,
            }
        }
        Ok(())
    }
}

/// An entry tells of two writes that there were, of which the second was made without having seen the first.
fn check_entry(
    node: &Running,
    conflict: &Conflict,
    chronicle: &Chronicle,
    selves: &BTreeSet<NodeId>,
) -> Result<WriteName, String> {
    let partition = kvstore::storage::partition_of(&conflict.key);
    let me = node.keyspace().me();
    if !selves.contains(&conflict.node) || !selves.contains(&conflict.lost.dot.node) {
        return Err(format!("{conflict:?} is in the journal of {me}"));
    }
    for record in [&conflict.lost, &conflict.won] {
        let made = chronicle.get((partition, record.dot));
        if made.is_none_or(|made| made.record != *record || made.key.as_bytes() != &conflict.key[..]) {
            return Err(format!("{conflict:?} tells of {record:?}, and {made:?} was made"));
        }
    }
    let won = chronicle.get((partition, conflict.won.dot)).ok_or("the chronicle lost a write")?;
    if won.knew(conflict.lost.dot) == Knew::Yes {
        return Err(format!("{conflict:?}: who won had seen what was lost"));
    }
    Ok((partition, conflict.lost.dot))
}

/// Whether a delete was dropped that lost against nobody whom its node knew when it was old enough for that. Clocks differ by
/// no more than the drift bound from a stamp that was taken.
fn is_dropped_before_meeting(lost: &Made, name: WriteName, node: &Running, history: &History) -> bool {
    let made = Duration::from_millis(lost.record.timestamp.millis().saturating_sub(EPOCH_MS));
    let old = (made + TOMBSTONE_GRACE).saturating_sub(CLOCK_DRIFT_MAX);
    let keyspace = node.keyspace();
    let is_stranger = |maker| history.apart.were_strangers(keyspace.me(), maker, old);
    let mut later = history.chronicle.of_key(&lost.key).filter(|(_, made)| made.record.rank() > lost.record.rank());
    lost.record.value.is_none()
        && keyspace.dropped(name.0).covers(name.1)
        && later.any(|(_, made)| is_stranger(made.record.dot.node))
}

/// How many later writes of the key have reached this node, made by nodes that had applied this one, and by nodes that
/// perhaps, or surely, had not. One that perhaps had counts on both sides.
fn later(lost: &Made, name: WriteName, node: &Running, chronicle: &Chronicle) -> (u64, u64) {
    let vector = node.keyspace().vector(name.0);
    let (mut known, mut unknown) = (0, 0);
    for (_, made) in chronicle.of_key(&lost.key) {
        if made.record.rank() > lost.record.rank() && vector.covers(made.record.dot) {
            let knew = made.knew(name.1);
            known += u64::from(knew != Knew::No);
            unknown += u64::from(knew != Knew::Yes);
        }
    }
    (known, unknown)
}

impl Invariant for ConflictJournal {
    fn name(&self) -> &'static str {
        "conflict journal"
    }

    fn on_opened(&mut self, reopening: &Reopening<'_>, _history: &History) -> Verdict {
        let (me, opened) = (reopening.me, reopening.opened);
        if let Some(former) = opened.former.filter(|&former| former != me && opened.damage.is_none()) {
            let selves = self.selves(former);
            self.formers.insert(me, selves);
        }
        Ok(())
    }

    fn on_end(&mut self, nodes: &[Arc<Running>], history: &History) -> Verdict {
        nodes.iter().try_for_each(|node| self.check(node, history))
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("conflicts that had to be recorded", self.must),
            ("own writes that must not be recorded", self.must_not),
            ("own writes of which either is right", self.may),
            ("conflicts excused: the lost delete was dropped", self.dropped),
        ]
    }
}
