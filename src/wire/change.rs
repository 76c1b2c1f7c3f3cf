//! `kvstore.v1.Change`, encoded straight from a key and value of the store and decoded straight into them.
//!
//! Generated code holds both as `Bytes`: two allocations for each write and peer, and as many on the other side, which was a
//! fifth of the processor time of replication. What goes over the wire is the same; the tests compare with generated code.

use std::hash;

use ::bytes::{Buf, BufMut, Bytes};
use prost::{
    encoding::{
        bytes, check_wire_type, decode_varint, encode_key, encode_varint, encoded_len_varint, fixed64, key_len,
        skip_field, uint32, uint64, DecodeContext, WireType,
    },
    DecodeError, Message,
};

use crate::{
    error::Result,
    types::{Key, Value},
};

const KEY: u32 = 1;
const VALUE: u32 = 2;
const FLAGS: u32 = 3;
const TIMESTAMP: u32 = 4;
const EXPIRES_MS: u32 = 5;

/// A key or a value in a message, whether or not it keeps within its bounds.
#[derive(Clone, Debug)]
pub enum Field<T> {
    /// It does.
    Good(T),
    /// It does not: the bytes as they came. To be refused by whoever knows what the field is called.
    Bad(Bytes),
}

/// What a [`Field`] holds.
pub trait Blob: AsRef<[u8]> + Sized {
    /// Copies the bytes.
    ///
    /// # Errors
    /// Says which bound they break.
    fn of(bytes: &[u8]) -> Result<Self>;
}

impl Blob for Key {
    fn of(bytes: &[u8]) -> Result<Key> {
        Key::held(bytes)
    }
}

impl Blob for Value {
    fn of(bytes: &[u8]) -> Result<Value> {
        Value::new(bytes)
    }
}

impl<T: Blob> Field<T> {
    /// The content.
    ///
    /// # Errors
    /// Says which bound it breaks.
    pub fn take(self) -> Result<T> {
        match self {
            Field::Good(content) => Ok(content),
            Field::Bad(bytes) => T::of(&bytes),
        }
    }

    fn as_slice(&self) -> &[u8] {
        match self {
            Field::Good(content) => content.as_ref(),
            Field::Bad(bytes) => bytes,
        }
    }

    fn len(&self) -> usize {
        self.as_slice().len()
    }

    fn encode(&self, tag: u32, buf: &mut impl BufMut) {
        encode_key(tag, WireType::LengthDelimited, buf);
        encode_varint(self.len() as u64, buf);
        buf.put_slice(self.as_slice());
    }

    fn encoded_len(&self, tag: u32) -> usize {
        key_len(tag) + encoded_len_varint(self.len() as u64) + self.len()
    }

    fn decode(wire_type: WireType, buf: &mut impl Buf, context: DecodeContext) -> Result<Field<T>, DecodeError> {
        check_wire_type(WireType::LengthDelimited, wire_type)?;
        let chunk = buf.chunk();
        let mut rest = chunk;
        let length = decode_varint(&mut rest).ok().and_then(|length| usize::try_from(length).ok());
        if let Some(bytes) = length.and_then(|length| rest.get(..length)) {
            let (field, taken) = (Field::from(bytes), chunk.len() - rest.len() + bytes.len());
            buf.advance(taken);
            return Ok(field);
        }
        // It goes on in another piece of memory, or is cut off.
        let mut bytes = Bytes::new();
        bytes::merge(wire_type, &mut bytes, buf, context)?;
        Ok(Field::from(&bytes[..]))
    }
}

impl<T: Blob> From<&[u8]> for Field<T> {
    fn from(bytes: &[u8]) -> Field<T> {
        T::of(bytes).map_or_else(|_| Field::Bad(Bytes::copy_from_slice(bytes)), Field::Good)
    }
}

impl<T> Default for Field<T> {
    fn default() -> Field<T> {
        Field::Bad(Bytes::new())
    }
}

impl<T: Blob> PartialEq for Field<T> {
    fn eq(&self, other: &Field<T>) -> bool {
        self.as_slice() == other.as_slice()
    }
}

impl<T: Blob> Eq for Field<T> {}

impl<T: Blob> hash::Hash for Field<T> {
    fn hash<H: hash::Hasher>(&self, state: &mut H) {
        self.as_slice().hash(state);
    }
}

/// One write on the wire; see `peer.proto`.
#[derive(Clone, Debug, Default, PartialEq, Eq, Hash)]
pub struct Change {
    /// Must be there; empty when it is not.
    pub key: Field<Key>,
    /// `None`: a delete.
    pub value: Option<Field<Value>>,
    /// Opaque.
    pub flags: u32,
    /// Hybrid logical time.
    pub timestamp: u64,
    /// Milliseconds since the Unix epoch; `None`: never.
    pub expires_ms: Option<u64>,
}

impl Message for Change {
    fn encode_raw(&self, buf: &mut impl BufMut) {
        if self.key.len() > 0 {
            self.key.encode(KEY, buf);
        }
        if let Some(value) = &self.value {
            value.encode(VALUE, buf);
        }
        if self.flags != 0 {
            uint32::encode(FLAGS, &self.flags, buf);
        }
        if self.timestamp != 0 {
            fixed64::encode(TIMESTAMP, &self.timestamp, buf);
        }
        if let Some(expires_ms) = &self.expires_ms {
            uint64::encode(EXPIRES_MS, expires_ms, buf);
        }
    }

    fn merge_field(
        &mut self,
        tag: u32,
        wire_type: WireType,
        buf: &mut impl Buf,
        context: DecodeContext,
    ) -> Result<(), DecodeError> {
        match tag {
            KEY => self.key = Field::decode(wire_type, buf, context)?,
            VALUE => self.value = Some(Field::decode(wire_type, buf, context)?),
            FLAGS => uint32::merge(wire_type, &mut self.flags, buf, context)?,
            TIMESTAMP => fixed64::merge(wire_type, &mut self.timestamp, buf, context)?,
            EXPIRES_MS => uint64::merge(wire_type, self.expires_ms.get_or_insert_default(), buf, context)?,
            _ => skip_field(wire_type, tag, buf, context)?,
        }
        Ok(())
    }

    fn encoded_len(&self) -> usize {
        let key = if self.key.len() > 0 { self.key.encoded_len(KEY) } else { 0 };
        let flags = if self.flags != 0 { uint32::encoded_len(FLAGS, &self.flags) } else { 0 };
        let timestamp = if self.timestamp != 0 { fixed64::encoded_len(TIMESTAMP, &self.timestamp) } else { 0 };
        key + self.value.as_ref().map_or(0, |value| value.encoded_len(VALUE))
            + flags
            + timestamp
            + self.expires_ms.as_ref().map_or(0, |expires_ms| uint64::encoded_len(EXPIRES_MS, expires_ms))
    }

    fn clear(&mut self) {
        *self = Change::default();
    }
}

#[cfg(test)]
mod tests;
