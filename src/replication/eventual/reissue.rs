//! Writes of nodes that were apart from the start. When two meet of whom one did not count the other, it may have dropped
//! tombstones that hide older writes of the other: taken over as they are, deleted keys would come back at some nodes and
//! at others not. What the other holds from before, and the first never had, is therefore written again, with a fresh
//! stamp: it is newer knowledge than a delete that nobody remembers.
//!
//! Not done: while this is under way the older writes reach others too, by push. One who has forgotten the delete shows
//! them then; when this node learns of the delete from a third before it has caught up, it does not write them again, and
//! the two differ until anti-entropy repairs it. So does a write that the two once had in common through a third that is
//! gone, and that one of them deleted and forgot.

use std::collections::BTreeMap;

use super::Eventual;
use crate::{
    limits::REISSUE_VISITS_MAX,
    types::{Key, NodeId, PartitionId, PartitionPosition, Sequence, Timestamp, VersionVector},
};

/// What is to be compared with the nodes that did not count this one when they first met.
#[derive(Debug, Default)]
pub(super) struct Reissues {
    strangers: BTreeMap<NodeId, Stranger>,
    /// Comparisons that were begun, ever.
    pub(super) begun: u64,
}

/// A node that did not count us.
#[derive(Debug, Default)]
struct Stranger {
    /// It has said where it stands.
    has_told: bool,
    /// The partitions in which we have something that it had not.
    open: BTreeMap<PartitionId, Comparison>,
}

#[derive(Debug)]
struct Comparison {
    /// What it had at first.
    theirs: VersionVector,
    /// It may have dropped tombstones stamped up to here.
    floor: Timestamp,
    /// The last key that was looked at.
    cursor: Option<Key>,
}

impl Reissues {
    /// A node was met that does not count us.
    pub(super) fn meet(&mut self, node: NodeId) {
        self.strangers.entry(node).or_default();
    }

    /// A node is gone for good.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.strangers.remove(&node);
    }

    /// A node says where it stands; only the first time matters.
    pub(super) fn hear(&mut self, keyspace: &Eventual, node: NodeId, positions: &[PartitionPosition]) {
        let Some(stranger) = self.strangers.get_mut(&node).filter(|stranger| !stranger.has_told) else { return };
        stranger.has_told = true;
        let me = keyspace.me();
        for position in positions.iter().filter(|position| position.floor > Timestamp::ZERO) {
            let theirs = position.vector.clone();
            let ours = keyspace.vector(position.partition);
            let first_after = keyspace.outbox(position.partition, |outbox| outbox.first_after(position.floor));
            // Most nodes that are new to a cluster have nothing but own writes, and those are fresh.
            let is_fresh = |(origin, sequence): (NodeId, Sequence)| {
                theirs.sequence(origin) >= sequence || (origin == me && first_after <= theirs.sequence(me).next())
            };
            if !ours.iter().all(is_fresh) {
                self.begun += 1;
                let comparison = Comparison { theirs, floor: position.floor, cursor: None };
                stranger.open.insert(position.partition, comparison);
            }
        }
    }

    /// Compares a bounded piece, of one partition in which we have caught up. Returns how many writes were made again.
    pub(super) fn work(&mut self, keyspace: &Eventual) -> usize {
        self.strangers.retain(|_, stranger| !stranger.has_told || !stranger.open.is_empty());
        for stranger in self.strangers.values_mut() {
            let has_caught_up = |(&partition, comparison): &(&PartitionId, &mut Comparison)| {
                keyspace.vector(partition).covers_all(&comparison.theirs)
            };
            let Some((&partition, comparison)) = stranger.open.iter_mut().find(has_caught_up) else { continue };
            let bounds = (comparison.floor, REISSUE_VISITS_MAX);
            let (count, cursor) = keyspace.reissue(partition, comparison.cursor.as_ref(), &comparison.theirs, bounds);
            match cursor {
                Some(cursor) => comparison.cursor = Some(cursor),
                None => drop(stranger.open.remove(&partition)),
            }
            return count;
        }
        0
    }
}
