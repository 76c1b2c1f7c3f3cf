//! A client (L5): talks to a cluster through any of its nodes.
//!
//! All calls of a client, from however many threads and tasks, share one connection and on it one `Pipeline` stream:
//! calls that come together travel together, each answer finds its call by id. `calls` is the state machine that
//! keeps the promises about outcomes, `pipeline` the task that drives it over a connection, `directory` knows the nodes, `endpoints` decides
//! which node is tried next, `lookout` looks after it, and `session` keeps reads from going back when it is another one. `hedge` asks a second node. A [`Watch`] has a connection
//! and a task of its own. [`StrongClient`] is the way to strong keyspaces; `default` (the file) is for who does not know which of the two
//! the keyspace of that name is.
//!
//! | what happens | a read | a write |
//! | --- | --- | --- |
//! | no node can be reached | tried until the deadline, then `UNREACHABLE` | the same |
//! | the connection is lost, the call was not sent | tried on another node | the same |
//! | the connection is lost, the call was sent | tried on another node | `CONNECTION_LOST`, maybe applied |
//! | the deadline passes, the call was sent | `DEADLINE_EXCEEDED` | `DEADLINE_EXCEEDED`, maybe applied |
//! | the deadline passes, the call was not sent | `DEADLINE_EXCEEDED` | the same, nothing was changed |
//! | the node is being stopped | tried on another node | the same |
//! | the node has not caught up with the session when the deadline passes | `SESSION_BEHIND` | not waited for |
//! | writes that the session has seen went with a node | `SESSION_LOST`, once | not waited for |
//! | the client is closed | `CLIENT_CLOSED` | the same; maybe applied if it was sent |
//!
//! That is with the default [`Retry`]: another one bounds how often a call is tried, or has writes sent again too.

mod call;
mod calls;
mod channels;
mod default;
mod directory;
mod download;
mod driver;
mod endpoints;
mod hedge;
pub mod load;
mod lookout;
mod operators;
mod pipeline;
mod retry;
mod session;
mod shared;
mod strong;
mod watch;

use std::{
    collections::BTreeMap,
    future::Future,
    path::PathBuf,
    sync::{Arc, OnceLock},
    time::Duration,
};

use tokio::sync::oneshot;

pub use crate::rpc::{Token, TokenSource};
use crate::{
    env::Env,
    error::{Error, ErrorCode, Result},
    limits,
    rpc::{all_conflicts, move_leader, node_holdings, node_members, node_status, remove_member, Access, Channel},
    types::{
        metrics, Address, Answer, ClientName, ConflictQuery, Conflicts, Holding, MemberStatus, NodeId, NodeStatus,
        Operation, ReadLevel, Trust,
    },
};
use call::Slot;
pub use default::{as_eventual, as_strong, told, Book, Known, Told};
use download::download;
pub use driver::{Driver, Turn};
use hedge::{is_hedgeable, race};
pub use retry::{RepeatedWrites, Retry};
use shared::Shared;
pub use strong::{KeptLease, StrongBackend, StrongClient, StrongCompletion, StrongPages, StrongTicket};
pub use watch::{Page, Wake, Watch};

/// What a client is made with.
#[derive(Clone, Debug)]
pub struct ClientConfig {
    /// Nodes to talk to.
    pub targets: Vec<Address>,
    /// Whether the client asks for further nodes, and chooses the nearest of all. Without, the first target that answers is used
    /// until it fails, then the next.
    pub discover: bool,
    /// After this time without an answer a read is asked of a second node, too; `None`: never.
    pub hedge: Option<Duration>,
    /// What is done when a call comes to nothing.
    pub retry: Retry,
    /// What the client calls itself; nodes write it to their logs.
    pub name: Option<ClientName>,
    /// Whom it believes that a node is who it says; `None`: it speaks in the clear, to anybody.
    pub tls: Option<Trust>,
    /// What it presents to nodes.
    pub token: Token,
    /// It presents the token also where others can read it on its way.
    pub is_careless: bool,
}

impl ClientConfig {
    /// The defaults, for these targets.
    pub fn new(targets: Vec<Address>) -> ClientConfig {
        ClientConfig {
            targets,
            discover: true,
            hedge: None,
            retry: Retry::default(),
            name: None,
            tls: None,
            token: Token::None,
            is_careless: false,
        }
    }
}

/// Called once with the answers, in the order of the operations, or with the error of the call as a whole. Called from
/// a thread of the client's runtime, or inside [`Client::submit`] and [`Client::close`]. Must not block or panic.
pub type Completion = Box<dyn FnOnce(Result<Vec<Result<Answer>>>) + Send>;

/// Names a call under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// What a call gets that never was under way.
const NO_CALL: CallId = CallId(0);

/// Thread-safe; clones share the connection. Connects at the first call. Closed when the last clone is dropped.
#[derive(Clone)]
pub struct Client {
    handle: Arc<Handle>,
}

/// What the clones have in common; the task of the client does not hold it.
struct Handle {
    shared: Arc<Shared>,
    runtime: tokio::runtime::Handle,
    /// Its session with strong keyspaces, from the first use on.
    strong: OnceLock<Arc<strong::Session>>,
}

