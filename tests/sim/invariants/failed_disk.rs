//! PE-5 A write or sync of the log that failed is the end of the log until the next start: nothing that was asked afterwards is
//! acknowledged, and the node says that it does not serve (Rebello et al., "Can Applications Recover from fsync Failures?",
//! ATC 2020).

use std::sync::Arc;

use kvstore::{
    error::ErrorCode,
    node::Running,
    types::{LogState, NodeId},
};

use super::{Invariant, Verdict};
use crate::{
    cluster::{Host, Hosts},
    history::{History, Outcome, Write},
};

pub struct FailedDisk {
    hosts: Arc<Hosts>,
    refused: u64,
    looks: u64,
}

impl FailedDisk {
    pub fn new(hosts: Arc<Hosts>) -> FailedDisk {
        FailedDisk { hosts, refused: 0, looks: 0 }
    }

    fn host_of(&self, node: NodeId) -> Option<&Host> {
        self.hosts.nodes.iter().find(|host| host.running().is_some_and(|running| running.keyspace().me() == node))
    }
}

impl Invariant for FailedDisk {
    fn name(&self) -> &'static str {
        "PE-5 a failed log is the end"
    }

    fn on_write(&mut self, write: &Write, _history: &History) -> Verdict {
        self.refused += u64::from(write.why == Some(ErrorCode::DiskFailed));
        let Outcome::Acked { by: Some(by), .. } = write.outcome else { return Ok(()) };
        let failed = self.host_of(by).and_then(Host::disk).and_then(|disk| disk.log_failed());
        match failed {
            Some(failed) if self.hosts.is_synchronous() && write.asked > failed => {
                Err(format!("{write:?}: the log of {by} had failed at {failed:?}"))
            }
            Some(_) | None => Ok(()),
        }
    }

    fn on_look(&mut self, nodes: &[Arc<Running>], _history: &History) -> Verdict {
        for node in nodes {
            let me = node.keyspace().me();
            if self.host_of(me).and_then(Host::disk).is_none_or(|disk| disk.log_failed().is_none()) {
                continue;
            }
            self.looks += 1;
            let status = node.status(false);
            let state = status.storage.map(|storage| storage.state);
            if state != Some(LogState::Failed) || status.health.serving {
                return Err(format!("the log of {me} has failed: {state:?}, serving: {}", status.health.serving));
            }
        }
        Ok(())
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![("writes refused after a failed write or sync", self.refused), ("looks at failed logs", self.looks)]
    }
}
