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
    StateRequest { transfer: TransferId, partition: PartitionId, vector: VersionVector },
    /// A part of the answer.
    StateChunk(StateChunk),
    /// A part of the answer was applied; send another.
    StateChunkReceived { transfer: TransferId },
}

/// Names a state transfer; chosen by its asker.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct TransferId(pub u64);

/// A node as its peers know it.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Member {
    pub node: NodeId,
    pub address: Address,
}

/// Who the sender is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hello {
    pub protocol_version: u32,
    pub cluster: String,
    pub sender: Member,
    pub partitions: u16,
    pub members: Vec<Member>,
}

/// Where the sender stands in one partition.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionPosition {
    pub partition: PartitionId,
    pub vector: VersionVector,
    /// The oldest own write that the sender can still stream.
    pub outbox_first: Sequence,
}

/// A stretch of the sender's own writes in one partition, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionChanges {
    pub partition: PartitionId,
    pub first_sequence: Sequence,
    /// Up to which of the receiver's own writes the sender had applied when it took the last of these.
    pub seen: Sequence,
    pub changes: Vec<Change>,
}

/// A write without its dot, which its place in the stretch gives.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    pub key: Key,
    /// `None`: a delete.
    pub value: Option<Value>,
    pub flags: u32,
    pub timestamp: Timestamp,
    pub expires_ms: Option<NonZeroU64>,
}

/// A part of a state transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateChunk {
    pub transfer: TransferId,
    pub partition: PartitionId,
    pub records: Vec<StateRecord>,
    /// In the last chunk: the sender's vector as it was when the transfer began.
    pub last: Option<VersionVector>,
}

/// A record of a state transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRecord {
    pub key: Key,
    pub record: Record,
}
