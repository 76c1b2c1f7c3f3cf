//! What a node of this process answers at once, or as soon as its own work on it is done.

use std::time::Duration;

use super::{PyNode, PATIENCE_MAX};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::CALL_TIMEOUT,
    python::{answer::Outcome, request::Call},
    replication::execute,
    types::metrics,
};

impl PyNode {
    pub(super) fn answer(&self, call: Call, timeout: Option<Duration>) -> Result<Outcome> {
        Ok(match call {
            Call::Operations(operations) => {
                let keyspace = self.keyspace()?;
                Outcome::Answers(operations.into_iter().map(|operation| execute(keyspace, operation)).collect())
            }
            Call::Status { digests } => Outcome::Status(Box::new(self.node()?.status(digests)?)),
            Call::Members => Outcome::Members(self.node()?.members()?),
            // Members that keep silent are given up earlier than that.
            Call::Conflicts(query) => Outcome::Conflicts(self.node()?.conflicts(query, CALL_TIMEOUT)?),
            Call::RemoveMember { node, force } => {
                self.node()?.remove_member(node, force)?;
                Outcome::Removed
            }
            Call::MoveLeader { to } => Outcome::Leader(self.node()?.move_leader(to, timeout.unwrap_or(PATIENCE_MAX))?),
            Call::Snapshot { path } => Outcome::Bytes(self.node()?.snapshot(path, timeout.unwrap_or(PATIENCE_MAX))?),
            Call::Metrics => Outcome::Metrics(metrics(&self.node()?.status(false)?, &self.node()?.members()?)),
            Call::Strong(_) => return Err(Error::new(ErrorCode::Internal, "a strong keyspace never answers at once")),
        })
    }
}
