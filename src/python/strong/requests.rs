//! The requests of one strong keyspace, named as those of [`crate::python::request::Request`], and those that only a strong
//! keyspace has.

use pyo3::{prelude::*, types::PyDict};

use super::{
    conversion::{Kind, StrongConversion},
    write::{self, lifetime, weight, Write},
};
use crate::{
    limits,
    python::{
        answer::Conversion,
        call::{call, into_python},
        convert::{self, KeyBytes, Level},
        errors,
        request::{Call, PageArguments, Request},
    },
    replication::strong::{
        self, Command, Guard, KeyspaceId, LeaseId, LockName, Operation, Read, ReadCall, ReadKind, Revision, Space,
        Submission, Transaction,
    },
    types::{Key, KeyRange, Value, DEFAULT_KEYSPACE},
};

/// See `_core.pyi`.
#[pyclass(frozen, module = "kvstore._core")]
pub(in crate::python) struct StrongRequests {
    keyspace: String,
    /// Every write is refused unless these locks are held under these tokens.
    fences: Vec<(Key, Revision)>,
}

/// A key with the version that it must have: 0 that there is none, `None` that there is any.
#[derive(FromPyObject)]
struct Required<'py>(KeyBytes<'py>, Option<u64>);

impl Required<'_> {
    fn to_guard(&self) -> PyResult<Guard> {
        let key = self.0.to_key()?;
        Ok(match self.1 {
            None => Guard::Present { key },
            Some(0) => Guard::Absent { key },
            Some(version) => Guard::Version { key, version: Revision(version) },
        })
    }
}

impl StrongRequests {
    /// Those of the keyspace `default`, where it is strong.
    pub(in crate::python) fn of_default() -> StrongRequests {
        StrongRequests { keyspace: DEFAULT_KEYSPACE.to_string(), fences: Vec::new() }
    }

    fn read(&self, space: Space, kinds: Vec<ReadKind>, conversion: Conversion) -> Request {
        self.read_at(None, space, kinds, conversion)
    }

    fn read_at(&self, at: Option<u64>, space: Space, kinds: Vec<ReadKind>, conversion: Conversion) -> Request {
        let reads = kinds.into_iter().map(|kind| Read { space, kind }).collect();
        let keyspace = self.keyspace.clone();
        let call = ReadCall { keyspace, freshness: Level::Usual.strong(), at: at.map(Revision), reads };
        Request::new(Call::Strong(Box::new(strong::Call::Read(call))), conversion)
    }

    fn keys(keys: &Bound<'_, PyAny>) -> PyResult<Vec<ReadKind>> {
        let (mut kinds, mut bytes) = (Vec::new(), 0);
        let mut keys = into_python(keys.py(), || keys.try_iter())?;
        while let Some(key) = into_python(keys.py(), || keys.next()) {
            let key: KeyBytes<'_> = key?.extract()?;
            kinds.push(ReadKind::Key { key: key.to_key()?, metadata_only: false });
            bytes += key.len();
            limits::check_batch(kinds.len(), bytes)?;
        }
        Ok(kinds)
    }

    fn write(&self, guard: Option<Guard>, operations: Vec<Operation>, kind: Kind) -> PyResult<Request> {
        self.transaction(guard.into_iter().collect(), operations, kind)
    }

    fn transaction(&self, mut guards: Vec<Guard>, operations: Vec<Operation>, kind: Kind) -> PyResult<Request> {
        guards.extend(self.fences.iter().map(|(lock, token)| Guard::Holds { lock: lock.clone(), token: *token }));
        let guard_bytes = guards.iter().map(|guard| guarded(guard).len()).sum::<usize>();
        let bytes = guard_bytes + operations.iter().map(weight).sum::<usize>();
        limits::check_transaction(guards.len() + operations.len(), bytes)?;
        let conversion = StrongConversion { kind, guards: guards.clone() };
        // The node that serves the call knows the id of the keyspace.
        let transaction = Transaction { keyspace: KeyspaceId(0), guards, operations };
        Ok(self.submit(Command::Transact(transaction), conversion))
    }

