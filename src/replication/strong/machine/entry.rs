//! What the log tells the machine: entries of requests, chosen by whoever proposed them, so that applying needs no clock and
//! no dice.

use super::ids::{KeyspaceId, LeaseId, RequestId, Revision};
use crate::{
    config::HistoryBounds,
    limits::{TRANSACTION_BYTES_MAX, TRANSACTION_OPERATIONS_MAX},
    types::{Key, Value},
};

/// One entry of the log. Requests that arrive together share one; one without requests only lets time pass.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Entry {
    /// What the leader's clock showed: milliseconds since the Unix epoch. A leader takes it from a clock that does not jump.
    pub time_ms: u64,
    /// Applied in this order, each as a whole.
    pub requests: Vec<Request>,
}

/// One thing that somebody asks for.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Request {
    /// By which a retry is known; `None` for what is safe to repeat.
    pub id: Option<RequestId>,
    /// What to do.
    pub command: Command,
}

/// The kinds of request. `docs/strong.md` has the table of their answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Command {
    /// Gives the caller an id under which its retries are known. Repeated, it gives another one.
    Register,
    /// Checks all guards, then writes all or nothing.
    Transact(Transaction),
    /// Makes a lease.
    Grant {
        /// How long it lasts without a keep-alive.
        ttl_ms: u64,
    },
    /// Lets a lease last for its whole time to live again.
    KeepAlive {
        /// Which.
        lease: LeaseId,
    },
    /// Ends a lease, and with it all that hangs on it.
    Revoke {
        /// Which.
        lease: LeaseId,
    },
    /// Ends leases whose time has passed. Only the leader proposes it.
    Expire {
        /// The term of the leader that decided it. In the log of another term it does nothing.
        term: u64,
        /// As the leader saw them. One that was kept alive since does not end.
        leases: Vec<SeenLease>,
    },
    /// Takes a lock, or the leadership of an election.
    Acquire {
        /// Which.
        lock: LockName,
        /// For whom: the lock is free again when this lease ends.
        lease: LeaseId,
        /// What the lock shows while it is held; of an election, who leads.
        value: Value,
        /// Whether to wait in line when another has it.
        wait: bool,
    },
    /// Gives a lock back, or leaves the line.
    Release {
        /// Which.
        lock: LockName,
        /// Whose.
        lease: LeaseId,
    },
    /// Changes what a lock shows.
    Proclaim {
        /// Which.
        lock: LockName,
        /// The fencing token of the holder.
        token: Revision,
        /// What it shows from now on.
        value: Value,
    },
    /// Makes a keyspace.
    CreateKeyspace {
        /// Its name, which no other has.
        name: String,
    },
    /// Makes a keyspace that every node keeps by itself: the group knows its name and gives it an id.
    CreateEventual {
        /// Its name, which no other has.
        name: String,
        /// Drawn at random. The first that a group is given is a part of the ids of all its eventual keyspaces, so that no other
        /// group gives the same.
        group: u64,
        /// How many conflicts of it a node remembers.
        keep_conflicts: u64,
    },
    /// Ends a keyspace with all that is in it.
    DropKeyspace {
        /// Which.
        keyspace: KeyspaceId,
    },
    /// Forgets the history up to a revision.
    Compact {
        /// Reads as of it are still possible, and changes after it are told.
        revision: Revision,
    },
    /// Keeps so much of the history from now on. Said by leaders alone.
    Retain(HistoryBounds),
    /// Counts on from there: revisions, and the ids of leases and clients. Said by the founder of a group alone, before anything
    /// else; later it does nothing.
    Begin(Revision),
}

/// A lease as a leader saw it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct SeenLease {
    /// Which.
    pub lease: LeaseId,
    /// How often it had been kept alive.
    pub generation: u64,
}

/// A lock or election: a name in a keyspace, apart from its keys.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LockName {
    /// In which keyspace.
    pub keyspace: KeyspaceId,
    /// Its name.
    pub name: Key,
}

/// Writes to one keyspace that happen together or not at all, at one revision.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Transaction {
    /// Where.
    pub keyspace: KeyspaceId,
    /// What must hold before the first operation.
    pub guards: Vec<Guard>,
    /// In order: each sees those before it.
    pub operations: Vec<Operation>,
}

