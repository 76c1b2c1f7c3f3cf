//! What the store keeps for a key, and the rule by which two versions of it become one.

use std::num::NonZeroU64;

use super::{Dot, Mark, NodeId, PartitionId, Seen, Timestamp, Value};
use crate::faults;

/// One version of a key: a value or a tombstone, when it was written, by which write, and when it ends.
///
/// Two versions of a key merge by keeping the one with the greater `(timestamp, node)`: last writer wins, ties broken by
/// the writer's id (Shapiro et al., "A comprehensive study of CRDTs", 2011, 3.2.1). A node never draws a timestamp
/// twice, so two different writes never compare equal, and the merge is commutative, associative and idempotent.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Record {
    /// `None`: a tombstone, the memory of a delete.
    pub value: Option<Value>,
    /// How the writer's codec encoded the value.
    pub flags: u32,
    /// When it was written; what users see as its version.
    pub timestamp: Timestamp,
    /// Which write made it.
    pub dot: Dot,
    /// Milliseconds since the Unix epoch from which on every replica hides the value. `None`: never. A tombstone has it
    /// when it is not a client's delete but the end of a value that had expired.
    pub expires_ms: Option<NonZeroU64>,
}

/// A [`Record`] that is read where it lies: the store keeps records in fewer bytes than these fields take.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct RecordRef<'a> {
    /// See [`Record::value`].
    pub value: Option<&'a Value>,
    /// See [`Record::flags`].
    pub flags: u32,
    /// See [`Record::timestamp`].
    pub timestamp: Timestamp,
    /// See [`Record::dot`].
    pub dot: Dot,
    /// See [`Record::expires_ms`].
    pub expires_ms: Option<NonZeroU64>,
}

impl Record {
    /// The same, to be read in place.
    pub fn view(&self) -> RecordRef<'_> {
        let Record { value, flags, timestamp, dot, expires_ms } = self;
        let (flags, timestamp, dot, expires_ms) = (*flags, *timestamp, *dot, *expires_ms);
        RecordRef { value: value.as_ref(), flags, timestamp, dot, expires_ms }
    }

    /// See [`RecordRef::rank`].
    pub fn rank(&self) -> (Timestamp, NodeId) {
        self.view().rank()
    }

    /// See [`RecordRef::supersedes`].
    pub fn supersedes(&self, other: &Record) -> bool {
        self.view().supersedes(other.view())
    }

    /// See [`RecordRef::is_visible`].
    pub fn is_visible(&self, now_ms: u64) -> bool {
        self.view().is_visible(now_ms)
    }

    /// See [`RecordRef::is_sweep`].
    pub fn is_sweep(&self) -> bool {
        self.view().is_sweep()
    }

    /// See [`RecordRef::is_expired`].
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.view().is_expired(now_ms)
    }

    /// See [`RecordRef::seen_in`].
    pub fn seen_in(&self, partition: PartitionId) -> Seen {
        self.view().seen_in(partition)
    }

    /// See [`RecordRef::value_bytes`].
    pub fn value_bytes(&self) -> usize {
        self.view().value_bytes()
    }
}

impl RecordRef<'_> {
    /// A record of its own, which shares the value.
    pub fn to_record(self) -> Record {
        let RecordRef { value, flags, timestamp, dot, expires_ms } = self;
        Record { value: value.cloned(), flags, timestamp, dot, expires_ms }
    }

    /// What decides a merge.
    pub fn rank(&self) -> (Timestamp, NodeId) {
        (self.timestamp, self.dot.node)
    }

    /// Whether this version replaces `other` in a merge.
    pub fn supersedes(&self, other: RecordRef<'_>) -> bool {
        if faults::is_mutant("merge_by_arrival") {
            return *self != other;
        }
        self.rank() > other.rank()
    }

    /// Whether a reader at this time sees a value.
    pub fn is_visible(&self, now_ms: u64) -> bool {
        self.value.is_some() && !self.is_expired(now_ms)
    }

    /// Whether this is the end of a value that had expired: a tombstone that no client wrote. A client's delete has no
    /// expiry.
    pub fn is_sweep(&self) -> bool {
        self.value.is_none() && self.expires_ms.is_some()
    }

    /// Whether the time to live has passed.
    pub fn is_expired(&self, now_ms: u64) -> bool {
        self.expires_ms.is_some_and(|expires_ms| expires_ms.get() <= now_ms)
    }

    /// What a reader of this record in its partition has seen.
    pub fn seen_in(&self, partition: PartitionId) -> Seen {
        Seen::Write(Mark { partition, dot: self.dot, version: self.timestamp })
    }

    /// Bytes of the value; 0 for a tombstone.
    pub fn value_bytes(&self) -> usize {
        self.value.as_ref().map_or(0, |value| value.len())
    }
}
