//! One record in as few bytes as it needs.
//!
//! Most records have a short key, no end and one of the first few kinds of flags, were made by one of a handful of nodes,
//! and count below a trillion: such a record takes 40 bytes with its key, and the allocation of its value. Whatever does
//! not fit is kept whole in an allocation of its own, key included.

use std::{
    collections::BTreeMap,
    num::{NonZeroU64, NonZeroU8},
};

use crate::types::{Dot, Key, NodeId, Record, RecordRef, Sequence, Timestamp, Value};

/// Up to this many bytes a key lies in the slot.
const SHORT_KEY_BYTES: usize = 16;

/// Bits of a shape that hold the length of the key, 1 to 16; the flags are above them.
const KEY_LENGTH_BITS: u32 = 5;

/// The greatest flags that fit beside the length of the key.
const SHORT_FLAGS_MAX: u32 = 7;

/// Bytes of a sequence in a short form.
const SHORT_SEQUENCE_BYTES: usize = 5;

/// Where the parts of a long form begin: sequence, node, expiry (0: none), flags, key.
const LONG_NODE: usize = 8;
const LONG_EXPIRY: usize = 16;
const LONG_FLAGS: usize = 24;
const LONG_KEY: usize = 28;

/// The nodes that made the records of a partition. None is ever dropped: there is one for each incarnation of a node
/// that the cluster saw writing, which the version vectors keep too.
#[derive(Debug, Default)]
pub(super) struct Nodes {
    nodes: Vec<NodeId>,
    places: BTreeMap<NodeId, u16>,
    /// Most records come from whoever made the last one.
    recent: u16,
}

impl Nodes {
    /// The number of a node; `None` when there are too many of them.
    fn place(&mut self, node: NodeId) -> Option<u16> {
        if self.nodes.get(usize::from(self.recent)) == Some(&node) {
            return Some(self.recent);
        }
        self.recent = match self.places.get(&node) {
            Some(&place) => place,
            None => {
                let place = u16::try_from(self.nodes.len()).ok()?;
                self.nodes.push(node);
                self.places.insert(node, place);
                place
            }
        };
        Some(self.recent)
    }
}

/// A record and its key.
#[derive(Debug)]
pub(super) struct Slot {
    value: Option<Value>,
    timestamp: Timestamp,
    rest: Rest,
}

#[derive(Debug)]
enum Rest {
    Short {
        /// Flags and the length of the key, which is never 0.
        shape: NonZeroU8,
        /// The number of the node.
        node: [u8; 2],
        sequence: [u8; SHORT_SEQUENCE_BYTES],
        key: [u8; SHORT_KEY_BYTES],
    },
    Long(Box<[u8]>),
}

/// What the rest of a slot holds beside the key.
struct Details {
    dot: Dot,
    flags: u32,
    expires_ms: Option<NonZeroU64>,
}

impl Details {
    /// Shape, node and sequence as a short form has them, if there is one.
    fn short(&self, key_bytes: usize, nodes: &mut Nodes) -> Option<(NonZeroU8, [u8; 2], [u8; SHORT_SEQUENCE_BYTES])> {
        if key_bytes > SHORT_KEY_BYTES || self.flags > SHORT_FLAGS_MAX || self.expires_ms.is_some() {
            return None;
        }
        let shape = NonZeroU8::new(key_bytes as u8 | (self.flags as u8) << KEY_LENGTH_BITS)?;
        let [sequence @ .., 0, 0, 0] = self.dot.sequence.0.to_le_bytes() else { return None };
        Some((shape, nodes.place(self.dot.node)?.to_le_bytes(), sequence))
    }
}

impl Slot {
    pub(super) fn new(key: &Key, record: Record, nodes: &mut Nodes) -> Slot {
        let Record { value, flags, timestamp, dot, expires_ms } = record;
        Slot { value, timestamp, rest: Rest::new(key, &Details { dot, flags, expires_ms }, nodes) }
    }

