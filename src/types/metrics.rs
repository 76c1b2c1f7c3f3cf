//! Figures for machines that watch a node: series by name, as Prometheus writes them.

use std::collections::BTreeMap;

use super::{MemberState, MemberStatus, NodeStatus};

/// Every series of a node, from what it says of itself and of the members it knows.
pub fn metrics(status: &NodeStatus, members: &[MemberStatus]) -> BTreeMap<String, f64> {
    let lag = &status.replication_lag;
    let plain = [
        ("kvstore_keys", status.keys as f64),
        ("kvstore_bytes", status.bytes as f64),
        ("kvstore_tombstones", status.tombstones as f64),
        ("kvstore_conflicts_total", status.conflicts as f64),
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
    let peers = status.peers.iter().map(|peer| {
        // An address has no character that a label would have to escape.
        (format!("kvstore_peer_unacknowledged{{peer=\"{}\"}}", peer.address), peer.unacknowledged as f64)
    });
    let plain = plain.into_iter().map(|(name, value)| (name.to_string(), value));
    plain.chain(states).chain(peers).collect()
}
