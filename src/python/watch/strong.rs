//! A watch of a strong keyspace: whole transactions in the order of the log, told change by change, each with its position.

use std::collections::VecDeque;

use parking_lot::Mutex;
use xxhash_rust::xxh3::Xxh3;

use super::{Place, Source, Told};
use crate::{
    client::{Wake, Watch},
    error::{Error, ErrorCode, Result},
    python::strong::Now,
    replication::strong::{Change, GroupWatch, Revision, Space, VersionState, WatchPage},
    types::{KeyRange, WatchFilter},
};

/// How the positions of strong watches begin; those of eventual ones begin with something else.
const TAG: u8 = b'S';

/// Tag, what the watch is of, revision, changes.
const POSITION_BYTES: usize = 1 + 8 + 8 + 4;

/// Stands for the changes of a position inside what was there at the beginning: whoever resumes there gets all of it again.
const INITIAL: u32 = u32::MAX;

/// Everything up to a revision is told, and so many changes of the transaction after it.
#[derive(Clone, Copy)]
pub(super) struct StrongPosition {
    /// Hash of what is watched, so that a position is not taken for that of another watch.
    of: u64,
    revision: Revision,
    changes: u32,
}

impl StrongPosition {
    pub(super) fn encode(&self) -> Vec<u8> {
        let parts = [&[TAG][..], &self.of.to_le_bytes(), &self.revision.0.to_le_bytes(), &self.changes.to_le_bytes()];
        parts.concat()
    }

    /// Whether it is of a strong keyspace.
    pub(super) fn is_one(bytes: &[u8]) -> bool {
        bytes.first() == Some(&TAG)
    }

    fn decode(of: u64, bytes: &[u8]) -> Result<StrongPosition> {
        let word = |at: usize| bytes.get(at..at + 8)?.try_into().ok().map(u64::from_le_bytes);
        let changes = || bytes.get(17..)?.try_into().ok().map(u32::from_le_bytes);
        match (bytes.first(), word(1), word(9), changes()) {
            (Some(&TAG), Some(told), Some(revision), Some(changes)) if told == of && bytes.len() == POSITION_BYTES => {
                Ok(StrongPosition { of, revision: Revision(revision), changes })
            }
            _ => Err(Error::new(ErrorCode::InvalidArgument, "since: it is no position of a watch of the same keys")),
        }
    }
}

/// What is known of a watch under way.
pub(super) struct Strong {
    watch: Watch<WatchPage>,
    state: Mutex<State>,
}

struct State {
    is_begun: bool,
    /// After the last event that was handed out.
    position: StrongPosition,
    /// Of the last page, those that were not handed out.
    events: VecDeque<(Told, StrongPosition)>,
    /// Where the last page ends.
    end: StrongPosition,
}

impl Strong {
    /// A watch that `open` begins.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when `since` is no position of such a watch; those of `open`.
    pub(super) fn open(
        (keyspace, locks, filter): (String, bool, WatchFilter),
        (since, initial): (Option<&[u8]>, bool),
        open: impl FnOnce(GroupWatch) -> Result<Watch<WatchPage>>,
    ) -> Result<Strong> {
        let of = fingerprint(&keyspace, locks, &filter);
        let since = since.map(|since| StrongPosition::decode(of, since)).transpose()?;
        let initial = initial || since.is_some_and(|since| since.changes == INITIAL);
        let changes = if initial { INITIAL } else { 0 };
        let position = since.unwrap_or(StrongPosition { of, revision: Revision::ZERO, changes });
        let is_begun = initial || since.is_some();
        let watch = open(GroupWatch {
            keyspace,
            space: if locks { Space::Locks } else { Space::Data },
            range: range_of(&filter),
            since: since.filter(|_| !initial).map(|since| since.revision),
            initial,
        })?;
        let state = State { is_begun, position, events: VecDeque::new(), end: position };
        Ok(Strong { watch, state: Mutex::new(state) })
    }
}

