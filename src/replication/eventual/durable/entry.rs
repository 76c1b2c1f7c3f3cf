//! The entries that the engine appends to the log, and how they look as bytes.
//!
//! An entry says what *was done*, not what was asked for: which writes this node accepted, which ones of a peer it merged,
//! with everything that the merge depended on. To replay it needs no clock and no peer.
//!
//! Hot entries are made without a copy of what is in them: `begin_*` appends the head, then each write follows by
//! [`put_write`], [`put_keyed`] or [`Stored::put`] as it is applied. Their writes have no count before them, they go on to the
//! end of the entry, so that nobody has to know beforehand how many will be applied. That the end is where it was is for
//! the log to check.
//!
//! `docs/storage-format-snapshot.md` draws each entry.

#[cfg(test)]
mod tests;

use crate::{
    error::{Error, ErrorCode, Result},
    storage::codec::{put_keyed, put_list, put_number, put_write, CodecError, Decoded, Fault, Reader, Stored},
    types::{
        Change, Dot, Key, Member, NodeId, PartitionChanges, PartitionId, Record, SeenStep, Sequence, StateEnd,
        StateRecord, Timestamp,
    },
};

/// A line of the log of an eventual keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) enum Entry {
    /// Writes that this node accepted.
    OwnWrites {
        /// Which partition.
        partition: PartitionId,
        /// The first of them; the following ones count up, as the dots of the records do.
        first: Dot,
        /// At least one.
        records: Vec<(Key, Record)>,
    },
    /// A stretch of a peer's writes, as far as it was applied.
    Stretch {
        /// Whose writes these are; so is the knowledge in its steps.
        origin: NodeId,
        /// What was applied, from the first write on that was not known.
        changes: PartitionChanges,
        /// What the wall clock showed: when the conflicts among them were noticed, in milliseconds since the Unix epoch.
        noticed_ms: u64,
    },
    /// What the writers of a state transfer had seen: before its pieces.
    SeenSteps {
        /// Which partition.
        partition: PartitionId,
        /// The steps.
        steps: Vec<SeenStep>,
    },
    /// A piece of fetched state. A partition merges one transfer at a time; its pieces count only once its
    /// [`Entry::StateEnd`] is there, in the same run of the node.
    StatePiece {
        /// Which partition.
        partition: PartitionId,
        /// Also what the vector covers is taken over.
        repair: bool,
        /// The records.
        records: Vec<StateRecord>,
    },
    /// A transfer was merged: its pieces, then this.
    StateEnd {
        /// Which partition.
        partition: PartitionId,
        /// When the conflicts among its records were noticed, in milliseconds since the Unix epoch.
        noticed_ms: u64,
        /// What was taken over.
        end: StateEnd,
    },
    /// Stamps up to here may have been drawn or told: after a restart the clock begins above.
    ClockBound {
        /// The bound.
        until: Timestamp,
    },
    /// Who counts as a member from now on.
    Members {
        /// The members, this node left out.
        counted: Vec<Member>,
        /// Who was removed for good, all of them.
        removed: Vec<NodeId>,
    },
    /// A run of the node begins. State that was being merged when the one before ended was given up.
    Started {
        /// Under which id.
        node: NodeId,
        /// Nothing that others could build on leaves it before it is on disk.
        synchronous: bool,
    },
    /// The run has ended in order: everything is in the log.
    Stopped,
}

/// Tells the payloads of entries apart; part of the format. A number is never used again for another kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
#[repr(u8)]
pub(super) enum EntryKind {
    /// [`Entry::OwnWrites`].
    OwnWrites = 1,
    /// [`Entry::Stretch`].
    Stretch = 2,
    /// [`Entry::StatePiece`].
    StatePiece = 3,
    /// [`Entry::StateEnd`].
    StateEnd = 4,
    /// [`Entry::ClockBound`].
    ClockBound = 5,
    /// [`Entry::Members`].
    Members = 6,
    /// [`Entry::SeenSteps`].
    SeenSteps = 7,
    /// [`Entry::Started`].
    Started = 8,
    /// [`Entry::Stopped`].
    Stopped = 9,
}

impl EntryKind {
    /// Every kind.
    pub(super) const ALL: [EntryKind; 9] = [
        EntryKind::OwnWrites,
        EntryKind::Stretch,
        EntryKind::StatePiece,
        EntryKind::StateEnd,
        EntryKind::ClockBound,
        EntryKind::Members,
        EntryKind::SeenSteps,
        EntryKind::Started,
        EntryKind::Stopped,
    ];

    /// The number in the log.
    pub(super) fn number(self) -> u8 {
        self as u8
    }

    /// The kind with this number, if there is one.
    pub(super) fn from_number(number: u8) -> Option<EntryKind> {
        EntryKind::ALL.into_iter().find(|kind| kind.number() == number)
    }

