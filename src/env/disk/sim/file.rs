//! An open file of a simulated disk.

use std::{io, sync::Arc};

use parking_lot::{Mutex, MutexGuard};

use super::state::{FileId, State};
use crate::env::disk::DiskFile;

pub(super) struct SimFile {
    pub(super) state: Arc<Mutex<State>>,
    pub(super) id: FileId,
    pub(super) epoch: u64,
    pub(super) is_writable: bool,
}

impl SimFile {
    fn to_read(&self) -> io::Result<MutexGuard<'_, State>> {
        let state = self.state.lock();
        state.check_alive()?;
        self.check_epoch(&state)?;
        Ok(state)
    }

    fn to_change(&self) -> io::Result<MutexGuard<'_, State>> {
        let mut state = self.state.lock();
        self.check_epoch(&state)?;
        if !self.is_writable {
            return Err(io::Error::new(io::ErrorKind::PermissionDenied, "opened to read only"));
        }
        state.step()?;
        Ok(state)
    }

    fn check_epoch(&self, state: &State) -> io::Result<()> {
        match state.epoch == self.epoch {
            true => Ok(()),
            false => Err(io::Error::other("the file was opened before a crash")),
        }
    }

    /// How many of `len` bytes at `offset` the capacity allows.
    fn allowed(&self, state: &mut State, offset: usize, len: usize) -> usize {
        let Some(capacity) = state.capacity else { return len };
        let free = capacity.saturating_sub(state.used_bytes()) as usize;
        let limit = state.file(self.id).live.len() + free;
        len.min(limit.saturating_sub(offset))
    }
}

impl DiskFile for SimFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut state = self.to_read()?;
        let file = &state.file(self.id).live;
        let rest = &file[(offset as usize).min(file.len())..];
        let len = rest.len().min(buffer.len());
        buffer[..len].copy_from_slice(&rest[..len]);
        Ok(len)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut state = self.to_change()?;
        let (offset, block_bytes) = (offset as usize, state.block_bytes());
        let fails_after = state.next_write_fails_after();
        let allowed = self.allowed(&mut state, offset, bytes.len());
        let written = fails_after.unwrap_or(bytes.len()).min(allowed);
        state.file(self.id).write(offset, &bytes[..written], block_bytes);
        match fails_after {
            Some(_) => Err(io::Error::other("the write failed")),
            None if written < bytes.len() => Err(io::ErrorKind::StorageFull.into()),
            None => Ok(()),
        }
    }

    fn sync(&self) -> io::Result<()> {
        let mut state = self.to_change()?;
        let block_bytes = state.block_bytes();
        if state.next_sync_fails() {
            state.file(self.id).forget_dirty();
            return Err(io::Error::other("the sync failed"));
        }
        state.file(self.id).sync(block_bytes);
        Ok(())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        let mut state = self.to_change()?;
        let (len, block_bytes) = (len as usize, state.block_bytes());
        let old = state.file(self.id).live.len();
        if len > old && self.allowed(&mut state, old, len - old) < len - old {
            return Err(io::ErrorKind::StorageFull.into());
        }
        state.file(self.id).set_len(len, block_bytes);
        Ok(())
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.to_read()?.file(self.id).live.len() as u64)
    }
}
