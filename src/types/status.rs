//! How a node is, for people and programs that watch it.

use std::time::Duration;

use super::{Address, DefaultKeyspace, GroupStatus, NodeId, PartitionId};
use crate::config::Durability;

/// How this node is.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStatus {
    /// This incarnation.
    pub node: NodeId,
    /// Where others reach it.
    pub address: Address,
    /// The name of the cluster.
    pub cluster: String,
    /// Of the software.
    pub version: String,
    /// Since its start.
    pub uptime: Duration,
    /// Keys a reader can see. Expired ones count until they are overwritten.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Deletes still remembered.
    pub tombstones: u64,
    /// Bytes that all of it takes in memory, about.
    pub memory: u64,
    /// Beyond this writes are refused; `None`: there is no bound.
    pub max_memory: Option<u64>,
    /// Bytes of keys and values that came as state from peers since the start: what was missing after an absence.
    pub state_bytes: u64,
    /// Bytes of keys and values that peers have pushed since the start, what was pushed twice included.
    pub change_bytes: u64,
    /// Own acknowledged writes that a peer replaced without having seen them.
    pub conflicts: u64,
    /// Of these, how many the full journal has dropped.
    pub conflicts_dropped: u64,
    /// Steps of what writers had seen that were forgotten for want of room: each may make a conflict of what is none.
    pub conflicts_inexact: u64,
    /// How old the oldest delete still remembered is, in milliseconds; 0: there is none.
    pub oldest_tombstone_ms: u64,
    /// How far the time up to which every member has every write is behind the wall clock, in milliseconds. Deletes stay
    /// remembered beyond it.
    pub stable_lag_ms: u64,
    /// The members that hold that time back, once it is a minute behind: they are away, or far behind.
    pub held_back_by: Vec<NodeId>,
    /// Partitions that were found different from a peer's although both had the same writes: damage, or a bug.
    pub divergences: u64,
    /// Of those, how many were merged with the peer's.
    pub repairs: u64,
    /// Values whose time to live had passed and that this node swept.
    pub expired: u64,
    /// Writes of peers that were refused because they are stamped too far ahead; each attempt counts.
    pub refused_writes: u64,
    /// Every other node it knows.
    pub peers: Vec<PeerStatus>,
    /// How far peers are behind.
    pub replication_lag: ReplicationLag,
    /// Computed only when asked for.
    pub digests: Vec<PartitionDigest>,
    /// The node has caught up with at least one peer since it started, or has none.
    pub ready: bool,
    /// This node was removed from the cluster: it refuses writes.
    pub removed: bool,
    /// How what is kept on disk is; `None`: the node lives in memory.
    pub storage: Option<StorageStatus>,
    /// How its part of the strong group is; `None`: it takes no part.
    pub group: Option<GroupStatus>,
    /// What the keyspace `default` is.
    pub default_keyspace: DefaultKeyspace,
    /// Whether all is well.
    pub health: Health,
}

#[cfg(test)]
impl NodeStatus {
    /// A node of which there is nothing to say, for tests.
    pub(crate) fn of_nothing(node: NodeId, address: Address) -> NodeStatus {
        NodeStatus {
            node,
            address,
            cluster: "test".into(),
            version: "0".into(),
            uptime: Duration::ZERO,
            keys: 0,
            bytes: 0,
            tombstones: 0,
            memory: 0,
            max_memory: None,
            state_bytes: 0,
            change_bytes: 0,
            conflicts: 0,
            conflicts_dropped: 0,
            conflicts_inexact: 0,
            oldest_tombstone_ms: 0,
            stable_lag_ms: 0,
            held_back_by: Vec::new(),
            divergences: 0,
            repairs: 0,
            expired: 0,
            refused_writes: 0,
            peers: Vec::new(),
            replication_lag: ReplicationLag::default(),
            digests: Vec::new(),
            ready: true,
            removed: false,
            storage: None,
            group: None,
            default_keyspace: DefaultKeyspace::Eventual,
            health: Health { serving: true, problems: Vec::new() },
        }
    }
}

/// Whether a log takes writes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum LogState {
    /// It does.
    #[default]
    Ok,
    /// The disk is full: writes are refused until there is room again.
    Full,
    /// It has failed for good: writes are refused until the node is started again.
    Failed,
}

impl LogState {
    /// Every state, for tables.
    pub const ALL: [LogState; 3] = [LogState::Ok, LogState::Full, LogState::Failed];

    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            LogState::Ok => "ok",
            LogState::Full => "full",
            LogState::Failed => "failed",
        }
    }
}

