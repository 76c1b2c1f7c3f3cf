//! Everything that the replicas of a group agree on, and the one function that changes keys: [`State::commit`].
//!
//! All of it is in maps that share what they have in common with their copies, so a copy takes no time and stays what it is.
//! What follows from the rest (which keys hang on a lease, what ends when) is kept up beside it and is in no snapshot.

use std::{collections::BTreeMap, sync::Arc};

use imbl::{OrdMap, OrdSet};

use super::{
    bounds::Bounds,
    clients::Clients,
    clock::Clock,
    history::{change_bytes, History, Past},
    ids::{KeyspaceId, LeaseId, LogPosition, Revision},
    item::{Chain, Item, Place, Space, Until, Version, VersionState},
    leases::LeaseState,
    locks::Queue,
};
use crate::types::Key;

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct State {
    pub(super) bounds: Bounds,
    pub(super) applied: Option<LogPosition>,
    /// The hash of everything that was applied and answered, each entry over the one before.
    pub(super) log_hash: u64,
    pub(super) clock: Clock,
    pub(super) revision: Revision,
    /// The oldest revision that can be read.
    pub(super) compacted: Revision,
    /// The last ids that were given.
    pub(super) last_ids: LastIds,
    pub(super) keyspaces: OrdMap<KeyspaceId, Keyspace>,
    /// What the ids of its eventual keyspaces have in common; `None`: it has never made one.
    pub(super) spaces: Option<u64>,
    /// Follows from the keyspaces.
    pub(super) names: OrdMap<String, KeyspaceId>,
    pub(super) leases: OrdMap<LeaseId, Arc<LeaseState>>,
    /// Follows from the leases.
    pub(super) lease_deadlines: OrdSet<(u64, LeaseId)>,
    /// Follows from the items.
    pub(super) key_deadlines: OrdSet<(u64, KeyspaceId, Key)>,
    pub(super) clients: Clients,
    pub(super) history: History,
}

#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct LastIds {
    pub(super) keyspace: u64,
    pub(super) lease: u64,
    /// A place in the line for a lock.
    pub(super) ticket: u64,
}

/// One keyspace.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Keyspace {
    pub(super) name: String,
    /// How many conflicts of it a node remembers, if it is eventual: then nothing else of it is here.
    pub(super) keep_conflicts: Option<u64>,
    pub(super) data: OrdMap<Key, Chain>,
    pub(super) locks: OrdMap<Key, Chain>,
    /// Who waits for which lock. None is empty.
    pub(super) queues: OrdMap<Key, Queue>,
    /// How many keys are there. Follows from the chains.
    pub(super) live_keys: u64,
    /// The bytes of those keys and of their values. Follows from the chains.
    pub(super) live_bytes: u64,
}

impl Keyspace {
    pub(super) fn chains(&self, space: Space) -> &OrdMap<Key, Chain> {
        match space {
            Space::Data => &self.data,
            Space::Locks => &self.locks,
        }
    }

    pub(super) fn chains_mut(&mut self, space: Space) -> &mut OrdMap<Key, Chain> {
        match space {
            Space::Data => &mut self.data,
            Space::Locks => &mut self.locks,
        }
    }
}

impl State {
    /// Counts on from `first`, if nothing was counted yet. What is before it is as if it were forgotten.
    pub(super) fn begin(&mut self, first: Revision) {
        if self.revision == Revision::ZERO && self.last_ids == LastIds::default() && self.clients.last_id == 0 {
            (self.revision, self.compacted) = (first, first);
            (self.last_ids.lease, self.clients.last_id) = (first.0, first.0);
        }
    }

    pub(super) fn chain(&self, place: &Place) -> Option<&Chain> {
        self.keyspaces.get(&place.keyspace)?.chains(place.space).get(&place.key)
    }

    pub(super) fn live(&self, place: &Place) -> Option<&Arc<Item>> {
        self.chain(place)?.live()
    }

    /// Changes places at the next revision. There is at least one, and each is in a keyspace that is there.
    pub(super) fn commit(&mut self, time_ms: u64, changes: BTreeMap<Place, VersionState>) -> Revision {
        assert!(!changes.is_empty(), "a revision changes something");
        let revision = self.revision.next();
        let bytes = changes.iter().map(|(place, state)| change_bytes(place, state)).sum();
        let places: Arc<[Place]> = changes.keys().cloned().collect();
        for (place, state) in changes {
            self.replace(&place, true, Version { revision, state });
        }
        self.close(time_ms, bytes, places)
    }

    /// As [`State::commit`], for one place. `is_known`: it has a version already.
    pub(super) fn commit_one(
        &mut self,
        time_ms: u64,
        (place, is_known): (Place, bool),
        state: VersionState,
    ) -> Revision {
        let (revision, bytes) = (self.revision.next(), change_bytes(&place, &state));
        self.replace(&place, is_known, Version { revision, state });
        self.close(time_ms, bytes, Arc::new([place]))
    }

