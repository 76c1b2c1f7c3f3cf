//! What a node of this process answers as soon as its own work on it is done.

use super::PyNode;
use crate::{
    error::{Error, ErrorCode, Result},
    python::{answer::Outcome, request::Call},
    replication::execute,
    types::metrics,
};

impl PyNode {
    pub(super) fn answer(&self, call: Call) -> Result<Outcome> {
        Ok(match call {
            Call::Operations(operations) => {
                let keyspace = self.keyspace()?;
                Outcome::Answers(operations.into_iter().map(|operation| execute(keyspace, operation)).collect())
            }
            Call::Status { digests } => Outcome::Status(Box::new(self.node()?.status(digests)?)),
            Call::Members => Outcome::Members(self.node()?.members()?),
            Call::Metrics => Outcome::Metrics(metrics(&self.node()?.status(false)?, &self.node()?.members()?)),
            Call::Strong(_)
            | Call::Conflicts(_)
            | Call::RemoveMember { .. }
            | Call::MoveLeader { .. }
            | Call::Snapshot { .. } => {
                return Err(Error::new(ErrorCode::Internal, "this call is never answered at once"));
            }
        })
    }
}
