//! Keeps the log short: writes a snapshot when the log has grown, and one wherever a user wants it.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot},
    time::{self, MissedTickBehavior},
};

use super::{super::Eventual, checkpoint::write_blocks, open::Retain};
use crate::{
    env::{Clock, Disk, DiskWorker},
    error::{Error, ErrorCode, Result},
    limits::{CHECKPOINT_LOOK, CHECKPOINT_REQUESTS_MAX, CHECKPOINT_RETRY},
    storage::{
        log::Position,
        snapshot::{remove_older, Header, SnapshotWriter},
    },
};

/// What a keeper works with.
pub(super) struct KeeperConfig {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) keyspace: Arc<Eventual>,
    pub(super) cluster: String,
    /// Where snapshots go.
    pub(super) dir: PathBuf,
    /// Of the log since the newest snapshot.
    pub(super) log_bytes: u64,
    /// Bytes of the newest snapshot.
    pub(super) snapshot_bytes: u64,
    /// Bytes of the log after which a snapshot is written.
    pub(super) checkpoint_bytes: u64,
    /// What others need of the log.
    pub(super) retain: Retain,
}

/// What the keeper shows.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct CheckpointStatus {
    /// Snapshots written since the start.
    pub written: u64,
    /// Bytes of the newest.
    pub bytes: u64,
    /// Of the log since the newest snapshot, when the log was opened; 0 once one was written.
    log_bytes: u64,
    /// What the log had written since it was opened when the newest snapshot was begun.
    written_bytes: u64,
    /// Why the last attempt failed; empty: it did not.
    pub problem: String,
}

impl CheckpointStatus {
    /// Bytes of entries that a restart would read, of a log that has written so much since it was opened.
    pub fn log_bytes(&self, written_bytes: u64) -> u64 {
        (self.log_bytes + written_bytes).saturating_sub(self.written_bytes)
    }
}

enum Ask {
    /// Writes a snapshot now, and cuts the log.
    Checkpoint { done: oneshot::Sender<Result<u64>> },
    /// Writes a snapshot to this path.
    Copy { path: PathBuf, done: oneshot::Sender<Result<u64>> },
}

/// Writes snapshots on a worker of the disk. Ends when it is stopped.
pub struct Keeper {
    /// Guards the way to the worker; `None`: it was stopped.
    asks: Mutex<Option<mpsc::Sender<Ask>>>,
    worker: Mutex<Option<Box<dyn DiskWorker>>>,
    status: Arc<Mutex<CheckpointStatus>>,
}

impl Keeper {
    /// Starts the worker.
    ///
    /// # Errors
    /// `INTERNAL` when the system has no thread to give.
    pub(super) fn spawn(config: KeeperConfig) -> Result<Keeper> {
        let (asks, inbox) = mpsc::channel(CHECKPOINT_REQUESTS_MAX);
        let status = Arc::new(Mutex::new(CheckpointStatus {
            bytes: config.snapshot_bytes,
            log_bytes: config.log_bytes,
            ..Default::default()
        }));
        let disk = config.disk.clone();
        let work = Work { config, status: status.clone() };
        let worker = disk.spawn("kvstore-snapshot", Box::pin(work.run(inbox)));
        let worker = worker.map_err(|error| Error::new(ErrorCode::Internal, format!("no thread: {error}")))?;
        Ok(Keeper { asks: Mutex::new(Some(asks)), worker: Mutex::new(Some(worker)), status })
    }

    /// How it goes.
    pub fn status(&self) -> CheckpointStatus {
        self.status.lock().clone()
    }

    /// Writes a snapshot of the present to `path`; its size in bytes.
    ///
    /// # Errors
    /// Those of the disk; `NOT_RUNNING`.
    pub async fn copy_to(&self, path: PathBuf) -> Result<u64> {
        self.ask(|done| Ask::Copy { path, done }).await
    }

    /// Writes a snapshot beside the log, and cuts the log; its size in bytes.
    ///
    /// # Errors
    /// Those of the disk; `NOT_RUNNING`.
    pub async fn checkpoint(&self) -> Result<u64> {
        self.ask(|done| Ask::Checkpoint { done }).await
    }

    async fn ask(&self, ask: impl FnOnce(oneshot::Sender<Result<u64>>) -> Ask) -> Result<u64> {
        let stopped = || Error::new(ErrorCode::NotRunning, "the node is being stopped");
        let (done, answer) = oneshot::channel();
        let asks = self.asks.lock().clone().ok_or_else(stopped)?;
        asks.send(ask(done)).await.map_err(|_| stopped())?;
        answer.await.unwrap_or_else(|_| Err(stopped()))
    }

