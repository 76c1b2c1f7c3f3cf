//! EV-2, the engine's side of it: a node whose version vector covers a write holds that write or something greater for its
//! key. From a claim without the data nobody ever recovers, because nobody sends such a node the write again.
//!
//! A key that is not there at all is fine if it was deleted or had a time to live: tombstones are dropped one day.

use std::{collections::BTreeMap, sync::Arc};

use kvstore::{
    node::Running,
    storage::partition_of,
    types::{Dot, NodeId, Record},
};

use super::{Invariant, Reopening, Verdict};
use crate::history::{held, History};

/// Every write that some node was seen to hold.
#[derive(Default)]
pub struct CoveredIsHeld {
    seen: BTreeMap<(String, (u64, NodeId)), Dot>,
    excused: u64,
}

impl CoveredIsHeld {
    fn check<'a>(&mut self, nodes: impl Iterator<Item = &'a Running>, history: &History) -> Verdict {
        for node in nodes {
            for ((key, rank), dot) in &self.seen {
                if !node.keyspace().vector(partition_of(key.as_bytes())).covers(*dot) {
                    continue;
                }
                let record = held(node, key);
                let is_held = match &record {
                    Some(record) => (record.timestamp.0, record.dot.node) >= *rank,
                    None => history.may_be_absent(key, rank.0),
                };
                if !is_held && history.apart.were {
                    self.excused += 1;
                } else if !is_held {
                    let me = node.keyspace().me();
                    return Err(format!("{me} claims {dot:?}, {rank:?} of {key}, and holds {record:?}"));
                }
            }
        }
        Ok(())
    }
}

impl Invariant for CoveredIsHeld {
    fn name(&self) -> &'static str {
        "EV-2 what is covered is held"
    }

    fn on_sight(&mut self, _node: NodeId, key: &str, record: Option<&Record>, _history: &History) -> Verdict {
        if let Some(record) = record {
            self.seen.insert((key.to_string(), (record.timestamp.0, record.dot.node)), record.dot);
        }
        Ok(())
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![("covered and not held, excused: nodes were apart", self.excused)]
    }

    fn on_opened(&mut self, reopening: &Reopening<'_>, history: &History) -> Verdict {
        for (_, made) in reopening.lost {
            self.seen.remove(&(made.key.clone(), (made.record.timestamp.0, made.record.dot.node)));
        }
        self.check(reopening.running.into_iter(), history)
    }

    fn on_death(&mut self, left: &[Arc<Running>], history: &History) -> Verdict {
        self.check(left.iter().map(Arc::as_ref), history)
    }

    fn on_end(&mut self, nodes: &[Arc<Running>], history: &History) -> Verdict {
        self.check(nodes.iter().map(Arc::as_ref), history)
    }
}
