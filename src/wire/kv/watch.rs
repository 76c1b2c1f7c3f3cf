//! Watches: requests, pages, and positions as the bytes that programs keep.

use prost::Message;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use super::{answers::decode_entry, bad, encode_entry, v1};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{self, WATCH_PAGE_EVENTS_MAX, WATCH_POSITION_BYTES_MAX, WATCH_POSITION_ENTRIES_MAX},
    types::{
        Dot, Entry, Key, PartitionId, Timestamp, VersionVector, WatchChange, WatchEvent, WatchFilter, WatchPage,
        WatchPosition, WatchRequest, WatchStart, DEFAULT_KEYSPACE,
    },
    wire::{
        convert::{check_count, required, to_node, to_partition, to_sequence},
        ConvertError,
    },
};

/// The first byte of a position: how the rest is to be read.
const POSITION_FORMAT: u8 = 1;

/// A position as bytes that say nothing to anyone else. Only a watch of the same keyspace with the same filter takes
/// them back.
pub fn encode_position(keyspace: &str, filter: &WatchFilter, position: &WatchPosition) -> Vec<u8> {
    let message = v1::WatchPosition { marks: from_position(position), filter_hash: filter_hash(keyspace, filter) };
    let mut bytes = vec![POSITION_FORMAT];
    bytes.extend(message.encode_to_vec());
    bytes
}

/// The position in bytes that [`encode_position`] made.
///
/// # Errors
/// `INVALID_ARGUMENT` when they are none, or of a watch with another filter.
pub fn decode_position(keyspace: &str, filter: &WatchFilter, bytes: &[u8]) -> Result<WatchPosition> {
    let invalid = |why: &str| Error::new(ErrorCode::InvalidArgument, format!("since: {why}"));
    let (&format, rest) = bytes.split_first().ok_or_else(|| invalid("is empty"))?;
    if format != POSITION_FORMAT || bytes.len() > WATCH_POSITION_BYTES_MAX {
        return Err(invalid("is no position of a watch"));
    }
    let message = v1::WatchPosition::decode(rest).map_err(|_| invalid("is no position of a watch"))?;
    if message.filter_hash != filter_hash(keyspace, filter) {
        return Err(invalid("is the position of a watch of another keyspace, key or prefix"));
    }
    to_position(message.marks).map_err(|error| invalid(&error.to_string()))
}

/// Tells filters apart, and keyspaces; an empty name means `default`.
fn filter_hash(keyspace: &str, filter: &WatchFilter) -> u64 {
    let (kind, bytes): (u8, &[u8]) = match filter {
        WatchFilter::All => (0, &[]),
        WatchFilter::Key(key) => (1, key),
        WatchFilter::Prefix(prefix) => (2, prefix),
    };
    let hash = xxh3_64(&[&[kind], bytes].concat());
    match keyspace {
        "" | DEFAULT_KEYSPACE => hash,
        name => xxh3_64_with_seed(name.as_bytes(), hash),
    }
}

/// The message that asks for a watch of a keyspace; an empty name means `default`.
pub fn encode_watch(keyspace: &str, request: &WatchRequest) -> v1::WatchRequest {
    use v1::watch_request::Filter;
    let filter = match &request.filter {
        WatchFilter::All => None,
        WatchFilter::Key(key) => Some(Filter::Key(key.to_bytes())),
        WatchFilter::Prefix(prefix) => Some(Filter::Prefix(prefix.clone().into())),
    };
    let (since, initial) = match &request.start {
        WatchStart::Now => (None, false),
        WatchStart::Initial => (None, true),
        WatchStart::After(position) => (Some(position), false),
        WatchStart::InitialAfter(position) => (Some(position), true),
    };
    let since = since.map(|position| v1::WatchPosition { marks: from_position(position), filter_hash: 0 });
    v1::WatchRequest { keyspace: keyspace.to_string(), filter, since, initial }
}

/// What a message asks to watch.
///
/// # Errors
/// `KEY_EMPTY`, `KEY_TOO_LONG`, `MALFORMED_MESSAGE`.
pub fn decode_watch(request: v1::WatchRequest) -> Result<WatchRequest> {
    use v1::watch_request::Filter;
    let filter = match request.filter {
        None => WatchFilter::All,
        Some(Filter::Key(key)) => WatchFilter::Key(Key::new(&key)?),
        Some(Filter::Prefix(prefix)) => watch_prefix(&prefix)?,
    };
    let since = request.since.map(|since| to_position(since.marks)).transpose()?;
    let start = match (since, request.initial) {
        (None, false) => WatchStart::Now,
        (None, true) => WatchStart::Initial,
        (Some(position), false) => WatchStart::After(position),
        (Some(position), true) => WatchStart::InitialAfter(position),
    };
    Ok(WatchRequest { filter, start })
}

