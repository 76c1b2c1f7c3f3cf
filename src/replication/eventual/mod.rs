//! The eventual engine: every node takes reads and writes alone, and all converge.
//!
//! * [`Eventual`] is the data of one keyspace on one node. A write draws a [`Timestamp`](crate::types::Timestamp) and a
//!   [`Dot`](crate::types::Dot), merges into the map and enters the outbox, all under one partition's lock; nothing waits.
//! * [`Hlc`] is the hybrid logical clock.
//! * [`Outbox`] keeps a partition's recent own writes for streaming to peers.
//! * [`Snapshot`] is the state of a partition at one moment, for peers that the outbox no longer serves.
//! * [`Watcher`] tells of every change, from any position on, at whatever node.
//! * `Replica` is the core of replication: `handle(now, event)` and out come actions. Start reading there.
//! * [`Replication`] is the thin tokio shell around it.

mod cover;
mod driver;
mod feed;
mod hlc;
mod keyspace;
mod lag;
mod link;
mod outbox;
mod peers;
mod pull;
mod push;
mod replica;
mod retention;
mod serve;
mod session;
mod shell;
mod snapshot;
mod watch;

pub use cover::{CoverBounds, Covered};
pub use driver::{Replication, ReplicationConfig, ReplicationStatus};
pub use feed::FeedBounds;
pub use hlc::Hlc;
pub use keyspace::{Applied, Eventual};
pub use link::{Dialer, PeerStream};
pub use outbox::{Outbox, OutboxBounds, OutboxWrite};
pub use snapshot::{PieceBounds, Snapshot};
pub use watch::{WatchBounds, Watcher};
