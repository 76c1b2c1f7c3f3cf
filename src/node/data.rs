//! The data of a node: in memory, or in memory and on disk.

use std::{path::PathBuf, sync::Arc};

use parking_lot::Mutex;

use crate::{
    config::{Durability, NodeConfig},
    env::Env,
    error::{Error, ErrorCode, Result},
    faults::is_mutant,
    replication::{
        eventual::{draw_id, open, Eventual, Keeper, OpenConfig, Opened, Retain},
        strong::GroupStore,
    },
    storage::{
        data_dir::DataDir,
        log::{self, Log},
    },
    types::{LogState, Membership, NodeId, StorageStatus},
};

/// What a node begins with.
pub(super) struct Data {
    pub(super) keyspace: Arc<Eventual>,
    /// Who belonged to the cluster when it stopped.
    pub(super) membership: Membership,
    pub(super) durable: Option<Durable>,
    /// Of the strong group.
    pub(super) group: GroupStore,
}

/// What is open on disk.
pub(super) struct Durable {
    durability: Durability,
    keeper: Keeper,
    /// What was damaged when the node started; `None`: nothing.
    damage: Option<String>,
    /// Guards the directory, which is free for another node once this is `None`.
    dir: Mutex<Option<DataDir>>,
}

impl Data {
    /// Reads what is on disk, if the node keeps anything there; otherwise it is `id`, or somebody new. Blocks while it
    /// reads.
    pub(super) async fn open(config: &NodeConfig, env: &Env, id: Option<NodeId>) -> Result<Data> {
        let make = |id| {
            let keyspace = Eventual::new(id, env.clock.clone()).with_max_drift(config.max_drift);
            keyspace.with_max_memory(config.max_memory)
        };
        let Some(dir) = &config.data_dir else {
            let id = id.map_or_else(|| draw_id(env), Ok)?;
            let group = GroupStore::in_memory(member(id, config));
            return Ok(Data { keyspace: Arc::new(make(id)), membership: Membership::default(), durable: None, group });
        };
        let group = Mutex::new(None);
        let beside = |log: &Arc<Log>, dir: &DataDir| open_group(config, env, (log, dir), &group);
        let open_config = OpenConfig {
            dir: dir.clone(),
            cluster: config.cluster.clone(),
            durability: config.durability,
            has_peers: !config.peers.is_empty(),
            bounds: config.disk,
        };
        let Opened { keyspace, keeper, membership, damage, dir } = open(&open_config, env, &make, &beside).await?;
        let missing = || Error::new(ErrorCode::Internal, "the store of the strong group was not opened");
        Ok(Data {
            keyspace,
            membership,
            durable: Some(Durable { durability: config.durability, keeper, damage, dir: Mutex::new(Some(dir)) }),
            group: group.into_inner().ok_or_else(missing)?,
        })
    }
}

/// Opens what a node keeps of the strong group. Where its log is not synced, nothing: a vote could be given twice. Such a node
/// is somebody new in the group at each start.
fn open_group(
    config: &NodeConfig,
    env: &Env,
    (log, dir): (&Arc<Log>, &DataDir),
    opened: &Mutex<Option<GroupStore>>,
) -> Result<Retain> {
    if config.durability == Durability::Memory {
        *opened.lock() = Some(GroupStore::in_memory(draw_id(env)?));
        return Ok(Box::new(|| None));
    }
    let store = GroupStore::open(member(dir.node(), config), dir.cluster(), log.clone(), dir.group_dir(), env)?;
    let low = store.low();
    *opened.lock() = Some(store);
    Ok(Box::new(low))
}

/// Which member of the strong group a node is: a new one whenever the node is somebody new, because nobody remembers what the
/// former one has voted and acknowledged.
fn member(id: NodeId, config: &NodeConfig) -> NodeId {
    match &config.advertise {
        Some(address) if is_mutant("strong_member_id_reused") => {
            NodeId(address.to_string().bytes().fold(1, |id, byte| (id << 5) ^ u64::from(byte)))
        }
        _ => id,
    }
}

impl Durable {
    /// Writes a snapshot to a path; its size in bytes.
    ///
    /// # Errors
    /// Those of the disk; `NOT_RUNNING`.
    pub(super) async fn snapshot(&self, path: PathBuf) -> Result<u64> {
        self.keeper.copy_to(path).await
    }

    /// How it is.
    pub(super) fn status(&self, log: &Log) -> StorageStatus {
        let (stats, snapshots) = (log.stats(), self.keeper.status());
        let millis = |us: u64| us as f64 / 1000.0;
        let problem = log.failure().map_or_else(|| snapshots.problem.clone(), |failure| failure.to_string());
        StorageStatus {
            durability: self.durability,
            log_bytes: snapshots.log_bytes(stats.written_bytes),
            snapshots: snapshots.written,
            snapshot_bytes: snapshots.bytes,
            state: match stats.state {
                log::LogState::Ok => LogState::Ok,
                log::LogState::Full => LogState::Full,
                log::LogState::Failed | log::LogState::Closed => LogState::Failed,
            },
            problem,
            damage: self.damage.clone(),
            syncs: stats.syncs,
            sync_p50_ms: millis(stats.sync_p50_us),
            sync_p99_ms: millis(stats.sync_p99_us),
        }
    }

    /// Where snapshots are.
    pub(super) fn snapshots_dir(&self) -> Option<PathBuf> {
        self.dir.lock().as_ref().map(DataDir::snapshots_dir)
    }

    /// Writes nothing more, and frees the directory.
    pub(super) async fn abandon(&self, keyspace: &Eventual) {
        if let Some(ledger) = keyspace.ledger() {
            ledger.log().abandon().await;
        }
        drop(self.dir.lock().take());
    }

    /// Brings everything to disk, closes the log and frees the directory. False when not everything is there.
    pub(super) async fn close(&self, keyspace: &Eventual) -> bool {
        self.keeper.stop().await;
        let outcome = match keyspace.ledger() {
            Some(ledger) => ledger.end_run().await,
            None => Ok(()),
        };
        if let Err(error) = &outcome {
            tracing::error!(%error, "the log could not be closed");
        }
        drop(self.dir.lock().take());
        outcome.is_ok()
    }
}
