//! A disk in memory that forgets what a real one may forget, and fails the way real ones do.
//!
//! It keeps two of everything: what the process sees, and what is on the platter. A file's bytes reach the platter by
//! [`DiskFile::sync`], its name by [`Disk::sync_dir`]. [`SimDisk::crash`] is the power cut: of each file it keeps what
//! is on the platter and, block by block as a generator with a seed says, some of what was written since, so that
//! unsynced writes come back whole, not at all, torn, or out of order; of a directory's changes it keeps the first few,
//! as a journal does. [`SimDisk::kill`] is the end of the process alone: everything that was written stays.
//!
//! Handles and locks of before either are dead. Faults ([`SimFault`]) are set by the test and happen once.
//!
//! Not modelled: access rights, space taken by directories, directories that are lost (creating one is durable at once).

mod file;
mod state;

use std::{io, path::Path, sync::Arc};

use parking_lot::Mutex;
use tokio::task::JoinHandle;

use self::{
    file::SimFile,
    state::{Change, State},
};
use super::{Disk, DiskFile, DiskLock, DiskWorker, OpenMode};
use crate::env::BoxFuture;

/// Bytes that reach the platter together or not at all. Smaller than any disk's sector on purpose: then a record of a few
/// dozen bytes is torn, too.
const BLOCK_BYTES: usize = 64;

/// Something that goes wrong once. Calls are counted from when the fault was set, beginning with 0.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum SimFault {
    /// The n-th sync, of a file or a directory, fails. As on ext4 the unsynced blocks of the file are never written,
    /// readers still see them, and the next sync succeeds.
    Sync(u64),
    /// The n-th write fails after so many of its bytes.
    Write(u64, usize),
    /// From the n-th call on that changes or syncs anything, every call fails: the host is about to crash.
    DieAt(u64),
}

/// A disk in memory. Clones are the same disk.
#[derive(Clone)]
pub struct SimDisk {
    /// Guards all files and directories.
    state: Arc<Mutex<State>>,
}

impl SimDisk {
    /// An empty disk; the seed chooses what a crash keeps.
    pub fn new(seed: u64) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(State::new(seed, BLOCK_BYTES))) }
    }

    /// Cuts the power and turns it on again: what was not synced may be lost, faults that did not happen yet are off.
    pub fn crash(&self) {
        self.state.lock().crash();
    }

    /// Ends the process and starts another one: handles and locks are gone, nothing else.
    pub fn kill(&self) {
        self.state.lock().restart();
    }

    /// Fails every call from now on, until [`SimDisk::crash`] or [`SimDisk::kill`]: a host that is about to go must not
    /// make anything durable in its destructors.
    pub fn mark_dying(&self) {
        self.state.lock().mark_dying();
    }

    /// Sets a fault, beside those that are set.
    pub fn set_fault(&self, fault: SimFault) {
        self.state.lock().set_fault(fault);
    }

    /// How many faults have happened.
    pub fn faults_happened(&self) -> u64 {
        self.state.lock().faults_happened
    }

    /// Limits the bytes of all files together; writes beyond it fail with `StorageFull`.
    pub fn set_capacity(&self, bytes: Option<u64>) {
        self.state.lock().capacity = bytes;
    }

    /// Bytes of all files together.
    pub fn used_bytes(&self) -> u64 {
        self.state.lock().used_bytes()
    }

    /// Calls so far that change or sync something: what [`SimFault::DieAt`] counts.
    pub fn steps(&self) -> u64 {
        self.state.lock().steps
    }

    /// Turns over one bit of a file, as a dying disk does.
    ///
    /// # Errors
    /// `NotFound` without such a file, `InvalidInput` beyond its end.
    pub fn flip_bit(&self, path: &Path, offset: u64, bit: u8) -> io::Result<()> {
        self.state.lock().flip_bit(path, offset, bit)
    }

    /// A disk with the same files, all of them durable, and no faults.
    pub fn copy(&self, seed: u64) -> SimDisk {
        SimDisk { state: Arc::new(Mutex::new(self.state.lock().copy(seed))) }
    }
}

impl Disk for SimDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        state.create_dir_all(dir);
        Ok(())
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.check_alive()?;
        Ok(state.directory(dir)?.names())
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        let state = self.state.lock();
        state.check_alive()?;
        state.directory_names(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut state = self.state.lock();
        let id = match mode {
            OpenMode::Read | OpenMode::ReadWrite => {
                state.check_alive()?;
                state.find(path)?
            }
            OpenMode::CreateNew => {
                state.step()?;
                state.create(path)?
            }
        };
        let is_writable = mode != OpenMode::Read;
        Ok(Box::new(SimFile { state: self.state.clone(), id, epoch: state.epoch, is_writable }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        if from.parent() != to.parent() {
            return Err(io::Error::new(io::ErrorKind::Unsupported, "a rename stays in its directory"));
        }
        state.find(from)?;
        state.change(from, |name| Change::Rename { from: name, to: state::file_name(to) })
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        state.find(path)?;
        state.change(path, |name| Change::Remove { name })
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let mut state = self.state.lock();
        state.step()?;
        let fails = state.next_sync_fails();
        state.sync_dir(dir, fails)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut state = self.state.lock();
        state.step()?;
        if state.find(path).is_err() {
            state.create(path)?;
        }
        if !state.locked.insert(path.to_path_buf()) {
            return Err(io::ErrorKind::WouldBlock.into());
        }
        let epoch = state.epoch;
        Ok(Box::new(SimLock { state: self.state.clone(), path: path.to_path_buf(), epoch }))
    }

    /// A task of the runtime it is called from: the calls take no time.
    fn spawn(&self, _name: &str, work: BoxFuture<'static, ()>) -> io::Result<Box<dyn DiskWorker>> {
        let runtime = tokio::runtime::Handle::try_current().map_err(io::Error::other)?;
        Ok(Box::new(SimWorker(runtime.spawn(work))))
    }
}

struct SimLock {
    state: Arc<Mutex<State>>,
    path: std::path::PathBuf,
    epoch: u64,
}

impl DiskLock for SimLock {}

impl Drop for SimLock {
    fn drop(&mut self) {
        let mut state = self.state.lock();
        if state.epoch == self.epoch {
            state.locked.remove(&self.path);
        }
    }
}

struct SimWorker(JoinHandle<()>);

impl DiskWorker for SimWorker {
    fn join(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move { self.0.await.map_err(io::Error::other) })
    }
}
