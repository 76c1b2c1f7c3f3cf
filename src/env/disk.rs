//! The disk: files by path, with the order in which things become durable in plain sight. `std::fs` in the real world, pages
//! in memory in a simulation.
//!
//! Calls are synchronous and may block: whoever makes them often does so on a worker of the disk ([`Disk::spawn`]), never
//! on a thread that serves others. What the caller has to know is what POSIX promises and no more:
//!
//! - written bytes are durable after [`DiskFile::sync`], and a file that was created, renamed or removed after
//!   [`Disk::sync_dir`] on its directory, neither before; until then a crash may keep any part of it, in any order;
//! - after a failed sync nothing is known about the bytes written before it, and another sync that succeeds says nothing
//!   about them either (Rebello et al., "Can Applications Recover from fsync Failures?", ATC 2020);
//! - no destructor makes anything durable: a crash does not run them.

mod real;
mod sim;

use std::{io, path::Path};

pub use real::RealDisk;
pub use sim::{SimDisk, SimFault};

use super::BoxFuture;

/// How a file is opened.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum OpenMode {
    /// An existing file, to read.
    Read,
    /// An existing file, to read and to write.
    ReadWrite,
    /// A file that must not exist yet, to read and to write. Only its owner may read it.
    CreateNew,
}

/// Opens, lists, renames and removes files.
pub trait Disk: Send + Sync + 'static {
    /// Creates the directory and those above it; all of them are durable when it returns.
    ///
    /// # Errors
    /// Those of the system.
    fn create_dir_all(&self, dir: &Path) -> io::Result<()>;

    /// The names of the files in a directory, sorted. Directories in it are left out.
    ///
    /// # Errors
    /// `NotFound` without such a directory; those of the system.
    fn list(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// The names of the directories in a directory, sorted.
    ///
    /// # Errors
    /// As [`Disk::list`].
    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>>;

    /// Opens a file.
    ///
    /// # Errors
    /// `NotFound`, `AlreadyExists` for [`OpenMode::CreateNew`]; those of the system.
    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>>;

    /// Renames a file within its directory; one that has the new name is replaced, in one step.
    ///
    /// # Errors
    /// `NotFound`; those of the system.
    fn rename(&self, from: &Path, to: &Path) -> io::Result<()>;

    /// Removes a file.
    ///
    /// # Errors
    /// `NotFound`; those of the system.
    fn remove(&self, path: &Path) -> io::Result<()>;

    /// Makes durable what was created, renamed and removed in this directory.
    ///
    /// # Errors
    /// Those of the system.
    fn sync_dir(&self, dir: &Path) -> io::Result<()>;

    /// Takes the lock that this file stands for, which is created when missing. It is free again when the lock is
    /// dropped or its process has died, however it died.
    ///
    /// # Errors
    /// `WouldBlock` while somebody else holds it, in this process or another; those of the system.
    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>>;

    /// Runs `work`, which makes blocking calls of this disk, where it keeps nobody waiting.
    ///
    /// # Errors
    /// When the system has no thread to give.
    fn spawn(&self, name: &str, work: BoxFuture<'static, ()>) -> io::Result<Box<dyn DiskWorker>>;
}

/// An open file. Many threads may use it; each call says where in the file.
pub trait DiskFile: Send + Sync + 'static {
    /// Fills the buffer from `offset` on and returns how many bytes there were: fewer than asked for at the end of the
    /// file only.
    ///
    /// # Errors
    /// Those of the system.
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize>;

    /// Writes all bytes at `offset`; the file grows as needed, with zeros in between.
    ///
    /// # Errors
    /// Those of the system, `StorageFull` among them; some of the bytes may have been written.
    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()>;

    /// Makes durable what was written, and the length.
    ///
    /// # Errors
    /// Those of the system. What was written is lost or not; nobody knows, and trying again tells nothing.
    fn sync(&self) -> io::Result<()>;

    /// Cuts the file, or makes it longer with zeros.
    ///
    /// # Errors
    /// Those of the system.
    fn set_len(&self, len: u64) -> io::Result<()>;

    /// The bytes in the file.
    ///
    /// # Errors
    /// Those of the system.
    fn len(&self) -> io::Result<u64>;

    /// Whether the file is empty.
    ///
    /// # Errors
    /// Those of the system.
    fn is_empty(&self) -> io::Result<bool> {
        self.len().map(|len| len == 0)
    }
}

/// A lock on a file, held until it is dropped.
pub trait DiskLock: Send + Sync + 'static {}

/// Work that runs on a thread of its own, or as if it did. Dropped without [`DiskWorker::join`] it goes on by itself.
pub trait DiskWorker: Send + 'static {
    /// Waits until the work has ended.
    ///
    /// # Errors
    /// When it ended with a panic.
    fn join(self: Box<Self>) -> BoxFuture<'static, io::Result<()>>;
}
