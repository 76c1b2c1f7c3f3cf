//! What replicas tell each other: [`PeerMessage`] <-> `v1::PeerMessage`. Keys and values are copied out of the message,
//! so that a small value does not keep a large message alive.

use super::{
    convert::{
        bad, check_count, required, to_address, to_cluster, to_expiry, to_node, to_partition, to_sequence,
        to_timestamp, within, ConvertError, Converted,
    },
    v1::{self, peer_message::Body},
};
use crate::{
    limits::{MEMBERS_MAX, PARTITIONS, SEQUENCE_MAX, VECTOR_ENTRIES_MAX},
    types::{
        Change, Dot, Hello, Key, Member, PartitionChanges, PartitionId, PartitionPosition, PeerMessage, Record,
        Sequence, StateChunk, StateRecord, TransferId, Value, VersionVector,
    },
};

impl From<PeerMessage> for v1::PeerMessage {
    fn from(message: PeerMessage) -> v1::PeerMessage {
        let body = match message {
            PeerMessage::Hello(hello) => Body::Hello(from_hello(hello)),
            PeerMessage::Members(members) => Body::Members(v1::Members { members: from_members(members) }),
            PeerMessage::Positions(positions) => {
                Body::Positions(v1::Positions { partitions: positions.into_iter().map(from_position).collect() })
            }
            PeerMessage::Changes(stretches) => {
                Body::Changes(v1::Changes { partitions: stretches.into_iter().map(from_stretch).collect() })
            }
            PeerMessage::Acknowledgements(entries) => {
                Body::Acknowledgements(v1::Acknowledgements { partitions: entries.into_iter().map(from_ack).collect() })
            }
            PeerMessage::StateRequest { transfer, partition, vector } => Body::StateRequest(v1::StateRequest {
                transfer: transfer.0,
                partition: partition.0.into(),
                vector: from_vector(&vector),
            }),
            PeerMessage::StateChunk(chunk) => Body::StateChunk(from_chunk(chunk)),
            PeerMessage::StateChunkReceived { transfer } => {
                Body::StateChunkReceived(v1::StateChunkReceived { transfer: transfer.0 })
            }
        };
        v1::PeerMessage { body: Some(body) }
    }
}

fn from_hello(hello: Hello) -> v1::Hello {
    v1::Hello {
        protocol_version: hello.protocol_version,
        cluster: hello.cluster,
        sender: Some(from_member(hello.sender)),
        partitions: hello.partitions.into(),
        members: from_members(hello.members),
    }
}

fn from_member(member: Member) -> v1::Member {
    v1::Member { node_id: member.node.0, address: member.address.to_string() }
}

fn from_members(members: Vec<Member>) -> Vec<v1::Member> {
    members.into_iter().map(from_member).collect()
}

fn from_vector(vector: &VersionVector) -> Vec<v1::VectorEntry> {
    vector.iter().map(|(node, sequence)| v1::VectorEntry { node_id: node.0, sequence: sequence.0 }).collect()
}

fn from_position(position: PartitionPosition) -> v1::PartitionPosition {
    v1::PartitionPosition {
        partition: position.partition.0.into(),
        vector: from_vector(&position.vector),
        outbox_first: position.outbox_first.0,
    }
}

fn from_stretch(stretch: PartitionChanges) -> v1::PartitionChanges {
    v1::PartitionChanges {
        partition: stretch.partition.0.into(),
        first_sequence: stretch.first_sequence.0,
        seen: stretch.seen.0,
        changes: stretch.changes.into_iter().map(from_change).collect(),
    }
}

fn from_change(change: Change) -> v1::Change {
    v1::Change {
        key: change.key.to_bytes(),
        value: change.value.map(|value| value.to_bytes()),
        flags: change.flags,
        timestamp: change.timestamp.0,
        expires_ms: change.expires_ms.map(|ms| ms.get()),
    }
}

