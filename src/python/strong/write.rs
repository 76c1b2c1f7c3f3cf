//! One write of a transaction, converted and checked when the program asks for it, sent when the whole is.

use pyo3::prelude::*;

use crate::{
    error::{Error, ErrorCode, Result},
    python::{
        codec,
        convert::{self, KeyBytes},
        errors,
    },
    replication::strong::{LeaseId, Lifetime, Operation, OperationKind},
    types::{Key, Value},
};

/// See `_core.pyi`.
#[pyclass(frozen, module = "kvstore._core")]
pub(in crate::python) struct Write(pub(super) Operation);

/// How long a key stays: `ttl` seconds, as long as the lease of that id, or for ever.
///
/// # Errors
/// `InvalidArgumentError` when both are given.
pub(super) fn lifetime(ttl: Option<&Bound<'_, PyAny>>, lease: Option<u64>) -> PyResult<Lifetime> {
    match (convert::ttl_ms(ttl)?, lease) {
        (Some(_), Some(_)) => Err(errors::invalid("lease: there is a `ttl` already; give one of the two")),
        (Some(ttl_ms), None) => Ok(Lifetime::Ttl(ttl_ms)),
        (None, Some(lease)) => Ok(Lifetime::Lease(LeaseId(lease))),
        (None, None) => Ok(Lifetime::Forever),
    }
}

/// The bytes of keys and values that a write counts with.
pub(super) fn weight(operation: &Operation) -> usize {
    match &operation.kind {
        OperationKind::Put { value, .. } => operation.key.len() + value.len(),
        OperationKind::Delete | OperationKind::Touch { .. } | OperationKind::Increment { .. } => operation.key.len(),
    }
}

/// A put of an encoded value.
pub(super) fn put<'py>(
    key: &KeyBytes<'py>,
    value: &Bound<'py, PyAny>,
    lifetime: Lifetime,
    codec: Option<&Bound<'py, PyAny>>,
) -> PyResult<Operation> {
    let key = key.to_key()?;
    let (payload, flags) = codec::encode(codec, value)?;
    Ok(Operation { key, kind: OperationKind::Put { value: Value::new(&payload)?, flags, lifetime } })
}

/// An increment, by a number of 64 bits.
pub(super) fn increment(
    key: Key,
    (by, initial): (&Bound<'_, PyAny>, &Bound<'_, PyAny>),
    lifetime: Lifetime,
) -> PyResult<Operation> {
    let (by, initial) = (integer(by, "by")?, integer(initial, "initial")?);
    Ok(Operation { key, kind: OperationKind::Increment { by, initial, lifetime } })
}

fn integer(number: &Bound<'_, PyAny>, name: &str) -> PyResult<i64> {
    let beyond = |_| -> PyErr { Error::new(ErrorCode::Overflow, format!("{name}: {number} has over 64 bits")).into() };
    match number.is_instance_of::<pyo3::types::PyInt>() {
        true => number.extract().map_err(beyond),
        false => Err(errors::invalid(format!("{name}: {} is no int", convert::type_name(number)))),
    }
}

/// A delete.
pub(super) fn delete(key: &KeyBytes<'_>) -> Result<Operation> {
    Ok(Operation { key: key.to_key()?, kind: OperationKind::Delete })
}

/// Another lifetime for a key.
pub(super) fn touch(key: &KeyBytes<'_>, lifetime: Lifetime) -> Result<Operation> {
    Ok(Operation { key: key.to_key()?, kind: OperationKind::Touch { lifetime } })
}

#[pymethods]
impl Write {
    #[staticmethod]
    fn put<'py>(
        key: KeyBytes<'py>,
        value: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
        lease: Option<u64>,
        codec: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Write> {
        put(&key, value, lifetime(ttl, lease)?, codec).map(Write)
    }

    #[staticmethod]
    fn delete(key: KeyBytes<'_>) -> PyResult<Write> {
        Ok(Write(delete(&key)?))
    }

    #[staticmethod]
    fn incr(
        key: KeyBytes<'_>,
        by: &Bound<'_, PyAny>,
        initial: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Write> {
        increment(key.to_key()?, (by, initial), lifetime(ttl, None)?).map(Write)
    }

    /// The value of a put as a reader will get it; `default` of a delete.
    #[pyo3(signature = (default, codec, /))]
    fn read<'py>(&self, default: Bound<'py, PyAny>, codec: Option<&Bound<'py, PyAny>>) -> PyResult<Bound<'py, PyAny>> {
        match &self.0.kind {
            OperationKind::Put { value, flags, .. } => codec::decode(default.py(), codec, value, *flags),
            OperationKind::Delete | OperationKind::Touch { .. } | OperationKind::Increment { .. } => Ok(default),
        }
    }
}
