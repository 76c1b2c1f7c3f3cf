//! Figures for machines that watch a node: series by name, as Prometheus writes them.

use std::{collections::BTreeMap, fmt::Write};

use super::{
    GroupMember, GroupRole, GroupStatus, LogState, MemberState, MemberStatus, NodeStatus, PeerStatus, StorageStatus,
};

/// Every series of a node, from what it says of itself and of the members it knows.
pub fn metrics(status: &NodeStatus, members: &[MemberStatus]) -> BTreeMap<String, f64> {
    let lag = &status.replication_lag;
    let plain = [
        ("kvstore_keys", status.keys as f64),
        ("kvstore_bytes", status.bytes as f64),
        ("kvstore_tombstones", status.tombstones as f64),
        ("kvstore_memory_bytes", status.memory as f64),
        ("kvstore_transferred_bytes_total{kind=\"state\"}", status.state_bytes as f64),
        ("kvstore_transferred_bytes_total{kind=\"changes\"}", status.change_bytes as f64),
        ("kvstore_tombstone_oldest_seconds", status.oldest_tombstone_ms as f64 / 1000.0),
        ("kvstore_stable_lag_seconds", status.stable_lag_ms as f64 / 1000.0),
        ("kvstore_stability_held_back_by", status.held_back_by.len() as f64),
        ("kvstore_expired_total", status.expired as f64),
        ("kvstore_conflicts_total", status.conflicts as f64),
        ("kvstore_conflicts_dropped_total", status.conflicts_dropped as f64),
        ("kvstore_conflicts_inexact_total", status.conflicts_inexact as f64),
        ("kvstore_divergences_total", status.divergences as f64),
        ("kvstore_repairs_total", status.repairs as f64),
        ("kvstore_refused_writes_total", status.refused_writes as f64),
        ("kvstore_uptime_seconds", status.uptime.as_secs_f64()),
        ("kvstore_ready", f64::from(u8::from(status.ready))),
        ("kvstore_serving", f64::from(u8::from(status.health.serving))),
        ("kvstore_problems", status.health.problems.len() as f64),
        ("kvstore_replication_lag_samples", lag.samples as f64),
        ("kvstore_replication_lag_seconds{quantile=\"0.5\"}", lag.p50_ms / 1000.0),
        ("kvstore_replication_lag_seconds{quantile=\"0.99\"}", lag.p99_ms / 1000.0),
        ("kvstore_replication_lag_seconds{quantile=\"1\"}", lag.max_ms / 1000.0),
    ];
    let states = MemberState::ALL.map(|state| {
        let count = members.iter().filter(|member| member.state == state).count();
        (format!("kvstore_members{{state=\"{}\"}}", state.as_str()), count as f64)
    });
    // An address has no character that a label would have to escape.
    let of_peers = |name: &'static str, figure: fn(&PeerStatus) -> f64| {
        status.peers.iter().map(move |peer| (format!("{name}{{peer=\"{}\"}}", peer.address), figure(peer)))
    };
    let peers = of_peers("kvstore_peer_unacknowledged", |peer| peer.unacknowledged as f64)
        .chain(of_peers("kvstore_peer_clock_offset_seconds", |peer| peer.clock_offset_ms as f64 / 1000.0))
        .chain(of_peers("kvstore_peer_clock_skew_seconds", |peer| {
            peer.refuses_ms.max(peer.refused_ms) as f64 / 1000.0
        }));
    let plain = plain.into_iter().map(|(name, value)| (name.to_string(), value));
    let storage = status.storage.iter().flat_map(storage_metrics);
    let limit = status.max_memory.map(|bytes| ("kvstore_memory_limit_bytes".to_string(), bytes as f64));
    let group = status.group.iter().flat_map(group_metrics);
    plain.chain(states).chain(peers).chain(storage).chain(limit).chain(group).collect()
}

/// Series as Prometheus reads them: the text format 0.0.4. What only ever grows is called `_total`.
pub fn metrics_text(series: &BTreeMap<String, f64>) -> String {
    let mut text = String::new();
    let mut last = "";
    for (name, value) in series {
        let family = name.split_once('{').map_or(name.as_str(), |(family, _)| family);
        // All of a family are next to each other, as the format wants it: no name goes on with what is less than its labels.
        if family != last {
            let kind = if family.ends_with("_total") { "counter" } else { "gauge" };
            writeln!(text, "# TYPE {family} {kind}").expect("a String takes all");
            last = family;
        }
        writeln!(text, "{name} {value}").expect("a String takes all");
    }
    text
}

