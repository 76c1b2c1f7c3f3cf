//! Which places each transaction changed, from the compaction point on: the order of events. The values are in the chains of
//! their keys.

use std::{ops::Bound, sync::Arc};

use imbl::OrdMap;

use super::{
    bounds::Bounds,
    ids::Revision,
    item::{Place, VersionState},
};

/// About what a change costs in memory beside its key and value: the version that it replaced, in a chain that may have been
/// made for it, and its place in the history.
const CHANGE_BYTES: u64 = 400;

/// A transaction that is over.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Past {
    /// By the leader's clock.
    pub(super) time_ms: u64,
    /// By the machine's.
    pub(super) elapsed_ms: u64,
    /// Of its keys and values.
    pub(super) bytes: u64,
    /// In order, each once.
    pub(super) places: Arc<[Place]>,
}

/// The transactions that are kept. Cheap to clone.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct History {
    transactions: OrdMap<Revision, Past>,
    changes: u64,
    bytes: u64,
}

/// The weight of a change in the history.
pub(super) fn change_bytes(place: &Place, state: &VersionState) -> u64 {
    let value = state.live().map_or(0, |item| item.value.len());
    CHANGE_BYTES + (place.key.len() + value) as u64
}

impl History {
    pub(super) fn push(&mut self, revision: Revision, past: Past) {
        self.changes += past.places.len() as u64;
        self.bytes = self.bytes.saturating_add(past.bytes);
        self.transactions.insert(revision, past);
    }

    /// The transactions after `revision`, in order.
    pub(super) fn after(&self, revision: Revision) -> impl Iterator<Item = (Revision, &Past)> {
        self.transactions.range((Bound::Excluded(revision), Bound::Unbounded)).map(|(revision, past)| (*revision, past))
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = (Revision, &Past)> {
        self.transactions.iter().map(|(revision, past)| (*revision, past))
    }

    /// Whether a bound that memory depends on is exceeded.
    pub(super) fn is_over(&self, bounds: &Bounds) -> bool {
        self.changes > bounds.history_changes || self.bytes > bounds.history_bytes
    }

    /// How many changes are kept, and their bytes.
    pub(super) fn size(&self) -> (u64, u64) {
        (self.changes, self.bytes)
    }

    pub(super) fn oldest(&self) -> Option<(Revision, &Past)> {
        self.transactions.get_min().map(|(revision, past)| (*revision, past))
    }

    pub(super) fn pop_oldest(&mut self) -> Option<(Revision, Past)> {
        let revision = self.oldest()?.0;
        let past = self.transactions.remove(&revision)?;
        self.changes -= past.places.len() as u64;
        self.bytes = self.bytes.saturating_sub(past.bytes);
        Some((revision, past))
    }
}
