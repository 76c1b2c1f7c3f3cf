//! The replicated log of a group, kept in the one log of its node ([`crate::storage::log`]).
//!
//! What it promises to the consensus library, and how:
//!
//! - *Durable before it is used* (PE-3): a vote is synced before [`save_vote`](RaftLogStorage::save_vote) returns, entries before
//!   their callback; whoever waits at the same moment shares one sync.
//! - *In order*: all that is written goes through one log under one lock, so what a crash leaves is always the first so many
//!   writes, and callbacks come in the order of their entries (openraft#1960).
//! - *No holes*: entries follow each other. What would leave a hole is refused before anything is written.
//! - A suffix is taken back, and a prefix given up, by a record that says so ([`record`]); who reads the log again applies each
//!   record in its place.
//!
//! All entries that were not given up are in memory too, where replication reads them; how many that are is up to those who
//! make snapshots. The space of old records on disk is given back by the owner of the log, who must keep all from
//! [`LogStore::low`] on.

mod record;
#[cfg(test)]
mod tests;

use std::{
    collections::{BTreeMap, VecDeque},
    fmt::Debug,
    io,
    ops::RangeBounds,
    sync::Arc,
};

use openraft::{
    storage::{LogFlushed, RaftLogStorage},
    AnyError, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError,
};
use parking_lot::Mutex;

use self::record::{decode, Facts, Record};
use super::types::{GroupTypes, LogEntry, LogId, Vote};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::LOG_ENTRY_BYTES_MAX,
    storage::log::{Durability, Entry as LogRecord, Log, Position},
};

/// The log of one group. Clones are the same log.
#[derive(Clone)]
pub struct LogStore {
    log: Arc<Log>,
    stream: u32,
    /// Guards what is kept and, while records are appended, their order.
    kept: Arc<Mutex<Kept>>,
}

/// What the records of a group say, as they are read one after the other.
#[derive(Debug, Default)]
pub struct Kept {
    /// By index, without a gap, each with the position of its record.
    entries: BTreeMap<u64, (Position, LogEntry)>,
    facts: Facts,
    /// Where the first record is that is needed, by the position of the record of facts since which the ones before it are
    /// not. That record may be lost in a crash until it is synced, and with it what it says of the others.
    lows: VecDeque<(Position, Position)>,
    /// The first record that was seen.
    begin: Option<Position>,
    /// The first entry after a hole. When old records were given back, those that are left of them may begin anywhere, and
    /// what they say of older entries is past; a later record of facts has to say so.
    hole_before: Option<u64>,
}

type Stored<T> = std::result::Result<T, StorageError<u64>>;

impl Kept {
    /// Takes note of a record of the group's stream, the next one in the order of the log.
    ///
    /// # Errors
    /// `CORRUPT`: it is no such record. `FORMAT_TOO_NEW`: it is one of a later version.
    pub fn observe(&mut self, record: &LogRecord) -> Result<()> {
        self.apply(record.position, decode(record.kind, &record.payload)?);
        Ok(())
    }

    fn apply(&mut self, position: Position, record: Record) {
        self.begin.get_or_insert(position);
        match record {
            Record::Entry(entry) => {
                if self.last().is_some_and(|last| last.index + 1 != entry.log_id.index) {
                    self.entries.clear();
                    self.hole_before = Some(entry.log_id.index);
                }
                self.entries.insert(entry.log_id.index, (position, entry));
            }
            Record::Truncated { since } => {
                drop(self.entries.split_off(&since));
                // What followed the hole is taken back, too.
                self.hole_before = self.hole_before.filter(|next| *next < since);
            }
            Record::Facts(facts) => {
                if let Some(purged) = facts.purged {
                    self.entries = self.entries.split_off(&(purged.index + 1));
                }
                self.facts = facts;
                let first = self.entries.first_key_value().map_or(position, |(_, (position, _))| *position);
                self.lows.push_back((position, first));
            }
            Record::Committed(committed) => self.facts.committed = Some(committed),
        }
    }

    /// The first record that is needed after any crash, when all before `synced` are synced.
    fn low(&mut self, synced: Position) -> Option<Position> {
        while self.lows.get(1).is_some_and(|(facts, _)| *facts < synced) {
            self.lows.pop_front();
        }
        match self.lows.front() {
            Some((facts, low)) if *facts < synced => Some(*low),
            _ => self.begin,
        }
    }

    fn last(&self) -> Option<LogId> {
        self.entries.last_key_value().map(|(_, (_, entry))| entry.log_id).or(self.facts.purged)
    }

    /// Checks that nothing is missing.
    fn check(&self) -> Result<()> {
        let first_needed = self.facts.purged.map_or(0, |purged| purged.index + 1);
        match self.hole_before {
            Some(next) if next > first_needed => {
                Err(Error::new(ErrorCode::Corrupt, format!("log of a group: entries before {next} are missing")))
            }
            _ => Ok(()),
        }
    }
}

impl LogStore {
    /// Goes on from what the records in `stream` say.
    ///
    /// # Errors
    /// `CORRUPT`: entries are missing. `BAD_SETTING`: the log syncs when a segment is full, and nothing would ever count.
    pub fn new(log: Arc<Log>, stream: u32, kept: Kept) -> Result<LogStore> {
        kept.check()?;
        if log.durability() == Durability::Memory {
            let text = "log of a group: strong keyspaces need a log that is synced";
            return Err(Error::new(ErrorCode::BadSetting, text));
        }
        Ok(LogStore { log, stream, kept: Arc::new(Mutex::new(kept)) })
    }

