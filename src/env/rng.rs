//! Randomness: node ids and jitter.
#![allow(clippy::disallowed_methods, reason = "this is the door that the ban points to")]

use std::cell::Cell;

use parking_lot::Mutex;
use rand::{rngs::StdRng, RngCore, SeedableRng, TryRngCore};

use crate::error::{Error, ErrorCode, Result};

/// Draws random numbers.
pub trait Rng: Send + Sync + 'static {
    /// A number, each equally likely.
    ///
    /// # Errors
    /// `INTERNAL` when the system has no entropy to give.
    fn next_u64(&self) -> Result<u64>;
}

/// The system's entropy.
#[derive(Debug)]
pub struct SystemRng;

impl Rng for SystemRng {
    fn next_u64(&self) -> Result<u64> {
        let fail = |error| Error::new(ErrorCode::Internal, format!("no entropy from the system: {error}"));
        rand::rngs::OsRng.try_next_u64().map_err(fail)
    }
}

thread_local! {
    /// Stands in for the system's entropy on this thread.
    static SEEDED: Cell<Option<&'static SeededRng>> = const { Cell::new(None) };
}

/// Randomness for libraries that take none from their caller: the system's, unless this thread was given a seed. Without
/// entropy it is a constant, so nothing may depend on it but who goes first.
pub fn ambient_u64() -> u64 {
    match SEEDED.get() {
        Some(seeded) => seeded.state.lock().next_u64(),
        None => SystemRng.next_u64().unwrap_or_default(),
    }
}

/// Makes [`ambient_u64`] on this thread repeat itself. For simulations, once a process: it is never given back.
pub fn seed_ambient(seed: u64) {
    SEEDED.set(Some(Box::leak(Box::new(SeededRng::new(seed)))));
}

/// The same numbers for the same seed.
#[derive(Debug)]
pub struct SeededRng {
    /// Guards the generator's state.
    state: Mutex<StdRng>,
}

impl SeededRng {
    /// A generator that starts at `seed`.
    pub fn new(seed: u64) -> SeededRng {
        SeededRng { state: Mutex::new(StdRng::seed_from_u64(seed)) }
    }
}

impl Rng for SeededRng {
    fn next_u64(&self) -> Result<u64> {
        Ok(self.state.lock().next_u64())
    }
}