    #[inline]
    pub(super) fn key(&self) -> &[u8] {
        self.rest.key()
    }

    #[inline]
    pub(super) fn record(&self, nodes: &Nodes) -> RecordRef<'_> {
        let Details { dot, flags, expires_ms } = self.rest.details(nodes);
        RecordRef { value: self.value.as_ref(), flags, timestamp: self.timestamp, dot, expires_ms }
    }

    /// Puts a record of the same key in, and gives the former one back.
    pub(super) fn replace(&mut self, record: Record, nodes: &mut Nodes) -> Record {
        let former = self.rest.details(nodes);
        let Record { value, flags, timestamp, dot, expires_ms } = record;
        let value = std::mem::replace(&mut self.value, value);
        let timestamp = std::mem::replace(&mut self.timestamp, timestamp);
        self.rest.replace(&Details { dot, flags, expires_ms }, nodes);
        Record { value, flags: former.flags, timestamp, dot: former.dot, expires_ms: former.expires_ms }
    }

    pub(super) fn into_record(self, nodes: &Nodes) -> Record {
        let Details { dot, flags, expires_ms } = self.rest.details(nodes);
        Record { value: self.value, flags, timestamp: self.timestamp, dot, expires_ms }
    }
}

impl Rest {
    fn new(key: &[u8], details: &Details, nodes: &mut Nodes) -> Rest {
        Rest::short(key, details, nodes).unwrap_or_else(|| Rest::long(key, details))
    }

    fn short(key: &[u8], details: &Details, nodes: &mut Nodes) -> Option<Rest> {
        let (shape, node, sequence) = details.short(key.len(), nodes)?;
        let mut padded = [0; SHORT_KEY_BYTES];
        padded[..key.len()].copy_from_slice(key);
        Some(Rest::Short { shape, node, sequence, key: padded })
    }

    fn long(key: &[u8], details: &Details) -> Rest {
        let mut bytes = vec![0; LONG_KEY + key.len()].into_boxed_slice();
        bytes[LONG_KEY..].copy_from_slice(key);
        write_long(&mut bytes, details);
        Rest::Long(bytes)
    }

    fn replace(&mut self, details: &Details, nodes: &mut Nodes) {
        let fitting = details.short(self.key().len(), nodes);
        match (&mut *self, fitting) {
            (Rest::Short { shape, node, sequence, .. }, Some(fitting)) => (*shape, *node, *sequence) = fitting,
            (Rest::Long(bytes), None) => write_long(bytes, details),
            (Rest::Short { .. }, None) | (Rest::Long(_), Some(_)) => *self = Rest::new(self.key(), details, nodes),
        }
    }

    #[inline]
    fn key(&self) -> &[u8] {
        match self {
            Rest::Short { shape, key, .. } => &key[..usize::from(shape.get() & ((1 << KEY_LENGTH_BITS) - 1))],
            Rest::Long(bytes) => &bytes[LONG_KEY..],
        }
    }

    #[inline]
    fn details(&self, nodes: &Nodes) -> Details {
        match self {
            Rest::Short { shape, node, sequence: [a, b, c, d, e], .. } => {
                let sequence = Sequence(u64::from_le_bytes([*a, *b, *c, *d, *e, 0, 0, 0]));
                let node = nodes.nodes[usize::from(u16::from_le_bytes(*node))];
                let flags = u32::from(shape.get() >> KEY_LENGTH_BITS);
                Details { dot: Dot { node, sequence }, flags, expires_ms: None }
            }
            Rest::Long(bytes) => {
                let word = |at: usize| u64::from_le_bytes(array_at(bytes, at));
                let dot = Dot { node: NodeId(word(LONG_NODE)), sequence: Sequence(word(0)) };
                let flags = u32::from_le_bytes(array_at(bytes, LONG_FLAGS));
                Details { dot, flags, expires_ms: NonZeroU64::new(word(LONG_EXPIRY)) }
            }
        }
    }
}

