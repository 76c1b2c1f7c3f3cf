//! The calls of a node whose keyspace `default` is not its own to serve: the group has it, or will say.

use std::time::Duration;

use pyo3::{prelude::*, types::PyAny};

use super::PyNode;
use crate::{
    client::{as_strong, StrongCompletion},
    error::Result,
    python::{
        answer::Outcome,
        call::into_python,
        client::Started,
        convert::{KeyBytes, Level},
        default,
        durable::Limit,
        errors,
        request::Call,
        strong::StrongRequests,
    },
};

/// What a put or delete may ask for beyond an eventual keyspace.
#[derive(Default)]
pub(super) struct Conditions<'a, 'py> {
    pub(super) lease: Option<&'a Bound<'py, PyAny>>,
    pub(super) if_absent: bool,
    pub(super) if_version: Option<&'a Bound<'py, PyAny>>,
}

impl Conditions<'_, '_> {
    fn lease(&self) -> PyResult<Option<u64>> {
        self.lease.map(|lease| into_python(|| lease.getattr("id"))?.extract()).transpose()
    }

    fn if_version(&self) -> PyResult<Option<u64>> {
        self.if_version.map(|version| version.extract()).transpose()
    }
}

impl PyNode {
    /// Whether a call is for the group although it was made in the eventual way.
    pub(super) fn is_for_group(&self, call: &Call) -> Result<bool> {
        Ok(matches!(call, Call::Operations(_)) && !self.keyspace()?.serves_clients())
    }

    /// Whether a call is not answered from memory.
    pub(super) fn waits_for(&self, call: &Call) -> bool {
        let Ok(keyspace) = self.keyspace() else { return false };
        match call {
            Call::Strong(_) => true,
            Call::Operations(_) if !keyspace.serves_clients() => true,
            call => call.is_write() && keyspace.ledger().is_some_and(|ledger| ledger.is_synchronous()),
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
        let Call::Operations(operations) = call else { return Ok(Err(done)) };
        let is_served_here = self.keyspace()?.serves_clients();
        let Some(call) = (!is_served_here).then(|| as_strong(operations, read.strong())).flatten() else {
            return Ok(Err(done));
        };
        let done: StrongCompletion = Box::new(|reply| done(default::settled(reply)));
        Ok(Ok(Started::Strong(self.strong()?.submit(call, timeout, done))))
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
