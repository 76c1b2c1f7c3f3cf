//! The part of a watcher that never waits: reads what there is.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;

use super::scan::{Progress as ScanProgress, Scan};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{
        STATE_CHUNK_BYTES_TARGET, STATE_CHUNK_RECORDS_MAX, STATE_CHUNK_VISITS_MAX, WATCH_HOLD_MAX,
        WATCH_PAGE_BYTES_TARGET, WATCH_PAGE_EVENTS_MAX, WATCH_VISITS_MAX,
    },
    replication::eventual::{
        feed::{Changed, FeedBounds},
        keyspace::Progress,
        listeners::CoverBounds,
        Eventual, PieceBounds,
    },
    storage::{partition_of, Partition},
    types::{
        Entry, PartitionId, Sequence, Space, VersionVector, WantedKeys, WatchChange, WatchEvent, WatchFilter,
        WatchPage, WatchPosition, WatchRequest, WatchStart,
    },
};

/// How much a watcher reads at once.
#[derive(Clone, Copy, Debug)]
pub struct WatchBounds {
    /// Of the ring of changes.
    pub feed: FeedBounds,
    /// Of one piece of a scan.
    pub piece: PieceBounds,
    /// Changes looked at under one lock.
    pub visits_max: usize,
    /// Events in a page.
    pub events_max: usize,
    /// Bytes after which a page is closed.
    pub bytes_target: usize,
    /// How long a page is kept back at most: [`crate::limits::WATCH_HOLD_MAX`].
    pub hold_max: Duration,
    /// How long to wait for a node to catch up with a position.
    pub cover: CoverBounds,
}

impl Default for WatchBounds {
    fn default() -> WatchBounds {
        WatchBounds {
            feed: FeedBounds::default(),
            piece: PieceBounds {
                records_max: STATE_CHUNK_RECORDS_MAX,
                visits_max: STATE_CHUNK_VISITS_MAX,
                bytes_target: STATE_CHUNK_BYTES_TARGET,
            },
            visits_max: WATCH_VISITS_MAX,
            events_max: WATCH_PAGE_EVENTS_MAX,
            bytes_target: WATCH_PAGE_BYTES_TARGET,
            hold_max: WATCH_HOLD_MAX,
            cover: CoverBounds::default(),
        }
    }
}

/// What came of a piece of reading.
pub(super) enum Read {
    /// Something to tell, once a peer has these own writes.
    Page { page: WatchPage, needs: BTreeMap<PartitionId, Sequence> },
    /// Nothing to tell yet; there is more to read.
    More,
    /// Nothing, until something changes.
    Nothing,
}

/// Reads all partitions that its filter needs.
pub(super) struct Reader {
    wanted: WantedKeys,
    bounds: WatchBounds,
    cursors: Vec<Cursor>,
    /// At most one partition is scanned at a time, which bounds the memory.
    scan: Option<Scan>,
    /// Only scans are read until all partitions were scanned.
    is_initial: bool,
    /// Whoever watches has been shown nothing before, so deletes tell it nothing.
    is_fresh: bool,
    /// The partition that comes first.
    turn: usize,
}

/// Where a reader stands in one partition.
struct Cursor {
    partition: PartitionId,
    position: VersionVector,
    /// The next entry of the feed; `None`: the partition has to be scanned.
    next: Option<u64>,
    /// What was last told of the position as a whole.
    told: VersionVector,
}

impl Reader {
    /// A reader at the beginning of a request. It has joined the feeds: see [`Reader::leave`].
    pub(super) fn new(keyspace: &Eventual, space: Space, request: WatchRequest, bounds: WatchBounds) -> Reader {
        let WatchRequest { filter, start } = request;
        let partitions: Vec<PartitionId> = match &filter {
            WatchFilter::Key(key) => vec![partition_of(&space.held(key.clone()))],
            WatchFilter::All | WatchFilter::Prefix(_) => keyspace.partition_ids().collect(),
        };
        let cursor = |partition| {
            keyspace.write_progress(partition, |progress, vector| {
                progress.feed.join(bounds.feed);
                let (position, next) = match &start {
                    WatchStart::Now => (vector, Some(progress.feed.next())),
                    WatchStart::Initial => (VersionVector::new(), None),
                    WatchStart::After(since) | WatchStart::InitialAfter(since) => (since.vector(partition), None),
                };
                Cursor { partition, told: position.clone(), position, next }
            })
        };
        Reader {
            cursors: partitions.into_iter().map(cursor).collect(),
            wanted: WantedKeys { space, filter },
            bounds,
            scan: None,
            is_initial: matches!(start, WatchStart::Initial | WatchStart::InitialAfter(_)),
            is_fresh: matches!(start, WatchStart::Initial),
            turn: 0,
        }
    }

