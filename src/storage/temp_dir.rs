//! For tests: a directory of the machine that is removed at the end.

use std::{
    io::ErrorKind,
    path::{Path, PathBuf},
    sync::atomic::{AtomicU64, Ordering},
};

pub(crate) struct TempDir(PathBuf);

impl TempDir {
    /// A name that nothing has; the directory itself is for the test to make.
    pub(crate) fn new(what: &str) -> TempDir {
        static NEXT: AtomicU64 = AtomicU64::new(0);
        let number = NEXT.fetch_add(1, Ordering::Relaxed);
        TempDir(std::env::temp_dir().join(format!("kvstore-{what}-{}-{number}", std::process::id())))
    }

    pub(crate) fn path(&self) -> &Path {
        &self.0
    }
}

impl Drop for TempDir {
    #[allow(clippy::disallowed_methods, reason = "the door does not remove directories")]
    fn drop(&mut self) {
        if let Err(error) = std::fs::remove_dir_all(&self.0) {
            assert_eq!(error.kind(), ErrorKind::NotFound, "{error}");
        }
    }
}
