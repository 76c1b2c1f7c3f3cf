//! ME-2, as far as an eventual cluster has it: a node that was removed and has learned of it takes no writes any more, and in
//! the end nobody counts a removed node. (Proof of identity needs TLS; that a removed node cannot make the others
//! differ is EV-1.)

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kvstore::{
    node::Running,
    types::{MemberState, NodeId},
};

use super::{Invariant, Verdict};
use crate::history::{History, Outcome, Write};

#[derive(Default)]
pub struct RemovedIsMute {
    /// Since when each removed node was seen to know it.
    knows: BTreeMap<NodeId, Duration>,
    /// What was asked of a removed node after that, and refused.
    refused: u64,
}

impl Invariant for RemovedIsMute {
    fn name(&self) -> &'static str {
        "ME-2 removed is mute"
    }

    fn on_removed_look(&mut self, now: Duration, node: NodeId, knows: bool) {
        if knows {
            self.knows.entry(node).or_insert(now);
        }
    }

    fn on_write(&mut self, write: &Write, _history: &History) -> Verdict {
        if write.outcome == Outcome::Refused {
            self.refused += u64::from(write.contact.is_some_and(|node| self.knows.contains_key(&node)));
        }
        let Outcome::Acked { by: Some(by), .. } = write.outcome else { return Ok(()) };
        match self.knows.get(&by) {
            Some(&since) if write.asked > since => {
                Err(format!("{write:?}: {by} knew since {since:?} that it is removed"))
            }
            _ => Ok(()),
        }
    }

    fn on_end(&mut self, nodes: &[Arc<Running>], history: &History) -> Verdict {
        for node in nodes {
            let me = node.keyspace().me();
            if history.removed.contains(&me) {
                return Err(format!("{me} was removed and is there"));
            }
            let counts = |state| !matches!(state, MemberState::Left | MemberState::Removed);
            for member in node.members() {
                if member.node.is_some_and(|id| history.removed.contains(&id)) && counts(member.state) {
                    return Err(format!("{me} counts {member:?}, which was removed"));
                }
            }
        }
        Ok(())
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![("writes refused by removed nodes", self.refused)]
    }
}
