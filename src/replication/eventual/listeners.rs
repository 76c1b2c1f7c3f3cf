//! Waiting until this node has what a watcher saw at another one.
//!
//! A position names writes, and this node must have them all before it goes on from there: else a key would go back to a
//! version that the watcher knows to be replaced. Writes that their node took with it, and that nobody who is connected
//! has, are given up after a grace.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use tokio::{
    sync::Notify,
    time::{timeout_at, Instant},
};

use super::Eventual;
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{COVER_GRACE, COVER_TIMEOUT, WATCHES_PER_NODE_MAX},
    sync::{AtomicU64, Ordering, RwLock},
    types::{NodeId, PartitionId, PartitionPosition, VersionVector, WatchPosition},
};

/// What a connected peer has of each partition, as it last said.
pub(super) type Stand = BTreeMap<PartitionId, PartitionPosition>;

/// Who waits for changes of a keyspace, and what those who wait have to know of the peers.
#[derive(Debug, Default)]
pub(super) struct Listeners {
    count: AtomicU64,
    changed: Notify,
    /// The connected peers.
    linked: RwLock<BTreeMap<NodeId, BTreeMap<PartitionId, VersionVector>>>,
}

impl Listeners {
    /// Lets all who listen look again. One load when there is nobody.
    pub(super) fn wake(&self) {
        if self.count.load(Ordering::Relaxed) > 0 {
            self.changed.notify_waiters();
        }
    }

    /// Is woken by every change that comes after it was enabled.
    pub(super) fn changed(&self) -> tokio::sync::futures::Notified<'_> {
        self.changed.notified()
    }

    /// One more listens.
    ///
    /// # Errors
    /// `OVERLOADED`.
    pub(super) fn join(&self) -> Result<()> {
        if self.count.fetch_add(1, Ordering::SeqCst) >= WATCHES_PER_NODE_MAX {
            self.leave();
            let text = format!("watches: this node has {WATCHES_PER_NODE_MAX}, which is the limit");
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        Ok(())
    }

    /// One less listens.
    pub(super) fn leave(&self) {
        self.count.fetch_sub(1, Ordering::SeqCst);
    }

    /// A peer is connected, and says where it stands, or has not said so yet.
    pub(super) fn peer_stands(&self, node: NodeId, stand: &Stand) {
        let vectors = stand.iter().map(|(&partition, position)| (partition, position.vector.clone())).collect();
        self.linked.write().insert(node, vectors);
        self.wake();
    }

    /// A peer is not connected any more.
    pub(super) fn peer_parted(&self, node: NodeId) {
        self.linked.write().remove(&node);
        self.wake();
    }
}

/// How long to wait.
#[derive(Clone, Copy, Debug)]
pub struct CoverBounds {
    /// For writes that nobody who is connected can bring.
    pub grace: Duration,
    /// In all.
    pub timeout: Duration,
}

impl Default for CoverBounds {
    fn default() -> CoverBounds {
        CoverBounds { grace: COVER_GRACE, timeout: COVER_TIMEOUT }
    }
}

/// What became of the wait.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Covered {
    /// This node has everything.
    Fully,
    /// It has everything but writes of these nodes, which are gone.
    Without(BTreeSet<NodeId>),
}

/// Writes that a position names and this node has not.
struct Lack {
    node: NodeId,
    /// Somebody who is connected can bring them.
    is_expected: bool,
}

impl Eventual {
    /// Returns when this node has all that a position names, but for writes that are gone. To be called while listening.
    ///
    /// # Errors
    /// `UNREACHABLE` when the node does not catch up in time, `MEMBER_REMOVED` when it never will.
    pub(super) async fn wait_covers(&self, position: &WatchPosition, bounds: CoverBounds) -> Result<Covered> {
        let began = Instant::now();
        let (grace, deadline) = (began + bounds.grace, began + bounds.timeout);
        loop {
            let changed = self.listeners().changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            self.check_member()?;
            let lacks = self.lacks(position);
            if lacks.is_empty() {
                return Ok(Covered::Fully);
            }
            let is_lost = lacks.iter().all(|lack| !lack.is_expected);
            let now = Instant::now();
            if is_lost && now >= grace {
                let nodes: BTreeSet<NodeId> = lacks.iter().map(|lack| lack.node).collect();
                tracing::warn!(?nodes, "a watch goes on without writes that are gone with their nodes");
                return Ok(Covered::Without(nodes));
            }
            if now >= deadline {
                let text = "this node has not caught up with the position of the watch; try another one";
                return Err(Error::new(ErrorCode::Unreachable, text));
            }
            // Whichever comes first: the next round looks at both.
            drop(timeout_at(if is_lost { grace } else { deadline }, changed).await);
        }
    }

    fn lacks(&self, position: &WatchPosition) -> Vec<Lack> {
        let linked = self.listeners().linked.read();
        let mut lacks = Vec::new();
        for (partition, wanted) in position.iter() {
            let vector = self.vector(partition);
            for (node, _) in wanted.iter().filter(|&(node, sequence)| vector.sequence(node) < sequence) {
                let ours = vector.sequence(node);
                let has_more = |theirs: &VersionVector| theirs.sequence(node) > ours;
                let mut stands = linked.values().filter_map(|stand| stand.get(&partition));
                let is_expected = linked.contains_key(&node) || stands.any(has_more);
                lacks.push(Lack { node, is_expected });
            }
        }
        lacks
    }
}
