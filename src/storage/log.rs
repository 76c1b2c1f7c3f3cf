//! The log (L2): everything that a node must remember, in one append-only sequence of entries on disk, shared by all
//! partitions and engines of the node.
//!
//! What it promises:
//!
//! - The order of [`Log::append`] is the order in the log, across all streams, and of reading it back.
//! - An entry for which [`Log::synced`] or [`Log::wait_synced`] said `Ok` is there after a crash, also of the machine.
//!   What a crash leaves is always the first so many entries, unchanged.
//! - Whoever waits at the same moment shares one sync (group commit, DeWitt et al., SIGMOD 1984).
//! - A sync or write that fails ends the log for good: nobody knows what was written, and a second sync that succeeds
//!   would prove nothing (Rebello et al., ATC 2020). Waiters are told that their outcome is unknown; the node goes on
//!   after a restart, from what can be read.
//! - A full disk ends nothing: entries that were taken in stay in memory and are written once there is space; until then
//!   [`Log::check_room`] refuses writers before they change anything.
//! - Damage is never cut away: what was synced and cannot be read is `CORRUPT`, with file and place. Only the tail that
//!   was not known to be synced may be torn, and is cut (Alagappan et al., "Protocol-Aware Recovery", FAST 2018).
//!
//! How a writer uses it: `check_room` (or wait for room) *before* it changes memory, `append` under the lock that orders
//! its change, `synced` after the lock. `append` never refuses for lack of room: the entries of those who were past the
//! check are always taken in, so that memory is never ahead of a log that still works. It never waits for the disk.
//!
//! The log does not know what entries mean. A stream that takes its suffix back, as Raft does, appends an entry that says
//! so, and whoever reads the log applies it in its place. Old entries go by whole segments ([`Log::cut`]) once a snapshot
//! has what they say.
//!
//! Residue, as in every log without a second copy: when the very last batch is damaged after it was synced, and no later
//! batch or mark shows that it was, it looks like a torn tail. A log that was closed in order has such a mark.
//!
//! The layout is drawn in `docs/storage-format.md`. Not done here: repair from peers, compression, encryption.

mod commit;
mod entries;
mod errors;
mod format;
mod recovery;
mod segment;
mod shared;
#[cfg(test)]
mod tests;
mod verify;
mod writer;

use std::{
    future::Future,
    path::{Path, PathBuf},
    sync::Arc,
    time::Duration,
};

use parking_lot::Mutex;

pub use entries::{Entries, Entry};
pub use verify::{verify, Damage, SegmentReport};

use self::{
    commit::Committer,
    errors::failed,
    format::segment_name,
    recovery::Recovered,
    shared::{Counts, Shared, Taken, Wish},
};
use crate::{
    env::{Disk, DiskWorker, Env},
    error::{Error, ErrorCode, Result},
    limits::{LOG_PREALLOCATE_BYTES, LOG_SEGMENT_BYTES, LOG_SEGMENT_BYTES_LEAST},
};

/// The place of an entry: how many entries were appended before it, ever.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Position(pub u64);

/// When written entries are synced. [`Log::synced`] tells the truth in each of them; they differ in what an
/// acknowledgement should wait for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Durability {
    /// At once; writers wait for it.
    Sync,
    /// At most this long after they were written. A power cut loses so much; the end of the process loses nothing that
    /// was written.
    Interval(Duration),
    /// When a segment is full and when the log is closed.
    Memory,
}

/// How a log is kept.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogOptions {
    /// When entries are synced.
    pub durability: Durability,
    /// Bytes after which the next segment is begun.
    pub segment_bytes: u64,
    /// Bytes of zeros that are written ahead.
    pub preallocate_bytes: u64,
}

impl Default for LogOptions {
    fn default() -> LogOptions {
        LogOptions {
            durability: Durability::Sync,
            segment_bytes: LOG_SEGMENT_BYTES,
            preallocate_bytes: LOG_PREALLOCATE_BYTES,
        }
    }
}

/// Whether the log takes entries.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LogState {
    /// It does.
    Ok,
    /// There is no space: it keeps what it has, and tries again about once a second.
    Full,
    /// The disk has failed: only a restart helps.
    Failed,
    /// It was closed.
    Closed,
}

/// Figures of a log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LogStats {
    /// Whether it takes entries.
    pub state: LogState,
    /// The entry that is appended next.
    pub next: Position,
    /// All entries before this one are synced.
    pub synced: Position,
    /// Bytes of entries that wait for the disk.
    pub buffered_bytes: usize,
    /// Bytes of entries that were written since it was opened.
    pub written_bytes: u64,
    /// Batches that were written since it was opened.
    pub batches: u64,
    /// Syncs since it was opened.
    pub syncs: u64,
    /// How long syncs took, half of them at most, in microseconds.
    pub sync_p50_us: u64,
    /// How long 99 % of the syncs took at most, in microseconds.
    pub sync_p99_us: u64,
    /// The longest sync, in microseconds.
    pub sync_max_us: u64,
    /// Segments on disk.
    pub segments: usize,
}

