//! Judges histories of strong keyspaces: is there one order of all operations that explains every answer (ST-1, ST-4)?
//!
//! A [`History`] is what clients saw: what each asked, when, and what it was told. Two judges look at it:
//!
//! * [`check`] searches for the order, as Wing and Gong do ("Testing and verifying concurrent objects", 1993) with the
//!   memory of what was already tried of Lowe ("Testing for linearizability", 2017). It needs no revisions, so it
//!   catches a store that reports wrong ones; versions that are told it compares. It takes exponential time at worst:
//!   beyond a budget it says `Undecided`, which is never a pass. With 10 clients and 1,000 operations of a key nearly
//!   all are decided within a second.
//! * [`revisions::check`] takes `O(n log n)`, but needs the revision of every answer, and for writes whose outcome is
//!   unknown what the log says.
//!
//! An operation takes effect at one moment between its call and its return. One with an unknown outcome takes effect at
//! any moment after its call, also long after its return, or never. A refused one has no effect. Keys begin absent.
//! Each write that changes something makes a version, which is higher than all before it; so does a delete of what is
//! there.
//!
//! Keys that no operation has in common are judged apart, since a history is linearizable if and only if that of each
//! object is (Herlihy and Wing, 1990, theorem 1). Keys that some transaction or snapshot touches together are one
//! object, for which this is strict serializability.
//!
//! [`lines`] reads histories from text and writes them, for `examples/check.rs`, which judges what clients of any
//! language have seen.
//!
//! What is not modelled: times to live, leases and locks; reads of the past; what a scan finds. The search wants
//! versions to grow at each key; that they grow from key to key is for `revisions` to judge.
#![allow(dead_code, unused_imports, reason = "each target that includes this uses a part of it")]
#![allow(unreachable_pub, reason = "nobody uses a test from outside")]

pub mod lines;
mod outlook;
mod parts;
pub mod revisions;
mod search;
mod show;
mod state;

pub use self::parts::{check, Report};

/// Steps that a search may take unless told otherwise: ten to twenty seconds, and up to a gigabyte. With fewer, some
/// histories of 10 clients and 1,000 operations of which a few are unknown stay undecided; with more, a hopeless search
/// ends late.
pub const STEPS_MAX: u64 = 20_000_000;

/// What clients saw, in any order.
pub type History = Vec<Operation>;

/// One call and what became of it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Operation {
    /// Who asked. Only for the reader of a report: what is concurrent is told by the times alone.
    pub client: u64,
    /// By which the log knows it.
    pub request: Option<String>,
    /// When it was called, in any unit.
    pub called: u64,
    /// When it returned. What returns at the very time at which another is called is taken as concurrent with it.
    pub returned: Option<u64>,
    pub action: Action<String>,
    pub outcome: Outcome,
    /// The revision of the store that the answer is about, if the answer did not make one.
    pub revision: Option<u64>,
}

/// What was asked, with what was answered about each key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Action<K> {
    /// Reads keys at one moment.
    Read(Vec<Reading<K>>),
    /// Writes keys at one moment, if all guards hold; each write sees those before it.
    Transact { guards: Vec<Guard<K>>, writes: Vec<Write<K>> },
}

/// What was found at a key.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Reading<K> {
    pub key: K,
    /// `None`: nothing.
    pub found: Option<Found>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Found {
    pub value: i64,
    /// `None`: the answer did not tell.
    pub version: Option<u64>,
}

/// What has to be so for a transaction to happen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Guard<K> {
    Version { key: K, version: u64 },
    Absent { key: K },
    Present { key: K },
}

#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Write<K> {
    pub key: K,
    pub change: Change,
    /// Whether the key was there before, if the answer told.
    pub existed: Option<bool>,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Change {
    Put(i64),
    Delete,
    /// Adds to the value, or to `initial` where there is none; the sum, if the answer told.
    Increment {
        by: i64,
        initial: i64,
        sum: Option<i64>,
    },
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    /// It happened. A write that changed something made this version, if the answer told.
    Done {
        version: Option<u64>,
    },
    /// A guard did not hold, and nothing was written.
    Conflict {
        guard: usize,
        found: ConflictFound,
    },
    /// A definite error: it had no effect and will have none.
    Refused,
    Unknown,
}

/// What a guard that did not hold found at its key.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ConflictFound {
    Absent,
    Version(u64),
    NotTold,
}

/// What a judge says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Verdict {
    Linearizable,
    Violated(Failure),
    /// The budget was used up. Never a pass.
    Undecided,
}

/// Where no order explains the answers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Failure {
    /// The keys that were judged together.
    pub keys: Vec<String>,
    /// The operation, by its place in the history, whose answer is the first that cannot be explained with those before
    /// it.
    pub at: usize,
    /// What was there, in some of the orders that explain everything before it.
    pub states: Vec<String>,
    /// The operations in flight at the same time and the last before it, by their places in the history.
    pub around: Vec<usize>,
    /// Operations of the object.
    pub operations: usize,
}

/// A request that the log says was applied, with the revision that it made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Applied {
    pub request: String,
    pub revision: u64,
}

impl<K> Guard<K> {
    pub fn key(&self) -> &K {
        match self {
            Guard::Version { key, .. } | Guard::Absent { key } | Guard::Present { key } => key,
        }
    }
}

impl<K> Action<K> {
    /// Every key that is read, guarded or written.
    pub fn keys(&self) -> Vec<&K> {
        match self {
            Action::Read(readings) => readings.iter().map(|reading| &reading.key).collect(),
            Action::Transact { guards, writes } => {
                guards.iter().map(Guard::key).chain(writes.iter().map(|write| &write.key)).collect()
            }
        }
    }

    /// What was asked, without what was answered.
    pub fn unanswered(&self) -> Action<K>
    where
        K: Clone,
    {
        let mut action = self.rename(K::clone);
        match &mut action {
            Action::Read(readings) => readings.iter_mut().for_each(|reading| reading.found = None),
            Action::Transact { writes, .. } => {
                for write in writes {
                    write.existed = None;
                    if let Change::Increment { sum, .. } = &mut write.change {
                        *sum = None;
                    }
                }
            }
        }
        action
    }

    /// The same with other names for the keys.
    pub fn rename<L>(&self, name: impl Fn(&K) -> L) -> Action<L> {
        let guard = |guard: &Guard<K>| match guard {
            Guard::Version { key, version } => Guard::Version { key: name(key), version: *version },
            Guard::Absent { key } => Guard::Absent { key: name(key) },
            Guard::Present { key } => Guard::Present { key: name(key) },
        };
        let write = |write: &Write<K>| Write { key: name(&write.key), change: write.change, existed: write.existed };
        let reading = |reading: &Reading<K>| Reading { key: name(&reading.key), found: reading.found };
        match self {
            Action::Read(readings) => Action::Read(readings.iter().map(reading).collect()),
            Action::Transact { guards, writes } => Action::Transact {
                guards: guards.iter().map(guard).collect(),
                writes: writes.iter().map(write).collect(),
            },
        }
    }
}

impl Operation {
    pub fn is_write(&self) -> bool {
        matches!(self.action, Action::Transact { .. })
    }

    /// Whether it counts: refused ones have no effect, and a read that may not have happened says nothing.
    pub fn is_judged(&self) -> bool {
        match self.outcome {
            Outcome::Done { .. } | Outcome::Conflict { .. } => true,
            Outcome::Unknown => self.is_write(),
            Outcome::Refused => false,
        }
    }
}
