//! A call, converted and checked, and how its answer becomes Python.

use std::path::PathBuf;

use pyo3::{prelude::*, types::PyDict};

use super::{
    answer::Conversion,
    call::{call, into_python},
    codec,
    conflict::PyConflict,
    convert::{self, KeyBytes, Level},
    default, errors,
};
use crate::{
    error::Result,
    limits,
    replication::strong,
    types::{Command, CommandKind, ConflictQuery, KeyRange, NodeId, Operation, PageRequest, Value},
};

/// What a node or client is asked to do.
pub(super) enum Call {
    Operations(Vec<Operation>),
    Status { digests: bool },
    Members,
    Conflicts(ConflictQuery),
    RemoveMember { node: NodeId, force: bool },
    MoveLeader { to: Option<NodeId> },
    Metrics,
    Snapshot { path: PathBuf },
    Strong(Box<strong::Call>),
}

impl Call {
    /// Whether it changes anything in an eventual keyspace.
    pub(super) fn is_write(&self) -> bool {
        match self {
            Call::Operations(operations) => operations.iter().any(Operation::is_write),
            Call::Status { .. }
            | Call::Members
            | Call::Conflicts(_)
            | Call::RemoveMember { .. }
            | Call::MoveLeader { .. }
            | Call::Metrics
            | Call::Snapshot { .. }
            | Call::Strong(_) => false,
        }
    }
}

/// See `_core.pyi`. Good for one run, because running moves the operations out of it.
#[pyclass(frozen, module = "kvstore._core")]
pub(super) struct Request(parking_lot::Mutex<Option<(Call, Conversion)>>);

impl Request {
    pub(super) fn new(call: Call, conversion: Conversion) -> Request {
        Request(parking_lot::Mutex::new(Some((call, conversion))))
    }

    fn one(operation: Operation, conversion: Conversion) -> Request {
        Request::new(Call::Operations(vec![operation]), conversion)
    }

    /// What becomes of the call, before it is run.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Call) -> R) -> Option<R> {
        self.0.lock().as_ref().map(|(call, _)| look(call))
    }

    /// The call, once.
    ///
    /// # Errors
    /// `InvalidArgumentError` when it was run already.
    pub(super) fn take(&self) -> PyResult<(Call, Conversion)> {
        self.0.lock().take().ok_or_else(|| errors::invalid("request: it was run already"))
    }
}

/// Which page of a scan: prefix, start, end, reverse, the last key of the page before, and how many keys at most.
#[derive(FromPyObject)]
pub(super) struct PageArguments<'py>(
    KeyBytes<'py>,
    Option<KeyBytes<'py>>,
    Option<KeyBytes<'py>>,
    bool,
    Option<KeyBytes<'py>>,
    usize,
);

impl PageArguments<'_> {
    pub(super) fn to_page(&self) -> PageRequest {
        let PageArguments(prefix, start, end, reverse, last, keys_max) = self;
        let bytes = |key: &Option<KeyBytes<'_>>| key.as_deref().map(<[u8]>::to_vec);
        let mut range = KeyRange { prefix: prefix.to_vec(), start: bytes(start), end: bytes(end) };
        match (last, reverse) {
            (None, _) => {}
            (Some(last), true) => range.end = Some(last.to_vec()),
            // The first key after `last`, bytewise.
            (Some(last), false) => range.start = Some([last, &[0][..]].concat()),
        }
        PageRequest {
            range,
            reverse: *reverse,
            keys_max: (*keys_max).clamp(1, limits::PAGE_KEYS_MAX),
            bytes_target: limits::PAGE_BYTES_TARGET,
        }
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
fn each_key(keys: &Bound<'_, PyAny>, operation: impl Fn(&KeyBytes<'_>) -> Result<Operation>) -> PyResult<Call> {
    let (mut operations, mut bytes) = (Vec::new(), 0);
    let mut keys = into_python(|| keys.try_iter())?;
    while let Some(key) = into_python(|| keys.next()) {
        let key: KeyBytes<'_> = key?.extract()?;
        operations.push(operation(&key)?);
        bytes += key.len();
        limits::check_batch(operations.len(), bytes)?;
    }
    Ok(Call::Operations(operations))
}

#[pymethods]
impl Request {
    #[staticmethod]
    fn get(key: KeyBytes<'_>, default: Py<PyAny>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        Ok(Request::one(get(&key, false)?, Conversion::Value { default, codec }))
    }

    #[staticmethod]
    fn entry(key: KeyBytes<'_>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        Ok(Request::one(get(&key, false)?, Conversion::Entry { codec }))
    }

    #[staticmethod]
    fn get_many(keys: &Bound<'_, PyAny>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        Ok(Request::new(each_key(keys, |key| get(key, false))?, Conversion::Entries { codec }))
    }

    #[staticmethod]
    fn exists(key: KeyBytes<'_>) -> PyResult<Request> {
        Ok(Request::one(get(&key, true)?, Conversion::Exists))
    }

    #[staticmethod]
    fn count(prefix: KeyBytes<'_>) -> Request {
        Request::one(Operation::Count(KeyRange::prefix(&prefix)), Conversion::Count)
    }

