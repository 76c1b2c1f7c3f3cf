//! The stored forms of ids, stamps, keys, values and records.

use std::num::NonZeroU64;

use super::{bad, put_number, put_sized, Decoded, Fault, Reader, Stored};
use crate::{
    limits::{HELD_KEY_BYTES_MAX, PARTITIONS, SEQUENCE_MAX, VALUE_BYTES_MAX},
    types::{Change, Dot, Key, NodeId, PartitionId, Record, Sequence, StateRecord, Timestamp, Value},
};

/// Which of its optional fields a write has.
mod shape {
    /// A value, not a tombstone.
    pub(super) const VALUE: u8 = 1;
    /// Flags that are not 0.
    pub(super) const FLAGS: u8 = 2;
    /// An expiry.
    pub(super) const EXPIRES: u8 = 4;
}

/// What a write takes at most beside the bytes of its key and value: a dot, the shape, a timestamp, flags, an expiry and two
/// lengths.
const FRAMING_BYTES_MAX: usize = 8 + 9 + 1 + 8 + 5 + 10 + 3 + 2;

/// Everything of a write but its key and its dot.
struct Body<'a> {
    value: Option<&'a Value>,
    flags: u32,
    timestamp: Timestamp,
    expires_ms: Option<NonZeroU64>,
}

impl<'a> From<&'a Record> for Body<'a> {
    fn from(record: &'a Record) -> Body<'a> {
        let Record { ref value, flags, timestamp, dot: _, expires_ms } = *record;
        Body { value: value.as_ref(), flags, timestamp, expires_ms }
    }
}

impl<'a> From<&'a Change> for Body<'a> {
    fn from(change: &'a Change) -> Body<'a> {
        let Change { key: _, ref value, flags, timestamp, expires_ms } = *change;
        Body { value: value.as_ref(), flags, timestamp, expires_ms }
    }
}

#[inline]
fn put_body(buf: &mut Vec<u8>, body: &Body<'_>) {
    let bit = |is_set: bool, bit: u8| if is_set { bit } else { 0 };
    let shape = bit(body.value.is_some(), shape::VALUE)
        | bit(body.flags != 0, shape::FLAGS)
        | bit(body.expires_ms.is_some(), shape::EXPIRES);
    buf.push(shape);
    buf.extend_from_slice(&body.timestamp.0.to_le_bytes());
    if body.flags != 0 {
        put_number(buf, body.flags.into());
    }
    if let Some(expires_ms) = body.expires_ms {
        put_number(buf, expires_ms.get());
    }
    if let Some(value) = body.value {
        put_sized(buf, value);
    }
}

/// A body that was read. The fields of a [`Record`] but its dot.
type TakenBody = (Option<Value>, u32, Timestamp, Option<NonZeroU64>);

#[inline]
fn take_body(reader: &mut Reader<'_>) -> Decoded<TakenBody> {
    let shape = reader.take_u8("record.shape")?;
    if shape & !(shape::VALUE | shape::FLAGS | shape::EXPIRES) != 0 {
        return bad("record.shape", Fault::Invalid(shape.into()));
    }
    let timestamp = Timestamp(reader.take_u64("record.timestamp")?);
    let mut flags = 0;
    if shape & shape::FLAGS != 0 {
        flags = reader.take_number_u32("record.flags")?;
        if flags == 0 {
            return bad("record.flags", Fault::Invalid(0));
        }
    }
    let mut expires_ms = None;
    if shape & shape::EXPIRES != 0 {
        expires_ms = NonZeroU64::new(reader.take_number("record.expires_ms")?);
        if expires_ms.is_none() {
            return bad("record.expires_ms", Fault::Invalid(0));
        }
    }
    let value = if shape & shape::VALUE != 0 { Some(Value::take(reader)?) } else { None };
    Ok((value, flags, timestamp, expires_ms))
}

/// Appends a write without its dot: what [`Change::take`](Stored::take) reads. Makes no copy but into the buffer.
#[inline]
pub fn put_write(buf: &mut Vec<u8>, key: &Key, record: &Record) {
    buf.reserve(key.len() + record.value_bytes() + FRAMING_BYTES_MAX);
    key.put(buf);
    put_body(buf, &record.into());
}

/// Appends a key and its record: what [`StateRecord::take`](Stored::take) reads.
#[inline]
pub fn put_keyed(buf: &mut Vec<u8>, key: &Key, record: &Record) {
    buf.reserve(key.len() + record.value_bytes() + FRAMING_BYTES_MAX);
    key.put(buf);
    record.put(buf);
}

/// Reads a key and its record. Allocates the value, and the key when it is long, and nothing else.
///
/// # Errors
/// Names the first field that breaks a rule.
#[inline]
pub fn take_keyed(reader: &mut Reader<'_>) -> Decoded<(Key, Record)> {
    Ok((Key::take(reader)?, Record::take(reader)?))
}

impl Stored for Key {
    const BYTES_LEAST: usize = 2;

