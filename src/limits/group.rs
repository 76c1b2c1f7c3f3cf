//! The bounds of what the members of a strong group do among themselves.

use std::time::Duration;

/// Bytes of entries in one message to a follower, at most this and one more entry. Larger ones delay the heartbeats behind
/// them, smaller ones cost a message each.
pub const GROUP_APPEND_BYTES_TARGET: usize = 1024 * 1024;

/// What a message between the members of a group may weigh: the target and the greatest entry.
pub const GROUP_MESSAGE_BYTES_MAX: usize = GROUP_APPEND_BYTES_TARGET + super::LOG_ENTRY_BYTES_MAX + 64 * 1024;

/// Requests that share one entry of the log. More make that entry slow, fewer cost a sync and a round each.
pub const GROUP_BATCH_REQUESTS_MAX: usize = 1024;

/// Bytes of requests that share one entry, at most this and one more request.
pub const GROUP_BATCH_BYTES_TARGET: usize = 512 * 1024;

/// Bytes of requests in one entry of the log, whoever put them together: the greatest transaction with its framing, and a batch
/// before it. Under [`super::LOG_ENTRY_BYTES_MAX`] with room to spare.
pub const GROUP_REQUESTS_BYTES_MAX: usize = 6 * 1024 * 1024;

/// Batches of requests that a node has under way at a time. One leaves the disk idle while the network works; many make small
/// batches.
pub const GROUP_BATCHES_MAX: usize = 2;

/// Requests that wait to be put into a batch; more are refused as OVERLOADED.
pub const GROUP_REQUESTS_WAITING_MAX: usize = 16 * 1024;

/// How often a leader lets its followers know that it is there. Shorter costs messages of idle groups, longer delays
/// elections. A follower has this long to take in what it was sent.
pub const GROUP_HEARTBEAT: Duration = Duration::from_millis(100);

/// A member that agreed within this time is told what is committed without being waited for.
pub const GROUP_NOTICE_WITHIN: Duration = Duration::from_millis(10);

/// How long a follower waits beyond the lease of its leader before it stands for election: drawn from between these. The
/// lease is the longer of the two, so a leader that dies is followed by another about a second later.
pub const GROUP_ELECTION_LEAST: Duration = Duration::from_millis(200);
/// See [`GROUP_ELECTION_LEAST`].
pub const GROUP_ELECTION_MOST: Duration = Duration::from_millis(600);

/// How long a member waits for its votes before it stands again: time enough for a slow disk and the way there and back, of which all
/// elections after a split vote have their share.
pub const GROUP_CANDIDACY_PAUSE: Duration = Duration::from_millis(100);

/// Up to as much again at random, and once more for each election that was lost before.
pub const GROUP_CANDIDACY_SPREAD: Duration = Duration::from_millis(300);

/// Beyond so many lost elections the pauses do not grow any more.
pub const GROUP_CANDIDACY_LOSSES_MAX: u32 = 5;

/// A member that refuses a candidate for its shorter log stands itself within this: of several that do, one should be first.
pub const GROUP_STEP_UP_SPREAD: Duration = Duration::from_millis(50);

/// How long the answer to a message to another member may take, snapshots left out.
pub const GROUP_CALL_TIMEOUT: Duration = Duration::from_secs(2);

/// How long a member's removal waits for a leader: the member may have led, and another is elected within two seconds. Below the
/// five seconds that a client waits by default.
pub const GROUP_REMOVAL_PATIENCE: Duration = Duration::from_secs(4);

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

/// What that pause grows to while a node waits for one that is not there.
pub const GROUP_FOUNDING_PAUSE_MAX: Duration = Duration::from_secs(1);

/// How long a member that is stopped takes to leave its group in good order. Longer makes stops slow where nobody is left to
/// take over; shorter leaves the others without a leader for the time of an election.
pub const GROUP_FAREWELL_MAX: Duration = Duration::from_secs(1);

/// How long a follower that was asked to lead goes on standing for election: the lease of its leader has to pass first.
pub const GROUP_CAMPAIGN_MAX: Duration = Duration::from_secs(2);

/// Voters of a group. Each more makes every write wait for more, and seven survive the loss of three; further members
/// follow without a vote.
pub const GROUP_VOTERS_MAX: usize = 7;

/// Entries that a new member may be behind and still get a vote.
pub const GROUP_PROMOTION_LAG_MAX: u64 = 100;

/// Addresses that a node which looks for its group remembers. Bounds what strangers can make it ask.
pub const GROUP_ACQUAINTANCES_MAX: usize = 256;

/// How long a wait for a lock goes on before the caller is told to ask again.
pub const GROUP_LOCK_WAIT_MAX: Duration = Duration::from_secs(20);

/// A group counts its revisions from the milliseconds since the Unix epoch at its founding, times this: more than it makes in a
/// millisecond, so that a group that takes its place begins beyond it. Few enough for 2^53, up to which every program
/// can count, to last until the year 2248.
pub const GROUP_REVISIONS_PER_MS: u64 = 1024;

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
/// Between two tries before its time, for members that ask for a vote and cannot win: so many election timeouts leave those
/// that can win the time to do so, even if each try keeps a member from voting for one.
pub const GROUP_EARLY_TRIES_TIMEOUTS: u32 = 5;
