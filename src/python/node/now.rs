//! What a node of this process answers at once, or as soon as its own work on it is done.

use std::time::Duration;

use super::{PyNode, PATIENCE_MAX};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::CALL_TIMEOUT,
    python::{
        answer::Outcome,
        request::{Asked, Call},
    },
    replication::execute_in,
    types::{metrics, Holding, Space},
};

impl PyNode {
    /// The keyspace that is asked, which was found to be here a moment ago. What is wrong with `default` each operation says.
    fn space(&self, asked: &Asked) -> Result<Space> {
        match &asked.keyspace {
            // Nothing is asked of it.
            Some(_) if asked.operations.is_empty() => Ok(Space::Default),
            None => Ok(Space::Default),
            Some(name) => self.keyspace()?.space_settled(name),
        }
    }

    pub(super) fn answer(&self, call: Call, timeout: Option<Duration>) -> Result<Outcome> {
        Ok(match call {
            Call::Operations(asked) => {
                let (keyspace, space) = (self.keyspace()?, self.space(&asked)?);
                let answers = asked.operations.into_iter().map(|operation| execute_in(keyspace, space, operation));
                Outcome::Answers(answers.collect())
            }
            Call::Holdings => {
                let holdings = self.keyspace()?.holdings().into_iter();
                Outcome::Holdings(holdings.map(Holding::into_parts).collect())
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
