//! The nodes that were removed for good.

use std::collections::{BTreeSet, VecDeque};

use xxhash_rust::xxh3::xxh3_64;

use crate::{limits::REMOVED_MAX, types::NodeId};

/// The latest [`REMOVED_MAX`] removed nodes. Merged by union: a removal is never taken back.
#[derive(Debug, Default)]
pub(super) struct Removed {
    nodes: BTreeSet<NodeId>,
    /// In the order in which this node learned of them.
    order: VecDeque<NodeId>,
    digest: u64,
}

impl Removed {
    /// True when it is new.
    pub(super) fn insert(&mut self, node: NodeId) -> bool {
        if !self.nodes.insert(node) {
            return false;
        }
        self.order.push_back(node);
        self.digest = self.digest.wrapping_add(hash(node));
        if self.order.len() > REMOVED_MAX {
            if let Some(oldest) = self.order.pop_front() {
                self.nodes.remove(&oldest);
                self.digest = self.digest.wrapping_sub(hash(oldest));
            }
        }
        true
    }

    pub(super) fn contains(&self, node: NodeId) -> bool {
        self.nodes.contains(&node)
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = NodeId> + '_ {
        self.nodes.iter().copied()
    }

    /// Equal for equal sets, in whatever order they were learned: the sum of the hashes.
    pub(super) fn digest(&self) -> u64 {
        self.digest
    }
}

fn hash(node: NodeId) -> u64 {
    xxh3_64(&node.0.to_le_bytes())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn the_digest_depends_on_the_set_alone(ids in prop::collection::vec(0u64..50, 0..80)) {
            let (mut one, mut other) = (Removed::default(), Removed::default());
            ids.iter().for_each(|&id| { one.insert(NodeId(id)); });
            ids.iter().rev().chain(&ids).for_each(|&id| { other.insert(NodeId(id)); });
            prop_assert_eq!(one.digest(), other.digest());
            prop_assert!(one.iter().eq(other.iter()));
        }
    }

    #[test]
    fn only_the_latest_are_remembered() {
        let mut removed = Removed::default();
        (1..=REMOVED_MAX as u64 + 1).for_each(|id| assert!(removed.insert(NodeId(id))));
        assert!(!removed.contains(NodeId(1)) && removed.contains(NodeId(2)));
        assert_eq!(removed.iter().count(), REMOVED_MAX);
        let mut fresh = Removed::default();
        removed.iter().for_each(|node| assert!(fresh.insert(node)));
        assert_eq!(fresh.digest(), removed.digest());
    }
}
