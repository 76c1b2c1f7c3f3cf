//! What is told as JSON. Versions are strings, and so is every integer beyond 2^53: a browser rounds such. Keys and values are what
//! anybody may have written, so they are told in a way that loses nothing: a key has an `id`, its bytes as a query wants them, and a
//! value says how it is told.

use std::time::Duration;

use serde_json::{json, Value};

use super::{
    data::{Ends, Found, Listing},
    query::encode,
};
use crate::{
    error::Error,
    limits::HTTP_VALUE_BYTES_MAX,
    types::{
        GroupMember, GroupStatus, LostWrite, MemberStatus, NodeStatus, PeerState, PeerStatus, StorageStatus,
        WatchChange,
    },
};

/// Grows when what was told before is told in another way.
pub(super) const SCHEMA: u32 = 1;

/// Integers up to this are exact in a browser.
const EXACT_MAX: u64 = 1 << 53;

/// A number, or its digits where a browser would round it.
pub(super) fn integer(number: u64) -> Value {
    if number <= EXACT_MAX {
        json!(number)
    } else {
        json!(number.to_string())
    }
}

fn seconds(duration: Duration) -> Value {
    json!(duration.as_secs_f64())
}

/// How a node is.
pub(super) fn status(status: &NodeStatus) -> Value {
    json!({
        "node": status.node.to_string(),
        "address": status.address.to_string(),
        "cluster": status.cluster,
        "version": status.version,
        "uptime_seconds": seconds(status.uptime),
        "ready": status.ready,
        "serving": status.health.serving,
        "removed": status.removed,
        "problems": status.health.problems,
        "default_consistency": status.default_keyspace.as_str(),
        "keys": integer(status.keys),
        "bytes": integer(status.bytes),
        "tombstones": integer(status.tombstones),
        "memory_bytes": integer(status.memory),
        "memory_limit_bytes": status.max_memory.map(integer),
        "conflicts": integer(status.conflicts),
        "conflicts_dropped": integer(status.conflicts_dropped),
        "divergences": integer(status.divergences),
        "repairs": integer(status.repairs),
        "expired": integer(status.expired),
        "refused_writes": integer(status.refused_writes),
        "stable_lag_seconds": status.stable_lag_ms as f64 / 1000.0,
        "held_back_by": status.held_back_by.iter().map(ToString::to_string).collect::<Vec<_>>(),
        "replication_lag": {
            "samples": integer(status.replication_lag.samples),
            "p50_ms": status.replication_lag.p50_ms,
            "p99_ms": status.replication_lag.p99_ms,
            "max_ms": status.replication_lag.max_ms,
        },
        "peers": status.peers.iter().map(peer).collect::<Vec<_>>(),
        "storage": status.storage.as_ref().map(storage),
        "group": status.group.as_ref().map(group),
    })
}

fn peer(peer: &PeerStatus) -> Value {
    let state = match peer.state {
        PeerState::Connecting => "connecting",
        PeerState::Connected => "connected",
        PeerState::Refused => "refused",
    };
    json!({
        "node": peer.node.map(|node| node.to_string()),
        "address": peer.address.to_string(),
        "state": state,
        "unacknowledged": integer(peer.unacknowledged),
        "transfers": peer.transfers,
        "problem": peer.problem,
        "clock_offset_ms": peer.clock_offset_ms,
    })
}

fn storage(storage: &StorageStatus) -> Value {
    json!({
        "durability": storage.durability.as_str(),
        "state": storage.state.as_str(),
        "problem": storage.problem,
        "damage": storage.damage,
        "log_bytes": integer(storage.log_bytes),
        "snapshot_bytes": integer(storage.snapshot_bytes),
        "snapshots": integer(storage.snapshots),
        "syncs": integer(storage.syncs),
        "sync_p50_ms": storage.sync_p50_ms,
        "sync_p99_ms": storage.sync_p99_ms,
    })
}

fn group(group: &GroupStatus) -> Value {
    let member = |member: &GroupMember| {
        json!({
            "node": member.member.to_string(),
            "address": member.address,
            "votes": member.votes,
            "lag_entries": member.lag.map(integer),
        })
    };
    json!({
        "role": group.role.as_str(),
        "leader": group.leader.map(|node| node.to_string()),
        "term": integer(group.term),
        "last_index": integer(group.last_index),
        "applied_index": integer(group.applied_index),
        "revision": group.revision.to_string(),
        "elections": integer(group.elections),
        "failed": group.failed,
        "problem": group.problem,
        "members": group.members.iter().map(member).collect::<Vec<_>>(),
    })
}

