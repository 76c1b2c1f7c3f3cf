//! From what is on disk back to a keyspace: the blocks of a snapshot, then the entries of the log.

use std::{
    collections::{BTreeMap, BTreeSet},
    path::Path,
    thread,
};

use parking_lot::Mutex;

use super::{
    super::{keyspace::StatePiece, Eventual},
    checkpoint::{read_block, BlockKind, StoredFacts, StoredHead},
    entry::{decode_own_writes, own_writes_partition, Entry, EntryKind},
    ledger::{Facts, Run, STREAM},
};
use crate::{
    env::Disk,
    error::{Error, ErrorCode, Result},
    limits::{
        PARTITIONS, RECOVERY_BYTES_HELD_TARGET, RECOVERY_THREADS_MAX, RECOVERY_WRITES_HELD_MAX,
        RECOVERY_WRITES_SHARED_LEAST,
    },
    storage::{
        log::{self, Position},
        snapshot::{records_in, Block, SnapshotReader},
    },
    types::{Conflict, Key, Membership, NodeId, PartitionId, Record, Timestamp},
};

/// Takes in a snapshot and a log, in this order.
///
/// Own writes are gathered by partition and merged many at once, in key order: one after another as they were made, each
/// would touch other memory than the one before, and nothing but that takes time here. Partitions do not depend on each
/// other, so every core takes some. The other entries find everything before them in place.
pub(super) struct Recovery<'a> {
    keyspace: &'a Eventual,
    /// By partition: entries before this place are in the snapshot.
    begins: Vec<Position>,
    facts: StoredFacts,
    /// Under which other ids this node ran.
    formers: BTreeSet<NodeId>,
    /// Pieces of state whose end has not come yet. Without it they do not count: nothing of them was served.
    pieces: BTreeMap<PartitionId, Vec<StatePiece>>,
    /// Own writes that were read and are not in the keyspace yet, by partition.
    own_writes: Vec<Vec<(Key, Record)>>,
    /// How many those are.
    held_writes: usize,
    /// Of their entries.
    held_bytes: usize,
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
            own_writes: vec![Vec::new(); usize::from(PARTITIONS)],
            held_writes: 0,
            held_bytes: 0,
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
        if entry.stream != STREAM {
            return Ok(());
        }
        let position = entry.position;
        self.entries += 1;
        self.bytes += entry.payload.len() as u64;
        if entry.kind == EntryKind::OwnWrites.number() {
            return self.gather(position, &entry.payload);
        }
        self.settle()?;
        match Entry::decode(entry.kind, &entry.payload)? {
            // Gathered instead.
            Entry::OwnWrites { .. } => {}
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

    /// Keeps own writes until there are many.
    fn gather(&mut self, position: Position, payload: &[u8]) -> Result<()> {
        let partition = own_writes_partition(payload)?;
        if !self.is_new(position, partition) {
            return Ok(());
        }
        let writes = &mut self.own_writes[partition.index()];
        let before = writes.len();
        decode_own_writes(payload, |key, record| writes.push((key, record)))?;
        self.held_writes += writes.len() - before;
        self.held_bytes += payload.len();
        if self.held_writes >= RECOVERY_WRITES_HELD_MAX || self.held_bytes >= RECOVERY_BYTES_HELD_TARGET {
            self.settle()?;
        }
        Ok(())
    }

    /// Merges what was gathered. To be called after the last entry, too.
    ///
    /// # Errors
    /// `CORRUPT` when writes are missing.
    pub(super) fn settle(&mut self) -> Result<()> {
        let helpers = match self.held_writes {
            0 => return Ok(()),
            // Less than what the threads themselves cost.
            1..RECOVERY_WRITES_SHARED_LEAST => 0,
            _ => helpers(),
        };
        (self.held_writes, self.held_bytes) = (0, 0);
        let (keyspace, mut outcomes) = (self.keyspace, vec![Ok(()); self.own_writes.len()]);
        let waiting = self.own_writes.iter_mut().zip(keyspace.partition_ids()).zip(&mut outcomes);
        each_with(helpers, waiting, |((writes, partition), outcome)| {
            *outcome = keyspace.replay_own_writes(partition, writes);
        });
        // In order, so that the same damage gives the same error.
        outcomes.into_iter().collect()
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

/// Threads beside this one that merge.
fn helpers() -> usize {
    let cores = thread::available_parallelism().map_or(1, |cores| cores.get());
    cores.min(RECOVERY_THREADS_MAX) - 1
}

/// Does something with each item, with the help of so many threads, or fewer if the system has none to give. They end
/// before this returns.
fn each_with<T: Send>(helpers: usize, items: impl Iterator<Item = T> + Send, each: impl Fn(T) + Sync) {
    let items = Mutex::new(items);
    let work = || loop {
        let Some(item) = items.lock().next() else { return };
        each(item);
    };
    thread::scope(|scope| {
        for _ in 0..helpers {
            let helper = thread::Builder::new().name("kvstore-recovery".to_string()).spawn_scoped(scope, work);
            if let Err(error) = helper {
                tracing::debug!(%error, "the recovery goes on with fewer threads");
            }
        }
        work();
    });
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
