//! A watcher: a reader with a vector.
//!
//! **Position.** For each partition a version vector: all that it covers was delivered, or replaced by something that
//! was delivered or still will be, or is not wanted. What a watcher lacks is therefore what a peer with that vector would
//! lack: the records whose dots the vector does not cover (`scan`). In the order of origin and sequence each of them
//! moves the vector on by itself: the origin's earlier writes were delivered, or were replaced by a record that still
//! stands in the list, or comes later.
//!
//! **Feed.** A watcher that has caught up reads the changes as they come ([`super::feed`]), and looks each key up. One
//! that is slow skips what was replaced meanwhile; one that falls out of the ring scans again. Each key is seen in the
//! order of its versions, because a record is only ever replaced by a later one.
//!
//! **Only what survives is shown.** An event is handed out once a connected peer has the own writes made before it was
//! read: a watcher that goes on elsewhere after this node has died has seen nothing that is gone, and has skipped nothing
//! for the sake of something that is gone. Without peers there is nothing to wait for.
//!
//! **Elsewhere.** A watcher brings its position along; the node first catches up with it ([`super::cover`]).
//!
//! **Forgotten deletes.** Where a node has dropped a tombstone that the position does not cover, a delete may have been
//! missed, and the watch ends with `COMPACTED`.

mod reader;
mod scan;

use std::{collections::BTreeMap, sync::Arc};

use tokio::{
    task,
    time::{timeout_at, Instant},
};

pub use reader::WatchBounds;
use reader::{Read, Reader};

use super::Eventual;
use crate::{
    error::Result,
    limits::{WATCH_MARK_INTERVAL, WATCH_READY_MAX},
    storage::log::Position,
    types::{PartitionId, Sequence, Space, WatchPage, WatchPosition, WatchRequest, WatchStart},
};

/// A watch on a keyspace of this process. Costs nothing while nobody asks for its next page.
pub struct Watcher {
    keyspace: Arc<Eventual>,
    space: Space,
    stage: Stage,
    bounds: WatchBounds,
    /// A page that was read and not handed out yet.
    held: Option<Held>,
    /// By partition, the position of the peers at which waiting for them was given up.
    given_up: BTreeMap<PartitionId, Sequence>,
    mark_due: Instant,
}

enum Stage {
    /// Before the first page.
    New(WatchRequest),
    Open(Box<Reader>),
}

struct Held {
    page: WatchPage,
    /// Own writes that a peer must have before the page may be shown.
    needs: BTreeMap<PartitionId, Sequence>,
    /// Up to where the log must be on disk before: a position must not cover a write that a crash can take back, because
    /// another write would get its dot.
    written: Option<Position>,
    until: Instant,
}

impl Watcher {
    /// A watch of `default` that begins when its first page is asked for.
    ///
    /// # Errors
    /// `OVERLOADED` beyond [`crate::limits::WATCHES_PER_NODE_MAX`].
    pub fn new(keyspace: Arc<Eventual>, request: WatchRequest) -> Result<Watcher> {
        Watcher::with_bounds(keyspace, request, WatchBounds::default())
    }

    /// As [`Watcher::new`], of any eventual keyspace.
    ///
    /// # Errors
    /// Those of [`Watcher::new`].
    pub fn new_in(keyspace: Arc<Eventual>, space: Space, request: WatchRequest) -> Result<Watcher> {
        let mut watcher = Watcher::new(keyspace, request)?;
        watcher.space = space;
        Ok(watcher)
    }

    /// As [`Watcher::new`], reading so much at once and waiting so long.
    ///
    /// # Errors
    /// Those of [`Watcher::new`].
    pub fn with_bounds(keyspace: Arc<Eventual>, request: WatchRequest, bounds: WatchBounds) -> Result<Watcher> {
        keyspace.listeners().join()?;
        Ok(Watcher {
            keyspace,
            space: Space::Default,
            stage: Stage::New(request),
            bounds,
            held: None,
            given_up: BTreeMap::new(),
            mark_due: Instant::now(),
        })
    }

    /// Waits for the next page. The first says where the watch begins; afterwards each has events, or marks once a second
    /// when the position has moved on without any. Dropping the future loses nothing.
    ///
    /// # Errors
    /// `COMPACTED` when a delete may have been missed; `UNREACHABLE` when this node does not catch up with the position;
    /// `MEMBER_REMOVED` when the cluster removed this node: it hears of nothing new, and would take what the others
    /// have for lost; `DISK_FAILED` when what it tells of cannot be brought to disk; those of [`Eventual::check_space`].
    pub async fn next(&mut self) -> Result<WatchPage> {
        self.keyspace.check_member()?;
        self.keyspace.check_space(self.space)?;
        if let Stage::New(request) = &self.stage {
            let request = request.clone();
            self.begin(request).await?;
        }
        while self.held.is_none() {
            self.read().await?;
        }
        self.hold().await?;
        Ok(self.held.take().map(|held| held.page).unwrap_or_default())
    }

