//! What the engine keeps on disk. [`Entry`] is one line of the log: replayed in order over the state that a snapshot holds,
//! the entries give the state that the node had.

mod entry;

pub use entry::{begin_own_writes, begin_state_piece, begin_stretch, encode_own_write, Entry, EntryKind};
