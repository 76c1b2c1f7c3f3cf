//! Version vectors: what a replica has, in one small map.

use std::collections::BTreeMap;

use super::{Dot, NodeId, Sequence};

/// For each node the highest sequence of its writes that was applied without a gap (Parker et al., "Detection of mutual
/// inconsistency in distributed systems", 1983). A node that is not named stands at 0.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct VersionVector(BTreeMap<NodeId, Sequence>);

impl VersionVector {
    /// A vector that covers nothing.
    pub fn new() -> VersionVector {
        VersionVector::default()
    }

    /// The highest sequence of `node` applied without a gap.
    pub fn sequence(&self, node: NodeId) -> Sequence {
        self.0.get(&node).copied().unwrap_or(Sequence::ZERO)
    }

    /// Whether the write named by `dot` is covered.
    pub fn covers(&self, dot: Dot) -> bool {
        dot.sequence <= self.sequence(dot.node)
    }

    /// Whether everything that `other` covers is covered.
    pub fn covers_all(&self, other: &VersionVector) -> bool {
        other.iter().all(|(node, sequence)| self.sequence(node) >= sequence)
    }

    /// Raises the position of `node`; a lower one changes nothing.
    pub fn raise(&mut self, node: NodeId, sequence: Sequence) {
        if sequence > Sequence::ZERO {
            let entry = self.0.entry(node).or_insert(sequence);
            *entry = (*entry).max(sequence);
        }
    }

    /// Takes the position of `node` back to this one; a higher one changes nothing.
    pub fn lower(&mut self, node: NodeId, sequence: Sequence) {
        if sequence == Sequence::ZERO {
            self.0.remove(&node);
        } else if let Some(entry) = self.0.get_mut(&node) {
            *entry = (*entry).min(sequence);
        }
    }

    /// Raises every position to that of `other`.
    pub fn merge(&mut self, other: &VersionVector) {
        for (node, sequence) in other.iter() {
            self.raise(node, sequence);
        }
    }

    /// The entries, by node id.
    pub fn iter(&self) -> impl Iterator<Item = (NodeId, Sequence)> + '_ {
        self.0.iter().map(|(&node, &sequence)| (node, sequence))
    }

    /// How many nodes are named.
    pub fn len(&self) -> usize {
        self.0.len()
    }

    /// Whether nothing is covered.
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl FromIterator<(NodeId, Sequence)> for VersionVector {
    fn from_iter<I: IntoIterator<Item = (NodeId, Sequence)>>(entries: I) -> VersionVector {
        let mut vector = VersionVector::new();
        for (node, sequence) in entries {
            vector.raise(node, sequence);
        }
        vector
    }
}
