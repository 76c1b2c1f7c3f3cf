//! A member of the strong group: the consensus (`openraft`), the replica that it drives, and everything that a node does so that
//! clients need not know who leads.
//!
//! Reading order: `core` is what the parts share. `serve` takes what clients ask; `proposals` brings writes into the log,
//! `reads` says when a read is linearizable. `replica` applies the log. `founding` finds or founds the group, `steward` keeps
//! its members, `elections` says when one stands, `forming` what `default` is, `duties` lets time pass. `network`, `message` and
//! `receive` are how members talk; `silence` is when they do not.

mod core;
mod duties;
mod elections;
mod forming;
mod founding;
mod message;
mod network;
mod proposals;
mod reads;
mod receive;
mod replica;
mod serve;
mod silence;
mod snapshots;
mod status;
mod steward;
mod watch;
mod witness;

#[cfg(test)]
mod tests;

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use openraft::{Config, Raft, SnapshotPolicy};
use parking_lot::Mutex;
use tokio::sync::watch as latest;

use self::{
    core::{Core, Elections, LeaderClock},
    founding::Founding,
    message::{Acquaintance, Message, Reply as MemberReply},
    network::Network,
    proposals::Proposals,
    reads::Reads,
    replica::Replica,
    silence::Silence,
    snapshots::{Place, Snapshots},
};
use super::{log_store::LogStore, Call, Freshness, Reply};
use crate::{
    config::{GroupBounds, HistoryBounds},
    env::Env,
    error::{Error, ErrorCode, Result},
    limits::{
        GROUP_CALL_TIMEOUT, GROUP_ELECTION_LEAST, GROUP_ELECTION_MOST, GROUP_FAREWELL_MAX, GROUP_HEARTBEAT,
        GROUP_REMOVAL_PATIENCE,
    },
    storage::log::{Log, Position},
    sync::AtomicBool,
    types::{Address, Catalogue, Consistency, Edition, NodeId},
};

#[cfg(feature = "faults")]
pub use self::witness::{look_on, Witness};
pub use self::{
    network::Courier,
    watch::{GroupWatch, GroupWatcher, WatchPage},
};

/// The stream of a node's log that belongs to the strong group.
const STREAM: u32 = 2;

/// What a member keeps, opened.
pub struct GroupStore {
    member: NodeId,
    is_durable: bool,
    log: LogStore,
    snapshots: Snapshots,
}

/// With what a member begins.
pub struct GroupConfig {
    /// By which others reach it.
    pub address: Address,
    /// Whom it asks for a group.
    pub peers: Vec<Address>,
    /// How much of its log it keeps.
    pub bounds: GroupBounds,
    /// How much of the history is kept while it leads.
    pub history: HistoryBounds,
    /// What `default` is to be, if this member founds the group.
    pub forms: Consistency,
}

/// A member of a group. Clones are the same member.
#[derive(Clone)]
pub struct Group(Arc<Core>);

impl GroupStore {
    /// That of a member which lives in memory, under an id that was never used.
    pub fn in_memory(member: NodeId) -> GroupStore {
        let (log, snapshots) = (LogStore::in_memory(), Snapshots::in_memory());
        GroupStore { member, is_durable: false, log, snapshots }
    }

    /// That of a node that keeps its data on disk: its log in a stream of the log of the node, its snapshots in `dir`. What a
    /// former self of the node, under another id, has left there does not count. Blocks on the disk.
    ///
    /// # Errors
    /// `CORRUPT`, `FORMAT_TOO_NEW`, `DISK_FAILED`.
    pub fn open(member: NodeId, cluster: &str, log: Arc<Log>, dir: PathBuf, env: &Env) -> Result<GroupStore> {
        let place = Place {
            disk: env.disk.clone(),
            clock: env.clock.clone(),
            dir,
            member: member.0,
            cluster: cluster.to_string(),
        };
        let log = LogStore::open(log, STREAM)?;
        if log.begin(member.0)? {
            tracing::warn!(%member, "what this node had of the strong group under its former id does not count");
        }
        let snapshots = Snapshots::open(place)?;
        log.settle(snapshots.current().and_then(|(meta, _)| meta.last_log_id))?;
        Ok(GroupStore { member, is_durable: true, log, snapshots })
    }

    /// The first record of the log of the node that the group still needs; `None`: there are none.
    pub fn low(&self) -> impl Fn() -> Option<Position> + Send + Sync + 'static {
        let log = self.log.clone();
        move || log.low()
    }
}