/// The filter for a prefix; the empty one means every key.
fn watch_prefix(prefix: &[u8]) -> Result<WatchFilter> {
    if prefix.len() > limits::KEY_BYTES_MAX {
        let text = format!("prefix: {} bytes, the limit is {}", prefix.len(), limits::KEY_BYTES_MAX);
        return Err(Error::new(ErrorCode::KeyTooLong, text));
    }
    Ok(if prefix.is_empty() { WatchFilter::All } else { WatchFilter::Prefix(prefix.to_vec()) })
}

/// A page; its values are shared, not copied.
pub fn encode_watch_page(page: WatchPage) -> v1::WatchPage {
    let marks = page.marks.iter().map(|(partition, vector)| from_mark(*partition, vector)).collect();
    let events = page.events.into_iter().map(encode_event).collect();
    v1::WatchPage { events, marks, initial_done: page.is_initial_done }
}

fn encode_event(event: WatchEvent) -> v1::WatchEvent {
    use v1::watch_event::Type;
    let bare = |key, version: Timestamp| v1::Entry {
        key,
        version: version.0,
        modified_ms: version.millis(),
        ..v1::Entry::default()
    };
    let (kind, entry) = match event.change {
        WatchChange::Put(entry) => (Type::Put, encode_entry(entry)),
        WatchChange::Delete { key, version } => (Type::Delete, bare(key, version)),
        WatchChange::Expire { key, version } => (Type::Expire, bare(key, version)),
    };
    v1::WatchEvent {
        r#type: kind.into(),
        entry: Some(entry),
        partition: event.partition.0.into(),
        node_id: event.dot.node.0,
        sequence: event.dot.sequence.0,
        initial: event.is_initial,
    }
}

/// The page of a message; its values share those of the message.
///
/// # Errors
/// Names the field that breaks a rule.
pub fn decode_watch_page(page: v1::WatchPage) -> Result<WatchPage, ConvertError> {
    check_count("events", page.events.len(), WATCH_PAGE_EVENTS_MAX)?;
    let mut decoded = WatchPage { is_initial_done: page.initial_done, ..WatchPage::default() };
    for event in page.events {
        decoded.events.push(decode_event(event)?);
    }
    let marks = to_position(page.marks)?;
    decoded.marks = marks.iter().map(|(partition, vector)| (partition, vector.clone())).collect();
    Ok(decoded)
}

fn decode_event(event: v1::WatchEvent) -> Result<WatchEvent, ConvertError> {
    use v1::watch_event::Type;
    let kind = event.r#type();
    let Entry { key, version, .. } = &required("events.entry", event.entry.clone()).and_then(decode_entry)?;
    let change = match kind {
        Type::Put => WatchChange::Put(required("events.entry", event.entry).and_then(decode_entry)?),
        Type::Delete => WatchChange::Delete { key: key.clone(), version: *version },
        Type::Expire => WatchChange::Expire { key: key.clone(), version: *version },
        Type::Unspecified => return Err(bad("events.type", "is absent or of a kind this version does not know")),
    };
    let dot = Dot {
        node: to_node("events.node_id", event.node_id)?,
        sequence: to_sequence("events.sequence", event.sequence)?,
    };
    let partition = to_partition("events.partition", event.partition)?;
    Ok(WatchEvent { partition, dot, is_initial: event.initial, change })
}

fn from_position(position: &WatchPosition) -> Vec<v1::WatchMark> {
    position.iter().map(|(partition, vector)| from_mark(partition, vector)).collect()
}

fn from_mark(partition: PartitionId, vector: &VersionVector) -> v1::WatchMark {
    let entry = |(node, sequence): (crate::types::NodeId, crate::types::Sequence)| v1::WatchMarkEntry {
        node_id: node.0,
        sequence: sequence.0,
    };
    v1::WatchMark { partition: partition.0.into(), vector: vector.iter().map(entry).collect() }
}

