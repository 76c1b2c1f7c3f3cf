//! What sessions have seen, into messages and out of them.

use std::time::Duration;

use super::{bad, operations::check_name, v1};
use crate::{
    error::Result,
    limits::{PARTITIONS, SESSION_WAIT_MAX, VECTOR_ENTRIES_MAX},
    types::{Dot, LostWrites, Mark, PartitionId, Seen, SeenPartitions, VersionVector},
    wire::{
        convert::{check_count, to_node, to_partition, to_sequence, to_timestamp, Converted},
        ConvertError,
    },
};

/// The question whether a node has what a session has seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct CatchUp {
    /// What it has to have.
    pub wanted: SeenPartitions,
    /// How long it may wait for that.
    pub wait: Duration,
}

/// The mark of an answer; absent when no write was seen.
pub fn encode_mark(seen: &Seen) -> Option<v1::Mark> {
    match seen {
        Seen::Write(Mark { partition, dot, version }) => Some(v1::Mark {
            partition: u32::from(partition.0),
            node_id: dot.node.0,
            sequence: dot.sequence.0,
            version: version.0,
        }),
        Seen::Nothing | Seen::Partitions(_) => None,
    }
}

/// What an answer with this mark has shown.
///
/// # Errors
/// Names the field that breaks a rule.
pub fn decode_mark(mark: Option<v1::Mark>) -> Result<Seen, ConvertError> {
    let Some(mark) = mark else { return Ok(Seen::Nothing) };
    let (node, sequence) = (to_node("mark.node_id", mark.node_id)?, to_sequence("mark.sequence", mark.sequence)?);
    let partition = to_partition("mark.partition", mark.partition)?;
    let version = to_timestamp("mark.version", mark.version)?;
    Ok(Seen::Write(Mark { partition, dot: Dot { node, sequence }, version }))
}

/// The stand of an answer to a count or scan; absent when nobody asked.
pub fn encode_seen(seen: Seen) -> Option<v1::SeenPartitions> {
    match seen {
        Seen::Partitions(SeenPartitions { vectors, clock }) => {
            Some(v1::SeenPartitions { partitions: encode_vectors(&vectors), clock: clock.0 })
        }
        Seen::Nothing | Seen::Write(_) => None,
    }
}

/// What a count or scan with this stand has shown.
///
/// # Errors
/// Names the field that breaks a rule.
pub fn decode_seen(seen: Option<v1::SeenPartitions>) -> Result<Seen, ConvertError> {
    let Some(seen) = seen else { return Ok(Seen::Nothing) };
    let vectors = decode_vectors("seen.partitions", seen.partitions)?;
    Ok(Seen::Partitions(SeenPartitions { vectors, clock: to_timestamp("seen.clock", seen.clock)? }))
}

/// The question of a session that comes from elsewhere; the node waits as long as it may.
pub fn encode_catch_up(wanted: &SeenPartitions) -> v1::CatchUpRequest {
    let SeenPartitions { vectors, clock } = wanted;
    v1::CatchUpRequest { keyspace: String::new(), wanted: encode_vectors(vectors), clock: clock.0, wait_ms: 0 }
}

/// What a session asks a node to have.
///
/// # Errors
/// `UNKNOWN_KEYSPACE`, `MALFORMED_MESSAGE`.
pub fn decode_catch_up(request: v1::CatchUpRequest) -> Result<CatchUp> {
    check_name(&request.keyspace)?;
    let vectors = decode_vectors("wanted", request.wanted)?;
    let wanted = SeenPartitions { vectors, clock: to_timestamp("clock", request.clock)? };
    let wait = Duration::from_millis(request.wait_ms.into());
    let wait = if wait.is_zero() { SESSION_WAIT_MAX } else { wait.min(SESSION_WAIT_MAX) };
    Ok(CatchUp { wanted, wait })
}

/// The answer to a session: what is lost, if anything.
pub fn encode_caught_up(lost: &[LostWrites]) -> v1::CatchUpResponse {
    let lost = lost.iter().map(|lost| v1::LostWrites {
        partition: u32::from(lost.partition.0),
        node_id: lost.node.0,
        last_here: lost.last_here.0,
    });
    v1::CatchUpResponse { lost: lost.collect() }
}

/// What is lost of what a session asked for.
///
/// # Errors
/// `MALFORMED_MESSAGE`.
pub fn decode_caught_up(response: v1::CatchUpResponse) -> Result<Vec<LostWrites>> {
    check_count("lost", response.lost.len(), VECTOR_ENTRIES_MAX * usize::from(PARTITIONS))?;
    let lost = |lost: v1::LostWrites| {
        Ok(LostWrites {
            partition: to_partition("lost.partition", lost.partition)?,
            node: to_node("lost.node_id", lost.node_id)?,
            last_here: to_sequence("lost.last_here", lost.last_here)?,
        })
    };
    let lost: Converted<Vec<LostWrites>> = response.lost.into_iter().map(lost).collect();
    Ok(lost?)
}

