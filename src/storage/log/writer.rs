//! Writing the log: the segment at its end, the space ahead of it, and what is synced of it. Used by one thread.

use std::{
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    errors::{failed, is_full},
    format::{push_batch, segment_name, SegmentHeader, BATCH_HEADER_BYTES, SEGMENT_HEADER_BYTES},
    LogOptions, Position,
};
use crate::{
    env::{Disk, DiskFile, Env, OpenMode, Rng},
    error::{Error, Result},
    faults,
};

/// A segment is made under this name and gets its own once it is durable, so that a segment never has a torn header.
const NEW_SEGMENT: &str = "segment.new";

/// Why a step did not happen.
#[derive(Debug)]
pub(super) enum Trouble {
    /// There is no space; nothing is lost, and the same step may succeed later.
    Full(Error),
    /// Nothing is known about what was written and not synced.
    Failed(Error),
}

impl From<Error> for Trouble {
    fn from(error: Error) -> Trouble {
        Trouble::Failed(error)
    }
}

impl From<Trouble> for Error {
    fn from(trouble: Trouble) -> Error {
        match trouble {
            Trouble::Full(error) | Trouble::Failed(error) => error,
        }
    }
}

pub(super) type Step<T = ()> = std::result::Result<T, Trouble>;

/// The directory of a log and how to make segments in it.
#[derive(Clone)]
pub(super) struct Place {
    pub(super) disk: Arc<dyn Disk>,
    pub(super) rng: Arc<dyn Rng>,
    pub(super) dir: PathBuf,
    pub(super) options: LogOptions,
    pub(super) log_id: u64,
}

impl Place {
    pub(super) fn new(env: &Env, dir: &Path, options: &LogOptions, log_id: u64) -> Place {
        let (disk, rng) = (env.disk.clone(), env.rng.clone());
        Place { disk, rng, dir: dir.to_path_buf(), options: options.clone(), log_id }
    }

    fn new_path(&self) -> PathBuf {
        self.dir.join(NEW_SEGMENT)
    }

    /// Removes what a crash left of a segment that was being made.
    pub(super) fn remove_unfinished(&self) -> Result<()> {
        let path = self.new_path();
        match self.disk.remove(&path) {
            Err(error) if error.kind() != std::io::ErrorKind::NotFound => Err(failed("remove", &path, error)),
            _ => Ok(()),
        }
    }

    pub(super) fn sync_dir(&self) -> Result<()> {
        if faults::is_mutant("log_no_dir_sync") {
            return Ok(());
        }
        self.disk.sync_dir(&self.dir).map_err(|error| failed("sync", &self.dir, error))
    }
}

/// The segment at the end of the log.
pub(super) struct Writer {
    pub(super) place: Place,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    header: SegmentHeader,
    /// Where the next batch goes.
    offset: u64,
    /// How far the file reaches, filled with zeros.
    allocated: u64,
    /// The entry after the last that was written, and after the last that was synced.
    pub(super) written: Position,
    pub(super) synced: Position,
    buffer: Vec<u8>,
}

impl Writer {
    /// Makes a segment that begins with this entry, under its temporary name.
    pub(super) fn begin(place: Place, first: Position) -> Step<Writer> {
        place.remove_unfinished()?;
        let salt = place.rng.next_u64()?;
        let header = SegmentHeader { log_id: place.log_id, salt, first };
        let path = place.new_path();
        let file = place.disk.open(&path, OpenMode::CreateNew).map_err(|error| trouble("create", &path, error))?;
        let offset = SEGMENT_HEADER_BYTES as u64;
        let buffer = Vec::new();
        let mut writer =
            Writer { place, file, path, header, offset, allocated: 0, written: first, synced: first, buffer };
        writer.write_at(0, &header.encode())?;
        writer.allocated = offset;
        writer.allocate(0)?;
        Ok(writer)
    }

    /// Makes the segment durable and gives it its name. One that had it is replaced.
    pub(super) fn finish(&mut self) -> Step {
        self.sync()?;
        let to = self.place.dir.join(segment_name(self.header.first));
        self.place.disk.rename(&self.path, &to).map_err(|error| trouble("rename", &self.path, error))?;
        self.path = to;
        self.place.sync_dir()?;
        Ok(())
    }