/// A member, as the node knows it.
pub(super) fn member(member: &MemberStatus) -> Value {
    json!({
        "node": member.node.map(|node| node.to_string()),
        "address": member.address.to_string(),
        "connected": member.connected,
        "state": member.state.as_str(),
        "since_ms": integer(member.since_ms),
        "behind": integer(member.behind),
    })
}

/// A page of keys, without their values.
pub(super) fn listing(listing: &Listing) -> Value {
    let folder = |folder: &Vec<u8>| json!({ "folder": String::from_utf8_lossy(folder), "id": encode(folder) });
    json!({
        "schema": SCHEMA,
        "folders": listing.folders.iter().map(folder).collect::<Vec<_>>(),
        "keys": listing.keys.iter().map(facts).map(Value::Object).collect::<Vec<_>>(),
        "next": listing.next.as_ref().map(|next| encode(next)),
    })
}

/// A key with its value.
pub(super) fn entry(found: &Found) -> Value {
    let mut told = facts(found);
    told.insert("schema".to_string(), json!(SCHEMA));
    let (encoding, value, is_whole) = value(&found.value, found.flags);
    told.insert("value".to_string(), value);
    told.insert("encoding".to_string(), json!(encoding));
    told.insert("truncated".to_string(), json!(!is_whole));
    Value::Object(told)
}

fn facts(found: &Found) -> serde_json::Map<String, Value> {
    let (expires_ms, ttl_ms, lease) = match found.ends {
        Ends::Never => (Value::Null, Value::Null, Value::Null),
        Ends::At(at_ms) => (integer(at_ms), Value::Null, Value::Null),
        Ends::In(left_ms) => (Value::Null, integer(left_ms), Value::Null),
        Ends::WithLease(lease) => (Value::Null, Value::Null, json!(lease.to_string())),
    };
    let facts = [
        ("key", json!(String::from_utf8_lossy(&found.key))),
        ("id", json!(encode(&found.key))),
        ("bytes", json!(found.value.len())),
        ("type", json!(kind(found.flags))),
        ("flags", json!(found.flags)),
        ("version", json!(found.version.to_string())),
        ("modified_ms", integer(found.modified_ms)),
        ("expires_ms", expires_ms),
        ("ttl_ms", ttl_ms),
        ("lease", lease),
    ];
    facts.into_iter().map(|(name, value)| (name.to_string(), value)).collect()
}

/// What the flags of the AUTO codec say of a value.
fn kind(flags: u32) -> &'static str {
    match flags {
        0 => "bytes",
        1 => "str",
        2 => "int",
        3 => "float",
        4 => "bool",
        5 => "json",
        _ => "custom",
    }
}

/// How a value is told, the value, and whether that is all of it. One that is not what its flags say is told as bytes.
fn value(bytes: &[u8], flags: u32) -> (&'static str, Value, bool) {
    let word = || <[u8; 8]>::try_from(bytes).ok();
    let plain = match kind(flags) {
        "int" => word().map(|word| json!(i64::from_le_bytes(word).to_string())),
        // What JSON has no number for has a name.
        "float" => word().map(|word| json!(f64::from_le_bytes(word).to_string())),
        "bool" => <[u8; 1]>::try_from(bytes).ok().map(|[byte]| json!((byte != 0).to_string())),
        _ => None,
    };
    if let Some(plain) = plain {
        return ("text", plain, true);
    }
    let shown = &bytes[..bytes.len().min(HTTP_VALUE_BYTES_MAX)];
    let is_whole = shown.len() == bytes.len();
    let text = matches!(kind(flags), "str" | "json").then(|| text_of(shown, is_whole)).flatten();
    match text {
        Some(text) => (if kind(flags) == "json" { "json" } else { "text" }, json!(text), is_whole),
        None => ("base64", json!(base64(shown)), is_whole),
    }
}

/// The text that bytes are; where they were cut, without a character that was.
fn text_of(shown: &[u8], is_whole: bool) -> Option<&str> {
    match std::str::from_utf8(shown) {
        Ok(text) => Some(text),
        Err(error) if !is_whole && error.error_len().is_none() => {
            std::str::from_utf8(&shown[..error.valid_up_to()]).ok()
        }
        Err(_) => None,
    }
}

/// RFC 4648, 4.
fn base64(bytes: &[u8]) -> String {
    const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for chunk in bytes.chunks(3) {
        let byte = |at: usize| u32::from(chunk.get(at).copied().unwrap_or_default());
        let word = byte(0) << 16 | byte(1) << 8 | byte(2);
        for place in 0..4 {
            let digit = DIGITS[(word >> (18 - 6 * place) & 63) as usize];
            text.push(if place <= chunk.len() { char::from(digit) } else { '=' });
        }
    }
    text
}

