//! The locks and atomics of the store (L0).
//!
//! parking_lot's and the standard library's. Under the Cargo feature `shuttle` they are shuttle's, which stops a thread
//! at each of them and lets a seeded scheduler choose who goes on (Burckhardt et al., "A Randomized Scheduler with
//! Probabilistic Guarantees of Finding Bugs", ASPLOS 2010): `tests/concurrency.rs` runs thousands of such schedules
//! over the very code that ships.
//!
//! Not seen by shuttle: reorderings that only a weak memory model allows.

#[cfg(not(feature = "shuttle"))]
pub use {
    parking_lot::{RwLock, RwLockReadGuard, RwLockWriteGuard},
    std::sync::atomic::{AtomicBool, AtomicU64, Ordering},
};

#[cfg(feature = "shuttle")]
pub use {
    scheduled::RwLock,
    shuttle::sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        RwLockReadGuard, RwLockWriteGuard,
    },
};

#[cfg(feature = "shuttle")]
mod scheduled {
    use shuttle::sync::{RwLockReadGuard, RwLockWriteGuard};

    /// shuttle's lock in the shape of parking_lot's.
    #[derive(Debug, Default)]
    pub struct RwLock<T>(shuttle::sync::RwLock<T>);

    impl<T> RwLock<T> {
        /// An unlocked lock around `value`.
        pub fn new(value: T) -> RwLock<T> {
            RwLock(shuttle::sync::RwLock::new(value))
        }

        /// Locks for reading.
        pub fn read(&self) -> RwLockReadGuard<'_, T> {
            self.0.read().expect("a thread that panics under a lock ends its schedule")
        }

        /// Locks for writing.
        pub fn write(&self) -> RwLockWriteGuard<'_, T> {
            self.0.write().expect("a thread that panics under a lock ends its schedule")
        }
    }
}
