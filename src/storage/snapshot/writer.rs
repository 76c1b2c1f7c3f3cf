//! Writes a snapshot, block by block, so that it is there whole or not at all.

use std::{
    io,
    path::{Path, PathBuf},
    sync::Arc,
};

use super::{
    directory::file_name,
    format::{encode_footer, encode_head, encode_header, Block, Header, Totals, BLOCK_KIND_FOOTER},
};
use crate::{
    env::{Disk, DiskFile, DiskLock, OpenMode},
    error::{Error, ErrorCode, Result},
    faults,
    limits::{CLUSTER_NAME_BYTES_MAX, SNAPSHOT_BLOCK_BYTES_MAX, SNAPSHOT_SYNC_BYTES},
    storage::files::{disk_error, remove_if_there, temporary},
};

/// A snapshot that is being written, under another name. [`SnapshotWriter::finish`] makes it one.
///
/// After an error of any call the file is gone, and so is the writer: nothing was changed. One that is dropped leaves a
/// file behind that no reader takes for a snapshot; [`super::remove_leftovers`] removes it.
pub struct SnapshotWriter {
    disk: Arc<dyn Disk>,
    file: Box<dyn DiskFile>,
    path: PathBuf,
    temporary: PathBuf,
    totals: Totals,
    /// The check of all that was written.
    check: u32,
    offset: u64,
    /// How much of it is on the disk.
    synced: u64,
    /// Nobody else writes a snapshot that will have this name.
    _lock: Box<dyn DiskLock>,
}

impl SnapshotWriter {
    /// Begins a snapshot in a directory of snapshots, under the name that its position gives it. One of the same position
    /// is replaced in the end.
    ///
    /// # Errors
    /// As [`SnapshotWriter::create_at`].
    pub fn create(disk: &Arc<dyn Disk>, dir: &Path, header: &Header) -> Result<SnapshotWriter> {
        SnapshotWriter::create_at(disk, &dir.join(file_name(header.log_position)), header)
    }

    /// Begins a snapshot at any path; a file that is there is replaced in the end.
    ///
    /// # Errors
    /// `BAD_SETTING` for a path without a file name or a cluster's name beyond its bound; `CONFLICT` while another snapshot
    /// is being written there; `DISK_FULL`, `DISK_FAILED`.
    pub fn create_at(disk: &Arc<dyn Disk>, path: &Path, header: &Header) -> Result<SnapshotWriter> {
        if header.cluster.len() > CLUSTER_NAME_BYTES_MAX {
            let text = format!("cluster: {} bytes, the limit is {CLUSTER_NAME_BYTES_MAX}", header.cluster.len());
            return Err(Error::new(ErrorCode::BadSetting, text));
        }
        let bad_path = || Error::new(ErrorCode::BadSetting, format!("snapshot {path:?}: there is no file name in it"));
        let temporary = temporary(path).ok_or_else(bad_path)?;
        let (lock, file) = open_temporary(&**disk, &temporary)?;
        let (bytes, check) = encode_header(header);
        let (disk, path) = (disk.clone(), path.to_path_buf());
        let totals = Totals::default();
        let mut writer =
            SnapshotWriter { disk, file, path, temporary, totals, check, offset: 0, synced: 0, _lock: lock };
        writer.or_remove(|writer| writer.append(&bytes))?;
        Ok(writer)
    }

    /// Appends a block.
    ///
    /// # Errors
    /// `INTERNAL` for a payload over [`SNAPSHOT_BLOCK_BYTES_MAX`] or the kind of the footer; `DISK_FULL`, `DISK_FAILED`.
    /// The writer is of no use after an error.
    pub fn block(&mut self, block: &Block<'_>) -> Result<()> {
        if block.payload.len() > SNAPSHOT_BLOCK_BYTES_MAX || block.kind == BLOCK_KIND_FOOTER {
            let (kind, bytes) = (block.kind, block.payload.len());
            let text =
                format!("snapshot: a block of kind {kind} and {bytes} bytes, the limit is {SNAPSHOT_BLOCK_BYTES_MAX}");
            return Err(Error::new(ErrorCode::Internal, text));
        }
        self.totals.add(block);
        self.or_remove(|writer| {
            writer.append_block(block)?;
            match writer.offset - writer.synced >= SNAPSHOT_SYNC_BYTES {
                true => writer.sync(),
                false => Ok(()),
            }
        })
    }

