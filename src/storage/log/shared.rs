//! What writers, waiters and the committer share: the entries that wait for the disk, and how far it got.

use std::{
    ops::Range,
    sync::atomic::{AtomicU64, AtomicU8, AtomicUsize, Ordering},
    time::Duration,
};

use hdrhistogram::Histogram;
use parking_lot::{Condvar, Mutex, MutexGuard};
use tokio::sync::Notify;

use super::{format::push_entry, LogState, Position};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{LOG_BUFFER_BYTES_MAX, LOG_ENTRY_BYTES_MAX, LOG_SYNC_US_MAX},
};

/// Told once whether an entry is synced.
pub(super) type Callback = Box<dyn FnOnce(Result<()>) + Send>;

pub(super) struct Shared {
    /// Guards the entries that wait for the committer. Held for a copy of one entry.
    pending: Mutex<Pending>,
    /// Bytes of entries that wait, and of those that the committer has taken and not written yet.
    waiting_bytes: AtomicUsize,
    taken_bytes: AtomicUsize,
    /// Guards what changes with a commit.
    progress: Mutex<Progress>,
    /// Copies of what the progress says, to be read without its lock; they never run ahead of it.
    synced: AtomicU64,
    state: AtomicU8,
    /// Who waits for an entry to be synced, by the parity of the commit that takes it: one commit is under way, the next
    /// gathers entries. So those that it is too early for are not woken.
    commits: [Waiters; 2],
    /// Who waits for room.
    roomless: Waiters,
    /// Wakes the committer: entries wait, or the log is to be closed.
    pub(super) wake: Notify,
    /// How often somebody waited for a sync that the durability would not make by itself.
    sync_wishes: AtomicU64,
}

/// Threads and tasks that wait for a change of the progress.
#[derive(Default)]
struct Waiters {
    threads: Condvar,
    tasks: Notify,
}

impl Waiters {
    fn wake(&self) {
        self.threads.notify_all();
        self.tasks.notify_waiters();
    }
}

struct Pending {
    entries: Vec<u8>,
    /// The entry that is appended next.
    next: Position,
    wish: Wish,
}

struct Progress {
    state: LogState,
    failure: Option<Error>,
    synced: Position,
    written: Position,
    /// The commit that is under way, or the last one, and the entries that it takes.
    commit: u64,
    taken: Range<Position>,
    callbacks: Vec<(Position, Callback)>,
    counts: Counts,
    sync_us: Histogram<u64>,
}

/// What the committer has done so far.
#[derive(Clone, Copy, Debug, Default)]
pub(super) struct Counts {
    pub(super) bytes: u64,
    pub(super) batches: u64,
    pub(super) syncs: u64,
}

/// How far the committer got.
pub(super) struct Published {
    pub(super) written: Position,
    pub(super) synced: Position,
    pub(super) counts: Counts,
    /// How long the sync took, if there was one.
    pub(super) sync_us: Option<u64>,
    /// Bytes of entries that were taken and could not be written, for lack of space.
    pub(super) left_bytes: usize,
    pub(super) full: Option<Error>,
}

/// The entries of one commit.
#[derive(Default)]
pub(super) struct Taken {
    pub(super) entries: Vec<u8>,
    /// How much of them is written.
    pub(super) at: usize,
}

impl Taken {
    pub(super) fn is_empty(&self) -> bool {
        self.at == self.entries.len()
    }
}

/// What the committer is to do with the log.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Wish {
    GoOn,
    /// Write what there is, then end. Nothing more is taken in.
    Close,
    /// End at once: nobody is left to answer to, or the disk has failed.
    Abandon,
}

impl Shared {
    pub(super) fn new(end: Position) -> Shared {
        let progress = Progress {
            state: LogState::Ok,
            failure: None,
            synced: end,
            written: end,
            commit: 0,
            taken: end..end,
            callbacks: Vec::new(),
            counts: Counts::default(),
            sync_us: Histogram::new_with_bounds(1, LOG_SYNC_US_MAX, 2).expect("the bounds are constants in order"),
        };
        Shared {
            pending: Mutex::new(Pending { entries: Vec::new(), next: end, wish: Wish::GoOn }),
            waiting_bytes: AtomicUsize::new(0),
            taken_bytes: AtomicUsize::new(0),
            progress: Mutex::new(progress),
            synced: AtomicU64::new(end.0),
            state: AtomicU8::new(LogState::Ok as u8),
            commits: [Waiters::default(), Waiters::default()],
            roomless: Waiters::default(),
            wake: Notify::new(),
            sync_wishes: AtomicU64::new(0),
        }
    }

