//! Every bound of the store in one place: what it limits, and what breaks if it is larger or smaller. Beyond a bound a
//! call fails with an error that names it, and nothing is changed.

mod client;
mod group;
mod log;
mod members;
mod records;
mod security;
mod snapshot;
mod spaces;
mod storage;
mod strong;
mod watch;

use std::time::Duration;

pub use watch::*;

use crate::error::{Error, ErrorCode, Result};
pub use client::*;
pub use group::*;
pub use log::*;
pub use members::*;
pub use records::*;
pub use security::*;
pub use snapshot::*;
pub use spaces::*;
pub use storage::*;
pub use strong::*;

/// Bytes in a key, at least 1. Larger keys make every range read and every log line slow; smaller ones do not hold a
/// path or a URL.
pub const KEY_BYTES_MAX: usize = 8 * 1024;

/// Bytes in a bound of a range: a key and one byte more, because the page after a key starts at that key and a zero.
pub const RANGE_BOUND_BYTES_MAX: usize = KEY_BYTES_MAX + 1;

/// Bytes in a value. One value has to fit into one message with room to spare, and copying it must not stall a lock.
pub const VALUE_BYTES_MAX: usize = 1024 * 1024;

/// Keys and values of a batch together. Larger batches delay everything that shares their connection.
pub const BATCH_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Operations in a batch. Bounds the time one message keeps a server task busy (about 4 ms).
pub const BATCH_OPERATIONS_MAX: usize = 4096;

/// What a message may weigh on the wire: a full batch plus the framing of its operations (under 128 bytes each).
pub const MESSAGE_BYTES_MAX: usize = BATCH_BYTES_MAX + BATCH_OPERATIONS_MAX * 128;

/// The longest time to live, 100 years: keeps every expiry far below the range of a timestamp.
pub const TTL_MS_MAX: u64 = 100 * 366 * 24 * 3600 * 1000;

/// Keys in a page of a scan. Larger pages take memory and time by the millisecond, smaller ones cost a call each.
pub const PAGE_KEYS_MAX: usize = 1000;

/// Records of one partition, tombstones included, that a scan steps over under one read lock (about 0.1 ms). Larger
/// steps keep writers waiting, smaller ones cost a lock of every partition each.
pub const STRIPE_RECORDS_MAX: usize = 4096;

/// A page of a scan ends when its keys and values reach this, so that it always fits into a message: at most this and
/// one more value.
pub const PAGE_BYTES_TARGET: usize = 1024 * 1024;

/// Partitions of an eventual keyspace: the unit of locking and of sequence numbers. Part of the protocol: nodes with
/// different counts refuse each other.
pub const PARTITIONS: u16 = 16;

/// Bytes of own writes that one partition keeps for peers that have not acknowledged them. A peer that falls further
/// behind fetches state instead, which costs more; memory is bounded by this times [`PARTITIONS`].
pub const OUTBOX_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Own writes that one partition keeps for streaming, whatever their size.
pub const OUTBOX_WRITES_MAX: usize = 64 * 1024;

/// Own writes that one partition keeps although every peer has them, for whoever joins or comes back. More would push
/// the data themselves out of the processor's caches: at 64 Ki a put took twice as long.
pub const OUTBOX_SPARE_WRITES: usize = 128;

/// How long own writes are kept for a peer whose connection was lost. A longer absence costs a state transfer; a longer
/// retention costs memory, up to [`OUTBOX_BYTES_MAX`], for peers that never come back.
pub const OUTBOX_RETENTION: Duration = Duration::from_secs(30);

/// Own writes that leave an outbox under one lock when they are no longer needed (about 50 us).
pub const OUTBOX_TRIM_WRITES: usize = 1024;

/// Where sequences end, far below where counting up from one would overflow: a node that accepts a write every
/// nanosecond gets there after 146 years.
pub const SEQUENCE_MAX: u64 = 1 << 62;

/// The last millisecond a peer's timestamp may show (the end of the year 9999): one near the end of the range would
/// leave every clock that observes it no room to go on.
pub const TIMESTAMP_MS_MAX: u64 = 253_402_300_799_999;

