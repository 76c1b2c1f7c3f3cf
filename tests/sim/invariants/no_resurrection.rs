//! EV-4 No resurrection: what a node holds for a key never goes back to something older, whether by replay, by fetched
//! state, or because a tombstone was dropped. A key that is gone may come back only with a greater version.
//!
//! A tombstone is dropped only once every member has it, so what it deleted must not be there in the end on any node, also
//! on one that never saw the tombstone. (In between a node that was taken for gone may still show it to itself.)

use std::{collections::BTreeMap, sync::Arc};

use kvstore::{
    node::Running,
    types::{NodeId, Record},
};

use super::{Invariant, Reopening, Verdict};
use crate::history::{held, History};

type Rank = (u64, NodeId);

#[derive(Default)]
pub struct NoResurrection {
    /// The greatest version each node ever held of each key, and whether it was a value without an end.
    greatest: BTreeMap<(NodeId, String), (Rank, bool)>,
    /// The greatest version of each key that a node held and dropped.
    buried: BTreeMap<String, Rank>,
    excused: u64,
}

impl Invariant for NoResurrection {
    fn name(&self) -> &'static str {
        "EV-4 no resurrection"
    }

    fn on_sight(&mut self, node: NodeId, key: &str, record: Option<&Record>, history: &History) -> Verdict {
        let place = (node, key.to_string());
        let before = self.greatest.get(&place).copied();
        let Some(record) = record else {
            let Some((rank, is_endless)) = before else { return Ok(()) };
            // It may have been deleted, and the tombstone dropped, between two looks.
            if is_endless && !history.may_be_absent(key, rank.0) {
                return Err(format!("{node} held {rank:?} of {key}, a value without an end, and nothing now"));
            }
            let buried = self.buried.entry(key.to_string()).or_insert(rank);
            *buried = rank.max(*buried);
            return Ok(());
        };
        let rank = (record.timestamp.0, record.dot.node);
        if before.is_some_and(|(before, _)| rank < before) && history.apart.were {
            self.excused += 1;
        } else if before.is_some_and(|(before, _)| rank < before) {
            return Err(format!("{node} held {before:?} of {key}, and {record:?} now"));
        }
        self.greatest.insert(place, (rank, record.value.is_some() && record.expires_ms.is_none()));
        Ok(())
    }

    /// What its disk did not have yet, its own writes or those of others, a node need not know any more.
    fn on_opened(&mut self, reopening: &Reopening<'_>, history: &History) -> Verdict {
        let Reopening { me, opened, .. } = reopening;
        self.greatest.retain(|(node, key), ((version, by), _)| {
            let mut made = history.chronicle.at(key, *version).filter(|((_, dot), _)| dot.node == *by);
            node != me
                || made.any(|((partition, dot), _)| opened.vectors.get(&partition).is_some_and(|v| v.covers(dot)))
        });
        Ok(())
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![("resurrections excused: nodes were apart", self.excused)]
    }

    fn on_end(&mut self, nodes: &[Arc<Running>], history: &History) -> Verdict {
        for (node, (key, buried)) in nodes.iter().flat_map(|node| self.buried.iter().map(move |entry| (node, entry))) {
            let record = held(node, key);
            if record.as_ref().is_some_and(|record| (record.timestamp.0, record.dot.node) < *buried) {
                let me = node.keyspace().me();
                if history.apart.were {
                    self.excused += 1;
                    continue;
                }
                return Err(format!("{buried:?} of {key} was dropped as known to all, {me} holds {record:?}"));
            }
        }
        Ok(())
    }
}