/// Those of a part of the strong group.
fn group_metrics(group: &GroupStatus) -> Vec<(String, f64)> {
    let voters = group.members.iter().filter(|member| member.votes).count();
    let plain = [
        ("kvstore_group_term", group.term as f64),
        ("kvstore_group_has_leader", f64::from(u8::from(group.leader.is_some()))),
        ("kvstore_group_elections_total", group.elections as f64),
        ("kvstore_group_last_index", group.last_index as f64),
        ("kvstore_group_applied_index", group.applied_index as f64),
        ("kvstore_group_revision", group.revision as f64),
        ("kvstore_group_compacted_revision", group.compacted as f64),
        ("kvstore_group_keys", group.keys as f64),
        ("kvstore_group_bytes", group.bytes as f64),
        ("kvstore_group_voters", voters as f64),
        ("kvstore_group_members", group.members.len() as f64),
    ];
    let roles = GroupRole::ALL.map(|role| {
        (format!("kvstore_group_role{{role=\"{}\"}}", role.as_str()), f64::from(u8::from(role == group.role)))
    });
    let lag = |member: &GroupMember| {
        Some((format!("kvstore_group_lag_entries{{peer=\"{}\"}}", member.address), member.lag? as f64))
    };
    let plain = plain.into_iter().map(|(name, value)| (name.to_string(), value));
    plain.chain(roles).chain(group.members.iter().filter_map(lag)).collect()
}