impl Drop for Handle {
    fn drop(&mut self) {
        self.shared.close();
    }
}

impl Client {
    /// A client whose connections live on `runtime`. Reads the files of `tls`, and opens no connection.
    ///
    /// # Errors
    /// `BAD_SETTING` when there is no target, or more than [`limits::MEMBERS_MAX`]; for the files of `tls`.
    pub fn new(config: ClientConfig, env: Env, runtime: tokio::runtime::Handle) -> Result<Client> {
        let count = config.targets.len();
        if count == 0 || count > limits::MEMBERS_MAX {
            let text = format!("targets: {count} addresses, must be 1 to {}", limits::MEMBERS_MAX);
            return Err(Error::new(ErrorCode::BadSetting, text));
        }
        let shared = Arc::new(Shared::new(env, config)?);
        Ok(Client { handle: Arc::new(Handle { shared, runtime, strong: OnceLock::new() }) })
    }

    /// Sends operations together; `done` gets the outcome once, at the latest when the timeout has passed. `None`: no
    /// limit. Never blocks.
    ///
    /// The clones of a client are one session: with [`ReadLevel::Session`] a read shows at least what any call of it has
    /// written or read before, whichever node answers.
    ///
    /// An error of the call as a whole is `BATCH_TOO_LARGE`, `OVERLOADED`, or one of those in the table of this module;
    /// what the node refused is the error of the one operation.
    pub fn submit(
        &self,
        operations: Vec<Operation>,
        read: ReadLevel,
        timeout: Option<Duration>,
        done: Completion,
    ) -> CallId {
        self.submit_in("", operations, read, timeout, done)
    }

    /// As [`Client::submit`], in a keyspace; an empty name means `default`. One that is strong is refused by
    /// `KEYSPACE_IS_STRONG`, operation by operation.
    pub fn submit_in(
        &self,
        keyspace: &str,
        operations: Vec<Operation>,
        read: ReadLevel,
        timeout: Option<Duration>,
        done: Completion,
    ) -> CallId {
        let slots: Vec<Slot> = operations.iter().map(|operation| Slot::new(keyspace, operation, read)).collect();
        let checked = limits::check_batch(slots.len(), slots.iter().map(|slot| slot.bytes).sum());
        if checked.is_err() || slots.is_empty() {
            done(checked.map(|()| Vec::new()));
            return NO_CALL;
        }
        self.start();
        let Handle { shared, runtime, .. } = &*self.handle;
        let done = match &shared.hedge {
            Some(hedge) if is_hedgeable(&operations) => {
                race((shared, hedge), runtime, (keyspace, operations), (read, timeout), done)
            }
            Some(_) | None => done,
        };
        shared.submit(slots, timeout, done).unwrap_or(NO_CALL)
    }

    /// As [`Client::call_at`], with session reads.
    ///
    /// # Errors
    /// Those of [`Client::submit`].
    pub async fn call(&self, operations: Vec<Operation>, timeout: Option<Duration>) -> Result<Vec<Result<Answer>>> {
        self.call_at(operations, ReadLevel::Session, timeout).await
    }

    /// As [`Client::submit`], for Rust callers: dropping the future gives the call up.
    ///
    /// # Errors
    /// Those of [`Client::submit`].
    pub async fn call_at(
        &self,
        operations: Vec<Operation>,
        read: ReadLevel,
        timeout: Option<Duration>,
    ) -> Result<Vec<Result<Answer>>> {
        let (sender, answers) = oneshot::channel();
        // A caller that is gone gave the call up, and nobody wants its answers.
        let done: Completion = Box::new(|outcome| drop(sender.send(outcome)));
        let _guard = CancelOnDrop { client: self, call: self.submit(operations, read, timeout, done) };
        answers.await.unwrap_or_else(|_| Err(closed()))
    }

    /// Gives up a call: its completion is dropped, and an answer that still comes is ignored. A write may be applied
    /// all the same. Does nothing when the call is over.
    pub fn cancel(&self, call: CallId) {
        self.handle.shared.cancel(call);
    }

    /// How the contacted node is. `digests` makes it read every record. To be polled on a tokio runtime with a timer.
    ///
    /// # Errors
    /// `UNREACHABLE`, `DEADLINE_EXCEEDED`, `CLIENT_CLOSED`, or what the node answered.
    pub async fn status(&self, digests: bool, timeout: Option<Duration>) -> Result<NodeStatus> {
        self.ask("status", timeout, |channel| node_status(channel, digests)).await
    }

    /// What the contacted node holds of each eventual keyspace that it knows. To be polled on a tokio runtime with a timer.
    ///
    /// # Errors
    /// Those of [`Client::status`].
    pub async fn holdings(&self, timeout: Option<Duration>) -> Result<Vec<Holding>> {
        self.ask("holdings", timeout, node_holdings).await
    }

