//! The one runtime that all clients of this process share, and what `fork()` does to it.
//!
//! `fork()` copies only the thread that calls it: in the child the runtime's threads are gone, and dropping or joining
//! what belonged to them would block or abort. So everything that lives on threads remembers the *generation* of the
//! process in which it was made. The child counts one up and forgets, never drops, what it inherited; objects with
//! another generation are replaced ([`super::client`]) or answer `FORKED`.
//!
//! At the end of the interpreter the runtime is left alone: its tasks never touch Python, and whoever still waits for
//! an answer then (a daemon thread) had better wait on than print the error of a call that was cut.
//!
//! Locks in this folder are taken with the GIL held and never across its release, so that no thread can hold one at the
//! moment of a fork, which has the GIL.

use std::{
    future::Future,
    mem,
    sync::{
        atomic::{AtomicU32, Ordering},
        Arc,
    },
};

use super::call;
use crate::{
    client::Driver,
    env::inherited_files,
    error::{Error, ErrorCode, Result},
};
use parking_lot::Mutex;
use pyo3::prelude::*;
use tokio::task::JoinHandle;

/// How many forks lie between this process and the first, plus one: 0 stands for "never".
static GENERATION: AtomicU32 = AtomicU32::new(1);

/// Made at the first call of any client.
static DRIVER: Mutex<Option<Arc<Driver>>> = Mutex::new(None);

/// The generation of this process.
pub(super) fn generation() -> u32 {
    GENERATION.load(Ordering::Relaxed)
}

/// Something that lives on threads of the process that made it: in a forked child it is never dropped.
pub(super) struct ProcessBound<T> {
    /// `None` only while it is being dropped.
    inner: Option<T>,
    generation: u32,
}

impl<T> ProcessBound<T> {
    /// Binds it to this process.
    pub(super) fn new(inner: T) -> ProcessBound<T> {
        ProcessBound { inner: Some(inner), generation: generation() }
    }

    /// The thing itself; `None` in another process than the one that made it.
    pub(super) fn get(&self) -> Option<&T> {
        self.inner.as_ref().filter(|_| self.generation == generation())
    }
}

impl<T> Drop for ProcessBound<T> {
    fn drop(&mut self) {
        if self.generation != generation() {
            mem::forget(self.inner.take());
        }
    }
}

/// What a `what` made before a fork answers in the child.
pub(super) fn forked(what: &str) -> Error {
    Error::new(ErrorCode::Forked, format!("this {what} was made before a fork: make a new one in the child"))
}

/// What runs all clients.
///
/// # Errors
/// `OVERLOADED` when the system gives no more threads.
pub(super) fn driver() -> Result<Arc<Driver>> {
    let mut driver = DRIVER.lock();
    if let Some(driver) = &*driver {
        return Ok(driver.clone());
    }
    Ok(driver.insert(Driver::start()?).clone())
}

/// Starts a task among those of the clients.
///
/// # Errors
/// `OVERLOADED` when the system gives no more threads.
pub(super) fn spawn<T: Send + 'static>(task: impl Future<Output = T> + Send + 'static) -> Result<JoinHandle<T>> {
    let driver = driver()?;
    let handle = driver.handle().spawn(task);
    driver.run_alone();
    Ok(handle)
}

/// For `os.register_at_fork`: the child forgets what lived on threads. What it is to close.
#[pyfunction]
pub(super) fn after_fork_in_child() -> Vec<i32> {
    call::after_fork_in_child();
    mem::forget(DRIVER.lock().take());
    GENERATION.fetch_add(1, Ordering::Relaxed);
    inherited_files()
}