/// How far ahead of this node's wall clock a remote timestamp may be. A larger bound lets one bad clock pull those of all
/// others further ahead, and its writes win for that long; a smaller one cuts hosts without time synchronisation off.
pub const CLOCK_DRIFT_MAX: Duration = Duration::from_secs(10);

/// What the drift bound may be set to. Below it the jitter of a good network looks like a bad clock.
pub const CLOCK_DRIFT_LEAST: Duration = Duration::from_millis(100);

/// What the drift bound may be set to. Beyond it there is hardly a bound.
pub const CLOCK_DRIFT_MOST: Duration = Duration::from_secs(3600);

/// The pause after a write was refused because its stamp is too far ahead, half of it jitter: the wall clock gets there
/// only by and by. Longer ones delay what is good again, shorter ones send the same writes in vain.
pub const SKEW_PAUSE: Duration = Duration::from_millis(1000);

/// How long a refusal is shown in the status unless it is repeated: a few times [`SKEW_PAUSE`].
pub const SKEW_SHOWN: Duration = Duration::from_secs(10);

/// How old a tombstone must be before it is dropped, on top of causal stability and never instead of it: it keeps the first
/// writes of a node that has just joined, and that nobody counted yet, above every dropped tombstone. Must exceed
/// [`CLOCK_DRIFT_MAX`] and the time to join; a longer one only costs memory.
pub const TOMBSTONE_GRACE: Duration = Duration::from_secs(30);

/// Tombstones of one partition that are looked at in one turn, under one lock (about 50 us). Fewer let deletes pile up.
pub const TOMBSTONE_VISITS_MAX: usize = 512;

/// How long a value that has expired waits before it is swept. The touch that would have kept it may be on its way.
pub const SWEEP_GRACE: Duration = Duration::from_secs(1);

/// Expired values of one partition that are swept in one turn, under one lock (about 100 us). Fewer let them pile up.
pub const SWEEP_KEYS_MAX: usize = 256;

/// How long stability may be held back before the status and the log name the members to blame. Shorter ones accuse
/// those who restart.
pub const STABILITY_LAG_SHOWN: Duration = Duration::from_secs(60);

/// Records of one partition that are looked at in one turn for writes that nodes apart may have lost, under one lock.
pub const REISSUE_VISITS_MAX: usize = 512;

/// Bytes in the name of a cluster: it stands in every Hello, status and log line.
pub const CLUSTER_NAME_BYTES_MAX: usize = 64;

/// Writes in one replication message. More delay the acknowledgement, fewer cost a message each.
pub const REPLICATION_BATCH_WRITES_MAX: usize = 2048;

/// Bytes of keys and values after which a replication message is closed: at most this and one more write.
pub const REPLICATION_BATCH_BYTES_TARGET: usize = 512 * 1024;

/// Bytes of writes a node sends to a peer ahead of its acknowledgements. Bounds what a slow peer makes us buffer.
pub const REPLICATION_WINDOW_BYTES: usize = 8 * 1024 * 1024;

/// Stretches of writes (one partition in one message) a node sends to a peer ahead of its acknowledgements. Bounds the
/// messages that queue up for a slow peer, far below [`PEER_QUEUE_MESSAGES_MAX`]; beyond it batches grow instead.
pub const REPLICATION_WINDOW_STRETCHES: usize = 256;

/// Stretches on their way to a peer from which on small batches wait for an acknowledgement: two messages when all
/// partitions are written to. Fewer leave the peer idle between two messages, more cost both sides a message for a few writes.
pub const REPLICATION_PACED_STRETCHES: usize = 2 * PARTITIONS as usize;

/// How long a small batch waits for that, about (it is looked at every [`REPLICA_TICK`]). Longer adds to the lag between
/// distant nodes, shorter is no waiting at all when a round trip takes longer.
pub const REPLICATION_PACED_MAX: Duration = Duration::from_millis(10);

/// Records in one chunk of a state transfer; also what a chunk keeps a partition's read lock busy for.
pub const STATE_CHUNK_RECORDS_MAX: usize = 1000;

