//! What replicas tell each other, as the core of the engine sees it. `wire` turns it into protobuf and back.
//! `proto/kvstore/v1/peer.proto` says what each message promises.

use std::num::NonZeroU64;

use bytes::Bytes;

use super::{Address, Key, NodeId, PartitionId, Record, Sequence, Timestamp, Value, VersionVector};

/// A message between two replicas.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum PeerMessage {
    /// The first in each direction.
    Hello(Hello),
    /// The members the sender counts.
    Members(Membership),
    /// Where the sender stands.
    Positions(Positions),
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
        /// Send every record, whatever the vector covers.
        repair: bool,
    },
    /// A part of the answer.
    StateChunk(StateChunk),
    /// A part of the answer was applied; send another.
    StateChunkReceived {
        /// Which transfer it belongs to.
        transfer: TransferId,
    },
    /// The receiver of changes stopped before a write that is stamped too far ahead of its clock.
    ClockSkew {
        /// Which partition.
        partition: PartitionId,
        /// The last write that it has.
        sequence: Sequence,
        /// By how much the next one is ahead.
        ahead_ms: u64,
    },
    /// A message of the failure detector.
    Gossip(Bytes),
    /// The sender leaves for good.
    Leave,
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
    /// When this incarnation began: milliseconds since the Unix epoch, by its own clock.
    pub born_ms: u64,
}

/// Who belongs to the cluster, as one node sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Membership {
    /// The members that it counts, itself left out.
    pub members: Vec<Member>,
    /// The nodes that were removed for good.
    pub removed: Vec<NodeId>,
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
    /// Whom the sender counts. A receiver that is not among them is new to the sender.
    pub membership: Membership,
}

/// Where the sender stands.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Positions {
    /// Drawn from the sender's clock before the vectors were read: each of its own writes stamped up to here is covered
    /// by its own entry, and each later one is stamped beyond.
    pub clock: Timestamp,
    /// What its wall clock showed.
    pub wall_ms: u64,
    /// An order-independent hash of the nodes that it knows to be removed.
    pub removed_digest: u64,
    /// By partition.
    pub partitions: Vec<PartitionPosition>,
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
    /// The sender has every write of every member stamped up to here; [`Timestamp::ZERO`]: it cannot say.
    pub low: Timestamp,
    /// The digest of the values that it holds at this vector; `None` while fetched state is being merged.
    pub digest: Option<u64>,
    /// It, or others on its word, may have dropped tombstones that are stamped up to here.
    pub floor: Timestamp,
}

/// A stretch of the sender's own writes in one partition, without gaps.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct PartitionChanges {
    /// Which partition.
    pub partition: PartitionId,
    /// The sequence of the first change; the following ones count up.
    pub first_sequence: Sequence,
    /// What the sender had applied of each other node's writes, each time that grew: the steps that begin at one of these.
    pub seen: Vec<SeenStep>,
    /// The writes.
    pub changes: Vec<Change>,
}

/// From its own write `from` on, `writer` had applied the writes of `of` up to `seen`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenStep {
    /// Whose knowledge this is.
    pub writer: NodeId,
    /// Of whose writes.
    pub of: NodeId,
    /// The first of the writer's own writes for which it holds.
    pub from: Sequence,
    /// Up to where.
    pub seen: Sequence,
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
    /// In the last chunk: what the receiver takes over once it has merged all.
    pub last: Option<StateEnd>,
}

/// What ends a state transfer.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct StateEnd {
    /// The sender's vector as it was when the transfer began.
    pub vector: VersionVector,
    /// The steps that begin at writes which the vector covers and the asker's does not, as far as somebody may still ask.
    pub seen: Vec<SeenStep>,
    /// Covers every tombstone that the sender had dropped.
    pub dropped: VersionVector,
}

/// A record of a state transfer.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct StateRecord {
    /// The key.
    pub key: Key,
    /// Its record.
    pub record: Record,
}
