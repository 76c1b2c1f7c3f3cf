//! A checkpoint: everything that a node knows, as blocks of a snapshot file, while reads and writes go on.
//!
//! Each partition is read exactly as it was at one moment ([`Snapshot`]), together with where in the log that moment was;
//! the moments of the partitions differ. A recovery takes the blocks and then, of each partition, the entries from its own
//! moment on. What belongs to no partition is noted before the first of them, so that the log from there on has every
//! later change; conflicts are read last, when every one that came of an earlier entry is in the journal.

use std::sync::Arc;

use tokio::time::{self, Instant};

use super::{
    super::{keyspace::PartitionHead, snapshot::Snapshot, Eventual, PieceBounds},
    ledger::{Facts, Run},
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{
        CHECKPOINT_MERGE_PATIENCE, CHECKPOINT_MERGE_POLL, STATE_CHUNK_BYTES_TARGET, STATE_CHUNK_RECORDS_MAX,
        STATE_CHUNK_VISITS_MAX,
    },
    storage::{
        codec::{decode, put_list, Decoded, Reader, Stored},
        log::Position,
        snapshot::{Block, RecordBlocks, SnapshotWriter},
    },
    types::{Membership, NodeId, PartitionId, StateRecord, Timestamp, VersionVector},
};

/// Tells the blocks apart; part of the format. A number is never used again for another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(u8)]
pub(super) enum BlockKind {
    /// [`StoredFacts`]: one, the first.
    Facts = 1,
    /// [`StoredHead`]: one a partition, before its records.
    Head = 2,
    /// Records of a partition, in key order over all of its blocks.
    Records = 3,
    /// A conflict, the oldest first.
    Conflict = 4,
}

impl BlockKind {
    /// The kind with this number, if there is one.
    pub(super) fn from_number(number: u8) -> Option<BlockKind> {
        let all = [BlockKind::Facts, BlockKind::Head, BlockKind::Records, BlockKind::Conflict];
        all.into_iter().find(|kind| *kind as u8 == number)
    }
}

/// The facts, and from where in the log on they may have changed.
#[derive(Clone, Debug, Default)]
pub(super) struct StoredFacts {
    pub(super) position: Position,
    pub(super) facts: Facts,
}

impl Stored for StoredFacts {
    const BYTES_LEAST: usize = 8 + Timestamp::BYTES_LEAST + 2;

    fn put(&self, buf: &mut Vec<u8>) {
        buf.extend_from_slice(&self.position.0.to_le_bytes());
        self.facts.clock_bound.put(buf);
        put_list(buf, &self.facts.membership.members);
        put_list(buf, &self.facts.membership.removed);
        if let Some(Run { node, synchronous, is_over: _ }) = self.facts.run {
            node.put(buf);
            buf.push(synchronous.into());
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<StoredFacts> {
        let position = Position(reader.take_u64("facts.position")?);
        let clock_bound = Timestamp::take(reader)?;
        let membership = Membership { members: reader.take_list("members")?, removed: reader.take_list("removed")? };
        let mut run = None;
        if !reader.is_empty() {
            let (node, synchronous) = (NodeId::take(reader)?, reader.take_u8("run.synchronous")? != 0);
            run = Some(Run { node, synchronous, is_over: false });
        }
        Ok(StoredFacts { position, facts: Facts { membership, clock_bound, run } })
    }
}

/// The head of a partition, and from where in the log on the partition may have changed.
#[derive(Clone, Debug, Default)]
pub(super) struct StoredHead {
    pub(super) position: Position,
    pub(super) head: PartitionHead,
}

impl Stored for StoredHead {
    const BYTES_LEAST: usize = 8 + PartitionHead::BYTES_LEAST;

    fn put(&self, buf: &mut Vec<u8>) {
        buf.extend_from_slice(&self.position.0.to_le_bytes());
        self.head.put(buf);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<StoredHead> {
        let position = Position(reader.take_u64("head.position")?);
        Ok(StoredHead { position, head: PartitionHead::take(reader)? })
    }
}

/// Writes the blocks of everything that the keyspace holds.
///
/// # Errors
/// Those of the disk; `OVERLOADED` when a partition takes in the state of a peer for too long.
pub(super) async fn write_blocks(keyspace: &Arc<Eventual>, writer: &mut SnapshotWriter) -> Result<()> {
    let mut buffer = Vec::new();
    let (facts, position) = keyspace.ledger().map(|ledger| ledger.facts()).unwrap_or_default();
    StoredFacts { position, facts }.put(&mut buffer);
    put(writer, BlockKind::Facts, 0, &buffer)?;
    for partition in keyspace.partition_ids() {
        write_partition(keyspace, writer, partition, &mut buffer).await?;
    }
    let mut conflicts = keyspace.all_conflicts();
    conflicts.reverse();
    for conflict in conflicts {
        buffer.clear();
        conflict.put(&mut buffer);
        put(writer, BlockKind::Conflict, 0, &buffer)?;
    }
    Ok(())
}

async fn write_partition(
    keyspace: &Arc<Eventual>,
    writer: &mut SnapshotWriter,
    partition: PartitionId,
    buffer: &mut Vec<u8>,
) -> Result<()> {
    let (mut snapshot, stored) = take_whole(keyspace, partition).await?;
    buffer.clear();
    stored.put(buffer);
    put(writer, BlockKind::Head, partition.0, buffer)?;
    let bounds = PieceBounds {
        records_max: STATE_CHUNK_RECORDS_MAX,
        visits_max: STATE_CHUNK_VISITS_MAX,
        bytes_target: STATE_CHUNK_BYTES_TARGET,
    };
    let mut blocks = RecordBlocks::new(BlockKind::Records as u8, u32::from(partition.0));
    while !snapshot.is_read() {
        for StateRecord { key, record } in snapshot.next_piece(bounds) {
            blocks.push(writer, &key, &record)?;
        }
        // Nobody waits for a checkpoint: writers come first.
        tokio::task::yield_now().await;
    }
    blocks.flush(writer)
}

fn put(writer: &mut SnapshotWriter, kind: BlockKind, partition: u16, payload: &[u8]) -> Result<()> {
    writer.block(&Block { kind: kind as u8, partition: u32::from(partition), records: 0, payload })
}

/// A partition as it is now, once no state of a peer is being merged into it: its records are ahead of its vector then.
async fn take_whole(keyspace: &Arc<Eventual>, partition: PartitionId) -> Result<(Snapshot, StoredHead)> {
    let deadline = Instant::now() + CHECKPOINT_MERGE_PATIENCE;
    loop {
        let taken = Snapshot::take_if(keyspace, partition, VersionVector::new(), |progress| {
            let position = keyspace.ledger().map(|ledger| ledger.end()).unwrap_or_default();
            (!progress.is_merging).then(|| StoredHead { position, head: progress.head(keyspace.me()) })
        });
        if let Some(taken) = taken {
            return Ok(taken);
        }
        if Instant::now() >= deadline {
            let text = format!("partition {partition} takes in the state of a peer for too long; try again later");
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        time::sleep(CHECKPOINT_MERGE_POLL).await;
    }
}

/// Reads the payload of a block.
///
/// # Errors
/// `CORRUPT`, naming the field.
pub(super) fn read_block<T: Stored>(field: &'static str, payload: &[u8]) -> Result<T> {
    Ok(decode::<T>(field, payload)?)
}