    /// Waits until what is under way is finished, and ends the worker.
    pub async fn stop(&self) {
        drop(self.asks.lock().take());
        let worker = self.worker.lock().take();
        if let Some(worker) = worker {
            if let Err(error) = worker.join().await {
                tracing::error!(%error, "the writer of snapshots broke off");
            }
        }
    }
}

struct Work {
    config: KeeperConfig,
    status: Arc<Mutex<CheckpointStatus>>,
}

impl Work {
    async fn run(mut self, mut inbox: mpsc::Receiver<Ask>) {
        let mut ticker = time::interval(CHECKPOINT_LOOK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        let mut pause = Duration::ZERO;
        loop {
            tokio::select! {
                ask = inbox.recv() => match ask {
                    Some(Ask::Checkpoint { done }) => drop(done.send(self.checkpoint().await)),
                    Some(Ask::Copy { path, done }) => drop(done.send(self.copy_to(&path).await)),
                    None => return,
                },
                _ = ticker.tick() => {
                    pause = pause.saturating_sub(CHECKPOINT_LOOK);
                    if pause.is_zero() && self.is_due() && self.checkpoint().await.is_err() {
                        pause = CHECKPOINT_RETRY;
                    }
                }
            }
        }
    }

    /// Whether the log has grown beyond what is worth replaying.
    fn is_due(&self) -> bool {
        let Some(ledger) = self.config.keyspace.ledger() else { return false };
        let status = self.status.lock();
        status.log_bytes(ledger.log().stats().written_bytes) >= self.config.checkpoint_bytes.max(status.bytes)
    }

    async fn checkpoint(&mut self) -> Result<u64> {
        let outcome = self.write_and_cut().await;
        let mut status = self.status.lock();
        match &outcome {
            Ok(bytes) => {
                status.written += 1;
                status.bytes = *bytes;
                status.problem.clear();
            }
            Err(error) => {
                tracing::error!(%error, "no snapshot could be written: the log goes on growing");
                status.problem = error.to_string();
            }
        }
        outcome
    }

    async fn write_and_cut(&mut self) -> Result<u64> {
        let KeeperConfig { disk, clock, keyspace, cluster, dir, .. } = &self.config;
        let header = header(&**clock, keyspace, cluster);
        let written_bytes = keyspace.ledger().map_or(0, |ledger| ledger.log().stats().written_bytes);
        let bytes = write(keyspace, SnapshotWriter::create(disk, dir, &header)?).await?;
        {
            let mut status = self.status.lock();
            (status.log_bytes, status.written_bytes) = (0, written_bytes);
        }
        if let Some(ledger) = self.config.keyspace.ledger() {
            let own = Position(header.log_position);
            let others = (self.config.retain)();
            ledger.log().cut(others.map_or(own, |others| others.min(own)))?;
        }
        remove_older(&*self.config.disk, &self.config.dir, 1)?;
        tracing::info!(bytes, position = header.log_position, "snapshot written");
        Ok(bytes)
    }

    async fn copy_to(&self, path: &Path) -> Result<u64> {
        let KeeperConfig { disk, clock, keyspace, cluster, .. } = &self.config;
        write_snapshot(disk, &**clock, (keyspace, cluster), path).await
    }
}

/// Writes a snapshot of the present to `path`; its size in bytes. Makes blocking calls of the disk.
///
/// # Errors
/// Those of the disk; `OVERLOADED` when a partition takes in the state of a peer for too long.
pub async fn write_snapshot(
    disk: &Arc<dyn Disk>,
    clock: &dyn Clock,
    (keyspace, cluster): (&Arc<Eventual>, &str),
    path: &Path,
) -> Result<u64> {
    write(keyspace, SnapshotWriter::create_at(disk, path, &header(clock, keyspace, cluster))?).await
}

fn header(clock: &dyn Clock, keyspace: &Eventual, cluster: &str) -> Header {
    // What is written first was noted after this, and everything else after that.
    let position = keyspace.ledger().map(|ledger| ledger.end()).unwrap_or_default();
    Header { node: keyspace.me(), cluster: cluster.to_string(), log_position: position.0, created_ms: clock.wall_ms() }
}

/// Writes everything, and makes it count. What the snapshot holds must be in the log first: a log that a crash cut
/// shorter than a snapshot would go on with places that the snapshot claims to have.
async fn write(keyspace: &Arc<Eventual>, mut writer: SnapshotWriter) -> Result<u64> {
    let written = async {
        write_blocks(keyspace, &mut writer).await?;
        match keyspace.ledger() {
            Some(ledger) => ledger.flush().await,
            None => Ok(()),
        }
    };
    match written.await {
        Ok(()) => writer.finish(),
        Err(error) => {
            writer.abandon()?;
            Err(error)
        }
    }
}