/// Records one chunk looks at before it is sent, also when few of them are wanted: bounds the time the lock is held.
pub const STATE_CHUNK_VISITS_MAX: usize = 8000;

/// Bytes of keys and values after which a chunk of a state transfer is closed: at most this and one more record.
pub const STATE_CHUNK_BYTES_TARGET: usize = 512 * 1024;

/// Chunks of one state transfer on their way before the first has to be confirmed.
pub const STATE_CHUNKS_IN_FLIGHT: usize = 4;

/// State transfers that one node asks for at the same time (each is one partition).
pub const STATE_TRANSFERS_MAX: usize = 4;

/// The version of what nodes say to each other; nodes with different versions refuse each other.
pub const PROTOCOL_VERSION: u32 = 2;

/// Members a node remembers. Far beyond what full replication is good for; bounds what a hostile peer can make us dial.
pub const MEMBERS_MAX: usize = 256;

/// Removed nodes that are remembered, the latest: each restart of a memory-only node makes one. One that was forgotten and
/// still runs would be taken for new.
pub const REMOVED_MAX: usize = 4096;

/// Bytes of one message of the failure detector. Smaller ones carry the news of fewer members each; larger ones only
/// delay what shares their stream.
pub const GOSSIP_BYTES_MAX: usize = 16 * 1024;

/// Steps of what writers had seen in one message, and those one partition keeps. Beyond it the oldest are forgotten, and
/// the writes before them count as not seen: a conflict may then be reported that was none, never the reverse.
pub const SEEN_STEPS_MAX: usize = 32 * 1024;

/// Conflicts that a node remembers; the oldest go. More of them take longer to list, and nobody looks at all of them.
pub const CONFLICTS_MAX: usize = 10_000;

/// Bytes of keys and values, lost and won, in the conflicts that a node remembers: bounds its memory when values are large.
pub const CONFLICTS_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Entries of a version vector in one message; one for each incarnation of a node the cluster ever saw writing.
pub const VECTOR_ENTRIES_MAX: usize = 16 * 1024;

/// Messages queued for one peer connection before it is cut as too slow. The window keeps it far below this.
pub const PEER_QUEUE_MESSAGES_MAX: usize = 1024;

/// Events queued for the replica; senders wait beyond it, which slows the peers down through flow control.
pub const REPLICA_QUEUE_EVENTS_MAX: usize = 256;

/// How often positions are exchanged; each node varies it by a quarter, so that they do not march in step.
pub const POSITIONS_INTERVAL: Duration = Duration::from_millis(1000);

/// A session on which nothing arrives for this long is dead: positions come about once a second. Longer, and writes of a
/// peer that vanished are fetched later from those who have them; shorter, and a busy machine loses its peers.
pub const SESSION_SILENCE_MAX: Duration = Duration::from_secs(6);

/// Rounds of positions in which nothing came from a connected peer that others are ahead with, before its writes are
/// fetched from them.
pub const STALLED_ROUNDS_MAX: u32 = 2;

/// How often the replica looks at its timers: what a pause or timeout may be late by.
pub const REPLICA_TICK: Duration = Duration::from_millis(25);

/// An address that was only heard of and never reached is forgotten after it failed for this long.
pub const HEARSAY_FORGOTTEN_AFTER: Duration = Duration::from_secs(60);

/// The window over which replication lag is reported, at least; at most twice this.
pub const LAG_WINDOW: Duration = Duration::from_secs(60);

/// The longest lag that is told apart from longer ones, an hour. Bounds the memory of the histogram.
pub const LAG_MS_MAX: u64 = 3_600_000;

/// The first pause before a lost peer is dialled again; doubles up to [`REDIAL_MAX`], half of it jitter.
pub const REDIAL_FIRST: Duration = Duration::from_millis(50);

/// The longest pause before a lost peer is dialled again: the time a healed network may stay unnoticed.
pub const REDIAL_MAX: Duration = Duration::from_secs(2);

/// How long a connection attempt may take, name resolution and Hello included.
pub const CONNECT_TIMEOUT: Duration = Duration::from_secs(5);

