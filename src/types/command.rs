//! What a client asks to change, and what came of it.

use super::{Key, Timestamp, Value};

/// One write, checked against the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Command {
    /// What to write to.
    pub key: Key,
    /// How to change it.
    pub kind: CommandKind,
}

/// The kinds of write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum CommandKind {
    /// Store a value, whether or not the key exists.
    Put {
        /// The new value.
        value: Value,
        /// How the writer's codec encoded it.
        flags: u32,
        /// Milliseconds from now until it ends; `None`: never.
        ttl_ms: Option<u64>,
    },
    /// Remove the key.
    Delete,
    /// Give an existing key another time to live; does nothing when there is none.
    Touch {
        /// Milliseconds from now until it ends; `None`: never.
        ttl_ms: Option<u64>,
    },
}

/// What came of a [`Command`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Written {
    /// The version of the key afterwards; for a touch of a missing key, [`Timestamp::ZERO`]: nothing was written.
    pub version: Timestamp,
    /// Whether the key was there before, as this node saw it.
    pub existed: bool,
}
