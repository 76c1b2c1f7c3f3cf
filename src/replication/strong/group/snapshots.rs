//! The newest snapshot of a group: in memory, and as a file where the member keeps its data on disk. The file is one of
//! [`crate::storage::snapshot`]: a block that says of which entry and of which members it is, then the chunks of the machine.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::sync::oneshot;

use crate::{
    env::{Clock, Disk},
    error::{Error, ErrorCode, Result},
    limits::GROUP_SNAPSHOT_RETRY,
    replication::strong::{
        log_store::record::{put_log_id, put_members, put_option, take_log_id, take_members, take_option},
        machine::Snapshot as Captured,
        types::{Members, SnapshotMeta},
        Restore,
    },
    storage::{
        codec::{put_sized, Decoded, Reader},
        snapshot::{list, remove_all, remove_leftovers, remove_older, Block, Header, SnapshotReader, SnapshotWriter},
    },
    types::NodeId,
};

/// Of which entry and members a snapshot is.
const META: u8 = 1;
/// A chunk of the machine.
const CHUNK: u8 = 2;

/// The longest id of a snapshot: it is that of an entry, in words.
const SNAPSHOT_ID_BYTES_MAX: usize = 128;

/// Keeps snapshots.
pub(super) struct Snapshots {
    place: Option<Place>,
    current: Mutex<Option<(SnapshotMeta, Captured)>>,
    /// One at a time is written, or an older one could replace a newer one.
    writing: tokio::sync::Mutex<()>,
    problem: Mutex<String>,
}

/// Where they are on disk.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) dir: PathBuf,
    pub(super) member: u64,
    pub(super) cluster: String,
}

impl Snapshots {
    /// Those of a member that lives in memory.
    pub(super) fn in_memory() -> Snapshots {
        Snapshots {
            place: None,
            current: Mutex::default(),
            writing: tokio::sync::Mutex::default(),
            problem: Mutex::default(),
        }
    }

    /// Those in a directory, of which the newest is read. Those of another member, which this node was under a former id, are
    /// removed. Blocks on the disk.
    ///
    /// # Errors
    /// `CORRUPT` when it is damaged: the log that an older one would need is cut. `DISK_FAILED`.
    pub(super) fn open(place: Place) -> Result<Snapshots> {
        remove_leftovers(&*place.disk, &place.dir)?;
        let newest = list(&*place.disk, &place.dir)?.into_iter().next();
        let current = newest.map(|listed| read(&place, &listed.path)).transpose()?.flatten();
        if current.is_none() {
            remove_all(&*place.disk, &place.dir)?;
        }
        Ok(Snapshots { place: Some(place), current: Mutex::new(current), ..Snapshots::in_memory() })
    }

    pub(super) fn current(&self) -> Option<(SnapshotMeta, Captured)> {
        self.current.lock().clone()
    }

    pub(super) fn problem(&self) -> String {
        self.problem.lock().clone()
    }

    /// Makes this the newest snapshot, and returns when it is on disk. One that cannot be written is tried again for as long as
    /// it takes: nothing depends on it but how long the log grows.
    pub(super) async fn keep(&self, meta: SnapshotMeta, captured: Captured) {
        let _one_at_a_time = self.writing.lock().await;
        if self.current.lock().as_ref().is_some_and(|(current, _)| current.last_log_id >= meta.last_log_id) {
            return;
        }
        if let Some(place) = &self.place {
            while let Err(error) = write(place, &meta, &captured).await {
                tracing::warn!(%error, "a snapshot of the group could not be written; it is tried again");
                *self.problem.lock() = error.to_string();
                tokio::time::sleep(GROUP_SNAPSHOT_RETRY).await;
            }
            self.problem.lock().clear();
        }
        *self.current.lock() = Some((meta, captured));
    }
}

/// Writes a snapshot on a worker of the disk.
async fn write(place: &Place, meta: &SnapshotMeta, captured: &Captured) -> Result<()> {
    let (done, written) = oneshot::channel();
    let work = {
        let (place, meta, captured) = (place.clone(), meta.clone(), captured.clone());
        async move {
            // Nobody waits any more when the member is being stopped.
            drop(done.send(write_here(&place, &meta, &captured)));
        }
    };
    let worker = place.disk.spawn("kvstore-group", Box::pin(work));
    let _detached = worker.map_err(|error| Error::new(ErrorCode::Internal, format!("no thread: {error}")))?;
    let broke_off = || Error::new(ErrorCode::Internal, "the thread that wrote a snapshot of the group broke off");
    written.await.unwrap_or_else(|_| Err(broke_off()))
}

fn write_here(place: &Place, meta: &SnapshotMeta, captured: &Captured) -> Result<()> {
    let header = Header {
        node: NodeId(place.member),
        cluster: place.cluster.clone(),
        log_position: meta.last_log_id.map_or(0, |last| last.index),
        created_ms: place.clock.wall_ms(),
    };
    let mut writer = SnapshotWriter::create(&place.disk, &place.dir, &header)?;
    let mut head = Vec::new();
    put_meta(&mut head, meta);
    writer.block(&block(META, &head))?;
    for chunk in captured.chunks() {
        writer.block(&block(CHUNK, &chunk))?;
    }
    writer.finish()?;
    remove_older(&*place.disk, &place.dir, 1)?;
    Ok(())
}

fn block(kind: u8, payload: &[u8]) -> Block<'_> {
    Block { kind, partition: 0, records: 0, payload }
}

/// `None`: it is of another member.
fn read(place: &Place, path: &Path) -> Result<Option<(SnapshotMeta, Captured)>> {
    let mut reader = SnapshotReader::open(&*place.disk, path)?;
    if reader.header().node != NodeId(place.member) {
        return Ok(None);
    }
    let (mut meta, mut restore) = (None, Restore::new());
    while let Some(block) = reader.next_block()? {
        match block.kind {
            META => meta = Some(decode_meta(block.payload)?),
            CHUNK => restore.push(block.payload)?,
            other => {
                let text = format!("{}: blocks of kind {other} are of a later version", path.display());
                return Err(Error::new(ErrorCode::FormatTooNew, text));
            }
        }
    }
    let missing = || Error::new(ErrorCode::Corrupt, format!("{}: it does not say what it is of", path.display()));
    Ok(Some((meta.ok_or_else(missing)?, restore.finish()?.capture())))
}

/// The last entry, the entry that made the members, the members, the id.
pub(super) fn put_meta(buf: &mut Vec<u8>, meta: &SnapshotMeta) {
    put_option(buf, meta.last_log_id.as_ref(), put_log_id);
    put_option(buf, meta.last_membership.log_id().as_ref(), put_log_id);
    put_members(buf, meta.last_membership.membership());
    put_sized(buf, meta.snapshot_id.as_bytes());
}

pub(super) fn take_meta(reader: &mut Reader<'_>) -> Decoded<SnapshotMeta> {
    let last_log_id = take_option(reader, "meta.last", take_log_id)?;
    let members_since = take_option(reader, "meta.members_since", take_log_id)?;
    let last_membership = Members::new(members_since, take_members(reader)?);
    let snapshot_id = reader.take_text("meta.id", SNAPSHOT_ID_BYTES_MAX)?.to_string();
    Ok(SnapshotMeta { last_log_id, last_membership, snapshot_id })
}

fn decode_meta(payload: &[u8]) -> Result<SnapshotMeta> {
    let mut reader = Reader::new(payload);
    let meta = take_meta(&mut reader)?;
    reader.finish("meta")?;
    Ok(meta)
}
