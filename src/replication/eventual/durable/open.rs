//! Opens the directory of a node: who it is, what it had, and a log to go on with.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    super::Eventual,
    keeper::{Keeper, KeeperConfig},
    ledger::{Facts, Ledger},
    recover::Recovery,
};
use crate::{
    config::{DiskBounds, Durability},
    env::Env,
    error::{Error, ErrorCode, Result},
    limits::{RECOVERY_PROGRESS_ENTRIES, RECOVERY_SYNC_PATIENCE, SYNC_INTERVAL},
    storage::{
        data_dir::{set_aside, DataDir},
        log::{Durability as LogDurability, Log, LogOptions, Position},
        snapshot,
    },
    types::{Membership, NodeId},
};

/// What a directory is opened with.
pub struct OpenConfig {
    /// The directory.
    pub dir: PathBuf,
    /// The name of the cluster; the directory of another is refused.
    pub cluster: String,
    /// What a write waits for.
    pub durability: Durability,
    /// There are peers to fetch a full copy from: a damaged directory is set aside then, and the node begins anew.
    pub has_peers: bool,
    /// How its files are cut.
    pub bounds: DiskBounds,
}

/// Opens what others keep in the same log, once the log and the identity of the node are settled. Asked again when the directory
/// was found damaged and set aside.
pub type Beside<'a> = dyn Fn(&Arc<Log>, &DataDir) -> Result<Retain> + Sync + 'a;

/// The first entry of the log that others need; `None`: there is none.
pub type Retain = Box<dyn Fn() -> Option<Position> + Send + Sync>;

/// An open directory.
pub struct Opened {
    /// Everything that was there, and a log for what comes.
    pub keyspace: Arc<Eventual>,
    /// Writes snapshots.
    pub keeper: Keeper,
    /// Who belonged to the cluster when the node stopped.
    pub membership: Membership,
    /// What was damaged, and where it was put; the node began anew. `None`: nothing was.
    pub damage: Option<String>,
    /// Holds the lock of the directory.
    pub dir: DataDir,
}

/// What a recovery gave.
struct Recovered {
    keyspace: Eventual,
    log: Arc<Log>,
    facts: Facts,
    /// Of the entries since the newest snapshot.
    log_bytes: u64,
    /// Of the newest snapshot; 0: there is none.
    snapshot_bytes: u64,
    /// The node did not wait for its disk, and broke off: others may have writes of it that it has lost.
    is_behind: bool,
}

/// Opens a directory, or makes it. `make` gives an empty keyspace of a node. Blocks while it reads.
///
/// # Errors
/// `DATA_DIR_IN_USE`, `WRONG_CLUSTER`; `MEMBER_REMOVED` when the cluster removed the node; `CORRUPT`, naming file and
/// place, when something is damaged and there are no peers to fetch it from; those of the disk. Nothing is changed then.
pub async fn open(
    config: &OpenConfig,
    env: &Env,
    make: &(dyn Fn(NodeId) -> Eventual + Sync),
    beside: &Beside<'_>,
) -> Result<Opened> {
    let mut damage = None;
    let (dir, recovered, retain) = match open_dir(config, env, make, beside).await {
        Err(error) if error.code() == ErrorCode::Corrupt && config.has_peers => {
            let identity = (draw_id(env)?, config.cluster.as_str());
            set_aside(&*env.disk, &config.dir, identity, env.clock.wall_ms())?;
            let text = format!("{error}; it was set aside, and a full copy comes from the peers");
            tracing::error!(damage = %text, "the data of this node are damaged");
            damage = Some(text);
            open_dir(config, env, make, beside).await?
        }
        outcome => outcome?,
    };
    let Recovered { keyspace, log, facts, log_bytes, snapshot_bytes, is_behind: _ } = recovered;
    if facts.membership.removed.contains(&keyspace.me()) {
        let (id, path) = (keyspace.me(), config.dir.display());
        let text =
            format!("data_dir: the cluster removed node {id}: move {path} away, and start it as a new, empty member");
        return Err(Error::new(ErrorCode::MemberRemoved, text));
    }
    let membership = facts.membership.clone();
    let ledger = Ledger::begin(log, keyspace.me(), facts);
    // A run counts from when its beginning is on disk: nobody may hear of it before.
    let synced = tokio::time::timeout(RECOVERY_SYNC_PATIENCE, ledger.flush()).await;
    synced.unwrap_or_else(|_| Err(Error::deadline("the first sync of the log", RECOVERY_SYNC_PATIENCE)))?;
    let keyspace = Arc::new(keyspace.with_ledger(Arc::new(ledger)));
    let keeper = Keeper::spawn(KeeperConfig {
        disk: env.disk.clone(),
        clock: env.clock.clone(),
        keyspace: keyspace.clone(),
        cluster: config.cluster.clone(),
        dir: dir.snapshots_dir(),
        log_bytes,
        snapshot_bytes,
        checkpoint_bytes: config.bounds.checkpoint_bytes,
        retain,
    })?;
    Ok(Opened { keyspace, keeper, membership, damage, dir })
}

