//! What a client asks to change, and what came of it.

use super::{Key, Timestamp, Value};

/// One write, checked against the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    pub key: Key,
    pub kind: CommandKind,
}

/// The kinds of write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// Store a value, whether or not the key exists. `ttl_ms` counts from now; `None`: for ever.
    Put { value: Value, flags: u32, ttl_ms: Option<u64> },
    /// Remove the key.
    Delete,
    /// Give an existing key another time to live; does nothing when there is none.
    Touch { ttl_ms: Option<u64> },
}

/// What came of a [`Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The version of the key afterwards; for a touch of a missing key, [`Timestamp::ZERO`]: nothing was written.
    pub version: Timestamp,
    /// Whether the key was there before, as this node saw it.
    pub existed: bool,
}
