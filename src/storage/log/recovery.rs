//! Opening a log that was closed, killed or cut off.
//!
//! What is known to have been synced stands: a bad place before the last synced entry is damage, which is reported and
//! never cut. What was written after it, the tail, may be torn; as far as it is whole it is copied to a fresh segment and
//! synced there, because the pages that were just read may never have reached the disk. The fresh segment gets its name
//! in one step, so that a crash at any moment leaves the old state or the new one.

use std::path::{Path, PathBuf};

use super::{
    errors::{corrupt, failed},
    format::{segment_first, segment_name},
    segment::{Next, Segment},
    writer::{Place, Writer},
    LogOptions, Position,
};
use crate::{
    env::{Disk, Env, OpenMode},
    error::{Error, ErrorCode, Result},
};

/// What was found, ready to be written on.
pub(super) struct Recovered {
    pub(super) writer: Writer,
    /// The first entries of all segments, in order; the last is the writer's.
    pub(super) segments: Vec<Position>,
}

/// The end of the last segment.
pub(super) struct Tail {
    /// Entries before this one were synced for certain.
    pub(super) synced: Position,
    /// The entry after the last whole one.
    pub(super) end: Position,
    /// Where the tail's first batch stands.
    pub(super) offset: u64,
    /// The offset from which on there is neither a batch nor nothing, and why.
    pub(super) torn: Option<(u64, &'static str)>,
}

/// Opens the log in the directory, or makes a new one.
pub(super) fn recover(env: &Env, dir: &Path, options: &LogOptions) -> Result<Recovered> {
    let mut segments = list(&*env.disk, dir)?;
    let mut place = Place::new(env, dir, options, 0);
    place.remove_unfinished()?;
    let Some(&last) = segments.last() else {
        place.log_id = env.rng.next_u64()?;
        let mut writer = Writer::begin(place, Position(0))?;
        writer.finish()?;
        return Ok(Recovered { writer, segments: vec![Position(0)] });
    };
    place.log_id = check_headers(&*env.disk, dir, &segments)?;
    let path = dir.join(segment_name(last));
    let tail = scan_tail(&*env.disk, &path)?;
    if let Some((offset, why)) = tail.torn {
        let lost = tail.end;
        tracing::warn!(path = %path.display(), offset, why, first = lost.0, "cut the torn end of the log");
    }
    let writer = copy_tail(place, &path, &tail)?;
    if tail.synced > last {
        shorten(&*env.disk, &path, tail.offset)?;
        segments.push(tail.synced);
    }
    Ok(Recovered { writer, segments })
}

/// The first entries of the segments in the directory, in order.
pub(super) fn list(disk: &dyn Disk, dir: &Path) -> Result<Vec<Position>> {
    let names = disk.list(dir).map_err(|error| failed("list", dir, error))?;
    Ok(names.iter().filter_map(|name| segment_first(name)).collect())
}

/// Checks that the segments belong to one log and have their own names; returns the log's id.
fn check_headers(disk: &dyn Disk, dir: &Path, segments: &[Position]) -> Result<u64> {
    let mut log_id = None;
    for &first in segments {
        let segment = open(disk, dir, first)?;
        if *log_id.get_or_insert(segment.header.log_id) != segment.header.log_id {
            return Err(corrupt(segment.path(), 0, "it belongs to another log"));
        }
    }
    log_id.ok_or_else(|| Error::new(ErrorCode::Internal, "log: no segment to check"))
}

/// Opens the segment that begins with this entry.
pub(super) fn open(disk: &dyn Disk, dir: &Path, first: Position) -> Result<Segment> {
    let path: PathBuf = dir.join(segment_name(first));
    let segment = Segment::open(disk, &path)?;
    match segment.header.first == first {
        true => Ok(segment),
        false => Err(corrupt(&path, 0, &format!("it begins with entry {}", segment.header.first.0))),
    }
}

/// Reads the last segment to its end.
///
/// # Errors
/// `CORRUPT` when a bad place in it was synced once.
pub(super) fn scan_tail(disk: &dyn Disk, path: &Path) -> Result<Tail> {
    let mut segment = Segment::open(disk, path)?;
    let mut synced = segment.header.first;
    let torn = loop {
        let offset = segment.offset;
        match segment.next_batch()? {
            Next::Batch(batch) => synced = synced.max(batch.header.synced),
            Next::End => break None,
            Next::Bad(why) if segment.proof_of_damage()?.is_some() => return Err(corrupt(path, offset, why)),
            Next::Bad(why) => break Some((offset, why)),
        }
    };
    let end = segment.next;
    let offset = offset_of(disk, path, synced)?;
    Ok(Tail { synced, end, offset, torn })
}

/// Where the batch stands that begins with the entry. What is synced ends with a batch.
fn offset_of(disk: &dyn Disk, path: &Path, entry: Position) -> Result<u64> {
    let mut segment = Segment::open(disk, path)?;
    while segment.next < entry {
        let Next::Batch(_) = segment.next_batch()? else { break };
    }
    match segment.next == entry {
        true => Ok(segment.offset),
        false => Err(corrupt(path, segment.offset, &format!("no batch begins with entry {}", entry.0))),
    }
}

/// Copies the tail to a fresh segment, closed by a mark that says that it is synced.
fn copy_tail(place: Place, path: &Path, tail: &Tail) -> Result<Writer> {
    let mut old = Segment::open(&*place.disk, path)?;
    let mut writer = Writer::begin(place, tail.synced)?;
    while old.next < tail.end {
        let Next::Batch(batch) = old.next_batch()? else {
            return Err(corrupt(path, old.offset, "a batch that was there a moment ago"));
        };
        if batch.header.first >= tail.synced && batch.header.count > 0 {
            writer.make_room_for_tail(batch.entries.len())?;
            writer.write(batch.header.count, &batch.entries)?;
        }
    }
    writer.finish()?;
    writer.mark()?;
    Ok(writer)
}

/// Gives back the space behind what stands in a segment that is followed by another one. For good: nobody comes back to it,
/// and machines that lose their power soon after each start would fill their disks with what they write ahead.
fn shorten(disk: &dyn Disk, path: &Path, len: u64) -> Result<()> {
    let file = disk.open(path, OpenMode::ReadWrite).map_err(|error| failed("open", path, error))?;
    file.set_len(len).map_err(|error| failed("shorten", path, error))?;
    file.sync().map_err(|error| failed("sync", path, error))
}
