//! The bounds of strong keyspaces. Those that its `Bounds` hold are part of the replicated state: every
//! replica of a group has to reach them at the same entry.

use std::time::Duration;

/// Operations and conditions of a transaction together. More keep every replica, and all that waits behind it in the log,
/// busy for longer (10,000: about 50 ms); fewer make callers split what belongs together.
pub const TRANSACTION_OPERATIONS_MAX: usize = 10_000;

/// Keys and values of a transaction together. It has to fit into one entry of the log with room to spare, see
/// [`super::LOG_ENTRY_BYTES_MAX`].
pub const TRANSACTION_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Changes that a group keeps for watches that resume and for reads of the past. Fewer make a watcher that was away for
/// a moment start over; more cost memory, some 400 bytes each beside keys and values.
pub const HISTORY_CHANGES_MAX: u64 = 100_000;

/// Bytes of keys and values in those changes: values of a megabyte must not make the history a thousand times as large.
pub const HISTORY_BYTES_MAX: u64 = 64 * 1024 * 1024;

/// Milliseconds for which changes are kept while the other two bounds allow it. Longer, and a store that is written to
/// rarely keeps values that were replaced long ago; shorter, and watchers do not survive the restart of their process.
pub const HISTORY_AGE_MS_MAX: u64 = 10 * 60 * 1000;

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

/// Who may wait for one lock. More than that wait longer than anybody wants to; each takes about 100 bytes and its value.
pub const LOCK_WAITERS_MAX: u64 = 1024;

/// Keyspaces of a group. Each costs under a kilobyte; a program that makes one per user wants a prefix instead.
pub const KEYSPACES_MAX: u64 = 1024;

/// Bytes in the name of a keyspace: enough for a word, too few to be data.
pub const KEYSPACE_NAME_BYTES_MAX: usize = 64;

/// Clients whose answers are kept. The one that was silent for longest is forgotten first, and has to register again; fewer
/// make that happen to clients that are merely slow.
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

/// Bytes of entries in one message to a follower, at most this and one more entry. Larger ones delay the heartbeats behind
/// them, smaller ones cost a message each.
pub const GROUP_APPEND_BYTES_TARGET: usize = 1024 * 1024;

/// What a message between the members of a group may weigh: the target and the greatest entry.
pub const GROUP_MESSAGE_BYTES_MAX: usize = GROUP_APPEND_BYTES_TARGET + super::LOG_ENTRY_BYTES_MAX + 64 * 1024;

/// Requests that share one entry of the log. More make that entry slow, fewer cost a sync and a round each.
pub const GROUP_BATCH_REQUESTS_MAX: usize = 1024;

/// Bytes of requests that share one entry, at most this and one more request.
pub const GROUP_BATCH_BYTES_TARGET: usize = 512 * 1024;

/// Batches of requests that a node has under way at a time. One leaves the disk idle while the network works; many make small
/// batches.
pub const GROUP_BATCHES_MAX: usize = 2;

/// Requests that wait to be put into a batch; more are refused as OVERLOADED.
pub const GROUP_REQUESTS_WAITING_MAX: usize = 16 * 1024;

/// How often a leader lets its followers know that it is there. Shorter costs messages of idle groups, longer delays
/// elections. A follower has this long to take in what it was sent.
pub const GROUP_HEARTBEAT: Duration = Duration::from_millis(100);

/// How long a follower waits beyond the lease of its leader before it stands for election: drawn from between these. The
/// lease is the longer of the two, so a leader that dies is followed by another about a second later.
pub const GROUP_ELECTION_LEAST: Duration = Duration::from_millis(200);
/// See [`GROUP_ELECTION_LEAST`].
pub const GROUP_ELECTION_MOST: Duration = Duration::from_millis(600);

/// How long the answer to a message to another member may take, snapshots left out.
pub const GROUP_CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a piece of a snapshot may take to be taken in, and its end to be put on disk.
pub const GROUP_SNAPSHOT_TIMEOUT: Duration = Duration::from_secs(60);

/// Entries of the log after which a snapshot is taken, and those that stay for followers that are a little behind.
pub const GROUP_SNAPSHOT_ENTRIES: u64 = 10_000;
/// See [`GROUP_SNAPSHOT_ENTRIES`].
pub const GROUP_ENTRIES_KEPT: u64 = 1_000;

/// Bytes of entries in memory after which a snapshot is taken, however few they are.
pub const GROUP_LOG_BYTES_TARGET: usize = 64 * 1024 * 1024;

/// The pause before a snapshot that could not be written is tried again: the disk may have room then.
pub const GROUP_SNAPSHOT_RETRY: Duration = Duration::from_secs(1);

/// How often a member looks after its group: who is to be promoted or removed, what is due.
pub const GROUP_LOOK: Duration = Duration::from_millis(50);

/// The pause between two attempts to find or found the group, and as much again at random.
pub const GROUP_FOUNDING_PAUSE: Duration = Duration::from_millis(100);

/// Voters of a group. Each more makes every write wait for more, and seven survive the loss of three; further members
/// follow without a vote.
pub const GROUP_VOTERS_MAX: usize = 7;

/// Entries that a new member may be behind and still get a vote.
pub const GROUP_PROMOTION_LAG_MAX: u64 = 100;

/// Addresses that a node which looks for its group remembers. Bounds what strangers can make it ask.
pub const GROUP_ACQUAINTANCES_MAX: usize = 256;

/// How long a wait for a lock goes on before the caller is told to ask again.
pub const GROUP_LOCK_WAIT_MAX: Duration = Duration::from_secs(20);

/// Bytes of keys and values in the answer to reads, at most this and one item more. The rest has to be asked for.
pub const GROUP_READ_BYTES_TARGET: usize = 2 * 1024 * 1024;

/// Reads that wait for the same round of the leader.
pub const GROUP_READS_WAITING_MAX: usize = 64 * 1024;

/// A leader that hears from no majority for this many election timeouts falls silent, so that it does not keep others from
/// electing another; then for that many, before it tries again for a moment (openraft#2080).
pub const GROUP_QUORUM_LOST_TIMEOUTS: u32 = 3;
/// See [`GROUP_QUORUM_LOST_TIMEOUTS`].
pub const GROUP_SILENCE_TIMEOUTS: u32 = 20;
/// See [`GROUP_QUORUM_LOST_TIMEOUTS`].
pub const GROUP_SILENCE_TRIES: Duration = Duration::from_millis(200);
