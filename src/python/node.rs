//! A node of this process. Its data is read and written here and now, without a socket. Where the keyspace `default` is strong,
//! the group is asked instead.

mod begin;
mod group;
mod memory;
mod now;
mod waiting;

use std::{
    path::PathBuf,
    sync::{
        atomic::{AtomicU32, Ordering},
        Arc, OnceLock,
    },
    time::Duration,
};

use pyo3::prelude::*;

use self::{
    group::Conditions,
    memory::{look_up, look_up_presence, put, write},
};
use super::{
    answer::Conversion,
    convert::{self, KeyBytes, Level, Timeout},
    durable::{self, Limit, Turns},
    faults::PyFaults,
    request::{Call, Request},
    runtime::{self, ProcessBound},
    security::TlsArgument,
    started,
    strong::Kept,
    watch::{Changes, Wanted},
};
use crate::{
    client::{Known, StrongClient, Watch},
    config::{parse_default_consistency, Durability, HistoryBounds, NodeConfig},
    env::Env,
    error::{Error, ErrorCode, Result},
    node::Node,
    replication::eventual::Eventual,
    types::{Address, CommandKind, Consistency, Secret, DEFAULT_KEYSPACE},
};

/// See `_core.pyi`.
#[pyclass(subclass, frozen, name = "Node", module = "kvstore._core")]
pub(super) struct PyNode {
    node: ProcessBound<Arc<Node>>,
    /// The data, from the start on.
    keyspace: OnceLock<ProcessBound<Arc<Eventual>>>,
    /// Its session with the strong keyspaces, from the start on.
    strong: OnceLock<ProcessBound<StrongClient>>,
    /// Writes of tasks that the log has no room for.
    turns: Turns,
    /// The generation of the process in which it runs; 0: it does not. One comparison tells whether calls may pass.
    open_in: AtomicU32,
}

/// No timeout is for ever here: what waits this long has been forgotten.
const PATIENCE_MAX: Duration = Duration::from_secs(365 * 24 * 3600);

impl PyNode {
    fn node(&self) -> Result<&Arc<Node>> {
        self.node.get().ok_or_else(|| runtime::forked("Node"))
    }

    fn keyspace(&self) -> Result<&Arc<Eventual>> {
        if self.open_in.load(Ordering::Acquire) != runtime::generation() {
            return Err(self.closed());
        }
        let keyspace = self.keyspace.get().and_then(ProcessBound::get);
        keyspace.ok_or_else(|| Error::new(ErrorCode::Internal, "a running node has no data"))
    }

    fn strong(&self) -> Result<StrongClient> {
        self.keyspace()?;
        let strong = self.strong.get().and_then(ProcessBound::get).cloned();
        strong.ok_or_else(|| Error::new(ErrorCode::Internal, "a running node has no session"))
    }

    fn closed(&self) -> Error {
        match self.node() {
            Ok(_) => Error::new(ErrorCode::NotRunning, "this node is not running: call start()"),
            Err(forked) => forked,
        }
    }
}

/// Changes, bytes and seconds. What is no duration is out of bounds, and refused by name.
fn history_of((changes, bytes, age): (u64, u64, f64)) -> HistoryBounds {
    let age = Duration::try_from_secs_f64(age).unwrap_or(Duration::ZERO);
    HistoryBounds { changes, bytes, age_ms: u64::try_from(age.as_millis()).unwrap_or(u64::MAX) }
}

fn patience(timeout: Timeout) -> Duration {
    timeout.0.unwrap_or(PATIENCE_MAX)
}

