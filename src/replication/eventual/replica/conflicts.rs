//! The journal against an oracle that knows what each writer had applied when it wrote: every acknowledged write that
//! was lost unseen is in the journal of its node, once, and no other write is.

use std::collections::BTreeMap;

use super::simulation::{Node, Simulation};
use crate::types::{Dot, Key, NodeId, PartitionId, Record, RecordRef, Sequence};

/// How sure the oracle was, by write: what a test proves depends on it.
#[derive(Debug, Default)]
pub(super) struct Verdicts {
    pub(super) must: u64,
    pub(super) may: u64,
    pub(super) must_not: u64,
    /// Deletes that were dropped before their node met the one that made the winner.
    pub(super) excused: u64,
}

/// Checks the journals of the nodes that are left, once they agree. The oracle can say for sure only where all writers
/// of later writes had applied a lost one, or none: of several of which some had, it depends on which replaced it.
pub(super) fn check_journals(simulation: &Simulation) -> Verdicts {
    let mut verdicts = Verdicts::default();
    for node in simulation.nodes.values() {
        let me = node.keyspace.me();
        let recorded = recorded(simulation, node);
        for (&(partition, origin, sequence), (key, record)) in &simulation.written {
            if origin != me {
                continue;
            }
            let times = recorded.get(&(partition, sequence)).copied().unwrap_or(0);
            let is_final = final_dot(simulation, node, partition, key) == Some(record.dot);
            let (known, unknown) = later(simulation, partition, key, record);
            match (is_final, known, unknown) {
                // What has expired, or was written again by its own node, is another write by the time it is replaced. And
                // what replaces it may be the sweep of a write that had expired, by a node that had seen both. Nodes that were
                // apart since they began may have dropped a lost delete before they met.
                _ if simulation.were_apart
                    || record.expires_ms.is_some()
                    || was_reissued(simulation, partition, key)
                    || may_be_swept(simulation, partition, key) =>
                {
                    assert!(times <= 1, "{me}: {key:?} {record:?} is there {times} times");
                    verdicts.may += 1;
                }
                (true, _, _) | (_, _, 0) => {
                    assert_eq!(times, 0, "{me}: {key:?} {record:?} was replaced knowingly, or not at all");
                    verdicts.must_not += 1;
                }
                (_, 0, _) if times == 0 && is_dropped_before_meeting(simulation, node, partition, (key, record)) => {
                    verdicts.excused += 1;
                }
                (_, 0, _) => {
                    assert_eq!(times, 1, "{me}: {key:?} {record:?} was lost unseen");
                    verdicts.must += 1;
                }
                (_, _, _) => {
                    assert!(times <= 1, "{me}: {key:?} {record:?} is there {times} times");
                    verdicts.may += 1;
                }
            }
        }
        assert_eq!(node.keyspace.conflict_counts().inexact, 0);
    }
    verdicts
}

/// The write that decides a key at the end. A tombstone may have been dropped, so its record need not be there: the
/// contents are a function of the vector.
fn final_dot(simulation: &Simulation, node: &Node, partition: PartitionId, key: &Key) -> Option<Dot> {
    let vector = node.keyspace.vector(partition);
    let written = simulation.written.iter().filter(|((of, _, _), (other, _))| *of == partition && other == key);
    let covered = written.map(|(_, (_, record))| record).filter(|record| vector.covers(record.dot));
    covered.max_by_key(|record| record.rank()).map(|record| record.dot)
}

/// Whether a delete was dropped that lost against a node that had met nobody when it wrote: nobody counted that one yet.
fn is_dropped_before_meeting(
    simulation: &Simulation,
    node: &Node,
    partition: PartitionId,
    (key, lost): (&Key, &Record),
) -> bool {
    let by_a_stranger = |((of, maker, sequence), (other, later)): (&(PartitionId, NodeId, u64), &(Key, Record))| {
        let had_applied = &simulation.applied[&(*of, *maker, *sequence)];
        *of == partition && other == key && later.supersedes(lost) && had_applied.is_empty()
    };
    lost.value.is_none()
        && node.keyspace.dropped(partition).covers(lost.dot)
        && simulation.written.iter().any(by_a_stranger)
}

/// Whether any write of the key ends by itself.
fn may_be_swept(simulation: &Simulation, partition: PartitionId, key: &Key) -> bool {
    let mut written = simulation.written.iter().filter(|((of, _, _), (other, _))| *of == partition && other == key);
    written.any(|(_, (_, record))| record.expires_ms.is_some())
}

/// Whether any node holds the key as a write that no client made: one that met the cluster late wrote it again.
fn was_reissued(simulation: &Simulation, partition: PartitionId, key: &Key) -> bool {
    simulation.nodes.values().any(|node| {
        let held = node.keyspace.records(partition, |records| records.get(key).map(RecordRef::to_record));
        held.is_some_and(|held| !simulation.written.contains_key(&(partition, held.dot.node, held.dot.sequence.0)))
    })
}

/// How often each own write stands in a node's journal; every entry tells of two writes that there were, of which the
/// second was made without having seen the first.
fn recorded(simulation: &Simulation, node: &Node) -> BTreeMap<(PartitionId, u64), u64> {
    let mut times = BTreeMap::new();
    for conflict in node.keyspace.all_conflicts() {
        let me = node.keyspace.me();
        assert_eq!((conflict.node, conflict.lost.dot.node), (me, me), "a conflict in the wrong journal");
        let partition = crate::storage::partition_of(&conflict.key);
        for record in [&conflict.lost, &conflict.won] {
            match simulation.written.get(&(partition, record.dot.node, record.dot.sequence.0)) {
                Some(written) => assert_eq!(written, &(conflict.key.clone(), record.clone())),
                None => {
                    assert!(simulation.is_upkeep(&conflict.key, record.value.as_ref(), record.expires_ms.is_some()))
                }
            }
        }
        assert!(conflict.won.supersedes(&conflict.lost));
        let won = (partition, conflict.won.dot.node, conflict.won.dot.sequence.0);
        let was_seen = simulation.applied.get(&won).is_some_and(|applied| applied.covers(conflict.lost.dot));
        assert!(!was_seen, "a write that was seen");
        *times.entry((partition, conflict.lost.dot.sequence.0)).or_default() += 1;
    }
    times
}

/// How many later writes of the key there ever were, made by writers that had applied this one, and that had not.
fn later(simulation: &Simulation, partition: PartitionId, key: &Key, record: &Record) -> (usize, usize) {
    let all = simulation
        .written
        .iter()
        .filter(|((of, _, _), (other, later))| *of == partition && other == key && later.supersedes(record));
    let dot = |&(_, node, sequence)| Dot { node, sequence: Sequence(sequence) };
    let (known, unknown): (Vec<_>, Vec<_>) =
        all.partition(|(write, _)| had_applied(simulation, partition, dot(write), record.dot));
    (known.len(), unknown.len())
}

/// Whether the writer of `write` had applied `other` when it wrote.
fn had_applied(simulation: &Simulation, partition: PartitionId, write: Dot, other: Dot) -> bool {
    write.node == other.node || simulation.applied[&(partition, write.node, write.sequence.0)].covers(other)
}
