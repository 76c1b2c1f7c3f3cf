//! The eventual engine: every node takes reads and writes alone, and all converge.
//!
//! * [`Eventual`] is the data of all eventual keyspaces on one node, in one map ([`Space`](crate::types::Space)). A write draws a [`Timestamp`](crate::types::Timestamp) and a
//!   [`Dot`](crate::types::Dot), merges into the map and enters the outbox, all under one partition's lock; nothing waits.
//! * [`Hlc`] is the hybrid logical clock.
//! * [`Outbox`] keeps a partition's recent own writes for streaming to peers.
//! * `SeenLog` knows what each writer had seen of the others, `Journal` keeps own writes that lost unseen.
//! * [`Snapshot`] is the state of a partition at one moment, for peers that the outbox no longer serves.
//! * [`Spaces`] says which keyspaces there are.
//! * [`catch_up`] waits until this node has what a session has seen elsewhere.
//! * [`Watcher`] tells of every change, from any position on, at whatever node.
//! * `Replica` is the core of replication: `handle(now, event)` and out come actions. Start reading there.
//! * [`Replication`] is the thin tokio shell around it.

mod cover;
mod driver;
mod durable;
mod feed;
mod hlc;
mod journal;
mod keyspace;
mod lag;
mod link;
mod listeners;
mod outbox;
mod peers;
mod pull;
mod push;
mod reissue;
mod replica;
mod retention;
mod seen;
mod serve;
mod session;
mod shell;
mod skew;
mod snapshot;
mod spaces;
mod stability;
mod watch;

pub use cover::{catch_up, cover, lost_error, Reach, Reaching};
pub use driver::{Replication, ReplicationConfig, ReplicationStatus};
pub use durable::{
    draw_id, open, restore_snapshot, write_snapshot, Beside, CheckpointStatus, Keeper, Ledger, OpenConfig, Opened,
    Retain,
};
pub use feed::FeedBounds;
pub use hlc::Hlc;
pub use keyspace::{Applied, Eventual, Standing};
pub use link::{Dialer, PeerStream};
pub use listeners::{CoverBounds, Covered};
pub use outbox::{Outbox, OutboxBounds, OutboxWrite};
pub use snapshot::{PieceBounds, Snapshot};
pub use spaces::{Found, Spaces};
pub use watch::{WatchBounds, Watcher};
