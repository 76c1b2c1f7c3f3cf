//! The thin tokio shell around the pure core.

use std::{sync::Arc, time::Duration};

use super::{Dialer, Eventual, PeerStream};
use crate::{
    env::Env,
    error::Result,
    types::{Address, MemberStatus, PeerStatus, ReplicationLag},
};

/// What a replica is started with.
#[derive(Clone, Debug)]
pub struct ReplicationConfig {
    pub cluster: String,
    /// The address by which others reach this node.
    pub advertise: Address,
    /// Members to begin with.
    pub peers: Vec<Address>,
}

/// How replication goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicationStatus {
    pub peers: Vec<PeerStatus>,
    pub lag: ReplicationLag,
    /// The node has caught up with at least one peer since it started, or has none.
    pub ready: bool,
}

/// A running replica: keeps one keyspace in step with its peers until it is shut down.
pub struct Replication {}

impl Replication {
    /// Starts the replica on the current tokio runtime.
    pub fn spawn(config: ReplicationConfig, keyspace: Arc<Eventual>, dialer: Arc<dyn Dialer>, env: Env) -> Replication {
        let _ = (config, keyspace, dialer, env);
        todo!()
    }

    /// Takes over a stream that a peer opened. Nothing has been said on it yet.
    pub async fn accept(&self, stream: PeerStream) -> Result<()> {
        let _ = stream;
        todo!()
    }

    /// How replication goes. Does not wait for the replica.
    pub fn status(&self) -> ReplicationStatus {
        todo!()
    }

    /// The members this node knows, itself first. Does not wait for the replica.
    pub fn members(&self) -> Vec<MemberStatus> {
        todo!()
    }

    /// Returns when the replica has caught up with at least one peer, or has none.
    pub async fn ready(&self) {
        todo!()
    }

    /// Waits until every connected peer has acknowledged all own writes, at most `patience`, then ends all streams.
    /// False when the patience ran out.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        let _ = patience;
        todo!()
    }
}
