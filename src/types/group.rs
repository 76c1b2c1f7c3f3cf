//! How a member sees its strong group, for people and for programs that watch it.

use super::NodeId;

/// What a member is in its group.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum GroupRole {
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

impl GroupRole {
    /// Every role.
    pub const ALL: [GroupRole; 5] =
        [GroupRole::None, GroupRole::Learner, GroupRole::Follower, GroupRole::Candidate, GroupRole::Leader];

    /// The name users know it by.
    pub fn as_str(self) -> &'static str {
        match self {
            GroupRole::None => "none",
            GroupRole::Learner => "learner",
            GroupRole::Follower => "follower",
            GroupRole::Candidate => "candidate",
            GroupRole::Leader => "leader",
        }
    }
}

/// How a member sees its group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct GroupStatus {
    /// What it is.
    pub role: GroupRole,
    /// Who leads; `None`: nobody that it knows.
    pub leader: Option<NodeId>,
    /// The term that it is in.
    pub term: u64,
    /// The last entry of its log; 0: none.
    pub last_index: u64,
    /// The last entry that it has applied; 0: none.
    pub applied_index: u64,
    /// The revision of its machine.
    pub revision: u64,
    /// Back to which revision it can be asked.
    pub compacted: u64,
    /// How many keys are in strong keyspaces, as far as it has applied.
    pub keys: u64,
    /// The bytes of those keys and of their values.
    pub bytes: u64,
    /// The hash of all entries that were applied: equal at equal `applied_index`, or there is a bug.
    pub log_hash: u64,
    /// How often a leader was elected, as it saw it since it started.
    pub elections: u64,
    /// Milliseconds since a majority last confirmed it, if it leads.
    pub unheard_ms: Option<u64>,
    /// Everybody in the group.
    pub members: Vec<GroupMember>,
    /// The consensus has ended and takes no part any more until the node is started again.
    pub failed: bool,
    /// Why there is no group or no snapshot, or why it failed; empty: all is well.
    pub problem: String,
}

/// A member, as the log says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupMember {
    /// Its id.
    pub member: NodeId,
    /// Where it is.
    pub address: String,
    /// Whether its vote is counted on: while the members change, that it has one before and after.
    pub votes: bool,
    /// Entries that it is behind, if the asked member leads.
    pub lag: Option<u64>,
}
