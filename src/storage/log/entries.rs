//! Reading the log back, entry by entry, with one batch in memory.

use std::{path::PathBuf, sync::Arc};

use bytes::Bytes;

use super::{
    errors::corrupt,
    format::entry_at,
    recovery,
    segment::{Next, Segment},
    Position,
};
use crate::{
    env::Disk,
    error::{Error, ErrorCode, Result},
};

/// One entry of the log.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Its place in the order of the log.
    pub position: Position,
    /// Whose entry it is.
    pub stream: u32,
    /// What it means to its stream.
    pub kind: u8,
    /// What was appended.
    pub payload: Bytes,
}

/// The entries from a position up to where the log ended when they were asked for. Ends after the first error.
pub struct Entries {
    disk: Arc<dyn Disk>,
    dir: PathBuf,
    /// The segments still to be read, the next one last.
    segments: Vec<Position>,
    segment: Option<Segment>,
    batch: Bytes,
    at: usize,
    next: Position,
    from: Position,
    end: Position,
}

impl Entries {
    /// `segments` in order; the first of them holds `from`.
    pub(super) fn new(
        disk: Arc<dyn Disk>,
        dir: PathBuf,
        mut segments: Vec<Position>,
        from: Position,
        end: Position,
    ) -> Entries {
        segments.reverse();
        let next = segments.last().copied().unwrap_or(end);
        Entries { disk, dir, segments, segment: None, batch: Bytes::new(), at: 0, next, from, end }
    }

    fn next_entry(&mut self) -> Result<Option<Entry>> {
        loop {
            if self.next >= self.end {
                return Ok(None);
            }
            if self.at == self.batch.len() {
                self.next_batch()?;
                continue;
            }
            let header = entry_at(&self.batch, self.at)
                .ok_or_else(|| Error::new(ErrorCode::Internal, "log: a checked batch has a torn entry"))?;
            let position = self.next;
            self.at = header.end;
            self.next = Position(position.0 + 1);
            if position >= self.from {
                let payload = self.batch.slice(header.start..header.end);
                return Ok(Some(Entry { position, stream: header.stream, kind: header.kind, payload }));
            }
        }
    }

    fn next_batch(&mut self) -> Result<()> {
        let ends_at = self.segments.last().copied();
        let Some(segment) = self.segment.as_mut().filter(|_| ends_at != Some(self.next)) else {
            return self.next_segment();
        };
        let (offset, path) = (segment.offset, segment.path().to_path_buf());
        let batch = match segment.next_batch()? {
            Next::Batch(batch) => batch,
            Next::End => return Err(corrupt(&path, offset, &format!("entry {} is missing", self.next.0))),
            Next::Bad(why) => return Err(corrupt(&path, offset, why)),
        };
        if ends_at.is_some_and(|ends_at| batch.header.end() > ends_at) {
            return Err(corrupt(&path, offset, "it reaches into the next segment"));
        }
        // Skipped whole when nobody wants an entry of it.
        if batch.header.end() <= self.from {
            self.next = batch.header.end();
            return Ok(());
        }
        (self.batch, self.at) = (Bytes::from(batch.entries), 0);
        Ok(())
    }

    fn next_segment(&mut self) -> Result<()> {
        let first = self.segments.pop().filter(|first| *first == self.next);
        let missing = || Error::new(ErrorCode::Corrupt, format!("log: {} is missing", self.dir.display()));
        let first = first.ok_or_else(missing)?;
        self.segment = Some(recovery::open(&*self.disk, &self.dir, first)?);
        Ok(())
    }
}

impl Iterator for Entries {
    type Item = Result<Entry>;

    fn next(&mut self) -> Option<Result<Entry>> {
        let outcome = self.next_entry();
        if outcome.is_err() {
            self.next = self.end;
        }
        outcome.transpose()
    }
}