    fn submit(&self, command: Command, conversion: StrongConversion) -> Request {
        submit(self.keyspace.clone(), command, conversion)
    }

    fn lock(name: &KeyBytes<'_>) -> PyResult<LockName> {
        Ok(LockName { keyspace: KeyspaceId(0), name: name.to_key()? })
    }
}

fn submit(keyspace: String, command: Command, conversion: StrongConversion) -> Request {
    let submission = Submission { id: None, keyspace, command };
    Request::new(Call::Strong(Box::new(strong::Call::Submit(submission))), Conversion::Strong(conversion))
}

/// What a guard is about.
pub(super) fn guarded(guard: &Guard) -> &Key {
    match guard {
        Guard::Version { key, .. } | Guard::Absent { key } | Guard::Present { key } => key,
        Guard::Holds { lock, .. } => lock,
    }
}

fn condition(key: &KeyBytes<'_>, if_absent: bool, if_version: Option<u64>) -> PyResult<Option<Guard>> {
    let key = key.to_key()?;
    match (if_absent, if_version) {
        (false, None) => Ok(None),
        (true, None) => Ok(Some(Guard::Absent { key })),
        (false, Some(version)) if version > 0 => Ok(Some(Guard::Version { key, version: Revision(version) })),
        (false, Some(_)) => {
            Err(errors::invalid("if_version: 0 is no version; if_absent is for a key that is not there"))
        }
        (true, Some(_)) => Err(errors::invalid("if_version: there is `if_absent` already; give one of the two")),
    }
}

#[pymethods]
impl StrongRequests {
    #[new]
    #[pyo3(signature = (keyspace, /))]
    fn new(keyspace: String) -> PyResult<StrongRequests> {
        limits::check_keyspace_name(&keyspace)?;
        Ok(StrongRequests { keyspace, fences: Vec::new() })
    }

    #[getter]
    fn keyspace(&self) -> &str {
        &self.keyspace
    }

    /// The same, whose writes happen only while the lock is held under the token.
    #[pyo3(signature = (lock, token, /))]
    fn fenced(&self, lock: KeyBytes<'_>, token: u64) -> PyResult<StrongRequests> {
        let mut fences = self.fences.clone();
        fences.push((lock.to_key()?, Revision(token)));
        Ok(StrongRequests { keyspace: self.keyspace.clone(), fences })
    }

    /// A strong keyspace promises all of them: the conversion is the check.
    #[staticmethod]
    fn check_read(read: Level) {
        let _ = read;
    }

    pub(in crate::python) fn get(
        &self,
        key: KeyBytes<'_>,
        default: Py<PyAny>,
        codec: Option<Py<PyAny>>,
    ) -> PyResult<Request> {
        let kind = ReadKind::Key { key: key.to_key()?, metadata_only: false };
        Ok(self.read(Space::Data, vec![kind], Conversion::Value { default, codec }))
    }

    fn entry(&self, key: KeyBytes<'_>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        let kind = ReadKind::Key { key: key.to_key()?, metadata_only: false };
        Ok(self.read(Space::Data, vec![kind], Conversion::Entry { codec }))
    }

    fn get_many(&self, keys: &Bound<'_, PyAny>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        Ok(self.read(Space::Data, StrongRequests::keys(keys)?, Conversion::Entries { codec }))
    }

    pub(in crate::python) fn exists(&self, key: KeyBytes<'_>) -> PyResult<Request> {
        let kind = ReadKind::Key { key: key.to_key()?, metadata_only: true };
        Ok(self.read(Space::Data, vec![kind], Conversion::Exists))
    }

    fn count(&self, prefix: KeyBytes<'_>) -> Request {
        self.read(Space::Data, vec![ReadKind::Count(KeyRange::prefix(&prefix))], Conversion::Count)
    }

    fn page(&self, page: PageArguments<'_>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        let kind = ReadKind::Page { page: page.to_page()?, keys_only: false };
        Ok(self.read(Space::Data, vec![kind], Conversion::Page { codec }))
    }

    fn key_page(&self, page: PageArguments<'_>) -> PyResult<Request> {
        let kind = ReadKind::Page { page: page.to_page()?, keys_only: true };
        Ok(self.read(Space::Data, vec![kind], Conversion::KeyPage))
    }

