//! What replicas tell each other, as the core of the engine sees it. `wire` turns it into protobuf and back.
//! `proto/kvstore/v1/peer.proto` says what each message promises.

use std::num::NonZeroU64;

use super::{Address, Key, NodeId, PartitionId, Record, Sequence, Timestamp, Value, VersionVector};

/// A message between two replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// The first in each direction.
    Hello(Hello),
    /// The members the sender is connected with.
    Members(Vec<Member>),
    /// Where the sender stands, partition by partition.
    Positions(Vec<PartitionPosition>),
    /// Stretches of the sender's own writes.
    Changes(Vec<PartitionChanges>),
    /// The receiver's writes that the sender has applied, by partition.
    Acknowledgements(Vec<(PartitionId, Sequence)>),
    /// Asks for every record of a partition that the vector does not cover.
    StateRequest {
        /// Names the transfer from now on.
        transfer: TransferId,
        /// Which partition.
        partition: PartitionId,
        /// What the asker has of it.
        vector: VersionVector,
    },
    /// A part of the answer.
    StateChunk(StateChunk),
    /// A part of the answer was applied; send another.
    StateChunkReceived {
        /// Which transfer it belongs to.
        transfer: TransferId,
    },
}

/// Names a state transfer; chosen by its asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u64);

/// A node as its peers know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    /// The incarnation.
    pub node: NodeId,
    /// Where others reach it.
    pub address: Address,
}

/// Who the sender is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    /// Nodes of different versions refuse each other.
    pub protocol_version: u32,
    /// Nodes of clusters with different names refuse each other.
    pub cluster: String,
    /// Who speaks.
    pub sender: Member,
    /// Into how many partitions its keyspace is cut; must be equal.
    pub partitions: u16,
    /// The members that the sender is connected with.
    pub members: Vec<Member>,
}

/// Where the sender stands in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionPosition {
    /// Which partition.
    pub partition: PartitionId,
    /// What the sender has of it.
    pub vector: VersionVector,
    /// The oldest own write that the sender can still stream.
    pub outbox_first: Sequence,
}

/// A stretch of the sender's own writes in one partition, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionChanges {
    /// Which partition.
    pub partition: PartitionId,
    /// The sequence of the first change; the following ones count up.
    pub first_sequence: Sequence,
    /// Up to which of the receiver's own writes the sender had applied when it took the last of these.
    pub seen: Sequence,
    /// The writes.
    pub changes: Vec<Change>,
}

/// A write without its dot, which its place in the stretch gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// The key.
    pub key: Key,
    /// `None`: a delete.
    pub value: Option<Value>,
    /// How the writer's codec encoded the value.
    pub flags: u32,
    /// When it was written.
    pub timestamp: Timestamp,
    /// Milliseconds since the Unix epoch; `None`: never.
    pub expires_ms: Option<NonZeroU64>,
}

/// A part of a state transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChunk {
    /// Which transfer it belongs to.
    pub transfer: TransferId,
    /// Which partition.
    pub partition: PartitionId,
    /// Records that the asker's vector does not cover.
    pub records: Vec<StateRecord>,
    /// In the last chunk: the sender's vector as it was when the transfer began.
    pub last: Option<VersionVector>,
}

/// A record of a state transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRecord {
    /// The key.
    pub key: Key,
    /// Its record.
    pub record: Record,
}
