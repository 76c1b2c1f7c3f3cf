//! Identities: nodes, partitions, sequences, and the dot that names a write.

use std::fmt;

/// One incarnation of a replica: random at its start, never an address, never used again. A memory-only node gets a
/// new one at each start, because what it acknowledged before is gone with its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl fmt::Display for NodeId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

/// A hash slice of a keyspace: its own lock, its own sequences, its own replication.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct PartitionId(pub u16);

impl PartitionId {
    /// The place of this partition in an array of all.
    pub fn index(self) -> usize {
        usize::from(self.0)
    }
}

impl fmt::Display for PartitionId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Counts the writes that one node accepted in one partition, from 1. 0 means none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Sequence(pub u64);

impl Sequence {
    /// Before the first write.
    pub const ZERO: Sequence = Sequence(0);

    /// After every write.
    pub const MAX: Sequence = Sequence(u64::MAX);

    /// The sequence after this one.
    pub fn next(self) -> Sequence {
        Sequence(self.0 + 1)
    }

    /// The sequence `count` after this one.
    pub fn plus(self, count: u64) -> Sequence {
        Sequence(self.0 + count)
    }
}

impl fmt::Display for Sequence {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Names one write for ever: the `sequence`-th that `node` accepted in a partition (Almeida et al., "Scalable and
/// Accurate Causality Tracking for Eventually Consistent Stores", DAIS 2014).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Dot {
    /// The node that accepted the write.
    pub node: NodeId,
    /// Its place among that node's writes in the partition.
    pub sequence: Sequence,
}
