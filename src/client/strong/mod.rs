//! The way to strong keyspaces: requests that are applied once, however often they have to be sent, and leases that are
//! kept.
//!
//! A [`StrongClient`] is a session. It registers with the group at its first change and numbers its changes, so that a
//! change whose answer was lost is sent again, also to another node, without being applied twice. It remembers the
//! greatest revision that it has seen, so that session reads never go back. `session` keeps these promises over any
//! [`StrongBackend`]: a group in this process, or `remote`, the nodes that a [`Client`] knows.
//!
//! | what happens | a read | a change |
//! | --- | --- | --- |
//! | no node can be reached, or there is no leader | tried until the deadline, then `UNREACHABLE`, `NO_LEADER` | the same; maybe applied if an earlier try was sent |
//! | the connection is lost, the node is stuck | tried on another node | the same, under the same id |
//! | the deadline passes | `DEADLINE_EXCEEDED` | the same; maybe applied if it was sent |
//! | the group has forgotten the session | not affected | `REQUEST_FORGOTTEN`, maybe applied; the next change registers anew |
//! | the client is closed | `CLIENT_CLOSED` | the same; maybe applied if it was sent |
//!
//! Not done here: nothing is sent again for a program that was started anew, because the id of a session is kept in memory
//! only.

mod attempt;
mod lease;
mod registration;
mod remote;
mod session;
mod watch;

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::oneshot, task::AbortHandle};

use super::{closed, Client};
use crate::{
    env::Env,
    error::Result,
    replication::strong::{Call, LeaseId, Reply},
};
use attempt::Progress;
pub use lease::KeptLease;
use remote::Remote;
pub(super) use session::Session;

pub use crate::rpc::{StrongBackend, StrongPages};

/// Called once with the outcome of a call, from a thread of the runtime or inside [`StrongClient::submit`]. Must not block
/// or panic.
pub type StrongCompletion = Box<dyn FnOnce(Result<Reply>) + Send>;

/// A session with a group. Thread-safe; clones are the same session.
#[derive(Clone)]
pub struct StrongClient {
    session: Arc<Session>,
    /// Stays open as long as this is used.
    _client: Option<Client>,
}

impl StrongClient {
    /// The session of a client: the same for all of its clones. It goes to the nodes that the client knows, over a connection
    /// of its own, and ends with the client.
    pub fn of_client(client: &Client) -> StrongClient {
        let session = client.handle.strong.get_or_init(|| {
            let (shared, runtime) = (client.handle.shared.clone(), client.handle.runtime.clone());
            let backend = Arc::new(Remote::new(&shared.targets, shared.access.clone()));
            Arc::new(Session::new(backend, runtime, shared.env.clone(), Some(shared)))
        });
        StrongClient { session: session.clone(), _client: Some(client.clone()) }
    }

    /// A session of its own with a group of this process. It ends when the backend refuses everything.
    pub fn of_backend(backend: Arc<dyn StrongBackend>, runtime: tokio::runtime::Handle, env: Env) -> StrongClient {
        StrongClient { session: Arc::new(Session::new(backend, runtime, env, None)), _client: None }
    }

    /// Makes a call; `done` gets the outcome once, at the latest shortly after the timeout has passed. `None`: no limit. Never
    /// blocks.
    ///
    /// A change gets its id here; one that has an id already keeps it. A read gets all of its answers, at one revision,
    /// however many messages that takes.
    ///
    /// Errors are those of the table of this module, `OVERLOADED` when too many calls are under way, those of
    /// [`check_call`](crate::rpc::check_call), and what the group refused.
    pub fn submit(&self, call: Call, timeout: Option<Duration>, done: StrongCompletion) -> StrongTicket {
        let taken = match self.session.take_in(&call) {
            Ok(taken) => taken,
            Err(error) => {
                done(Err(error));
                return StrongTicket { waiter: Arc::default(), task: None };
            }
        };
        let waiter: Waiter = Arc::new(Mutex::new(Some(done)));
        let progress = Arc::new(Progress::of(&call));
        let ending = Ending { waiter: waiter.clone(), progress: progress.clone() };
        let session = self.session.clone();
        let task = self.session.runtime().spawn(async move {
            let outcome = session.run(call, timeout, &progress).await;
            drop(taken);
            ending.complete(outcome);
        });
        StrongTicket { waiter, task: Some(task.abort_handle()) }
    }

    /// As [`StrongClient::submit`], for Rust callers: dropping the future gives the call up.
    ///
    /// # Errors
    /// Those of [`StrongClient::submit`].
    pub async fn call(&self, call: Call, timeout: Option<Duration>) -> Result<Reply> {
        let (sender, outcome) = oneshot::channel();
        // A caller that is gone gave the call up, and nobody wants its outcome.
        let done: StrongCompletion = Box::new(|outcome| drop(sender.send(outcome)));
        let _guard = CancelOnDrop(self.submit(call, timeout, done));
        outcome.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Keeps a lease alive from now on. Its deadline counts from when the request that granted it was sent, if that was made
    /// through this session.
    pub fn keep(&self, lease: LeaseId, ttl: Duration) -> KeptLease {
        KeptLease::start(self.clone(), lease, ttl)
    }
}

/// Who waits for an outcome; `None`: nobody any more.
type Waiter = Arc<Mutex<Option<StrongCompletion>>>;

/// A call under way.
pub struct StrongTicket {
    waiter: Waiter,
    task: Option<AbortHandle>,
}

impl StrongTicket {
    /// Gives the call up: its completion is dropped. A change may be applied all the same. Does nothing when the call is over.
    pub fn cancel(&self) {
        // Whatever the completion does when it is dropped, it does so without the lock.
        let waiter = self.waiter.lock().take();
        drop(waiter);
        if let Some(task) = &self.task {
            task.abort();
        }
    }
}

struct CancelOnDrop(StrongTicket);

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.0.cancel();
    }
}

/// Sees to it that whoever waits is told, also when the runtime ends under the call.
struct Ending {
    waiter: Waiter,
    progress: Arc<Progress>,
}

impl Ending {
    fn complete(&self, outcome: Result<Reply>) {
        let waiter = self.waiter.lock().take();
        if let Some(done) = waiter {
            done(outcome);
        }
    }
}

impl Drop for Ending {
    fn drop(&mut self) {
        self.complete(Err(self.progress.settle(closed())));
    }
}

#[cfg(test)]
mod tests;
