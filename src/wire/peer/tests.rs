//! Every message survives the wire, no bytes make the decoder panic, and each bad field is named.

use std::num::NonZeroU64;

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::{
    limits::{HELD_KEY_BYTES_MAX, TIMESTAMP_MS_MAX, VALUE_BYTES_MAX},
    types::{Key, NodeId, Timestamp, Value},
    wire::v1::peer_message::Body,
};

fn node() -> impl Strategy<Value = NodeId> {
    (1..=u64::MAX).prop_map(NodeId)
}

fn partition() -> impl Strategy<Value = PartitionId> {
    (0..PARTITIONS).prop_map(PartitionId)
}

fn sequence(from: u64) -> impl Strategy<Value = Sequence> {
    (from..1 << 60).prop_map(Sequence)
}

fn vector() -> impl Strategy<Value = VersionVector> {
    prop::collection::vec((node(), sequence(1)), 0..5).prop_map(|entries| entries.into_iter().collect())
}

fn member() -> impl Strategy<Value = Member> {
    let host = prop_oneof![Just("127.0.0.1"), Just("::1"), Just("db-1.example.org")];
    (node(), host, 1..=u16::MAX, any::<u64>()).prop_map(|(node, host, port, born_ms)| Member {
        node,
        address: crate::types::Address::new(host, port).unwrap(),
        born_ms,
    })
}

fn membership() -> impl Strategy<Value = Membership> {
    let (members, removed) = (prop::collection::vec(member(), 0..5), prop::collection::vec(node(), 0..5));
    (members, removed).prop_map(|(members, removed)| Membership { members, removed })
}

fn timestamp() -> impl Strategy<Value = Timestamp> {
    (0..=TIMESTAMP_MS_MAX, any::<u16>()).prop_map(|(ms, counter)| Timestamp(ms << 16 | u64::from(counter)))
}

fn steps(writer: impl Strategy<Value = NodeId>) -> impl Strategy<Value = Vec<SeenStep>> {
    let step = (writer, node(), sequence(0), sequence(0));
    prop::collection::vec(step.prop_map(|(writer, of, from, seen)| SeenStep { writer, of, from, seen }), 0..5)
}

fn change() -> impl Strategy<Value = Change> {
    let key = prop::collection::vec(any::<u8>(), 1..40).prop_map(|bytes| Key::new(&bytes).unwrap());
    let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..100));
    let expires_ms = prop::option::of((1..=u64::MAX).prop_map(|ms| NonZeroU64::new(ms).unwrap()));
    (key, value, any::<u32>(), timestamp(), expires_ms).prop_map(|(key, value, flags, timestamp, expires_ms)| Change {
        key,
        value: value.map(|bytes| Value::new(&bytes).unwrap()),
        flags,
        timestamp,
        expires_ms,
    })
}

fn changes() -> impl Strategy<Value = PartitionChanges> {
    let changes = prop::collection::vec(change(), 0..8);
    (partition(), sequence(1), steps(Just(NodeId(0))), changes).prop_map(
        |(partition, first_sequence, seen, changes)| PartitionChanges { partition, first_sequence, seen, changes },
    )
}

fn record() -> impl Strategy<Value = StateRecord> {
    (change(), node(), sequence(1)).prop_map(|(change, node, sequence)| {
        let Change { key, value, flags, timestamp, expires_ms } = change;
        StateRecord { key, record: Record { value, flags, timestamp, dot: Dot { node, sequence }, expires_ms } }
    })
}

fn position() -> impl Strategy<Value = PartitionPosition> {
    let digest = prop::option::of(any::<u64>());
    (partition(), vector(), sequence(1), timestamp(), digest, timestamp()).prop_map(
        |(partition, vector, outbox_first, low, digest, floor)| PartitionPosition {
            partition,
            vector,
            outbox_first,
            low,
            digest,
            floor,
        },
    )
}

