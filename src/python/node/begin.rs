//! Calls that go on in the background.

use std::time::Duration;

use pyo3::prelude::*;

use super::{
    now::operate,
    waiting::{takes_long, Promise},
    PyNode,
};
use crate::{
    error::Result,
    python::{
        answer::Outcome,
        convert::Level,
        durable,
        request::{Asked, Call},
        started::Started,
        strong,
    },
};

impl PyNode {
    /// Starts what does not end at once, and tells `done` when it has, from a thread of the node. A write is done now, and
    /// has ended when it is on disk: many writes share one sync. When the disk is behind, writes wait for room in the log, in the
    /// order in which they were started.
    ///
    /// # Errors
    /// `NOT_RUNNING`, `FORKED`.
    pub(in crate::python) fn begin(
        &self,
        py: Python<'_>,
        call: Call,
        (read, timeout): (Level, Option<Duration>),
        done: impl FnOnce(Result<Outcome>) + Send + 'static,
    ) -> PyResult<Started> {
        let (keyspace, runtime) = (self.keyspace()?.clone(), self.node()?.runtime()?);
        let call = match call {
            Call::Strong(call) => {
                let done = Box::new(|reply: Result<_>| done(reply.map(Outcome::Strong)));
                return Ok(Started::Strong(self.strong()?.submit(strong::at_level(*call, read), timeout, done)));
            }
            call => call,
        };
        let done = match self.begin_at_group(&call, (read, timeout), done)? {
            Ok(started) => return Ok(started),
            Err(done) => done,
        };
        if takes_long(&call) {
            return Ok(self.begin_long(call, timeout, done)?);
        }
        let is_write = call.is_write();
        let call = match call {
            Call::Operations(asked) if is_write && !self.turns.is_mine(&keyspace) => {
                return Ok(self.begin_in_turn(asked, timeout, done)?);
            }
            call => call,
        };
        let outcome = py.detach(|| self.answer(call));
        let (written, promise) = (keyspace.written(), Promise::new(is_write, done));
        let task = runtime.spawn(async move {
            promise.keep(durable::settled(&keyspace, written, timeout).await.and(outcome));
        });
        Ok(Started::Task(task.abort_handle()))
    }

    /// Starts a write for which the log has no room now. It is made when its turn has come, and not at all when it was given up
    /// before.
    ///
    /// # Errors
    /// `NOT_RUNNING`, `FORKED`.
    fn begin_in_turn(
        &self,
        asked: Asked,
        timeout: Option<Duration>,
        done: impl FnOnce(Result<Outcome>) + Send + 'static,
    ) -> Result<Started> {
        let (keyspace, runtime) = (self.keyspace()?.clone(), self.node()?.runtime()?);
        let (turn, promise) = (self.turns.line_up(), Promise::new(true, done));
        let task = runtime.spawn(async move {
            promise.keep(durable::in_turn(&keyspace, turn, timeout, || operate(&keyspace, asked)).await);
        });
        Ok(Started::Task(task.abort_handle()))
    }
}
