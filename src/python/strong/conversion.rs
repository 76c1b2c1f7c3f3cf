//! From the answers of strong keyspaces to what Python's callers get.

use std::num::NonZeroU64;

use pyo3::{
    prelude::*,
    types::{PyList, PyTuple},
};

use super::requests::guarded;
use crate::{
    env::{Clock, SystemClock},
    error::{Error, Result},
    python::{
        answer::{bool, bound, mismatch},
        entry::PyEntry,
        errors,
    },
    replication::strong::{self, Guard, Item, ItemPage, ReadAnswer, ReadReply, Reply, Revision, Until},
    types::{Answer, Entry, EntryPage, Key, Timestamp},
};

/// How an answer becomes Python, and what was required of the keys, to name the one that was not so.
pub(in crate::python) struct StrongConversion {
    pub(super) kind: Kind,
    pub(super) guards: Vec<Guard>,
}

impl From<Kind> for StrongConversion {
    fn from(kind: Kind) -> StrongConversion {
        StrongConversion { kind, guards: Vec::new() }
    }
}

/// What the caller wants to know.
pub(super) enum Kind {
    /// The version that the write made.
    Version,
    /// Whether the one key was there.
    Existed,
    /// How many keys were there.
    ExistedCount,
    /// The sum.
    Number,
    Nothing,
    /// The revision, and for each write whether its key was there, and the sum of an increment.
    Transacted,
    /// The id of a lease, and the seconds that it lasts.
    Lease,
    /// See [`left_of`].
    LeaseLeft,
    /// Tuples of the id of a lease and of [`left_of`] it; whether there may be more.
    Leases,
    /// The fencing token of a lock, or None.
    Token,
    /// Tuples of name, consistency and number of keys.
    Keyspaces,
    /// The revision, and an entry or None for each key.
    Snapshot {
        codec: Option<Py<PyAny>>,
    },
}

impl StrongConversion {
    pub(in crate::python) fn to_python<'py>(&self, py: Python<'py>, reply: Reply) -> PyResult<Bound<'py, PyAny>> {
        match (&self.kind, reply) {
            (Kind::Snapshot { codec }, Reply::Read(reply)) => snapshot(py, codec, reply),
            (kind, Reply::Done(answer)) => done(py, kind, answer),
            (Kind::Token, Reply::Lock(token)) => token_or_none(py, token),
            (Kind::LeaseLeft, Reply::Lease(lease)) => Ok(left_of(&lease).into_pyobject(py)?.into_any()),
            (Kind::Leases, Reply::Leases(page)) => {
                let leases = page.leases.iter().map(|(id, lease)| (id.0, left_of(lease)));
                Ok((PyList::new(py, leases.collect::<Vec<_>>())?, page.more).into_pyobject(py)?.into_any())
            }
            (Kind::Keyspaces, Reply::Keyspaces(all)) => {
                let all =
                    all.into_iter().map(|facts| (facts.name, facts.consistency.as_str(), facts.keys, facts.bytes));
                Ok(PyList::new(py, all.collect::<Vec<_>>())?.into_any())
            }
            (_, Reply::Read(_) | Reply::Lock(_) | Reply::Lease(_) | Reply::Leases(_) | Reply::Keyspaces(_)) => {
                Err(mismatch().into())
            }
        }
    }

    /// The exception for a call that failed. What was required and was not so is named by its key.
    pub(in crate::python) fn refused(&self, py: Python<'_>, error: &Error) -> PyErr {
        let failed = error.failed_guard();
        let guard = failed.and_then(|failed| self.guards.get(usize::try_from(failed.index).ok()?));
        let (Some(failed), Some(guard)) = (failed, guard) else { return errors::exception(py, error) };
        errors::guard(py, error, guard_name(guard), guarded(guard), failed.found)
    }
}

fn guard_name(guard: &Guard) -> &'static str {
    match guard {
        Guard::Version { .. } => "version",
        Guard::Absent { .. } => "absent",
        Guard::Present { .. } => "present",
        Guard::Holds { .. } => "holds",
    }
}

