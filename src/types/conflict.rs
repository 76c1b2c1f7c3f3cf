//! An acknowledged write that lost, and what is asked about such writes.

use bytes::Bytes;

use super::{Address, Entry, Key, NodeId, Record, Space, Timestamp};
use crate::error::Error;

/// A write that its node had acknowledged, and that a write of another node replaced whose writer had not applied it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Conflict {
    /// The key both wrote, as it is held.
    pub key: Key,
    /// The record that was replaced.
    pub lost: Record,
    /// The record that replaced it, as it was then.
    pub won: Record,
    /// When that was noticed: milliseconds since the Unix epoch, by the clock of `node`.
    pub noticed_ms: u64,
    /// The node that had acknowledged the lost write.
    pub node: NodeId,
}

impl Conflict {
    /// Bytes of its key and values.
    pub fn bytes(&self) -> usize {
        self.key.len() + self.lost.value_bytes() + self.won.value_bytes()
    }
}

/// Which conflicts are wanted.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ConflictQuery {
    /// Of which keyspace; empty: `default`.
    pub keyspace: String,
    /// Only those of keys that begin with this.
    pub prefix: Vec<u8>,
    /// Only those noticed at this time or later: milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// The newest so many; `None`: all.
    pub limit: Option<usize>,
}

impl ConflictQuery {
    /// Whether a conflict is wanted, where this is the keyspace that is asked for.
    pub fn wants(&self, space: Space, conflict: &Conflict) -> bool {
        let key = space.key(&conflict.key);
        conflict.noticed_ms >= self.since_ms && key.is_some_and(|key| key.starts_with(&self.prefix))
    }
}

/// What a node tells of its conflicts in its status.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct ConflictCounts {
    /// Recorded since the node started.
    pub recorded: u64,
    /// Recorded, and dropped since because the journal was full.
    pub dropped: u64,
    /// Steps of what writers had seen that were forgotten for want of room: a conflict may be recorded that was none.
    pub inexact: u64,
}

/// A [`Conflict`] as clients see it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LostWrite {
    /// The key both wrote.
    pub key: Bytes,
    /// What was lost; `None`: a delete.
    pub lost: Option<Entry>,
    /// What won; `None`: a delete.
    pub won: Option<Entry>,
    /// Milliseconds since the Unix epoch.
    pub noticed_ms: u64,
    /// The node that had acknowledged it.
    pub node: NodeId,
    /// Of the lost write, a delete too.
    pub lost_version: Timestamp,
    /// Of the write that won, a delete too.
    pub won_version: Timestamp,
}

impl LostWrite {
    /// Bytes of its key and values.
    pub fn bytes(&self) -> usize {
        let value = |entry: &Option<Entry>| entry.as_ref().map_or(0, |entry| entry.value.len());
        self.key.len() + value(&self.lost) + value(&self.won)
    }
}

impl LostWrite {
    /// What a client of a keyspace sees of a conflict in it.
    pub fn new(space: Space, conflict: &Conflict) -> LostWrite {
        let key = Bytes::copy_from_slice(space.key(&conflict.key).unwrap_or(&conflict.key));
        let entry = |record: &Record| record.value.is_some().then(|| Entry::new(key.clone(), record.view(), false));
        LostWrite {
            lost: entry(&conflict.lost),
            won: entry(&conflict.won),
            noticed_ms: conflict.noticed_ms,
            node: conflict.node,
            lost_version: conflict.lost.timestamp,
            won_version: conflict.won.timestamp,
            key,
        }
    }
}

/// The conflicts of a cluster.
#[derive(Clone, Debug, Default)]
pub struct Conflicts {
    /// Each once, the newest first.
    pub writes: Vec<LostWrite>,
    /// The members that could not be asked, and why: their conflicts are missing.
    pub silent: Vec<(Address, Error)>,
}
