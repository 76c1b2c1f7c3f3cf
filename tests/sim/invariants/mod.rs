//! What must hold, one file an invariant. A file is the whole definition: where it comes from, what it looks at, what it
//! does not claim.

mod bounded_clock;
mod convergence;
mod covered_is_held;
mod monotonic_reads;
mod no_lost_write;
mod no_phantom;
mod no_resurrection;
mod one_version_one_value;

use std::sync::Arc;

use kvstore::{
    node::Running,
    types::{NodeId, Record},
};

use super::{
    cluster::Hosts,
    history::{History, Read, Write},
};

/// What an invariant says of a step; an error is a violation.
pub type Verdict = Result<(), String>;

/// Something that must hold. Each method is asked at its moment; what it has not to do with it lets pass.
pub trait Invariant {
    /// Its name in the list of invariants, for the report.
    fn name(&self) -> &'static str;

    /// A write ended, in whatever way.
    fn on_write(&mut self, _write: &Write, _history: &History) -> Verdict {
        Ok(())
    }

    /// A client read something.
    fn on_read(&mut self, _read: &Read, _history: &History) -> Verdict {
        Ok(())
    }

    /// Ten times a second, while nothing runs.
    fn on_look(&mut self, _nodes: &[Arc<Running>], _history: &History) -> Verdict {
        Ok(())
    }

    /// At a look, for each node and key of which something else is held than at the last look, tombstones and expired
    /// values included.
    fn on_sight(&mut self, _node: NodeId, _key: &str, _record: Option<&Record>, _history: &History) -> Verdict {
        Ok(())
    }

    /// A node has just gone, with its memory.
    fn on_death(&mut self, _left: &[Arc<Running>], _history: &History) -> Verdict {
        Ok(())
    }

    /// Writes that it lets be lost, for the report: with too many it would claim little.
    fn excused(&self) -> u64 {
        0
    }

    /// All is healed and quiet, and the nodes' vectors are equal.
    fn on_end(&mut self, _nodes: &[Arc<Running>], _history: &History) -> Verdict {
        Ok(())
    }
}

/// Every invariant, fresh.
pub fn all(hosts: &Arc<Hosts>) -> Vec<Box<dyn Invariant>> {
    vec![
        Box::new(convergence::Convergence),
        Box::<no_lost_write::NoLostWrite>::default(),
        Box::<covered_is_held::CoveredIsHeld>::default(),
        Box::<one_version_one_value::OneVersionOneValue>::default(),
        Box::<no_resurrection::NoResurrection>::default(),
        Box::new(bounded_clock::BoundedClock::new(hosts.clone())),
        Box::<monotonic_reads::MonotonicReads>::default(),
        Box::new(no_phantom::NoPhantom),
    ]
}