/// The log of a node. Dropped without [`Log::close`] it loses what was not synced, as in a crash.
pub struct Log {
    shared: Arc<Shared>,
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    durability: Durability,
    /// Guards the first entries of all segments, in order.
    segments: Arc<Mutex<Vec<Position>>>,
    /// Guards the committer, which the first to close takes out.
    worker: Mutex<Option<Box<dyn DiskWorker>>>,
}

impl Log {
    /// Opens the log in the directory, or makes a new one; cuts what a crash has torn off. Blocks on the disk.
    ///
    /// # Errors
    /// `CORRUPT` with file and place, `DATA_DIR_IN_USE`, `DISK_FULL`, `DISK_FAILED`; `BAD_SETTING`.
    pub fn open(env: &Env, dir: &Path, options: &LogOptions) -> Result<Log> {
        if options.segment_bytes < LOG_SEGMENT_BYTES_LEAST {
            let text = format!("log: segments of {} bytes, at least {LOG_SEGMENT_BYTES_LEAST}", options.segment_bytes);
            return Err(Error::new(ErrorCode::BadSetting, text));
        }
        env.disk.create_dir_all(dir).map_err(|error| failed("create", dir, error))?;
        let lock = env.disk.lock(&dir.join("lock")).map_err(|error| failed("lock", dir, error))?;
        let Recovered { writer, segments } = recovery::recover(env, dir, options)?;
        let shared = Arc::new(Shared::new(writer.written));
        let segments = Arc::new(Mutex::new(segments));
        let committer = Committer {
            shared: shared.clone(),
            writer,
            segments: segments.clone(),
            clock: env.clock.clone(),
            durability: options.durability,
            counts: Counts::default(),
            taken: Taken::default(),
            unsynced_since: None,
            wishes: (0, 0),
            lock,
        };
        let worker = env.disk.spawn("kvstore-log", Box::pin(committer.run()));
        let worker = Mutex::new(Some(worker.map_err(|error| failed("start a thread for", dir, error))?));
        let (disk, dir, durability) = (env.disk.clone(), dir.to_path_buf(), options.durability);
        Ok(Log { shared, disk, dir, durability, segments, worker })
    }

    /// Whether the caller may change memory and append what it did. One check allows one entry.
    ///
    /// # Errors
    /// `OVERLOADED` while too much waits for the disk, `DISK_FULL`, `DISK_FAILED`, `NOT_RUNNING` after a close.
    pub fn check_room(&self) -> Result<()> {
        self.shared.check_room()
    }

    /// Waits on this thread until there is room.
    ///
    /// # Errors
    /// As [`Log::check_room`].
    pub fn wait_for_room(&self, timeout: Duration) -> Result<()> {
        self.shared.wait_for_room(timeout)
    }

    /// Waits until there is room.
    ///
    /// # Errors
    /// As [`Log::check_room`], but never `OVERLOADED`.
    pub async fn room(&self) -> Result<()> {
        self.shared.room_is_there().await
    }

    /// Takes an entry in: copies it, and never waits for the disk. `stream` says whose it is and `kind` what it means to
    /// its stream.
    ///
    /// # Errors
    /// `DISK_FAILED` or `NOT_RUNNING` when the log has ended, `INVALID_ARGUMENT` for a payload beyond the bound: it was
    /// not taken in.
    pub fn append(&self, stream: u32, kind: u8, payload: &[u8]) -> Result<Position> {
        self.append_with(stream, kind, |buffer| buffer.extend_from_slice(payload))
    }

    /// As [`Log::append`]; `encode` appends the payload to the bytes that are there already. It runs under the log's lock,
    /// so it must be quick and must not come back here.
    ///
    /// # Errors
    /// As [`Log::append`].
    pub fn append_with(&self, stream: u32, kind: u8, encode: impl FnOnce(&mut Vec<u8>)) -> Result<Position> {
        self.shared.append((stream, kind), encode)
    }

    /// Waits until everything that was appended before is synced, whatever the durability.
    ///
    /// # Errors
    /// As [`Log::synced`].
    pub async fn flush(&self) -> Result<()> {
        let Some(last) = self.next().0.checked_sub(1) else { return Ok(()) };
        self.shared.wish_sync();
        self.synced(Position(last)).await
    }

    /// Has everything that was appended before synced soon, whatever the durability, and does not wait for it.
    pub fn hasten(&self) {
        self.shared.wish_sync();
    }

