//! What must hold, one file an invariant. A file is the whole definition: where it comes from, what it looks at, what it
//! does not claim.

mod acked_is_applied;
mod acked_is_durable;
mod bounded_clock;
mod conflict_journal;
mod convergence;
mod covered_is_held;
mod damage_is_named;
mod failed_disk;
mod full_disk;
mod monotonic_reads;
mod no_lost_write;
mod no_phantom;
mod no_resurrection;
mod one_version_one_value;
mod removed_is_mute;
mod sessions;
mod taken_back;
mod watches;

use std::{sync::Arc, time::Duration};

use kvstore::{
    error::ErrorCode,
    node::Running,
    types::{NodeId, Record},
};

use super::{
    chronicle::{Made, WriteName},
    cluster::{Host, Hosts, Opened},
    history::{History, Read, Watched, Write},
};

/// What an invariant says of a step; an error is a violation.
pub type Verdict = Result<(), String>;

/// A node has come back from the disk of its host.
pub struct Reopening<'a> {
    pub me: NodeId,
    pub opened: &'a Opened,
    /// What it had made in memory and does not know any more.
    pub lost: &'a [(WriteName, Made)],
    pub running: Option<&'a Running>,
}

/// Something that must hold. Each method is asked at its moment; what it has not to do with it lets pass.
pub trait Invariant {
    /// Its name in the list of invariants, for the report.
    fn name(&self) -> &'static str;

    /// A write ended, in whatever way.
    fn on_write(&mut self, _write: &Write, _history: &History) -> Verdict {
        Ok(())
    }

    /// A node made a write in the step that has just ended, for a client or as its own upkeep.
    fn on_made(&mut self, _made: &Made, _host: &Host, _history: &History) -> Verdict {
        Ok(())
    }

    /// A node was opened on the disk of its host, in the step that has just ended.
    fn on_opened(&mut self, _reopening: &Reopening<'_>, _history: &History) -> Verdict {
        Ok(())
    }

    /// A read got an error.
    fn on_read_failed(&mut self, _why: ErrorCode, _history: &History) -> Verdict {
        Ok(())
    }

    /// A client read something.
    fn on_read(&mut self, _read: &Read, _history: &History) -> Verdict {
        Ok(())
    }

    /// A session was told that writes are lost, by this node if it is still there.
    fn on_session_lost(&mut self, _session: usize, _by: Option<&Running>, _history: &History) -> Verdict {
        Ok(())
    }

    /// A watcher was told something.
    fn on_watched(&mut self, _watcher: usize, _watched: &Watched, _history: &History) -> Verdict {
        Ok(())
    }

    /// Ten times a second, while nothing runs.
    fn on_look(&mut self, _nodes: &[Arc<Running>], _history: &History) -> Verdict {
        Ok(())
    }

    /// At a look, a node that is to be removed and is still there; `knows`: it has learned of it.
    fn on_removed_look(&mut self, _now: Duration, _node: NodeId, _knows: bool) {}

    /// At a look, for each node and key of which something else is held than at the last look, tombstones and expired
    /// values included.
    fn on_sight(&mut self, _node: NodeId, _key: &str, _record: Option<&Record>, _history: &History) -> Verdict {
        Ok(())
    }

    /// A node has just gone, with its memory.
    fn on_death(&mut self, _left: &[Arc<Running>], _history: &History) -> Verdict {
        Ok(())
    }

    /// What it has looked at, and what it has let off, for the report: with too little of the one or too much of the other
    /// it would claim little.
    fn tallies(&self) -> Vec<(&'static str, u64)> {
        Vec::new()
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
        Box::new(no_lost_write::NoLostWrite::new(hosts.clone())),
        Box::<covered_is_held::CoveredIsHeld>::default(),
        Box::<one_version_one_value::OneVersionOneValue>::default(),
        Box::<no_resurrection::NoResurrection>::default(),
        Box::new(bounded_clock::BoundedClock::new(hosts.clone())),
        Box::<monotonic_reads::MonotonicReads>::default(),
        Box::new(no_phantom::NoPhantom),
        Box::<acked_is_applied::AckedIsApplied>::default(),
        Box::<acked_is_durable::AckedIsDurable>::default(),
        Box::<taken_back::TakenBack>::default(),
        Box::<damage_is_named::DamageIsNamed>::default(),
        Box::new(failed_disk::FailedDisk::new(hosts.clone())),
        Box::new(full_disk::FullDisk::new(hosts.clone())),
        Box::<conflict_journal::ConflictJournal>::default(),
        Box::new(sessions::Sessions::new(hosts.clone())),
        Box::new(watches::Watches::new(hosts.clone())),
        Box::<removed_is_mute::RemovedIsMute>::default(),
    ]
}
