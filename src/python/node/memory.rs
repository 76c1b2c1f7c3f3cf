//! The shorter way of single keys: from Python to the memory of this node and back, without a request.

use std::time::Duration;

use bytes::Bytes;
use pyo3::prelude::*;

use crate::{
    error::Result,
    python::{
        answer::mismatch,
        codec,
        convert::{self, KeyBytes},
        durable::{self, Limit},
    },
    replication::{eventual::Eventual, execute},
    types::{
        Answer, Command, CommandKind, Operation, Record, RecordRef, SampledCall, Space, Value, Written,
        DEFAULT_KEYSPACE,
    },
};

/// Writes to the memory of this node, and waits for its disk.
#[inline]
pub(super) fn write(
    py: Python<'_>,
    keyspace: &Eventual,
    key: &KeyBytes<'_>,
    (kind, timeout): (CommandKind, Limit),
) -> PyResult<Written> {
    durable::make_room(py, keyspace, timeout)?;
    let written = match keyspace.tap().is_on() {
        false => keyspace.write(Command { key: Space::Default.held(key.to_key()?), kind })?,
        true => write_heard(keyspace, key, kind)?,
    };
    durable::wait(py, keyspace, timeout)?;
    Ok(written)
}

/// Puts a value of Python's; its version.
#[inline]
pub(super) fn put(
    keyspace: &Eventual,
    key: &KeyBytes<'_>,
    value: &Bound<'_, PyAny>,
    (ttl, timeout): (Option<&Bound<'_, PyAny>>, Limit),
) -> PyResult<u64> {
    let ttl_ms = convert::ttl_ms(ttl)?;
    let (payload, flags) = codec::encode(None, value)?;
    let kind = CommandKind::Put { value: Value::new(&payload)?, flags, ttl_ms };
    Ok(write(value.py(), keyspace, key, (kind, timeout))?.version.0)
}

/// Reads from the memory of this node.
#[inline]
pub(super) fn look_up<'py>(
    py: Python<'py>,
    keyspace: &Eventual,
    key: &KeyBytes<'py>,
) -> PyResult<Option<Bound<'py, PyAny>>> {
    crate::limits::check_key(key)?;
    if keyspace.tap().is_on() {
        tell_read(keyspace, key);
    }
    let look = |record: RecordRef<'_>| -> Decoded<'py> {
        let payload = record.value.map(Value::as_slice).unwrap_or_default();
        codec::decode_plain(py, payload, record.flags).ok_or_else(|| record.to_record())
    };
    let found = match Space::Default.held_behind(key) {
        None => keyspace.look(key, look),
        Some(held) => keyspace.look(&held, look),
    };
    match found {
        None => Ok(None),
        Some(Ok(value)) => Ok(Some(value)),
        Some(Err(record)) => decode(py, &record).map(Some),
    }
}

/// Whether the memory of this node has a key.
pub(super) fn look_up_presence(keyspace: &Eventual, key: &[u8]) -> bool {
    if keyspace.tap().is_on() {
        tell_read(keyspace, key);
    }
    let held = Space::Default.held_behind(key);
    keyspace.look(held.as_deref().unwrap_or(key), |_| ()).is_some()
}

/// While operators listen.
#[cold]
fn write_heard(keyspace: &Eventual, key: &KeyBytes<'_>, kind: CommandKind) -> Result<Written> {
    let operation = Operation::Write(Command { key: key.to_key()?, kind });
    match execute(keyspace, operation)? {
        Answer::Written(written) => Ok(written),
        _ => Err(mismatch()),
    }
}

/// While operators listen: the read comes a moment later, by the way that it goes in any case.
#[cold]
fn tell_read(keyspace: &Eventual, key: &[u8]) {
    let Some(picked) = keyspace.tap().pick() else { return };
    let held = Space::Default.held_behind(key);
    let size = |record: RecordRef<'_>| record.value.map_or(0, |value| value.len() as u64);
    picked.tell(SampledCall {
        kind: "get".into(),
        keyspace: DEFAULT_KEYSPACE.to_string(),
        key: Bytes::copy_from_slice(key),
        client: None,
        value_bytes: keyspace.look(held.as_deref().unwrap_or(key), size).unwrap_or_default(),
        at: Duration::ZERO,
    });
}

/// A value decoded under the partition's lock, or the record when that cannot be done there.
type Decoded<'py> = std::result::Result<Bound<'py, PyAny>, Record>;

fn decode<'py>(py: Python<'py>, record: &Record) -> PyResult<Bound<'py, PyAny>> {
    let payload = record.value.as_ref().map(Value::as_slice).unwrap_or_default();
    codec::decode(py, None, payload, record.flags)
}
