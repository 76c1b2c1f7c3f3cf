//! Reading: now, at a past revision, and what changed since one. Nothing here changes anything.

use std::{ops::Bound, sync::Arc};

use super::{
    history::Past,
    ids::{KeyspaceId, LeaseId, Revision},
    item::{Item, Place, Space, Version, VersionState},
    leases::LeaseState,
    state::Keyspace,
    Machine, SeenLease,
};
use crate::{
    error::{Error, ErrorCode},
    faults,
    limits::CHANGES_VISITS_MAX,
    types::{Catalogue, Consistency, Edition, Key, KeyRange, Listed, PageRequest, SpaceId},
};

/// A keyspace, for people.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct KeyspaceFacts {
    /// Its name.
    pub name: String,
    /// What it promises.
    pub consistency: Consistency,
    /// How many keys are in it; 0 for an eventual one, of which the group does not know.
    pub keys: u64,
    /// The bytes of those keys and of their values.
    pub bytes: u64,
}

/// Why a read has no answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum ReadError {
    /// There is no such keyspace.
    #[error("keyspace {0}: there is none")]
    UnknownKeyspace(KeyspaceId),
    /// What was at that revision is forgotten.
    #[error("revision {asked} is forgotten, the oldest is {compacted}")]
    Compacted {
        /// Which.
        asked: Revision,
        /// From here on it can be read.
        compacted: Revision,
    },
    /// That revision is yet to come.
    #[error("revision {asked} is yet to come, the last is {revision}")]
    Future {
        /// Which.
        asked: Revision,
        /// The present one.
        revision: Revision,
    },
}

impl From<ReadError> for Error {
    fn from(error: ReadError) -> Error {
        let code = match error {
            ReadError::UnknownKeyspace(_) => ErrorCode::UnknownKeyspace,
            ReadError::Compacted { .. } => ErrorCode::Compacted,
            ReadError::Future { .. } => ErrorCode::InvalidArgument,
        };
        Error::new(code, error.to_string())
    }
}

/// A part of a range, in the order asked for.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ItemPage {
    /// Keys with what they hold.
    pub items: Vec<(Key, Arc<Item>)>,
    /// There may be more beyond the last one.
    pub more: bool,
}

/// Which changes to tell.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ChangesQuery {
    /// Of which keyspace.
    pub keyspace: KeyspaceId,
    /// Of its keys, or of who holds its locks.
    pub space: Space,
    /// Of which keys.
    pub range: KeyRange,
    /// After this revision.
    pub since: Revision,
    /// The page ends with the transaction that brings it to so many changes.
    pub changes_target: usize,
}

/// A part of what happened.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Changes {
    /// In order, those without a change that was asked for left out.
    pub transactions: Vec<TransactionChanges>,
    /// All up to this revision is told: ask from here next. Never before [`ChangesQuery::since`], nor ahead of what is told.
    pub until: Revision,
    /// Whether there is more to look at now.
    pub more: bool,
}

/// What one transaction changed.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TransactionChanges {
    /// Which.
    pub revision: Revision,
    /// When, by the leader's clock: milliseconds since the Unix epoch.
    pub time_ms: u64,
    /// In the order of keys, each key once.
    pub changes: Vec<Change>,
}

/// What a transaction made of a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Change {
    /// Which.
    pub key: Key,
    /// What it is since.
    pub state: VersionState,
    /// What it was before.
    pub previous: Option<Arc<Item>>,
}

/// A lease, for whoever asks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Lease {
    /// How long it lasts after a keep-alive.
    pub ttl_ms: u64,
    /// How long it lasts from now on.
    pub remaining_ms: u64,
    /// How often it was kept alive.
    pub generation: u64,
    /// Keys and locks that hang on it.
    pub places: u64,
}

/// Some of the leases.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct LeasePage {
    /// In the order in which they were granted.
    pub leases: Vec<(LeaseId, Lease)>,
    /// There may be more after the last one.
    pub more: bool,
}

impl Machine {
    fn keyspace(&self, keyspace: KeyspaceId) -> Result<&Keyspace, ReadError> {
        self.state.keyspaces.get(&keyspace).ok_or(ReadError::UnknownKeyspace(keyspace))
    }

    fn check_revision(&self, asked: Revision) -> Result<(), ReadError> {
        let (compacted, revision) = (self.compacted(), self.revision());
        if asked < compacted {
            return Err(ReadError::Compacted { asked, compacted });
        }
        if asked > revision {
            return Err(ReadError::Future { asked, revision });
        }
        Ok(())
    }

    /// What is at a place now.
    ///
    /// # Errors
    /// [`ReadError::UnknownKeyspace`].
    pub fn get(&self, keyspace: KeyspaceId, space: Space, key: &[u8]) -> Result<Option<&Arc<Item>>, ReadError> {
        Ok(self.keyspace(keyspace)?.chains(space).get(key).and_then(|chain| chain.live()))
    }

