//! How a member sees its group.

use openraft::ServerState;

use super::Group;
use crate::types::{GroupMember, GroupRole, GroupStatus, NodeId};

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
            // Between two configurations only those of both are counted on.
            votes: membership.get_joint_config().iter().all(|voters| voters.contains(member)),
            lag: lag(*member),
        });
        let machine = core.replica.machine();
        let (keys, bytes) = machine.size();
        GroupStatus {
            role: role(metrics.state, core.is_member()),
            leader: core.leadership().leader.map(|leader| NodeId(leader.member)),
            term: metrics.current_term,
            last_index: newest,
            applied_index: machine.applied().map_or(0, |applied| applied.index),
            revision: machine.revision().0,
            compacted: machine.compacted().0,
            keys,
            bytes,
            log_hash: machine.log_hash(),
            elections: core.elections.count(),
            unheard_ms: metrics.millis_since_quorum_ack,
            members: members.collect(),
            failed: metrics.running_state.is_err() && !*core.stopping.borrow(),
            problem: match &metrics.running_state {
                Err(fatal) => fatal.to_string(),
                Ok(()) => core.founding.why_not().unwrap_or_else(|| core.replica.snapshot_problem()),
            },
        }
    }
}

fn role(state: ServerState, is_member: bool) -> GroupRole {
    match state {
        ServerState::Leader => GroupRole::Leader,
        ServerState::Follower => GroupRole::Follower,
        ServerState::Candidate => GroupRole::Candidate,
        ServerState::Learner if is_member => GroupRole::Learner,
        ServerState::Learner | ServerState::Shutdown => GroupRole::None,
    }
}
