//! Reads a snapshot, block by block, and believes nothing of it that is not checked.

use std::{
    fmt,
    path::{Path, PathBuf},
};

use super::format::{
    check_block, decode_head, decode_header, encode_footer, header_length, Block, Head, Header, Totals,
    BLOCK_HEAD_BYTES, BLOCK_KIND_FOOTER, SNAPSHOT_FORMAT_VERSION,
};
use crate::{
    env::{Disk, DiskFile, OpenMode},
    error::{Error, ErrorCode, Result},
    storage::{
        codec::{CodecError, Fault},
        envelope::{EnvelopeFault, PREFIX_BYTES},
        files::{disk_error, unknown_version},
    },
};

/// A snapshot that is being read. Holds one block at a time.
///
/// What came out before an error was written by the node, but it is not the state: the state is there once
/// [`SnapshotReader::next_block`] has said `None`.
pub struct SnapshotReader {
    file: Box<dyn DiskFile>,
    path: PathBuf,
    header: Header,
    totals: Totals,
    /// The check of all that was read.
    check: u32,
    offset: u64,
    is_ended: bool,
    buffer: Vec<u8>,
}

/// Where a file stops being readable, and why.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Damage {
    /// The first byte of the header, block or footer that fails.
    pub offset: u64,
    /// The rule that it breaks.
    pub why: String,
}

impl fmt::Display for Damage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "damaged at byte {}: {}", self.offset, self.why)
    }
}

/// What is readable in a file.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Report {
    /// Which file.
    pub path: PathBuf,
    /// Its bytes.
    pub file_bytes: u64,
    /// Whose state it is; `None`: not even that is readable.
    pub header: Option<Header>,
    /// The blocks before the first damage.
    pub readable: Totals,
    /// The first damage, a missing end included. `None`: the snapshot is valid.
    pub damage: Option<Damage>,
}

impl Report {
    /// Whether the snapshot is whole.
    pub fn is_valid(&self) -> bool {
        self.damage.is_none()
    }
}

/// Why a step of reading failed: the file is damaged, or it could not be read, or not by this software.
enum Failure {
    Damage(Damage),
    Other(Error),
}

impl Failure {
    fn damage(offset: u64, why: impl fmt::Display) -> Failure {
        Failure::Damage(Damage { offset, why: why.to_string() })
    }

    fn into_error(self, path: &Path) -> Error {
        match self {
            Failure::Damage(damage) => Error::new(ErrorCode::Corrupt, format!("snapshot {}: {damage}", path.display())),
            Failure::Other(error) => error,
        }
    }
}

impl SnapshotReader {
    /// Opens a snapshot and reads its header.
    ///
    /// # Errors
    /// `CORRUPT` for a damaged header, `FORMAT_TOO_NEW` for one of another version, `DISK_FAILED`.
    pub fn open(disk: &dyn Disk, path: &Path) -> Result<SnapshotReader> {
        let file = disk.open(path, OpenMode::Read).map_err(|error| disk_error("open", path, &error))?;
        SnapshotReader::begin(file, path).map_err(|failure| failure.into_error(path))
    }

    fn begin(file: Box<dyn DiskFile>, path: &Path) -> Result<SnapshotReader, Failure> {
        let damaged = |error: CodecError| Failure::damage(0, error);
        let mut bytes = vec![0; PREFIX_BYTES];
        read_all(&*file, path, 0, &mut bytes, "header").map_err(|failure| at(0, failure))?;
        bytes.resize(header_length(&bytes).map_err(damaged)?, 0);
        read_all(&*file, path, 0, &mut bytes, "header").map_err(|failure| at(0, failure))?;
        let (header, check) = decode_header(&bytes).map_err(|fault| match fault {
            EnvelopeFault::Damaged(error) => damaged(error),
            EnvelopeFault::Version(version) => {
                Failure::Other(unknown_version("snapshot", path, version, SNAPSHOT_FORMAT_VERSION))
            }
        })?;
        let (totals, offset, is_ended) = (Totals::default(), bytes.len() as u64, false);
        Ok(SnapshotReader { file, path: path.into(), header, totals, check, offset, is_ended, buffer: Vec::new() })
    }

    /// Whose state it is.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// What was read so far.
    pub fn totals(&self) -> Totals {
        self.totals
    }