    /// As [`LogStore::new`], reading all of the log first. Blocks on the disk.
    ///
    /// # Errors
    /// Those of [`Log::entries_from`] and [`Kept::observe`].
    pub fn open(log: Arc<Log>, stream: u32) -> Result<LogStore> {
        let mut kept = Kept::default();
        for record in log.entries_from(log.first())? {
            let record = record?;
            if record.stream == stream {
                kept.observe(&record)?;
            }
        }
        LogStore::new(log, stream, kept)
    }

    /// The first record of the log that is still needed, also after a crash right now; `None`: there are no records.
    pub fn low(&self) -> Option<Position> {
        let synced = self.log.synced_before();
        self.kept.lock().low(synced)
    }

    /// Writes a record and takes note of it.
    fn write(&self, kept: &mut Kept, record: Record) -> Result<Position> {
        let position = self.log.append_with(self.stream, record.kind(), |buf| record.put(buf))?;
        kept.apply(position, record);
        Ok(position)
    }

    /// Changes the facts and writes all of them anew, so that older records of them are not needed.
    fn write_facts(&self, change: impl FnOnce(&mut Facts)) -> Result<Position> {
        let mut kept = self.kept.lock();
        let mut facts = kept.facts.clone();
        change(&mut facts);
        // So that there are never more of them than wait for the disk.
        kept.low(self.log.synced_before());
        self.write(&mut kept, Record::Facts(facts))
    }

    /// Writes entries; the position of the last. Either all are taken in, or the log has ended. Those that are given up already
    /// are passed over: a snapshot has what they say.
    fn write_entries(&self, entries: Vec<LogEntry>) -> Result<Option<Position>> {
        let mut kept = self.kept.lock();
        let (mut last, mut records) = (kept.last(), Vec::with_capacity(entries.len()));
        let purged = kept.facts.purged.map(|purged| purged.index);
        for entry in entries.into_iter().filter(|entry| Some(entry.log_id.index) > purged) {
            let follows = last.is_none_or(|last| last.index + 1 == entry.log_id.index);
            if !follows {
                let text = format!("log of a group: entry {} leaves a hole after {last:?}", entry.log_id);
                return Err(Error::new(ErrorCode::Internal, text));
            }
            last = Some(entry.log_id);
            let (record, mut payload) = (Record::Entry(entry), Vec::new());
            record.put(&mut payload);
            if payload.len() > LOG_ENTRY_BYTES_MAX {
                let text =
                    format!("log of a group: an entry of {} bytes, at most {LOG_ENTRY_BYTES_MAX}", payload.len());
                return Err(Error::new(ErrorCode::BatchTooLarge, text));
            }
            records.push((record, payload));
        }
        let mut written = None;
        for (record, payload) in records {
            let position = self.log.append(self.stream, record.kind(), &payload)?;
            kept.apply(position, record);
            written = Some(position);
        }
        Ok(written)
    }
}

impl RaftLogReader<GroupTypes> for LogStore {
    async fn try_get_log_entries<RB>(&mut self, range: RB) -> Stored<Vec<LogEntry>>
    where
        RB: RangeBounds<u64> + Clone + Debug + OptionalSend,
    {
        let kept = self.kept.lock();
        Ok(kept.entries.range(range).map(|(_, (_, entry))| entry.clone()).collect())
    }
}

impl RaftLogStorage<GroupTypes> for LogStore {
    type LogReader = LogStore;

    async fn get_log_state(&mut self) -> Stored<LogState<GroupTypes>> {
        let kept = self.kept.lock();
        Ok(LogState { last_purged_log_id: kept.facts.purged, last_log_id: kept.last() })
    }

    async fn get_log_reader(&mut self) -> LogStore {
        self.clone()
    }

    async fn save_vote(&mut self, vote: &Vote) -> Stored<()> {
        let position = self.write_facts(|facts| facts.vote = Some(*vote)).map_err(vote_failed)?;
        self.log.synced(position).await.map_err(vote_failed)
    }

    async fn read_vote(&mut self) -> Stored<Option<Vote>> {
        Ok(self.kept.lock().facts.vote)
    }

    /// Not synced: what was committed is committed, whether this node remembers or is told again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Stored<()> {
        let Some(committed) = committed else { return Ok(()) };
        let mut kept = self.kept.lock();
        self.write(&mut kept, Record::Committed(committed)).map_err(logs_failed)?;
        Ok(())
    }

    async fn read_committed(&mut self) -> Stored<Option<LogId>> {
        Ok(self.kept.lock().facts.committed)
    }

    async fn append<I>(&mut self, entries: I, callback: LogFlushed<GroupTypes>) -> Stored<()>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries = entries.into_iter().collect();
        self.log.room().await.map_err(logs_failed)?;
        match self.write_entries(entries).map_err(logs_failed)? {
            Some(last) => {
                let done = |synced: Result<()>| callback.log_io_completed(synced.map_err(io::Error::other));
                self.log.on_synced(last, done);
            }
            None => callback.log_io_completed(Ok(())),
        }
        Ok(())
    }

    /// What follows in the log is written after it, so it needs no sync of its own.
    async fn truncate(&mut self, log_id: LogId) -> Stored<()> {
        let mut kept = self.kept.lock();
        self.write(&mut kept, Record::Truncated { since: log_id.index }).map_err(logs_failed)?;
        Ok(())
    }

    async fn purge(&mut self, log_id: LogId) -> Stored<()> {
        self.write_facts(|facts| facts.purged = facts.purged.max(Some(log_id))).map_err(logs_failed)?;
        Ok(())
    }
}

fn logs_failed(error: Error) -> StorageError<u64> {
    StorageIOError::write_logs(AnyError::new(&error)).into()
}

fn vote_failed(error: Error) -> StorageError<u64> {
    StorageIOError::write_vote(AnyError::new(&error)).into()
}
