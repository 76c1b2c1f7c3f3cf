//! What a session has seen, so that the next node can be asked to have it before it answers (Terry et al., "Session
//! guarantees for weakly consistent replicated data", PDIS 1994, who keep the same as a read vector and a write vector).

use super::{Dot, NodeId, PartitionId, Sequence, Timestamp, VersionVector};
use crate::limits::{PARTITIONS, SESSION_ENTRIES_MAX};

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum ReadLevel {
    /// What the contacted node has now.
    Local,
    /// At least what this session has written and read before.
    #[default]
    Session,
}

/// Names one write and where to look for it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Mark {
    /// The partition in which its sequence counts.
    pub partition: PartitionId,
    /// Which write of the partition.
    pub dot: Dot,
    /// Its version: what a later write of the session has to be above.
    pub version: Timestamp,
}

/// What an answer has shown of the writes of the cluster.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub enum Seen {
    /// No write, or nobody asked.
    #[default]
    Nothing,
    /// One write, be it a tombstone.
    Write(Mark),
    /// Any of the writes that these cover.
    Partitions(SeenPartitions),
}

/// A stand in several partitions.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SeenPartitions {
    /// At most one for each partition.
    pub vectors: Vec<(PartitionId, VersionVector)>,
    /// No version among them is greater.
    pub clock: Timestamp,
}

/// Writes of one node that nobody who can be asked has.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct LostWrites {
    /// Where they were written.
    pub partition: PartitionId,
    /// Who accepted them.
    pub node: NodeId,
    /// The last one that is not lost.
    pub last_here: Sequence,
}

/// All that a session has seen. A node that covers it may serve the session.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SessionToken {
    /// By partition.
    vectors: Box<[VersionVector]>,
    clock: Timestamp,
}

impl Default for SessionToken {
    fn default() -> SessionToken {
        SessionToken { vectors: vec![VersionVector::new(); usize::from(PARTITIONS)].into(), clock: Timestamp::ZERO }
    }
}

impl SessionToken {
    /// Whether the session has seen nothing yet, so that any node will do.
    pub fn is_empty(&self) -> bool {
        self.vectors.iter().all(VersionVector::is_empty)
    }

    /// Takes note of what an answer has shown.
    pub fn raise(&mut self, seen: &Seen) {
        match seen {
            Seen::Nothing => {}
            Seen::Write(mark) => {
                self.clock = self.clock.max(mark.version);
                self.raise_one(mark.partition, mark.dot.node, mark.dot.sequence);
            }
            Seen::Partitions(SeenPartitions { vectors, clock }) => {
                self.clock = self.clock.max(*clock);
                for (partition, vector) in vectors {
                    vector.iter().for_each(|(node, sequence)| self.raise_one(*partition, node, sequence));
                }
            }
        }
    }

    /// A token that is full, of nodes that have long been gone for the most part, does without further nodes.
    fn raise_one(&mut self, partition: PartitionId, node: NodeId, sequence: Sequence) {
        let Some(vector) = self.vectors.get_mut(partition.index()) else { return };
        if vector.len() < SESSION_ENTRIES_MAX || vector.sequence(node) > Sequence::ZERO {
            vector.raise(node, sequence);
        }
    }

    /// Takes in what another session has seen; whether any of it is new.
    pub fn join(&mut self, other: &SessionToken) -> bool {
        let before = self.clone();
        self.raise(&Seen::Partitions(other.wanted()));
        *self != before
    }

    /// Forgets what is lost.
    pub fn forget(&mut self, lost: &[LostWrites]) {
        for &LostWrites { partition, node, last_here } in lost {
            if let Some(vector) = self.vectors.get_mut(partition.index()) {
                vector.lower(node, last_here);
            }
        }
    }

    /// What a node has to have, without the partitions in which nothing was seen.
    pub fn wanted(&self) -> SeenPartitions {
        let vectors = (0..PARTITIONS).map(PartitionId).zip(&self.vectors).filter(|(_, vector)| !vector.is_empty());
        SeenPartitions { vectors: vectors.map(|(id, vector)| (id, vector.clone())).collect(), clock: self.clock }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn mark() -> impl Strategy<Value = Mark> {
        (0..PARTITIONS, 1..4u64, 1..50u64, any::<u64>()).prop_map(|(partition, node, sequence, version)| Mark {
            partition: PartitionId(partition),
            dot: Dot { node: NodeId(node), sequence: Sequence(sequence) },
            version: Timestamp(version),
        })
    }

    proptest! {
        #[test]
        fn a_token_wants_every_mark_and_nothing_that_was_not_seen(marks in prop::collection::vec(mark(), 0..40)) {
            let mut token = SessionToken::default();
            marks.iter().for_each(|mark| token.raise(&Seen::Write(*mark)));
            let wanted = token.wanted();
            prop_assert_eq!(token.is_empty(), marks.is_empty());
            prop_assert_eq!(wanted.clock, marks.iter().map(|mark| mark.version).max().unwrap_or_default());
            for (partition, vector) in &wanted.vectors {
                for (node, sequence) in vector.iter() {
                    let of_node = marks.iter().filter(|mark| mark.partition == *partition && mark.dot.node == node);
                    prop_assert_eq!(Some(sequence), of_node.map(|mark| mark.dot.sequence).max());
                }
            }
            let covers = |mark: &Mark| {
                wanted.vectors.iter().any(|(partition, vector)| *partition == mark.partition && vector.covers(mark.dot))
            };
            prop_assert!(marks.iter().all(covers));
        }

        #[test]
        fn a_stand_raises_as_the_marks_it_covers_do(marks in prop::collection::vec(mark(), 0..40)) {
            let (mut one, mut other) = (SessionToken::default(), SessionToken::default());
            marks.iter().for_each(|mark| one.raise(&Seen::Write(*mark)));
            other.raise(&Seen::Partitions(one.wanted()));
            prop_assert_eq!(one, other);
        }
    }

    #[test]
    fn what_is_lost_is_forgotten_and_nothing_else() {
        let mut token = SessionToken::default();
        for (partition, node, sequence) in [(0, 1, 5), (0, 2, 7), (3, 1, 9)] {
            let dot = Dot { node: NodeId(node), sequence: Sequence(sequence) };
            token.raise(&Seen::Write(Mark { partition: PartitionId(partition), dot, version: Timestamp(1) }));
        }
        let lost = |partition, last_here| LostWrites {
            partition: PartitionId(partition),
            node: NodeId(1),
            last_here: Sequence(last_here),
        };
        token.forget(&[lost(0, 4), lost(3, 0)]);
        let left: VersionVector = [(NodeId(1), Sequence(4)), (NodeId(2), Sequence(7))].into_iter().collect();
        assert_eq!(token.wanted().vectors, [(PartitionId(0), left)]);
    }

    #[test]
    fn a_full_token_goes_on_counting_for_the_nodes_it_knows() {
        let mut token = SessionToken::default();
        let mut see = |node, sequence| {
            let dot = Dot { node: NodeId(node), sequence: Sequence(sequence) };
            token.raise(&Seen::Write(Mark { partition: PartitionId(0), dot, version: Timestamp(1) }));
            token.wanted().vectors[0].1.clone()
        };
        for node in 1..=SESSION_ENTRIES_MAX as u64 {
            see(node, 1);
        }
        assert_eq!(see(u64::MAX, 1).len(), SESSION_ENTRIES_MAX);
        assert_eq!(see(1, 2).sequence(NodeId(1)), Sequence(2));
    }
}