    /// Appends an entry to those that wait.
    pub(super) fn append(&self, of: (u32, u8), encode: impl FnOnce(&mut Vec<u8>)) -> Result<Position> {
        let mut pending = self.pending.lock();
        if pending.wish != Wish::GoOn {
            drop(pending);
            return Err(self.progress.lock().refusal());
        }
        let is_first = pending.entries.is_empty();
        let position = pending.next;
        push_entry(&mut pending.entries, of, LOG_ENTRY_BYTES_MAX, encode).ok_or_else(|| {
            let text = format!("log: an entry is longer than {LOG_ENTRY_BYTES_MAX} bytes");
            Error::new(ErrorCode::InvalidArgument, text)
        })?;
        pending.next = Position(position.0 + 1);
        self.waiting_bytes.store(pending.entries.len(), Ordering::Relaxed);
        drop(pending);
        // The committer looks again after each commit: only from its idleness it has to be woken.
        if is_first {
            self.wake.notify_one();
        }
        Ok(position)
    }

    /// Takes all entries that wait, unless there are some left of those taken before.
    pub(super) fn take(&self, taken: &mut Taken) -> Wish {
        let mut pending = self.pending.lock();
        if taken.is_empty() && !pending.entries.is_empty() {
            taken.entries.clear();
            taken.at = 0;
            std::mem::swap(&mut taken.entries, &mut pending.entries);
            self.waiting_bytes.store(0, Ordering::Relaxed);
            self.taken_bytes.store(taken.entries.len(), Ordering::Relaxed);
            // Under both locks, in this order: which commit takes an entry is known from when it was appended.
            let mut progress = self.progress.lock();
            progress.commit += 1;
            progress.taken = progress.taken.end..pending.next;
        }
        pending.wish
    }

    /// What was appended before is to be synced, whatever the durability.
    pub(super) fn wish_sync(&self) {
        self.sync_wishes.fetch_add(1, Ordering::AcqRel);
        self.wake.notify_one();
    }

    /// How often a sync was wished for. Entries that are taken after this was asked are those that the wishes are about.
    pub(super) fn sync_wishes(&self) -> u64 {
        self.sync_wishes.load(Ordering::Acquire)
    }

    /// The entry that is appended next.
    pub(super) fn next(&self) -> Position {
        self.pending.lock().next
    }

    pub(super) fn wish(&self, wish: Wish) {
        let mut pending = self.pending.lock();
        if pending.wish != Wish::Abandon {
            pending.wish = wish;
        }
        drop(pending);
        self.wake.notify_one();
    }

    pub(super) fn buffered_bytes(&self) -> usize {
        self.waiting_bytes.load(Ordering::Relaxed) + self.taken_bytes.load(Ordering::Relaxed)
    }

    /// All entries before this one are synced.
    pub(super) fn synced(&self) -> Position {
        Position(self.synced.load(Ordering::Acquire))
    }

    /// All entries before this one are written.
    pub(super) fn written(&self) -> Position {
        self.progress.lock().written
    }

    pub(super) fn state(&self) -> LogState {
        self.progress.lock().state
    }

    pub(super) fn failure(&self) -> Option<Error> {
        self.progress.lock().failure.clone()
    }

    /// Whether a writer may change memory and append: refuses before anything has happened.
    pub(super) fn check_room(&self) -> Result<()> {
        let is_ok = self.state.load(Ordering::Acquire) == LogState::Ok as u8;
        if is_ok && self.buffered_bytes() < LOG_BUFFER_BYTES_MAX {
            return Ok(());
        }
        self.room(&self.progress.lock()).unwrap_or_else(|| {
            let text = format!("log: {LOG_BUFFER_BYTES_MAX} bytes of entries wait for the disk");
            Err(Error::new(ErrorCode::Overloaded, text))
        })
    }

    fn room(&self, progress: &Progress) -> Option<Result<()>> {
        match progress.state {
            LogState::Ok => (self.buffered_bytes() < LOG_BUFFER_BYTES_MAX).then_some(Ok(())),
            LogState::Full | LogState::Failed | LogState::Closed => Some(Err(progress.refusal())),
        }
    }

    /// Waits on this thread until there is room, or never will be.
    pub(super) fn wait_for_room(&self, timeout: Duration) -> Result<()> {
        let mut progress = self.progress.lock();
        self.roomless.threads.wait_while_for(&mut progress, |progress| self.room(progress).is_none(), timeout);
        drop(progress);
        self.check_room()
    }

    /// Waits in this task until there is room, or never will be.
    pub(super) async fn room_is_there(&self) -> Result<()> {
        loop {
            let changed = {
                let progress = self.progress.lock();
                if let Some(room) = self.room(&progress) {
                    return room;
                }
                // Made under the lock: nothing that changes after this look is missed.
                self.roomless.tasks.notified()
            };
            changed.await;
        }
    }

