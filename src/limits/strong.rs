//! The bounds of strong keyspaces. Those that its `Bounds` hold are part of the replicated state: every
//! replica of a group has to reach them at the same entry.

use std::{ops::RangeInclusive, time::Duration};

use super::{Error, ErrorCode, Result};

/// Operations and conditions of a transaction together. More keep every replica, and all that waits behind it in the log,
/// busy for longer (10,000: about 50 ms); fewer make callers split what belongs together.
pub const TRANSACTION_OPERATIONS_MAX: usize = 10_000;

/// Keys and values of a transaction together. It has to fit into one entry of the log with room to spare, see
/// [`super::LOG_ENTRY_BYTES_MAX`].
pub const TRANSACTION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Changes that a group keeps for watches that resume and for reads of the past. Fewer make a watcher that was away for
/// a moment start over; more cost memory, some 400 bytes each beside keys and values.
pub const HISTORY_CHANGES_DEFAULT: u64 = 100_000;
/// What that may be set to: enough for a transaction, and what takes some gigabytes.
pub const HISTORY_CHANGES: RangeInclusive<u64> = TRANSACTION_OPERATIONS_MAX as u64..=10_000_000;

/// Bytes of keys and values in those changes: values of a megabyte must not make the history a thousand times as large.
pub const HISTORY_BYTES_DEFAULT: u64 = 64 * 1024 * 1024;
/// What that may be set to: enough for two of the greatest transactions, and more than a machine has.
pub const HISTORY_BYTES: RangeInclusive<u64> = 16 * 1024 * 1024..=1 << 40;

/// Milliseconds for which changes are kept while the other two bounds allow it. Longer, and a store that is written to
/// rarely keeps values that were replaced long ago; shorter, and watchers do not survive the restart of their process.
pub const HISTORY_AGE_MS_DEFAULT: u64 = 10 * 60 * 1000;
/// What that may be set to: a second to a year.
pub const HISTORY_AGE_MS: RangeInclusive<u64> = 1000..=365 * 24 * 3600 * 1000;

/// Changes by which a leader has the history shortened at a time, when it is longer than its settings say. More make an entry slow.
pub const HISTORY_STEP_CHANGES: u64 = 1024;
/// As [`HISTORY_STEP_CHANGES`], in bytes.
pub const HISTORY_STEP_BYTES: u64 = 1024 * 1024;

/// Changes that one entry of the log clears away because of their age or of a compaction. More make that entry slow,
/// fewer let the history lag behind its bounds.
pub const HISTORY_CHANGES_PER_ENTRY: u64 = 1024;

/// Keys whose time to live has passed that one entry of the log removes. More make that entry slow (1,000: about 5 ms);
/// fewer let keys outlive their time when very many end at once.
pub const EXPIRED_KEYS_PER_ENTRY: usize = 1000;

/// Leases of a group. Each takes some hundred bytes, and its keep-alives an entry of the log each.
pub const LEASES_MAX: u64 = 100_000;

/// Keys and locks that hang on one lease. They end in one revision, so more make that entry slow.
pub const LEASE_KEYS_MAX: u64 = 10_000;

/// Leases that an entry may name as ended: see [`LEASE_KEYS_MAX`].
pub const LEASES_PER_EXPIRY_MAX: usize = 128;

/// Leases on a page of those that are listed. A page takes about 30 KB, and a look at the machine that is over in tens of
/// microseconds.
pub const LEASES_PER_PAGE_MAX: usize = 1000;

/// Who may wait for one lock. More than that wait longer than anybody wants to; each takes about 100 bytes and its value.
pub const LOCK_WAITERS_MAX: u64 = 1024;

/// Keyspaces of a group. Each costs under a kilobyte; a program that makes one per user wants a prefix instead.
pub const KEYSPACES_MAX: u64 = 1024;

/// Bytes in the name of a keyspace: enough for a word, too few to be data.
pub const KEYSPACE_NAME_BYTES_MAX: usize = 64;

/// Clients whose answers are kept. One of those that were silent for longest is forgotten first, to a sixteenth of this in requests of
/// all clients, and has to register again; fewer make that happen to clients that are merely slow.
pub const CLIENTS_MAX: u64 = 10_000;

/// Answers that are kept for each client. It has to be more than a client ever has under way
/// ([`super::REQUESTS_PER_CONNECTION_MAX`]), or its retries are refused; each takes about 60 bytes.
pub const CLIENT_ANSWERS_MAX: u64 = 512;

/// Bytes of the answers of all clients: those to large transactions are large. Beyond it clients are forgotten as beyond
/// [`CLIENTS_MAX`].
pub const ANSWERS_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Transactions that a reader of changes looks at in one step, wanted or not. More keep the state locked for longer.
pub const CHANGES_VISITS_MAX: usize = 4096;

/// Bytes of a chunk of a snapshot of a group, at most this and one more key with its value. Larger ones delay what shares
/// the connection, smaller ones cost a message each.
pub const STRONG_CHUNK_BYTES_TARGET: usize = 256 * 1024;

/// Bytes of a chunk that is read at all: the target, and the largest key with its value. Bounds what a damaged length can
/// claim.
pub const STRONG_CHUNK_BYTES_MAX: usize = STRONG_CHUNK_BYTES_TARGET + super::VALUE_BYTES_MAX + 64 * 1024;

