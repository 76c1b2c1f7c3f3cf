//! The thin tokio shell around the core: one task owns the `Replica`, small ones carry messages and dial.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::JoinHandle,
};

use super::{
    replica::{Bounds, ReplicaConfig},
    shell::Shell,
    Dialer, Eventual, PeerStream, Reach, Reaching,
};
use crate::{
    env::Env,
    error::{Error, ErrorCode, Result},
    limits::REPLICA_QUEUE_EVENTS_MAX,
    types::{Address, Dot, MemberStatus, Membership, NodeId, PartitionId, PeerStatus, ReplicationLag},
};

/// What a replica is started with.
#[derive(Clone, Debug)]
pub struct ReplicationConfig {
    /// The cluster's name; nodes of another are refused.
    pub cluster: String,
    /// The address by which others reach this node.
    pub advertise: Address,
    /// Members to begin with.
    pub peers: Vec<Address>,
    /// Who belonged to the cluster when this node stopped; empty for a new one.
    pub membership: Membership,
}

/// How replication goes.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct ReplicationStatus {
    /// Every other node that is known.
    pub peers: Vec<PeerStatus>,
    /// Of own writes, over all peers.
    pub lag: ReplicationLag,
    /// The node has caught up with at least one peer since it started, or has none.
    pub ready: bool,
    /// The cluster removed this node.
    pub removed: bool,
    /// How far the time up to which every member has everything is behind the wall clock, in milliseconds.
    pub stable_lag_ms: u64,
    /// The members that hold it back, once that is long.
    pub held_back_by: Vec<NodeId>,
    /// Partitions that were found different from a peer's although both had the same writes.
    pub divergences: u64,
    /// Of those, how many were repaired.
    pub repairs: u64,
    /// Writes of peers that were refused because they are stamped too far ahead; each attempt counts.
    pub refused_writes: u64,
    /// Bytes of keys and values that came as state since the start.
    pub state_bytes: u64,
    /// Bytes of keys and values that peers have pushed since the start.
    pub change_bytes: u64,
}

/// What the replica's task shows to the world.
pub(super) struct Shown {
    pub(super) status: ReplicationStatus,
    pub(super) members: Vec<MemberStatus>,
}

/// What the world asks of the replica's task.
pub(super) enum Request {
    Accept(PeerStream),
    /// Answered with why a member may not be removed, if it may not.
    CheckRemoval {
        node: NodeId,
        force: bool,
        answer: oneshot::Sender<Result<()>>,
    },
    Remove {
        node: NodeId,
        force: bool,
        done: oneshot::Sender<Result<()>>,
    },
    /// Answered with those of the writes that nobody here can be asked for.
    Reach {
        wanted: Vec<(PartitionId, Dot)>,
        answer: oneshot::Sender<Vec<(PartitionId, Dot)>>,
    },
    /// Answered with whether all connected peers have everything.
    Shutdown {
        patience: Duration,
        done: oneshot::Sender<bool>,
    },
}

/// A running replica: keeps one keyspace in step with its peers until it is shut down, or dropped.
pub struct Replication {
    requests: mpsc::Sender<Request>,
    /// Guards what was last shown; the replica's task refreshes it.
    shown: Arc<Mutex<Shown>>,
    ready: watch::Receiver<bool>,
    removed: watch::Receiver<bool>,
    /// Owns every other task of this replica.
    task: JoinHandle<()>,
}