fn from_ack((partition, sequence): (PartitionId, Sequence)) -> v1::Acknowledgement {
    v1::Acknowledgement { partition: partition.0.into(), sequence: sequence.0 }
}

fn from_chunk(chunk: StateChunk) -> v1::StateChunk {
    v1::StateChunk {
        transfer: chunk.transfer.0,
        partition: chunk.partition.0.into(),
        records: chunk.records.into_iter().map(from_record).collect(),
        last: chunk.last.is_some(),
        vector: chunk.last.as_ref().map(from_vector).unwrap_or_default(),
    }
}

fn from_record(StateRecord { key, record }: StateRecord) -> v1::StateRecord {
    let Record { value, flags, timestamp, dot, expires_ms } = record;
    let change = from_change(Change { key, value, flags, timestamp, expires_ms });
    v1::StateRecord { node_id: dot.node.0, sequence: dot.sequence.0, change: Some(change) }
}

impl TryFrom<v1::PeerMessage> for PeerMessage {
    type Error = ConvertError;

    /// # Errors
    /// Names the first field that breaks a rule of `peer.proto`.
    fn try_from(message: v1::PeerMessage) -> Converted<PeerMessage> {
        Ok(match required("body", message.body)? {
            Body::Hello(hello) => PeerMessage::Hello(to_hello(hello)?),
            Body::Members(members) => PeerMessage::Members(to_members("members.members", members.members)?),
            Body::Positions(positions) => {
                check_count("positions.partitions", positions.partitions.len(), PARTITIONS.into())?;
                PeerMessage::Positions(collect(positions.partitions, to_position)?)
            }
            Body::Changes(changes) => PeerMessage::Changes(collect(changes.partitions, to_stretch)?),
            Body::Acknowledgements(acknowledgements) => {
                check_count("acknowledgements.partitions", acknowledgements.partitions.len(), PARTITIONS.into())?;
                PeerMessage::Acknowledgements(collect(acknowledgements.partitions, to_ack)?)
            }
            Body::StateRequest(request) => PeerMessage::StateRequest {
                transfer: TransferId(request.transfer),
                partition: to_partition("state_request.partition", request.partition)?,
                vector: to_vector("state_request.vector", request.vector)?,
            },
            Body::StateChunk(chunk) => PeerMessage::StateChunk(to_chunk(chunk)?),
            Body::StateChunkReceived(received) => {
                PeerMessage::StateChunkReceived { transfer: TransferId(received.transfer) }
            }
        })
    }
}

fn collect<T, U>(list: Vec<T>, convert: impl Fn(T) -> Converted<U>) -> Converted<Vec<U>> {
    list.into_iter().map(convert).collect()
}

fn to_hello(hello: v1::Hello) -> Converted<Hello> {
    let partitions = u16::try_from(hello.partitions);
    Ok(Hello {
        protocol_version: hello.protocol_version,
        cluster: to_cluster("hello.cluster", hello.cluster)?,
        sender: to_member("hello.sender", required("hello.sender", hello.sender)?)?,
        // Another count than ours is for the replica to refuse, which can then say whose it is.
        partitions: partitions
            .map_err(|_| bad("hello.partitions", format!("{}, must be 16 bits", hello.partitions)))?,
        members: to_members("hello.members", hello.members)?,
    })
}

fn to_member(field: &'static str, member: v1::Member) -> Converted<Member> {
    Ok(Member { node: to_node(field, member.node_id)?, address: to_address(field, &member.address)? })
}

fn to_members(field: &'static str, members: Vec<v1::Member>) -> Converted<Vec<Member>> {
    check_count(field, members.len(), MEMBERS_MAX)?;
    collect(members, |member| to_member(field, member))
}

fn to_vector(field: &'static str, entries: Vec<v1::VectorEntry>) -> Converted<VersionVector> {
    check_count(field, entries.len(), VECTOR_ENTRIES_MAX)?;
    let to_entry = |entry: v1::VectorEntry| Ok((to_node(field, entry.node_id)?, to_sequence(field, entry.sequence)?));
    entries.into_iter().map(to_entry).collect()
}

