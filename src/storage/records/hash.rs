//! What the digests add up: one hash a record.

use xxhash_rust::xxh3::Xxh3Default;

use crate::types::RecordRef;

/// A hash of everything a replica must agree on. Lengths come before bytes, so that no two records share an encoding.
pub(super) fn record_hash(key: &[u8], record: RecordRef<'_>) -> u64 {
    let mut hasher = Xxh3Default::new();
    hasher.update(&(key.len() as u64).to_le_bytes());
    hasher.update(key);
    hasher.update(&record.timestamp.0.to_le_bytes());
    hasher.update(&record.dot.node.0.to_le_bytes());
    hasher.update(&record.dot.sequence.0.to_le_bytes());
    hasher.update(&record.expires_ms.map_or(0, |ms| ms.get()).to_le_bytes());
    hasher.update(&record.flags.to_le_bytes());
    hasher.update(&[u8::from(record.value.is_some())]);
    if let Some(value) = record.value {
        hasher.update(value);
    }
    hasher.digest()
}

/// A hash of which write a record came from, without the bytes of its value; 0 for a tombstone. The key comes as its hash,
/// which the table has computed already: this runs in every put, in a few nanoseconds.
pub(super) fn write_hash(key_hash: u64, record: RecordRef<'_>) -> u64 {
    let Some(value) = record.value else { return 0 };
    let shape = u64::from(record.flags) << 32 | value.len() as u64;
    let expires_ms = record.expires_ms.map_or(0, |ms| ms.get());
    // Two multiplications that do not wait for each other; odd constants from the digits of pi keep zeros from the factors.
    let write = fold(key_hash ^ 0x243f_6a88_85a3_08d3, record.dot.node.0 ^ 0x1319_8a2e_0370_7345 ^ record.timestamp.0);
    let rest = fold(record.dot.sequence.0 ^ 0xa409_3822_299f_31d1, expires_ms ^ 0x082e_fa98_ec4e_6c89 ^ shape);
    fold(write ^ rest.rotate_left(32), key_hash ^ 0x4528_21e6_38d0_1377)
}

/// Both halves of a product, mixed.
fn fold(a: u64, b: u64) -> u64 {
    let product = u128::from(a) * u128::from(b);
    (product as u64) ^ ((product >> 64) as u64)
}