/// A connection on which nothing arrives for [`KEEPALIVE_INTERVAL`] is probed; no answer for this long ends it.
pub const KEEPALIVE_TIMEOUT: Duration = Duration::from_secs(5);

/// See [`KEEPALIVE_TIMEOUT`].
pub const KEEPALIVE_INTERVAL: Duration = Duration::from_secs(5);

/// How long a state transfer may stand still before its asker gives up and asks another peer.
pub const STATE_TRANSFER_TIMEOUT: Duration = Duration::from_secs(10);

/// What a message between nodes may weigh on the wire. The heaviest are a replication batch or chunk of state (their
/// target and one more write) and the positions of all partitions in a cluster that has seen [`VECTOR_ENTRIES_MAX`] nodes.
pub const PEER_MESSAGE_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Decoded messages of one peer that wait for the replica; beyond it flow control slows the peer down.
pub const PEER_INBOUND_MESSAGES_MAX: usize = 16;

/// Connections a node accepts at the same time.
pub const CONNECTIONS_MAX: usize = 1024;

/// Connections beyond that which a node accepts from other nodes, so that a crowd of clients does not part it from its cluster. Each
/// other node has up to three.
pub const NODE_CONNECTIONS_RESERVED: usize = 128;

/// Streams a connection may have open (reliability of hyper's own caps is lost under tonic: RUSTSEC-2024-0003).
pub const STREAMS_PER_CONNECTION_MAX: u32 = 128;

/// Requests of one connection that are worked on at the same time; the others wait.
pub const REQUESTS_PER_CONNECTION_MAX: usize = 128;

/// Bytes of headers a request may have.
pub const HEADER_LIST_BYTES_MAX: u32 = 8 * 1024;

/// How long a new connection may take to send its first bytes: a silent one must not occupy a place.
pub const FIRST_BYTES_TIMEOUT: Duration = Duration::from_secs(5);

/// Resets on one connection that the other side's own errors may cause before it is cut (RUSTSEC-2024-0003).
pub const LOCAL_ERROR_RESETS_MAX: usize = 256;

/// Streams of one connection that may have been reset before they were looked at (CVE-2023-44487, "rapid reset").
pub const PENDING_ACCEPT_RESETS_MAX: usize = 20;

/// Bytes of the client's preface that the first-bytes deadline waits for (RFC 9113, 3.4).
pub const PREFACE_BYTES: usize = 24;

/// The pause after a failed accept. Without it a process out of file descriptors would spin; a longer one would keep
/// good clients waiting once there are some again.
pub const ACCEPT_PAUSE: Duration = Duration::from_millis(20);

/// How long connections may take to close in order once a server shuts down; then they are cut.
pub const CLOSE_GRACE: Duration = Duration::from_millis(500);

/// How long a node's threads may take to end once everything is closed; only a name that is being resolved takes time.
pub const RUNTIME_GRACE: Duration = Duration::from_secs(1);

/// Threads of a node that resolve host names. More would only wait for the same resolver.
pub const BLOCKING_THREADS_MAX: usize = 4;

/// How long to ask the owner of a taken port who it is.
pub const OWNER_TIMEOUT: Duration = Duration::from_millis(500);

/// Bytes of answers after which a pipeline answer is sent: at most this and one more answer (a page or a value). Larger
/// ones delay the first answer, smaller ones cost a message each.
pub const PIPELINE_ANSWER_BYTES_TARGET: usize = 256 * 1024;

/// How long a unary request may take on the server, reading its body included.
pub const REQUEST_TIMEOUT: Duration = Duration::from_secs(30);

/// Lists and dicts in one another that the AUTO codec encodes. Deeper ones would overflow the stack of the thread that
/// walks them; Python's own JSON gives up at about a thousand.
#[cfg(feature = "python")]
pub const JSON_DEPTH_MAX: usize = 200;

/// How long a thread that waits for an answer goes without a look for Ctrl-C. Shorter ones wake idle threads more often,
/// longer ones feel stuck.
pub const SIGNAL_CHECK_INTERVAL: Duration = Duration::from_millis(50);

