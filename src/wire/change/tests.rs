//! The bytes are those of generated code, both ways, whatever the bytes and however they lie in memory.

use ::bytes::Bytes;
use proptest::prelude::*;

use super::*;
use crate::limits::{HELD_KEY_BYTES_MAX, VALUE_BYTES_MAX};

/// What prost makes of the message in `peer.proto`.
#[derive(Clone, PartialEq, prost::Message)]
struct Generated {
    #[prost(bytes = "bytes", tag = "1")]
    key: Bytes,
    #[prost(bytes = "bytes", optional, tag = "2")]
    value: Option<Bytes>,
    #[prost(uint32, tag = "3")]
    flags: u32,
    #[prost(fixed64, tag = "4")]
    timestamp: u64,
    #[prost(uint64, optional, tag = "5")]
    expires_ms: Option<u64>,
}

impl From<&Change> for Generated {
    fn from(change: &Change) -> Generated {
        let bytes = |slice: &[u8]| Bytes::copy_from_slice(slice);
        Generated {
            key: bytes(change.key.as_slice()),
            value: change.value.as_ref().map(|value| bytes(value.as_slice())),
            flags: change.flags,
            timestamp: change.timestamp,
            expires_ms: change.expires_ms,
        }
    }
}

fn change() -> impl Strategy<Value = Change> {
    let key = prop_oneof![prop::collection::vec(any::<u8>(), 0..40), Just(vec![1; HELD_KEY_BYTES_MAX + 1])];
    let value = prop_oneof![prop::collection::vec(any::<u8>(), 0..300), Just(vec![2; VALUE_BYTES_MAX + 1])];
    let numbers = (prop_oneof![Just(0), any::<u32>()], prop_oneof![Just(0), any::<u64>()]);
    (key, prop::option::of(value), numbers, prop::option::of(any::<u64>())).prop_map(
        |(key, value, (flags, timestamp), expires_ms)| {
            let value = value.map(|value| Field::from(&value[..]));
            Change { key: Field::from(&key[..]), value, flags, timestamp, expires_ms }
        },
    )
}

/// Both decoders on the same bytes, which lie in two pieces.
fn decoded(bytes: &[u8], cut: usize) -> (Result<Generated, DecodeError>, Result<Generated, DecodeError>) {
    let (left, right) = bytes.split_at(cut.min(bytes.len()));
    let ours = Change::decode(left.chain(right)).map(|change| Generated::from(&change));
    (ours, Generated::decode(left.chain(right)))
}

proptest! {
    #[test]
    fn it_is_encoded_as_generated_code_does(change in change()) {
        let generated = Generated::from(&change);
        prop_assert_eq!(change.encoded_len(), generated.encoded_len());
        prop_assert_eq!(change.encode_to_vec(), generated.encode_to_vec());
    }

    #[test]
    fn it_is_decoded_as_generated_code_does_in_whichever_pieces(change in change(), cut in 0_usize..200) {
        let bytes = change.encode_to_vec();
        let (ours, theirs) = decoded(&bytes, cut);
        prop_assert_eq!(ours, theirs);
        prop_assert_eq!(Change::decode(&bytes[..]).unwrap(), change);
    }

    #[test]
    fn no_bytes_are_taken_otherwise_than_by_generated_code(
        tags in prop::collection::vec((0_u8..60, 0_u8..8), 0..6),
        noise in prop::collection::vec(any::<u8>(), 0..40),
        cut in 0_usize..60,
    ) {
        // A key of a field, a small number, then anything: often a field that is known, cut off or of another type.
        let mut bytes: Vec<u8> = tags.into_iter().flat_map(|(tag, small)| [tag, small]).collect();
        bytes.extend(noise);
        let (ours, theirs) = decoded(&bytes, cut);
        match (ours, theirs) {
            (Ok(ours), Ok(theirs)) => prop_assert_eq!(ours, theirs),
            (ours, theirs) => prop_assert_eq!(ours.is_err(), theirs.is_err()),
        }
    }

    #[test]
    fn a_field_knows_whether_it_keeps_within_its_bounds(bytes in prop::collection::vec(any::<u8>(), 0..30)) {
        let key = Field::<Key>::from(&bytes[..]);
        prop_assert_eq!(matches!(key, Field::Good(_)), !bytes.is_empty());
        prop_assert_eq!(key.take().is_ok(), !bytes.is_empty());
    }
}
