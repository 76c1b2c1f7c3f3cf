//! What the machine answers. Every replica gives the same answer to the same entry, and a retry gets the first one.

use super::ids::{ClientId, KeyspaceId, LeaseId, Revision};
use crate::error::{Error, ErrorCode, FailedGuard};

/// The answer to a [`super::Command`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Answer {
    /// The caller is registered.
    Registered(ClientId),
    /// The transaction happened.
    Written {
        /// At which revision; `None`: there was nothing to change.
        revision: Option<Revision>,
        /// What came of each operation.
        outcomes: Vec<Outcome>,
    },
    /// The lease is there, and lasts for its whole time to live from this entry on.
    Leased {
        /// Which.
        lease: LeaseId,
        /// How often it has been kept alive.
        generation: u64,
        /// How long it lasts.
        ttl_ms: u64,
    },
    /// The lease is ended.
    Revoked,
    /// So many of the leases that were named are ended.
    Expired(u64),
    /// The lock is held.
    Held {
        /// Its fencing token.
        token: Revision,
    },
    /// The caller waits for the lock.
    Queued {
        /// How many are before it, the holder left out.
        ahead: u64,
    },
    /// The lock is given back, or the line left.
    Released,
    /// The lock shows the new value.
    Proclaimed {
        /// Since which revision.
        revision: Revision,
    },
    /// The keyspace is made.
    Created(KeyspaceId),
    /// The keyspace is gone.
    Dropped,
    /// The history up to the revision, or beyond the bounds, is forgotten.
    Compacted,
    /// Nothing happened, and nothing will.
    Refused(Refusal),
}

/// What came of an [`super::Operation`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Outcome {
    /// Whether the key was there before it.
    pub existed: bool,
    /// The sum, of an increment.
    pub number: Option<i64>,
}

/// Why nothing happened.
#[derive(Clone, Copy, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Refusal {
    /// The guard does not hold.
    #[error("guard {guard} does not hold: the version is {found}")]
    Guard {
        /// Which, counted from 0.
        guard: u64,
        /// The version that its key has, or the token of its lock; 0: there is none.
        found: Revision,
    },
    /// An increment of what is no integer.
    #[error("operation {operation}: the value is no integer")]
    NotAnInteger {
        /// Which, counted from 0.
        operation: u64,
    },
    /// An increment beyond 64 bits.
    #[error("operation {operation}: the sum does not fit into 64 bits")]
    Overflow {
        /// Which, counted from 0.
        operation: u64,
    },
    /// The lease was never granted, or is ended.
    #[error("lease {lease}: there is none, or it has ended")]
    UnknownLease {
        /// Which.
        lease: LeaseId,
    },
    /// Too many keys hang on the lease.
    #[error("lease {lease}: no more keys can hang on it")]
    LeaseFull {
        /// Which.
        lease: LeaseId,
    },
    /// A time to live of nothing, or beyond [`crate::limits::TTL_MS_MAX`].
    #[error("ttl: out of its bounds")]
    BadTtl,
    /// Another has the lock.
    #[error("the lock is held by lease {lease} under token {token}")]
    LockHeld {
        /// Who.
        lease: LeaseId,
        /// Since when.
        token: Revision,
    },
    /// The caller does not have the lock.
    #[error("the lock is not held; its token is {token}")]
    NotHolder {
        /// The token of whoever has it; 0: nobody.
        token: Revision,
    },
    /// The term that an expiry was decided in is over.
    #[error("the leader of term {term} is not the leader any more")]
    FormerLeader {
        /// Its term.
        term: u64,
    },
    /// There is no such keyspace.
    #[error("keyspace {keyspace}: there is none")]
    UnknownKeyspace {
        /// Which.
        keyspace: KeyspaceId,
    },
    /// There is a keyspace of that name.
    #[error("there is a keyspace of that name: {keyspace}")]
    KeyspaceExists {
        /// Which.
        keyspace: KeyspaceId,
    },
    /// No keyspace can have that name.
    #[error("the name of a keyspace is out of its bounds")]
    BadName,
    /// The transaction, or the list of leases, is over its bounds.
    #[error("over the bounds of a request")]
    TooLarge,
    /// There is no room for another lease, waiter or keyspace.
    #[error("a bound of the group is reached")]
    Full,
    /// That revision is yet to come.
    #[error("the revision is {revision} only")]
    FutureRevision {
        /// The present one.
        revision: Revision,
    },
    /// The client never registered or is forgotten. A retry may have been applied before.
    #[error("client {client} is not registered any more")]
    UnknownClient {
        /// Which.
        client: ClientId,
    },
    /// The answer to this request is forgotten, if there ever was one: it may have been applied before.
    #[error("the answers up to request {floor} are forgotten")]
    AnswerForgotten {
        /// The last request whose answer is forgotten.
        floor: u64,
    },
}

impl Refusal {
    /// Whether an earlier try of the same request may have been applied.
    pub fn is_maybe_applied(self) -> bool {
        matches!(self, Refusal::UnknownClient { .. } | Refusal::AnswerForgotten { .. })
    }

    fn code(self) -> ErrorCode {
        match self {
            Refusal::Guard { .. } => ErrorCode::VersionConflict,
            Refusal::FormerLeader { .. } => ErrorCode::Conflict,
            Refusal::UnknownLease { .. } => ErrorCode::LeaseLost,
            Refusal::LockHeld { .. } => ErrorCode::LockHeld,
            Refusal::NotHolder { .. } => ErrorCode::LockLost,
            Refusal::KeyspaceExists { .. } => ErrorCode::KeyspaceExists,
            Refusal::UnknownClient { .. } | Refusal::AnswerForgotten { .. } => ErrorCode::RequestForgotten,
            Refusal::NotAnInteger { .. } => ErrorCode::NotAnInteger,
            Refusal::Overflow { .. } => ErrorCode::Overflow,
            Refusal::BadName | Refusal::FutureRevision { .. } => ErrorCode::InvalidArgument,
            Refusal::LeaseFull { .. } | Refusal::Full => ErrorCode::Overloaded,
            Refusal::BadTtl => ErrorCode::BadTtl,
            Refusal::UnknownKeyspace { .. } => ErrorCode::UnknownKeyspace,
            Refusal::TooLarge => ErrorCode::BatchTooLarge,
        }
    }
}

impl From<Refusal> for Error {
    fn from(refusal: Refusal) -> Error {
        let error = Error::new(refusal.code(), refusal.to_string());
        if let Refusal::Guard { guard, found } = refusal {
            return error.at_guard(FailedGuard { index: guard, found: found.0 });
        }
        if refusal.is_maybe_applied() {
            return error.maybe_applied();
        }
        error
    }
}

impl Answer {
    /// About what it takes in memory to keep it.
    pub(super) fn weight(&self) -> u64 {
        const ANSWER_BYTES: u64 = 96;
        const OUTCOME_BYTES: u64 = 24;
        match self {
            Answer::Written { outcomes, .. } => ANSWER_BYTES + OUTCOME_BYTES * outcomes.len() as u64,
            Answer::Registered(_)
            | Answer::Leased { .. }
            | Answer::Revoked
            | Answer::Expired(_)
            | Answer::Held { .. }
            | Answer::Queued { .. }
            | Answer::Released
            | Answer::Proclaimed { .. }
            | Answer::Created(_)
            | Answer::Dropped
            | Answer::Compacted
            | Answer::Refused(_) => ANSWER_BYTES,
        }
    }
}
