//! The eventual engine: every node takes reads and writes alone, and all converge.
//!
//! * [`Eventual`] is the data of one keyspace on one node. A write draws a [`Timestamp`](crate::types::Timestamp) and a
//!   [`Dot`](crate::types::Dot), merges into the map and enters the outbox, all under one partition's lock; nothing waits.
//! * [`Hlc`] is the hybrid logical clock.
//! * [`Outbox`] keeps a partition's recent own writes for streaming to peers.

mod driver;
mod hlc;
mod keyspace;
mod link;
mod outbox;

pub use driver::{Replication, ReplicationConfig, ReplicationStatus};
pub use hlc::Hlc;
pub use keyspace::{Applied, Eventual};
pub use link::{Dialer, PeerStream};
pub use outbox::{Outbox, OutboxWrite};
