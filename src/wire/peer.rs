//! What replicas tell each other: [`PeerMessage`] <-> `v1::PeerMessage`. Keys and values are copied out of the message,
//! so that a small value does not keep a large message alive.

use super::{
    change::{self, Field},
    convert::{
        bad, check_count, required, to_address, to_cluster, to_expiry, to_node, to_partition, to_sequence,
        to_timestamp, within, ConvertError, Converted,
    },
    v1::{self, peer_message::Body},
};
use crate::{
    limits::{
        GOSSIP_BYTES_MAX, MEMBERS_MAX, PARTITIONS, REMOVED_MAX, SEEN_STEPS_MAX, SEQUENCE_MAX, VECTOR_ENTRIES_MAX,
    },
    types::{
        Change, Dot, Hello, Member, Membership, NodeId, PartitionChanges, PartitionId, PartitionPosition, PeerMessage,
        Positions, Record, SeenStep, Sequence, StateChunk, StateEnd, StateRecord, TransferId, VersionVector,
    },
};

impl From<PeerMessage> for v1::PeerMessage {
    fn from(message: PeerMessage) -> v1::PeerMessage {
        let body = match message {
            PeerMessage::Hello(hello) => Body::Hello(from_hello(hello)),
            PeerMessage::Members(membership) => Body::Members(from_membership(membership)),
            PeerMessage::Positions(positions) => Body::Positions(from_positions(positions)),
            PeerMessage::Changes(stretches) => {
                Body::Changes(v1::Changes { partitions: stretches.into_iter().map(from_stretch).collect() })
            }
            PeerMessage::Acknowledgements(entries) => {
                Body::Acknowledgements(v1::Acknowledgements { partitions: entries.into_iter().map(from_ack).collect() })
            }
            PeerMessage::StateRequest { transfer, partition, vector, repair } => Body::StateRequest(v1::StateRequest {
                transfer: transfer.0,
                partition: partition.0.into(),
                vector: from_vector(&vector),
                repair,
            }),
            PeerMessage::StateChunk(chunk) => Body::StateChunk(from_chunk(chunk)),
            PeerMessage::StateChunkReceived { transfer } => {
                Body::StateChunkReceived(v1::StateChunkReceived { transfer: transfer.0 })
            }
            PeerMessage::ClockSkew { partition, sequence, ahead_ms } => {
                Body::ClockSkew(v1::ClockSkew { partition: partition.0.into(), sequence: sequence.0, ahead_ms })
            }
            PeerMessage::Gossip(data) => Body::Gossip(v1::Gossip { data }),
            PeerMessage::Leave => Body::Leave(v1::Leave {}),
        };
        v1::PeerMessage { body: Some(body) }
    }
}

fn from_hello(hello: Hello) -> v1::Hello {
    let v1::Members { members, removed } = from_membership(hello.membership);
    v1::Hello {
        protocol_version: hello.protocol_version,
        cluster: hello.cluster,
        sender: Some(from_member(hello.sender)),
        partitions: hello.partitions.into(),
        members,
        removed,
    }
}

fn from_member(member: Member) -> v1::Member {
    v1::Member { node_id: member.node.0, address: member.address.to_string(), born_ms: member.born_ms }
}

fn from_membership(membership: Membership) -> v1::Members {
    v1::Members {
        members: membership.members.into_iter().map(from_member).collect(),
        removed: membership.removed.into_iter().map(|node| node.0).collect(),
    }
}

fn from_positions(positions: Positions) -> v1::Positions {
    v1::Positions {
        partitions: positions.partitions.into_iter().map(from_position).collect(),
        clock: positions.clock.0,
        wall_ms: positions.wall_ms,
        removed_digest: positions.removed_digest,
    }
}

fn from_vector(vector: &VersionVector) -> Vec<v1::VectorEntry> {
    vector.iter().map(|(node, sequence)| v1::VectorEntry { node_id: node.0, sequence: sequence.0 }).collect()
}

fn from_position(position: PartitionPosition) -> v1::PartitionPosition {
    v1::PartitionPosition {
        partition: position.partition.0.into(),
        vector: from_vector(&position.vector),
        outbox_first: position.outbox_first.0,
        low: position.low.0,
        digest: position.digest,
        floor: position.floor.0,
    }
}

fn from_stretch(stretch: PartitionChanges) -> v1::PartitionChanges {
    v1::PartitionChanges {
        partition: stretch.partition.0.into(),
        first_sequence: stretch.first_sequence.0,
        // The writer is the sender, which need not say so.
        seen: stretch.seen.into_iter().map(|step| v1::SeenStep { writer: 0, ..from_step(step) }).collect(),
        changes: stretch.changes.into_iter().map(from_change).collect(),
    }
}

fn from_step(step: SeenStep) -> v1::SeenStep {
    v1::SeenStep { writer: step.writer.0, of: step.of.0, from: step.from.0, seen: step.seen.0 }
}

fn from_change(change: Change) -> change::Change {
    change::Change {
        key: Field::Good(change.key),
        value: change.value.map(Field::Good),
        flags: change.flags,
        timestamp: change.timestamp.0,
        expires_ms: change.expires_ms.map(|ms| ms.get()),
    }
}

fn from_ack((partition, sequence): (PartitionId, Sequence)) -> v1::Acknowledgement {
    v1::Acknowledgement { partition: partition.0.into(), sequence: sequence.0 }
}