    /// What it is called in errors.
    fn name(self) -> &'static str {
        match self {
            EntryKind::OwnWrites => "own_writes",
            EntryKind::Stretch => "stretch",
            EntryKind::StatePiece => "state_piece",
            EntryKind::StateEnd => "state_end",
            EntryKind::ClockBound => "clock_bound",
            EntryKind::Members => "members",
            EntryKind::SeenSteps => "seen_steps",
            EntryKind::Started => "started",
            EntryKind::Stopped => "stopped",
        }
    }
}

/// Appends the payload of an [`Entry::OwnWrites`] of one write. Copies the bytes of key and value into the buffer and
/// nothing else: this runs under a partition's lock.
#[inline]
pub(super) fn encode_own_write(buf: &mut Vec<u8>, partition: PartitionId, key: &Key, record: &Record) {
    begin_own_writes(buf, partition, record.dot);
    put_write(buf, key, record);
}

/// Begins the payload of an [`Entry::OwnWrites`]. Each write follows by [`put_write`], at least one, in the order of their
/// sequences and without a gap.
#[inline]
pub(super) fn begin_own_writes(buf: &mut Vec<u8>, partition: PartitionId, first: Dot) {
    partition.put(buf);
    first.put(buf);
}

/// Begins the payload of an [`Entry::Stretch`]; `first` names the first write that is applied. Each write follows by
/// [`Change::put`](Stored::put), in order and without a gap.
pub(super) fn begin_stretch(buf: &mut Vec<u8>, partition: PartitionId, first: Dot, noticed_ms: u64, seen: &[SeenStep]) {
    partition.put(buf);
    first.put(buf);
    buf.extend_from_slice(&noticed_ms.to_le_bytes());
    put_number(buf, seen.len() as u64);
    for &SeenStep { writer: _, of, from, seen } in seen {
        OwnStep { of, from, seen }.put(buf);
    }
}

/// Begins the payload of an [`Entry::StatePiece`]. Each record follows by [`put_keyed`].
pub(super) fn begin_state_piece(buf: &mut Vec<u8>, partition: PartitionId, repair: bool) {
    partition.put(buf);
    buf.push(repair.into());
}

/// A step whose writer is known: the origin of the stretch.
struct OwnStep {
    of: NodeId,
    from: Sequence,
    seen: Sequence,
}

impl Stored for OwnStep {
    const BYTES_LEAST: usize = NodeId::BYTES_LEAST + 2 * Sequence::BYTES_LEAST;

    fn put(&self, buf: &mut Vec<u8>) {
        self.of.put(buf);
        self.from.put(buf);
        self.seen.put(buf);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<OwnStep> {
        Ok(OwnStep { of: NodeId::take(reader)?, from: Sequence::take(reader)?, seen: Sequence::take(reader)? })
    }
}

impl Entry {
    /// Which kind of entry this is.
    pub(super) fn kind(&self) -> EntryKind {
        match self {
            Entry::OwnWrites { .. } => EntryKind::OwnWrites,
            Entry::Stretch { .. } => EntryKind::Stretch,
            Entry::StatePiece { .. } => EntryKind::StatePiece,
            Entry::StateEnd { .. } => EntryKind::StateEnd,
            Entry::ClockBound { .. } => EntryKind::ClockBound,
            Entry::Members { .. } => EntryKind::Members,
            Entry::SeenSteps { .. } => EntryKind::SeenSteps,
            Entry::Started { .. } => EntryKind::Started,
            Entry::Stopped => EntryKind::Stopped,
        }
    }

    /// Appends the payload; the kind goes beside it.
    pub(super) fn encode(&self, buf: &mut Vec<u8>) {
        match self {
            Entry::OwnWrites { partition, first, records } => {
                begin_own_writes(buf, *partition, *first);
                records.iter().for_each(|(key, record)| put_write(buf, key, record));
            }
            Entry::Stretch { origin, changes, noticed_ms } => {
                let first = Dot { node: *origin, sequence: changes.first_sequence };
                begin_stretch(buf, changes.partition, first, *noticed_ms, &changes.seen);
                changes.changes.iter().for_each(|change| change.put(buf));
            }
            Entry::StatePiece { partition, repair, records } => {
                begin_state_piece(buf, *partition, *repair);
                records.iter().for_each(|StateRecord { key, record }| put_keyed(buf, key, record));
            }
            Entry::StateEnd { partition, noticed_ms, end } => {
                partition.put(buf);
                buf.extend_from_slice(&noticed_ms.to_le_bytes());
                end.put(buf);
            }
            Entry::ClockBound { until } => until.put(buf),
            Entry::Members { counted, removed } => {
                put_list(buf, counted);
                put_list(buf, removed);
            }
            Entry::SeenSteps { partition, steps } => {
                partition.put(buf);
                put_list(buf, steps);
            }
            Entry::Started { node, synchronous } => {
                node.put(buf);
                buf.push((*synchronous).into());
            }
            Entry::Stopped => {}
        }
    }

