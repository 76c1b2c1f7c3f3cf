//! A snapshot file: the whole state of a node at a place in its log, from which on the log's tail is replayed over it.
//!
//! What is in the blocks is for the engine to say; here they are bytes of a kind ([`RecordBlocks`] and [`records_in`] help with
//! records). The file promises that nobody reads
//! anything else than what was written:
//!
//! - **Whole or not there.** It is written under another name, synced, and renamed, and its directory is synced; a crash
//!   at any step leaves the snapshots that were there before, and at most a leftover that is never read.
//! - **Every byte is checked.** Each check continues from the one before it, beginning with the header, so that also a block
//!   that is lost, repeated, exchanged, or of another snapshot is noticed. Without the footer, whose check covers the
//!   whole file, nothing counts.
//! - **Bounded memory.** Blocks are written and read one at a time.
//!
//! A damaged snapshot is never passed over in silence: [`newest_valid`] tells of every one that it had to. An older one may
//! only be used if the log still reaches back to *its* position, which is for the caller to know.
//!
//! `docs/storage-format-snapshot.md` draws the file byte by byte.

mod directory;
mod format;
mod reader;
mod records;
mod writer;

#[cfg(test)]
mod tests;

pub use directory::{
    file_name, list, newest_valid, passing_name, remove_all, remove_leftovers, remove_older, Listed, Search,
};
pub use format::{Block, Header, Totals, BLOCK_KIND_FOOTER, SNAPSHOT_FORMAT_VERSION};
pub use reader::{verify, Damage, Report, SnapshotReader};
pub use records::{records_in, RecordBlocks};
pub use writer::SnapshotWriter;

pub(crate) use super::files::{disk_error, remove_if_there, temporary};