    /// Waits on this thread until an entry is synced, or never will be.
    pub(super) fn wait_synced(&self, position: Position, timeout: Duration) -> Result<()> {
        if self.synced() > position {
            return Ok(());
        }
        let mut progress = self.progress.lock();
        let waiters = self.waiters(&progress, position);
        waiters.threads.wait_while_for(&mut progress, |progress| progress.outcome(position).is_none(), timeout);
        let late = || Err(Error::deadline("log: a sync", timeout).maybe_applied());
        progress.outcome(position).unwrap_or_else(late)
    }

    /// Waits in this task until an entry is synced, or never will be.
    pub(super) async fn synced_is(&self, position: Position) -> Result<()> {
        if self.synced() > position {
            return Ok(());
        }
        loop {
            let changed = {
                let progress = self.progress.lock();
                if let Some(outcome) = progress.outcome(position) {
                    return outcome;
                }
                self.waiters(&progress, position).tasks.notified()
            };
            changed.await;
        }
    }

    /// Those who wait for the commit that takes this entry. It stays the same until the entry is synced.
    fn waiters(&self, progress: &Progress, position: Position) -> &Waiters {
        let is_taken = position < progress.taken.end;
        &self.commits[(progress.commit + u64::from(!is_taken)) as usize % 2]
    }

    /// Tells about an entry once its outcome is known, or at once when it is.
    pub(super) fn on_synced(&self, position: Position, callback: Callback) {
        let mut progress = self.progress.lock();
        match progress.outcome(position) {
            Some(outcome) => {
                drop(progress);
                callback(outcome);
            }
            None => progress.callbacks.push((position, callback)),
        }
    }

    /// Says how far the committer got.
    pub(super) fn publish(&self, published: Published) {
        self.taken_bytes.store(published.left_bytes, Ordering::Relaxed);
        let mut progress = self.progress.lock();
        // Where not each commit is synced, a sync is for those before as well.
        let is_of_many = progress.synced < progress.taken.start;
        (progress.written, progress.synced) = (published.written, published.synced);
        progress.counts = published.counts;
        progress.state = if published.full.is_some() { LogState::Full } else { LogState::Ok };
        progress.failure = published.full;
        if let Some(sync_us) = published.sync_us {
            progress.sync_us.saturating_record(sync_us);
        }
        self.announce(progress, is_of_many);
    }

    /// Says that nothing more is going to happen: the disk has failed, or the log is closed.
    pub(super) fn publish_end(&self, failure: Option<Error>) {
        self.wish(Wish::Abandon);
        let mut progress = self.progress.lock();
        progress.state = if failure.is_some() { LogState::Failed } else { LogState::Closed };
        progress.failure = failure;
        self.announce(progress, true);
    }

    fn announce(&self, mut progress: MutexGuard<'_, Progress>, to_all: bool) {
        self.state.store(progress.state as u8, Ordering::Release);
        self.synced.store(progress.synced.0, Ordering::Release);
        let mut told = Vec::new();
        let mut left = Vec::new();
        for (position, callback) in std::mem::take(&mut progress.callbacks) {
            match progress.outcome(position) {
                Some(outcome) => told.push((position, callback, outcome)),
                None => left.push((position, callback)),
            }
        }
        progress.callbacks = left;
        let commit = progress.commit as usize;
        drop(progress);
        self.commits[commit % 2].wake();
        if to_all {
            self.commits[(commit + 1) % 2].wake();
        }
        self.roomless.wake();
        told.sort_by_key(|(position, ..)| *position);
        told.into_iter().for_each(|(_, callback, outcome)| callback(outcome));
    }

    /// What the committer has done, and how long its syncs took: median, 99th percentile, longest, in microseconds.
    pub(super) fn figures(&self) -> (Counts, [u64; 3]) {
        let progress = self.progress.lock();
        let at = |quantile| progress.sync_us.value_at_quantile(quantile);
        (progress.counts, [at(0.5), at(0.99), progress.sync_us.max()])
    }
}

impl Progress {
    /// What is known about an entry: synced, never going to be, or nothing yet.
    fn outcome(&self, position: Position) -> Option<Result<()>> {
        match self.state {
            _ if self.synced > position => Some(Ok(())),
            LogState::Ok | LogState::Full => None,
            LogState::Failed | LogState::Closed => Some(Err(self.refusal().maybe_applied())),
        }
    }

    fn refusal(&self) -> Error {
        let closed = || Error::new(ErrorCode::NotRunning, "log: it is closed");
        self.failure.clone().unwrap_or_else(closed)
    }
}