    /// What was at a place at a revision.
    ///
    /// # Errors
    /// Those of [`ReadError`].
    pub fn get_at(
        &self,
        keyspace: KeyspaceId,
        space: Space,
        key: &[u8],
        revision: Revision,
    ) -> Result<Option<&Arc<Item>>, ReadError> {
        let chains = self.keyspace(keyspace)?.chains(space);
        self.check_revision(revision)?;
        Ok(chains.get(key).and_then(|chain| chain.at(revision)).and_then(|version| version.state.live()))
    }

    /// A page of keys as they were at a revision, the present one included.
    ///
    /// # Errors
    /// Those of [`ReadError`].
    pub fn page_at(
        &self,
        keyspace: KeyspaceId,
        space: Space,
        request: &PageRequest,
        revision: Revision,
    ) -> Result<ItemPage, ReadError> {
        let chains = self.keyspace(keyspace)?.chains(space);
        self.check_revision(revision)?;
        let Some((lower, upper)) = request.range.bounds() else { return Ok(ItemPage::default()) };
        let bounds = (lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice));
        let range = chains.range::<(Bound<&[u8]>, Bound<&[u8]>), [u8]>(bounds);
        let visible = |(key, chain): (&Key, &super::item::Chain)| {
            let item = chain.at(revision)?.state.live()?;
            Some((key.clone(), item.clone()))
        };
        Ok(match request.reverse {
            false => page(range.filter_map(visible), request),
            true => page(range.rev().filter_map(visible), request),
        })
    }

    /// How many keys were in a range at a revision. Of a whole keyspace as it is now it is known, else it is counted.
    ///
    /// # Errors
    /// Those of [`ReadError`].
    pub fn count_at(
        &self,
        keyspace: KeyspaceId,
        space: Space,
        range: &KeyRange,
        revision: Revision,
    ) -> Result<u64, ReadError> {
        let found = self.keyspace(keyspace)?;
        self.check_revision(revision)?;
        if space == Space::Data && *range == KeyRange::default() && revision == self.revision() {
            return Ok(found.live_keys);
        }
        let Some((lower, upper)) = range.bounds() else { return Ok(0) };
        let bounds = (lower.as_ref().map(Vec::as_slice), upper.as_ref().map(Vec::as_slice));
        let range = found.chains(space).range::<(Bound<&[u8]>, Bound<&[u8]>), [u8]>(bounds);
        let is_live = |chain: &super::item::Chain| chain.at(revision).is_some_and(|at| at.state.live().is_some());
        Ok(range.filter(|(_, chain)| is_live(chain)).count() as u64)
    }

    /// What happened after a revision: whole transactions, in order, from the next one on. The revision may lie in the future.
    ///
    /// # Errors
    /// [`ReadError::UnknownKeyspace`]; [`ReadError::Compacted`] when not all of it is kept any more.
    pub fn changes_since(&self, query: &ChangesQuery) -> Result<Changes, ReadError> {
        let keyspace = self.keyspace(query.keyspace)?;
        let (asked, compacted) = (query.since, self.compacted());
        if asked < compacted && !faults::is_mutant("strong_watch_below_compaction") {
            return Err(ReadError::Compacted { asked, compacted });
        }
        let mut told = Changes { transactions: Vec::new(), until: asked, more: false };
        let (mut count, mut visits) = (0, 0);
        for (revision, past) in self.state.history.after(asked) {
            if count >= query.changes_target || visits >= CHANGES_VISITS_MAX {
                told.more = true;
                return Ok(told);
            }
            let changes = changes_of(keyspace, query, revision, past);
            (count, visits) = (count + changes.len(), visits + past.places.len());
            if !changes.is_empty() {
                told.transactions.push(TransactionChanges { revision, time_ms: past.time_ms, changes });
            }
            told.until = revision;
        }
        told.until = told.until.max(self.revision());
        Ok(told)
    }

    /// The keyspaces: of an eventual one it is not known here what is in it.
    pub fn keyspaces(&self) -> impl Iterator<Item = (KeyspaceId, KeyspaceFacts)> + '_ {
        let facts = |found: &Keyspace| KeyspaceFacts {
            name: found.name.clone(),
            consistency: consistency(found),
            keys: found.live_keys,
            bytes: found.live_bytes,
        };
        self.state.keyspaces.iter().map(move |(id, found)| (*id, facts(found)))
    }

    /// Of all strong keyspaces together: how many keys are there, and the bytes of keys and values.
    pub fn size(&self) -> (u64, u64) {
        let add = |(keys, bytes), found: &Keyspace| (keys + found.live_keys, bytes + found.live_bytes);
        self.state.keyspaces.values().fold((0, 0), add)
    }

    /// What a keyspace is, if there is one of that name.
    pub fn consistency_of(&self, name: &str) -> Option<Consistency> {
        self.keyspace_named(name).and_then(|id| self.state.keyspaces.get(&id)).map(consistency)
    }

    /// Which keyspaces there are, without what is in them.
    pub fn catalogue(&self) -> Catalogue {
        let mut catalogue = Catalogue { edition: self.edition(), group: self.state.spaces, ..Catalogue::default() };
        for (id, keyspace) in &self.state.keyspaces {
            let space = |group| SpaceId { group, keyspace: u32::try_from(id.0).unwrap_or(u32::MAX) };
            let listed = match (keyspace.keep_conflicts, self.state.spaces.map(space)) {
                (Some(keep_conflicts), Some(space)) => Listed::Eventual { space, keep_conflicts },
                _ => Listed::Strong,
            };
            catalogue.list(&keyspace.name, listed);
        }
        catalogue
    }

    /// Of the [`Machine::catalogue`]. Costs nothing.
    pub fn edition(&self) -> Edition {
        let made = self.state.last_ids.keyspace;
        Edition { made, dropped: made.saturating_sub(self.state.keyspaces.len() as u64) }
    }

    /// The keyspace of that name.
    pub fn keyspace_named(&self, name: &str) -> Option<KeyspaceId> {
        self.state.names.get(name).copied()
    }

    /// A lease, unless it has ended.
    pub fn lease(&self, lease: LeaseId) -> Option<Lease> {
        self.state.leases.get(&lease).map(|state| self.left_of(state))
    }

    fn left_of(&self, state: &LeaseState) -> Lease {
        Lease {
            ttl_ms: state.ttl_ms,
            remaining_ms: state.deadline_ms.saturating_sub(self.elapsed_ms()),
            generation: state.generation,
            places: state.places.len() as u64,
        }
    }

    /// The first `leases_max` leases that were granted after `after` and have not ended.
    pub fn leases_after(&self, after: LeaseId, leases_max: usize) -> LeasePage {
        let mut found = self.state.leases.range((Bound::Excluded(after), Bound::Unbounded));
        let leases = found.by_ref().take(leases_max).map(|(lease, state)| (*lease, self.left_of(state))).collect();
        LeasePage { leases, more: found.next().is_some() }
    }

    /// The leases whose time is over by `elapsed_ms`, those first that ended first: what a leader proposes to expire, with
    /// its own estimate of what has passed since the last entry added to [`Machine::elapsed_ms`].
    pub fn due_leases(&self, elapsed_ms: u64, leases_max: usize) -> Vec<SeenLease> {
        let due = self.state.lease_deadlines.iter().take_while(|(deadline_ms, _)| *deadline_ms <= elapsed_ms);
        let seen = due.filter_map(|(_, lease)| {
            let generation = self.state.leases.get(lease)?.generation;
            Some(SeenLease { lease: *lease, generation })
        });
        seen.take(leases_max).collect()
    }

    /// When the next key or lease ends, in the machine's own time: a leader sees to it that there is an entry then.
    pub fn next_deadline_ms(&self) -> Option<u64> {
        let key = self.state.key_deadlines.get_min().map(|(deadline_ms, ..)| *deadline_ms);
        let lease = self.state.lease_deadlines.get_min().map(|(deadline_ms, _)| *deadline_ms);
        key.into_iter().chain(lease).min()
    }
}

