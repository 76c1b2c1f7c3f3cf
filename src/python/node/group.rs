//! The calls about keyspaces that are not the node's own to serve: the group has them, or will say.

use std::time::Duration;

use pyo3::{prelude::*, types::PyAny};

use super::{waiting::Promise, PyNode};
use crate::{
    client::{as_strong, StrongCompletion},
    env::{Clock, SystemClock},
    error::{Error, ErrorCode, Result},
    python::{
        answer::Outcome,
        call::into_python,
        convert::{self, KeyBytes, Level},
        default,
        durable::{self, Limit},
        errors,
        request::{Asked, Call},
        runtime::ProcessBound,
        started::Started,
        strong::StrongRequests,
    },
    replication::{eventual::Found, execute_in},
    types::{Consistency, Operation, DEFAULT_KEYSPACE},
};

/// What a put or delete may ask for beyond an eventual keyspace.
#[derive(Default)]
pub(super) struct Conditions<'a, 'py> {
    pub(super) lease: Option<&'a Bound<'py, PyAny>>,
    pub(super) if_absent: bool,
    pub(super) if_version: Option<&'a Bound<'py, PyAny>>,
}

/// Who has a keyspace.
pub(super) enum Whereabouts {
    /// This node.
    Here,
    /// The group, or nobody can say yet.
    Group,
    /// The group knows whether there is one.
    Unknown,
}

impl Conditions<'_, '_> {
    fn lease(&self) -> PyResult<Option<u64>> {
        self.lease.map(|lease| into_python(lease.py(), || lease.getattr("id"))?.extract()).transpose()
    }

    fn if_version(&self) -> PyResult<Option<u64>> {
        Ok(self.if_version.map(convert::if_version).transpose()?.flatten())
    }
}

impl PyNode {
    /// What a keyspace is, as far as this node knows.
    pub(super) fn known(&self, name: &str) -> Option<Consistency> {
        let keyspace = self.keyspace.get().and_then(ProcessBound::get)?;
        match (name, keyspace.spaces().find(name)) {
            (DEFAULT_KEYSPACE, _) => Consistency::from_name(keyspace.default_keyspace().as_str()),
            (_, Found::Eventual(_)) => Some(Consistency::Eventual),
            (_, Found::Strong) => Some(Consistency::Strong),
            (_, Found::Unknown) => None,
        }
    }

    /// Who has the keyspace that is asked, as far as this node knows.
    ///
    /// # Errors
    /// `NOT_RUNNING`, `INVALID_ARGUMENT` for what is no name.
    pub(super) fn whereabouts(&self, asked: &Asked) -> Result<Whereabouts> {
        let keyspace = self.keyspace()?;
        let Some(name) = &asked.keyspace else {
            let is_here = keyspace.serves_clients();
            return Ok(if is_here { Whereabouts::Here } else { Whereabouts::Group });
        };
        if asked.operations.is_empty() {
            return Ok(Whereabouts::Here);
        }
        match keyspace.space_named(name) {
            Ok(Some(_)) => Ok(Whereabouts::Here),
            Ok(None) => Ok(Whereabouts::Unknown),
            Err(error) if error.code() == ErrorCode::KeyspaceIsStrong => Ok(Whereabouts::Group),
            Err(error) => Err(error),
        }
    }

    /// Whether a call is not answered from memory although it was made in the eventual way.
    pub(super) fn is_for_group(&self, call: &Call) -> Result<bool> {
        match call {
            Call::Operations(asked) => Ok(!matches!(self.whereabouts(asked)?, Whereabouts::Here)),
            _ => Ok(false),
        }
    }

    /// Whether a call is not answered from memory.
    pub(super) fn waits_for(&self, call: &Call) -> bool {
        let Ok(keyspace) = self.keyspace() else { return false };
        match call {
            Call::Strong(_) => true,
            Call::Operations(_) if self.is_for_group(call).unwrap_or(false) => true,
            call if !call.is_write() => false,
            // For the disk, or for room in the log.
            _ => keyspace.ledger().is_some_and(|ledger| ledger.is_synchronous() || !self.turns.is_mine(keyspace)),
        }
    }

    /// Starts a call that was made in the eventual way, at the group. Otherwise gives `done` back.
    pub(super) fn begin_at_group<D>(
        &self,
        call: &Call,
        (read, timeout): (Level, Option<Duration>),
        done: D,
    ) -> Result<std::result::Result<Started, D>>
    where
        D: FnOnce(Result<Outcome>) + Send + 'static,
    {
        let Call::Operations(asked) = call else { return Ok(Err(done)) };
        match self.whereabouts(asked)? {
            Whereabouts::Here => Ok(Err(done)),
            Whereabouts::Group => {
                let name = asked.name().to_string();
                let Some(call) = as_strong(&name, &asked.operations, read.strong()) else { return Ok(Err(done)) };
                let done: StrongCompletion = Box::new(move |reply| done(default::settled(&name, reply)));
                Ok(Ok(Started::Strong(self.strong()?.submit(call, timeout, done))))
            }
            Whereabouts::Unknown => Ok(Ok(self.begin_at_whoever(asked, (read, timeout), done)?)),
        }
    }

