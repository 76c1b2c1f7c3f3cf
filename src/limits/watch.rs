//! The bounds of watches, and of what operators look at: the sizes of keys, and samples of the calls of a node.

use std::time::Duration;

use super::VECTOR_ENTRIES_MAX;

/// Watches that one node serves. Each reads every change of the partitions it looks at, so more of them take the time of
/// those that are there.
pub const WATCHES_PER_NODE_MAX: u64 = 1024;

/// Changes of one partition that a node keeps for its watchers while it has any. A watcher that falls further behind scans
/// the partition, and sees fewer of the versions in between; more cost memory and make no watcher faster.
pub const FEED_ENTRIES_MAX: usize = 4096;

/// Bytes of keys in those changes. See [`FEED_ENTRIES_MAX`]: long keys must not make it a hundred times as large.
pub const FEED_BYTES_MAX: usize = 1024 * 1024;

/// Events in one page of a watch. Larger pages keep a slow reader's first event waiting, smaller ones cost a message each.
pub const WATCH_PAGE_EVENTS_MAX: usize = 512;

/// Bytes of keys and values after which a page of a watch is closed: at most this and one more value.
pub const WATCH_PAGE_BYTES_TARGET: usize = 256 * 1024;

/// Changes that a watcher looks at under one read lock, wanted or not (about 0.1 ms). More keep writers waiting.
pub const WATCH_VISITS_MAX: usize = 4096;

/// Entries of all vectors in the position of a watch: every partition names each node that ever wrote to it.
pub const WATCH_POSITION_ENTRIES_MAX: usize = VECTOR_ENTRIES_MAX;

/// Bytes of an encoded position, far above what its entries take.
pub const WATCH_POSITION_BYTES_MAX: usize = 32 * WATCH_POSITION_ENTRIES_MAX;

/// How often an idle watch is told where it stands. A watch that resumes looks at what came since; more often costs messages
/// that say nothing else.
pub const WATCH_MARK_INTERVAL: Duration = Duration::from_secs(1);

/// How long an event is kept back until another node has what it tells of. Longer, and peers that hang stop every watch of
/// their neighbours; shorter, and a watcher sees writes that die with their node when the network is slow.
pub const WATCH_HOLD_MAX: Duration = Duration::from_secs(5);

/// How long a watch that begins at a node waits for the node to catch up after its start. Longer, and a node whose peers
/// are away seems not to answer; shorter, and a watcher is told of old values as if they were new.
pub const WATCH_READY_MAX: Duration = Duration::from_secs(2);

/// How long a watch that goes on at this node waits for writes that neither their node nor anyone connected can bring.
/// Afterwards they count as lost. Shorter than a node needs to connect after its start, and a watch goes back in time.
pub const COVER_GRACE: Duration = Duration::from_secs(5);

/// How long a watch that goes on at this node waits until the node has caught up with it; then another node has to do.
pub const COVER_TIMEOUT: Duration = Duration::from_secs(30);

/// Events that wait in a client for the program that watches, when it does not say how many.
pub const WATCH_BUFFER_EVENTS: usize = 4096;

/// The most that a program may let wait. Each takes its value and a few hundred bytes.
pub const WATCH_BUFFER_EVENTS_MAX: usize = 1024 * 1024;

/// Bytes of keys and values that may wait: see [`WATCH_BUFFER_EVENTS_MAX`], whose events may have large values.
pub const WATCH_BUFFER_BYTES_MAX: usize = 64 * 1024 * 1024;

/// Largest values that a survey tells of. More make an answer that nobody reads.
pub const SURVEY_TOP_MAX: usize = super::PAGE_KEYS_MAX;

/// Those who listen to the calls of a node at the same time. Each makes every call of the node take longer.
pub const MONITORS_MAX: usize = 4;

/// Sampled calls that wait for one who listens. Beyond this they are dropped, which is counted: a slow reader must not
/// take the memory of the node.
pub const MONITOR_QUEUE_MAX: usize = 4096;

/// Bytes of the keys of those calls. See [`MONITOR_QUEUE_MAX`]: long keys must not make it a hundred times as large.
pub const MONITOR_QUEUE_BYTES_MAX: usize = 1024 * 1024;

/// Sampled calls of a page. Larger ones make the first of them wait, smaller ones cost a message each.
pub const MONITOR_PAGE_MAX: usize = 512;

/// How often one who listens is told how many calls there were although none was sampled.
pub const MONITOR_MARK_INTERVAL: Duration = Duration::from_secs(1);

/// Calls a second that may be sampled. More is nothing that a person can read, and a share says it better.
pub const MONITOR_RATE_MAX: u32 = 100_000;
