//! As for the messages between peers: identity, no panic, each bad field named.

use proptest::prelude::*;
use prost::Message;

use super::*;
use crate::types::{Address, NodeId, PartitionId};
use crate::types::{GroupMember, GroupRole, GroupStatus};

fn address() -> impl Strategy<Value = Address> {
    (1..=u16::MAX).prop_map(|port| Address::new("node.example.org", port).unwrap())
}

fn optional_node() -> impl Strategy<Value = Option<NodeId>> {
    prop::option::of((1..=u64::MAX).prop_map(NodeId))
}

fn peer() -> impl Strategy<Value = PeerStatus> {
    let state = prop_oneof![Just(PeerState::Connecting), Just(PeerState::Connected), Just(PeerState::Refused)];
    let skew = any::<(i64, u64, u64)>();
    (optional_node(), address(), state, any::<u64>(), any::<u32>(), ".{0,20}", skew).prop_map(
        |(node, address, state, unacknowledged, transfers, problem, skew)| PeerStatus {
            node,
            address,
            state,
            unacknowledged,
            transfers,
            problem,
            clock_offset_ms: skew.0,
            refuses_ms: skew.1,
            refused_ms: skew.2,
        },
    )
}

fn lag() -> impl Strategy<Value = ReplicationLag> {
    (any::<u64>(), 0.0..1e9, 0.0..1e9, 0.0..1e9).prop_map(|(samples, p50_ms, p99_ms, max_ms)| ReplicationLag {
        samples,
        p50_ms,
        p99_ms,
        max_ms,
    })
}

fn digest() -> impl Strategy<Value = PartitionDigest> {
    (0..PARTITIONS, any::<u64>(), any::<u64>()).prop_map(|(partition, digest, records)| PartitionDigest {
        partition: PartitionId(partition),
        digest,
        records,
    })
}

prop_compose! {
    fn storage()(
        durability in prop_oneof![Just(Durability::Sync), Just(Durability::Interval), Just(Durability::Memory)],
        state in prop::sample::select(&LogState::ALL[..]), problem in ".{0,20}", damage in prop::option::of(".{0,20}"),
        (log_bytes, snapshots, snapshot_bytes, syncs) in any::<(u64, u64, u64, u64)>(),
        (sync_p50_ms, sync_p99_ms) in (0.0..1e9, 0.0..1e9),
    ) -> StorageStatus {
        StorageStatus {
            durability, log_bytes, snapshots, snapshot_bytes, state, problem, damage, syncs, sync_p50_ms, sync_p99_ms,
        }
    }
}

prop_compose! {
    fn group()(
        role in prop::sample::select(&GroupRole::ALL[..]), leader in optional_node(),
        (term, last_index, applied_index, revision) in any::<(u64, u64, u64, u64)>(),
        (compacted, log_hash, elections, unheard_ms, failed) in any::<(u64, u64, u64, Option<u64>, bool)>(),
        (keys, bytes) in any::<(u64, u64)>(),
        members in prop::collection::vec((1..=u64::MAX, ".{0,20}", any::<bool>(), any::<Option<u64>>()), 0..4),
        problem in ".{0,20}",
    ) -> GroupStatus {
        let member = |(member, address, votes, lag)| GroupMember { member: NodeId(member), address, votes, lag };
        GroupStatus {
            role, leader, term, last_index, applied_index, revision, compacted, log_hash, elections, unheard_ms, keys, bytes,
            members: members.into_iter().map(member).collect(), failed, problem,
        }
    }
}

prop_compose! {
    fn status()(
        node in 1..=u64::MAX, address in address(), cluster in "[a-z]{1,64}", version in ".{0,10}", uptime_ms in any::<u64>(),
        (keys, bytes, tombstones) in any::<(u64, u64, u64)>(),
        (conflicts, conflicts_dropped, conflicts_inexact) in any::<(u64, u64, u64)>(),
        peers in prop::collection::vec(peer(), 0..4), replication_lag in lag(),
        digests in prop::collection::vec(digest(), 0..16), ready in any::<bool>(),
        (oldest_tombstone_ms, stable_lag_ms, divergences) in any::<(u64, u64, u64)>(),
        (repairs, expired, refused_writes) in any::<(u64, u64, u64)>(), held_back_by in prop::collection::vec(1..=u64::MAX, 0..3),
        (memory, max_memory, state_bytes, change_bytes) in any::<(u64, Option<u64>, u64, u64)>(),
        storage in prop::option::of(storage()), group in prop::option::of(group()),
        (removed, serving) in any::<(bool, bool)>(), default_keyspace in prop::sample::select(&DefaultKeyspace::ALL[..]), problems in prop::collection::vec(".{0,20}", 0..3),
    ) -> NodeStatus {
        let (node, uptime) = (NodeId(node), Duration::from_millis(uptime_ms));
        NodeStatus {
            node, address, cluster, version, uptime, keys, bytes, tombstones, conflicts, conflicts_dropped,
            conflicts_inexact, peers, replication_lag, digests, ready, oldest_tombstone_ms, stable_lag_ms, divergences,
            repairs, expired, refused_writes, held_back_by: held_back_by.into_iter().map(NodeId).collect(),
            memory, max_memory, state_bytes, change_bytes, storage, group, removed, default_keyspace,
            health: Health { serving, problems },
        }
    }
}

