//! The shorter way of single keys: from Python to the memory of this node and back, without a request.

use pyo3::prelude::*;

use crate::{
    python::{
        codec,
        convert::{self, KeyBytes},
        durable::{self, Limit},
    },
    replication::eventual::Eventual,
    types::{Command, CommandKind, Record, RecordRef, Space, Value, Written},
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
    let written = keyspace.write(Command { key: Space::Default.held(key.to_key()?), kind })?;
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
    let held = Space::Default.held_behind(key);
    keyspace.look(held.as_deref().unwrap_or(key), |_| ()).is_some()
}

/// A value decoded under the partition's lock, or the record when that cannot be done there.
type Decoded<'py> = std::result::Result<Bound<'py, PyAny>, Record>;

fn decode<'py>(py: Python<'py>, record: &Record) -> PyResult<Bound<'py, PyAny>> {
    let payload = record.value.as_ref().map(Value::as_slice).unwrap_or_default();
    codec::decode(py, None, payload, record.flags)
}
