//! The words of the store (L0): data and order, no I/O, no async, no clock.
//!
//! | word | meaning |
//! | --- | --- |
//! | [`NodeId`] | one incarnation of a replica |
//! | [`Timestamp`] | hybrid logical time |
//! | [`Dot`] | names one write for ever |
//! | [`Record`] | value or tombstone with its stamp, dot and expiry |
//! | [`VersionVector`] | node -> highest sequence applied without a gap |
//! | [`Command`], [`Written`] | what a client asks to change, and what came of it |
//! | [`Mark`], [`SessionToken`] | a write that a session has seen, and all of them |
//! | [`Secret`], [`TlsFiles`], [`Trust`] | by what nodes and clients know each other |
//! | [`PeerMessage`] | what replicas tell each other |
//! | [`Space`], [`Catalogue`] | where the keys of an eventual keyspace are held, and which keyspaces there are |
//! | [`WatchEvent`], [`WatchPosition`] | what a watcher is told, and where it stands |

mod address;
mod catalogue;
mod client_name;
mod command;
mod conflict;
mod consistency;
mod credentials;
mod group;
mod holding;
mod id;
mod key;
mod message;
mod metrics;
mod nodes;
mod operation;
mod range;
mod record;
mod sample;
mod space;
mod status;
mod survey;
mod timestamp;
mod token;
mod value;
mod vector;
mod watch;

pub use address::{is_loopback, Address};
pub use catalogue::{Catalogue, Edition, Listed};
pub use client_name::ClientName;
pub use command::{Command, CommandKind, Written};
pub use conflict::{Conflict, ConflictCounts, ConflictQuery, Conflicts, LostWrite};
pub use consistency::{Consistency, DefaultKeyspace, DEFAULT_KEYSPACE};
pub use credentials::{Secret, TlsFiles, Trust};
pub use group::{GroupMember, GroupRole, GroupStatus};
pub use holding::Holding;
pub use id::{Dot, NodeId, PartitionId, Sequence};
pub use key::Key;
pub use message::{
    Change, Hello, Member, Membership, PartitionChanges, PartitionPosition, PeerMessage, Positions, SeenStep,
    StateChunk, StateEnd, StateRecord, TransferId,
};
pub use metrics::{metrics, metrics_text};
pub use nodes::{ClusterNode, ClusterView};
pub use operation::{Answer, Entry, EntryPage, Operation};
pub use range::{KeyRange, OwnedBounds, Page, PageRequest};
pub use record::{Record, RecordRef};
pub use sample::{SamplePage, SampledCall, Sampling};
pub use space::{Space, SpaceId, NAMED_FROM, SPACE_PREFIX_BYTES};
pub use status::{
    Health, LogState, MemberState, MemberStatus, NodeStatus, PartitionDigest, PeerState, PeerStatus, ReplicationLag,
    StorageStatus,
};
pub use survey::{Fold, Survey, SurveyQuery, Tally, SHARE_WHOLE};
pub use timestamp::Timestamp;
pub use token::{LostWrites, Mark, ReadLevel, Seen, SeenPartitions, SessionToken};
pub use value::Value;
pub use vector::VersionVector;
pub use watch::{WantedKeys, WatchChange, WatchEvent, WatchFilter, WatchPage, WatchPosition, WatchRequest, WatchStart};