fn positions() -> impl Strategy<Value = Positions> {
    let partitions = prop::collection::vec(position(), 0..16);
    (timestamp(), any::<u64>(), any::<u64>(), partitions).prop_map(|(clock, wall_ms, removed_digest, partitions)| {
        Positions { clock, wall_ms, removed_digest, partitions }
    })
}

fn hello() -> impl Strategy<Value = Hello> {
    (any::<u32>(), "[a-z.]{0,64}", member(), any::<u16>(), membership()).prop_map(
        |(protocol_version, cluster, sender, partitions, membership)| Hello {
            protocol_version,
            cluster,
            sender,
            partitions,
            membership,
        },
    )
}

fn chunk() -> impl Strategy<Value = StateChunk> {
    let records = prop::collection::vec(record(), 0..8);
    let end = (vector(), steps(node()), vector());
    let end = end.prop_map(|(vector, seen, dropped)| StateEnd { vector, seen, dropped });
    (any::<u64>(), partition(), records, prop::option::of(end)).prop_map(|(transfer, partition, records, last)| {
        StateChunk { transfer: TransferId(transfer), partition, records, last }
    })
}

fn message() -> impl Strategy<Value = PeerMessage> {
    prop_oneof![
        hello().prop_map(PeerMessage::Hello),
        membership().prop_map(PeerMessage::Members),
        positions().prop_map(PeerMessage::Positions),
        prop::collection::vec(changes(), 0..4).prop_map(PeerMessage::Changes),
        prop::collection::vec((partition(), sequence(0)), 0..16).prop_map(PeerMessage::Acknowledgements),
        (any::<u64>(), partition(), vector(), any::<bool>()).prop_map(|(transfer, partition, vector, repair)| {
            PeerMessage::StateRequest { transfer: TransferId(transfer), partition, vector, repair }
        }),
        (partition(), sequence(0), any::<u64>()).prop_map(|(partition, sequence, ahead_ms)| PeerMessage::ClockSkew {
            partition,
            sequence,
            ahead_ms
        }),
        prop::collection::vec(any::<u8>(), 0..100).prop_map(|data| PeerMessage::Gossip(data.into())),
        Just(PeerMessage::Leave),
        chunk().prop_map(PeerMessage::StateChunk),
        any::<u64>().prop_map(|transfer| PeerMessage::StateChunkReceived { transfer: TransferId(transfer) }),
    ]
}

proptest! {
    #[test]
    fn every_message_comes_back_as_it_went_in(message in message()) {
        let wire = v1::PeerMessage::from(message.clone()).encode_to_vec();
        let decoded = PeerMessage::try_from(v1::PeerMessage::decode(&wire[..]).unwrap());
        prop_assert_eq!(decoded, Ok(message));
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_a_message_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(wire) = v1::PeerMessage::decode(&bytes[..]) {
            // Either way is fine; what counts is that it returns.
            let _outcome = PeerMessage::try_from(wire);
        }
    }

    #[test]
    fn a_damaged_message_is_an_error_or_a_message_but_never_a_panic(
        message in message(), place in any::<prop::sample::Index>(), byte in any::<u8>(),
    ) {
        let mut wire = v1::PeerMessage::from(message).encode_to_vec();
        if !wire.is_empty() {
            let place = place.index(wire.len());
            wire[place] = byte;
        }
        if let Ok(wire) = v1::PeerMessage::decode(&wire[..]) {
            // Either way is fine; what counts is that it returns.
            let _outcome = PeerMessage::try_from(wire);
        }
    }
}

fn field(body: Body) -> &'static str {
    PeerMessage::try_from(v1::PeerMessage { body: Some(body) }).unwrap_err().field
}

fn good_member() -> v1::Member {
    v1::Member { node_id: 1, address: "h:1".to_string(), born_ms: 0 }
}

fn good_hello() -> v1::Hello {
    v1::Hello { sender: Some(good_member()), ..v1::Hello::default() }
}

fn good_change() -> change::Change {
    change::Change { key: b"k"[..].into(), ..change::Change::default() }
}