fn fingerprint(keyspace: &str, locks: bool, filter: &WatchFilter) -> u64 {
    let (kind, bytes): (u8, &[u8]) = match filter {
        WatchFilter::All => (0, &[]),
        WatchFilter::Prefix(prefix) => (1, prefix),
        WatchFilter::Key(key) => (2, key),
    };
    let mut hash = Xxh3::new();
    hash.update(&[kind, u8::from(locks)]);
    hash.update(&(keyspace.len() as u64).to_le_bytes());
    hash.update(keyspace.as_bytes());
    hash.update(bytes);
    hash.digest()
}

fn range_of(filter: &WatchFilter) -> KeyRange {
    match filter {
        WatchFilter::All => KeyRange::default(),
        WatchFilter::Prefix(prefix) => KeyRange::prefix(prefix),
        // The first key after a key is the key with a zero byte.
        WatchFilter::Key(key) => {
            KeyRange { prefix: key.to_vec(), start: None, end: Some([key.as_ref(), &[0][..]].concat()) }
        }
    }
}

impl State {
    /// Takes pages until one has events, or there is none.
    fn fill(&mut self, watch: &Watch<WatchPage>) -> Result<()> {
        while self.events.is_empty() {
            self.position = self.end;
            let Some(page) = watch.take()? else { return Ok(()) };
            self.is_begun = true;
            self.take(page);
        }
        Ok(())
    }

    fn take(&mut self, page: WatchPage) {
        let of = self.position.of;
        let now = Now::at(page.elapsed_ms);
        for transaction in page.transactions {
            let revision = transaction.revision;
            let before = StrongPosition { of, revision: Revision(revision.0.saturating_sub(1)), changes: 0 };
            // Of the transaction that a position is inside of, the first changes were told before it.
            let is_resumed = self.position.changes != INITIAL && self.position.revision == before.revision;
            let skipped = if is_resumed { self.position.changes } else { 0 };
            let count = u32::try_from(transaction.changes.len()).unwrap_or(INITIAL);
            for (change, place) in transaction.changes.into_iter().zip(1..).skip(skipped as usize) {
                let position = match (page.initial, place == count) {
                    (true, _) => StrongPosition { of, revision, changes: INITIAL },
                    (false, true) => StrongPosition { of, revision, changes: 0 },
                    (false, false) => StrongPosition { changes: place, ..before },
                };
                self.events.push_back((told(&now, change, (revision, page.initial), position), position));
            }
        }
        let changes = if page.initial { INITIAL } else { 0 };
        self.end = StrongPosition { of, revision: page.until, changes };
    }
}

fn told(now: &Now, change: Change, (revision, initial): (Revision, bool), position: StrongPosition) -> Told {
    let (kind, entry) = match &change.state {
        VersionState::Live(item) => ("put", Some(now.entry(&change.key, item, false))),
        VersionState::Deleted => ("delete", None),
        VersionState::Expired => ("expire", None),
    };
    Told {
        kind,
        key: bytes::Bytes::copy_from_slice(&change.key),
        version: revision.0,
        entry,
        previous: change.previous.map(|item| now.entry(&change.key, &item, false)),
        revision: Some(revision.0),
        initial,
        place: Place::Strong(position),
    }
}

impl Source for Strong {
    fn on_change(&self, wake: Wake) {
        self.watch.on_change(wake);
    }

    fn pop(&self) -> Result<Option<Told>> {
        let mut state = self.state.lock();
        state.fill(&self.watch)?;
        let Some((told, position)) = state.events.pop_front() else { return Ok(None) };
        state.position = if state.events.is_empty() { state.end } else { position };
        Ok(Some(told))
    }

    fn is_begun(&self) -> Result<bool> {
        let mut state = self.state.lock();
        state.fill(&self.watch)?;
        Ok(state.is_begun)
    }

    fn position(&self) -> Vec<u8> {
        self.state.lock().position.encode()
    }

    /// A page has whole transactions.
    fn is_inside(&self) -> bool {
        let state = self.state.lock();
        !state.events.is_empty() && state.position.changes != 0 && state.position.changes != INITIAL
    }

    fn cancel(&self) {
        self.watch.cancel();
        let mut state = self.state.lock();
        state.end = state.position;
        let untold = std::mem::take(&mut state.events);
        drop(state);
        drop(untold);
    }
}
