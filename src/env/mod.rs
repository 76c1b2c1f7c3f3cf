//! The doors to the world (L1): time, randomness, network, disk. Everything else in this crate gets them passed in, so that a
//! whole cluster runs in a simulation; clippy bans the direct calls (`clippy.toml`).
//!
//! Each door is a trait with a real and a simulated implementation, and one contract suite that runs over both. Tests of
//! programs that use kvstore put [`Faults`] before the real ones.

mod clock;
mod disk;
mod faulty;
mod rng;
mod speaker;
mod transport;
#[cfg(unix)]
mod unshared;

#[cfg(test)]
mod contract;
#[cfg(test)]
pub(crate) mod temp;

use std::sync::Arc;

pub use clock::{Clock, SimulatedClock, SystemClock};
pub use disk::{Disk, DiskFile, DiskLock, DiskWorker, OpenMode, RealDisk, SimDisk, SimFault};
pub use faulty::{Faults, Slowness};
pub use rng::{ambient_u64, seed_ambient, Rng, SeededRng, SystemRng};
pub use speaker::Speaker;
pub use transport::{BoxFuture, Connection, Listener, SimulatedNetwork, TcpTransport, Transport};
#[cfg(unix)]
pub use unshared::inherited_files;

/// The doors of one node.
#[derive(Clone)]
pub struct Env {
    /// Time.
    pub clock: Arc<dyn Clock>,
    /// Randomness.
    pub rng: Arc<dyn Rng>,
    /// The network.
    pub transport: Arc<dyn Transport>,
    /// The disk.
    pub disk: Arc<dyn Disk>,
}

impl Env {
    /// The real world: the system's clocks and entropy, TCP, files.
    pub fn system() -> Env {
        Env {
            clock: Arc::new(SystemClock::new()),
            rng: Arc::new(SystemRng),
            transport: Arc::new(TcpTransport),
            disk: Arc::new(RealDisk),
        }
    }
}
