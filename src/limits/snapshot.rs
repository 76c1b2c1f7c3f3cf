//! Bounds of what a node keeps in its data directory beside the log.

/// Bytes in the payload of one block of a snapshot: what a reader holds at a time. Less would not hold the largest record, or
/// the steps of what writers had seen ([`super::SEEN_STEPS_MAX`] of up to 34 bytes); more lets damaged bytes claim
/// more memory.
pub const SNAPSHOT_BLOCK_BYTES_MAX: usize = 4 * 1024 * 1024;

/// Bytes of records after which a block of a snapshot is closed: at most this and one more record. Smaller blocks cost a
/// call to the system each, larger ones fall out of the processor's caches between check and use.
pub const SNAPSHOT_BLOCK_BYTES_TARGET: usize = 256 * 1024;

/// Bytes of a snapshot that are written before they are synced: bounds what the log's next sync may have to wait for. Less
/// makes snapshots slower on disks where a sync is dear. (Redis does the same, `rdb-save-incremental-fsync`.)
pub const SNAPSHOT_SYNC_BYTES: u64 = 16 * 1024 * 1024;

/// Bytes in the header of a snapshot: the fixed part and the longest name of a cluster, with room for what later versions
/// add. Bounds what a damaged length can claim.
pub const SNAPSHOT_HEADER_BYTES_MAX: usize = 4 * 1024;

/// Bytes in one message of a snapshot that is sent to a client. Larger ones delay what shares the connection.
pub const SNAPSHOT_CHUNK_BYTES: usize = 256 * 1024;

/// Chunks that are read ahead of a client. More take memory and hide no latency that HTTP/2's window does not hide.
pub const SNAPSHOT_CHUNKS_AHEAD: usize = 2;

/// Snapshots that a node sends at the same time. Each takes its size on the disk while it is under way.
pub const SNAPSHOTS_SENT_MAX: usize = 2;

/// Bytes in the identity of a data directory, as for [`SNAPSHOT_HEADER_BYTES_MAX`].
pub const IDENTITY_BYTES_MAX: usize = 4 * 1024;
