//! What a node keeps on disk, and how it comes back: every change as an [`Entry`] of the log, and from time to time all of it
//! as a checkpoint, from which on the log is replayed.
//!
//! * `Ledger` is the log as the keyspace sees it. Entries are appended under the lock of the partition that they change.
//! * `Gate` holds back what peers could build on until it is on disk, `Lows` what they forget deletes on, in nodes that do
//!   not wait for their disk.
//! * `checkpoint` writes everything as blocks of a snapshot, `Recovery` takes blocks and entries in, `Keeper` decides when.
//! * [`open`] puts them together.
//!
//! The promise (`docs/durability.md`): a write that was acknowledged comes back, under its dot; a node comes back as who it
//! was, or under a new id when it cannot know what others have of it; and nobody forgets anything on a word that was lost.

mod checkpoint;
mod entry;
mod gate;
mod keeper;
mod ledger;
mod lows;
mod open;
mod recover;
mod restore;
#[cfg(test)]
mod tests;

pub(super) use gate::{opened, Gate};
pub use keeper::{write_snapshot, CheckpointStatus, Keeper};
pub use ledger::Ledger;
pub(super) use lows::Lows;
pub use open::{draw_id, open, Beside, OpenConfig, Opened, Retain};
pub use restore::restore_snapshot;