fn page(visible: impl Iterator<Item = (Key, Arc<Item>)>, request: &PageRequest) -> ItemPage {
    let (mut page, mut bytes) = (ItemPage::default(), 0);
    for (key, item) in visible {
        if page.items.len() >= request.keys_max || bytes >= request.bytes_target {
            page.more = true;
            break;
        }
        bytes += key.len() + item.value.len();
        page.items.push((key, item));
    }
    page
}

/// What a transaction changed of that which was asked for.
fn consistency(keyspace: &Keyspace) -> Consistency {
    match keyspace.keep_conflicts {
        Some(_) => Consistency::Eventual,
        None => Consistency::Strong,
    }
}

fn changes_of(keyspace: &Keyspace, query: &ChangesQuery, revision: Revision, past: &Past) -> Vec<Change> {
    let is_asked_for = |place: &&Place| {
        place.keyspace == query.keyspace && place.space == query.space && query.range.contains(&place.key)
    };
    let change = |place: &Place| {
        let chain = keyspace.chains(query.space).get(&place.key)?;
        let Version { state, .. } = chain.written_at(revision)?;
        let before = chain.at(Revision(revision.0 - 1));
        let previous = before.and_then(|version| version.state.live().cloned());
        Some(Change { key: place.key.clone(), state: state.clone(), previous })
    };
    past.places.iter().filter(is_asked_for).filter_map(change).collect()
}