    #[inline]
    fn put(&self, buf: &mut Vec<u8>) {
        put_sized(buf, self);
    }

    #[inline]
    fn take(reader: &mut Reader<'_>) -> Decoded<Key> {
        let bytes = reader.take_sized("key", HELD_KEY_BYTES_MAX)?;
        // Of its two bounds the upper one was checked.
        Key::held(bytes).or(bad("key", Fault::Invalid(0)))
    }
}

impl Stored for Value {
    const BYTES_LEAST: usize = 1;

    #[inline]
    fn put(&self, buf: &mut Vec<u8>) {
        put_sized(buf, self);
    }

    #[inline]
    fn take(reader: &mut Reader<'_>) -> Decoded<Value> {
        let bytes = reader.take_sized("value", VALUE_BYTES_MAX)?;
        let too_large = Fault::TooLarge { found: bytes.len() as u64, limit: VALUE_BYTES_MAX as u64 };
        Value::new(bytes).or(bad("value", too_large))
    }
}

impl Stored for Timestamp {
    const BYTES_LEAST: usize = 8;

    fn put(&self, buf: &mut Vec<u8>) {
        buf.extend_from_slice(&self.0.to_le_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Timestamp> {
        reader.take_u64("timestamp").map(Timestamp)
    }
}

impl Stored for NodeId {
    const BYTES_LEAST: usize = 8;

    #[inline]
    fn put(&self, buf: &mut Vec<u8>) {
        buf.extend_from_slice(&self.0.to_le_bytes());
    }

    #[inline]
    fn take(reader: &mut Reader<'_>) -> Decoded<NodeId> {
        match reader.take_u64("node")? {
            0 => bad("node", Fault::Invalid(0)),
            id => Ok(NodeId(id)),
        }
    }
}

impl Stored for PartitionId {
    const BYTES_LEAST: usize = 2;

    fn put(&self, buf: &mut Vec<u8>) {
        buf.extend_from_slice(&self.0.to_le_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<PartitionId> {
        match reader.take_u16("partition")? {
            id if id < PARTITIONS => Ok(PartitionId(id)),
            id => bad("partition", Fault::TooLarge { found: id.into(), limit: u64::from(PARTITIONS) - 1 }),
        }
    }
}

impl Stored for Sequence {
    const BYTES_LEAST: usize = 1;

    #[inline]
    fn put(&self, buf: &mut Vec<u8>) {
        put_number(buf, self.0);
    }

    #[inline]
    fn take(reader: &mut Reader<'_>) -> Decoded<Sequence> {
        match reader.take_number("sequence")? {
            // So that counting up from it cannot overflow.
            number if number <= SEQUENCE_MAX => Ok(Sequence(number)),
            found => bad("sequence", Fault::TooLarge { found, limit: SEQUENCE_MAX }),
        }
    }
}

impl Stored for Dot {
    const BYTES_LEAST: usize = NodeId::BYTES_LEAST + Sequence::BYTES_LEAST;

    #[inline]
    fn put(&self, buf: &mut Vec<u8>) {
        self.node.put(buf);
        self.sequence.put(buf);
    }

    #[inline]
    fn take(reader: &mut Reader<'_>) -> Decoded<Dot> {
        let dot = Dot { node: NodeId::take(reader)?, sequence: Sequence::take(reader)? };
        if dot.sequence == Sequence::ZERO {
            return bad("dot.sequence", Fault::Invalid(0));
        }
        Ok(dot)
    }
}

impl Stored for Record {
    const BYTES_LEAST: usize = Dot::BYTES_LEAST + 1 + Timestamp::BYTES_LEAST;

    #[inline]
    fn put(&self, buf: &mut Vec<u8>) {
        self.dot.put(buf);
        put_body(buf, &self.into());
    }

    #[inline]
    fn take(reader: &mut Reader<'_>) -> Decoded<Record> {
        let dot = Dot::take(reader)?;
        let (value, flags, timestamp, expires_ms) = take_body(reader)?;
        Ok(Record { value, flags, timestamp, dot, expires_ms })
    }
}

impl Stored for StateRecord {
    const BYTES_LEAST: usize = Key::BYTES_LEAST + Record::BYTES_LEAST;

    fn put(&self, buf: &mut Vec<u8>) {
        put_keyed(buf, &self.key, &self.record);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<StateRecord> {
        take_keyed(reader).map(|(key, record)| StateRecord { key, record })
    }
}

impl Stored for Change {
    const BYTES_LEAST: usize = Key::BYTES_LEAST + 1 + Timestamp::BYTES_LEAST;

    fn put(&self, buf: &mut Vec<u8>) {
        self.key.put(buf);
        put_body(buf, &self.into());
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Change> {
        let key = Key::take(reader)?;
        let (value, flags, timestamp, expires_ms) = take_body(reader)?;
        Ok(Change { key, value, flags, timestamp, expires_ms })
    }
}