async fn open_dir(
    config: &OpenConfig,
    env: &Env,
    make: &(dyn Fn(NodeId) -> Eventual + Sync),
    beside: &Beside<'_>,
) -> Result<(DataDir, Recovered, Retain)> {
    let mut dir = DataDir::open(env.disk.clone(), &config.dir, &config.cluster, || draw_id(env))?;
    let recovered = recover(config, env, &mut dir, make).await?;
    match beside(&recovered.log, &dir) {
        Ok(retain) => Ok((dir, recovered, retain)),
        Err(error) => {
            // Whoever opens the directory next must find nobody at work there.
            recovered.log.abandon().await;
            Err(error)
        }
    }
}

/// Reads everything. A node that may have lost writes which others have goes on under a new id, so that no dot is given
/// twice; what it has of its former self is what any node has of another.
async fn recover(
    config: &OpenConfig,
    env: &Env,
    dir: &mut DataDir,
    make: &(dyn Fn(NodeId) -> Eventual + Sync),
) -> Result<Recovered> {
    let recovered = replay(config, env, dir, make).await?;
    if !recovered.is_behind {
        return Ok(recovered);
    }
    recovered.log.close().await?;
    drop(recovered);
    let former = dir.node();
    dir.renew(draw_id(env)?)?;
    tracing::warn!(%former, node = %dir.node(), "the node broke off without waiting for its disk: it has a new id");
    replay(config, env, dir, make).await
}

async fn replay(
    config: &OpenConfig,
    env: &Env,
    dir: &DataDir,
    make: &(dyn Fn(NodeId) -> Eventual + Sync),
) -> Result<Recovered> {
    let began = env.clock.monotonic();
    let keyspace = make(dir.node());
    let mut recovery = Recovery::new(&keyspace);
    let (mut from, mut snapshot_bytes) = (Position::default(), 0);
    if let Some(path) = newest(env, dir)? {
        (from, snapshot_bytes) = recovery.read_snapshot(&*env.disk, &path)?;
    }
    let log = Log::open(env, &dir.log_dir(), &options(config))?;
    if let Err(error) = replay_log(&log, &dir.log_dir(), from, &mut recovery) {
        // Whoever opens the directory next, which may be this node after it was set aside, must find nobody at work there.
        log.abandon().await;
        return Err(error);
    }
    recovery.settle()?;
    let (records, entries) = (recovery.records, recovery.entries);
    let took_ms = env.clock.monotonic().saturating_sub(began).as_millis() as u64;
    tracing::info!(node = %dir.node(), records, entries, took_ms, "data recovered");
    let recovery_bytes = recovery.bytes;
    let is_behind = recovery.is_behind(dir.node());
    let facts = recovery.into_facts();
    Ok(Recovered { keyspace, log: Arc::new(log), facts, log_bytes: recovery_bytes, snapshot_bytes, is_behind })
}

/// Takes in the entries from this position on.
fn replay_log(log: &Log, path: &Path, from: Position, recovery: &mut Recovery<'_>) -> Result<()> {
    if log.first() > from {
        let text = format!("{}: begins at {}, and the state up to there is missing", path.display(), log.first().0);
        return Err(Error::new(ErrorCode::Corrupt, text));
    }
    for entry in log.entries_from(from)? {
        recovery.take_entry(&entry?)?;
        if recovery.entries.is_multiple_of(RECOVERY_PROGRESS_ENTRIES) {
            let (records, entries) = (recovery.records, recovery.entries);
            tracing::info!(records, entries, "reading the log");
        }
    }
    Ok(())
}

/// The newest snapshot. A damaged one is not passed over for an older one: the log that it would need was cut.
fn newest(env: &Env, dir: &DataDir) -> Result<Option<PathBuf>> {
    snapshot::remove_leftovers(&*env.disk, &dir.snapshots_dir())?;
    let snapshots = snapshot::list(&*env.disk, &dir.snapshots_dir())?;
    Ok(snapshots.into_iter().next().map(|listed| listed.path))
}

fn options(config: &OpenConfig) -> LogOptions {
    let durability = match config.durability {
        Durability::Sync => LogDurability::Sync,
        Durability::Interval => LogDurability::Interval(SYNC_INTERVAL),
        Durability::Memory => LogDurability::Memory,
    };
    let DiskBounds { segment_bytes, preallocate_bytes, checkpoint_bytes: _ } = config.bounds;
    LogOptions { durability, segment_bytes, preallocate_bytes }
}

/// An identity that no node ever had; 0 means none on the wire.
pub fn draw_id(env: &Env) -> Result<NodeId> {
    loop {
        let id = env.rng.next_u64()?;
        if id != 0 {
            return Ok(NodeId(id));
        }
    }
}