    /// Ends the snapshot and makes it durable under its name. Returns the bytes of the file.
    ///
    /// # Errors
    /// `DISK_FULL`, `DISK_FAILED`: the snapshot is not there, or, when only the sync of its directory failed, it may not
    /// be there after a crash.
    pub fn finish(mut self) -> Result<u64> {
        let payload = encode_footer(&self.totals, self.offset);
        let footer = Block { kind: BLOCK_KIND_FOOTER, partition: 0, records: 0, payload: &payload };
        self.or_remove(|writer| {
            writer.append_block(&footer)?;
            writer.sync()?;
            let renamed = writer.disk.rename(&writer.temporary, &writer.path);
            renamed.map_err(|error| disk_error("rename", &writer.temporary, &error))
        })?;
        if !faults::is_mutant("snapshot_no_dir_sync") {
            let dir = self.path.parent().unwrap_or(Path::new(""));
            self.disk.sync_dir(dir).map_err(|error| disk_error("sync", dir, &error))?;
        }
        Ok(self.offset)
    }

    /// Gives the snapshot up and removes what was written.
    ///
    /// # Errors
    /// `DISK_FAILED` when it cannot be removed.
    pub fn abandon(self) -> Result<()> {
        remove_if_there(&*self.disk, &self.temporary)
    }

    fn append_block(&mut self, block: &Block<'_>) -> Result<()> {
        let (head, check) = encode_head(block, self.check);
        self.check = check;
        self.append(&head)?;
        self.append(block.payload)
    }

    fn append(&mut self, bytes: &[u8]) -> Result<()> {
        let written = self.file.write_all_at(self.offset, bytes);
        written.map_err(|error| disk_error("write", &self.temporary, &error))?;
        self.offset += bytes.len() as u64;
        Ok(())
    }

    fn sync(&mut self) -> Result<()> {
        if !faults::is_mutant("snapshot_no_sync") {
            self.file.sync().map_err(|error| disk_error("sync", &self.temporary, &error))?;
        }
        self.synced = self.offset;
        Ok(())
    }

    /// Does a step; when it fails, the file goes, since it will never be a snapshot.
    fn or_remove(&mut self, step: impl FnOnce(&mut SnapshotWriter) -> Result<()>) -> Result<()> {
        let error = match step(self) {
            Ok(()) => return Ok(()),
            Err(error) => error,
        };
        match remove_if_there(&*self.disk, &self.temporary) {
            Ok(()) => Err(error),
            Err(and) => Err(Error::new(error.code(), format!("{}; and {}", error.message(), and.message()))),
        }
    }
}

/// An empty file under the temporary name, for this writer alone; what a dead one has left there goes. Whoever renamed the file
/// of another writer would make a snapshot of half of it.
fn open_temporary(disk: &dyn Disk, path: &Path) -> Result<(Box<dyn DiskLock>, Box<dyn DiskFile>)> {
    let failed = |error: io::Error| disk_error("create", path, &error);
    let lock = disk.lock(path).map_err(|error| match error.kind() {
        io::ErrorKind::WouldBlock => {
            let text = format!("snapshot: another one is being written as {}", path.display());
            Error::new(ErrorCode::Conflict, text)
        }
        _ => failed(error),
    })?;
    let file = disk.open(path, OpenMode::ReadWrite).map_err(failed)?;
    file.set_len(0).map_err(failed)?;
    Ok((lock, file))
}
