//! How a member sees its group, for people and for metrics.

use openraft::ServerState;

use super::Group;
use crate::{replication::strong::Revision, types::NodeId};

/// What a member is in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Role {
    /// It looks for a group.
    #[default]
    None,
    /// It follows without a vote.
    Learner,
    /// It follows.
    Follower,
    /// It stands for election.
    Candidate,
    /// It leads.
    Leader,
}

/// How a member sees its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStatus {
    /// What it is.
    pub role: Role,
    /// Who leads; `None`: nobody that it knows.
    pub leader: Option<NodeId>,
    /// The term that it is in.
    pub term: u64,
    /// The last entry of its log; 0: none.
    pub last_index: u64,
    /// The last entry that it has applied; 0: none.
    pub applied_index: u64,
    /// The revision of its machine.
    pub revision: Revision,
    /// Back to which revision it can be asked.
    pub compacted: Revision,
    /// The hash of all entries that were applied: equal at equal `applied_index`, or there is a bug.
    pub log_hash: u64,
    /// How often a leader was elected, as it saw it since it started.
    pub elections: u64,
    /// Milliseconds since a majority last confirmed a leader, if it is one.
    pub unheard_ms: Option<u64>,
    /// Everybody in the group.
    pub members: Vec<GroupMember>,
    /// Why there is no group or no snapshot; empty: there are.
    pub problem: String,
}

/// A member, as the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member: NodeId,
    /// Where it is.
    pub address: String,
    /// Whether it has a vote.
    pub votes: bool,
    /// Entries that it is behind, if the asked member leads.
    pub lag: Option<u64>,
}

impl Group {
    /// How this member sees the group, without I/O.
    pub fn status(&self) -> GroupStatus {
        let core = &self.0;
        let metrics = core.raft.metrics().borrow().clone();
        let membership = metrics.membership_config.membership();
        let newest = metrics.last_log_index.unwrap_or_default();
        let lag = |member: u64| {
            let matching = metrics.replication.as_ref()?.get(&member)?;
            Some(newest.saturating_sub(matching.map_or(0, |matching| matching.index)))
        };
        let members = membership.nodes().map(|(member, node)| GroupMember {
            member: NodeId(*member),
            address: node.addr.clone(),
            votes: membership.voter_ids().any(|voter| voter == *member),
            lag: lag(*member),
        });
        let machine = core.replica.machine();
        GroupStatus {
            role: role(metrics.state, core.is_member()),
            leader: core.leadership().leader.map(|leader| NodeId(leader.member)),
            term: metrics.current_term,
            last_index: newest,
            applied_index: machine.applied().map_or(0, |applied| applied.index),
            revision: machine.revision(),
            compacted: machine.compacted(),
            log_hash: machine.log_hash(),
            elections: core.elections.count(),
            unheard_ms: metrics.millis_since_quorum_ack,
            members: members.collect(),
            problem: core.founding.why_not().unwrap_or_else(|| core.replica.snapshot_problem()),
        }
    }
}

fn role(state: ServerState, is_member: bool) -> Role {
    match state {
        ServerState::Leader => Role::Leader,
        ServerState::Follower => Role::Follower,
        ServerState::Candidate => Role::Candidate,
        ServerState::Learner if is_member => Role::Learner,
        ServerState::Learner | ServerState::Shutdown => Role::None,
    }
}