/// Records that wait for Python's `logging`, of at most 4 KiB each. More hide a slow handler for longer and cost memory; fewer are
/// lost sooner while a program holds the GIL.
#[cfg(feature = "python")]
pub const LOG_RECORDS_MAX: usize = 2048;

/// Checks the length of a key: 1 to [`KEY_BYTES_MAX`] bytes.
///
/// # Errors
/// `KEY_EMPTY` or `KEY_TOO_LONG`.
pub fn check_key(key: &[u8]) -> Result<()> {
    if key.is_empty() {
        return Err(Error::new(ErrorCode::KeyEmpty, "key: must not be empty"));
    }
    if key.len() > KEY_BYTES_MAX {
        let text = format!("key: {} bytes, the limit is {KEY_BYTES_MAX}", key.len());
        return Err(Error::new(ErrorCode::KeyTooLong, text));
    }
    Ok(())
}

/// Checks the length of a value: 0 to [`VALUE_BYTES_MAX`] bytes.
///
/// # Errors
/// `VALUE_TOO_LARGE`.
pub fn check_value(value: &[u8]) -> Result<()> {
    if value.len() > VALUE_BYTES_MAX {
        let text = format!("value: {} bytes, the limit is {VALUE_BYTES_MAX}", value.len());
        return Err(Error::new(ErrorCode::ValueTooLarge, text));
    }
    Ok(())
}

/// Checks a time to live in milliseconds: 1 to [`TTL_MS_MAX`].
///
/// # Errors
/// `BAD_TTL`.
pub fn check_ttl_ms(ttl_ms: u64) -> Result<()> {
    if ttl_ms == 0 || ttl_ms > TTL_MS_MAX {
        let text = format!("ttl: {ttl_ms} ms, must be 1 ms to {TTL_MS_MAX} ms");
        return Err(Error::new(ErrorCode::BadTtl, text));
    }
    Ok(())
}

/// Checks the size of a batch: its number of operations and the bytes of their keys and values.
///
/// # Errors
/// `BATCH_TOO_LARGE`.
pub fn check_batch(operations: usize, bytes: usize) -> Result<()> {
    if operations > BATCH_OPERATIONS_MAX {
        let text = format!("batch: {operations} operations, the limit is {BATCH_OPERATIONS_MAX}");
        return Err(Error::new(ErrorCode::BatchTooLarge, text));
    }
    if bytes > BATCH_BYTES_MAX {
        let text = format!("batch: {bytes} bytes of keys and values, the limit is {BATCH_BYTES_MAX}");
        return Err(Error::new(ErrorCode::BatchTooLarge, text));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn code<T>(result: Result<T>) -> Option<ErrorCode> {
        result.err().map(|error| error.code())
    }

    #[test]
    fn each_bound_accepts_its_edge_and_refuses_the_next() {
        assert_eq!(code(check_key(b"")), Some(ErrorCode::KeyEmpty));
        assert_eq!(code(check_key(&[0; 1])), None);
        assert_eq!(code(check_key(&[0; KEY_BYTES_MAX])), None);
        assert_eq!(code(check_key(&[0; KEY_BYTES_MAX + 1])), Some(ErrorCode::KeyTooLong));
        assert_eq!(code(check_value(&vec![0; VALUE_BYTES_MAX])), None);
        assert_eq!(code(check_value(&vec![0; VALUE_BYTES_MAX + 1])), Some(ErrorCode::ValueTooLarge));
        assert_eq!(code(check_ttl_ms(0)), Some(ErrorCode::BadTtl));
        assert_eq!(code(check_ttl_ms(1)), None);
        assert_eq!(code(check_ttl_ms(TTL_MS_MAX)), None);
        assert_eq!(code(check_ttl_ms(TTL_MS_MAX + 1)), Some(ErrorCode::BadTtl));
        assert_eq!(code(check_batch(BATCH_OPERATIONS_MAX, BATCH_BYTES_MAX)), None);
        assert_eq!(code(check_batch(BATCH_OPERATIONS_MAX + 1, 0)), Some(ErrorCode::BatchTooLarge));
        assert_eq!(code(check_batch(1, BATCH_BYTES_MAX + 1)), Some(ErrorCode::BatchTooLarge));
    }
}