    /// Enters the next revision into the history, in which these places were changed.
    fn close(&mut self, time_ms: u64, bytes: u64, places: Arc<[Place]>) -> Revision {
        self.revision = self.revision.next();
        self.history.push(self.revision, Past { time_ms, elapsed_ms: self.clock.elapsed_ms, bytes, places });
        self.revision
    }

    /// Makes `version` the latest of a place, and keeps up what follows from it. `may_be_known`: it may have a version already.
    fn replace(&mut self, place: &Place, may_be_known: bool, version: Version) {
        let after = version.state.live().cloned();
        let before = match may_be_known {
            true => self.push_version(place, version),
            false => self.begin_chain(place, version),
        };
        if let Some(before) = before {
            self.unindex(place, &before);
        }
        if let Some(after) = after {
            self.index(place, &after);
        }
    }

    /// Adds a version to a place and nothing else. What was there before, if it was.
    pub(super) fn push_version(&mut self, place: &Place, version: Version) -> Option<Arc<Item>> {
        let chains = self.keyspaces.get_mut(&place.keyspace)?.chains_mut(place.space);
        if let Some(chain) = chains.get_mut(&place.key) {
            let before = chain.live().cloned();
            chain.push(version);
            return before;
        }
        self.begin_chain(place, version)
    }

    /// As [`State::push_version`], for a place that has none.
    fn begin_chain(&mut self, place: &Place, version: Version) -> Option<Arc<Item>> {
        let chains = self.keyspaces.get_mut(&place.keyspace)?.chains_mut(place.space);
        chains.insert(place.key.clone(), Chain::new(version));
        None
    }

    pub(super) fn index(&mut self, place: &Place, item: &Item) {
        match item.until {
            Until::Deleted => {}
            Until::Elapsed(deadline_ms) => {
                self.key_deadlines.insert((deadline_ms, place.keyspace, place.key.clone()));
            }
            Until::Lease(lease) => {
                if let Some(lease) = self.leases.get_mut(&lease) {
                    Arc::make_mut(lease).places.insert(place.clone());
                }
            }
        }
        self.count(place, |keys, bytes| (keys + 1, bytes + item_bytes(place, item)));
    }

    pub(super) fn unindex(&mut self, place: &Place, item: &Item) {
        match item.until {
            Until::Deleted => {}
            Until::Elapsed(deadline_ms) => {
                self.key_deadlines.remove(&(deadline_ms, place.keyspace, place.key.clone()));
            }
            Until::Lease(lease) => {
                if let Some(lease) = self.leases.get_mut(&lease) {
                    Arc::make_mut(lease).places.remove(place);
                }
            }
        }
        self.count(place, |keys, bytes| (keys.saturating_sub(1), bytes.saturating_sub(item_bytes(place, item))));
    }

    /// Keeps up how many keys there are, and their bytes; of locks it is not kept.
    fn count(&mut self, place: &Place, change: impl FnOnce(u64, u64) -> (u64, u64)) {
        let Some(keyspace) = self.keyspaces.get_mut(&place.keyspace) else { return };
        if place.space == Space::Data {
            (keyspace.live_keys, keyspace.live_bytes) = change(keyspace.live_keys, keyspace.live_bytes);
        }
    }

    /// Removes keys whose time to live has passed, `keys_max` of them at most.
    pub(super) fn expire_keys(&mut self, time_ms: u64, keys_max: usize) -> u64 {
        let due = self.key_deadlines.iter().take_while(|(deadline_ms, ..)| *deadline_ms <= self.clock.elapsed_ms);
        let place = |(_, keyspace, key): &(u64, KeyspaceId, Key)| Place {
            keyspace: *keyspace,
            space: Space::Data,
            key: key.clone(),
        };
        let ended: BTreeMap<Place, VersionState> =
            due.take(keys_max).map(|due| (place(due), VersionState::Expired)).collect();
        let count = ended.len() as u64;
        if count > 0 {
            self.commit(time_ms, ended);
        }
        count
    }

    /// Clears the history away that is over its bounds, and of what is merely old or compacted `changes_max` changes.
    pub(super) fn retire(&mut self, changes_max: u64) {
        let mut retired = 0;
        while let Some((revision, past)) = self.history.oldest() {
            let age_ms = self.clock.elapsed_ms.saturating_sub(past.elapsed_ms);
            let is_unwanted = revision <= self.compacted || age_ms > self.bounds.history_age_ms;
            if !(self.history.is_over(&self.bounds) || (is_unwanted && retired < changes_max)) {
                break;
            }
            retired += past.places.len() as u64;
            self.retire_oldest();
        }
    }

    fn retire_oldest(&mut self) {
        let Some((revision, past)) = self.history.pop_oldest() else { return };
        self.compacted = self.compacted.max(revision);
        for place in past.places.iter() {
            let Some(keyspace) = self.keyspaces.get_mut(&place.keyspace) else { continue };
            let chains = keyspace.chains_mut(place.space);
            let is_left = chains.get_mut(&place.key).is_none_or(|chain| chain.forget_before(revision));
            if !is_left {
                chains.remove(&place.key);
            }
        }
    }
}

fn item_bytes(place: &Place, item: &Item) -> u64 {
    (place.key.len() + item.value.len()) as u64
}
