//! Identities: nodes, partitions, sequences, and the dot that names a write.

use std::{fmt, str::FromStr};

use crate::error::{Error, ErrorCode};

/// One incarnation of a replica: random at its start, never an address, never used again. A memory-only node gets a
/// new one at each start, because what it acknowledged before is gone with its memory.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct NodeId(pub u64);

impl FromStr for NodeId {
    type Err = Error;

    /// Reads what [`NodeId`]'s `Display` writes.
    fn from_str(text: &str) -> Result<NodeId, Error> {
        let id = u64::from_str_radix(text, 16).ok().filter(|&id| id != 0 && text.len() == 16 && !text.starts_with('+'));
        let bad = || Error::new(ErrorCode::InvalidArgument, format!("node_id: {text:?} is not 16 hexadecimal digits"));
        id.map(NodeId).ok_or_else(bad)
    }
}

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

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_is_read_as_it_is_written() {
        for id in [1, 0xabc, u64::MAX] {
            assert_eq!(NodeId(id).to_string().parse(), Ok(NodeId(id)));
        }
        for text in ["", "0", "0000000000000000", "12", "g000000000000001", "+000000000000001", "00000000000000012"] {
            assert_eq!(text.parse::<NodeId>().unwrap_err().code(), ErrorCode::InvalidArgument, "{text:?}");
        }
    }
}
