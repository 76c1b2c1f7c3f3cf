//! Snapshots that somebody asked for: into a file of this machine, or sent to a client piece by piece.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use bytes::Bytes;
use tokio::sync::{mpsc, oneshot, Semaphore};

use super::data::Durable;
use crate::{
    env::{Disk, DiskFile, Env, OpenMode},
    error::{Error, ErrorCode, Result},
    limits::{SNAPSHOTS_SENT_MAX, SNAPSHOT_CHUNK_BYTES},
    replication::eventual::{write_snapshot, Eventual},
    storage::snapshot::{disk_error, passing_name},
};

/// Where a piece of a snapshot goes.
pub(super) type Pieces = mpsc::Sender<Result<Bytes>>;

/// What becomes of a file for which nobody waits any more.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Unwanted {
    Stays,
    Goes,
}

/// Writes and sends snapshots of a node.
pub(super) struct Snapshots {
    env: Env,
    cluster: String,
    /// Where files are while they are sent.
    dir: PathBuf,
    places: Semaphore,
}

impl Snapshots {
    /// Those of a node that keeps its snapshots in `dir`; one that lives in memory has none, and uses the system's
    /// directory for what passes.
    pub(super) fn new(env: Env, cluster: String, dir: Option<PathBuf>) -> Snapshots {
        let dir = dir.unwrap_or_else(std::env::temp_dir);
        Snapshots { env, cluster, dir, places: Semaphore::new(SNAPSHOTS_SENT_MAX) }
    }

    /// Writes everything to `path`; the bytes of the file.
    pub(super) async fn write(
        &self,
        (keyspace, durable): (&Arc<Eventual>, Option<&Durable>),
        path: PathBuf,
    ) -> Result<u64> {
        match durable {
            Some(durable) => durable.snapshot(path).await,
            None => self.write_here(keyspace, path, Unwanted::Stays).await,
        }
    }

    /// Writes the snapshot of a node that has nobody who writes snapshots.
    async fn write_here(&self, keyspace: &Arc<Eventual>, path: PathBuf, unwanted: Unwanted) -> Result<u64> {
        let (env, cluster, keyspace) = (self.env.clone(), self.cluster.clone(), keyspace.clone());
        let (done, written) = oneshot::channel();
        let work = async move {
            let outcome = write_snapshot(&env.disk, &*env.clock, (&keyspace, &cluster), &path).await;
            let is_left = outcome.is_ok() && unwanted == Unwanted::Goes;
            if done.send(outcome).is_err() && is_left {
                remove(&*env.disk, &path);
            }
        };
        self.spawn("kvstore-snapshot", work)?;
        written.await.unwrap_or_else(|_| Err(broke_off()))
    }

    /// Sends everything, piece by piece; returns when the last is on its way. A receiver that goes away ends it, and
    /// nothing stays on the disk.
    pub(super) async fn send(
        &self,
        (keyspace, durable): (&Arc<Eventual>, Option<&Durable>),
        pieces: &Pieces,
    ) -> Result<()> {
        let Ok(_place) = self.places.try_acquire() else {
            let text = format!("snapshot: this node sends {SNAPSHOTS_SENT_MAX} snapshots already; try again later");
            return Err(Error::new(ErrorCode::Overloaded, text));
        };
        let path = self.dir.join(passing_name(self.env.rng.next_u64()?));
        match durable {
            Some(durable) => durable.snapshot(path.clone()).await?,
            None => self.write_here(keyspace, path.clone(), Unwanted::Goes).await?,
        };
        let (disk, pieces) = (self.env.disk.clone(), pieces.clone());
        let (mut done, sent) = oneshot::channel();
        let work = async move {
            let outcome = tokio::select! {
                biased;
                // Nobody waits for it any more: the node is being stopped.
                () = done.closed() => return remove(&*disk, &path),
                outcome = read(&*disk, &path, &pieces) => outcome,
            };
            drop(done.send(outcome));
        };
        self.spawn("kvstore-send", work)?;
        sent.await.unwrap_or_else(|_| Err(broke_off()))
    }

    /// A worker ends by itself, and tells what came of it.
    fn spawn(&self, name: &str, work: impl std::future::Future<Output = ()> + Send + 'static) -> Result<()> {
        let worker = self.env.disk.spawn(name, Box::pin(work));
        let _detached =
            worker.map_err(|error| Error::new(ErrorCode::Internal, format!("no thread for {name}: {error}")))?;
        Ok(())
    }
}

fn broke_off() -> Error {
    Error::new(ErrorCode::Internal, "snapshot: the thread that wrote it broke off")
}

/// Reads a file to its end and removes it, whatever happens.
async fn read(disk: &dyn Disk, path: &Path, pieces: &Pieces) -> Result<()> {
    let outcome = match disk.open(path, OpenMode::Read) {
        Ok(file) => read_pieces(&*file, path, pieces).await,
        Err(error) => Err(disk_error("open", path, &error)),
    };
    remove(disk, path);
    outcome
}

async fn read_pieces(file: &dyn DiskFile, path: &Path, pieces: &Pieces) -> Result<()> {
    let mut offset = 0;
    loop {
        let mut piece = vec![0; SNAPSHOT_CHUNK_BYTES];
        let length = file.read_at(offset, &mut piece).map_err(|error| disk_error("read", path, &error))?;
        piece.truncate(length);
        if piece.is_empty() || pieces.send(Ok(piece.into())).await.is_err() {
            return Ok(());
        }
        offset += length as u64;
    }
}

/// What cannot be removed is removed at the next start, if it lies in the node's own directory.
fn remove(disk: &dyn Disk, path: &Path) {
    if let Err(error) = disk.remove(path) {
        tracing::warn!(%error, path = %path.display(), "a snapshot that was sent could not be removed");
    }
}
