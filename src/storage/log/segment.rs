//! Reading a segment batch by batch, with a bounded window of it in memory.

use std::{
    io,
    path::{Path, PathBuf},
};

use super::{
    errors::{corrupt, failed},
    format::{
        entry_at, BatchHeader, SegmentHeader, BATCH_HEADER_BYTES, BATCH_MAGIC, ENTRY_HEADER_BYTES, SEGMENT_HEADER_BYTES,
    },
    Position,
};
use crate::{
    env::{Disk, DiskFile, OpenMode},
    error::Result,
    faults,
    limits::{LOG_BATCH_BYTES_TARGET, LOG_ENTRY_BYTES_MAX, LOG_READ_BYTES},
};

/// A batch as it was read; its entries are whole and as many as its header says.
pub(super) struct Batch {
    pub(super) header: BatchHeader,
    pub(super) entries: Vec<u8>,
}

/// What comes next in a segment.
pub(super) enum Next {
    Batch(Batch),
    /// The file ends here, or the rest of it was never written.
    End,
    /// Neither a batch nor nothing.
    Bad(&'static str),
}

/// A segment that is being read.
pub(super) struct Segment {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    pub(super) header: SegmentHeader,
    pub(super) len: u64,
    /// Where the next batch begins, and the entry it has to begin with.
    pub(super) offset: u64,
    pub(super) next: Position,
    window: Vec<u8>,
    window_at: u64,
}

impl Segment {
    /// Opens a segment and checks its header.
    pub(super) fn open(disk: &dyn Disk, path: &Path) -> Result<Segment> {
        let fail = |error| failed("read", path, error);
        let file = disk.open(path, OpenMode::Read).map_err(fail)?;
        let len = file.len().map_err(fail)?;
        let mut bytes = [0; SEGMENT_HEADER_BYTES];
        let read = file.read_at(0, &mut bytes).map_err(fail)?;
        let header = SegmentHeader::decode(&bytes[..read]).map_err(|why| corrupt(path, 0, &why))?;
        let (path, offset, next) = (path.to_path_buf(), SEGMENT_HEADER_BYTES as u64, header.first);
        Ok(Segment { file, path, header, len, offset, next, window: Vec::new(), window_at: 0 })
    }

    pub(super) fn path(&self) -> &Path {
        &self.path
    }

    /// The next batch; stays where it is unless there is one.
    pub(super) fn next_batch(&mut self) -> Result<Next> {
        let (offset, salt) = (self.offset, self.header.salt);
        let bytes = self.bytes(offset, BATCH_HEADER_BYTES)?;
        let Some(header) = BatchHeader::decode(bytes, salt, offset) else {
            return match self.is_zero_from(offset)? {
                true => Ok(Next::End),
                false => Ok(Next::Bad("no batch begins here")),
            };
        };
        if header.first != self.next || header.synced > header.first {
            return Ok(Next::Bad("a batch of another position"));
        }
        if header.len as usize > LOG_BATCH_BYTES_TARGET + ENTRY_HEADER_BYTES + LOG_ENTRY_BYTES_MAX {
            return Ok(Next::Bad("a batch beyond the limit"));
        }
        let entries_at = offset + BATCH_HEADER_BYTES as u64;
        let entries = self.bytes(entries_at, header.len as usize)?.to_vec();
        if entries.len() < header.len as usize || crc32c::crc32c(&entries) != header.crc {
            return Ok(Next::Bad("the checksum of a batch is wrong"));
        }
        if !has_count(&entries, header.count) {
            return Ok(Next::Bad("a batch with another number of entries"));
        }
        self.offset = entries_at + u64::from(header.len);
        self.next = header.end();
        Ok(Next::Batch(Batch { header, entries }))
    }

    /// The first batch after a bad place at the offset that was written when more was synced than what stands before
    /// that place: proof that what is bad there was on the disk once, and not the torn end of the log.
    pub(super) fn proof_of_damage(&mut self) -> Result<Option<u64>> {
        if faults::is_mutant("log_cut_at_first_bad_frame") {
            return Ok(None);
        }
        let (salt, next) = (self.header.salt, self.next);
        let mut at = self.offset;
        while at + BATCH_HEADER_BYTES as u64 <= self.len {
            let bytes = self.bytes(at, LOG_READ_BYTES)?;
            let found = bytes.windows(BATCH_HEADER_BYTES).enumerate().find(|(i, candidate)| {
                candidate.starts_with(&BATCH_MAGIC)
                    && BatchHeader::decode(candidate, salt, at + *i as u64).is_some_and(|batch| batch.synced > next)
            });
            if let Some((i, _)) = found {
                return Ok(Some(at + i as u64));
            }
            at += (bytes.len().saturating_sub(BATCH_HEADER_BYTES - 1)).max(1) as u64;
        }
        Ok(None)
    }

    /// Whether nothing but zeros follows: space that was allocated and not used yet.
    fn is_zero_from(&mut self, offset: u64) -> Result<bool> {
        let mut at = offset;
        while at < self.len {
            let bytes = self.bytes(at, LOG_READ_BYTES)?;
            if bytes.iter().any(|byte| *byte != 0) {
                return Ok(false);
            }
            at += bytes.len().max(1) as u64;
        }
        Ok(true)
    }

    /// `len` bytes at `offset`, fewer where the file ends.
    fn bytes(&mut self, offset: u64, len: usize) -> Result<&[u8]> {
        let is_inside = offset >= self.window_at && offset + len as u64 <= self.window_at + self.window.len() as u64;
        if !is_inside {
            self.fill(offset, len.max(LOG_READ_BYTES)).map_err(|error| failed("read", &self.path, error))?;
        }
        let start = (offset - self.window_at) as usize;
        let end = (start + len).min(self.window.len());
        Ok(&self.window[start.min(end)..end])
    }

    fn fill(&mut self, offset: u64, len: usize) -> io::Result<()> {
        // Invalid until the read has succeeded.
        self.window.clear();
        self.window_at = offset;
        let mut window = std::mem::take(&mut self.window);
        window.resize(len.min(self.len.saturating_sub(offset) as usize), 0);
        let read = self.file.read_at(offset, &mut window)?;
        window.truncate(read);
        self.window = window;
        Ok(())
    }
}

fn has_count(entries: &[u8], count: u32) -> bool {
    let (mut at, mut found) = (0, 0);
    while at < entries.len() {
        let Some(entry) = entry_at(entries, at) else { return false };
        (at, found) = (entry.end, found + 1);
    }
    found == count
}