/// Those of a node that has a directory.
fn storage_metrics(storage: &StorageStatus) -> Vec<(String, f64)> {
    let plain = [
        ("kvstore_log_bytes", storage.log_bytes as f64),
        ("kvstore_log_syncs_total", storage.syncs as f64),
        ("kvstore_log_sync_seconds{quantile=\"0.5\"}", storage.sync_p50_ms / 1000.0),
        ("kvstore_log_sync_seconds{quantile=\"0.99\"}", storage.sync_p99_ms / 1000.0),
        ("kvstore_snapshots_total", storage.snapshots as f64),
        ("kvstore_snapshot_bytes", storage.snapshot_bytes as f64),
        ("kvstore_storage_damaged", f64::from(u8::from(storage.damage.is_some()))),
    ];
    let states = LogState::ALL.map(|state| {
        (format!("kvstore_log_state{{state=\"{}\"}}", state.as_str()), f64::from(u8::from(state == storage.state)))
    });
    plain.into_iter().map(|(name, value)| (name.to_string(), value)).chain(states).collect()
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::types::{Address, Health, NodeId, PeerState, ReplicationLag};

    fn a_status(address: &Address) -> NodeStatus {
        let peer = PeerStatus {
            node: None,
            address: address.clone(),
            state: PeerState::Connecting,
            unacknowledged: 5,
            transfers: 0,
            problem: String::new(),
            clock_offset_ms: -1500,
            refuses_ms: 0,
            refused_ms: 20_000,
        };
        NodeStatus {
            uptime: Duration::from_millis(1500),
            keys: 2,
            memory: 16,
            max_memory: Some(17),
            state_bytes: 18,
            change_bytes: 19,
            oldest_tombstone_ms: 10,
            stable_lag_ms: 11_000,
            held_back_by: vec![NodeId(2)],
            divergences: 12,
            refused_writes: 15,
            peers: vec![peer],
            replication_lag: ReplicationLag { samples: 9, p50_ms: 1.0, p99_ms: 2.0, max_ms: 3.0 },
            storage: Some(StorageStatus {
                log_bytes: 20,
                state: LogState::Full,
                sync_p99_ms: 21.0,
                ..StorageStatus::default()
            }),
            group: Some(GroupStatus {
                role: GroupRole::Leader,
                leader: Some(NodeId(1)),
                term: 22,
                applied_index: 23,
                elections: 24,
                keys: 26,
                bytes: 27,
                members: vec![GroupMember { member: NodeId(2), address: "h:2".into(), votes: true, lag: Some(25) }],
                ..GroupStatus::default()
            }),
            health: Health { serving: true, problems: vec!["p".into()] },
            ..NodeStatus::of_nothing(NodeId(1), address.clone())
        }
    }

    #[test]
    fn the_text_has_each_series_once_and_says_once_what_a_family_is() {
        let series = [
            ("kvstore_a", 1.5),
            ("kvstore_a_total", 3.0),
            ("kvstore_b{q=\"0.5\"}", 0.25),
            ("kvstore_b{q=\"1\"}", f64::from(u32::MAX)),
            ("kvstore_ba", 0.0),
        ];
        let text = metrics_text(&series.map(|(name, value)| (name.to_string(), value)).into());
        let expected = "# TYPE kvstore_a gauge\nkvstore_a 1.5\n\
                        # TYPE kvstore_a_total counter\nkvstore_a_total 3\n\
                        # TYPE kvstore_ba gauge\nkvstore_ba 0\n\
                        # TYPE kvstore_b gauge\nkvstore_b{q=\"0.5\"} 0.25\nkvstore_b{q=\"1\"} 4294967295\n";
        assert_eq!(text, expected);
    }

    #[test]
    fn every_series_of_a_node_is_in_its_text_and_no_family_is_torn_apart() {
        let found = metrics(&a_status(&Address::new("::1", 7).unwrap()), &[]);
        let text = metrics_text(&found);
        let kinds: Vec<&str> = text.lines().filter_map(|line| line.strip_prefix("# TYPE ")).collect();
        let mut families = kinds.clone();
        families.sort_unstable();
        families.dedup();
        assert_eq!(families.len(), kinds.len(), "{text}");
        let read = text.lines().filter(|line| !line.starts_with('#')).map(str::to_string);
        assert!(read.eq(found.iter().map(|(name, value)| format!("{name} {value}"))), "{text}");
    }

    #[test]
    fn every_series_has_the_figure_of_its_name() {
        let address = Address::new("::1", 7).unwrap();
        let status = a_status(&address);
        let member = MemberStatus {
            node: None,
            address,
            connected: false,
            state: MemberState::Dead,
            since_ms: 0,
            born_ms: 0,
            behind: 0,
        };
        let found = metrics(&status, &[member.clone(), member]);
        for (name, value) in [
            ("kvstore_keys", 2.0),
            ("kvstore_uptime_seconds", 1.5),
            ("kvstore_memory_bytes", 16.0),
            ("kvstore_memory_limit_bytes", 17.0),
            ("kvstore_transferred_bytes_total{kind=\"state\"}", 18.0),
            ("kvstore_transferred_bytes_total{kind=\"changes\"}", 19.0),
            ("kvstore_log_bytes", 20.0),
            ("kvstore_log_sync_seconds{quantile=\"0.99\"}", 0.021),
            ("kvstore_log_state{state=\"full\"}", 1.0),
            ("kvstore_log_state{state=\"ok\"}", 0.0),
            ("kvstore_storage_damaged", 0.0),
            ("kvstore_group_role{role=\"leader\"}", 1.0),
            ("kvstore_group_role{role=\"follower\"}", 0.0),
            ("kvstore_group_has_leader", 1.0),
            ("kvstore_group_term", 22.0),
            ("kvstore_group_applied_index", 23.0),
            ("kvstore_group_elections_total", 24.0),
            ("kvstore_group_voters", 1.0),
            ("kvstore_group_keys", 26.0),
            ("kvstore_group_bytes", 27.0),
            ("kvstore_group_lag_entries{peer=\"h:2\"}", 25.0),
            ("kvstore_tombstone_oldest_seconds", 0.01),
            ("kvstore_stable_lag_seconds", 11.0),
            ("kvstore_stability_held_back_by", 1.0),
            ("kvstore_divergences_total", 12.0),
            ("kvstore_refused_writes_total", 15.0),
            ("kvstore_peer_clock_offset_seconds{peer=\"[::1]:7\"}", -1.5),
            ("kvstore_peer_clock_skew_seconds{peer=\"[::1]:7\"}", 20.0),
            ("kvstore_serving", 1.0),
            ("kvstore_problems", 1.0),
            ("kvstore_members{state=\"dead\"}", 2.0),
            ("kvstore_members{state=\"up\"}", 0.0),
            ("kvstore_peer_unacknowledged{peer=\"[::1]:7\"}", 5.0),
            ("kvstore_replication_lag_seconds{quantile=\"0.99\"}", 0.002),
        ] {
            assert_eq!(found.get(name), Some(&value), "{name}");
        }
    }
}
