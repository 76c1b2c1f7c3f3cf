//! The bounds of what a node keeps on disk.

use std::time::Duration;

/// How much time a node's clock takes in advance when it writes down what it has told others: after a restart with a clock
/// that was set back it goes on from there. Must lie well below [`super::CLOCK_DRIFT_MAX`], so that peers take
/// what it writes then; a shorter one makes a node at rest write more often.
pub const CLOCK_RESERVE: Duration = Duration::from_secs(2);

/// Lows of one partition that wait for the disk, about one a second. More than that wait only when the disk is stuck.
pub const LOWS_HELD_MAX: usize = 64;

/// Answers of one pipeline stream that wait for the disk, a message's worth each. Fewer keep a client's next writes out of
/// the next sync, more let one client hold more memory.
pub const PIPELINE_HELD_MAX: usize = 16;

/// How often the log is synced when writes do not wait for it: what a loss of power may take.
pub const SYNC_INTERVAL: Duration = Duration::from_secs(1);

/// The least that `max_memory` may be set to. Below it a node has no room for one batch.
pub const MEMORY_LEAST: u64 = 16 * 1024 * 1024;

/// What a record takes in memory beside the bytes of its key and value, about: what `max_memory` counts. Too small a number
/// lets a node take more than it may.
pub const RECORD_OVERHEAD_BYTES: u64 = 120;

/// How long a checkpoint waits for a partition into which the state of a peer is being merged, which takes milliseconds.
pub const CHECKPOINT_MERGE_PATIENCE: Duration = Duration::from_secs(30);

/// How often a checkpoint looks again meanwhile.
pub const CHECKPOINT_MERGE_POLL: Duration = Duration::from_millis(10);

/// Bytes of the log after which a snapshot is written, or the bytes of the last snapshot if that is more. Larger logs take
/// longer to replay, smaller ones write everything again more often.
pub const CHECKPOINT_LOG_BYTES: u64 = 64 * 1024 * 1024;

/// How often a node looks at the length of its log.
pub const CHECKPOINT_LOOK: Duration = Duration::from_secs(1);

/// The pause after a snapshot that could not be written: the disk is full, most likely, and each attempt fills it again.
pub const CHECKPOINT_RETRY: Duration = Duration::from_secs(30);

/// Snapshots that wait to be written because users asked for them; further ones wait to be asked for.
pub const CHECKPOINT_REQUESTS_MAX: usize = 16;

/// Own writes that a recovery gathers before it merges them in key order, partition by partition. Fewer lie further apart,
/// and each merge waits for memory; more fall out of the processor's caches between the reading and the merge.
pub const RECOVERY_WRITES_HELD_MAX: usize = 64 * 1024;

/// Bytes of such writes after which they are merged although they are few: at most this and one more entry are held
/// twice.
pub const RECOVERY_BYTES_HELD_TARGET: usize = 16 * 1024 * 1024;

/// Own writes that are worth a second thread, which takes about as long to start as a hundred of them to merge.
pub const RECOVERY_WRITES_SHARED_LEAST: usize = 4 * 1024;

/// Threads that merge while a node starts. More wait for the one that reads.
pub const RECOVERY_THREADS_MAX: usize = 4;

/// Entries of the log between two words on how far a recovery is, about two seconds.
pub const RECOVERY_PROGRESS_ENTRIES: u64 = 1_000_000;

/// How long a node that starts waits for its first sync. A disk that takes longer is stuck, and the start fails.
pub const RECOVERY_SYNC_PATIENCE: Duration = Duration::from_secs(30);

/// How long connections to a node that was still reading its data may take to close once it is there: all they were told is
/// to come back. A longer one keeps the node from serving.
pub const LOADING_CLOSE_GRACE: Duration = Duration::from_millis(100);
