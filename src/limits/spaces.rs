//! The bounds of eventual keyspaces that share an engine.

use std::time::Duration;

use super::{check_key, BATCH_OPERATIONS_MAX, KEY_BYTES_MAX};
use crate::error::{Error, ErrorCode, Result};

/// Bytes in a key as nodes hold it: a client's key behind what tells keyspaces apart ([`crate::types::SPACE_PREFIX_BYTES`]).
/// Part of the protocol and of the files: with less room the longest keys of some keyspaces could not be told.
pub const HELD_KEY_BYTES_MAX: usize = KEY_BYTES_MAX + 14;

/// Keys of a dropped keyspace that a node deletes of a partition at a time. More would keep writers of the partition waiting,
/// fewer would take long to empty one.
pub const SPACE_SWEEP_KEYS_MAX: usize = 256;

/// Records that are looked at for that under one lock. More would keep writers waiting where most are tombstones already.
pub const SPACE_SWEEP_VISITS_MAX: usize = 1024;

/// How long the owner of a partition waits before it looks through it again for keys of dropped keyspaces, when there were
/// none. Longer leaves late ones in memory for longer, shorter costs a look at each keyspace for nothing.
pub const SPACE_SWEEP_PAUSE: Duration = Duration::from_secs(5);

/// As [`SPACE_SWEEP_PAUSE`], of the other nodes: for when the owner has not heard of the drop.
pub const SPACE_SWEEP_PAUSE_OTHERS: Duration = Duration::from_secs(30);

/// How long a node asks the group for a keyspace of which it has not heard. Longer lets a call without a majority hang, shorter
/// refuses some while a leader is being elected.
pub const SPACE_QUESTION_TIMEOUT: Duration = Duration::from_secs(3);

/// Operations of a stream that wait for the answer to such a question: a few batches. More are refused: they would cost memory,
/// and stopping the stream would hold up the other keyspaces.
pub const SPACE_WAITING_MAX: usize = 4 * BATCH_OPERATIONS_MAX;

/// As [`check_key`], of a key as nodes hold it: 1 to [`HELD_KEY_BYTES_MAX`] bytes.
///
/// # Errors
/// `KEY_EMPTY` or `KEY_TOO_LONG`.
pub fn check_held_key(key: &[u8]) -> Result<()> {
    let length = key.len();
    if length > HELD_KEY_BYTES_MAX {
        let text = format!("key: {length} bytes with its keyspace, the limit is {HELD_KEY_BYTES_MAX}");
        return Err(Error::new(ErrorCode::KeyTooLong, text));
    }
    // What is longer than a client's key is behind an id.
    if length > KEY_BYTES_MAX {
        Ok(())
    } else {
        check_key(key)
    }
}
