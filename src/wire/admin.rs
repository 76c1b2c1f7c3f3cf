//! What operators are told: [`NodeStatus`] and [`MemberStatus`] <-> the messages of `admin.proto`.

mod group;
mod holdings;
mod monitor;
mod survey;

use std::time::Duration;

use self::group::{from_group, to_group};
pub use self::{
    monitor::check_sampling,
    survey::{check_share, check_survey},
};
use super::{
    convert::{
        bad, check_count, to_address, to_cluster, to_node, to_optional_node, to_partition, ConvertError, Converted,
    },
    v1,
};
use crate::{
    config::Durability,
    limits::{MEMBERS_MAX, PARTITIONS},
    types::{
        DefaultKeyspace, Health, LogState, MemberState, MemberStatus, NodeId, NodeStatus, PartitionDigest, PeerState,
        PeerStatus, ReplicationLag, StorageStatus,
    },
};

/// Problems of one node: a few of its own and one or two with each member.
const PROBLEMS_MAX: usize = 4 * MEMBERS_MAX;

impl From<NodeStatus> for v1::StatusResponse {
    fn from(status: NodeStatus) -> v1::StatusResponse {
        v1::StatusResponse {
            node_id: status.node.0,
            address: status.address.to_string(),
            cluster: status.cluster,
            version: status.version,
            uptime_ms: u64::try_from(status.uptime.as_millis()).unwrap_or(u64::MAX),
            keys: status.keys,
            bytes: status.bytes,
            tombstones: status.tombstones,
            peers: status.peers.into_iter().map(from_peer).collect(),
            replication_lag: Some(from_lag(status.replication_lag)),
            digests: status.digests.into_iter().map(from_digest).collect(),
            ready: status.ready,
            conflicts: status.conflicts,
            conflicts_dropped: status.conflicts_dropped,
            conflicts_inexact: status.conflicts_inexact,
            oldest_tombstone_ms: status.oldest_tombstone_ms,
            stable_lag_ms: status.stable_lag_ms,
            held_back_by: status.held_back_by.into_iter().map(|node| node.0).collect(),
            divergences: status.divergences,
            repairs: status.repairs,
            expired: status.expired,
            refused_writes: status.refused_writes,
            removed: status.removed,
            memory: status.memory,
            max_memory: status.max_memory,
            state_bytes: status.state_bytes,
            change_bytes: status.change_bytes,
            storage: status.storage.map(from_storage),
            group: status.group.map(from_group),
            default_keyspace: from_default_keyspace(status.default_keyspace).into(),
            health: Some(v1::Health { serving: status.health.serving, problems: status.health.problems }),
        }
    }
}

fn from_default_keyspace(default: DefaultKeyspace) -> v1::DefaultKeyspace {
    match default {
        DefaultKeyspace::Eventual => v1::DefaultKeyspace::Eventual,
        DefaultKeyspace::Undecided => v1::DefaultKeyspace::Undecided,
        DefaultKeyspace::Strong => v1::DefaultKeyspace::Strong,
    }
}

fn to_default_keyspace(number: i32) -> Converted<DefaultKeyspace> {
    if number == i32::from(v1::DefaultKeyspace::Unspecified) {
        return Ok(DefaultKeyspace::Eventual);
    }
    let known = |default: &DefaultKeyspace| i32::from(from_default_keyspace(*default)) == number;
    let unknown = || bad("default_keyspace", format!("{number} is not known"));
    DefaultKeyspace::ALL.into_iter().find(known).ok_or_else(unknown)
}

fn from_storage(storage: StorageStatus) -> v1::StorageStatus {
    v1::StorageStatus {
        durability: from_durability(storage.durability).into(),
        log_bytes: storage.log_bytes,
        snapshots: storage.snapshots,
        snapshot_bytes: storage.snapshot_bytes,
        state: from_log_state(storage.state).into(),
        problem: storage.problem,
        damage: storage.damage,
        syncs: storage.syncs,
        sync_p50_ms: storage.sync_p50_ms,
        sync_p99_ms: storage.sync_p99_ms,
    }
}

fn from_durability(durability: Durability) -> v1::Durability {
    match durability {
        Durability::Sync => v1::Durability::Sync,
        Durability::Interval => v1::Durability::Interval,
        Durability::Memory => v1::Durability::Memory,
    }
}

