//! What is kept for a key: its versions, from the compaction point on (Reed, "Naming and Synchronization in a Decentralized
//! Computer System", 1978).

use std::{collections::VecDeque, sync::Arc};

use super::ids::{KeyspaceId, LeaseId, Revision};
use crate::types::{Key, Value};

/// Keys and locks of a keyspace are apart: nobody can write to a lock but by the rules of locks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Space {
    /// What users put.
    Data,
    /// Who holds which lock. The value is what the holder proclaims, `created` the fencing token.
    Locks,
}

/// Where something is kept.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Place {
    /// In which keyspace.
    pub keyspace: KeyspaceId,
    /// Among its keys or its locks.
    pub space: Space,
    /// Under which key.
    pub key: Key,
}

/// A key that is there.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Item {
    /// Its value.
    pub value: Value,
    /// How the writer's codec encoded it.
    pub flags: u32,
    /// The revision since which the key is there without a break.
    pub created: Revision,
    /// The revision that wrote it last: its version.
    pub modified: Revision,
    /// How many transactions wrote it since it was created, that one included.
    pub writes: u64,
    /// When it was written, by the leader's clock: milliseconds since the Unix epoch.
    pub modified_ms: u64,
    /// How long it stays.
    pub until: Until,
}

/// How long an item stays.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Until {
    /// Until it is deleted.
    Deleted,
    /// Until the machine's own time, see [`super::Machine::elapsed_ms`].
    Elapsed(u64),
    /// Until the lease ends.
    Lease(LeaseId),
}

/// What a revision made of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum VersionState {
    /// It wrote it.
    Live(Arc<Item>),
    /// Somebody deleted it.
    Deleted,
    /// Its time, or that of its lease, was over.
    Expired,
}

impl VersionState {
    /// The item, if there is one.
    pub fn live(&self) -> Option<&Arc<Item>> {
        match self {
            VersionState::Live(item) => Some(item),
            VersionState::Deleted | VersionState::Expired => None,
        }
    }
}

/// One version of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Version {
    pub(super) revision: Revision,
    pub(super) state: VersionState,
}

/// The versions of a key, of which most keys have one.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Chain {
    latest: Version,
    /// Oldest first, without gaps. Not there when empty.
    older: Option<Arc<VecDeque<Version>>>,
}

impl Chain {
    pub(super) fn new(first: Version) -> Chain {
        Chain { latest: first, older: None }
    }

    /// The item as of now.
    pub(super) fn live(&self) -> Option<&Arc<Item>> {
        self.latest.state.live()
    }

    /// The version that the key had at `revision`.
    pub(super) fn at(&self, revision: Revision) -> Option<&Version> {
        if self.latest.revision <= revision {
            return Some(&self.latest);
        }
        let older = self.older.as_deref()?;
        let after = older.partition_point(|version| version.revision <= revision);
        older.get(after.checked_sub(1)?)
    }

    /// What `revision` itself made of the key.
    pub(super) fn written_at(&self, revision: Revision) -> Option<&Version> {
        self.at(revision).filter(|version| version.revision == revision)
    }

    pub(super) fn push(&mut self, version: Version) {
        assert!(self.latest.revision < version.revision, "{} before {}", self.latest.revision, version.revision);
        let before = std::mem::replace(&mut self.latest, version);
        Arc::make_mut(self.older.get_or_insert_default()).push_back(before);
    }

    /// Forgets what nobody can ask for who reads at `revision` or later. `false`: that is all of it.
    pub(super) fn forget_before(&mut self, revision: Revision) -> bool {
        if self.latest.revision <= revision {
            self.older = None;
            return self.latest.state.live().is_some();
        }
        let Some(older) = &mut self.older else { return true };
        let older = Arc::make_mut(older);
        let seen = older.partition_point(|version| version.revision <= revision);
        older.drain(..seen.saturating_sub(1));
        // That a key was not there needs no version to say so.
        if older.front().is_some_and(|first| first.revision <= revision && first.state.live().is_none()) {
            older.pop_front();
        }
        if older.is_empty() {
            self.older = None;
        }
        true
    }

    /// All versions, oldest first.
    pub(super) fn versions(&self) -> impl Iterator<Item = &Version> {
        self.older.iter().flat_map(|older| older.iter()).chain([&self.latest])
    }
}
