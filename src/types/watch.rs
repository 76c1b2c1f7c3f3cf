//! What a watcher asks for and is told.

use std::collections::BTreeMap;

use bytes::Bytes;

use super::{Dot, Entry, Key, PartitionId, Space, Timestamp, VersionVector};

/// Which keys a watcher wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchFilter {
    /// Every key.
    All,
    /// One key.
    Key(Key),
    /// The keys that begin with these bytes.
    Prefix(Vec<u8>),
}

impl WatchFilter {
    /// Whether a key is wanted.
    pub fn wants(&self, key: &[u8]) -> bool {
        match self {
            WatchFilter::All => true,
            WatchFilter::Key(wanted) => wanted.as_slice() == key,
            WatchFilter::Prefix(prefix) => key.starts_with(prefix),
        }
    }
}

/// The keys of one keyspace that a watcher wants.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WantedKeys {
    /// Of which keyspace.
    pub space: Space,
    /// Which of its keys.
    pub filter: WatchFilter,
}

impl WantedKeys {
    /// Whether what is held there is wanted.
    pub fn wants(&self, held: &[u8]) -> bool {
        self.space.key(held).is_some_and(|key| self.filter.wants(key))
    }
}

/// Where a watcher stands: whatever the vector of a partition covers was delivered, or replaced by something that was
/// delivered or still will be, or is not wanted. Good at every node of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchPosition(BTreeMap<PartitionId, VersionVector>);

impl WatchPosition {
    /// Before every write.
    pub fn new() -> WatchPosition {
        WatchPosition::default()
    }

    /// What is covered of a partition.
    pub fn vector(&self, partition: PartitionId) -> VersionVector {
        self.0.get(&partition).cloned().unwrap_or_default()
    }

    /// The partitions of which anything is covered.
    pub fn iter(&self) -> impl Iterator<Item = (PartitionId, &VersionVector)> {
        self.0.iter().map(|(&partition, vector)| (partition, vector))
    }

    /// An event was delivered.
    pub fn pass(&mut self, partition: PartitionId, dot: Dot) {
        self.0.entry(partition).or_default().raise(dot.node, dot.sequence);
    }

    /// A mark was reached.
    pub fn reach(&mut self, partition: PartitionId, vector: &VersionVector) {
        if !vector.is_empty() {
            self.0.entry(partition).or_default().merge(vector);
        }
    }
}

/// Where a watch begins.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchStart {
    /// With what is written from now on.
    Now,
    /// With the values that are there, marked as such; then with what is written.
    Initial,
    /// With what the position does not cover.
    After(WatchPosition),
    /// As `After`, for a watch that was cut while it still got the initial values.
    InitialAfter(WatchPosition),
}

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchRequest {
    /// Which keys.
    pub filter: WatchFilter,
    /// Where to begin.
    pub start: WatchStart,
}

/// What happened to a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum WatchChange {
    /// It has this value now.
    Put(Entry),
    /// It was deleted.
    Delete {
        /// Which key.
        key: Bytes,
        /// The version of the delete.
        version: Timestamp,
    },
    /// Its time to live has ended.
    Expire {
        /// Which key.
        key: Bytes,
        /// The version of the tombstone.
        version: Timestamp,
    },
}

/// One change of one key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchEvent {
    /// The partition of the key.
    pub partition: PartitionId,
    /// The write that is told of.
    pub dot: Dot,
    /// It is one of the values that were there when the watch began.
    pub is_initial: bool,
    /// What happened.
    pub change: WatchChange,
}

impl WatchEvent {
    /// The key.
    pub fn key(&self) -> &Bytes {
        match &self.change {
            WatchChange::Put(entry) => &entry.key,
            WatchChange::Delete { key, .. } | WatchChange::Expire { key, .. } => key,
        }
    }

    /// Its version.
    pub fn version(&self) -> Timestamp {
        match &self.change {
            WatchChange::Put(entry) => entry.version,
            WatchChange::Delete { version, .. } | WatchChange::Expire { version, .. } => *version,
        }
    }
}

/// Some events, and how far they take the watcher.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct WatchPage {
    /// In the order of delivery.
    pub events: Vec<WatchEvent>,
    /// What is covered after the events, where that is more than the events themselves tell.
    pub marks: Vec<(PartitionId, VersionVector)>,
    /// The initial values are complete with this page.
    pub is_initial_done: bool,
}

impl WatchPage {
    /// Moves a position on to where this page leads.
    pub fn advance(&self, position: &mut WatchPosition) {
        self.events.iter().for_each(|event| position.pass(event.partition, event.dot));
        self.marks.iter().for_each(|(partition, vector)| position.reach(*partition, vector));
    }
}
