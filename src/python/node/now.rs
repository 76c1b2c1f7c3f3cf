//! What a node of this process answers as soon as its own work on it is done.

use super::PyNode;
use crate::{
    error::{Error, ErrorCode, Result},
    python::{
        answer::Outcome,
        request::{Asked, Call},
    },
    replication::{eventual::Eventual, execute_in},
    types::{metrics, Holding, Space},
};

/// The keyspace that is asked, which was found to be here a moment ago. What is wrong with `default` each operation says.
fn space(keyspace: &Eventual, asked: &Asked) -> Result<Space> {
    match &asked.keyspace {
        // Nothing is asked of it.
        Some(_) if asked.operations.is_empty() => Ok(Space::Default),
        None => Ok(Space::Default),
        Some(name) => keyspace.space_settled(name),
    }
}

/// Does what is asked of a keyspace, one after the other.
pub(super) fn operate(keyspace: &Eventual, asked: Asked) -> Result<Outcome> {
    let space = space(keyspace, &asked)?;
    let answers = asked.operations.into_iter().map(|operation| execute_in(keyspace, space, operation));
    Ok(Outcome::Answers(answers.collect()))
}

impl PyNode {
    pub(super) fn answer(&self, call: Call) -> Result<Outcome> {
        Ok(match call {
            Call::Operations(asked) => operate(self.keyspace()?, asked)?,
            Call::Holdings => {
                let holdings = self.keyspace()?.holdings().into_iter();
                Outcome::Holdings(holdings.map(Holding::into_parts).collect())
            }
            Call::Status { digests } => Outcome::Status(Box::new(self.node()?.status(digests)?)),
            Call::Members => Outcome::Members(self.node()?.members()?),
            Call::Metrics => Outcome::Metrics(metrics(&self.node()?.status(false)?, &self.node()?.members()?)),
            Call::Strong(_)
            | Call::Conflicts(_)
            | Call::RemoveMember { .. }
            | Call::MoveLeader { .. }
            | Call::Snapshot { .. }
            | Call::Survey(_) => {
                return Err(Error::new(ErrorCode::Internal, "this call is never answered at once"));
            }
        })
    }
}
