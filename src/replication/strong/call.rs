//! What a client may ask of a group, and the answers: the same whether it comes over the wire or from this process.

use std::sync::Arc;

use super::{Answer, Command, Item, ItemPage, KeyspaceFacts, Lease, LeaseId, LeasePage, RequestId, Revision, Space};
use crate::types::{Key, KeyRange, PageRequest};

/// One call, checked against the limits.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Call {
    /// A change.
    Submit(Submission),
    /// Reads of one keyspace, all at one revision.
    Read(ReadCall),
    /// Waits until a lease has the lock that it waits for.
    AwaitLock {
        /// Of which keyspace.
        keyspace: String,
        /// The lock.
        lock: Key,
        /// Who waits.
        lease: LeaseId,
        /// How long, at most.
        wait_ms: u64,
    },
    /// What is left of a lease.
    Lease(LeaseId),
    /// A page of the leases.
    Leases {
        /// Those that were granted after this one.
        after: LeaseId,
    },
    /// All keyspaces.
    Keyspaces,
}

/// A change, by the name of its keyspace.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Submission {
    /// By which a retry is known.
    pub id: Option<RequestId>,
    /// Where; empty for commands that concern no keyspace.
    pub keyspace: String,
    /// What to do. The node that serves the call fills in the id of the keyspace.
    pub command: Command,
}

/// How fresh a read has to be.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Freshness {
    /// Everything that was acknowledged before the call.
    #[default]
    Linearizable,
    /// At least this revision.
    Session(Revision),
    /// What the node has.
    Local,
}

/// Reads that belong together.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ReadCall {
    /// Where.
    pub keyspace: String,
    /// How fresh.
    pub freshness: Freshness,
    /// As of which revision; `None`: as of now.
    pub at: Option<Revision>,
    /// What.
    pub reads: Vec<Read>,
}

/// One read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Read {
    /// Of the keys, or of who holds the locks.
    pub space: Space,
    /// What.
    pub kind: ReadKind,
}

/// The kinds of read.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadKind {
    /// One key.
    Key {
        /// Which.
        key: Key,
        /// The answer's value is not needed.
        metadata_only: bool,
    },
    /// A page of a range.
    Page {
        /// Which.
        page: PageRequest,
        /// The answer's values are not needed.
        keys_only: bool,
    },
    /// How many keys are in a range.
    Count(KeyRange),
}

/// The answer to a [`Call`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Reply {
    /// To a change that happened. A refusal is an error instead.
    Done(Answer),
    /// To reads.
    Read(ReadReply),
    /// To a wait for a lock: the fencing token; `None`: not yet.
    Lock(Option<Revision>),
    /// To a question for a lease.
    Lease(Lease),
    /// To a question for leases.
    Leases(LeasePage),
    /// To a question for keyspaces.
    Keyspaces(Vec<KeyspaceFacts>),
}

/// The answer to [`ReadCall`].
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ReadReply {
    /// As of which everything was read.
    pub revision: Revision,
    /// The machine's own time at that moment, in which the deadlines of items are.
    pub elapsed_ms: u64,
    /// One for each read, from the first on; fewer when they would not fit into one message.
    pub answers: Vec<ReadAnswer>,
}

/// The answer to a [`Read`].
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum ReadAnswer {
    /// What is at the key.
    Key {
        /// Which key.
        key: Key,
        /// `None`: nothing. Its value is there even if it is not needed; whoever sends it on leaves it out.
        item: Option<Arc<Item>>,
        /// The value is not needed.
        metadata_only: bool,
    },
    /// A page.
    Page {
        /// What is on it.
        page: ItemPage,
        /// The values are not needed.
        keys_only: bool,
    },
    /// How many.
    Count(u64),
}
