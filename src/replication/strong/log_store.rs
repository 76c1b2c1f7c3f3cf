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

mod kept;
pub(super) mod record;
#[cfg(test)]
mod tests;

use std::{fmt::Debug, io, ops::RangeBounds, sync::Arc};

use openraft::{
    storage::{LogFlushed, RaftLogStorage},
    AnyError, EntryPayload, LogState, OptionalSend, RaftLogReader, StorageError, StorageIOError,
};
use parking_lot::Mutex;

pub use self::kept::Kept;
use self::{
    kept::KeptEntry,
    record::{Facts, Record},
};
use super::{
    types::{GroupTypes, LogEntry, LogId, Vote},
    Entry,
};
use crate::{
    error::{Error, ErrorCode, Result},
    faults::is_mutant,
    limits::{GROUP_APPEND_BYTES_TARGET, LOG_ENTRY_BYTES_MAX},
    storage::log::{Durability, Log, Position},
};

/// The log of one group. Clones are the same log.
#[derive(Clone)]
pub struct LogStore {
    home: Home,
    /// Guards what is kept and, while records are appended, their order.
    kept: Arc<Mutex<Kept>>,
}

/// Where the records are.
#[derive(Clone)]
enum Home {
    /// In a stream of the log of the node.
    Disk { log: Arc<Log>, stream: u32 },
    /// Nowhere: the member is gone with its process, and its id with it.
    Memory,
}

/// No member has this id.
const NO_MEMBER: u64 = 0;