fn done<'py>(py: Python<'py>, kind: &Kind, answer: strong::Answer) -> PyResult<Bound<'py, PyAny>> {
    match (kind, answer) {
        (Kind::Version, strong::Answer::Written { revision: Some(revision), .. }) => {
            Ok(revision.0.into_pyobject(py)?.into_any())
        }
        (Kind::Transacted, strong::Answer::Written { revision, outcomes }) => {
            let outcomes = outcomes.iter().map(|outcome| (outcome.existed, outcome.number));
            let outcomes = PyList::new(py, outcomes.collect::<Vec<_>>())?;
            Ok(PyTuple::new(py, [revision.unwrap_or_default().0.into_pyobject(py)?.into_any(), outcomes.into_any()])?
                .into_any())
        }
        (Kind::ExistedCount, strong::Answer::Written { outcomes, .. }) => {
            Ok(outcomes.iter().filter(|outcome| outcome.existed).count().into_pyobject(py)?.into_any())
        }
        (Kind::Existed | Kind::Number, strong::Answer::Written { outcomes, .. }) => {
            let [outcome] = outcomes[..] else { return Err(mismatch().into()) };
            match (kind, outcome.number) {
                (Kind::Number, Some(number)) => Ok(number.into_pyobject(py)?.into_any()),
                (Kind::Number, None) => Err(mismatch().into()),
                _ => Ok(bool(py, outcome.existed)),
            }
        }
        (Kind::Lease, strong::Answer::Leased { lease, ttl_ms, .. }) => {
            Ok((lease.0, seconds(ttl_ms)).into_pyobject(py)?.into_any())
        }
        (Kind::Token, strong::Answer::Held { token }) => token_or_none(py, Some(token)),
        (Kind::Token, strong::Answer::Queued { .. }) => token_or_none(py, None),
        (Kind::Nothing, _) => Ok(py.None().into_bound(py)),
        _ => Err(mismatch().into()),
    }
}

fn token_or_none(py: Python<'_>, token: Option<Revision>) -> PyResult<Bound<'_, PyAny>> {
    Ok(token.map(|token| token.0).into_pyobject(py)?.into_any())
}

/// The seconds that are left of a lease, those that it was granted for, and how much hangs on it.
fn left_of(lease: &strong::Lease) -> (f64, f64, u64) {
    (seconds(lease.remaining_ms), seconds(lease.ttl_ms), lease.places)
}

fn seconds(ms: u64) -> f64 {
    ms as f64 / 1000.0
}

fn snapshot<'py>(py: Python<'py>, codec: &Option<Py<PyAny>>, reply: ReadReply) -> PyResult<Bound<'py, PyAny>> {
    let (revision, found) = (reply.revision.0, PyList::empty(py));
    for answer in answers(Reply::Read(reply))? {
        match answer? {
            Answer::Entry(Some(entry)) => {
                found.append(Bound::new(py, PyEntry::decode(py, bound(py, codec), &entry)?)?)?
            }
            Answer::Entry(None) => found.append(py.None())?,
            Answer::Written(_) | Answer::Count(_) | Answer::Page(_) | Answer::Pong => return Err(mismatch().into()),
        }
    }
    Ok((revision, found).into_pyobject(py)?.into_any())
}

/// The answers to reads as an eventual keyspace would give them.
///
/// # Errors
/// `INTERNAL` when it is no answer to reads.
pub(in crate::python) fn answers(reply: Reply) -> Result<Vec<Result<Answer>>> {
    let Reply::Read(reply) = reply else { return Err(mismatch()) };
    // What the state machine counts is no time of day: what is left of it, from now on.
    let now = Now::at(reply.elapsed_ms);
    let answer = |answer| match answer {
        ReadAnswer::Key { key, item, metadata_only } => {
            Answer::Entry(item.map(|item| now.entry(&key, &item, metadata_only)))
        }
        ReadAnswer::Page { page: ItemPage { items, more }, keys_only } => {
            let entries = items.iter().map(|(key, item)| now.entry(key, item, keys_only)).collect();
            Answer::Page(EntryPage { entries, more })
        }
        ReadAnswer::Count(count) => Answer::Count(count),
    };
    Ok(reply.answers.into_iter().map(|each| Ok(answer(each))).collect())
}

/// The time of day, and what the state machine showed at that moment.
pub(in crate::python) struct Now {
    wall_ms: u64,
    elapsed_ms: u64,
}

impl Now {
    pub(in crate::python) fn at(elapsed_ms: u64) -> Now {
        Now { wall_ms: SystemClock::new().wall_ms(), elapsed_ms }
    }

    /// An item as an eventual keyspace would give it.
    pub(in crate::python) fn entry(&self, key: &Key, item: &Item, metadata_only: bool) -> Entry {
        let expires_ms = match item.until {
            Until::Elapsed(deadline_ms) => {
                NonZeroU64::new(self.wall_ms.saturating_add(deadline_ms.saturating_sub(self.elapsed_ms)))
            }
            Until::Deleted | Until::Lease(_) => None,
        };
        Entry {
            key: bytes::Bytes::copy_from_slice(key),
            value: if metadata_only { bytes::Bytes::new() } else { item.value.to_bytes() },
            flags: item.flags,
            version: Timestamp(item.modified.0),
            modified_ms: item.modified_ms,
            expires_ms,
        }
    }
}
