//! The disk of the machine: `std::fs`.
#![allow(clippy::disallowed_methods, reason = "this is the door that the ban points to")]

use std::{
    fs::{self, File, FileType, OpenOptions, TryLockError},
    io::{self, ErrorKind},
    path::Path,
    thread::{self, JoinHandle},
};

use tokio::sync::oneshot;

use super::{Disk, DiskFile, DiskLock, DiskWorker, OpenMode};
#[cfg(unix)]
use crate::env::unshared::Unshared;
use crate::env::{BoxFuture, Speaker};

/// The files of this machine. What it creates can be read by its owner only.
#[derive(Clone, Copy, Debug, Default)]
pub struct RealDisk;

impl Disk for RealDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        let Some(parent) = dir.parent() else { return Ok(()) };
        if !dir.is_dir() {
            self.create_dir_all(parent)?;
            match create_dir(dir) {
                Err(error) if error.kind() == ErrorKind::AlreadyExists && dir.is_dir() => {}
                other => other?,
            }
        }
        // Also of one that was there: whoever made it may have died before this.
        self.sync_dir(parent)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        names(dir, |file_type| file_type.is_file())
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        names(dir, |file_type| file_type.is_dir())
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let mut options = OpenOptions::new();
        options.read(true).write(mode != OpenMode::Read).create_new(mode == OpenMode::CreateNew);
        Ok(Box::new(RealFile(owned_only(&mut options).open(path)?)))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        fs::rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        fs::remove_file(path)
    }

    #[cfg(unix)]
    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        let dir = if dir.as_os_str().is_empty() { Path::new(".") } else { dir };
        File::open(dir)?.sync_all()
    }

    /// Elsewhere a directory is no file that could be synced; its changes are journaled by the file system.
    #[cfg(not(unix))]
    fn sync_dir(&self, _dir: &Path) -> io::Result<()> {
        Ok(())
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        let mut options = OpenOptions::new();
        options.read(true).write(true).create(true).truncate(false);
        let file = owned_only(&mut options).open(path)?;
        match file.try_lock() {
            Ok(()) => Ok(Box::new(RealLock::new(file))),
            Err(TryLockError::WouldBlock) => Err(ErrorKind::WouldBlock.into()),
            Err(TryLockError::Error(error)) => Err(error),
        }
    }

    fn spawn(&self, name: &str, work: BoxFuture<'static, ()>) -> io::Result<Box<dyn DiskWorker>> {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().build()?;
        let (ended_sender, ended) = oneshot::channel();
        let speaker = Speaker::inherited();
        let run = move || {
            if let Some(speaker) = speaker {
                speaker.begin();
            }
            // Dropped at the end, also by a panic: that is what `join` waits for.
            let _ended: oneshot::Sender<()> = ended_sender;
            runtime.block_on(work);
        };
        let thread = thread::Builder::new().name(name.to_string()).spawn(run)?;
        Ok(Box::new(RealWorker { thread, ended }))
    }
}

fn names(dir: &Path, is_wanted: impl Fn(FileType) -> bool) -> io::Result<Vec<String>> {
    let mut names = Vec::new();
    for entry in fs::read_dir(dir)? {
        let entry = entry?;
        if is_wanted(entry.file_type()?) {
            names.push(entry.file_name().to_string_lossy().into_owned());
        }
    }
    names.sort();
    Ok(names)
}

#[cfg(unix)]
fn create_dir(dir: &Path) -> io::Result<()> {
    use std::os::unix::fs::DirBuilderExt;
    fs::DirBuilder::new().mode(0o700).create(dir)
}

#[cfg(not(unix))]
fn create_dir(dir: &Path) -> io::Result<()> {
    fs::create_dir(dir)
}

#[cfg(unix)]
fn owned_only(options: &mut OpenOptions) -> &mut OpenOptions {
    use std::os::unix::fs::OpenOptionsExt;
    options.mode(0o600)
}

#[cfg(not(unix))]
fn owned_only(options: &mut OpenOptions) -> &mut OpenOptions {
    options
}

struct RealFile(File);

impl RealFile {
    #[cfg(unix)]
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::read_at(&self.0, buffer, offset)
    }

    #[cfg(windows)]
    fn read_some(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_read(&self.0, buffer, offset)
    }

    #[cfg(unix)]
    fn write_some(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        std::os::unix::fs::FileExt::write_at(&self.0, bytes, offset)
    }

    #[cfg(windows)]
    fn write_some(&self, offset: u64, bytes: &[u8]) -> io::Result<usize> {
        std::os::windows::fs::FileExt::seek_write(&self.0, bytes, offset)
    }
}

impl DiskFile for RealFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        let mut filled = 0;
        while filled < buffer.len() {
            match self.read_some(offset + filled as u64, &mut buffer[filled..]) {
                Ok(0) => break,
                Ok(read) => filled += read,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(filled)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        let mut written = 0;
        while written < bytes.len() {
            match self.write_some(offset + written as u64, &bytes[written..]) {
                Ok(0) => return Err(ErrorKind::WriteZero.into()),
                Ok(some) => written += some,
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) => return Err(error),
            }
        }
        Ok(())
    }

    fn sync(&self) -> io::Result<()> {
        self.0.sync_data()
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.0.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.0.metadata()?.len())
    }
}

/// Holds the lock: the system lets go of it when the file is closed, here and in every child that has it from a fork.
struct RealLock {
    #[cfg(unix)]
    unshared: Option<Unshared>,
    file: File,
}

impl RealLock {
    fn new(file: File) -> RealLock {
        RealLock {
            #[cfg(unix)]
            unshared: Some(Unshared::new(std::os::fd::AsRawFd::as_raw_fd(&file))),
            file,
        }
    }
}

impl DiskLock for RealLock {}

impl Drop for RealLock {
    fn drop(&mut self) {
        #[cfg(unix)]
        drop(self.unshared.take());
        // Counts for all who have it open; closing it would not.
        if let Err(error) = self.file.unlock() {
            tracing::warn!(%error, "a directory stays locked until this process and its children have ended");
        }
    }
}

struct RealWorker {
    thread: JoinHandle<()>,
    ended: oneshot::Receiver<()>,
}

impl DiskWorker for RealWorker {
    fn join(self: Box<Self>) -> BoxFuture<'static, io::Result<()>> {
        Box::pin(async move {
            // Nothing is ever sent: the sender is dropped when the work has ended, and what is left then takes no time.
            let _is_dropped = self.ended.await.is_err();
            self.thread.join().map_err(|_| io::Error::other("the work on the disk panicked"))
        })
    }
}