/// What must hold for a transaction to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard {
    /// The key has this version, and no other.
    Version {
        /// Of which key.
        key: Key,
        /// The revision that wrote it last.
        version: Revision,
    },
    /// There is no such key.
    Absent {
        /// Which.
        key: Key,
    },
    /// There is such a key.
    Present {
        /// Which.
        key: Key,
    },
    /// The lock is held under this token: a writer that lost it is refused, whatever it believes.
    Holds {
        /// The lock, in the keyspace of the transaction.
        lock: Key,
        /// The token that its acquisition gave.
        token: Revision,
    },
}

/// One write of a transaction.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// What to write to.
    pub key: Key,
    /// How to change it.
    pub kind: OperationKind,
}

/// The kinds of write.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum OperationKind {
    /// Store a value, whether or not the key exists.
    Put {
        /// The new value.
        value: Value,
        /// How the writer's codec encoded it.
        flags: u32,
        /// How long it stays.
        lifetime: Lifetime,
    },
    /// Remove the key.
    Delete,
    /// Give an existing key another lifetime; does nothing when there is none.
    Touch {
        /// How long it stays.
        lifetime: Lifetime,
    },
    /// Add to a 64-bit integer. A key that exists keeps its lifetime.
    Increment {
        /// How much.
        by: i64,
        /// What a missing key counts as.
        initial: i64,
        /// How long a key that is made by this stays.
        lifetime: Lifetime,
    },
}

/// How long a key stays.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Lifetime {
    /// Until it is deleted.
    #[default]
    Forever,
    /// So many milliseconds.
    Ttl(u64),
    /// As long as the lease.
    Lease(LeaseId),
}

impl Entry {
    /// About how many bytes it has.
    pub fn weight(&self) -> usize {
        self.requests.iter().map(Request::weight).sum()
    }
}

impl Request {
    /// Whether it does no harm to send it again when it may have been applied.
    pub fn is_repeatable(&self) -> bool {
        let is_harmless = matches!(
            self.command,
            Command::Register
                | Command::KeepAlive { .. }
                | Command::Expire { .. }
                | Command::Compact { .. }
                | Command::Retain(_)
        );
        self.id.is_some() || is_harmless
    }

    /// About how many bytes it has.
    pub fn weight(&self) -> usize {
        const REQUEST_BYTES: usize = 32;
        const OPERATION_BYTES: usize = 16;
        let more = match &self.command {
            Command::Transact(transaction) => {
                let (count, bytes) = transaction.size();
                OPERATION_BYTES * count + bytes
            }
            Command::Acquire { lock, value, .. } | Command::Proclaim { lock, value, .. } => {
                lock.name.len() + value.len()
            }
            Command::Expire { leases, .. } => OPERATION_BYTES * leases.len(),
            Command::Release { lock, .. } => lock.name.len(),
            Command::CreateKeyspace { name } | Command::CreateEventual { name, .. } => name.len(),
            Command::Register
            | Command::Grant { .. }
            | Command::KeepAlive { .. }
            | Command::Revoke { .. }
            | Command::DropKeyspace { .. }
            | Command::Compact { .. }
            | Command::Retain(_)
            | Command::Begin(_) => 0,
        };
        REQUEST_BYTES + more
    }
}

impl Transaction {
    /// Whether it is within the bounds of a transaction.
    pub(super) fn is_within_bounds(&self) -> bool {
        let (count, bytes) = self.size();
        count <= TRANSACTION_OPERATIONS_MAX && bytes <= TRANSACTION_BYTES_MAX
    }

    /// Its guards and operations, and the bytes of their keys and values.
    pub fn size(&self) -> (usize, usize) {
        let guard_bytes = |guard: &Guard| match guard {
            Guard::Version { key, .. } | Guard::Absent { key } | Guard::Present { key } => key.len(),
            Guard::Holds { lock, .. } => lock.len(),
        };
        let operation_bytes = |operation: &Operation| match &operation.kind {
            OperationKind::Put { value, .. } => operation.key.len() + value.len(),
            OperationKind::Delete | OperationKind::Touch { .. } | OperationKind::Increment { .. } => {
                operation.key.len()
            }
        };
        let guards: usize = self.guards.iter().map(guard_bytes).sum();
        let operations: usize = self.operations.iter().map(operation_bytes).sum();
        (self.guards.len() + self.operations.len(), guards + operations)
    }
}
