//! Locks and elections: a name that one lease at a time has, and a line of those who wait for it.
//!
//! Who has a lock is an item of the keyspace's [`Space::Locks`]: `created` is the revision of the acquisition, and so a fencing
//! token that grows with each holder, for ever; the value is what the holder proclaims. It hangs on the holder's lease. The
//! first in line gets the lock at the very revision at which the holder leaves it, so nobody can come between.
//!
//! The store checks tokens itself: a transaction with [`Guard::Holds`](super::Guard::Holds) is refused unless the lock is held
//! under that token, which a holder that was paused beyond its lease cannot know (Kleppmann, "How to do distributed
//! locking", 2016).

use std::{collections::BTreeMap, sync::Arc};

use imbl::OrdMap;

use super::{
    answer::{Answer, Refusal},
    entry::LockName,
    ids::{KeyspaceId, LeaseId, Revision},
    item::{Item, Place, Space, Until, VersionState},
    state::State,
};
use crate::types::{Key, Value};

/// Who waits for a lock, by ticket: the first comes first.
pub(super) type Queue = OrdMap<u64, Waiter>;

#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Waiter {
    pub(super) lease: LeaseId,
    /// What the lock will show.
    pub(super) value: Value,
}

impl From<&LockName> for Place {
    fn from(lock: &LockName) -> Place {
        Place { keyspace: lock.keyspace, space: Space::Locks, key: lock.name.clone() }
    }
}

fn holder(item: &Item) -> LeaseId {
    match item.until {
        Until::Lease(lease) => lease,
        Until::Deleted | Until::Elapsed(_) => LeaseId::default(),
    }
}

impl State {
    pub(super) fn acquire(
        &mut self,
        time_ms: u64,
        lock: &LockName,
        lease: LeaseId,
        value: &Value,
        wait: bool,
    ) -> Result<Answer, Refusal> {
        let LockName { keyspace, name } = lock;
        self.check_keyspace(*keyspace)?;
        let state = self.leases.get(&lease).ok_or(Refusal::UnknownLease { lease })?;
        if let Some(ahead) = self.place_in_queue(*keyspace, name, lease) {
            return Ok(Answer::Queued { ahead });
        }
        let place = Place::from(lock);
        match self.live(&place) {
            Some(held) if holder(held) == lease => Ok(Answer::Held { token: held.created }),
            Some(held) if !wait => Err(Refusal::LockHeld { lease: holder(held), token: held.created }),
            _ if state.load() >= self.bounds.lease_keys => Err(Refusal::LeaseFull { lease }),
            Some(_) => self.enqueue(lock, Waiter { lease, value: value.clone() }),
            None => {
                let held = self.held(time_ms, &Waiter { lease, value: value.clone() });
                Ok(Answer::Held { token: self.commit(time_ms, BTreeMap::from([(place, held)])) })
            }
        }
    }

    pub(super) fn release(&mut self, time_ms: u64, lock: &LockName, lease: LeaseId) -> Result<Answer, Refusal> {
        self.check_keyspace(lock.keyspace)?;
        if self.leave_queue(lock.keyspace, &lock.name, lease) {
            return Ok(Answer::Released);
        }
        let place = Place::from(lock);
        let token = match self.live(&place) {
            Some(held) if holder(held) == lease => None,
            held => Some(held.map_or(Revision::ZERO, |held| held.created)),
        };
        if let Some(token) = token {
            return Err(Refusal::NotHolder { token });
        }
        let next = self.next_holder(time_ms, &place).unwrap_or(VersionState::Deleted);
        self.commit(time_ms, BTreeMap::from([(place, next)]));
        Ok(Answer::Released)
    }

    pub(super) fn proclaim(
        &mut self,
        time_ms: u64,
        lock: &LockName,
        token: Revision,
        value: &Value,
    ) -> Result<Answer, Refusal> {
        self.check_keyspace(lock.keyspace)?;
        let place = Place::from(lock);
        let present = self.live(&place).map_or(Revision::ZERO, |held| held.created);
        let held =
            self.live(&place).filter(|held| held.created == token).ok_or(Refusal::NotHolder { token: present })?;
        let item = Item {
            value: value.clone(),
            modified: self.revision.next(),
            modified_ms: time_ms,
            writes: held.writes + 1,
            ..Item::clone(held)
        };
        let revision = self.commit(time_ms, BTreeMap::from([(place, VersionState::Live(Arc::new(item)))]));
        Ok(Answer::Proclaimed { revision })
    }

    /// The lock as `waiter` has it from the next revision on.
    fn held(&self, time_ms: u64, waiter: &Waiter) -> VersionState {
        let revision = self.revision.next();
        VersionState::Live(Arc::new(Item {
            value: waiter.value.clone(),
            flags: 0,
            created: revision,
            modified: revision,
            writes: 1,
            modified_ms: time_ms,
            until: Until::Lease(waiter.lease),
        }))
    }

    fn enqueue(&mut self, lock: &LockName, waiter: Waiter) -> Result<Answer, Refusal> {
        let LockName { keyspace, name } = lock;
        let queue = self.keyspaces.get(keyspace).and_then(|found| found.queues.get(name));
        let ahead = queue.map_or(0, Queue::len) as u64;
        if ahead >= self.bounds.lock_waiters {
            return Err(Refusal::Full);
        }
        self.last_ids.ticket += 1;
        self.restore_waiter(*keyspace, name, self.last_ids.ticket, waiter);
        Ok(Answer::Queued { ahead })
    }

    /// Puts a waiter into the line, at the place that its ticket says.
    pub(super) fn restore_waiter(&mut self, keyspace: KeyspaceId, name: &Key, ticket: u64, waiter: Waiter) {
        if let Some(lease) = self.leases.get_mut(&waiter.lease) {
            Arc::make_mut(lease).waits.insert((keyspace, name.clone()));
        }
        if let Some(found) = self.keyspaces.get_mut(&keyspace) {
            found.queues.entry(name.clone()).or_default().insert(ticket, waiter);
        }
    }

    /// How many wait before `lease`, if it waits.
    fn place_in_queue(&self, keyspace: KeyspaceId, name: &Key, lease: LeaseId) -> Option<u64> {
        let queue = self.keyspaces.get(&keyspace)?.queues.get(name)?;
        queue.values().position(|waiter| waiter.lease == lease).map(|ahead| ahead as u64)
    }

    /// Whether `lease` was in the line.
    pub(super) fn leave_queue(&mut self, keyspace: KeyspaceId, name: &Key, lease: LeaseId) -> bool {
        let Some(found) = self.keyspaces.get_mut(&keyspace) else { return false };
        let Some(queue) = found.queues.get_mut(name) else { return false };
        let Some(ticket) = queue.iter().find(|(_, waiter)| waiter.lease == lease).map(|(ticket, _)| *ticket) else {
            return false;
        };
        queue.remove(&ticket);
        if queue.is_empty() {
            found.queues.remove(name);
        }
        if let Some(lease) = self.leases.get_mut(&lease) {
            Arc::make_mut(lease).waits.remove(&(keyspace, name.clone()));
        }
        true
    }

    /// Takes the first out of the line for a lock: it has the lock from the next revision on.
    pub(super) fn next_holder(&mut self, time_ms: u64, place: &Place) -> Option<VersionState> {
        let queue = self.keyspaces.get(&place.keyspace)?.queues.get(&place.key)?;
        let waiter = queue.get_min()?.1.clone();
        self.leave_queue(place.keyspace, &place.key, waiter.lease);
        Some(self.held(time_ms, &waiter))
    }
}
