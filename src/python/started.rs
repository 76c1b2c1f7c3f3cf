//! Calls of clients under way: how they are started, and how a thread waits for them.

use std::{sync::Arc, time::Duration};

use pyo3::prelude::*;

use super::{
    answer::Outcome,
    client::Connection,
    convert::Level,
    default::{self, Note, Ticket},
    request::{Asked, Call},
    runtime,
    slot::{wait_patiently, Slot},
    strong,
};
use crate::{
    client::{CallId, Client, Known, StrongTicket},
    error::{Error, ErrorCode, Result},
    replication::strong as group,
    types::Holding,
};

/// A call under way.
pub(super) enum Started {
    Operations(Client, CallId),
    Task(tokio::task::AbortHandle),
    Strong(StrongTicket),
    /// In the eventual way, and in the strong one if that is refused.
    Trial(Client, CallId, Ticket),
}

/// A call that can be started, with what the client knows of its keyspace. To be made with the GIL held, as what is known is behind a
/// lock that a forked child has, too.
pub(super) struct Ready {
    connection: Connection,
    work: Work,
}

enum Work {
    Operations(Asked, Arc<Known>),
    Strong(Box<group::Call>, Note),
    Question(Call),
}

impl Ready {
    /// `call` over `connection`.
    pub(super) fn new(connection: Connection, call: Call) -> Ready {
        let book = &connection.book;
        let work = match call {
            Call::Operations(asked) => {
                let known = book.of(asked.name());
                Work::Operations(asked, known)
            }
            Call::Strong(call) => {
                let note = default::note(book, &call);
                Work::Strong(call, note)
            }
            call => Work::Question(call),
        };
        Ready { connection, work }
    }

    /// Whether it may be started without the GIL.
    fn is_free(&self) -> bool {
        !matches!(self.work, Work::Question(_))
    }

    /// Starts it; `done` gets the outcome once, from whoever runs the tasks of the clients.
    ///
    /// # Errors
    /// Those of making the runtime; `UNSUPPORTED`, when the keyspace does not promise such reads.
    pub(super) fn start(
        self,
        (read, timeout): (Level, Option<Duration>),
        done: impl FnOnce(Result<Outcome>) + Send + 'static,
    ) -> Result<Started> {
        let Connection { client, strong, .. } = self.connection;
        match self.work {
            Work::Operations(asked, known) => {
                default::start((client, strong), (asked, known), (read, timeout), Box::new(done))
            }
            Work::Strong(call, note) => {
                let done = Box::new(|reply: Result<_>| {
                    note(&reply);
                    done(reply.map(Outcome::Strong));
                });
                Ok(Started::Strong(strong.submit(strong::at_level(*call, read), timeout, done)))
            }
            Work::Question(call) => Started::ask(client, call, timeout, done),
        }
    }
}

impl Started {
    /// Starts a question to the contacted node.
    ///
    /// # Errors
    /// Those of making the runtime.
    fn ask(
        asking: Client,
        call: Call,
        timeout: Option<Duration>,
        done: impl FnOnce(Result<Outcome>) + Send + 'static,
    ) -> Result<Started> {
        let task = match call {
            Call::Operations(_) | Call::Strong(_) => {
                return Err(Error::new(ErrorCode::Internal, "what is asked of a keyspace has a way of its own"));
            }
            Call::Status { digests } => runtime::spawn(async move {
                let status = asking.status(digests, timeout).await;
                done(status.map(|status| Outcome::Status(Box::new(status))));
            })?,
            Call::Members => runtime::spawn(async move {
                done(asking.members(timeout).await.map(Outcome::Members));
            })?,
            Call::Holdings => runtime::spawn(async move {
                let parts = |held: Vec<Holding>| held.into_iter().map(Holding::into_parts).collect();
                done(asking.holdings(timeout).await.map(parts).map(Outcome::Holdings));
            })?,
            Call::Conflicts(query) => runtime::spawn(async move {
                done(asking.conflicts(query, timeout).await.map(Outcome::Conflicts));
            })?,
            Call::RemoveMember { node, force } => runtime::spawn(async move {
                done(asking.remove_member(node, force, timeout).await.map(|()| Outcome::Removed));
            })?,
            Call::MoveLeader { to } => runtime::spawn(async move {
                done(asking.move_leader(to, timeout).await.map(Outcome::Leader));
            })?,
            Call::Snapshot { path } => runtime::spawn(async move {
                done(asking.snapshot(path, timeout).await.map(Outcome::Bytes));
            })?,
            Call::Survey(query) => runtime::spawn(async move {
                done(asking.survey(query, timeout).await.map(Outcome::Survey));
            })?,
            Call::Metrics => runtime::spawn(async move {
                done(asking.metrics(timeout).await.map(Outcome::Metrics));
            })?,
        };
        Ok(Started::Task(task.abort_handle()))
    }

    /// Gives the call up.
    pub(super) fn cancel(self) {
        match self {
            Started::Operations(client, call) => client.cancel(call),
            Started::Task(task) => task.abort(),
            Started::Strong(ticket) => ticket.cancel(),
            Started::Trial(client, call, ticket) => {
                ticket.cancel();
                client.cancel(call);
            }
        }
    }
}

/// Starts a call and waits for its outcome with the GIL released; looks for Ctrl-C from time to time.
///
/// # Errors
/// Those of `start`; what a handler of a signal raises.
pub(super) fn wait(
    py: Python<'_>,
    start: impl FnOnce(Box<dyn FnOnce(Result<Outcome>) + Send>) -> PyResult<Started>,
) -> PyResult<Result<Outcome>> {
    let slot = Arc::new(Slot::new());
    let filled = slot.clone();
    let started = start(Box::new(move |outcome| filled.fill(outcome)))?;
    let never = || Error::new(ErrorCode::Internal, "a wait without an end has ended");
    match wait_patiently(py, None, |patience| slot.take(patience)) {
        Ok(outcome) => Ok(outcome.ok_or_else(never)?),
        Err(interrupt) => {
            started.cancel();
            Err(interrupt)
        }
    }
}

/// As [`wait`], for calls over the network: this thread may run the tasks of the clients meanwhile.
pub(super) fn wait_or_drive(py: Python<'_>, ready: Ready, how: (Level, Option<Duration>)) -> PyResult<Result<Outcome>> {
    let slot = Arc::new(Slot::new());
    let filled = slot.clone();
    let driver = runtime::driver()?;
    let mut turn = driver.enter();
    let is_started_inside = turn.drives() && ready.is_free();
    let mut start = Some(move || ready.start(how, move |outcome| filled.fill(outcome)));
    let mut started = None;
    if !is_started_inside {
        started = start.take().map(|start| start()).transpose()?;
    }
    loop {
        let outcome = py.detach(|| -> Result<_> {
            if !turn.drives() {
                return Ok(turn.wait(|patience| slot.take(patience)));
            }
            // What is started where the tasks run wakes them without a system call.
            turn.drive(async {
                if let Some(start) = start.take() {
                    started = Some(start()?);
                }
                Ok(slot.taken().await)
            })
            .transpose()
        })?;
        if let Some(outcome) = outcome {
            return Ok(outcome);
        }
        if let Err(interrupt) = py.check_signals() {
            if let Some(started) = started {
                started.cancel();
            }
            return Err(interrupt);
        }
    }
}
