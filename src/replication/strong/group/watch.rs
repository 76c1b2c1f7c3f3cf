//! Watching a keyspace: whole transactions in the order of the log, without a gap, from any member.
//!
//! A watcher reads at its own pace from the history that the machine keeps; nothing waits for it. One that is so slow that the
//! history has moved on is told `COMPACTED`, never skipped over anything.

use std::{sync::Arc, time::Duration};

use super::{
    core::{stopped, Core},
    serve::strong_keyspace,
};
use crate::{
    error::Result,
    limits::{GROUP_READ_BYTES_TARGET, PAGE_KEYS_MAX, STRONG_WATCH_SILENCE, WATCH_UNTOLD_MAX},
    replication::strong::{
        Change, Changes, ChangesQuery, Freshness, KeyspaceId, Machine, Revision, Space, TransactionChanges,
        VersionState,
    },
    types::{KeyRange, PageRequest},
};

/// Changes in one page, about.
const PAGE_CHANGES_TARGET: usize = 1024;

/// What to watch.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct GroupWatch {
    /// Of which keyspace.
    pub keyspace: String,
    /// Of its keys, or of who holds its locks.
    pub space: Space,
    /// Of which keys.
    pub range: KeyRange,
    /// After which revision; `None`: from now on.
    pub since: Option<Revision>,
    /// Begin with what is there.
    pub initial: bool,
}

/// A part of what a watch tells.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct WatchPage {
    /// In the order of the log.
    pub transactions: Vec<TransactionChanges>,
    /// Everything up to here is told.
    pub until: Revision,
    /// It is a part of what was there when the watch began.
    pub initial: bool,
    /// The machine's own time, in which the deadlines of items are.
    pub elapsed_ms: u64,
}

/// A watch at work. Dropping it ends it.
pub struct GroupWatcher {
    core: Arc<Core>,
    query: ChangesQuery,
    /// The state whose next page is told first, and the key after the last that was.
    snapshot: Option<(Machine, Option<Vec<u8>>)>,
    begun: bool,
    /// What the last page said, and when, by the monotonic clock.
    told: (Revision, Duration),
}

impl GroupWatcher {
    /// Begins a watch that is as fresh as a linearizable read.
    pub(super) async fn new(core: Arc<Core>, watch: GroupWatch, timeout: Duration) -> Result<GroupWatcher> {
        core.check_may_be_strong(&watch.keyspace)?;
        core.ready_to_read(Freshness::Linearizable, timeout).await?;
        let (machine, keyspace) = {
            let machine = core.replica.machine();
            let keyspace = strong_keyspace(&machine, &watch.keyspace)?;
            (Machine::resume(machine.capture()), keyspace)
        };
        let now = machine.revision();
        let since = if watch.initial { now } else { watch.since.unwrap_or(now) };
        let query = query(keyspace, &watch, since);
        // That the history reaches back is known at once, not with the first change.
        machine.changes_since(&ChangesQuery { changes_target: 1, ..query.clone() })?;
        let snapshot = watch.initial.then_some((machine, None));
        let told = (since, core.now());
        Ok(GroupWatcher { core, query, snapshot, begun: false, told })
    }

    /// What comes next. The first page comes at once and says where the watch begins. Where nothing is told for long although there
    /// are changes, a page without any says how far they are, so that whoever goes on from there finds what follows.
    ///
    /// # Errors
    /// `COMPACTED`: what follows is forgotten. `UNKNOWN_KEYSPACE`: it was dropped. `NOT_RUNNING`.
    pub async fn next(&mut self) -> Result<WatchPage> {
        if let Some(page) = self.next_initial()? {
            return Ok(page);
        }
        let mut progress = self.core.replica.progress();
        loop {
            progress.mark_unchanged();
            let (changes, elapsed_ms) = {
                let machine = self.core.replica.machine();
                (machine.changes_since(&self.query)?, self.core.elapsed_ms(&machine))
            };
            let Changes { transactions, until, more } = changes;
            self.query.since = until;
            if !transactions.is_empty() || !self.begun || self.is_overdue() {
                self.begun = true;
                self.told = (until, self.core.now());
                return Ok(WatchPage { transactions, until, initial: false, elapsed_ms });
            }
            if more {
                continue;
            }
            let changed = progress.changed();
            if until == self.told.0 {
                changed.await.map_err(|_| stopped())?;
            } else if let Ok(changed) = tokio::time::timeout(self.until_overdue(), changed).await {
                changed.map_err(|_| stopped())?;
            }
        }
    }

    /// Whether it is time to say how far the changes are.
    fn is_overdue(&self) -> bool {
        let behind = self.query.since.0.saturating_sub(self.told.0 .0);
        behind >= WATCH_UNTOLD_MAX || behind > 0 && self.until_overdue().is_zero()
    }

    fn until_overdue(&self) -> Duration {
        (self.told.1 + STRONG_WATCH_SILENCE).saturating_sub(self.core.now())
    }

    fn next_initial(&mut self) -> Result<Option<WatchPage>> {
        let Some((machine, after)) = self.snapshot.take() else { return Ok(None) };
        let mut range = self.query.range.clone();
        if let Some(after) = after {
            range.start = Some(after);
        }
        let request =
            PageRequest { range, reverse: false, keys_max: PAGE_KEYS_MAX, bytes_target: GROUP_READ_BYTES_TARGET };
        let page = machine.page_at(self.query.keyspace, self.query.space, &request, machine.revision())?;
        // The first key after a key is the key with a zero byte.
        let after = page.items.last().map(|(key, _)| [key, &[0][..]].concat());
        let transactions = page.items.into_iter().map(|(key, item)| {
            let (revision, time_ms) = (item.modified, item.modified_ms);
            let change = Change { key, state: VersionState::Live(item), previous: None };
            TransactionChanges { revision, time_ms, changes: vec![change] }
        });
        let (transactions, elapsed_ms) = (transactions.collect(), self.core.elapsed_ms(&machine));
        let told = WatchPage { transactions, until: self.query.since, initial: true, elapsed_ms };
        if page.more {
            self.snapshot = Some((machine, after));
        }
        Ok(Some(told))
    }
}

fn query(keyspace: KeyspaceId, watch: &GroupWatch, since: Revision) -> ChangesQuery {
    ChangesQuery {
        keyspace,
        space: watch.space,
        range: watch.range.clone(),
        since,
        changes_target: PAGE_CHANGES_TARGET,
    }
}
