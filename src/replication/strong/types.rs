//! What the consensus library is told of a group: its entries are those of the [`Machine`](super::Machine), its nodes are known
//! by their ids ([`NodeId`](crate::types::NodeId)) and addresses.

use std::sync::Arc;

use super::{machine::Snapshot as Captured, runtime::GroupRuntime, Answer, Entry};

openraft::declare_raft_types!(
    /// The types of a group.
    pub GroupTypes:
        // Shared: the log keeps what is sent to each member and applied.
        D = Arc<Entry>,
        R = Vec<Answer>,
        NodeId = u64,
        Node = openraft::BasicNode,
        Entry = openraft::Entry<GroupTypes>,
        SnapshotData = Captured,
        AsyncRuntime = GroupRuntime,
);

/// The term and index of an entry, and the leader of that term.
pub type LogId = openraft::LogId<u64>;

/// For whom a node votes, in which term.
pub type Vote = openraft::Vote<u64>;

/// A node stands for election.
pub(super) type VoteRequest = openraft::raft::VoteRequest<u64>;

/// Who belongs to a group since which entry.
pub(super) type Members = openraft::StoredMembership<u64, openraft::BasicNode>;

/// What a snapshot is a snapshot of.
pub(super) type SnapshotMeta = openraft::SnapshotMeta<u64, openraft::BasicNode>;

/// An entry of the log of a group.
pub type LogEntry = openraft::Entry<GroupTypes>;
