//! Making and dropping keyspaces. The id of one is never used again: what was meant for a keyspace that is gone cannot
//! meet another of its name.

use super::{
    answer::{Answer, Refusal},
    ids::{KeyspaceId, Revision},
    item::{Place, Space},
    state::{Keyspace, State},
};
use crate::{faults, limits::KEYSPACE_NAME_BYTES_MAX};

impl State {
    pub(super) fn check_keyspace(&self, keyspace: KeyspaceId) -> Result<(), Refusal> {
        match self.keyspaces.contains_key(&keyspace) {
            true => Ok(()),
            false => Err(Refusal::UnknownKeyspace { keyspace }),
        }
    }

    pub(super) fn create_keyspace(&mut self, name: &str) -> Result<Answer, Refusal> {
        if name.is_empty() || name.len() > KEYSPACE_NAME_BYTES_MAX {
            return Err(Refusal::BadName);
        }
        if let Some(&keyspace) = self.names.get(name) {
            return Err(Refusal::KeyspaceExists { keyspace });
        }
        if self.keyspaces.len() as u64 >= self.bounds.keyspaces {
            return Err(Refusal::Full);
        }
        if faults::is_mutant("strong_keyspace_id_reused") {
            self.last_ids.keyspace = self.keyspaces.get_max().map_or(0, |(keyspace, _)| keyspace.0);
        }
        self.last_ids.keyspace += 1;
        let keyspace = KeyspaceId(self.last_ids.keyspace);
        self.restore_keyspace(keyspace, name.to_string());
        Ok(Answer::Created(keyspace))
    }

    pub(super) fn restore_keyspace(&mut self, keyspace: KeyspaceId, name: String) {
        self.names.insert(name.clone(), keyspace);
        self.keyspaces.insert(keyspace, Keyspace { name, ..Keyspace::default() });
    }

    /// Takes time in proportion to the keys that are in it, under the one who applies.
    pub(super) fn drop_keyspace(&mut self, keyspace: KeyspaceId) -> Result<Answer, Refusal> {
        let dropped = self.keyspaces.get(&keyspace).cloned().ok_or(Refusal::UnknownKeyspace { keyspace })?;
        for (name, queue) in &dropped.queues {
            for waiter in queue.values() {
                self.leave_queue(keyspace, name, waiter.lease);
            }
        }
        for space in [Space::Data, Space::Locks] {
            for (key, chain) in dropped.chains(space) {
                let place = Place { keyspace, space, key: key.clone() };
                if let Some(item) = chain.live() {
                    self.unindex(&place, item);
                }
            }
        }
        self.keyspaces.remove(&keyspace);
        self.names.remove(&dropped.name);
        Ok(Answer::Dropped)
    }

    pub(super) fn compact(&mut self, revision: Revision) -> Result<Answer, Refusal> {
        if revision > self.revision {
            return Err(Refusal::FutureRevision { revision: self.revision });
        }
        self.compacted = self.compacted.max(revision);
        Ok(Answer::Compacted)
    }
}
