//! The requests of one keyspace that is eventual, or of which it is not known what it is: named as those of
//! [`crate::python::strong::StrongRequests`], as far as both promise the same.

use std::sync::Arc;

use pyo3::{prelude::*, types::PyDict};

use super::{
    answer::Conversion,
    call::{call, into_python},
    codec,
    conflict::PyConflict,
    convert::{self, KeyBytes, Level},
    default, errors,
    request::{Asked, Call, PageArguments, Request},
};
use crate::{
    error::Result,
    limits,
    types::{Command, CommandKind, ConflictQuery, KeyRange, Operation, Value, DEFAULT_KEYSPACE},
};

/// See `_core.pyi`.
#[pyclass(frozen, name = "EventualRequests", module = "kvstore._core")]
pub(super) struct Requests {
    /// `None`: `default`.
    keyspace: Option<Arc<str>>,
}

impl Requests {
    fn one(&self, operation: Operation, conversion: Conversion) -> Request {
        self.all(vec![operation], conversion)
    }

    fn all(&self, operations: Vec<Operation>, conversion: Conversion) -> Request {
        let asked = Asked { keyspace: self.keyspace.clone(), operations };
        Request::new(Call::Operations(asked), conversion)
    }
}

fn get(key: &KeyBytes<'_>, metadata_only: bool) -> Result<Operation> {
    Ok(Operation::Get { key: key.to_key()?, metadata_only })
}

fn put<'py>(
    key: &KeyBytes<'py>,
    value: &Bound<'py, PyAny>,
    ttl_ms: Option<u64>,
    codec: Option<&Bound<'py, PyAny>>,
) -> PyResult<Command> {
    let key = key.to_key()?;
    let (payload, flags) = codec::encode(codec, value)?;
    let kind = CommandKind::Put { value: Value::new(&payload)?, flags, ttl_ms };
    Ok(Command { key, kind })
}

fn value_bytes(command: &Command) -> usize {
    match &command.kind {
        CommandKind::Put { value, .. } => value.len(),
        CommandKind::Delete | CommandKind::Touch { .. } => 0,
    }
}

fn operation_bytes(operation: &Operation) -> usize {
    match operation {
        Operation::Get { key, .. } => key.len(),
        Operation::Write(command) => command.key.len() + value_bytes(command),
        Operation::Count(_) | Operation::Scan { .. } | Operation::Ping => 0,
    }
}

fn delete(key: &KeyBytes<'_>) -> Result<Operation> {
    Ok(Operation::Write(Command { key: key.to_key()?, kind: CommandKind::Delete }))
}