fn to_position(position: v1::PartitionPosition) -> Converted<PartitionPosition> {
    Ok(PartitionPosition {
        partition: to_partition("positions.partition", position.partition)?,
        vector: to_vector("positions.vector", position.vector)?,
        outbox_first: to_first("positions.outbox_first", position.outbox_first)?,
    })
}

fn to_stretch(stretch: v1::PartitionChanges) -> Converted<PartitionChanges> {
    let first_sequence = to_first("changes.first_sequence", stretch.first_sequence)?;
    if stretch.changes.len() as u64 > SEQUENCE_MAX - first_sequence.0 {
        return Err(bad("changes.changes", format!("count beyond sequence {SEQUENCE_MAX}")));
    }
    Ok(PartitionChanges {
        partition: to_partition("changes.partition", stretch.partition)?,
        first_sequence,
        seen: to_sequence("changes.seen", stretch.seen)?,
        changes: collect(stretch.changes, |change| to_change(&CHANGE_FIELDS, change))?,
    })
}

/// The sequence of a write: they count from 1.
fn to_first(field: &'static str, sequence: u64) -> Converted<Sequence> {
    if sequence == 0 {
        return Err(bad(field, "must be at least 1"));
    }
    to_sequence(field, sequence)
}

/// The paths of a change's fields, which differ by the message that carries it.
struct ChangeFields {
    key: &'static str,
    value: &'static str,
    timestamp: &'static str,
    expires_ms: &'static str,
}

const CHANGE_FIELDS: ChangeFields = ChangeFields {
    key: "changes.key",
    value: "changes.value",
    timestamp: "changes.timestamp",
    expires_ms: "changes.expires_ms",
};

const RECORD_FIELDS: ChangeFields = ChangeFields {
    key: "state_chunk.records.key",
    value: "state_chunk.records.value",
    timestamp: "state_chunk.records.timestamp",
    expires_ms: "state_chunk.records.expires_ms",
};

fn to_change(fields: &ChangeFields, change: v1::Change) -> Converted<Change> {
    let value = change.value.map(|value| within(fields.value, Value::new(&value)));
    Ok(Change {
        key: within(fields.key, Key::new(&change.key))?,
        value: value.transpose()?,
        flags: change.flags,
        timestamp: to_timestamp(fields.timestamp, change.timestamp)?,
        expires_ms: to_expiry(fields.expires_ms, change.expires_ms)?,
    })
}

fn to_ack(acknowledgement: v1::Acknowledgement) -> Converted<(PartitionId, Sequence)> {
    Ok((
        to_partition("acknowledgements.partition", acknowledgement.partition)?,
        to_sequence("acknowledgements.sequence", acknowledgement.sequence)?,
    ))
}

fn to_chunk(chunk: v1::StateChunk) -> Converted<StateChunk> {
    if !chunk.last && !chunk.vector.is_empty() {
        return Err(bad("state_chunk.vector", "only the last chunk has one"));
    }
    let vector = to_vector("state_chunk.vector", chunk.vector)?;
    Ok(StateChunk {
        transfer: TransferId(chunk.transfer),
        partition: to_partition("state_chunk.partition", chunk.partition)?,
        records: collect(chunk.records, to_record)?,
        last: chunk.last.then_some(vector),
    })
}

fn to_record(record: v1::StateRecord) -> Converted<StateRecord> {
    let dot = Dot {
        node: to_node("state_chunk.records.node_id", record.node_id)?,
        sequence: to_first("state_chunk.records.sequence", record.sequence)?,
    };
    let change = required("state_chunk.records.change", record.change)?;
    let Change { key, value, flags, timestamp, expires_ms } = to_change(&RECORD_FIELDS, change)?;
    Ok(StateRecord { key, record: Record { value, flags, timestamp, dot, expires_ms } })
}

#[cfg(test)]
mod tests;