fn encode_vectors(vectors: &[(PartitionId, VersionVector)]) -> Vec<v1::PartitionVector> {
    let vector = |(partition, vector): &(PartitionId, VersionVector)| {
        let (node_ids, sequences) = vector.iter().map(|(node, sequence)| (node.0, sequence.0)).unzip();
        v1::PartitionVector { partition: u32::from(partition.0), node_ids, sequences }
    };
    vectors.iter().map(vector).collect()
}

/// Vectors of different partitions.
fn decode_vectors(
    field: &'static str,
    vectors: Vec<v1::PartitionVector>,
) -> Converted<Vec<(PartitionId, VersionVector)>> {
    check_count(field, vectors.len(), usize::from(PARTITIONS))?;
    let mut decoded: Vec<(PartitionId, VersionVector)> = Vec::with_capacity(vectors.len());
    for vector in vectors {
        let partition = to_partition(field, vector.partition)?;
        if decoded.iter().any(|(other, _)| *other == partition) {
            return Err(bad(field, format!("partition {partition} comes twice")));
        }
        if vector.node_ids.len() != vector.sequences.len() {
            let (nodes, sequences) = (vector.node_ids.len(), vector.sequences.len());
            return Err(bad(field, format!("{nodes} nodes, but {sequences} sequences")));
        }
        check_count(field, vector.node_ids.len(), VECTOR_ENTRIES_MAX)?;
        let entry = |(node, sequence)| Ok((to_node(field, node)?, to_sequence(field, sequence)?));
        let entries: Converted<VersionVector> = vector.node_ids.into_iter().zip(vector.sequences).map(entry).collect();
        decoded.push((partition, entries?));
    }
    Ok(decoded)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use prost::Message;

    use super::*;
    use crate::types::{NodeId, Sequence, Timestamp};

    fn seen_partitions() -> impl Strategy<Value = SeenPartitions> {
        let entry = (1..u64::MAX, 1..1u64 << 40).prop_map(|(node, sequence)| (NodeId(node), Sequence(sequence)));
        let vector = prop::collection::vec(entry, 1..4).prop_map(|entries| entries.into_iter().collect());
        let vectors = prop::collection::btree_map((0..PARTITIONS).prop_map(PartitionId), vector, 0..4);
        (vectors, 0u64..1 << 60).prop_map(|(vectors, clock)| SeenPartitions {
            vectors: vectors.into_iter().collect(),
            clock: Timestamp(clock),
        })
    }

    proptest! {
        #[test]
        fn what_was_seen_comes_back_as_it_went_in(wanted in seen_partitions(), node in 1u64.., sequence in 1u64..1 << 60) {
            let seen = Seen::Partitions(wanted.clone());
            prop_assert_eq!(decode_seen(encode_seen(seen.clone())), Ok(seen));
            let asked = v1::CatchUpRequest::decode(encode_catch_up(&wanted).encode_to_vec().as_slice()).unwrap();
            prop_assert_eq!(decode_catch_up(asked), Ok(CatchUp { wanted, wait: SESSION_WAIT_MAX }));
            let dot = Dot { node: NodeId(node), sequence: Sequence(sequence) };
            let mark = Seen::Write(Mark { partition: PartitionId(15), dot, version: Timestamp(7) });
            prop_assert_eq!(decode_mark(encode_mark(&mark)), Ok(mark));
            let lost = vec![LostWrites { partition: PartitionId(3), node: NodeId(node), last_here: Sequence(sequence) }];
            prop_assert_eq!(decode_caught_up(encode_caught_up(&lost)), Ok(lost));
        }

        #[test]
        fn arbitrary_bytes_never_panic(bytes: Vec<u8>) {
            drop(v1::CatchUpRequest::decode(bytes.as_slice()).map(decode_catch_up));
            drop(v1::CatchUpResponse::decode(bytes.as_slice()).map(decode_caught_up));
            drop(v1::SeenPartitions::decode(bytes.as_slice()).map(|seen| decode_seen(Some(seen))));
        }
    }

    #[test]
    fn a_bad_question_is_refused_by_field() {
        let vector = |partition, node_ids: &[u64], sequences: &[u64]| v1::PartitionVector {
            partition,
            node_ids: node_ids.to_vec(),
            sequences: sequences.to_vec(),
        };
        let refused = [
            (vec![vector(16, &[1], &[1])], "wanted: 16"),
            (vec![vector(0, &[1], &[])], "wanted: 1 nodes, but 0"),
            (vec![vector(0, &[0], &[1])], "wanted: must not be 0"),
            (vec![vector(0, &[1], &[u64::MAX])], "wanted: 18446744073709551615"),
            (vec![vector(0, &[1], &[1]), vector(0, &[2], &[1])], "wanted: partition 0 comes twice"),
        ];
        for (wanted, text) in refused {
            let request = v1::CatchUpRequest { wanted, ..v1::CatchUpRequest::default() };
            let error = decode_catch_up(request).unwrap_err();
            assert!(error.message().starts_with(text), "{error}");
        }
        let request = v1::CatchUpRequest { clock: u64::MAX, ..v1::CatchUpRequest::default() };
        assert!(decode_catch_up(request).unwrap_err().message().starts_with("clock: "));
    }
}