fn from_log_state(state: LogState) -> v1::LogState {
    match state {
        LogState::Ok => v1::LogState::Ok,
        LogState::Full => v1::LogState::Full,
        LogState::Failed => v1::LogState::Failed,
    }
}

fn from_peer(peer: PeerStatus) -> v1::PeerStatus {
    let state = match peer.state {
        PeerState::Connecting => v1::PeerState::Connecting,
        PeerState::Connected => v1::PeerState::Connected,
        PeerState::Refused => v1::PeerState::Refused,
    };
    v1::PeerStatus {
        node_id: peer.node.map_or(0, |node| node.0),
        address: peer.address.to_string(),
        state: state.into(),
        unacknowledged: peer.unacknowledged,
        transfers: peer.transfers,
        problem: peer.problem,
        clock_offset_ms: peer.clock_offset_ms,
        refuses_ms: peer.refuses_ms,
        refused_ms: peer.refused_ms,
    }
}

fn from_lag(lag: ReplicationLag) -> v1::ReplicationLag {
    v1::ReplicationLag { samples: lag.samples, p50_ms: lag.p50_ms, p99_ms: lag.p99_ms, max_ms: lag.max_ms }
}

fn from_digest(digest: PartitionDigest) -> v1::PartitionDigest {
    v1::PartitionDigest { partition: digest.partition.0.into(), digest: digest.digest, records: digest.records }
}

impl TryFrom<v1::StatusResponse> for NodeStatus {
    type Error = ConvertError;

    /// # Errors
    /// Names the first field that breaks a rule of `admin.proto`.
    fn try_from(status: v1::StatusResponse) -> Converted<NodeStatus> {
        check_count("peers", status.peers.len(), MEMBERS_MAX)?;
        check_count("held_back_by", status.held_back_by.len(), MEMBERS_MAX)?;
        check_count("digests", status.digests.len(), PARTITIONS.into())?;
        Ok(NodeStatus {
            node: to_node("node_id", status.node_id)?,
            address: to_address("address", &status.address)?,
            cluster: to_cluster("cluster", status.cluster)?,
            version: status.version,
            uptime: Duration::from_millis(status.uptime_ms),
            keys: status.keys,
            bytes: status.bytes,
            tombstones: status.tombstones,
            conflicts: status.conflicts,
            conflicts_dropped: status.conflicts_dropped,
            conflicts_inexact: status.conflicts_inexact,
            oldest_tombstone_ms: status.oldest_tombstone_ms,
            stable_lag_ms: status.stable_lag_ms,
            held_back_by: status
                .held_back_by
                .into_iter()
                .map(|id| to_node("held_back_by", id))
                .collect::<Converted<_>>()?,
            divergences: status.divergences,
            repairs: status.repairs,
            expired: status.expired,
            refused_writes: status.refused_writes,
            peers: status.peers.into_iter().map(to_peer).collect::<Converted<_>>()?,
            replication_lag: status.replication_lag.map(to_lag).unwrap_or_default(),
            digests: status.digests.into_iter().map(to_digest).collect::<Converted<_>>()?,
            ready: status.ready,
            removed: status.removed,
            memory: status.memory,
            max_memory: status.max_memory,
            state_bytes: status.state_bytes,
            change_bytes: status.change_bytes,
            storage: status.storage.map(to_storage).transpose()?,
            group: status.group.map(to_group).transpose()?,
            default_keyspace: to_default_keyspace(status.default_keyspace)?,
            health: status.health.map(to_health).transpose()?.unwrap_or_default(),
        })
    }
}

fn to_health(health: v1::Health) -> Converted<Health> {
    check_count("health.problems", health.problems.len(), PROBLEMS_MAX)?;
    Ok(Health { serving: health.serving, problems: health.problems })
}

fn to_storage(storage: v1::StorageStatus) -> Converted<StorageStatus> {
    let all = [Durability::Sync, Durability::Interval, Durability::Memory];
    let durability = all.into_iter().find(|&known| i32::from(from_durability(known)) == storage.durability);
    let state = LogState::ALL.into_iter().find(|&known| i32::from(from_log_state(known)) == storage.state);
    let unknown = |field, number| move || bad(field, format!("{number} is not known"));
    Ok(StorageStatus {
        durability: durability.ok_or_else(unknown("storage.durability", storage.durability))?,
        log_bytes: storage.log_bytes,
        snapshots: storage.snapshots,
        snapshot_bytes: storage.snapshot_bytes,
        state: state.ok_or_else(unknown("storage.state", storage.state))?,
        problem: storage.problem,
        damage: storage.damage,
        syncs: storage.syncs,
        sync_p50_ms: storage.sync_p50_ms,
        sync_p99_ms: storage.sync_p99_ms,
    })
}