    pub(super) fn first(&self) -> Position {
        self.header.first
    }

    /// Makes room for a batch with so many bytes of entries, in this segment or the next. Whatever fails for lack of
    /// space fails here, before anything of the batch is written.
    pub(super) fn make_room(&mut self, entries_len: usize) -> Step<bool> {
        let end = self.offset + (BATCH_HEADER_BYTES + entries_len) as u64;
        let is_rotated = end > self.place.options.segment_bytes && self.written > self.header.first;
        if is_rotated {
            self.rotate()?;
        }
        self.allocate(entries_len)?;
        Ok(is_rotated)
    }

    /// Makes room in this segment, however long it gets: a tail is never spread over two.
    pub(super) fn make_room_for_tail(&mut self, entries_len: usize) -> Step {
        self.allocate(entries_len)
    }

    /// Writes a batch without entries: the proof, for what stands before it, that it was synced.
    pub(super) fn mark(&mut self) -> Step {
        self.allocate(0)?;
        self.write(0, &[])
    }

    /// Writes a batch; nothing of it is durable yet.
    pub(super) fn write(&mut self, count: u32, entries: &[u8]) -> Step {
        let mut buffer = std::mem::take(&mut self.buffer);
        buffer.clear();
        push_batch(&mut buffer, self.header.salt, self.offset, (self.written, self.synced, count), entries);
        let outcome = self.write_at(self.offset, &buffer);
        let len = buffer.len() as u64;
        self.buffer = buffer;
        outcome?;
        self.offset += len;
        self.written = Position(self.written.0 + u64::from(count));
        Ok(())
    }

    /// Makes durable what was written. After an error nothing is known, and it must not be tried again.
    pub(super) fn sync(&mut self) -> Step {
        if !faults::is_mutant("log_no_sync") {
            let mut outcome = self.file.sync();
            if outcome.is_err() && faults::is_mutant("log_sync_retried") {
                outcome = self.file.sync();
            }
            outcome.map_err(|error| Trouble::Failed(sync_failed(&self.path, &error)))?;
        }
        self.synced = self.written;
        Ok(())
    }

    /// Begins the next segment. This one is synced first: the name of the next is the proof that it was.
    fn rotate(&mut self) -> Step {
        if self.synced < self.written {
            self.sync()?;
        }
        let mut next = Writer::begin(self.place.clone(), self.written)?;
        next.finish()?;
        // Only gives space back: readers stop where the next segment begins.
        self.file.set_len(self.offset).map_err(|error| failed("shorten", &self.path, error))?;
        *self = next;
        Ok(())
    }

    /// Writes zeros until a batch fits behind what is there.
    fn allocate(&mut self, entries_len: usize) -> Step {
        let needed = self.offset + (BATCH_HEADER_BYTES + entries_len) as u64;
        if needed <= self.allocated {
            return Ok(());
        }
        let options = &self.place.options;
        let wanted = (self.allocated + options.preallocate_bytes).min(options.segment_bytes).max(needed);
        let zeros = vec![0; (wanted - self.allocated) as usize];
        self.write_at(self.allocated, &zeros)?;
        self.allocated = wanted;
        Ok(())
    }

    fn write_at(&self, offset: u64, bytes: &[u8]) -> Step {
        self.file.write_all_at(offset, bytes).map_err(|error| trouble("write", &self.path, error))
    }
}

fn trouble(operation: &str, path: &Path, error: std::io::Error) -> Trouble {
    let is_full = is_full(error.kind());
    let error = failed(operation, path, error);
    match is_full {
        true => Trouble::Full(error),
        false => Trouble::Failed(error),
    }
}

/// Never `DISK_FULL`, whatever the system says: the pages are gone, and more space does not bring them back.
fn sync_failed(path: &Path, error: &std::io::Error) -> Error {
    failed("sync", path, std::io::Error::other(error.to_string()))
}