    /// Leaves the feeds.
    pub(super) fn leave(&self, keyspace: &Eventual) {
        for cursor in &self.cursors {
            keyspace.write_progress(cursor.partition, |progress, _| progress.feed.leave());
        }
    }

    /// Where the reader begins.
    pub(super) fn first_page(&self) -> WatchPage {
        let marks = self.cursors.iter().filter(|cursor| !cursor.position.is_empty());
        let marks = marks.map(|cursor| (cursor.partition, cursor.position.clone())).collect();
        WatchPage { marks, ..WatchPage::default() }
    }

    /// Where the reader stands.
    pub(super) fn position(&self) -> WatchPosition {
        let mut position = WatchPosition::new();
        self.cursors.iter().for_each(|cursor| position.reach(cursor.partition, &cursor.position));
        position
    }

    /// A bounded piece of reading. With `marks`, tells also how far the reader came without events.
    ///
    /// # Errors
    /// `COMPACTED`.
    pub(super) fn read(&mut self, keyspace: &Arc<Eventual>, marks: bool) -> Result<Read> {
        let mut draft = Draft::new(self.wanted.space, self.is_initial, self.is_fresh);
        let mut has_more = self.scan(keyspace, &mut draft)?;
        if self.is_initial && self.scan.is_none() && self.cursors.iter().all(|cursor| cursor.next.is_some()) {
            (self.is_initial, self.is_fresh, draft.page.is_initial_done) = (false, false, true);
        } else if !self.is_initial {
            has_more |= self.follow(keyspace, marks, &mut draft);
        }
        let is_telling = !draft.page.events.is_empty() || !draft.page.marks.is_empty() || draft.page.is_initial_done;
        Ok(match (is_telling, has_more) {
            (true, _) => Read::Page { page: draft.page, needs: draft.needs },
            (false, true) => Read::More,
            (false, false) => Read::Nothing,
        })
    }

    /// One step of the scan that is under way, or of the next. True when there is more to be scanned now.
    fn scan(&mut self, keyspace: &Arc<Eventual>, draft: &mut Draft) -> Result<bool> {
        if self.scan.is_none() {
            self.scan = self.begin_scan(keyspace)?;
        }
        let Some(scan) = &mut self.scan else { return Ok(false) };
        let partition = scan.partition();
        let progress = scan.step(keyspace, &self.wanted, &self.bounds, draft);
        let Some(cursor) = self.cursors.iter_mut().find(|cursor| cursor.partition == partition) else {
            return Ok(false);
        };
        cursor.pass(draft);
        if let ScanProgress::Over { vector, next } = progress {
            cursor.position.merge(&vector);
            cursor.next = Some(next);
            cursor.tell(draft);
            self.scan = None;
        }
        Ok(true)
    }

    fn begin_scan(&self, keyspace: &Arc<Eventual>) -> Result<Option<Scan>> {
        for cursor in self.cursors.iter().filter(|cursor| cursor.next.is_none()) {
            // In a partition of which nothing was shown yet, no delete can have been missed.
            let is_untouched = self.is_initial && cursor.position.is_empty();
            let Some(scan) = Scan::begin(keyspace, cursor.partition, cursor.position.clone()) else { continue };
            // After the scan has its moment, so that nothing is dropped in between.
            let is_compacted = !cursor.position.covers_all(&keyspace.dropped(cursor.partition));
            if is_compacted && !is_untouched {
                let text = "since: a delete after this position is forgotten; watch again with initial=True";
                return Err(Error::new(ErrorCode::Compacted, text));
            }
            return Ok(Some(scan));
        }
        Ok(None)
    }