type Stored<T> = std::result::Result<T, StorageError<u64>>;

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
        Ok(LogStore { home: Home::Disk { log, stream }, kept: Arc::new(Mutex::new(kept)) })
    }

    /// An empty log that ends with its process.
    pub fn in_memory() -> LogStore {
        LogStore { home: Home::Memory, kept: Arc::default() }
    }

    /// Makes it the log of this member. What another wrote, which this node was under a former id, is given up: nothing that a
    /// former member voted or acknowledged may be said in the name of a new one. True: there was such a one.
    ///
    /// # Errors
    /// Those of [`Log::append`].
    pub fn begin(&self, member: u64) -> Result<bool> {
        let mut kept = self.kept.lock();
        let former = kept.facts.member;
        if former != member {
            self.write(&mut kept, Record::Begun { member })?;
        }
        Ok(former != member && former != NO_MEMBER)
    }

    /// Gives up what the newest snapshot contradicts: one that was received just before a crash may be on disk while the log still
    /// ends as that of a former leader did, which a log that goes on after it must not hold.
    ///
    /// # Errors
    /// `CORRUPT`: entries after the snapshot are missing. Those of [`Log::append`].
    pub fn settle(&self, snapshot: Option<LogId>) -> Result<()> {
        let mut kept = self.kept.lock();
        let end = snapshot.map_or(0, |last| last.index + 1);
        let begin = kept.facts.purged.map_or(0, |purged| purged.index + 1);
        if begin > end {
            let text =
                format!("log of a group: entries before {begin} are missing, and the snapshot ends before {end}");
            return Err(Error::new(ErrorCode::Corrupt, text));
        }
        let Some(snapshot) = snapshot else { return Ok(()) };
        let there = kept.entries.get(&snapshot.index).map(|there| there.entry.log_id);
        if there.is_some_and(|there| there != snapshot) {
            self.write(&mut kept, Record::Truncated { since: begin })?;
        }
        Ok(())
    }

    /// How many entries are kept in memory, and their bytes.
    pub fn size(&self) -> (usize, usize) {
        let kept = self.kept.lock();
        (kept.entries.len(), kept.bytes)
    }

    /// The index of the last entry; `None`: there was none.
    pub(super) fn last_index(&self) -> Option<u64> {
        self.kept.lock().last().map(|last| last.index)
    }

    /// The last time that an entry of this term shows; `None`: none is kept.
    pub(super) fn shown_ms_in(&self, term: u64) -> Option<u64> {
        let kept = self.kept.lock();
        let entries = kept.entries.values().rev().take_while(|kept| kept.entry.log_id.leader_id.term == term);
        let shown = entries.filter_map(|kept| match &kept.entry.payload {
            EntryPayload::Normal(entry) => Some(entry.time_ms),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        });
        shown.max()
    }

    /// The first entry for the state machine, if none is given up; `None`: there is none, or it may have been given up.
    pub(super) fn first_for_machine(&self) -> Option<Arc<Entry>> {
        let kept = self.kept.lock();
        if kept.facts.purged.is_some() {
            return None;
        }
        kept.entries.values().find_map(|kept| match &kept.entry.payload {
            EntryPayload::Normal(entry) => Some(entry.clone()),
            EntryPayload::Blank | EntryPayload::Membership(_) => None,
        })
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
        let synced = self.synced_before();
        self.kept.lock().low(synced)
    }

    /// All records before this one are as safe as they will ever be.
    fn synced_before(&self) -> Position {
        match &self.home {
            Home::Disk { log, .. } => log.synced_before(),
            Home::Memory => Position(u64::MAX),
        }
    }

    /// Waits until a record is on disk.
    async fn synced(&self, position: Position) -> Result<()> {
        match &self.home {
            Home::Disk { log, .. } if log.durability() == Durability::Sync => log.synced(position).await,
            // Others do not wait for their disk; a vote has to.
            Home::Disk { log, .. } => log.flush().await,
            Home::Memory => Ok(()),
        }
    }

    /// Calls back once a record is on disk, in the order of the records.
    fn on_synced(&self, position: Position, callback: impl FnOnce(Result<()>) + Send + 'static) {
        match &self.home {
            Home::Disk { log, .. } => {
                log.on_synced(position, callback);
                if log.durability() != Durability::Sync {
                    log.hasten();
                }
            }
            Home::Memory => callback(Ok(())),
        }
    }

    /// Writes what is committed, if no record says so yet.
    fn settle_committed(&self, kept: &mut Kept) -> Result<()> {
        match kept.facts.committed.filter(|_| std::mem::take(&mut kept.owes_committed)) {
            Some(committed) => self.write(kept, Record::Committed(committed)).map(|_| ()),
            None => Ok(()),
        }
    }

    /// Writes a record and takes note of it.
    fn write(&self, kept: &mut Kept, record: Record) -> Result<Position> {
        let position = match &self.home {
            Home::Disk { log, stream } => log.append_with(*stream, record.kind(), |buf| record.put(buf))?,
            Home::Memory => Position::default(),
        };
        // Entries are written elsewhere, with their bytes.
        kept.apply(position, 0, record);
        Ok(position)
    }

    /// Changes the facts and writes all of them anew, so that older records of them are not needed.
    fn write_facts(&self, change: impl FnOnce(&mut Facts)) -> Result<Position> {
        let mut kept = self.kept.lock();
        let mut facts = kept.facts.clone();
        change(&mut facts);
        // So that there are never more of them than wait for the disk.
        kept.low(self.synced_before());
        kept.owes_committed = false;
        self.write(&mut kept, Record::Facts(facts))
    }

    /// Writes entries; the position of the last. Either all are taken in, or the log has ended. Those that are given up already
    /// are passed over: a snapshot has what they say.
    fn write_entries(&self, entries: Vec<LogEntry>) -> Result<Option<Position>> {
        let mut kept = self.kept.lock();
        self.settle_committed(&mut kept)?;
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
            let position = match &self.home {
                Home::Disk { log, stream } => log.append(*stream, record.kind(), &payload)?,
                Home::Memory => Position::default(),
            };
            kept.apply(position, payload.len(), record);
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
        Ok(kept.entries.range(range).map(|(_, kept)| kept.entry.clone()).collect())
    }

    /// As many as fit into a message, but one at least. None where the first one is gone: the library would send those after it as if
    /// they were the next, and whoever took them would have a hole in its log. Without any it tells the member nothing new.
    async fn limited_get_log_entries(&mut self, start: u64, end: u64) -> Stored<Vec<LogEntry>> {
        let kept = self.kept.lock();
        if !kept.entries.contains_key(&start) {
            return Ok(Vec::new());
        }
        let mut bytes = 0;
        let fits = |kept: &&KeptEntry| {
            let is_first = bytes == 0;
            bytes += kept.bytes;
            is_first || bytes <= GROUP_APPEND_BYTES_TARGET
        };
        let entries = kept.entries.range(start..end).map(|(_, kept)| kept).take_while(fits);
        Ok(entries.map(|kept| kept.entry.clone()).collect())
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
        if is_mutant("strong_vote_not_synced") {
            return Ok(());
        }
        self.synced(position).await.map_err(vote_failed)
    }

    async fn read_vote(&mut self) -> Stored<Option<Vote>> {
        Ok(self.kept.lock().facts.vote)
    }

    /// Goes to the disk with the next record, and causes no sync of its own: what was committed is committed, whether this node
    /// remembers or is told again.
    async fn save_committed(&mut self, committed: Option<LogId>) -> Stored<()> {
        if committed.is_some() {
            let mut kept = self.kept.lock();
            kept.facts.committed = committed;
            kept.owes_committed = true;
        }
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
        if let Home::Disk { log, .. } = &self.home {
            match log.room().await {
                // What is appended then waits for room, and its callback with it: this member falls silent, and the others go
                // on without it until there is.
                Err(error) if error.code() == ErrorCode::DiskFull => {}
                room => room.map_err(logs_failed)?,
            }
        }
        match self.write_entries(entries).map_err(logs_failed)? {
            Some(last) if !is_mutant("strong_append_not_synced") => {
                let done = |synced: Result<()>| callback.log_io_completed(synced.map_err(io::Error::other));
                self.on_synced(last, done);
            }
            Some(_) | None => callback.log_io_completed(Ok(())),
        }
        Ok(())
    }

    /// What follows in the log is written after it, so it needs no sync of its own.
    async fn truncate(&mut self, log_id: LogId) -> Stored<()> {
        let mut kept = self.kept.lock();
        self.settle_committed(&mut kept).map_err(logs_failed)?;
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