    async fn begin(&mut self, request: WatchRequest) -> Result<()> {
        match &request.start {
            WatchStart::Now | WatchStart::Initial => self.wait_ready().await,
            WatchStart::After(position) | WatchStart::InitialAfter(position) => {
                // What is gone stays in the position: its dots are never used again.
                let _covered = self.keyspace.wait_covers(position, self.bounds.cover).await?;
            }
        }
        let reader = Reader::new(&self.keyspace, self.space, request, self.bounds);
        // The first page lets whoever asked know that nothing is missed from now on.
        let first = reader.first_page();
        self.stage = Stage::Open(Box::new(reader));
        self.mark_due = Instant::now() + WATCH_MARK_INTERVAL;
        let until = Instant::now() + self.bounds.hold_max;
        let written = self.keyspace.written();
        self.held = Some(Held { page: first, needs: BTreeMap::new(), written, until });
        Ok(())
    }

    /// A node that has just started would tell of all that it fetches as if it were new.
    async fn wait_ready(&self) {
        let until = Instant::now() + WATCH_READY_MAX;
        loop {
            let changed = self.keyspace.listeners().changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            if self.keyspace.is_caught_up() || timeout_at(until, changed).await.is_err() {
                return;
            }
        }
    }

    /// One piece of reading: afterwards a page is held, or there is more to read, or something has changed.
    async fn read(&mut self) -> Result<()> {
        let Stage::Open(reader) = &mut self.stage else { return Ok(()) };
        let changed = self.keyspace.listeners().changed();
        tokio::pin!(changed);
        changed.as_mut().enable();
        self.keyspace.check_member()?;
        self.keyspace.check_space(self.space)?;
        let now = Instant::now();
        let read = reader.read(&self.keyspace, now >= self.mark_due)?;
        match read {
            Read::Page { page, needs } => {
                self.mark_due = now + WATCH_MARK_INTERVAL;
                let written = self.keyspace.written();
                self.held = Some(Held { page, needs, written, until: now + self.bounds.hold_max });
            }
            // Other tasks get their turn between two pieces of a scan.
            Read::More => task::yield_now().await,
            Read::Nothing if now >= self.mark_due => self.mark_due = now + WATCH_MARK_INTERVAL,
            // Whichever comes first: the next round looks at both.
            Read::Nothing => drop(timeout_at(self.mark_due, changed).await),
        }
        Ok(())
    }

    /// Waits until the disk and a peer have what the held page tells of.
    ///
    /// # Errors
    /// `DISK_FAILED`.
    async fn hold(&mut self) -> Result<()> {
        let Some(held) = &self.held else { return Ok(()) };
        self.keyspace.durable(held.written).await?;
        loop {
            let changed = self.keyspace.listeners().changed();
            tokio::pin!(changed);
            changed.as_mut().enable();
            let safe = |partition: PartitionId| self.keyspace.outbox(partition, super::Outbox::safe);
            // A peer that has not moved since the last wait was in vain is not waited for again.
            let is_in_vain = |partition, safe| self.given_up.get(&partition) == Some(&safe);
            let lacking = |(&partition, &need): (&PartitionId, &Sequence)| {
                let safe = safe(partition);
                (safe < need && !is_in_vain(partition, safe)).then_some((partition, safe))
            };
            let open: Vec<_> = held.needs.iter().filter_map(lacking).collect();
            if open.is_empty() {
                return Ok(());
            }
            if timeout_at(held.until, changed).await.is_err() {
                self.given_up.extend(open);
                return Ok(());
            }
        }
    }

    /// Where the watch stands after the last page that was read; `None`: it has not begun.
    pub fn position(&self) -> Option<WatchPosition> {
        match &self.stage {
            Stage::New(_) => None,
            Stage::Open(reader) => Some(reader.position()),
        }
    }
}

impl Drop for Watcher {
    fn drop(&mut self) {
        if let Stage::Open(reader) = &self.stage {
            reader.leave(&self.keyspace);
        }
        self.keyspace.listeners().leave();
    }
}

#[cfg(test)]
mod tests;