const BAD_STEP: v1::SeenStep = v1::SeenStep { writer: 1, of: 1, from: 1, seen: u64::MAX };

fn changes_of(stretch: v1::PartitionChanges) -> Body {
    Body::Changes(v1::Changes { partitions: vec![stretch] })
}

fn good_stretch() -> v1::PartitionChanges {
    v1::PartitionChanges { first_sequence: 1, changes: vec![good_change()], ..v1::PartitionChanges::default() }
}

#[test]
fn a_message_without_a_body_is_refused() {
    assert_eq!(PeerMessage::try_from(v1::PeerMessage { body: None }).unwrap_err().field, "body");
}

#[test]
fn each_bad_field_of_a_hello_or_member_list_is_named() {
    let members = |count| vec![good_member(); count];
    let cases = [
        ("hello.sender", v1::Hello { sender: None, ..good_hello() }),
        ("hello.sender", v1::Hello { sender: Some(v1::Member { node_id: 0, ..good_member() }), ..good_hello() }),
        (
            "hello.sender",
            v1::Hello { sender: Some(v1::Member { address: "h".into(), ..good_member() }), ..good_hello() },
        ),
        ("hello.cluster", v1::Hello { cluster: "c".repeat(65), ..good_hello() }),
        ("hello.partitions", v1::Hello { partitions: 1 << 16, ..good_hello() }),
        ("hello.members", v1::Hello { members: members(MEMBERS_MAX + 1), ..good_hello() }),
        ("hello.removed", v1::Hello { removed: vec![1; REMOVED_MAX + 1], ..good_hello() }),
        ("hello.removed", v1::Hello { removed: vec![0], ..good_hello() }),
    ];
    for (name, hello) in cases {
        assert_eq!(field(Body::Hello(hello)), name);
    }
    assert_eq!(
        field(Body::Members(v1::Members { members: members(MEMBERS_MAX + 1), removed: Vec::new() })),
        "members.members"
    );
    let most = v1::Members { members: members(MEMBERS_MAX), removed: vec![1; REMOVED_MAX] };
    assert!(PeerMessage::try_from(v1::PeerMessage { body: Some(Body::Members(most)) }).is_ok());
}

#[test]
fn each_bad_field_of_changes_is_named() {
    let changed = |change| v1::PartitionChanges { changes: vec![change], ..good_stretch() };
    let cases = [
        ("changes.partition", v1::PartitionChanges { partition: PARTITIONS.into(), ..good_stretch() }),
        ("changes.first_sequence", v1::PartitionChanges { first_sequence: 0, ..good_stretch() }),
        ("changes.first_sequence", v1::PartitionChanges { first_sequence: u64::MAX, ..good_stretch() }),
        ("changes.changes", v1::PartitionChanges { first_sequence: SEQUENCE_MAX, ..good_stretch() }),
        ("changes.seen", v1::PartitionChanges { seen: vec![v1::SeenStep::default()], ..good_stretch() }),
        ("changes.seen", v1::PartitionChanges { seen: vec![BAD_STEP], ..good_stretch() }),
        ("changes.key", changed(change::Change { key: b""[..].into(), ..good_change() })),
        ("changes.key", changed(change::Change { key: vec![0; HELD_KEY_BYTES_MAX + 1][..].into(), ..good_change() })),
        (
            "changes.value",
            changed(change::Change { value: Some(vec![0; VALUE_BYTES_MAX + 1][..].into()), ..good_change() }),
        ),
        ("changes.timestamp", changed(change::Change { timestamp: u64::MAX, ..good_change() })),
        ("changes.timestamp", changed(change::Change { timestamp: (TIMESTAMP_MS_MAX + 1) << 16, ..good_change() })),
        ("changes.expires_ms", changed(change::Change { expires_ms: Some(0), ..good_change() })),
    ];
    for (name, stretch) in cases {
        assert_eq!(field(changes_of(stretch)), name);
    }
}