/// A write that was lost, without its value.
pub(super) fn conflict(write: &LostWrite) -> Value {
    let bytes = |entry: &Option<crate::types::Entry>| entry.as_ref().map(|entry| entry.value.len());
    json!({
        "key": String::from_utf8_lossy(&write.key),
        "id": encode(&write.key),
        "noticed_ms": integer(write.noticed_ms),
        "node": write.node.to_string(),
        "lost_version": write.lost_version.to_string(),
        "won_version": write.won_version.to_string(),
        "lost_bytes": bytes(&write.lost),
        "won_bytes": bytes(&write.won),
    })
}

/// Something that happened to a key of an eventual keyspace.
pub(super) fn change(change: &WatchChange) -> Value {
    match change {
        WatchChange::Put(entry) => event("put", &entry.key, entry.version.0, Some((entry.value.len(), entry.flags))),
        WatchChange::Delete { key, version } => event("delete", key, version.0, None),
        WatchChange::Expire { key, version } => event("expire", key, version.0, None),
    }
}

/// Something that happened to a key.
pub(super) fn event(what: &str, key: &[u8], version: u64, value: Option<(usize, u32)>) -> Value {
    json!({
        "event": what,
        "key": String::from_utf8_lossy(key),
        "id": encode(key),
        "version": version.to_string(),
        "bytes": value.map(|(bytes, _)| bytes),
        "type": value.map(|(_, flags)| kind(flags)),
    })
}

/// Why something could not be told.
pub(super) fn error(error: &Error) -> Value {
    let told = json!({ "kind": error.kind().as_str(), "code": error.code().as_str(), "message": error.message() });
    json!({ "schema": SCHEMA, "error": told })
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;

    fn found(key: &[u8], bytes: &[u8], flags: u32) -> Found {
        let (key, value) = (Bytes::copy_from_slice(key), Bytes::copy_from_slice(bytes));
        Found { key, value, flags, version: u64::MAX, modified_ms: 7, ends: Ends::In(1 << 60) }
    }

    #[test]
    fn each_type_is_told_as_what_it_is() {
        let cases: [(&[u8], u32, &str, &str); 11] = [
            (b"a<b>", 1, "text", "a<b>"),
            (b"{\"a\": 9007199254740993}", 5, "json", "{\"a\": 9007199254740993}"),
            (&i64::MIN.to_le_bytes(), 2, "text", "-9223372036854775808"),
            (&f64::NAN.to_le_bytes(), 3, "text", "NaN"),
            (&1.5f64.to_le_bytes(), 3, "text", "1.5"),
            (&[1], 4, "text", "true"),
            (b"ab", 0, "base64", "YWI="),
            (b"abc", 256, "base64", "YWJj"),
            (b"", 0, "base64", ""),
            // Not what the flags say.
            (b"\xff\xfe\xfd\xfc", 1, "base64", "//79/A=="),
            (b"abc", 2, "base64", "YWJj"),
        ];
        for (bytes, flags, encoding, expected) in cases {
            let told = entry(&found(b"k", bytes, flags));
            assert_eq!((&told["encoding"], &told["value"]), (&json!(encoding), &json!(expected)), "{bytes:?}");
            assert_eq!(told["truncated"], json!(false));
        }
    }

    #[test]
    fn a_large_value_is_cut_between_characters() {
        let text = "\u{20ac}".repeat(HTTP_VALUE_BYTES_MAX);
        let told = entry(&found(b"k", text.as_bytes(), 1));
        let shown = told["value"].as_str().unwrap();
        assert!(text.starts_with(shown) && HTTP_VALUE_BYTES_MAX - shown.len() < 3, "{}", shown.len());
        assert_eq!((&told["truncated"], &told["bytes"]), (&json!(true), &json!(text.len())));
    }

    #[test]
    fn what_a_browser_would_round_or_lose_is_a_string() {
        let told = entry(&found(b"\xff\"</script>", b"", 0));
        assert_eq!(told["version"], json!("18446744073709551615"));
        assert_eq!(told["ttl_ms"], json!((1u64 << 60).to_string()));
        assert_eq!(told["id"], json!("%FF%22%3C%2Fscript%3E"));
        assert_eq!(told["key"], json!("\u{fffd}\"</script>"));
        assert_eq!((integer(1 << 53), integer((1 << 53) + 1)), (json!(9007199254740992u64), json!("9007199254740993")));
    }
}