    /// Waits on this thread until the entry is synced.
    ///
    /// # Errors
    /// `DEADLINE_EXCEEDED`, `DISK_FAILED`, `NOT_RUNNING`; each of them may have been applied.
    pub fn wait_synced(&self, position: Position, timeout: Duration) -> Result<()> {
        self.shared.wait_synced(position, timeout)
    }

    /// Waits until the entry is synced, however long a full disk takes.
    ///
    /// # Errors
    /// `DISK_FAILED`, `NOT_RUNNING`; either may have been applied.
    pub fn synced(&self, position: Position) -> impl Future<Output = Result<()>> + Send + '_ {
        self.shared.synced_is(position)
    }

    /// Calls back once the entry is synced or will never be, on the thread of the log, which it must not keep; at once
    /// when that is known already. Those of one commit are called in the order of their positions.
    pub fn on_synced(&self, position: Position, callback: impl FnOnce(Result<()>) + Send + 'static) {
        self.shared.on_synced(position, Box::new(callback));
    }

    /// All entries before this one are synced.
    pub fn synced_before(&self) -> Position {
        self.shared.synced()
    }

    /// The entry that is appended next.
    pub fn next(&self) -> Position {
        self.shared.next()
    }

    /// The first entry that can still be read.
    pub fn first(&self) -> Position {
        self.segments.lock()[0]
    }

    /// What it was opened with.
    pub fn durability(&self) -> Durability {
        self.durability
    }

    /// Whether it takes entries.
    pub fn state(&self) -> LogState {
        self.shared.state()
    }

    /// Why it takes no entries, if it takes none.
    pub fn failure(&self) -> Option<Error> {
        self.shared.failure()
    }

    /// Figures for status and metrics.
    pub fn stats(&self) -> LogStats {
        let (counts, [sync_p50_us, sync_p99_us, sync_max_us]) = self.shared.figures();
        LogStats {
            state: self.state(),
            next: self.next(),
            synced: self.synced_before(),
            buffered_bytes: self.shared.buffered_bytes(),
            written_bytes: counts.bytes,
            batches: counts.batches,
            syncs: counts.syncs,
            sync_p50_us,
            sync_p99_us,
            sync_max_us,
            segments: self.segments.lock().len(),
        }
    }

    /// Reads the entries from a position up to what is written now. Blocks on the disk.
    ///
    /// # Errors
    /// `CORRUPT` when entries from there on are missing; each item may be `CORRUPT` or `DISK_FAILED`.
    pub fn entries_from(&self, from: Position) -> Result<Entries> {
        let end = self.shared.written();
        let segments = self.segments.lock().clone();
        if from < segments[0] {
            let text = format!("log: entries {} to {} of {} are gone", from.0, segments[0].0, self.dir.display());
            return Err(Error::new(ErrorCode::Corrupt, text));
        }
        let skipped = segments.partition_point(|first| *first <= from) - 1;
        Ok(Entries::new(self.disk.clone(), self.dir.clone(), segments[skipped..].to_vec(), from, end))
    }

    /// Gives back the space of entries before a position, as far as they fill whole segments. Blocks on the disk.
    ///
    /// # Errors
    /// `DISK_FAILED`; what was removed until then stays removed.
    pub fn cut(&self, before: Position) -> Result<()> {
        loop {
            let mut segments = self.segments.lock();
            let Some(&second) = segments.get(1).filter(|second| **second <= before) else { return Ok(()) };
            let path = self.dir.join(segment_name(segments[0]));
            self.disk.remove(&path).map_err(|error| failed("remove", &path, error))?;
            // One by one, so that a crash never leaves an old segment without the one after it.
            self.disk.sync_dir(&self.dir).map_err(|error| failed("sync", &self.dir, error))?;
            segments.retain(|first| *first >= second);
        }
    }

    /// Writes and syncs what was taken in, then ends. Later calls wait for nothing and say the same.
    ///
    /// # Errors
    /// What kept it from being written; the outcome of those entries is unknown.
    pub async fn close(&self) -> Result<()> {
        self.shared.wish(Wish::Close);
        let worker = self.worker.lock().take();
        if let Some(worker) = worker {
            worker.join().await.map_err(|error| failed("end the thread of", &self.dir, error))?;
        }
        self.failure().map_or(Ok(()), Err)
    }

    /// Ends without writing anything more, as a crash would. The directory is free afterwards, which it is not yet when a log
    /// was only dropped.
    pub async fn abandon(&self) {
        self.shared.wish(Wish::Abandon);
        let worker = self.worker.lock().take();
        if let Some(worker) = worker {
            if let Err(error) = worker.join().await {
                tracing::error!(%error, dir = %self.dir.display(), "the thread of the log broke off");
            }
        }
    }
}

impl Drop for Log {
    /// Only ends the committer: what is not synced by now is lost.
    fn drop(&mut self) {
        self.shared.wish(Wish::Abandon);
    }
}
