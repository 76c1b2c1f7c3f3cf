//! What is in memory of the log of a group.

use std::collections::{BTreeMap, VecDeque};

use super::record::{decode, Facts, Record};
use crate::{
    error::{Error, ErrorCode, Result},
    replication::strong::types::{LogEntry, LogId},
    storage::log::{Entry as LogRecord, Position},
};

/// What the records of a group say, as they are read one after the other.
#[derive(Debug, Default)]
pub struct Kept {
    /// By index, without a gap.
    pub(super) entries: BTreeMap<u64, KeptEntry>,
    /// Of all of them.
    pub(super) bytes: usize,
    pub(super) facts: Facts,
    /// What is committed is in the facts, and in no record yet.
    pub(super) owes_committed: bool,
    /// Where the first record is that is needed, by the position of the record of facts since which the ones before it are
    /// not. That record may be lost in a crash until it is synced, and with it what it says of the others.
    lows: VecDeque<(Position, Position)>,
    /// The first record that was seen.
    begin: Option<Position>,
    /// The first entry after a hole. When old records were given back, those that are left of them may begin anywhere, and
    /// what they say of older entries is past; a later record of facts has to say so.
    hole_before: Option<u64>,
}

/// An entry that is not given up.
#[derive(Clone, Debug)]
pub(super) struct KeptEntry {
    /// Of its record.
    position: Position,
    /// Of its record.
    pub(super) bytes: usize,
    pub(super) entry: LogEntry,
}

impl Kept {
    /// Takes note of a record of the group's stream, the next one in the order of the log.
    ///
    /// # Errors
    /// `CORRUPT`: it is no such record. `FORMAT_TOO_NEW`: it is one of a later version.
    pub fn observe(&mut self, record: &LogRecord) -> Result<()> {
        self.apply(record.position, record.payload.len(), decode(record.kind, &record.payload)?);
        Ok(())
    }

    pub(super) fn apply(&mut self, position: Position, bytes: usize, record: Record) {
        self.begin.get_or_insert(position);
        match record {
            Record::Entry(entry) => {
                let index = entry.log_id.index;
                if self.last().is_some_and(|last| last.index + 1 != index) {
                    self.keep(BTreeMap::new());
                    self.hole_before = Some(index);
                }
                self.bytes += bytes;
                self.entries.insert(index, KeptEntry { position, bytes, entry });
            }
            Record::Truncated { since } => {
                let taken_back = self.entries.split_off(&since);
                self.bytes -= weight(&taken_back);
                // What followed the hole is taken back, too.
                self.hole_before = self.hole_before.filter(|next| *next < since);
            }
            Record::Facts(facts) => {
                if let Some(purged) = facts.purged {
                    let kept = self.entries.split_off(&(purged.index + 1));
                    self.bytes -= weight(&self.entries);
                    self.entries = kept;
                }
                self.facts = facts;
                let first = self.entries.first_key_value().map_or(position, |(_, kept)| kept.position);
                self.lows.push_back((position, first));
            }
            Record::Committed(committed) => self.facts.committed = Some(committed),
            Record::Begun { member } => {
                self.keep(BTreeMap::new());
                self.hole_before = None;
                self.facts = Facts { member, ..Facts::default() };
                self.lows.push_back((position, position));
            }
        }
    }

    fn keep(&mut self, entries: BTreeMap<u64, KeptEntry>) {
        self.bytes = weight(&entries);
        self.entries = entries;
    }

    /// The first record that is needed after any crash, when all before `synced` are synced.
    pub(super) fn low(&mut self, synced: Position) -> Option<Position> {
        while self.lows.get(1).is_some_and(|(facts, _)| *facts < synced) {
            self.lows.pop_front();
        }
        match self.lows.front() {
            Some((facts, low)) if *facts < synced => Some(*low),
            _ => self.begin,
        }
    }

    pub(super) fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, kept)| kept.entry.log_id).or(self.facts.purged)
    }

    /// Checks that nothing is missing.
    pub(super) fn check(&self) -> Result<()> {
        let first_needed = self.facts.purged.map_or(0, |purged| purged.index + 1);
        match self.hole_before {
            Some(next) if next > first_needed => {
                Err(Error::new(ErrorCode::Corrupt, format!("log of a group: entries before {next} are missing")))
            }
            _ => Ok(()),
        }
    }
}

fn weight(entries: &BTreeMap<u64, KeptEntry>) -> usize {
    entries.values().map(|kept| kept.bytes).sum()
}