fn to_position(marks: Vec<v1::WatchMark>) -> Result<WatchPosition, ConvertError> {
    check_count("marks.vector", marks.iter().map(|mark| mark.vector.len()).sum(), WATCH_POSITION_ENTRIES_MAX)?;
    let mut position = WatchPosition::new();
    for mark in marks {
        let partition = to_partition("marks.partition", mark.partition)?;
        for entry in mark.vector {
            let node = to_node("marks.vector.node_id", entry.node_id)?;
            let sequence = to_sequence("marks.vector.sequence", entry.sequence)?;
            position.pass(partition, Dot { node, sequence });
        }
    }
    Ok(position)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::types::{NodeId, Sequence};

    fn positions() -> impl Strategy<Value = WatchPosition> {
        let entry = (0u16..limits::PARTITIONS, 1u64..5, 1u64..1000);
        prop::collection::vec(entry, 0..20).prop_map(|entries| {
            let mut position = WatchPosition::new();
            for (partition, node, sequence) in entries {
                position.pass(PartitionId(partition), Dot { node: NodeId(node), sequence: Sequence(sequence) });
            }
            position
        })
    }

    fn filters() -> impl Strategy<Value = WatchFilter> {
        let bytes = || prop::collection::vec(any::<u8>(), 1..4);
        prop_oneof![
            Just(WatchFilter::All),
            bytes().prop_map(|key| WatchFilter::Key(Key::new(&key).unwrap())),
            bytes().prop_map(WatchFilter::Prefix),
        ]
    }

    fn starts() -> impl Strategy<Value = WatchStart> {
        prop_oneof![
            Just(WatchStart::Now),
            Just(WatchStart::Initial),
            positions().prop_map(WatchStart::After),
            positions().prop_map(WatchStart::InitialAfter),
        ]
    }

    fn events() -> impl Strategy<Value = WatchEvent> {
        let parts = (0u16..limits::PARTITIONS, 1u64..5, 1u64..9, any::<bool>(), 0u8..3, 1u64..1 << 40);
        parts.prop_map(|(partition, node, sequence, is_initial, kind, version)| {
            let (key, version) = (bytes::Bytes::from_static(b"key"), Timestamp(version));
            let put = || Entry {
                key: key.clone(),
                value: bytes::Bytes::from_static(b"value"),
                flags: 7,
                version,
                modified_ms: version.millis(),
                expires_ms: None,
            };
            let change = match kind {
                0 => WatchChange::Put(put()),
                1 => WatchChange::Delete { key: key.clone(), version },
                _ => WatchChange::Expire { key: key.clone(), version },
            };
            let dot = Dot { node: NodeId(node), sequence: Sequence(sequence) };
            WatchEvent { partition: PartitionId(partition), dot, is_initial, change }
        })
    }

    proptest! {
        #[test]
        fn a_request_survives_the_wire(filter in filters(), start in starts()) {
            let request = WatchRequest { filter, start };
            prop_assert_eq!(decode_watch(encode_watch("jobs", &request)), Ok(request));
        }

        #[test]
        fn a_page_survives_the_wire(
            events in prop::collection::vec(events(), 0..5), marks in positions(), is_initial_done: bool,
        ) {
            let marks = marks.iter().map(|(partition, vector)| (partition, vector.clone())).collect();
            let page = WatchPage { events, marks, is_initial_done };
            prop_assert_eq!(decode_watch_page(encode_watch_page(page.clone())), Ok(page));
        }

        #[test]
        fn a_position_comes_back_for_its_own_filter_only(filter in filters(), other in filters(), position in positions()) {
            let bytes = encode_position("", &filter, &position);
            prop_assert_eq!(decode_position("", &filter, &bytes), Ok(position));
            prop_assert_eq!(decode_position("default", &other, &bytes).is_ok(), filter == other);
            prop_assert!(decode_position("jobs", &filter, &bytes).is_err());
            let bytes = encode_position("jobs", &filter, &WatchPosition::new());
            prop_assert_eq!(["jobs", "tasks", ""].map(|name| decode_position(name, &filter, &bytes).is_ok()), [true, false, false]);
        }

        #[test]
        fn bytes_that_are_no_position_are_refused(bytes in prop::collection::vec(any::<u8>(), 0..64)) {
            let code = decode_position("jobs", &WatchFilter::All, &bytes).map_err(|error| error.code());
            prop_assert!(code.is_ok() || code == Err(ErrorCode::InvalidArgument));
        }
    }
}