fn to_peer(peer: v1::PeerStatus) -> Converted<PeerStatus> {
    let state = match v1::PeerState::try_from(peer.state) {
        Ok(v1::PeerState::Connecting) => PeerState::Connecting,
        Ok(v1::PeerState::Connected) => PeerState::Connected,
        Ok(v1::PeerState::Refused) => PeerState::Refused,
        Ok(v1::PeerState::Unspecified) | Err(_) => {
            return Err(bad("peers.state", format!("{} is no state", peer.state)))
        }
    };
    Ok(PeerStatus {
        node: to_optional_node(peer.node_id),
        address: to_address("peers.address", &peer.address)?,
        state,
        unacknowledged: peer.unacknowledged,
        transfers: peer.transfers,
        problem: peer.problem,
        clock_offset_ms: peer.clock_offset_ms,
        refuses_ms: peer.refuses_ms,
        refused_ms: peer.refused_ms,
    })
}

fn to_lag(lag: v1::ReplicationLag) -> ReplicationLag {
    ReplicationLag { samples: lag.samples, p50_ms: lag.p50_ms, p99_ms: lag.p99_ms, max_ms: lag.max_ms }
}

fn to_digest(digest: v1::PartitionDigest) -> Converted<PartitionDigest> {
    let partition = to_partition("digests.partition", digest.partition)?;
    Ok(PartitionDigest { partition, digest: digest.digest, records: digest.records })
}

impl From<Vec<MemberStatus>> for v1::MembersResponse {
    fn from(members: Vec<MemberStatus>) -> v1::MembersResponse {
        let from_member = |member: MemberStatus| v1::MemberStatus {
            node_id: member.node.map_or(0, |node| node.0),
            address: member.address.to_string(),
            connected: member.connected,
            state: from_member_state(member.state).into(),
            since_ms: member.since_ms,
            born_ms: member.born_ms,
            behind: member.behind,
        };
        v1::MembersResponse { members: members.into_iter().map(from_member).collect() }
    }
}

impl TryFrom<v1::MembersResponse> for Vec<MemberStatus> {
    type Error = ConvertError;

    /// # Errors
    /// Names the first field that breaks a rule of `admin.proto`.
    fn try_from(response: v1::MembersResponse) -> Converted<Vec<MemberStatus>> {
        // The node itself comes on top of those it remembers, and of the addresses where it reached nobody.
        check_count("members", response.members.len(), 2 * MEMBERS_MAX + 1)?;
        let to_member = |member: v1::MemberStatus| {
            let address = to_address("members.address", &member.address)?;
            Ok(MemberStatus {
                node: to_optional_node(member.node_id),
                address,
                connected: member.connected,
                state: to_member_state(member.state)?,
                since_ms: member.since_ms,
                born_ms: member.born_ms,
                behind: member.behind,
            })
        };
        response.members.into_iter().map(to_member).collect()
    }
}

fn from_member_state(state: MemberState) -> v1::MemberState {
    match state {
        MemberState::Unknown => v1::MemberState::Unknown,
        MemberState::Up => v1::MemberState::Up,
        MemberState::Suspected => v1::MemberState::Suspected,
        MemberState::Dead => v1::MemberState::Dead,
        MemberState::Left => v1::MemberState::Left,
        MemberState::Removed => v1::MemberState::Removed,
    }
}

fn to_member_state(state: i32) -> Converted<MemberState> {
    let found = MemberState::ALL.into_iter().find(|&known| i32::from(from_member_state(known)) == state);
    found.ok_or_else(|| bad("members.state", format!("{state} is no state")))
}

impl TryFrom<v1::RemoveMemberRequest> for (NodeId, bool) {
    type Error = ConvertError;

    /// # Errors
    /// When no node can have the id.
    fn try_from(request: v1::RemoveMemberRequest) -> Converted<(NodeId, bool)> {
        Ok((to_node("node_id", request.node_id)?, request.force))
    }
}

#[cfg(test)]
mod tests;
