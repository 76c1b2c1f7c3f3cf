//! Laws first: whatever the log says, the machine does what a naive twin does, on every replica, by way of the log or of a
//! snapshot. Then an example for each law, and the known mistakes, each of which a test has to catch.

mod eventual;
mod history;
mod leases;
mod locks;
mod model;
mod mutants;
mod random;
mod retries;
mod snapshots;
mod stored;
mod transactions;

use std::sync::Arc;

use super::*;
use crate::types::{Consistency, Key, KeyRange, PageRequest, Value};

pub(super) const KEYSPACE: KeyspaceId = KeyspaceId(1);

pub(super) fn key(text: &str) -> Key {
    Key::new(text.as_bytes()).unwrap()
}

pub(super) fn value(text: &str) -> Value {
    Value::new(text.as_bytes()).unwrap()
}

/// A log and the machine that has applied it, for examples.
pub(super) struct Log {
    pub(super) machine: Machine,
    pub(super) at: LogPosition,
    pub(super) time_ms: u64,
}

impl Log {
    /// With one keyspace, [`KEYSPACE`].
    pub(super) fn new() -> Log {
        Log::with(Bounds::default())
    }

    pub(super) fn with(bounds: Bounds) -> Log {
        let mut log = Log { machine: Machine::new(bounds), at: LogPosition { term: 1, index: 0 }, time_ms: 1_000_000 };
        assert_eq!(log.run(Command::CreateKeyspace { name: "first".into() }), Answer::Created(KEYSPACE));
        log
    }

    pub(super) fn entry(&mut self, requests: Vec<Request>) -> Vec<Answer> {
        self.at.index += 1;
        self.machine.apply(self.at, &Entry { time_ms: self.time_ms, requests })
    }

    pub(super) fn run(&mut self, command: Command) -> Answer {
        self.entry(vec![Request { id: None, command }]).remove(0)
    }

    pub(super) fn request(&mut self, id: RequestId, command: Command) -> Answer {
        self.entry(vec![Request { id: Some(id), command }]).remove(0)
    }

    /// Time passes under the same leader.
    pub(super) fn pass(&mut self, ms: u64) {
        self.time_ms += ms;
        assert!(self.entry(Vec::new()).is_empty());
    }

    /// Another leader, whose clock shows something else.
    pub(super) fn elect(&mut self, time_ms: u64) {
        self.at.term += 1;
        self.time_ms = time_ms;
        assert!(self.entry(Vec::new()).is_empty());
    }

    pub(super) fn transact(&mut self, guards: Vec<Guard>, operations: Vec<Operation>) -> Answer {
        self.run(transaction(guards, operations))
    }

    pub(super) fn put(&mut self, name: &str, text: &str) -> Revision {
        self.written(vec![put(name, text, Lifetime::Forever)])
    }

    pub(super) fn written(&mut self, operations: Vec<Operation>) -> Revision {
        match self.transact(Vec::new(), operations) {
            Answer::Written { revision: Some(revision), .. } => revision,
            other => panic!("not written: {other:?}"),
        }
    }

    pub(super) fn grant(&mut self, ttl_ms: u64) -> LeaseId {
        match self.run(Command::Grant { ttl_ms }) {
            Answer::Leased { lease, .. } => lease,
            other => panic!("no lease: {other:?}"),
        }
    }

    pub(super) fn register(&mut self) -> ClientId {
        match self.run(Command::Register) {
            Answer::Registered(client) => client,
            other => panic!("not registered: {other:?}"),
        }
    }

    pub(super) fn text(&self, name: &str) -> Option<String> {
        let item = self.machine.get(KEYSPACE, Space::Data, name.as_bytes()).unwrap()?;
        Some(String::from_utf8(item.value.to_vec()).unwrap())
    }

    pub(super) fn changes(&self, space: Space, since: Revision) -> Result<Changes, ReadError> {
        let query = ChangesQuery { keyspace: KEYSPACE, space, range: KeyRange::default(), since, changes_target: 1000 };
        self.machine.changes_since(&query)
    }

    /// Goes on from a snapshot, as another replica would.
    pub(super) fn reload(&mut self) {
        let reloaded = reload(&self.machine);
        assert!(reloaded == self.machine, "what follows from the state differs");
        self.machine = reloaded;
    }
}

pub(super) fn reload(machine: &Machine) -> Machine {
    let mut restore = Restore::new();
    machine.capture().chunks().for_each(|chunk| restore.push(&chunk).unwrap());
    restore.finish().unwrap()
}

pub(super) fn transaction(guards: Vec<Guard>, operations: Vec<Operation>) -> Command {
    Command::Transact(Transaction { keyspace: KEYSPACE, guards, operations })
}

pub(super) fn put(name: &str, text: &str, lifetime: Lifetime) -> Operation {
    Operation { key: key(name), kind: OperationKind::Put { value: value(text), flags: 0, lifetime } }
}

pub(super) fn delete(name: &str) -> Operation {
    Operation { key: key(name), kind: OperationKind::Delete }
}

pub(super) fn increment(name: &str, by: i64) -> Operation {
    let kind = OperationKind::Increment { by, initial: 0, lifetime: Lifetime::Forever };
    Operation { key: key(name), kind }
}

pub(super) fn lock(name: &str) -> LockName {
    LockName { keyspace: KEYSPACE, name: key(name) }
}

/// All that is in a space at a revision.
pub(super) fn all_at(
    machine: &Machine,
    keyspace: KeyspaceId,
    space: Space,
    revision: Revision,
) -> Result<Vec<(Key, Arc<Item>)>, ReadError> {
    let request =
        PageRequest { range: KeyRange::default(), reverse: false, keys_max: usize::MAX, bytes_target: usize::MAX };
    machine.page_at(keyspace, space, &request, revision).map(|page| page.items)
}