    /// Reads the feeds of the partitions that need no scan. True when one of them has more.
    fn follow(&mut self, keyspace: &Eventual, marks: bool, draft: &mut Draft) -> bool {
        let mut has_more = false;
        let count = self.cursors.len();
        for step in 0..count {
            let index = (self.turn + step) % count;
            if draft.is_full(&self.bounds) {
                self.turn = index;
                return true;
            }
            let cursor = &mut self.cursors[index];
            let Some(next) = cursor.next else { continue };
            let followed = keyspace.read_partition(cursor.partition, |partition| {
                let followed = draft.follow(cursor, partition, next, &self.wanted, &self.bounds);
                let is_at_end = followed == Some(partition.sidecar.feed.next());
                // While fetched state is merged, nothing enters the feed, and the scan that follows tells of it.
                if marks && is_at_end && !partition.sidecar.is_merging {
                    cursor.position.merge(&partition.sidecar.vector(keyspace.me()));
                    draft.needs(cursor.partition, partition);
                }
                has_more |= !is_at_end;
                followed
            });
            cursor.next = followed;
            cursor.pass(draft);
            if marks {
                cursor.tell(draft);
            }
        }
        has_more
    }
}

impl Cursor {
    /// Takes over the dots that the draft has passed in this partition.
    fn pass(&mut self, draft: &mut Draft) {
        self.position.merge(&std::mem::take(&mut draft.passed));
    }

    /// Puts the position into the page, unless it says nothing new.
    fn tell(&mut self, draft: &mut Draft) {
        if self.position != self.told {
            self.told = self.position.clone();
            draft.page.marks.push((self.partition, self.position.clone()));
        }
    }
}

/// A page that is being written.
pub(super) struct Draft {
    space: Space,
    page: WatchPage,
    needs: BTreeMap<PartitionId, Sequence>,
    bytes: usize,
    /// What was looked at in the partition that is being read.
    passed: VersionVector,
    is_initial: bool,
    is_fresh: bool,
}

impl Draft {
    fn new(space: Space, is_initial: bool, is_fresh: bool) -> Draft {
        let (page, needs, passed) = (WatchPage::default(), BTreeMap::new(), VersionVector::new());
        Draft { space, page, needs, bytes: 0, passed, is_initial, is_fresh }
    }

    /// Whether the page is to be closed.
    pub(super) fn is_full(&self, bounds: &WatchBounds) -> bool {
        self.page.events.len() >= bounds.events_max || self.bytes >= bounds.bytes_target
    }

    /// What is shown of this partition must survive this node: the own writes up to now have to reach a peer.
    pub(super) fn needs(&mut self, id: PartitionId, partition: &Partition<Progress>) {
        let last = partition.sidecar.outbox.last();
        if last > partition.sidecar.outbox.safe() {
            self.needs.insert(id, last);
        }
    }

    /// Tells of a change, unless the key has changed again, which is told of later.
    pub(super) fn offer(&mut self, id: PartitionId, partition: &Partition<Progress>, changed: &Changed) {
        self.passed.raise(changed.dot.node, changed.dot.sequence);
        let held = &changed.key;
        let key = Bytes::copy_from_slice(self.space.key(held).unwrap_or(held));
        let bytes = key.len();
        let change = match (partition.records.get(held), changed.end) {
            (Some(record), _) if record.dot != changed.dot => return,
            (Some(record), None) => WatchChange::Put(Entry::new(key, record, false)),
            // Also when the tombstone has been dropped meanwhile.
            (_, Some(end)) if end.is_expiry => WatchChange::Expire { key, version: end.version },
            (_, Some(end)) => WatchChange::Delete { key, version: end.version },
            (None, None) => return,
        };
        let is_put = matches!(change, WatchChange::Put(_));
        if self.is_fresh && !is_put {
            return;
        }
        if let WatchChange::Put(entry) = &change {
            self.bytes += entry.value.len();
        }
        self.bytes += bytes;
        let is_initial = self.is_initial && is_put;
        self.page.events.push(WatchEvent { partition: id, dot: changed.dot, is_initial, change });
    }

    /// Reads the feed from an entry on; gives the entry to go on with, `None` when the reader has fallen out.
    fn follow(
        &mut self,
        cursor: &Cursor,
        partition: &Partition<Progress>,
        next: u64,
        wanted: &WantedKeys,
        bounds: &WatchBounds,
    ) -> Option<u64> {
        let mut visited = 0;
        for changed in partition.sidecar.feed.from(next)?.take(bounds.visits_max) {
            visited += 1;
            // What came back from a node that was given up for gone has been told already.
            if wanted.wants(&changed.key) && !cursor.position.covers(changed.dot) {
                self.offer(cursor.partition, partition, changed);
            } else {
                self.passed.raise(changed.dot.node, changed.dot.sequence);
            }
            if self.is_full(bounds) {
                break;
            }
        }
        if visited > 0 {
            self.needs(cursor.partition, partition);
        }
        Some(next + visited)
    }
}
