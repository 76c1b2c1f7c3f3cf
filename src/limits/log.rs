//! The bounds of the log on disk.

use std::time::Duration;

/// Bytes of a segment of the log, after which the next one is begun; a single batch may make it longer. Larger ones give
/// space back later and take longer to check at the start (64 MiB: about 50 ms), smaller ones cost more files and a
/// pause each.
pub const LOG_SEGMENT_BYTES: u64 = 64 * 1024 * 1024;

/// What a segment may be set to, at least: below it the headers and the files themselves weigh more than their content.
pub const LOG_SEGMENT_BYTES_LEAST: u64 = 1024;

/// Bytes of zeros that are written ahead of the log, so that a sync does not have to change the file's length. More make
/// the one commit that writes them wait longer (4 MiB: a few milliseconds) and take that much space at least; fewer
/// make more commits wait.
pub const LOG_PREALLOCATE_BYTES: u64 = 4 * 1024 * 1024;

/// Bytes in one entry of the log. The greatest is a whole batch of a client; recovery has to hold one in memory.
pub const LOG_ENTRY_BYTES_MAX: usize = 8 * 1024 * 1024;

/// Bytes of entries after which a batch is closed: at most this and one more entry. Larger ones take more memory to read
/// back, smaller ones cost a header each.
pub const LOG_BATCH_BYTES_TARGET: usize = 1024 * 1024;

/// Bytes of entries that wait for the disk beyond which writers have to wait, too; those already past that check may
/// add one entry each. More hide a slow disk for longer and cost memory, fewer stall writers at each slow sync.
pub const LOG_BUFFER_BYTES_MAX: usize = 16 * 1024 * 1024;

/// How often a full disk is tried again. Shorter, and it is asked in vain; longer, and writers wait although there is
/// space.
pub const LOG_FULL_PROBE: Duration = Duration::from_millis(1000);

/// Bytes of a segment that are read at once. Fewer cost a call each for small batches, more are memory of each reader.
pub const LOG_READ_BYTES: usize = 256 * 1024;

/// The longest sync that is told apart from longer ones, a minute. Bounds the memory of the histogram.
pub const LOG_SYNC_US_MAX: u64 = 60_000_000;
