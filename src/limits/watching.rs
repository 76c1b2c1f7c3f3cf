//! The bounds of what operators look at: the sizes of keys, and samples of the calls of a node.

use std::time::Duration;

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
