//! How a node is, for people and programs that watch it.

use std::time::Duration;

use super::{Address, NodeId, PartitionId};

/// How this node is.
#[derive(Clone, Debug, PartialEq)]
pub struct NodeStatus {
    pub node: NodeId,
    pub address: Address,
    pub cluster: String,
    /// Of the software.
    pub version: String,
    pub uptime: Duration,
    /// Keys a reader can see. Expired ones count until they are overwritten.
    pub keys: u64,
    /// Bytes of keys and values.
    pub bytes: u64,
    /// Deletes still remembered.
    pub tombstones: u64,
    /// Own acknowledged writes that a peer replaced without having seen them.
    pub conflicts: u64,
    pub peers: Vec<PeerStatus>,
    pub replication_lag: ReplicationLag,
    /// Computed only when asked for.
    pub digests: Vec<PartitionDigest>,
    /// The node has caught up with at least one peer since it started, or has none.
    pub ready: bool,
}

/// From a write to its acknowledgement by a peer, over the last writes to each peer.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct ReplicationLag {
    pub samples: u64,
    pub p50_ms: f64,
    pub p99_ms: f64,
    pub max_ms: f64,
}

/// The contents of a partition as one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PartitionDigest {
    pub partition: PartitionId,
    /// Independent of the order of writes: equal digests mean equal contents, tombstones and versions included.
    pub digest: u64,
    pub records: u64,
}

/// How this node is connected with another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum PeerState {
    /// Being dialled, or waiting to be dialled again.
    Connecting,
    Connected,
    /// One of the two does not want to talk to the other.
    Refused,
}

/// Another node, as this one sees it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PeerStatus {
    /// `None` while it was never reached.
    pub node: Option<NodeId>,
    pub address: Address,
    pub state: PeerState,
    /// Own writes that this peer has not acknowledged.
    pub unacknowledged: u64,
    /// State transfers from this peer under way.
    pub transfers: u32,
    /// Why the last attempt failed; empty while connected.
    pub problem: String,
}

/// A member of the cluster.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct MemberStatus {
    /// `None` while it was never reached.
    pub node: Option<NodeId>,
    pub address: Address,
    /// This node is connected with it, or is it.
    pub connected: bool,
}
