//! The committer: takes all entries that wait, writes them, syncs once for all of them, and says so. It is the only one
//! that writes to the log, on a worker of the disk.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    format::stretch,
    shared::{Counts, Published, Shared, Taken, Wish},
    writer::{Step, Trouble, Writer},
    Durability, LogState, Position,
};
use crate::{
    env::{Clock, DiskLock},
    error::{Error, ErrorCode},
    limits::{LOG_BATCH_BYTES_TARGET, LOG_FULL_PROBE},
};

pub(super) struct Committer {
    pub(super) shared: Arc<Shared>,
    pub(super) writer: Writer,
    pub(super) segments: Arc<Mutex<Vec<Position>>>,
    pub(super) clock: Arc<dyn Clock>,
    pub(super) durability: Durability,
    pub(super) counts: Counts,
    pub(super) taken: Taken,
    /// When the oldest entry that is written and not synced was written.
    pub(super) unsynced_since: Option<Duration>,
    /// How often a sync was wished for, and how many of these wishes are met.
    pub(super) wishes: (u64, u64),
    /// The directory is ours until the committer has ended.
    pub(super) lock: Box<dyn DiskLock>,
}

impl Committer {
    /// Runs until the log is closed or has failed. Nothing is made durable by dropping it.
    pub(super) async fn run(mut self) {
        let failure = loop {
            self.wishes.0 = self.shared.sync_wishes();
            let wish = self.shared.take(&mut self.taken);
            if wish == Wish::Abandon {
                break Some(Error::new(ErrorCode::NotRunning, "log: it was given up without being closed"));
            }
            let is_idle = self.taken.is_empty();
            match self.commit(wish) {
                Ok(()) if wish == Wish::Close && self.taken.is_empty() => break self.close().err().map(Error::from),
                Ok(()) if is_idle => self.rest().await,
                // Entries that came meanwhile may have been announced while nobody listened.
                Ok(()) => {}
                Err(Trouble::Failed(error)) => break Some(error),
                Err(Trouble::Full(error)) if wish == Wish::Close => break Some(error),
                Err(Trouble::Full(_)) => self.wait_for_space().await,
            }
        };
        if let Some(error) = failure.as_ref().filter(|error| error.code() != ErrorCode::NotRunning) {
            tracing::error!(%error, "the log has failed and takes no more writes");
        }
        let Committer { shared, writer, lock, .. } = self;
        drop(writer);
        drop(lock);
        shared.publish_end(failure);
    }

    /// Writes what was taken, as far as there is space, and syncs when it is time.
    fn commit(&mut self, wish: Wish) -> Step {
        let is_idle = self.taken.is_empty();
        let full = match self.write_taken() {
            Err(Trouble::Full(error)) => Some(error),
            other => other.map(|()| None)?,
        };
        let is_behind = self.writer.synced < self.writer.written;
        let sync_us = match is_behind && (wish == Wish::Close || self.is_sync_due() || self.is_sync_wished()) {
            true => Some(self.sync()?),
            false => None,
        };
        if full.is_some() && self.shared.state() != LogState::Full {
            tracing::warn!(?full, "the disk is full; writes are refused until there is space");
        }
        if !is_idle || sync_us.is_some() {
            let left_bytes = self.taken.entries.len() - self.taken.at;
            let (written, synced, counts) = (self.writer.written, self.writer.synced, self.counts);
            self.shared.publish(Published { written, synced, counts, sync_us, left_bytes, full: full.clone() });
        }
        full.map_or(Ok(()), |error| Err(Trouble::Full(error)))
    }

    fn is_sync_due(&self) -> bool {
        match self.durability {
            Durability::Sync => true,
            Durability::Interval(interval) => {
                self.unsynced_since.is_some_and(|since| self.clock.monotonic() >= since + interval)
            }
            Durability::Memory => false,
        }
    }

    /// Whether somebody waits for a sync of what was taken, and all of it is written.
    fn is_sync_wished(&mut self) -> bool {
        let (made, met) = self.wishes;
        if made == met || !self.taken.is_empty() {
            return false;
        }
        self.wishes.1 = made;
        true
    }

    fn write_taken(&mut self) -> Step {
        while !self.taken.is_empty() {
            let at = self.taken.at;
            let (end, count) = stretch(&self.taken.entries, at, LOG_BATCH_BYTES_TARGET);
            if self.writer.make_room(end - at)? {
                // All that was written before is synced: the next segment's name says so.
                self.unsynced_since = None;
                self.counts.syncs += 1;
                self.segments.lock().push(self.writer.first());
            }
            self.writer.write(count, &self.taken.entries[at..end])?;
            self.taken.at = end;
            self.counts.batches += 1;
            self.counts.bytes += (end - at) as u64;
            if self.unsynced_since.is_none() {
                self.unsynced_since = Some(self.clock.monotonic());
            }
        }
        Ok(())
    }

    /// Syncs; how long it took, in microseconds.
    fn sync(&mut self) -> Step<u64> {
        let start = self.clock.monotonic();
        self.writer.sync()?;
        self.unsynced_since = None;
        self.counts.syncs += 1;
        let passed = self.clock.monotonic().saturating_sub(start);
        Ok(u64::try_from(passed.as_micros()).unwrap_or(u64::MAX))
    }

    /// Waits for entries, or until a sync is due.
    async fn rest(&self) {
        let woken = self.shared.wake.notified();
        let Durability::Interval(interval) = self.durability else { return woken.await };
        let Some(since) = self.unsynced_since else { return woken.await };
        let left = (since + interval).saturating_sub(self.clock.monotonic());
        // Either way the loop looks again; a late wake-up only means that entries waited a little.
        let _is_due = tokio::time::timeout(left, woken).await.is_err();
    }

    /// Keeps what was taken and looks for space again after a while, or when something is asked of the log.
    async fn wait_for_space(&self) {
        let _is_time = tokio::time::timeout(LOG_FULL_PROBE, self.shared.wake.notified()).await.is_err();
    }

    /// Leaves the proof that everything was synced. Not synced itself: without it the last batch is the tail.
    fn close(&mut self) -> Step {
        self.writer.mark()
    }
}