impl Group {
    /// Begins, on the current tokio runtime: takes part in the group that it belongs to, or looks for one.
    ///
    /// # Errors
    /// `INTERNAL` when the consensus does not start; `CORRUPT` when what is stored does not fit together.
    pub async fn spawn(store: GroupStore, config: GroupConfig, courier: Arc<dyn Courier>, env: Env) -> Result<Group> {
        let GroupStore { member, is_durable, log, snapshots } = store;
        let me = Acquaintance { member: member.0, address: config.address.to_string() };
        let replica = Replica::new(member.0, snapshots);
        let silence = Arc::new(Silence::default());
        let network = Network::new(courier, silence.clone(), log.clone(), env.rng.next_u64()? >> 1);
        let raft = Raft::new(me.member, raft_config(config.bounds)?, network.clone(), log.clone(), replica.clone())
            .await
            .map_err(failed)?;
        let has_group = raft.is_initialized().await.map_err(failed)?;
        let (proposals, requests) = Proposals::new();
        let (reads, readers) = Reads::new();
        let founding = Founding::new(me.clone(), &config.peers, has_group);
        let begun = env.clock.monotonic();
        let core = Arc::new(Core {
            me,
            is_durable,
            env,
            raft,
            replica,
            log,
            network,
            silence,
            proposals,
            reads,
            founding,
            forms: config.forms,
            history: config.history,
            formed: AtomicBool::new(false),
            incoming: Mutex::default(),
            leader_clock: LeaderClock::default(),
            elapsed: core::Elapsed::default(),
            elections: Elections::default(),
            heard_from_leader: Mutex::new(begun),
            settled_in: Mutex::default(),
            stopping: latest::Sender::new(false),
        });
        core.spawn_until_stopped(proposals::run(Arc::downgrade(&core), requests));
        core.spawn_until_stopped(reads::run(Arc::downgrade(&core), readers));
        core.spawn_until_stopped(duties::run(Arc::downgrade(&core)));
        if !has_group {
            core.spawn_until_stopped(founding::run(Arc::downgrade(&core)));
        }
        Ok(Group(core))
    }

    /// Its id.
    pub fn member(&self) -> NodeId {
        NodeId(self.0.me.member)
    }

    /// The member that leads, if that is known here.
    pub fn leader(&self) -> Option<NodeId> {
        self.0.leadership().leader.map(|leader| NodeId(leader.member))
    }

    /// Does what a client asks, whoever leads.
    ///
    /// # Errors
    /// A refusal of the machine; `NO_LEADER`, `DEADLINE_EXCEEDED`, `OVERLOADED`, `NOT_RUNNING`, `UNKNOWN_KEYSPACE`, `COMPACTED`.
    /// Those of a write that may have been applied say so.
    pub async fn call(&self, call: Call, timeout: Duration) -> Result<Reply> {
        self.0.call(call, timeout).await
    }

    /// Does what clients ask together, as [`Group::call`] does each; the answers in order.
    pub async fn call_many(&self, calls: Vec<Call>, timeout: Duration) -> Vec<Result<Reply>> {
        self.0.call_many(calls, timeout).await
    }

    /// What the keyspace `default` is in this group; `None`: this member does not know it yet.
    pub fn default_consistency(&self) -> Option<Consistency> {
        self.0.decision()
    }

    /// As [`Group::default_consistency`], once it is known.
    ///
    /// # Errors
    /// `NOT_RUNNING` when the member is stopped before.
    pub async fn decided_default(&self) -> Result<Consistency> {
        let mut stopping = self.0.stopping.subscribe();
        tokio::select! {
            decided = self.0.decided() => decided,
            _ = stopping.wait_for(|stopping| *stopping) => Err(core::stopped()),
        }
    }

    /// Which keyspaces there are, as far as this member knows.
    pub fn catalogue(&self) -> Catalogue {
        self.0.replica.machine().catalogue()
    }

    /// As [`Group::catalogue`], with all that were made before the call.
    ///
    /// # Errors
    /// `NO_LEADER`, `DEADLINE_EXCEEDED`, `NOT_RUNNING`.
    pub async fn fresh_catalogue(&self, timeout: Duration) -> Result<Catalogue> {
        self.0.ready_to_read(Freshness::Linearizable, timeout).await?;
        Ok(self.catalogue())
    }

    /// As [`Group::catalogue`], once it is another edition.
    ///
    /// # Errors
    /// `NOT_RUNNING` when the member is stopped before.
    pub async fn catalogue_after(&self, edition: Edition) -> Result<Catalogue> {
        let (mut editions, mut stopping) = (self.0.replica.edition(), self.0.stopping.subscribe());
        tokio::select! {
            changed = editions.wait_for(|found| *found != edition) => changed.map(drop).map_err(|_| core::stopped())?,
            _ = stopping.wait_for(|stopping| *stopping) => return Err(core::stopped()),
        }
        Ok(self.catalogue())
    }

    /// Begins to watch a keyspace.
    ///
    /// # Errors
    /// `UNKNOWN_KEYSPACE`, `COMPACTED`, `NO_LEADER`, `NOT_RUNNING`.
    pub async fn watch(&self, watch: GroupWatch, timeout: Duration) -> Result<GroupWatcher> {
        GroupWatcher::new(self.0.clone(), watch, timeout).await
    }