#[test]
fn each_bad_field_of_positions_and_acknowledgements_is_named() {
    let entry = v1::VectorEntry { node_id: 1, sequence: 1 };
    let good = v1::PartitionPosition { outbox_first: 1, vector: vec![entry], ..v1::PartitionPosition::default() };
    let one = |position| Body::Positions(v1::Positions { partitions: vec![position], ..v1::Positions::default() });
    let vector = |vector| v1::PartitionPosition { vector, ..good.clone() };
    assert_eq!(field(one(v1::PartitionPosition { partition: 16, ..good.clone() })), "positions.partition");
    assert_eq!(field(one(v1::PartitionPosition { outbox_first: 0, ..good.clone() })), "positions.outbox_first");
    assert_eq!(field(one(vector(vec![v1::VectorEntry { node_id: 0, sequence: 1 }]))), "positions.vector");
    assert_eq!(field(one(vector(vec![v1::VectorEntry { node_id: 1, sequence: u64::MAX }]))), "positions.vector");
    assert_eq!(field(one(vector(vec![entry; VECTOR_ENTRIES_MAX + 1]))), "positions.vector");
    let many = vec![good.clone(); usize::from(PARTITIONS) + 1];
    let many = v1::Positions { partitions: many, ..v1::Positions::default() };
    assert_eq!(field(Body::Positions(many)), "positions.partitions");

    let acks = |partitions| Body::Acknowledgements(v1::Acknowledgements { partitions });
    let ack = |partition, sequence| v1::Acknowledgement { partition, sequence };
    assert_eq!(field(acks(vec![ack(16, 0)])), "acknowledgements.partition");
    assert_eq!(field(acks(vec![ack(0, u64::MAX)])), "acknowledgements.sequence");
    assert_eq!(field(acks(vec![ack(0, 0); 17])), "acknowledgements.partitions");
}

#[test]
fn each_bad_field_of_a_state_transfer_is_named() {
    let entry = v1::VectorEntry { node_id: 1, sequence: 1 };
    let skew = v1::ClockSkew { partition: 16, ..v1::ClockSkew::default() };
    assert_eq!(field(Body::ClockSkew(skew)), "clock_skew.partition");
    let gossip = v1::Gossip { data: vec![0; GOSSIP_BYTES_MAX + 1].into() };
    assert_eq!(field(Body::Gossip(gossip)), "gossip.data");

    let request = v1::StateRequest { partition: 16, ..v1::StateRequest::default() };
    assert_eq!(field(Body::StateRequest(request)), "state_request.partition");
    let request = v1::StateRequest { vector: vec![v1::VectorEntry::default()], ..v1::StateRequest::default() };
    assert_eq!(field(Body::StateRequest(request)), "state_request.vector");

    let good = v1::StateRecord { node_id: 1, sequence: 1, change: Some(good_change()) };
    let with = |record| v1::StateChunk { records: vec![record], ..v1::StateChunk::default() };
    let empty_key = Some(change::Change { key: b""[..].into(), ..good_change() });
    let cases = [
        ("state_chunk.partition", v1::StateChunk { partition: 16, ..v1::StateChunk::default() }),
        ("state_chunk.vector", v1::StateChunk { vector: vec![entry], ..v1::StateChunk::default() }),
        ("state_chunk.vector", v1::StateChunk { dropped: vec![entry], ..v1::StateChunk::default() }),
        ("state_chunk.seen", v1::StateChunk { last: true, seen: vec![BAD_STEP], ..v1::StateChunk::default() }),
        ("state_chunk.records.node_id", with(v1::StateRecord { node_id: 0, ..good.clone() })),
        ("state_chunk.records.sequence", with(v1::StateRecord { sequence: 0, ..good.clone() })),
        ("state_chunk.records.change", with(v1::StateRecord { change: None, ..good.clone() })),
        ("state_chunk.records.key", with(v1::StateRecord { change: empty_key, ..good })),
    ];
    for (name, chunk) in cases {
        assert_eq!(field(Body::StateChunk(chunk)), name);
    }
}
