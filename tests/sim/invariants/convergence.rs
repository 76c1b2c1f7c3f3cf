//! EV-1 Convergence: after healing and quiescence all replicas are identical per key, tombstones and times to live
//! included, and so are their digests (Shapiro et al., "Conflict-free Replicated Data Types", 2011, 2.2).
//!
//! That the nodes get there at all, and in time, is checked by the run itself; here it is whether what they call equal is.

use std::sync::Arc;

use kvstore::node::Running;

use super::{Invariant, Verdict};
use crate::history::{held, History};

pub struct Convergence;

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
                if ours != theirs {
                    return Err(format!("{key}: {a} holds {ours:?}, {b} holds {theirs:?}"));
                }
            }
        }
        Ok(())
    }
}