    /// Reads an entry from the number of its kind and its payload.
    ///
    /// # Errors
    /// `CORRUPT`, naming the entry and the first field that breaks a rule.
    pub(super) fn decode(kind: u8, payload: &[u8]) -> Result<Entry> {
        let unknown =
            || Error::new(ErrorCode::Corrupt, format!("entry: {kind} is no kind of entry that is known here"));
        let kind = EntryKind::from_number(kind).ok_or_else(unknown)?;
        let mut reader = Reader::new(payload);
        let entry = take_entry(kind, &mut reader).map_err(|error| bad(kind, error))?;
        reader.finish("payload").map_err(|error| bad(kind, error))?;
        Ok(entry)
    }
}

fn take_entry(kind: EntryKind, reader: &mut Reader<'_>) -> Decoded<Entry> {
    match kind {
        EntryKind::OwnWrites => take_own_writes(reader),
        EntryKind::Stretch => take_stretch(reader),
        EntryKind::StatePiece => {
            let (partition, repair) = (PartitionId::take(reader)?, take_bool("repair", reader)?);
            Ok(Entry::StatePiece { partition, repair, records: reader.take_rest()? })
        }
        EntryKind::StateEnd => {
            let (partition, noticed_ms) = (PartitionId::take(reader)?, reader.take_u64("noticed_ms")?);
            Ok(Entry::StateEnd { partition, noticed_ms, end: StateEnd::take(reader)? })
        }
        EntryKind::ClockBound => Ok(Entry::ClockBound { until: Timestamp::take(reader)? }),
        EntryKind::Members => {
            Ok(Entry::Members { counted: reader.take_list("counted")?, removed: reader.take_list("removed")? })
        }
        EntryKind::SeenSteps => {
            Ok(Entry::SeenSteps { partition: PartitionId::take(reader)?, steps: reader.take_list("steps")? })
        }
        EntryKind::Started => {
            Ok(Entry::Started { node: NodeId::take(reader)?, synchronous: take_bool("synchronous", reader)? })
        }
        EntryKind::Stopped => Ok(Entry::Stopped),
    }
}

fn take_own_writes(reader: &mut Reader<'_>) -> Decoded<Entry> {
    let (partition, first) = (PartitionId::take(reader)?, Dot::take(reader)?);
    let mut records = Vec::new();
    take_each_own_write(reader, first, |key, record| records.push((key, record)))?;
    Ok(Entry::OwnWrites { partition, first, records })
}

/// At least one: an entry of none has no meaning.
fn take_each_own_write(reader: &mut Reader<'_>, first: Dot, mut each: impl FnMut(Key, Record)) -> Decoded<()> {
    let mut dot = first;
    loop {
        let Change { key, value, flags, timestamp, expires_ms } = Change::take(reader)?;
        each(key, Record { value, flags, timestamp, dot, expires_ms });
        if reader.is_empty() {
            return Ok(());
        }
        dot.sequence = dot.sequence.next();
    }
}

/// The partition of an [`Entry::OwnWrites`], without its writes.
///
/// # Errors
/// As [`Entry::decode`].
pub(super) fn own_writes_partition(payload: &[u8]) -> Result<PartitionId> {
    PartitionId::take(&mut Reader::new(payload)).map_err(|error| bad(EntryKind::OwnWrites, error))
}

/// Reads an [`Entry::OwnWrites`], and hands its writes over one by one instead of in a list of their own: they are almost
/// all of what a node reads at its start. After an error those that were handed over count for nothing.
///
/// # Errors
/// As [`Entry::decode`].
pub(super) fn decode_own_writes(payload: &[u8], each: impl FnMut(Key, Record)) -> Result<()> {
    let mut reader = Reader::new(payload);
    let take = || {
        let (_, first) = (PartitionId::take(&mut reader)?, Dot::take(&mut reader)?);
        take_each_own_write(&mut reader, first, each)
    };
    take().map_err(|error| bad(EntryKind::OwnWrites, error))
}

fn bad(kind: EntryKind, error: CodecError) -> Error {
    Error::new(ErrorCode::Corrupt, format!("{}: {error}", kind.name()))
}

fn take_stretch(reader: &mut Reader<'_>) -> Decoded<Entry> {
    let (partition, first) = (PartitionId::take(reader)?, Dot::take(reader)?);
    let noticed_ms = reader.take_u64("noticed_ms")?;
    let by_origin = |OwnStep { of, from, seen }| SeenStep { writer: first.node, of, from, seen };
    let seen = reader.take_list("seen")?.into_iter().map(by_origin).collect();
    let changes = PartitionChanges { partition, first_sequence: first.sequence, seen, changes: reader.take_rest()? };
    Ok(Entry::Stretch { origin: first.node, changes, noticed_ms })
}

fn take_bool(field: &'static str, reader: &mut Reader<'_>) -> Decoded<bool> {
    match reader.take_u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(CodecError { field, fault: Fault::Invalid(other.into()) }),
    }
}
