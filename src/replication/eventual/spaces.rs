//! Which eventual keyspaces there are besides `default`, as this node has last heard of them: by name for clients, by id for
//! whoever clears away what a dropped one has left.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;

use crate::{
    limits::{SPACE_SWEEP_PAUSE, SPACE_SWEEP_PAUSE_OTHERS},
    sync::RwLock,
    types::{Catalogue, Key, Listed, PartitionId, Space},
};

/// See the module.
#[derive(Debug, Default)]
pub struct Spaces {
    /// Replaced as a whole, by a later one only.
    catalogue: RwLock<Arc<Catalogue>>,
    /// How far each partition is looked through. Nothing is locked while it is held.
    rounds: Mutex<BTreeMap<PartitionId, Round>>,
}

/// What a node knows of a name.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Found {
    /// An eventual keyspace.
    Eventual(Space),
    /// A strong one.
    Strong,
    /// None that this node has heard of; the group may know better.
    Unknown,
}

/// A look through the records of one partition, in pieces.
#[derive(Clone, Debug, Default)]
pub(super) struct Round {
    /// The last key that was looked at; `None`: it begins.
    pub(super) after: Option<Key>,
    /// Something was found since it began.
    has_found: bool,
    /// When it begins, by the wall clock.
    due_ms: u64,
}

impl Round {
    /// After a piece that ended at a key (`None`: the last), and found something or not.
    pub(super) fn went_to(self, after: Option<Key>, has_found: bool) -> Round {
        Round { after, has_found: self.has_found || has_found, ..self }
    }
}

impl Spaces {
    /// What is known of a name other than `default`.
    pub fn find(&self, name: &str) -> Found {
        match self.catalogue.read().keyspaces.get(name) {
            Some(Listed::Eventual { space, .. }) => Found::Eventual(Space::Named(*space)),
            Some(Listed::Strong) => Found::Strong,
            None => Found::Unknown,
        }
    }

    /// Whether it is there. `default` always is.
    pub fn has(&self, space: Space) -> bool {
        match space {
            Space::Default => true,
            Space::Named(space) => self.catalogue.read().spaces.contains(&space),
        }
    }

    /// All that is known.
    pub fn catalogue(&self) -> Arc<Catalogue> {
        self.catalogue.read().clone()
    }

    /// Takes a catalogue over; false when the present one is as late.
    pub(super) fn take(&self, catalogue: Catalogue) -> bool {
        let mut kept = self.catalogue.write();
        let is_later = catalogue.edition > kept.edition;
        if is_later {
            *kept = Arc::new(catalogue);
            drop(kept);
            self.rounds.lock().clear();
        }
        is_later
    }

    /// Where the look through a partition goes on; `None`: it is not due.
    pub(super) fn round(&self, partition: PartitionId, now_ms: u64) -> Option<Round> {
        let round = self.rounds.lock().get(&partition).cloned().unwrap_or_default();
        (round.due_ms <= now_ms).then_some(round)
    }

    /// How far it came. One that has ended begins again after a pause, at once if it has found anything: where something
    /// was left there may be more by now.
    pub(super) fn set_round(&self, partition: PartitionId, round: Round, (now_ms, is_owner): (u64, bool)) {
        let pause = if is_owner { SPACE_SWEEP_PAUSE } else { SPACE_SWEEP_PAUSE_OTHERS };
        let pause_ms = u64::try_from(pause.as_millis()).unwrap_or(u64::MAX);
        let round = match (&round.after, round.has_found) {
            (None, false) => Round { due_ms: now_ms.saturating_add(pause_ms), ..Round::default() },
            (None, true) => Round::default(),
            (Some(_), _) => round,
        };
        self.rounds.lock().insert(partition, round);
    }
}