/// How what a node keeps on disk is.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct StorageStatus {
    /// What a write waits for.
    pub durability: Durability,
    /// Bytes of the log that a restart would read.
    pub log_bytes: u64,
    /// Snapshots written since the start.
    pub snapshots: u64,
    /// Bytes of the newest snapshot; 0: there is none.
    pub snapshot_bytes: u64,
    /// Whether the log takes writes.
    pub state: LogState,
    /// Why it does not, or why the last snapshot could not be written; empty: all is well.
    pub problem: String,
    /// What was damaged at the start, and was set aside; the rest came from peers.
    pub damage: Option<String>,
    /// Syncs of the log since the start; many writes share one.
    pub syncs: u64,
    /// Half of the syncs were faster, in milliseconds.
    pub sync_p50_ms: f64,
    /// 99 of 100 were faster, in milliseconds.
    pub sync_p99_ms: f64,
}

/// From a write to its acknowledgement by a peer, over the last writes to each peer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReplicationLag {
    /// How many acknowledgements were measured.
    pub samples: u64,
    /// Half of them were faster, in milliseconds.
    pub p50_ms: f64,
    /// 99 of 100 were faster, in milliseconds.
    pub p99_ms: f64,
    /// The slowest, in milliseconds.
    pub max_ms: f64,
}

/// The contents of a partition as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionDigest {
    /// Which partition.
    pub partition: PartitionId,
    /// Independent of the order of writes: equal digests mean equal values and versions. Tombstones do not count.
    pub digest: u64,
    /// How many records with a value there are, expired ones that nobody has swept yet included.
    pub records: u64,
}

/// How this node is connected with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Being dialled, or waiting to be dialled again.
    Connecting,
    /// A stream to it is open.
    Connected,
    /// One of the two does not want to talk to the other.
    Refused,
}

/// Another node, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// `None` while it was never reached.
    pub node: Option<NodeId>,
    /// Where others reach it.
    pub address: Address,
    /// How the connection is.
    pub state: PeerState,
    /// Own writes that this peer has not acknowledged.
    pub unacknowledged: u64,
    /// State transfers from this peer under way.
    pub transfers: u32,
    /// Why the last attempt failed; empty while connected.
    pub problem: String,
    /// Its wall clock minus ours, in milliseconds, as it last told us; 0 while it is not connected.
    pub clock_offset_ms: i64,
    /// It refuses own writes, which are this far ahead of its clock, in milliseconds; 0: it does not.
    pub refuses_ms: u64,
    /// Its writes are refused here, being this far ahead of our clock, in milliseconds; 0: they are not.
    pub refused_ms: u64,
}

/// How a member is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum MemberState {
    /// A configured address where nobody was reached yet.
    Unknown,
    /// It is heard from, by this node or by others.
    Up,
    /// It does not answer, or its link was lost a moment ago.
    Suspected,
    /// It was declared dead, and is one all the same: what was deleted is remembered for it.
    Dead,
    /// It said that it leaves for good.
    Left,
    /// It was removed for good.
    Removed,
}

impl MemberState {
    /// Every state, for tables.
    pub const ALL: [MemberState; 6] = [
        MemberState::Unknown,
        MemberState::Up,
        MemberState::Suspected,
        MemberState::Dead,
        MemberState::Left,
        MemberState::Removed,
    ];

    /// The name that users see.
    pub fn as_str(self) -> &'static str {
        match self {
            MemberState::Unknown => "unknown",
            MemberState::Up => "up",
            MemberState::Suspected => "suspected",
            MemberState::Dead => "dead",
            MemberState::Left => "left",
            MemberState::Removed => "removed",
        }
    }
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// `None` while it was never reached.
    pub node: Option<NodeId>,
    /// Where others reach it.
    pub address: Address,
    /// This node is connected with it, or is it.
    pub connected: bool,
    /// How it is.
    pub state: MemberState,
    /// When its state began: milliseconds since the Unix epoch; 0: not known.
    pub since_ms: u64,
    /// When it started, by its own clock: milliseconds since the Unix epoch; 0: not known.
    pub born_ms: u64,
    /// Writes of the answering node that it has not acknowledged.
    pub behind: u64,
}

/// Whether a node does what it should.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Health {
    /// It takes reads and writes.
    pub serving: bool,
    /// What a person should look at, a sentence each.
    pub problems: Vec<String>,
}
