//! From what is on disk back to a keyspace: the blocks of a snapshot, then the entries of the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
};

use super::{
    super::{keyspace::StatePiece, Eventual},
    checkpoint::{read_block, BlockKind, StoredFacts, StoredHead},
    entry::Entry,
    ledger::{Facts, Run},
};
use crate::{
    env::Disk,
    error::{Error, ErrorCode, Result},
    limits::PARTITIONS,
    storage::{
        log::{self, Position},
        snapshot::{records_in, Block, SnapshotReader},
    },
    types::{Conflict, Membership, NodeId, PartitionId, Timestamp},
};

/// Takes in a snapshot and a log, in this order.
pub(super) struct Recovery<'a> {
    keyspace: &'a Eventual,
    /// By partition: entries before this place are in the snapshot.
    begins: Vec<Position>,
    facts: StoredFacts,
    /// Under which other ids this node ran.
    formers: BTreeSet<NodeId>,
    /// Pieces of state whose end has not come yet. Without it they do not count: nothing of them was served.
    pieces: BTreeMap<PartitionId, Vec<StatePiece>>,
    /// For people: what was taken in.
    pub(super) records: u64,
    pub(super) entries: u64,
    /// Of the entries.
    pub(super) bytes: u64,
}

impl<'a> Recovery<'a> {
    /// A recovery into an empty keyspace without a log.
    pub(super) fn new(keyspace: &'a Eventual) -> Recovery<'a> {
        Recovery {
            keyspace,
            begins: vec![Position::default(); usize::from(PARTITIONS)],
            facts: StoredFacts::default(),
            formers: BTreeSet::new(),
            pieces: BTreeMap::new(),
            records: 0,
            entries: 0,
            bytes: 0,
        }
    }

    /// Takes in every block of a snapshot. Gives from where on the log is to be replayed, and the bytes of the blocks.
    /// Nothing may be used of the keyspace after an error.
    ///
    /// # Errors
    /// `CORRUPT` and those of the disk.
    pub(super) fn read_snapshot(&mut self, disk: &dyn Disk, path: &Path) -> Result<(Position, u64)> {
        let mut reader = SnapshotReader::open(disk, path)?;
        while let Some(block) = reader.next_block()? {
            self.take_block(&block).map_err(|error| within(path, &error))?;
        }
        Ok((Position(reader.header().log_position), reader.totals().payload_bytes))
    }

    fn take_block(&mut self, block: &Block<'_>) -> Result<()> {
        let kind = BlockKind::from_number(block.kind).ok_or_else(|| unknown("block", block.kind))?;
        match kind {
            BlockKind::Facts => {
                self.facts = read_block("facts", block.payload)?;
                self.keyspace.restore_clock(self.facts.facts.clock_bound);
            }
            BlockKind::Head => {
                let StoredHead { position, head } = read_block("head", block.payload)?;
                let partition = partition(block.partition)?;
                self.begins[partition.index()] = position;
                self.keyspace.restore_head(partition, head);
            }
            BlockKind::Records => {
                self.records += u64::from(block.records);
                self.keyspace.restore_records(partition(block.partition)?, records_in(block))?;
            }
            BlockKind::Conflict => {
                self.keyspace.restore_conflicts(vec![read_block::<Conflict>("conflict", block.payload)?]);
            }
        }
        Ok(())
    }

    /// Takes in the next entry of the log.
    ///
    /// # Errors
    /// `CORRUPT`.
    pub(super) fn take_entry(&mut self, entry: &log::Entry) -> Result<()> {
        let position = entry.position;
        self.entries += 1;
        self.bytes += entry.payload.len() as u64;
        match Entry::decode(entry.kind, &entry.payload)? {
            Entry::OwnWrites { partition, first: _, records } => {
                if self.is_new(position, partition) {
                    records.into_iter().try_for_each(|(key, record)| self.keyspace.replay_own_write(key, record))?;
                }
            }
            Entry::Stretch { origin, changes, noticed_ms } => {
                if self.is_new(position, changes.partition) {
                    let partition = changes.partition;
                    self.keyspace.replay_stretch(origin, changes, (self.merger(), noticed_ms))?;
                    self.note_seen([partition]);
                }
            }
            Entry::SeenSteps { partition, steps } => {
                if self.is_new(position, partition) {
                    self.keyspace.replay_steps(partition, steps);
                }
            }
            Entry::StatePiece { partition, repair, records } => {
                if self.is_new(position, partition) {
                    let piece = StatePiece { records, is_repair: repair };
                    self.pieces.entry(partition).or_default().push(piece);
                }
            }
            Entry::StateEnd { partition, noticed_ms, end } => {
                if self.is_new(position, partition) {
                    let pieces = self.pieces.remove(&partition).unwrap_or_default();
                    self.keyspace.replay_state(partition, pieces, (&end, self.merger(), noticed_ms));
                    self.note_seen([partition]);
                }
            }
            Entry::ClockBound { until } => self.take_clock(until),
            Entry::Members { counted, removed } => {
                if position >= self.facts.position {
                    self.facts.facts.membership = Membership { members: counted, removed };
                }
            }
            Entry::Started { node, synchronous } => {
                self.pieces.clear();
                self.formers.extend((node != self.keyspace.me()).then_some(node));
                self.facts.facts.run = Some(Run { node, synchronous, is_over: false });
                self.note_seen(self.keyspace.partition_ids());
            }
            Entry::Stopped => {
                if let Some(run) = &mut self.facts.facts.run {
                    run.is_over = true;
                }
            }
        }
        Ok(())
    }

    fn take_clock(&mut self, until: Timestamp) {
        let bound = &mut self.facts.facts.clock_bound;
        *bound = until.max(*bound);
        self.keyspace.restore_clock(until);
    }

    /// Who did what the log tells of.
    fn merger(&self) -> NodeId {
        self.facts.facts.run.map_or(self.keyspace.me(), |run| run.node)
    }

    /// Of what this node wrote under another id, others may still ask what it had seen.
    fn note_seen(&self, partitions: impl IntoIterator<Item = PartitionId>) {
        let former = self.facts.facts.run.filter(|run| run.node != self.keyspace.me());
        if let Some(Run { node, .. }) = former {
            partitions.into_iter().for_each(|partition| self.keyspace.replay_seen(partition, node));
        }
    }

    /// Whether an entry of a partition came after its part of the snapshot.
    fn is_new(&self, position: Position, partition: PartitionId) -> bool {
        self.begins.get(partition.index()).is_some_and(|&begins| position >= begins)
    }

    /// What is known beside the records. Of what others had seen of its former selves, nobody will ask this node any more.
    pub(super) fn into_facts(self) -> Facts {
        self.formers.iter().for_each(|&former| self.keyspace.forget_seen(former));
        self.facts.facts
    }

    /// Whether `node` may have lost writes that others have: it ran without waiting for its disk, and broke off. A run
    /// counts once its beginning is on disk, which is before anybody is served.
    pub(super) fn is_behind(&self, node: NodeId) -> bool {
        let run = self.facts.facts.run.filter(|run| run.node == node);
        run.is_some_and(|run| !run.synchronous && !run.is_over)
    }
}

/// The partition of a block.
fn partition(number: u32) -> Result<PartitionId> {
    let id = u16::try_from(number).ok().filter(|&id| id < PARTITIONS).map(PartitionId);
    id.ok_or_else(|| Error::new(ErrorCode::Corrupt, format!("block.partition: there is no partition {number}")))
}

fn unknown(what: &str, number: u8) -> Error {
    Error::new(ErrorCode::Corrupt, format!("{what}.kind: {number} is not known; was it written by a newer version?"))
}

fn within(path: &Path, error: &Error) -> Error {
    Error::new(error.code(), format!("{}: {}", path.display(), error.message()))
}