#[pymethods]
impl PyNode {
    #[new]
    #[pyo3(signature = (
        *, host, port, advertise, peers, cluster, threads, tls, token, insecure, http, max_drift, data_dir, durability,
        max_memory, default_consistency, history,
        faults=None
    ))]
    #[allow(clippy::too_many_arguments, reason = "keyword-only: one for each setting")]
    fn new(
        host: String,
        port: u16,
        advertise: Option<String>,
        peers: Vec<String>,
        cluster: String,
        threads: usize,
        tls: Option<TlsArgument>,
        token: Option<String>,
        insecure: bool,
        http: bool,
        max_drift: f64,
        data_dir: Option<PathBuf>,
        durability: &str,
        max_memory: Option<Bound<'_, PyAny>>,
        default_consistency: &str,
        history: (u64, u64, f64),
        faults: Option<PyRef<'_, PyFaults>>,
    ) -> PyResult<PyNode> {
        let advertise = advertise.map(|address| address.parse::<Address>()).transpose()?;
        let peers = peers.iter().map(|peer| peer.parse::<Address>()).collect::<Result<Vec<_>>>()?;
        // What is no duration is out of bounds, and refused by name.
        let max_drift = Duration::try_from_secs_f64(max_drift).unwrap_or(Duration::ZERO);
        let durability = durability.parse::<Durability>()?;
        let config = NodeConfig {
            host,
            port,
            advertise,
            peers,
            cluster,
            threads,
            tls: tls.map(Into::into),
            token: token.map(|token| token.parse::<Secret>()).transpose()?,
            insecure,
            http,
            max_drift,
            data_dir,
            durability,
            max_memory: max_memory.map(|bytes| convert::number(&bytes, "max_memory")).transpose()?,
            default_consistency: parse_default_consistency(default_consistency)?,
            history: history_of(history),
            ..NodeConfig::default()
        };
        let env = faults.map_or_else(Env::system, |faults| faults.doors());
        let node = ProcessBound::new(Arc::new(Node::new(config, env)?));
        let (keyspace, strong) = (OnceLock::new(), OnceLock::new());
        Ok(PyNode { node, keyspace, strong, turns: Turns::new(), open_in: AtomicU32::new(0) })
    }

    /// "" before the start when its directory knows.
    #[getter]
    fn id(&self) -> PyResult<String> {
        Ok(self.node()?.id().map(|id| id.to_string()).unwrap_or_default())
    }

    /// "" before the start when the port is to be picked.
    #[getter]
    fn address(&self) -> PyResult<String> {
        Ok(self.node()?.address().map(|address| address.to_string()).unwrap_or_default())
    }

    #[getter]
    fn port(&self) -> PyResult<u16> {
        Ok(self.node()?.port())
    }

    #[getter]
    fn running(&self) -> bool {
        self.open_in.load(Ordering::Acquire) == runtime::generation()
    }

    fn _start(&self, py: Python<'_>) -> PyResult<()> {
        let node = self.node()?;
        waiting::start(py, node)?;
        let keyspace = node.keyspace()?;
        self.keyspace.get_or_init(|| ProcessBound::new(keyspace));
        let (group, runtime) = (node.strong()?, node.runtime()?);
        self.strong.get_or_init(|| ProcessBound::new(StrongClient::of_backend(group, runtime, Env::system())));
        self.open_in.store(runtime::generation(), Ordering::Release);
        Ok(())
    }

    fn _wait_ready(&self, py: Python<'_>, timeout: Timeout) -> PyResult<()> {
        waiting::wait_ready(py, self.node()?, timeout)
    }

    fn _stop(&self, py: Python<'_>, timeout: Timeout) -> PyResult<()> {
        let node = self.node()?;
        self.open_in.store(0, Ordering::Release);
        waiting::stop(py, node, timeout)
    }

    /// Without a word to anybody, and without a flush.
    fn _abandon(&self, py: Python<'_>) -> PyResult<()> {
        let node = self.node()?;
        self.open_in.store(0, Ordering::Release);
        py.detach(|| node.abandon());
        Ok(())
    }

    /// Batches and scans take long enough to let other threads run meanwhile.
    #[pyo3(signature = (request, timeout=Limit::Usual, read=Level::Usual), text_signature = "($self, request, timeout=..., read=None)")]
    fn _run<'py>(
        &self,
        py: Python<'py>,
        request: &Request,
        timeout: Limit,
        read: Level,
    ) -> PyResult<Bound<'py, PyAny>> {
        let (call, conversion): (Call, Conversion) = request.take()?;
        if matches!(call, Call::Strong(_)) || waiting::takes_long(&call) || self.is_for_group(&call)? {
            let outcome = started::wait(py, |done| self.begin(py, call, (read, timeout.duration()), done))?;
            return conversion.finish(py, outcome);
        }
        // What a caller wrote or read here is here: a session has nothing to wait for.
        read.eventual()?;
        let is_write = call.is_write();
        if is_write {
            durable::make_room(py, self.keyspace()?, timeout)?;
        }
        let outcome = py.detach(|| self.answer(call))?;
        if is_write {
            durable::wait(py, self.keyspace()?, timeout)?;
        }
        conversion.finish(py, Ok(outcome))
    }

    #[pyo3(signature = (lease, ttl, /))]
    fn _keep(&self, lease: u64, ttl: &Bound<'_, PyAny>) -> PyResult<Kept> {
        Ok(Kept::new(self.strong()?, lease, convert::ttl(ttl)?))
    }

    /// Whether a request is not answered from memory: a write waits for the disk, or the group is asked.
    #[pyo3(signature = (request, /))]
    fn _waits_for(&self, request: &Request) -> bool {
        request.look(|call| self.waits_for(call)).unwrap_or(false)
    }

    /// What a keyspace is; None: the node has not heard of it, or has not found the group that decides.
    #[pyo3(signature = (keyspace, /))]
    fn _consistency(&self, keyspace: &str) -> Option<&'static str> {
        self.known(keyspace).map(Consistency::as_str)
    }

    #[pyo3(signature = (wanted, /))]
    fn _open_watch(&self, wanted: Wanted<'_>) -> PyResult<Changes> {
        let (keyspace, strong, runtime) = (self.keyspace()?.clone(), self.strong()?, self.node()?.runtime()?);
        let name = wanted.keyspace().to_string();
        let known = Known::default();
        known.tell(match name == DEFAULT_KEYSPACE {
            true if keyspace.serves_clients() => Some(Consistency::Eventual),
            true => Some(Consistency::Strong),
            false => self.known(&name),
        });
        let refresh = self.node()?.refresh_spaces()?;
        wanted.open(
            Arc::new(known),
            |request, buffer| match name == DEFAULT_KEYSPACE {
                true => Watch::local(keyspace, request, buffer, &runtime),
                false => Watch::local_in(keyspace, name, refresh, (request, buffer), &runtime),
            },
            move |watch, buffer| strong.watch(watch, buffer),
        )
    }

    /// The value, or `default` when the key is missing or expired. From memory: it never waits.
    #[pyo3(
        signature = (key, default=None, *, read=Level::Usual, timeout=Limit::Usual),
        text_signature = "($self, key, default=None, *, read=..., timeout=...)"
    )]
    fn get<'py>(
        &self,
        py: Python<'py>,
        key: KeyBytes<'py>,
        default: Option<Bound<'py, PyAny>>,
        read: Level,
        timeout: Limit,
    ) -> PyResult<Bound<'py, PyAny>> {
        let keyspace = self.keyspace()?;
        if !keyspace.serves_clients() {
            let default = default.unwrap_or_else(|| py.None().into_bound(py));
            return self.get_from_group(key, default, (read, timeout));
        }
        // Memory answers at once, and a session has nothing to wait for in it.
        let _ = (timeout, read.eventual()?);
        let value = look_up(py, keyspace, &key)?;
        Ok(value.or(default).unwrap_or_else(|| py.None().into_bound(py)))
    }

    /// Store and return the new version; without `ttl` the key never expires. Replication follows by itself.
    #[pyo3(
        signature = (key, value, *, ttl=None, lease=None, if_absent=false, if_version=None, timeout=Limit::Usual),
        text_signature = "($self, key, value, *, ttl=None, lease=None, if_absent=False, if_version=None, timeout=...)"
    )]
    #[allow(clippy::too_many_arguments, reason = "keyword-only: one for each option of put")]
    fn put<'py>(
        &self,
        key: KeyBytes<'py>,
        value: &Bound<'py, PyAny>,
        ttl: Option<&Bound<'py, PyAny>>,
        lease: Option<&Bound<'py, PyAny>>,
        if_absent: bool,
        if_version: Option<&Bound<'py, PyAny>>,
        timeout: Limit,
    ) -> PyResult<u64> {
        let keyspace = self.keyspace()?;
        if !keyspace.serves_clients() {
            let conditions = Conditions { lease, if_absent, if_version };
            return self.put_into_group(key, value, &conditions, (ttl, timeout));
        }
        convert::refuse_conditions(lease, if_absent, if_version)?;
        put(keyspace, &key, value, (ttl, timeout))
    }

    /// Whether the key was there, as this node saw it.
    #[pyo3(
        signature = (key, *, if_version=None, timeout=Limit::Usual),
        text_signature = "($self, key, *, if_version=None, timeout=...)"
    )]
    fn delete(
        &self,
        py: Python<'_>,
        key: KeyBytes<'_>,
        if_version: Option<&Bound<'_, PyAny>>,
        timeout: Limit,
    ) -> PyResult<bool> {
        let keyspace = self.keyspace()?;
        if !keyspace.serves_clients() {
            let conditions = Conditions { if_version, ..Conditions::default() };
            return self.delete_from_group(py, key, &conditions, timeout);
        }
        convert::refuse_conditions(None, false, if_version)?;
        Ok(write(py, keyspace, &key, (CommandKind::Delete, timeout))?.existed)
    }

    fn __getitem__<'py>(&self, py: Python<'py>, key: KeyBytes<'py>) -> PyResult<Bound<'py, PyAny>> {
        let keyspace = self.keyspace()?;
        match keyspace.serves_clients() {
            true => look_up(py, keyspace, &key)?.ok_or_else(|| super::errors::key_not_found(py, &key)),
            false => self.find_in_group(py, key),
        }
    }

    fn __setitem__<'py>(&self, key: KeyBytes<'py>, value: &Bound<'py, PyAny>) -> PyResult<()> {
        let keyspace = self.keyspace()?;
        let written = match keyspace.serves_clients() {
            true => put(keyspace, &key, value, (None, Limit::Usual)),
            false => self.put_into_group(key, value, &Conditions::default(), (None, Limit::Usual)),
        };
        written.map(drop)
    }

    fn __delitem__(&self, py: Python<'_>, key: KeyBytes<'_>) -> PyResult<()> {
        let keyspace = self.keyspace()?;
        if !keyspace.serves_clients() {
            return self.remove_from_group(py, key);
        }
        match write(py, keyspace, &key, (CommandKind::Delete, Limit::Usual))?.existed {
            true => Ok(()),
            false => Err(super::errors::key_not_found(py, &key)),
        }
    }

    fn __contains__(&self, py: Python<'_>, key: KeyBytes<'_>) -> PyResult<bool> {
        let keyspace = self.keyspace()?;
        if !keyspace.serves_clients() {
            return self.is_in_group(py, key);
        }
        crate::limits::check_key(&key)?;
        Ok(look_up_presence(keyspace, &key))
    }
}