impl Replication {
    /// Starts the replica on the current tokio runtime.
    ///
    /// # Panics
    /// Outside of a tokio runtime.
    pub fn spawn(config: ReplicationConfig, keyspace: Arc<Eventual>, dialer: Arc<dyn Dialer>, env: Env) -> Replication {
        let (requests, inbox) = mpsc::channel(REPLICA_QUEUE_EVENTS_MAX);
        let (ready_sender, ready) = watch::channel(false);
        let (removed_sender, removed) = watch::channel(false);
        let config = ReplicaConfig {
            cluster: config.cluster,
            advertise: config.advertise,
            peers: config.peers,
            bounds: Bounds::default(),
            membership: config.membership,
            // Without entropy jitter repeats itself from node to node, unless their ids differ, which they do.
            seed: env.rng.next_u64().unwrap_or(keyspace.me().0),
        };
        let shell = Shell::new(config, keyspace, dialer, env.clock, (ready_sender, removed_sender));
        let shown = shell.shown();
        Replication { requests, shown, ready, removed, task: tokio::spawn(shell.run(inbox)) }
    }

    /// Takes over a stream that a peer opened. Nothing has been said on it yet.
    ///
    /// # Errors
    /// `NOT_RUNNING` after a shutdown.
    pub async fn accept(&self, stream: PeerStream) -> Result<()> {
        let stopped = |_| Error::new(ErrorCode::NotRunning, "replication was shut down");
        self.requests.send(Request::Accept(stream)).await.map_err(stopped)
    }

    /// How replication goes. Does not wait for the replica.
    pub fn status(&self) -> ReplicationStatus {
        self.shown.lock().status.clone()
    }

    /// The members this node knows, itself first. Does not wait for the replica.
    pub fn members(&self) -> Vec<MemberStatus> {
        self.shown.lock().members.clone()
    }

    /// Changes nothing, and says what [`remove_member`](Self::remove_member) would refuse.
    ///
    /// # Errors
    /// Those of [`remove_member`](Self::remove_member).
    pub async fn check_removal(&self, node: NodeId, force: bool) -> Result<()> {
        let stopped = || Error::new(ErrorCode::NotRunning, "replication was shut down");
        let (answer, answered) = oneshot::channel();
        self.requests.send(Request::CheckRemoval { node, force, answer }).await.map_err(|_| stopped())?;
        answered.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Removes a member for good, also one that is up with `force`; all peers are told.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER`, `MEMBER_UP`, `INVALID_ARGUMENT` for this node itself; `NOT_RUNNING` after a shutdown.
    pub async fn remove_member(&self, node: NodeId, force: bool) -> Result<()> {
        let stopped = || Error::new(ErrorCode::NotRunning, "replication was shut down");
        let (done, answer) = oneshot::channel();
        self.requests.send(Request::Remove { node, force, done }).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Returns when the replica has caught up with at least one peer, or has none. Never, once it is shut down before.
    pub async fn ready(&self) {
        until(self.ready.clone()).await;
    }

    /// Returns when the cluster has removed this node. Never, once it is shut down before.
    pub async fn removed(&self) {
        until(self.removed.clone()).await;
    }

    /// Waits until every connected peer has acknowledged all own writes, at most `patience`, says goodbye, then ends all
    /// streams and tasks. False when the patience ran out, or another call had shut it down.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        let (done, answer) = oneshot::channel();
        if self.requests.send(Request::Shutdown { patience, done }).await.is_err() {
            return false;
        }
        // The task answers after its streams and tasks have ended; one that is gone without an answer has ended too.
        answer.await.unwrap_or(false)
    }
}

impl Reach for Replication {
    fn out_of_reach(&self, wanted: Vec<(PartitionId, Dot)>) -> Reaching<'_> {
        Box::pin(async move {
            let (answer, answered) = oneshot::channel();
            // Without a replica nothing can be said: nothing is given up.
            if self.requests.send(Request::Reach { wanted, answer }).await.is_err() {
                return Vec::new();
            }
            answered.await.unwrap_or_default()
        })
    }
}

impl Drop for Replication {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Returns when the word is said; never, when it cannot be any more.
async fn until(mut word: watch::Receiver<bool>) {
    if word.wait_for(|&is_said| is_said).await.is_err() {
        std::future::pending::<()>().await;
    }
}

#[cfg(test)]
mod tests;
