//! How entries, answers and what the state is made of look as bytes: one form each, in the style of
//! [`crate::storage::codec`]. `docs/strong.md` draws them.

mod answers;
mod entries;
mod parts;

use super::ids::{ClientId, KeyspaceId, LeaseId, LogPosition, RequestId, Revision};
use crate::storage::codec::{put_number, CodecError, Decoded, Fault, Reader, Stored};

/// A [`CodecError`] about `field`.
pub(super) fn bad<T>(field: &'static str, fault: Fault) -> Decoded<T> {
    Err(CodecError { field, fault })
}

/// Which of the forms of a type follows.
fn invalid<T>(field: &'static str, kind: u8) -> Decoded<T> {
    bad(field, Fault::Invalid(kind.into()))
}

macro_rules! stored_numbers {
    ($($name:ident => $field:literal;)*) => {$(
        impl Stored for $name {
            const BYTES_LEAST: usize = 1;

            fn put(&self, buf: &mut Vec<u8>) {
                put_number(buf, self.0);
            }

            fn take(reader: &mut Reader<'_>) -> Decoded<$name> {
                reader.take_number($field).map($name)
            }
        }
    )*};
}

stored_numbers! {
    Revision => "revision";
    KeyspaceId => "keyspace";
    LeaseId => "lease";
    ClientId => "client";
}

impl Stored for LogPosition {
    const BYTES_LEAST: usize = 2;

    fn put(&self, buf: &mut Vec<u8>) {
        put_number(buf, self.term);
        put_number(buf, self.index);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<LogPosition> {
        Ok(LogPosition { term: reader.take_number("position.term")?, index: reader.take_number("position.index")? })
    }
}

impl Stored for RequestId {
    const BYTES_LEAST: usize = 2;

    fn put(&self, buf: &mut Vec<u8>) {
        self.client.put(buf);
        put_number(buf, self.number);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<RequestId> {
        Ok(RequestId { client: ClientId::take(reader)?, number: reader.take_number("request.number")? })
    }
}

fn put_bool(buf: &mut Vec<u8>, is_set: bool) {
    buf.push(is_set.into());
}

fn take_bool(reader: &mut Reader<'_>, field: &'static str) -> Decoded<bool> {
    match reader.take_u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        other => invalid(field, other),
    }
}

/// As what is there, or 0 when nothing is; 1 is before what is there.
pub(super) fn put_option<T: Stored>(buf: &mut Vec<u8>, value: Option<&T>) {
    put_bool(buf, value.is_some());
    if let Some(value) = value {
        value.put(buf);
    }
}

pub(super) fn take_option<T: Stored>(reader: &mut Reader<'_>, field: &'static str) -> Decoded<Option<T>> {
    match take_bool(reader, field)? {
        true => T::take(reader).map(Some),
        false => Ok(None),
    }
}

fn put_signed(buf: &mut Vec<u8>, number: i64) {
    buf.extend_from_slice(&number.to_le_bytes());
}

fn take_signed(reader: &mut Reader<'_>, field: &'static str) -> Decoded<i64> {
    reader.take_u64(field).map(|bits| i64::from_le_bytes(bits.to_le_bytes()))
}
