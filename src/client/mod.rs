//! A client (L5): talks to a cluster through any of its nodes.

use std::{sync::Arc, time::Duration};

use crate::{
    env::Env,
    error::Result,
    types::{Address, Answer, MemberStatus, NodeStatus, Operation},
};

/// What a client is made with.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClientConfig {
    /// Nodes to talk to; the first that answers is used until it fails.
    pub targets: Vec<Address>,
}

/// Called once with the answers, in the order of the operations, from a thread of the client's runtime. Must not block.
pub type Completion = Box<dyn FnOnce(Result<Vec<Result<Answer>>>) + Send>;

/// Names a call under way.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct CallId(pub u64);

/// Thread-safe; clones share the connection. Connects at the first call.
#[derive(Clone)]
pub struct Client {}

impl Client {
    /// A client whose connections live on `runtime`. Opens nothing.
    ///
    /// # Errors
    /// `BAD_SETTING` when there is no target.
    pub fn new(config: ClientConfig, env: Env, runtime: tokio::runtime::Handle) -> Result<Client> {
        let _ = (config, env, runtime);
        todo!()
    }

    /// Sends operations together; `done` gets the outcome once, at the latest when the timeout has passed. `None`: no
    /// limit. Never blocks.
    pub fn submit(&self, operations: Vec<Operation>, timeout: Option<Duration>, done: Completion) -> CallId {
        let _ = (operations, timeout, done);
        todo!()
    }

    /// Gives up a call: its completion is dropped, and an answer that still comes is ignored.
    pub fn cancel(&self, call: CallId) {
        let _ = call;
        todo!()
    }

    /// How the contacted node is.
    pub async fn status(&self, digests: bool, timeout: Option<Duration>) -> Result<NodeStatus> {
        let _ = (digests, timeout);
        todo!()
    }

    /// The members that the contacted node knows, itself first.
    pub async fn members(&self, timeout: Option<Duration>) -> Result<Vec<MemberStatus>> {
        let _ = timeout;
        todo!()
    }

    /// Ends the connection; calls under way fail with `CLIENT_CLOSED`. Idempotent.
    pub fn close(&self) {
        todo!()
    }
}

#[allow(dead_code)]
type Unused = Arc<()>;
