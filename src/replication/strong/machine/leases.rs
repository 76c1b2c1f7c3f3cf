//! Leases: a time that a client keeps alive, and what ends with it (Gray & Cheriton, "Leases: An Efficient Fault-Tolerant
//! Mechanism for Distributed File Cache Consistency", 1989).
//!
//! A lease ends by an entry of the log and by nothing else. The leader proposes one when the time is over; it says in which term
//! it was decided and how often the lease had been kept alive, and is refused when either has changed, or the time of the
//! log is not over. So neither a former leader nor a slow one ends what a client has renewed.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use super::{
    answer::{Answer, Refusal},
    entry::SeenLease,
    ids::{KeyspaceId, LeaseId},
    item::{Place, Space, VersionState},
    state::State,
};
use crate::{
    faults,
    limits::{check_ttl_ms, LEASES_PER_EXPIRY_MAX},
    types::Key,
};

#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct LeaseState {
    pub(super) ttl_ms: u64,
    /// By the machine's own time.
    pub(super) deadline_ms: u64,
    /// How often it was kept alive.
    pub(super) generation: u64,
    /// What ends with it. Follows from the items.
    pub(super) places: BTreeSet<Place>,
    /// The locks that it waits for. Follows from their queues.
    pub(super) waits: BTreeSet<(KeyspaceId, Key)>,
}

impl LeaseState {
    /// What hangs on it or may come to: whoever waits for a lock gets it without asking again.
    pub(super) fn load(&self) -> u64 {
        (self.places.len() + self.waits.len()) as u64
    }
}

impl State {
    pub(super) fn grant(&mut self, ttl_ms: u64) -> Result<Answer, Refusal> {
        check_ttl_ms(ttl_ms).map_err(|_| Refusal::BadTtl)?;
        if self.leases.len() as u64 >= self.bounds.leases {
            return Err(Refusal::Full);
        }
        self.last_ids.lease += 1;
        let lease = LeaseId(self.last_ids.lease);
        let deadline_ms = self.clock.elapsed_ms.saturating_add(ttl_ms);
        self.restore_lease(lease, LeaseState { ttl_ms, deadline_ms, ..LeaseState::default() });
        Ok(Answer::Leased { lease, generation: 0, ttl_ms })
    }

    pub(super) fn restore_lease(&mut self, lease: LeaseId, state: LeaseState) {
        self.lease_deadlines.insert((state.deadline_ms, lease));
        self.leases.insert(lease, Arc::new(state));
    }

    pub(super) fn keep_alive(&mut self, lease: LeaseId) -> Result<Answer, Refusal> {
        let now_ms = self.clock.elapsed_ms;
        let state = Arc::make_mut(self.leases.get_mut(&lease).ok_or(Refusal::UnknownLease { lease })?);
        self.lease_deadlines.remove(&(state.deadline_ms, lease));
        state.deadline_ms = now_ms.saturating_add(state.ttl_ms);
        state.generation += 1;
        self.lease_deadlines.insert((state.deadline_ms, lease));
        Ok(Answer::Leased { lease, generation: state.generation, ttl_ms: state.ttl_ms })
    }

    pub(super) fn revoke(&mut self, time_ms: u64, lease: LeaseId) -> Result<Answer, Refusal> {
        if !self.leases.contains_key(&lease) {
            return Err(Refusal::UnknownLease { lease });
        }
        self.end_lease(time_ms, lease, VersionState::Deleted);
        Ok(Answer::Revoked)
    }

    pub(super) fn expire(&mut self, time_ms: u64, term: u64, leases: &[SeenLease]) -> Result<Answer, Refusal> {
        if leases.len() > LEASES_PER_EXPIRY_MAX {
            return Err(Refusal::TooLarge);
        }
        let trusts_anybody = faults::is_mutant("strong_lease_ended_by_former_leader");
        if term != self.clock.term && !trusts_anybody {
            return Err(Refusal::FormerLeader { term });
        }
        let mut ended = 0;
        for &SeenLease { lease, generation } in leases {
            let is_over = |state: &Arc<LeaseState>| {
                state.generation == generation && state.deadline_ms <= self.clock.elapsed_ms || trusts_anybody
            };
            if self.leases.get(&lease).is_some_and(is_over) {
                self.end_lease(time_ms, lease, VersionState::Expired);
                ended += 1;
            }
        }
        Ok(Answer::Expired(ended))
    }

    /// Ends a lease with all that hangs on it, at one revision. Whoever waits for its locks gets them at the same one.
    fn end_lease(&mut self, time_ms: u64, lease: LeaseId, how: VersionState) {
        let Some(state) = self.leases.get(&lease).cloned() else { return };
        for (keyspace, name) in &state.waits {
            self.leave_queue(*keyspace, name, lease);
        }
        let mut changes = BTreeMap::new();
        for place in &state.places {
            let next = match place.space {
                Space::Data => None,
                Space::Locks => self.next_holder(time_ms, place),
            };
            changes.insert(place.clone(), next.unwrap_or(how.clone()));
        }
        if !changes.is_empty() {
            self.commit(time_ms, changes);
        }
        self.lease_deadlines.remove(&(state.deadline_ms, lease));
        self.leases.remove(&lease);
    }
}
