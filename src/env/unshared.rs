//! What a forked child must not keep open: as long as it does, a port stays taken and a directory locked, although the node is
//! gone. So the parent ends them in a way that counts for all copies, and the child closes its copies at once.

use std::{collections::BTreeSet, os::fd::RawFd};

use parking_lot::Mutex;

static OPEN: Mutex<BTreeSet<RawFd>> = Mutex::new(BTreeSet::new());

/// A file or socket of this process that no child may keep. Dropped before it is closed: its number may be another's then.
#[derive(Debug)]
pub(super) struct Unshared(RawFd);

impl Unshared {
    pub(super) fn new(fd: RawFd) -> Unshared {
        OPEN.lock().insert(fd);
        Unshared(fd)
    }
}

impl Drop for Unshared {
    fn drop(&mut self) {
        OPEN.lock().remove(&self.0);
    }
}

/// What a forked child is to close; to be called there once, while nothing that it inherited is ever used again. Empty when a
/// thread of the parent was about to change the list at the moment of the fork.
pub fn inherited_files() -> Vec<RawFd> {
    OPEN.try_lock().map(|mut open| std::mem::take(&mut *open).into_iter().collect()).unwrap_or_default()
}