    #[staticmethod]
    fn page(page: PageArguments<'_>, codec: Option<Py<PyAny>>) -> Request {
        Request::one(Operation::Scan { page: page.to_page(), keys_only: false }, Conversion::Page { codec })
    }

    #[staticmethod]
    fn key_page(page: PageArguments<'_>) -> Request {
        Request::one(Operation::Scan { page: page.to_page(), keys_only: true }, Conversion::KeyPage)
    }

    /// Refuses a read level that an eventual keyspace does not promise.
    #[staticmethod]
    fn check_read(read: Level) -> PyResult<()> {
        Ok(read.eventual().map(drop)?)
    }

    #[staticmethod]
    #[pyo3(signature = (key, value, ttl, codec, lease=None, if_absent=false, if_version=None))]
    #[allow(clippy::too_many_arguments, reason = "one for each option of put")]
    fn put<'py>(
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
        Ok(Request::one(Operation::Write(command), Conversion::Version))
    }

    #[staticmethod]
    fn put_many<'py>(
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
        Ok(Request::new(Call::Operations(operations), Conversion::Nothing))
    }

    #[staticmethod]
    #[pyo3(signature = (key, if_version=None))]
    fn delete(key: KeyBytes<'_>, if_version: Option<&Bound<'_, PyAny>>) -> PyResult<Request> {
        convert::refuse_conditions(None, false, if_version)?;
        Ok(Request::one(delete(&key)?, Conversion::Existed))
    }

    #[staticmethod]
    fn delete_many(keys: &Bound<'_, PyAny>) -> PyResult<Request> {
        Ok(Request::new(each_key(keys, delete)?, Conversion::ExistedCount))
    }

    #[staticmethod]
    fn touch(key: KeyBytes<'_>, ttl: Option<&Bound<'_, PyAny>>) -> PyResult<Request> {
        let kind = CommandKind::Touch { ttl_ms: convert::ttl_ms(ttl)? };
        Ok(Request::one(Operation::Write(Command { key: key.to_key()?, kind }), Conversion::Existed))
    }

    /// Several requests for single keys as one; each is good for this run.
    #[staticmethod]
    fn batch(requests: Vec<Bound<'_, Request>>) -> PyResult<Request> {
        let (mut operations, mut conversions) = (Vec::new(), Vec::new());
        for request in &requests {
            match request.get().take()? {
                (Call::Operations(more), conversion) => {
                    operations.extend(more);
                    conversions.push(conversion);
                }
                _ => return Err(errors::invalid("batch: only for requests of single keys")),
            }
        }
        let bytes = operations.iter().map(operation_bytes).sum();
        limits::check_batch(operations.len(), bytes)?;
        Ok(Request::new(Call::Operations(operations), Conversion::Batch(conversions)))
    }

    /// Asks whether `default` is eventual; the answer says nothing else.
    #[staticmethod]
    fn question() -> PyResult<Request> {
        Ok(Request::one(default::question()?, Conversion::Nothing))
    }

    #[staticmethod]
    fn ping() -> Request {
        Request::one(Operation::Ping, Conversion::Nothing)
    }

    #[staticmethod]
    fn status(digests: bool) -> Request {
        Request::new(Call::Status { digests }, Conversion::Status)
    }

    #[staticmethod]
    fn members() -> Request {
        Request::new(Call::Members, Conversion::Members)
    }

    #[staticmethod]
    fn remove_member(node_id: &str, force: bool) -> PyResult<Request> {
        Ok(Request::new(Call::RemoveMember { node: node_id.parse::<NodeId>()?, force }, Conversion::Nothing))
    }

    #[staticmethod]
    fn move_leader(node_id: Option<&str>) -> PyResult<Request> {
        let to = node_id.map(str::parse::<NodeId>).transpose()?;
        Ok(Request::new(Call::MoveLeader { to }, Conversion::Nothing))
    }

    #[staticmethod]
    fn metrics() -> Request {
        Request::new(Call::Metrics, Conversion::Metrics)
    }

    #[staticmethod]
    fn snapshot(path: PathBuf) -> Request {
        Request::new(Call::Snapshot { path }, Conversion::Count)
    }

    #[staticmethod]
    fn conflicts(prefix: KeyBytes<'_>, since_ms: u64, codec: Option<Py<PyAny>>) -> Request {
        let query = ConflictQuery { prefix: prefix.to_vec(), since_ms, limit: None };
        Request::new(Call::Conflicts(query), Conversion::Conflicts { codec })
    }

    #[staticmethod]
    fn restore(conflict: &Bound<'_, PyConflict>) -> PyResult<Request> {
        let command = conflict.get().restore(conflict.py())?;
        Ok(Request::one(Operation::Write(command), Conversion::Version))
    }

    /// Whether a node asks other nodes for the answer, or reads and writes much.
    #[getter]
    fn waits(&self) -> bool {
        matches!(&*self.0.lock(), Some((Call::Conflicts(_) | Call::MoveLeader { .. } | Call::Snapshot { .. }, _)))
    }
}