    /// Entries as of a revision, or as of now.
    fn snapshot(&self, keys: &Bound<'_, PyAny>, at: Option<u64>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        let conversion = Conversion::Strong(Kind::Snapshot { codec }.into());
        Ok(self.read_at(at, Space::Data, StrongRequests::keys(keys)?, conversion))
    }

    #[pyo3(signature = (key, value, ttl, codec, lease=None, if_absent=false, if_version=None))]
    #[allow(clippy::too_many_arguments, reason = "one for each option of put")]
    pub(in crate::python) fn put<'py>(
        &self,
        key: KeyBytes<'py>,
        value: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
        codec: Option<&Bound<'py, PyAny>>,
        lease: Option<u64>,
        if_absent: bool,
        #[pyo3(from_py_with = convert::if_version)] if_version: Option<u64>,
    ) -> PyResult<Request> {
        let guard = condition(&key, if_absent, if_version)?;
        let operation = write::put(&key, value, lifetime(ttl, lease)?, codec)?;
        self.write(guard, vec![operation], Kind::Version)
    }

    fn put_many<'py>(
        &self,
        items: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
        codec: Option<&Bound<'py, PyAny>>,
    ) -> PyResult<Request> {
        let lifetime = lifetime(ttl, None)?;
        let items = call(items.py().get_type::<PyDict>().as_any(), (items,))?.cast_into::<PyDict>()?;
        let (mut operations, mut bytes) = (Vec::with_capacity(items.len()), 0);
        for (key, value) in items.iter() {
            let operation = write::put(&key.extract()?, &value, lifetime, codec)?;
            bytes += weight(&operation);
            operations.push(operation);
            limits::check_transaction(operations.len(), bytes)?;
        }
        self.write(None, operations, Kind::Nothing)
    }

    #[pyo3(signature = (key, if_version=None))]
    pub(in crate::python) fn delete(
        &self,
        key: KeyBytes<'_>,
        #[pyo3(from_py_with = convert::if_version)] if_version: Option<u64>,
    ) -> PyResult<Request> {
        let guard = condition(&key, false, if_version)?;
        self.write(guard, vec![write::delete(&key)?], Kind::Existed)
    }

    fn delete_many(&self, keys: &Bound<'_, PyAny>) -> PyResult<Request> {
        let mut operations = Vec::new();
        let mut keys = into_python(keys.py(), || keys.try_iter())?;
        while let Some(key) = into_python(keys.py(), || keys.next()) {
            operations.push(write::delete(&key?.extract()?)?);
            limits::check_transaction(operations.len(), 0)?;
        }
        self.write(None, operations, Kind::ExistedCount)
    }

    fn touch(&self, key: KeyBytes<'_>, ttl: Option<&Bound<'_, PyAny>>) -> PyResult<Request> {
        self.write(None, vec![write::touch(&key, lifetime(ttl, None)?)?], Kind::Existed)
    }

    fn incr(
        &self,
        key: KeyBytes<'_>,
        by: &Bound<'_, PyAny>,
        initial: &Bound<'_, PyAny>,
        ttl: Option<&Bound<'_, PyAny>>,
    ) -> PyResult<Request> {
        let operation = write::increment(key.to_key()?, (by, initial), lifetime(ttl, None)?)?;
        self.write(None, vec![operation], Kind::Number)
    }

    /// All writes or none, if what is required holds.
    fn transact(&self, required: Vec<Required<'_>>, writes: Vec<Bound<'_, Write>>) -> PyResult<Request> {
        let guards = required.iter().map(Required::to_guard).collect::<PyResult<Vec<_>>>()?;
        let operations = writes.iter().map(|write| write.get().0.clone()).collect();
        self.transaction(guards, operations, Kind::Transacted)
    }

    #[staticmethod]
    fn grant(ttl: &Bound<'_, PyAny>) -> PyResult<Request> {
        let ttl_ms = convert::ttl_ms(Some(ttl))?.unwrap_or_default();
        Ok(submit(String::new(), Command::Grant { ttl_ms }, Kind::Lease.into()))
    }

    #[staticmethod]
    fn keep_alive(#[pyo3(from_py_with = convert::lease_id)] lease: u64) -> Request {
        submit(String::new(), Command::KeepAlive { lease: LeaseId(lease) }, Kind::Lease.into())
    }

    #[staticmethod]
    fn revoke(#[pyo3(from_py_with = convert::lease_id)] lease: u64) -> Request {
        submit(String::new(), Command::Revoke { lease: LeaseId(lease) }, Kind::Nothing.into())
    }

    /// What is left of a lease.
    #[staticmethod]
    fn lease(#[pyo3(from_py_with = convert::lease_id)] lease: u64) -> Request {
        let call = strong::Call::Lease(LeaseId(lease));
        Request::new(Call::Strong(Box::new(call)), Conversion::Strong(Kind::LeaseLeft.into()))
    }

    /// A page of the leases that were granted after one.
    #[staticmethod]
    fn leases(after: u64) -> Request {
        let call = strong::Call::Leases { after: LeaseId(after) };
        Request::new(Call::Strong(Box::new(call)), Conversion::Strong(Kind::Leases.into()))
    }

    /// Gives a lock back.
    fn release(&self, lock: KeyBytes<'_>, lease: u64) -> PyResult<Request> {
        let (lock, lease) = (StrongRequests::lock(&lock)?, LeaseId(lease));
        Ok(self.submit(Command::Release { lock, lease }, Kind::Nothing.into()))
    }

    /// Takes a lock for a lease, or gets in line.
    fn acquire(&self, lock: KeyBytes<'_>, lease: u64, value: &[u8], wait: bool) -> PyResult<Request> {
        let (lock, lease, value) = (StrongRequests::lock(&lock)?, LeaseId(lease), Value::new(value)?);
        Ok(self.submit(Command::Acquire { lock, lease, value, wait }, Kind::Token.into()))
    }

    /// Waits until a lease has the lock that it waits for.
    fn await_lock(&self, lock: KeyBytes<'_>, lease: u64, wait_ms: u64) -> PyResult<Request> {
        let (lock, lease, keyspace) = (lock.to_key()?, LeaseId(lease), self.keyspace.clone());
        let call = strong::Call::AwaitLock { keyspace, lock, lease, wait_ms };
        Ok(Request::new(Call::Strong(Box::new(call)), Conversion::Strong(Kind::Token.into())))
    }

    /// Who holds a lock: an entry whose value is what the holder shows.
    fn holder(&self, lock: KeyBytes<'_>, codec: Option<Py<PyAny>>) -> PyResult<Request> {
        let kind = ReadKind::Key { key: lock.to_key()?, metadata_only: false };
        Ok(self.read(Space::Locks, vec![kind], Conversion::Entry { codec }))
    }

    #[staticmethod]
    #[pyo3(signature = (keyspace, keep_conflicts))]
    fn create(keyspace: String, keep_conflicts: Option<Bound<'_, PyAny>>) -> PyResult<Request> {
        limits::check_keyspace_name(&keyspace)?;
        let name = keyspace.clone();
        let command = match keep_conflicts {
            None => Command::CreateKeyspace { name },
            // The node that serves the call draws the number of the group.
            Some(kept) => {
                let keep_conflicts = convert::number(&kept, "keep_conflicts")?;
                Command::CreateEventual { name, group: 0, keep_conflicts }
            }
        };
        Ok(submit(keyspace, command, Kind::Nothing.into()))
    }

    #[staticmethod]
    fn drop(keyspace: String) -> PyResult<Request> {
        limits::check_keyspace_name(&keyspace)?;
        Ok(submit(keyspace, Command::DropKeyspace { keyspace: KeyspaceId(0) }, Kind::Nothing.into()))
    }

    /// All keyspaces that were made, with what each is, and how many keys are in it if it is strong.
    #[staticmethod]
    fn keyspaces() -> Request {
        Request::new(Call::Strong(Box::new(strong::Call::Keyspaces)), Conversion::Strong(Kind::Keyspaces.into()))
    }
}