    /// Starts a call about a keyspace of which this node has not heard: asks the group, and then does it here or there.
    fn begin_at_whoever<D>(&self, asked: &Asked, (read, timeout): (Level, Option<Duration>), done: D) -> Result<Started>
    where
        D: FnOnce(Result<Outcome>) + Send + 'static,
    {
        let (keyspace, strong) = (self.keyspace()?.clone(), self.strong()?);
        let (refresh, runtime) = (self.node()?.refresh_spaces()?, self.node()?.runtime()?);
        let (name, operations) = (asked.name().to_string(), asked.operations.clone());
        let (clock, within) = (SystemClock::new(), timeout.unwrap_or(Duration::MAX));
        let is_write = operations.iter().any(Operation::is_write);
        let (turns, promise) = (self.turns.clone(), Promise::new(is_write, done));
        let task = runtime.spawn(async move {
            let refreshed = tokio::time::timeout(within, refresh).await;
            let refreshed = refreshed.unwrap_or_else(|_| Err(Error::deadline("looking for the keyspace", within)));
            let space = refreshed.and_then(|()| keyspace.space_settled(&name));
            match space.and_then(|space| read.eventual().map(|_| space)) {
                Ok(space) => {
                    let answers = operations.into_iter().map(|operation| execute_in(&keyspace, space, operation));
                    let operate = || Ok(Outcome::Answers(answers.collect()));
                    let left = timeout.map(|timeout| timeout.saturating_sub(clock.monotonic()));
                    promise.keep(match is_write {
                        true => durable::in_turn(&keyspace, turns.line_up(), left, operate).await,
                        false => operate(),
                    });
                }
                Err(error) if error.code() == ErrorCode::KeyspaceIsStrong => {
                    let Some(call) = as_strong(&name, &operations, read.strong()) else {
                        return promise.keep(Err(error));
                    };
                    let left = timeout.map(|timeout| timeout.saturating_sub(clock.monotonic()));
                    let done: StrongCompletion = Box::new(move |reply| promise.keep(default::settled(&name, reply)));
                    // Whoever gives the call up does not wait for it; it may be applied all the same.
                    let _ticket = strong.submit(call, left, done);
                }
                Err(error) => promise.keep(Err(error)),
            }
        });
        Ok(Started::Task(task.abort_handle()))
    }

    #[cold]
    pub(super) fn get_from_group<'py>(
        &self,
        key: KeyBytes<'py>,
        default: Bound<'py, PyAny>,
        (read, timeout): (Level, Limit),
    ) -> PyResult<Bound<'py, PyAny>> {
        let py = default.py();
        let request = StrongRequests::of_default().get(key, default.unbind(), None)?;
        self._run(py, &request, timeout, read)
    }

    /// As `node[key]`: an error when there is none.
    #[cold]
    pub(super) fn find_in_group<'py>(&self, py: Python<'py>, key: KeyBytes<'py>) -> PyResult<Bound<'py, PyAny>> {
        let name = key.to_vec();
        // Nobody else has this object, so no value is it.
        let nothing = py.get_type::<PyAny>().call0()?;
        let found = self.get_from_group(key, nothing.clone(), (Level::Usual, Limit::Usual))?;
        match found.is(&nothing) {
            false => Ok(found),
            true => Err(errors::key_not_found(py, &name)),
        }
    }

    #[cold]
    pub(super) fn put_into_group<'py>(
        &self,
        key: KeyBytes<'py>,
        value: &Bound<'py, PyAny>,
        conditions: &Conditions<'_, 'py>,
        (ttl, timeout): (Option<&Bound<'py, PyAny>>, Limit),
    ) -> PyResult<u64> {
        let (lease, if_version) = (conditions.lease()?, conditions.if_version()?);
        let request =
            StrongRequests::of_default().put(key, value, ttl, None, lease, conditions.if_absent, if_version)?;
        self._run(value.py(), &request, timeout, Level::Usual)?.extract()
    }

    #[cold]
    pub(super) fn delete_from_group(
        &self,
        py: Python<'_>,
        key: KeyBytes<'_>,
        conditions: &Conditions<'_, '_>,
        timeout: Limit,
    ) -> PyResult<bool> {
        let request = StrongRequests::of_default().delete(key, conditions.if_version()?)?;
        self._run(py, &request, timeout, Level::Usual)?.extract()
    }

    #[cold]
    pub(super) fn is_in_group(&self, py: Python<'_>, key: KeyBytes<'_>) -> PyResult<bool> {
        let request = StrongRequests::of_default().exists(key)?;
        self._run(py, &request, Limit::Usual, Level::Usual)?.extract()
    }

    /// As `del node[key]`: an error when there is none.
    #[cold]
    pub(super) fn remove_from_group(&self, py: Python<'_>, key: KeyBytes<'_>) -> PyResult<()> {
        let name = key.to_vec();
        match self.delete_from_group(py, key, &Conditions::default(), Limit::Usual)? {
            true => Ok(()),
            false => Err(errors::key_not_found(py, &name)),
        }
    }
}