/// One operation for each key, within the limits of a batch.
fn each_key(
    keys: &Bound<'_, PyAny>,
    operation: impl Fn(&KeyBytes<'_>) -> Result<Operation>,
) -> PyResult<Vec<Operation>> {
    let (mut operations, mut bytes) = (Vec::new(), 0);
    let mut keys = into_python(keys.py(), || keys.try_iter())?;
    while let Some(key) = into_python(keys.py(), || keys.next()) {
        let key: KeyBytes<'_> = key?.extract()?;
        operations.push(operation(&key)?);
        bytes += key.len();
        limits::check_batch(operations.len(), bytes)?;
    }
    Ok(operations)
}

#[pymethods]
impl Requests {
    #[new]
    #[pyo3(signature = (keyspace, /))]
    fn new(keyspace: &str) -> PyResult<Requests> {
        limits::check_keyspace_name(keyspace)?;
        Ok(Requests { keyspace: (keyspace != DEFAULT_KEYSPACE).then(|| keyspace.into()) })
    }

    #[getter]
    fn keyspace(&self) -> &str {
        self.keyspace.as_deref().unwrap_or(DEFAULT_KEYSPACE)
    }

    fn get(&self, key: KeyBytes<'_>, default: Py<PyAny>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        Ok(self.one(get(&key, false)?, Conversion::Value { default, codec }))
    }

    fn entry(&self, key: KeyBytes<'_>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        Ok(self.one(get(&key, false)?, Conversion::Entry { codec }))
    }

    fn get_many(&self, keys: &Bound<'_, PyAny>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        Ok(self.all(each_key(keys, |key| get(key, false))?, Conversion::Entries { codec }))
    }

    fn exists(&self, key: KeyBytes<'_>) -> PyResult<Request> {
        Ok(self.one(get(&key, true)?, Conversion::Exists))
    }

    fn count(&self, prefix: KeyBytes<'_>) -> Request {
        self.one(Operation::Count(KeyRange::prefix(&prefix)), Conversion::Count)
    }

    fn page(&self, page: PageArguments<'_>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        Ok(self.one(Operation::Scan { page: page.to_page()?, keys_only: false }, Conversion::Page { codec }))
    }

    fn key_page(&self, page: PageArguments<'_>) -> PyResult<Request> {
        Ok(self.one(Operation::Scan { page: page.to_page()?, keys_only: true }, Conversion::KeyPage))
    }

    /// Refuses a read level that an eventual keyspace does not promise.
    #[staticmethod]
    fn check_read(read: Level) -> PyResult<()> {
        Ok(read.eventual().map(drop)?)
    }

    #[pyo3(signature = (key, value, ttl, codec, lease=None, if_absent=false, if_version=None))]
    #[allow(clippy::too_many_arguments, reason = "one for each option of put")]
    fn put<'py>(
        &self,
        key: KeyBytes<'py>,
        value: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
        codec: Option<&Bound<'py, PyAny>>,
        lease: Option<&Bound<'py, PyAny>>,
        if_absent: bool,
        if_version: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Request> {
        convert::refuse_conditions(lease, if_absent, if_version)?;
        let command = put(&key, value, convert::ttl_ms(ttl)?, codec)?;
        Ok(self.one(Operation::Write(command), Conversion::Version))
    }

    fn put_many<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
        codec: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Request> {
        let ttl_ms = convert::ttl_ms(ttl)?;
        let items = call(items.py().get_type::<PyDict>().as_any(), (items,))?.cast_into::<PyDict>()?;
        let (mut operations, mut bytes) = (Vec::with_capacity(items.len()), 0);
        for (key, value) in items.iter() {
            let key: KeyBytes<'_> = key.extract()?;
            let command = put(&key, &value, ttl_ms, codec)?;
            bytes += key.len() + value_bytes(&command);
            operations.push(Operation::Write(command));
            limits::check_batch(operations.len(), bytes)?;
        }
        Ok(self.all(operations, Conversion::Nothing))
    }

    #[pyo3(signature = (key, if_version=None))]
    fn delete(&self, key: KeyBytes<'_>, if_version: Option<&Bound<'_, PyAny>>) -> PyResult<Request> {
        convert::refuse_conditions(None, false, if_version)?;
        Ok(self.one(delete(&key)?, Conversion::Existed))
    }

    fn delete_many(&self, keys: &Bound<'_, PyAny>) -> PyResult<Request> {
        Ok(self.all(each_key(keys, delete)?, Conversion::ExistedCount))
    }

    fn touch(&self, key: KeyBytes<'_>, ttl: Option<&Bound<'_, PyAny>>) -> PyResult<Request> {
        let kind = CommandKind::Touch { ttl_ms: convert::ttl_ms(ttl)? };
        Ok(self.one(Operation::Write(Command { key: key.to_key()?, kind }), Conversion::Existed))
    }

    /// Several requests for single keys as one; each is good for this run.
    fn batch(&self, requests: Vec<Bound<'_, Request>>) -> PyResult<Request> {
        let (mut operations, mut conversions) = (Vec::new(), Vec::new());
        for request in &requests {
            match request.get().take()? {
                (Call::Operations(more), conversion) => {
                    operations.extend(more.operations);
                    conversions.push(conversion);
                }
                _ => return Err(errors::invalid("batch: only for requests of single keys")),
            }
        }
        let bytes = operations.iter().map(operation_bytes).sum();
        limits::check_batch(operations.len(), bytes)?;
        Ok(self.all(operations, Conversion::Batch(conversions)))
    }

    /// Asks whether the keyspace is eventual; the answer says nothing else.
    fn question(&self) -> PyResult<Request> {
        Ok(self.one(default::question()?, Conversion::Nothing))
    }

    fn conflicts(&self, prefix: KeyBytes<'_>, since_ms: u64, codec: Option<Py<PyAny>>) -> Request {
        let keyspace = self.keyspace.as_deref().unwrap_or_default().to_string();
        let query = ConflictQuery { keyspace, prefix: prefix.to_vec(), since_ms, limit: None };
        Request::new(Call::Conflicts(query), Conversion::Conflicts { codec })
    }

    fn restore(&self, conflict: &Bound<'_, PyConflict>) -> PyResult<Request> {
        let command = conflict.get().restore(conflict.py())?;
        Ok(self.one(Operation::Write(command), Conversion::Version))
    }
}
