//! EV-1 Convergence: after healing and quiescence all replicas are identical per key, tombstones and times to live
//! included, and so are their digests (Shapiro et al., "Conflict-free Replicated Data Types", 2011, 2.2).
//!
//! That the nodes get there at all, and in time, is checked by the run itself; here it is whether what they call equal is.

use std::sync::Arc;

use kvstore::{node::Running, storage::partition_of, types::Record};

use super::{Invariant, Verdict};
use crate::history::{held, History};

pub struct Convergence;

/// Whether what the other one holds is a delete that this one has dropped: the two do it at about the same time.
fn is_dropped(node: &Running, key: &str, others: &Option<Record>) -> bool {
    let is_covered = |record: &Record| node.keyspace().dropped(partition_of(key.as_bytes())).covers(record.dot);
    held(node, key).is_none() && others.as_ref().is_some_and(|record| record.value.is_none() && is_covered(record))
}

impl Invariant for Convergence {
    fn name(&self) -> &'static str {
        "EV-1 convergence"
    }

    fn on_end(&mut self, nodes: &[Arc<Running>], history: &History) -> Verdict {
        let Some((first, others)) = nodes.split_first() else { return Err("no node is left".into()) };
        for other in others {
            let (a, b) = (first.keyspace().me(), other.keyspace().me());
            if first.status(true).digests != other.status(true).digests {
                return Err(format!("the digests of {a} and {b} differ"));
            }
            for key in history.keys() {
                let (ours, theirs) = (held(first, &key), held(other, &key));
                if ours != theirs && !is_dropped(first, &key, &theirs) && !is_dropped(other, &key, &ours) {
                    return Err(format!("{key}: {a} holds {ours:?}, {b} holds {theirs:?}"));
                }
            }
        }
        Ok(())
    }
}
