//! EV-2 No acknowledged write is lost beyond last-writer-wins: in the end each acknowledged write is what the nodes hold
//! for its key, or something greater is.
//!
//! Nodes acknowledge before they replicate. Those that wait for their disks lose nothing by dying (PE-1): only the removal of
//! one, or damage to its disk, is the end of it. For the others one exception is promised and no other: a
//! write is *excused* when the node that acknowledged it is gone, and at some death since no node that was left held it
//! or anything greater for its key. A node that was there at that moment and survives is therefore bound to keep it.
//!
//! A key that is not there at all is no loss if it was deleted or had a time to live: tombstones are dropped one day.

use std::{collections::BTreeSet, sync::Arc};

use kvstore::{
    node::Running,
    types::{NodeId, Record},
};

use super::{Invariant, Verdict};
use crate::{
    cluster::Hosts,
    history::{held, History, Write},
};

pub struct NoLostWrite {
    hosts: Arc<Hosts>,
    /// Writes, by number, that may be lost.
    excused: BTreeSet<usize>,
    /// Writes, by number, whose answer was looked at.
    looked_at: BTreeSet<usize>,
}

impl NoLostWrite {
    pub fn new(hosts: Arc<Hosts>) -> NoLostWrite {
        NoLostWrite { hosts, excused: BTreeSet::new(), looked_at: BTreeSet::new() }
    }

    /// Excuses what died with its node. `is_death`: look at all again, not only at answers that came after the death.
    fn excuse(&mut self, nodes: &[Arc<Running>], history: &History, is_death: bool) {
        let mut live: BTreeSet<NodeId> = nodes.iter().map(|node| node.keyspace().me()).collect();
        live.append(&mut self.hosts.dormant());
        for (index, write) in history.writes.iter().enumerate() {
            let Some((_, by)) = write.rank() else { continue };
            let is_new = self.looked_at.insert(index);
            let is_orphan = !live.contains(&by);
            if is_orphan && (is_new || is_death) && !nodes.iter().any(|node| is_kept(node, write)) {
                self.excused.insert(index);
            }
        }
    }
}

fn is_kept(node: &Running, write: &Write) -> bool {
    let record = held(node, &write.key);
    let Some(rank) = write.rank() else { return true };
    match record.as_ref().map(Record::rank) {
        Some((version, by)) => (version.0, by) >= rank,
        // It may never have heard of the key.
        None => false,
    }
}

impl Invariant for NoLostWrite {
    fn name(&self) -> &'static str {
        "EV-2 no lost write"
    }

    fn on_look(&mut self, nodes: &[Arc<Running>], history: &History) -> Verdict {
        self.excuse(nodes, history, false);
        Ok(())
    }

    fn on_death(&mut self, left: &[Arc<Running>], history: &History) -> Verdict {
        self.excuse(left, history, true);
        Ok(())
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![("writes excused: died with their node", self.excused.len() as u64)]
    }

    fn on_end(&mut self, nodes: &[Arc<Running>], history: &History) -> Verdict {
        let Some(node) = nodes.first() else { return Ok(()) };
        if let Some(&index) = self.excused.first().filter(|_| self.hosts.loses_nothing) {
            return Err(format!("PE-1: {:?} died with its node, which kept its data", history.writes[index]));
        }
        for (index, write) in history.writes.iter().enumerate() {
            let Some((version, _)) = write.rank().filter(|_| !self.excused.contains(&index)) else { continue };
            let record = held(node, &write.key);
            if record.is_none() && history.may_be_absent(&write.key, version) {
                continue;
            }
            if !is_kept(node, write) {
                return Err(format!("{write:?} is lost: {record:?} is held"));
            }
        }
        Ok(())
    }
}