/// Writes everything of a long form but its key.
fn write_long(bytes: &mut [u8], details: &Details) {
    bytes[..LONG_NODE].copy_from_slice(&details.dot.sequence.0.to_le_bytes());
    bytes[LONG_NODE..LONG_EXPIRY].copy_from_slice(&details.dot.node.0.to_le_bytes());
    bytes[LONG_EXPIRY..LONG_FLAGS].copy_from_slice(&details.expires_ms.map_or(0, NonZeroU64::get).to_le_bytes());
    bytes[LONG_FLAGS..LONG_KEY].copy_from_slice(&details.flags.to_le_bytes());
}

fn array_at<const N: usize>(bytes: &[u8], at: usize) -> [u8; N] {
    bytes[at..at + N].try_into().expect("a slice of N bytes makes an array of N")
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn keys() -> impl Strategy<Value = Key> {
        let length = prop_oneof![1..20usize, 1..100usize];
        length
            .prop_flat_map(|length| prop::collection::vec(any::<u8>(), length))
            .prop_map(|key| Key::new(&key).unwrap())
    }

    /// Records on both sides of every edge between the forms.
    fn records() -> impl Strategy<Value = Record> {
        let value = prop::option::of(prop::collection::vec(any::<u8>(), 0..20));
        let flags = prop_oneof![0..10u32, any::<u32>()];
        let sequence = prop_oneof![1..100u64, (1 << 40) - 2..(1u64 << 40) + 2, 1..1u64 << 62];
        let node = prop_oneof![1..4u64, any::<u64>()];
        let expires_ms = prop_oneof![Just(0), any::<u64>()];
        (value, flags, any::<u64>(), sequence, node, expires_ms).prop_map(
            |(value, flags, timestamp, sequence, node, expires_ms)| Record {
                value: value.map(|value| Value::new(&value).unwrap()),
                flags,
                timestamp: Timestamp(timestamp),
                dot: Dot { node: NodeId(node), sequence: Sequence(sequence) },
                expires_ms: NonZeroU64::new(expires_ms),
            },
        )
    }

    proptest! {
        #[test]
        fn a_slot_gives_back_what_was_put_in(key in keys(), history in prop::collection::vec(records(), 1..6)) {
            let mut nodes = Nodes::default();
            let mut slot = Slot::new(&key, history[0].clone(), &mut nodes);
            for (former, next) in history.iter().zip(&history[1..]) {
                prop_assert_eq!(slot.record(&nodes), former.view());
                prop_assert_eq!(&slot.replace(next.clone(), &mut nodes), former);
                prop_assert_eq!(slot.key(), key.as_slice());
            }
            prop_assert_eq!(&slot.into_record(&nodes), &history[history.len() - 1]);
        }
    }

    #[test]
    fn nodes_beyond_the_numbers_are_kept_in_full() {
        let mut nodes = Nodes::default();
        let key = Key::new(b"k").unwrap();
        let of = |node| Record {
            value: None,
            flags: 0,
            timestamp: Timestamp(1),
            dot: Dot { node: NodeId(node), sequence: Sequence(1) },
            expires_ms: None,
        };
        let count = u64::from(u16::MAX) + 3;
        let slots: Vec<Slot> = (1..=count).map(|node| Slot::new(&key, of(node), &mut nodes)).collect();
        let long = slots.iter().filter(|slot| matches!(slot.rest, Rest::Long(_))).count();
        assert_eq!((nodes.nodes.len(), long), (1 << 16, 2));
        for (slot, node) in slots.iter().zip(1..) {
            assert_eq!(slot.record(&nodes), of(node).view());
        }
    }

    #[test]
    fn a_slot_takes_five_words() {
        assert_eq!(std::mem::size_of::<Slot>(), 40);
    }
}
