//! [`GroupStatus`] <-> its message.

use super::super::{
    convert::{bad, check_count, to_node, to_optional_node, Converted},
    v1,
};
use crate::{
    limits::MEMBERS_MAX,
    types::{GroupMember, GroupRole, GroupStatus},
};

pub(super) fn from_group(group: GroupStatus) -> v1::GroupStatus {
    v1::GroupStatus {
        role: from_role(group.role).into(),
        leader: group.leader.map_or(0, |leader| leader.0),
        term: group.term,
        last_index: group.last_index,
        applied_index: group.applied_index,
        revision: group.revision,
        compacted: group.compacted,
        log_hash: group.log_hash,
        elections: group.elections,
        unheard_ms: group.unheard_ms,
        members: group.members.into_iter().map(from_member).collect(),
        problem: group.problem,
        failed: group.failed,
        keys: group.keys,
        bytes: group.bytes,
    }
}

pub(super) fn to_group(group: v1::GroupStatus) -> Converted<GroupStatus> {
    check_count("group.members", group.members.len(), MEMBERS_MAX)?;
    let role = GroupRole::ALL.into_iter().find(|&known| i32::from(from_role(known)) == group.role);
    Ok(GroupStatus {
        role: role.ok_or_else(|| bad("group.role", format!("{} is not known", group.role)))?,
        leader: to_optional_node(group.leader),
        term: group.term,
        last_index: group.last_index,
        applied_index: group.applied_index,
        revision: group.revision,
        compacted: group.compacted,
        log_hash: group.log_hash,
        elections: group.elections,
        unheard_ms: group.unheard_ms,
        members: group.members.into_iter().map(to_member).collect::<Converted<_>>()?,
        problem: group.problem,
        failed: group.failed,
        keys: group.keys,
        bytes: group.bytes,
    })
}

fn from_role(role: GroupRole) -> v1::GroupRole {
    match role {
        GroupRole::None => v1::GroupRole::None,
        GroupRole::Learner => v1::GroupRole::Learner,
        GroupRole::Follower => v1::GroupRole::Follower,
        GroupRole::Candidate => v1::GroupRole::Candidate,
        GroupRole::Leader => v1::GroupRole::Leader,
    }
}

fn from_member(member: GroupMember) -> v1::GroupMember {
    v1::GroupMember { node_id: member.member.0, address: member.address, votes: member.votes, lag: member.lag }
}

fn to_member(member: v1::GroupMember) -> Converted<GroupMember> {
    let v1::GroupMember { node_id, address, votes, lag } = member;
    Ok(GroupMember { member: to_node("group.members.node_id", node_id)?, address, votes, lag })
}