    /// The members that the contacted node knows, itself first. To be polled on a tokio runtime with a timer.
    ///
    /// # Errors
    /// Those of [`Client::status`].
    pub async fn members(&self, timeout: Option<Duration>) -> Result<Vec<MemberStatus>> {
        self.ask("members", timeout, node_members).await
    }

    /// The conflicts of the contacted node and of every member that it does not take for dead, the newest first. Names the
    /// members that could not be asked. To be polled on a tokio runtime with a timer.
    ///
    /// # Errors
    /// Those of [`Client::status`].
    pub async fn conflicts(&self, query: ConflictQuery, timeout: Option<Duration>) -> Result<Conflicts> {
        let access = self.access();
        self.ask("conflicts", timeout, |channel| all_conflicts(channel, access.clone(), query.clone())).await
    }

    /// Every series of the contacted node. To be polled on a tokio runtime with a timer.
    ///
    /// # Errors
    /// Those of [`Client::status`].
    pub async fn metrics(&self, timeout: Option<Duration>) -> Result<BTreeMap<String, f64>> {
        let ask = |channel: Channel| async move {
            let status = node_status(channel.clone(), false).await?;
            Ok(metrics(&status, &node_members(channel).await?))
        };
        self.ask("metrics", timeout, ask).await
    }

    /// Removes a member for good, also one that is up with `force`. To be polled on a tokio runtime with a timer.
    ///
    /// # Errors
    /// Those of [`Client::status`]; `UNKNOWN_MEMBER`, `MEMBER_UP`, `INVALID_ARGUMENT` for the contacted node itself.
    pub async fn remove_member(&self, node: NodeId, force: bool, timeout: Option<Duration>) -> Result<()> {
        // Asking twice is as good as once, so a lost connection is no reason to give up.
        self.ask("remove_member", timeout, |channel| remove_member(channel, node, force)).await.map_err(of_change)
    }

    /// Has another member lead the strong group, or for `None` whoever is best at it; the id of the new leader. To be polled on a
    /// tokio runtime with a timer.
    ///
    /// # Errors
    /// Those of [`Client::status`]; `UNKNOWN_MEMBER` when it has no vote; `NO_LEADER`.
    pub async fn move_leader(&self, to: Option<NodeId>, timeout: Option<Duration>) -> Result<NodeId> {
        // Asked twice it may move twice, which harms nobody.
        self.ask("move_leader", timeout, |channel| move_leader(channel, to)).await.map_err(of_change)
    }

    /// Fetches everything that the contacted node holds into a file of this machine, which is there whole or not at all;
    /// its bytes. To be polled on a tokio runtime with a timer.
    ///
    /// # Errors
    /// Those of [`Client::status`] and of the disk; `CORRUPT` when what came is no whole snapshot.
    pub async fn snapshot(&self, path: PathBuf, timeout: Option<Duration>) -> Result<u64> {
        let disk = &self.env().disk;
        self.ask("snapshot", timeout, |channel| download(disk.clone(), channel, path.clone())).await
    }

    /// Ends the connection; calls under way fail with `CLIENT_CLOSED`. Idempotent.
    pub fn close(&self) {
        self.handle.shared.close();
    }

    fn env(&self) -> &Env {
        &self.handle.shared.env
    }

    fn access(&self) -> &Access {
        &self.handle.shared.access
    }

    fn targets(&self) -> &[Address] {
        &self.handle.shared.targets
    }

    fn start(&self) {
        pipeline::start(&self.handle.shared, &self.handle.runtime);
    }

    /// Asks the contacted node, and another one when the connection is lost.
    async fn ask<T, F>(&self, name: &str, timeout: Option<Duration>, ask: impl Fn(Channel) -> F) -> Result<T>
    where
        F: Future<Output = Result<T>>,
    {
        self.start();
        let shared = &self.handle.shared;
        let mut channels = shared.channels();
        let asking = async {
            loop {
                match ask(channels.next().await?).await {
                    Err(error) if error.code() == ErrorCode::ConnectionLost => channels.lost(error).await?,
                    outcome => return outcome,
                }
            }
        };
        let within = timeout.unwrap_or(Duration::MAX);
        let outcome = tokio::select! {
            biased;
            () = shared.closed() => return Err(closed()),
            outcome = tokio::time::timeout(within, asking) => outcome,
        };
        outcome.unwrap_or_else(|_| {
            let is_connected = channels.is_connected();
            Err(if is_connected { Error::deadline(name, within) } else { shared.unreachable(within) })
        })
    }
}

fn closed() -> Error {
    Error::new(ErrorCode::ClientClosed, "the client is closed; make a new one")
}

/// Of what changes something and was sent, a lost answer says nothing about the outcome.
fn of_change(error: Error) -> Error {
    match error.code() {
        ErrorCode::ConnectionLost | ErrorCode::DeadlineExceeded => error.maybe_applied(),
        _ => error,
    }
}

struct CancelOnDrop<'a> {
    client: &'a Client,
    call: CallId,
}

impl Drop for CancelOnDrop<'_> {
    fn drop(&mut self) {
        self.client.cancel(self.call);
    }
}

#[cfg(test)]
mod tests;