fn from_chunk(chunk: StateChunk) -> v1::StateChunk {
    let last = chunk.last.is_some();
    let end = chunk.last.unwrap_or_default();
    v1::StateChunk {
        transfer: chunk.transfer.0,
        partition: chunk.partition.0.into(),
        records: chunk.records.into_iter().map(from_record).collect(),
        last,
        vector: from_vector(&end.vector),
        seen: end.seen.into_iter().map(from_step).collect(),
        dropped: from_vector(&end.dropped),
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
            Body::Members(members) => PeerMessage::Members(to_membership(&MEMBERS_FIELDS, members)?),
            Body::Positions(positions) => PeerMessage::Positions(to_positions(positions)?),
            Body::Changes(changes) => PeerMessage::Changes(collect(changes.partitions, to_stretch)?),
            Body::Acknowledgements(acknowledgements) => {
                check_count("acknowledgements.partitions", acknowledgements.partitions.len(), PARTITIONS.into())?;
                PeerMessage::Acknowledgements(collect(acknowledgements.partitions, to_ack)?)
            }
            Body::StateRequest(request) => PeerMessage::StateRequest {
                transfer: TransferId(request.transfer),
                partition: to_partition("state_request.partition", request.partition)?,
                vector: to_vector("state_request.vector", request.vector)?,
                repair: request.repair,
            },
            Body::StateChunk(chunk) => PeerMessage::StateChunk(to_chunk(chunk)?),
            Body::StateChunkReceived(received) => {
                PeerMessage::StateChunkReceived { transfer: TransferId(received.transfer) }
            }
            Body::ClockSkew(skew) => PeerMessage::ClockSkew {
                partition: to_partition("clock_skew.partition", skew.partition)?,
                sequence: to_sequence("clock_skew.sequence", skew.sequence)?,
                ahead_ms: skew.ahead_ms,
            },
            Body::Gossip(gossip) => {
                check_count("gossip.data", gossip.data.len(), GOSSIP_BYTES_MAX)?;
                PeerMessage::Gossip(gossip.data)
            }
            Body::Leave(v1::Leave {}) => PeerMessage::Leave,
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
        membership: to_membership(&HELLO_FIELDS, v1::Members { members: hello.members, removed: hello.removed })?,
    })
}

fn to_member(field: &'static str, member: v1::Member) -> Converted<Member> {
    Ok(Member {
        node: to_node(field, member.node_id)?,
        address: to_address(field, &member.address)?,
        born_ms: member.born_ms,
    })
}

/// The paths of a membership's fields, which differ by the message that carries it.
struct MembershipFields {
    members: &'static str,
    removed: &'static str,
}

const HELLO_FIELDS: MembershipFields = MembershipFields { members: "hello.members", removed: "hello.removed" };

const MEMBERS_FIELDS: MembershipFields = MembershipFields { members: "members.members", removed: "members.removed" };

fn to_membership(fields: &MembershipFields, members: v1::Members) -> Converted<Membership> {
    check_count(fields.members, members.members.len(), MEMBERS_MAX)?;
    check_count(fields.removed, members.removed.len(), REMOVED_MAX)?;
    let to_removed = |id| -> Converted<NodeId> { to_node(fields.removed, id) };
    Ok(Membership {
        members: collect(members.members, |member| to_member(fields.members, member))?,
        removed: collect(members.removed, to_removed)?,
    })
}

fn to_positions(positions: v1::Positions) -> Converted<Positions> {
    check_count("positions.partitions", positions.partitions.len(), PARTITIONS.into())?;
    Ok(Positions {
        clock: to_timestamp("positions.clock", positions.clock)?,
        wall_ms: positions.wall_ms,
        removed_digest: positions.removed_digest,
        partitions: collect(positions.partitions, to_position)?,
    })
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
        low: to_timestamp("positions.low", position.low)?,
        digest: position.digest,
        floor: to_timestamp("positions.floor", position.floor)?,
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
        seen: to_steps("changes.seen", stretch.seen, |step| Ok(NodeId(step.writer)))?,
        changes: collect(stretch.changes, |change| to_change(&CHANGE_FIELDS, change))?,
    })
}

fn to_steps(
    field: &'static str,
    steps: Vec<v1::SeenStep>,
    to_writer: impl Fn(&v1::SeenStep) -> Converted<NodeId>,
) -> Converted<Vec<SeenStep>> {
    check_count(field, steps.len(), SEEN_STEPS_MAX)?;
    let to_step = |step: v1::SeenStep| {
        Ok(SeenStep {
            writer: to_writer(&step)?,
            of: to_node(field, step.of)?,
            from: to_sequence(field, step.from)?,
            seen: to_sequence(field, step.seen)?,
        })
    };
    collect(steps, to_step)
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

fn to_change(fields: &ChangeFields, change: change::Change) -> Converted<Change> {
    let value = change.value.map(|value| within(fields.value, value.take()));
    Ok(Change {
        key: within(fields.key, change.key.take())?,
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
    let has_end = !chunk.vector.is_empty() || !chunk.seen.is_empty() || !chunk.dropped.is_empty();
    if has_end && !chunk.last {
        return Err(bad("state_chunk.vector", "only the last chunk has one"));
    }
    let end = StateEnd {
        vector: to_vector("state_chunk.vector", chunk.vector)?,
        seen: to_steps("state_chunk.seen", chunk.seen, |step| to_node("state_chunk.seen", step.writer))?,
        dropped: to_vector("state_chunk.dropped", chunk.dropped)?,
    };
    Ok(StateChunk {
        transfer: TransferId(chunk.transfer),
        partition: to_partition("state_chunk.partition", chunk.partition)?,
        records: collect(chunk.records, to_record)?,
        last: chunk.last.then_some(end),
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