/// Bytes in the address of a member of a group: the longest name of a host (RFC 1035), a colon and a port fit in. Bounds what
/// damaged bytes can claim.
pub const MEMBER_ADDRESS_BYTES_MAX: usize = 512;

/// What a message about a strong keyspace may weigh on the wire: a full transaction plus the framing of its guards and
/// operations (under 64 bytes each).
pub const STRONG_MESSAGE_BYTES_MAX: usize = TRANSACTION_BYTES_MAX + TRANSACTION_OPERATIONS_MAX * 64;

/// A page of changes ends with the change that brings it to this weight on the wire: at most this and one more change. Larger
/// ones delay what shares the connection, smaller ones cost a message each.
pub const STRONG_CHANGES_BYTES_TARGET: usize = 1024 * 1024;

/// How long a watch is silent before its node makes sure that it still belongs to a majority. Longer, and a watch at a node
/// that is cut off misses for longer what happens elsewhere; shorter costs more reads of idle watches.
pub const STRONG_WATCH_SILENCE: Duration = Duration::from_secs(5);

/// Revisions without a change that a watch tells, after which it says how far they are: a small part of the history, so that a watch
/// whose node dies can go on.
pub const WATCH_UNTOLD_MAX: u64 = 4096;

/// Reads of one call. More keep the state locked for longer; fewer make callers ask twice for what belongs together.
pub const STRONG_READS_MAX: usize = 4096;

/// Calls in one message of a session: enough for those of a hundred threads, few enough to be answered at once.
pub const STRONG_BATCH_CALLS_MAX: usize = 512;

/// Bytes of calls in one message of a session, at most this and one call more.
pub const STRONG_BATCH_BYTES_TARGET: usize = 256 * 1024;

/// Bytes of keys and values of a call that shares a message with others; larger ones go alone.
pub const STRONG_BATCHED_CALL_BYTES_MAX: usize = 64 * 1024;

/// Messages of a kind of calls (changes; reads by how fresh they have to be) that a connection of a session has under way at a time. What comes meanwhile waits for the
/// next and shares it; one would leave the connection idle while the node works.
pub const STRONG_BATCHES_MAX: usize = 2;

/// Questions of a stream that are answered at the same time; the next is read when one of them has its answer.
pub const CONVERSATION_UNDER_WAY_MAX: usize = 64;

/// Questions of a stream that wait to be sent.
pub const CONVERSATION_QUEUE_MAX: usize = 16;

/// Requests with an id that a client has under way; further ones wait for a place within their deadline. Fewer than
/// [`CLIENT_ANSWERS_MAX`], so that a retry finds its answer.
pub const STRONG_UNDER_WAY_MAX: usize = 256;

/// Calls about strong keyspaces that a client has taken in and not answered; more are refused, so that a program that never
/// waits for answers learns it before its memory is full.
pub const STRONG_CALLS_MAX: usize = 16 * 1024;

/// Bytes of the transactions among those calls. See [`STRONG_CALLS_MAX`].
pub const STRONG_CALLS_BYTES_MAX: usize = 256 * 1024 * 1024;

/// Waits for locks that a client has under way at a node; further ones wait for a place. Each occupies a stream of the
/// connection for long ([`super::STREAMS_PER_CONNECTION_MAX`]), and keep-alives must not wait for one.
pub const STRONG_LOCK_WAITS_MAX: usize = 64;

/// How long a client gives the first try of a call before it asks another node; each further try gets twice as long. Longer,
/// and a node that is stuck costs the whole deadline; shorter, and a slow connection carries everything twice.
pub const STRONG_TRY_FIRST: Duration = Duration::from_secs(2);

/// How much longer than it was given a try may take, before the client takes its node for silent.
pub const STRONG_TRY_GRACE: Duration = Duration::from_millis(50);

/// Leases of which a client remembers when they were granted, until they are kept alive. Beyond it the oldest are
/// forgotten, and the deadline of such a lease is known after its first keep-alive only.
pub const STRONG_GRANTS_MAX: usize = 1024;

/// Checks the size of a transaction: its guards and operations together, and the bytes of their keys and values.
///
/// # Errors
/// `BATCH_TOO_LARGE`.
pub fn check_transaction(operations: usize, bytes: usize) -> Result<()> {
    if operations > TRANSACTION_OPERATIONS_MAX {
        let text =
            format!("transaction: {operations} guards and operations, the limit is {TRANSACTION_OPERATIONS_MAX}");
        return Err(Error::new(ErrorCode::BatchTooLarge, text));
    }
    if bytes > TRANSACTION_BYTES_MAX {
        let text = format!("transaction: {bytes} bytes of keys and values, the limit is {TRANSACTION_BYTES_MAX}");
        return Err(Error::new(ErrorCode::BatchTooLarge, text));
    }
    Ok(())
}

/// Checks the name of a strong keyspace: 1 to [`KEYSPACE_NAME_BYTES_MAX`] bytes.
///
/// # Errors
/// `INVALID_ARGUMENT`.
pub fn check_keyspace_name(name: &str) -> Result<()> {
    if name.is_empty() || name.len() > KEYSPACE_NAME_BYTES_MAX {
        let text = format!("keyspace: {} bytes, must be 1 to {KEYSPACE_NAME_BYTES_MAX}", name.len());
        return Err(Error::new(ErrorCode::InvalidArgument, text));
    }
    Ok(())
}
