//! A node (L5): composition and lifecycle.

use std::{sync::Arc, time::Duration};

use crate::{
    config::NodeConfig,
    env::Env,
    error::Result,
    replication::eventual::Eventual,
    types::{Address, MemberStatus, NodeId, NodeStatus},
};

/// A whole node: store, server, replication, on threads of its own. Starts once, stops once.
pub struct Node {}

impl Node {
    /// A node that is not running yet. Opens nothing.
    ///
    /// # Errors
    /// Those of [`NodeConfig::check`].
    pub fn new(config: NodeConfig, env: Env) -> Result<Node> {
        let _ = (config, env);
        todo!()
    }

    /// Binds the port and runs; returns when the port is open. Does nothing when it is running. Blocks: not for use
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// `ADDRESS_IN_USE` (names the owner if it is a node), `BIND_FAILED`; `NOT_RUNNING` after a stop: make a new node.
    pub fn start(&self) -> Result<()> {
        todo!()
    }

    /// Waits until this node has caught up with at least one peer, or has none.
    ///
    /// # Errors
    /// `DEADLINE_EXCEEDED`, `NOT_RUNNING`.
    pub fn wait_ready(&self, timeout: Duration) -> Result<()> {
        let _ = timeout;
        todo!()
    }

    /// Hands over what connected peers lack, closes everything, ends all threads. Idempotent.
    ///
    /// # Errors
    /// `DEADLINE_EXCEEDED` when it had to be cut short; it is stopped all the same.
    pub fn stop(&self, timeout: Duration) -> Result<()> {
        let _ = timeout;
        todo!()
    }

    /// Whether it was started and not stopped.
    pub fn is_running(&self) -> bool {
        todo!()
    }

    /// This incarnation.
    pub fn id(&self) -> NodeId {
        todo!()
    }

    /// The address by which others reach it; `None` before the start when the port is picked.
    pub fn address(&self) -> Option<Address> {
        todo!()
    }

    /// The data.
    ///
    /// # Errors
    /// `NOT_RUNNING`.
    pub fn keyspace(&self) -> Result<Arc<Eventual>> {
        todo!()
    }

    /// How it is, without I/O. `digests` reads every record.
    ///
    /// # Errors
    /// `NOT_RUNNING`.
    pub fn status(&self, digests: bool) -> Result<NodeStatus> {
        let _ = digests;
        todo!()
    }

    /// The members it knows, itself first.
    ///
    /// # Errors
    /// `NOT_RUNNING`.
    pub fn members(&self) -> Result<Vec<MemberStatus>> {
        todo!()
    }
}