fn member() -> impl Strategy<Value = MemberStatus> {
    let state = prop::sample::select(&MemberState::ALL[..]);
    let parts = (optional_node(), address(), any::<bool>(), state, any::<(u64, u64, u64)>());
    parts.prop_map(|(node, address, connected, state, (since_ms, born_ms, behind))| MemberStatus {
        node,
        address,
        connected,
        state,
        since_ms,
        born_ms,
        behind,
    })
}

proptest! {
    #[test]
    fn every_status_comes_back_as_it_went_in(status in status()) {
        let wire = v1::StatusResponse::from(status.clone()).encode_to_vec();
        let decoded = NodeStatus::try_from(v1::StatusResponse::decode(&wire[..]).unwrap());
        prop_assert_eq!(decoded, Ok(status));
    }

    #[test]
    fn every_list_of_members_comes_back_as_it_went_in(members in prop::collection::vec(member(), 0..5)) {
        let wire = v1::MembersResponse::from(members.clone()).encode_to_vec();
        let decoded = Vec::<MemberStatus>::try_from(v1::MembersResponse::decode(&wire[..]).unwrap());
        prop_assert_eq!(decoded, Ok(members));
    }

    #[test]
    fn arbitrary_bytes_are_an_error_or_a_status_but_never_a_panic(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        if let Ok(wire) = v1::StatusResponse::decode(&bytes[..]) {
            // Either way is fine; what counts is that it returns.
            let _outcome = NodeStatus::try_from(wire);
        }
        if let Ok(wire) = v1::MembersResponse::decode(&bytes[..]) {
            // As above.
            let _outcome = Vec::<MemberStatus>::try_from(wire);
        }
    }
}

#[test]
fn each_bad_field_is_named() {
    let good = v1::StatusResponse { node_id: 1, address: "h:1".to_string(), ..v1::StatusResponse::default() };
    let good_peer = v1::PeerStatus { address: "h:1".to_string(), state: 1, ..v1::PeerStatus::default() };
    let with_peer = |peer| v1::StatusResponse { peers: vec![peer], ..good.clone() };
    let with_digests = |digests| v1::StatusResponse { digests, ..good.clone() };
    let digest = v1::PartitionDigest::default();
    let storage = v1::StorageStatus { durability: 1, state: 1, ..v1::StorageStatus::default() };
    let with_storage = |storage| v1::StatusResponse { storage: Some(storage), ..good.clone() };
    let cases = [
        ("node_id", v1::StatusResponse { node_id: 0, ..good.clone() }),
        ("address", v1::StatusResponse { address: "h".to_string(), ..good.clone() }),
        ("cluster", v1::StatusResponse { cluster: "c".repeat(65), ..good.clone() }),
        ("peers", v1::StatusResponse { peers: vec![good_peer.clone(); MEMBERS_MAX + 1], ..good.clone() }),
        ("held_back_by", v1::StatusResponse { held_back_by: vec![0], ..good.clone() }),
        ("held_back_by", v1::StatusResponse { held_back_by: vec![1; MEMBERS_MAX + 1], ..good.clone() }),
        ("peers.address", with_peer(v1::PeerStatus { address: String::new(), ..good_peer.clone() })),
        ("peers.state", with_peer(v1::PeerStatus { state: 0, ..good_peer.clone() })),
        ("peers.state", with_peer(v1::PeerStatus { state: 9, ..good_peer })),
        ("storage.durability", with_storage(v1::StorageStatus { durability: 0, ..storage.clone() })),
        ("storage.state", with_storage(v1::StorageStatus { state: 4, ..storage })),
        ("default_keyspace", v1::StatusResponse { default_keyspace: 4, ..good.clone() }),
        ("digests", with_digests(vec![digest; usize::from(PARTITIONS) + 1])),
        ("digests.partition", with_digests(vec![v1::PartitionDigest { partition: 16, ..digest }])),
    ];
    for (name, status) in cases {
        assert_eq!(NodeStatus::try_from(status).unwrap_err().field, name);
    }
    let member = v1::MemberStatus { address: "h:1".to_string(), state: 1, ..v1::MemberStatus::default() };
    let members = |members| Vec::<MemberStatus>::try_from(v1::MembersResponse { members });
    assert_eq!(members(vec![v1::MemberStatus::default()]).unwrap_err().field, "members.address");
    for state in [0, 7] {
        let stateless = v1::MemberStatus { state, ..member.clone() };
        assert_eq!(members(vec![stateless]).unwrap_err().field, "members.state");
    }
    assert_eq!(members(vec![member.clone(); 2 * MEMBERS_MAX + 2]).unwrap_err().field, "members");
    assert!(members(vec![member; 2 * MEMBERS_MAX + 1]).is_ok());
    let health = v1::Health { serving: true, problems: vec![String::new(); PROBLEMS_MAX + 1] };
    let sick = v1::StatusResponse { health: Some(health), ..good };
    assert_eq!(NodeStatus::try_from(sick).unwrap_err().field, "health.problems");
    let nobody = v1::RemoveMemberRequest { node_id: 0, force: true };
    assert_eq!(<(NodeId, bool)>::try_from(nobody).unwrap_err().field, "node_id");
}