    /// The next block; `None`: that was all, and the whole file was as it was written.
    ///
    /// # Errors
    /// `CORRUPT`, naming the file and the byte, `DISK_FAILED`.
    pub fn next_block(&mut self) -> Result<Option<Block<'_>>> {
        match self.advance() {
            Ok(None) => Ok(None),
            Ok(Some(Head { kind, partition, records, .. })) => {
                Ok(Some(Block { kind, partition, records, payload: &self.buffer }))
            }
            Err(failure) => Err(failure.into_error(&self.path)),
        }
    }

    /// Reads and checks the next block into the buffer.
    fn advance(&mut self) -> Result<Option<Head>, Failure> {
        if self.is_ended {
            return Ok(None);
        }
        let offset = self.offset;
        let damaged = |error: CodecError| Failure::damage(offset, error);
        let mut bytes = [0; BLOCK_HEAD_BYTES];
        read_all(&*self.file, &self.path, offset, &mut bytes, "block").map_err(|failure| at(offset, failure))?;
        let head = decode_head(&bytes).map_err(damaged)?;
        self.buffer.resize(head.length, 0);
        let payload_offset = offset + BLOCK_HEAD_BYTES as u64;
        let read = read_all(&*self.file, &self.path, payload_offset, &mut self.buffer, "block");
        read.map_err(|failure| at(offset, failure))?;
        check_block(&head, &bytes, &self.buffer, self.check).map_err(damaged)?;
        self.check = head.check;
        self.offset = payload_offset + head.length as u64;
        if head.kind == BLOCK_KIND_FOOTER {
            self.end(offset, &head)?;
            return Ok(None);
        }
        let Head { kind, partition, records, .. } = head;
        self.totals.add(&Block { kind, partition, records, payload: &self.buffer });
        Ok(Some(head))
    }

    /// The footer, at `offset`, is in the buffer.
    fn end(&mut self, offset: u64, head: &Head) -> Result<(), Failure> {
        if self.buffer != encode_footer(&self.totals, offset) || head.partition != 0 || head.records != 0 {
            return Err(Failure::damage(offset, "the footer tells of other blocks"));
        }
        let length = self.file.len().map_err(|error| Failure::Other(disk_error("read", &self.path, &error)))?;
        match length.checked_sub(self.offset) {
            Some(0) => {
                self.is_ended = true;
                Ok(())
            }
            rest => Err(Failure::damage(self.offset, format!("{} bytes follow the footer", rest.unwrap_or(0)))),
        }
    }
}

/// The same failure, about what begins at `offset`.
fn at(offset: u64, failure: Failure) -> Failure {
    match failure {
        Failure::Damage(damage) => Failure::Damage(Damage { offset, ..damage }),
        Failure::Other(error) => Failure::Other(error),
    }
}

/// Fills the buffer; a file that ends before is damaged.
fn read_all(
    file: &dyn DiskFile,
    path: &Path,
    offset: u64,
    buffer: &mut [u8],
    field: &'static str,
) -> Result<(), Failure> {
    let read = file.read_at(offset, buffer).map_err(|error| Failure::Other(disk_error("read", path, &error)))?;
    match read == buffer.len() {
        true => Ok(()),
        false => Err(Failure::damage(offset, CodecError { field, fault: Fault::Short })),
    }
}

/// Reads a whole file and tells what of it is readable. That it is damaged is no error.
///
/// # Errors
/// `FORMAT_TOO_NEW`, `DISK_FAILED`.
pub fn verify(disk: &dyn Disk, path: &Path) -> Result<Report> {
    let failed = |error: &std::io::Error| disk_error("read", path, error);
    let file = disk.open(path, OpenMode::Read).map_err(|error| failed(&error))?;
    let file_bytes = file.len().map_err(|error| failed(&error))?;
    let mut report = Report { path: path.into(), file_bytes, header: None, readable: Totals::default(), damage: None };
    let mut reader = match SnapshotReader::begin(file, path) {
        Ok(reader) => reader,
        Err(Failure::Damage(damage)) => return Ok(Report { damage: Some(damage), ..report }),
        Err(Failure::Other(error)) => return Err(error),
    };
    report.damage = loop {
        match reader.advance() {
            Ok(Some(_)) => {}
            Ok(None) => break None,
            Err(Failure::Damage(damage)) => break Some(damage),
            Err(Failure::Other(error)) => return Err(error),
        }
    };
    report.readable = reader.totals;
    report.header = Some(reader.header);
    Ok(report)
}
