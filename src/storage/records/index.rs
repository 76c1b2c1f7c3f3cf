//! The records that have to be looked at again some day: tombstones, until nobody can need them, and values that end.

use std::{collections::BTreeSet, ops::Bound};

use crate::types::{Key, RecordRef, Timestamp};

/// The keys of tombstones by their age, and of values by their end. A record that is neither costs two branches.
#[derive(Debug, Default)]
pub(super) struct Index {
    tombstones: BTreeSet<(Timestamp, Key)>,
    expiring: BTreeSet<(u64, Key)>,
}

impl Index {
    /// A record came in.
    pub(super) fn add(&mut self, key: &Key, record: RecordRef<'_>) {
        if record.value.is_none() {
            self.tombstones.insert((record.timestamp, key.clone()));
        } else if let Some(expires_ms) = record.expires_ms {
            self.expiring.insert((expires_ms.get(), key.clone()));
        }
    }

    /// A record that was added is gone.
    pub(super) fn remove(&mut self, key: &Key, record: RecordRef<'_>) {
        if record.value.is_none() {
            self.tombstones.remove(&(record.timestamp, key.clone()));
        } else if let Some(expires_ms) = record.expires_ms {
            self.expiring.remove(&(expires_ms.get(), key.clone()));
        }
    }

    /// The tombstones, the oldest first.
    pub(super) fn tombstones(&self) -> impl Iterator<Item = &(Timestamp, Key)> {
        self.tombstones.iter()
    }

    /// The stamp of the newest tombstone up to `stamp`.
    pub(super) fn newest_until(&self, stamp: Timestamp) -> Option<Timestamp> {
        // No key is less, so that nothing of the next stamp comes before it.
        let least = Key::new(&[0]).ok()?;
        let until = (Bound::Unbounded, Bound::Excluded((stamp.next(), least)));
        self.tombstones.range(until).next_back().map(|(timestamp, _)| *timestamp)
    }

    /// The values that end, the first to end first.
    pub(super) fn expiring(&self) -> impl Iterator<Item = &(u64, Key)> {
        self.expiring.iter()
    }
}