    /// Answers a message of another member, for `to` (0: whoever is here).
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER` when it is for somebody else, `MALFORMED_MESSAGE`, `NOT_RUNNING` and what the message itself gave.
    pub async fn receive(&self, to: u64, body: &[u8]) -> Result<Vec<u8>> {
        if to != 0 && to != self.0.me.member {
            let text = format!("the message is for member {to:x}, this is {:x}", self.0.me.member);
            return Err(Error::new(ErrorCode::UnknownMember, text));
        }
        if *self.0.stopping.borrow() {
            return Err(core::stopped());
        }
        let reply = self.0.receive(Message::decode(body)?).await?;
        Ok(reply.encode())
    }

    /// Has another member lead, or for `None` whoever is best at it; the id of the new leader.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER` when it has no vote; `NO_LEADER`; those of the way to the leader.
    pub async fn move_leader(&self, to: Option<NodeId>) -> Result<NodeId> {
        let before = self.0.leadership();
        match self.0.move_leader_here(to.map_or(0, |to| to.0)).await? {
            MemberReply::Done => {}
            _ => return Err(self.0.no_leader()),
        }
        let changed = self.0.leadership_other_than(&before);
        let _in_time = tokio::time::timeout(GROUP_CALL_TIMEOUT, changed).await;
        let leader = self.0.leadership().leader.map(|leader| NodeId(leader.member));
        leader.ok_or_else(|| self.0.no_leader())
    }

    /// Takes a member out of the group for good, once there is a leader to do it: the member may be the one that led. Asked again
    /// as long as it fails, which does no harm. One that is not in it is no error.
    ///
    /// # Errors
    /// `CONFLICT` for the last voter; after [`GROUP_REMOVAL_PATIENCE`] `NO_LEADER` and those of the way to the leader.
    pub async fn remove(&self, member: NodeId) -> Result<()> {
        let deadline = self.0.now() + GROUP_REMOVAL_PATIENCE;
        loop {
            let left = deadline.saturating_sub(self.0.now());
            let asked = tokio::time::timeout(left, self.0.dismiss(member.0)).await;
            let error = match asked {
                Ok(Ok(MemberReply::Done)) => return Ok(()),
                Ok(Ok(_)) => self.0.no_leader(),
                Ok(Err(error)) if error.code() == ErrorCode::Conflict => return Err(error),
                Ok(Err(error)) => error,
                Err(_) => return Err(Error::deadline("the removal from the strong group", left).maybe_applied()),
            };
            if self.0.now() + GROUP_HEARTBEAT > deadline || *self.0.stopping.borrow() {
                return Err(error);
            }
            tokio::time::sleep(GROUP_HEARTBEAT / 10).await;
        }
    }

    /// Ends: leaves the leadership to another if it has it, and the group for good if it lives in memory, within `patience` and
    /// [`GROUP_FAREWELL_MAX`]. False when that had to be cut short; the others get along without it all the same.
    pub async fn shutdown(&self, patience: Duration) -> bool {
        if *self.0.stopping.borrow() {
            return true;
        }
        let farewell = tokio::time::timeout(patience.min(GROUP_FAREWELL_MAX), self.0.say_goodbye()).await;
        self.retire().await;
        farewell.is_ok_and(|farewell| farewell.is_ok())
    }

    /// Ends without a word to the others: they have removed this node, and it must neither disturb them nor ask to come back.
    pub async fn retire(&self) {
        self.0.stopping.send_replace(true);
        match tokio::time::timeout(GROUP_CALL_TIMEOUT, self.0.raft.shutdown()).await {
            Ok(Ok(())) => {}
            Ok(Err(error)) => tracing::error!(%error, "the consensus broke off"),
            // It ends when the log of the node is closed.
            Err(_) => tracing::warn!("the consensus waits for the disk and could not be ended in order"),
        }
    }

    /// Returns once it has ended.
    pub async fn retired(&self) {
        let mut stopping = self.0.stopping.subscribe();
        // The sender is a field of what is borrowed here, so it cannot be gone.
        let _ended = stopping.wait_for(|stopping| *stopping).await;
    }
}

impl Core {
    /// Runs beside the member, and not longer.
    fn spawn_until_stopped(&self, work: impl Future<Output = ()> + Send + 'static) {
        let mut stopping = self.stopping.subscribe();
        tokio::spawn(async move {
            tokio::select! {
                () = work => {}
                _ = stopping.wait_for(|stopping| *stopping) => {}
            }
        });
    }
}

fn raft_config(bounds: GroupBounds) -> Result<Arc<Config>> {
    let millis = |duration: Duration| u64::try_from(duration.as_millis()).unwrap_or(u64::MAX);
    let config = Config {
        heartbeat_interval: millis(GROUP_HEARTBEAT),
        election_timeout_min: millis(GROUP_ELECTION_LEAST),
        election_timeout_max: millis(GROUP_ELECTION_MOST),
        snapshot_policy: SnapshotPolicy::LogsSinceLast(bounds.snapshot_entries),
        max_in_snapshot_log_to_keep: bounds.entries_kept,
        ..Config::default()
    };
    config.validate().map(Arc::new).map_err(failed)
}

fn failed(error: impl std::fmt::Display) -> Error {
    Error::new(ErrorCode::Internal, format!("the consensus of the strong group: {error}"))
}
