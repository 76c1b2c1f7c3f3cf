//! EV-3 One version never has two values: versions are totally ordered by `(timestamp, node)`, and each names one record
//! of one key, on every node and for ever; so does each dot `(partition, node, sequence)`.
//!
//! That the merge is commutative, associative and idempotent is a property test of the storage.

use std::collections::BTreeMap;

use kvstore::{
    storage::partition_of,
    types::{NodeId, Record},
};

use super::{Invariant, Reopening, Verdict};
use crate::history::History;

#[derive(Default)]
pub struct OneVersionOneValue {
    /// A sweep gives values that ended at one stamp, and were of two nodes, one and the same version: that names one write
    /// of each key, so those have their key here.
    by_rank: BTreeMap<(u64, NodeId, Option<String>), (String, Record)>,
    by_dot: BTreeMap<(u16, NodeId, u64), (u64, NodeId)>,
}

impl Invariant for OneVersionOneValue {
    fn name(&self) -> &'static str {
        "EV-3 one version, one value"
    }

    /// Nobody but its maker may have had what a crash took back, so its names are free.
    fn on_opened(&mut self, reopening: &Reopening<'_>, _history: &History) -> Verdict {
        for ((partition, dot), made) in reopening.lost {
            let (version, node) = (made.record.timestamp.0, dot.node);
            let key = made.record.is_sweep().then(|| made.key.clone());
            self.by_rank.remove(&(version, node, key));
            self.by_dot.remove(&(partition.0, node, dot.sequence.0));
        }
        Ok(())
    }

    fn on_sight(&mut self, _node: NodeId, key: &str, record: Option<&Record>, _history: &History) -> Verdict {
        let Some(record) = record else { return Ok(()) };
        let rank = (record.timestamp.0, record.dot.node);
        let place = (rank.0, rank.1, record.is_sweep().then(|| key.to_string()));
        let (known_key, known) = self.by_rank.entry(place).or_insert_with(|| (key.to_string(), record.clone()));
        if known_key != key || known != record {
            return Err(format!("{rank:?} is {known:?} of {known_key}, and {record:?} of {key}"));
        }
        let dot = (partition_of(key.as_bytes()).0, record.dot.node, record.dot.sequence.0);
        let known = *self.by_dot.entry(dot).or_insert(rank);
        if known != rank {
            return Err(format!("the write {dot:?} is {known:?}, and {rank:?} of {key}"));
        }
        Ok(())
    }
}
