//! Making and dropping keyspaces. The id of one is never used again: what was meant for a keyspace that is gone cannot
//! meet another of its name. Of an eventual keyspace the group knows the name and the id, and nothing that is in it.

use super::{
    answer::{Answer, Refusal},
    ids::{KeyspaceId, Revision},
    item::{Place, Space},
    state::{Keyspace, State},
};
use crate::{faults, limits::KEYSPACE_NAME_BYTES_MAX};

impl State {
    pub(super) fn check_keyspace(&self, keyspace: KeyspaceId) -> Result<(), Refusal> {
        match self.keyspaces.get(&keyspace) {
            Some(found) if found.keep_conflicts.is_none() => Ok(()),
            // What names the id of an eventual one was made by nobody who asked for its name.
            Some(_) | None => Err(Refusal::UnknownKeyspace { keyspace }),
        }
    }

    pub(super) fn create_eventual(&mut self, name: &str, group: u64, keep_conflicts: u64) -> Result<Answer, Refusal> {
        if self.last_ids.keyspace >= u64::from(u32::MAX) {
            return Err(Refusal::Full);
        }
        let keyspace = self.name_keyspace(name)?;
        self.spaces.get_or_insert(group);
        self.restore_keyspace(keyspace, name.to_string(), Some(keep_conflicts));
        Ok(Answer::Created(keyspace))
    }

    pub(super) fn create_keyspace(&mut self, name: &str) -> Result<Answer, Refusal> {
        let keyspace = self.name_keyspace(name)?;
        self.restore_keyspace(keyspace, name.to_string(), None);
        Ok(Answer::Created(keyspace))
    }

    /// The id of a keyspace that is to have this name.
    fn name_keyspace(&mut self, name: &str) -> Result<KeyspaceId, Refusal> {
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
        Ok(KeyspaceId(self.last_ids.keyspace))
    }

    pub(super) fn restore_keyspace(&mut self, keyspace: KeyspaceId, name: String, keep_conflicts: Option<u64>) {
        self.names.insert(name.clone(), keyspace);
        self.keyspaces.insert(keyspace, Keyspace { name, keep_conflicts, ..Keyspace::default() });
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
