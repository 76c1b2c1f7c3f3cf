//! From the answers of the store to what Python's callers get.

use std::collections::BTreeMap;

use pyo3::{
    prelude::*,
    types::{PyBool, PyBytes, PyDict, PyList, PyTuple},
};

use super::{
    codec, conflict, convert,
    entry::PyEntry,
    imports::Import,
    operators,
    strong::{self, StrongConversion},
};
use crate::{
    error::{Error, ErrorCode, Result},
    replication::strong::Reply,
    types::{
        Answer, Conflicts, Entry, GroupMember, GroupRole, GroupStatus, MemberStatus, NodeId, NodeStatus, PeerState,
        PeerStatus, StorageStatus, Survey,
    },
};

/// What came of a call.
pub(super) enum Outcome {
    /// One answer an operation, in their order.
    Answers(Vec<Result<Answer>>),
    Status(Box<NodeStatus>),
    Members(Vec<MemberStatus>),
    Holdings(Vec<(String, u64, u64, u64)>),
    Conflicts(Conflicts),
    Removed,
    /// Who leads now.
    Leader(NodeId),
    /// Of a snapshot.
    Bytes(u64),
    Metrics(BTreeMap<String, f64>),
    Survey(Survey),
    Strong(Reply),
}

/// How an [`Outcome`] becomes Python. A codec of `None` is AUTO.
pub(super) enum Conversion {
    Value {
        default: Py<PyAny>,
        codec: Option<Py<PyAny>>,
    },
    Entry {
        codec: Option<Py<PyAny>>,
    },
    Entries {
        codec: Option<Py<PyAny>>,
    },
    Exists,
    Count,
    Page {
        codec: Option<Py<PyAny>>,
    },
    KeyPage,
    Version,
    Existed,
    ExistedCount,
    Nothing,
    Status,
    Members,
    Holdings,
    Conflicts {
        codec: Option<Py<PyAny>>,
    },
    Metrics,
    Survey,
    /// One for each answer.
    Batch(Vec<Conversion>),
    Strong(StrongConversion),
}

impl Conversion {
    /// What the caller gets of a call that has ended.
    ///
    /// # Errors
    /// That of the call, the first among the answers; `CodecError` when a value cannot be decoded.
    pub(super) fn finish<'py>(&self, py: Python<'py>, outcome: Result<Outcome>) -> PyResult<Bound<'py, PyAny>> {
        match (self, outcome) {
            (_, Ok(outcome)) => self.to_python(py, outcome),
            (Conversion::Strong(strong), Err(error)) => Err(strong.refused(py, &error)),
            (_, Err(error)) => Err(error.into()),
        }
    }

    fn to_python<'py>(&self, py: Python<'py>, outcome: Outcome) -> PyResult<Bound<'py, PyAny>> {
        match outcome {
            Outcome::Answers(answers) => match (self, answers.len()) {
                (Conversion::Entries { codec }, _) => entries(py, codec.as_ref().map(|codec| codec.bind(py)), answers),
                (Conversion::ExistedCount, _) => Ok(existed_count(answers)?.into_pyobject(py)?.into_any()),
                (Conversion::Nothing, _) => nothing(py, answers),
                (Conversion::Batch(each), _) => batch(py, each, answers),
                (one, 1) => one.single(py, answers.into_iter().next().ok_or_else(mismatch)??),
                _ => Err(mismatch().into()),
            },
            Outcome::Status(status) => node_status(py, &status),
            Outcome::Members(members) => member_statuses(py, &members),
            Outcome::Holdings(holdings) => Ok(holdings.into_pyobject(py)?.into_any()),
            Outcome::Conflicts(conflicts) => match self {
                Conversion::Conflicts { codec } => conflict::conflict_list(py, bound(py, codec), &conflicts),
                _ => Err(mismatch().into()),
            },
            Outcome::Removed => Ok(py.None().into_bound(py)),
            Outcome::Leader(leader) => Ok(leader.to_string().into_pyobject(py)?.into_any()),
            Outcome::Bytes(bytes) => Ok(bytes.into_pyobject(py)?.into_any()),
            Outcome::Metrics(metrics) => Ok(metrics.into_pyobject(py)?.into_any()),
            Outcome::Survey(survey) => operators::survey_page(py, &survey),
            Outcome::Strong(reply) => match self {
                Conversion::Strong(strong) => strong.to_python(py, reply),
                // A read: the same as in an eventual keyspace.
                usual => usual.to_python(py, Outcome::Answers(strong::answers(reply)?)),
            },
        }
    }

    fn single<'py>(&self, py: Python<'py>, answer: Answer) -> PyResult<Bound<'py, PyAny>> {
        match (self, answer) {
            (Conversion::Value { default, codec }, Answer::Entry(entry)) => match entry {
                Some(entry) => codec::decode(py, bound(py, codec), &entry.value, entry.flags),
                None => Ok(default.bind(py).clone()),
            },
            (Conversion::Entry { codec }, Answer::Entry(entry)) => match entry {
                Some(entry) => Ok(Bound::new(py, PyEntry::decode(py, bound(py, codec), &entry)?)?.into_any()),
                None => Ok(py.None().into_bound(py)),
            },
            (Conversion::Exists, Answer::Entry(entry)) => Ok(bool(py, entry.is_some())),
            (Conversion::Count, Answer::Count(count)) => Ok(count.into_pyobject(py)?.into_any()),
            (Conversion::Page { codec }, Answer::Page(page)) => {
                let list = PyList::empty(py);
                for entry in &page.entries {
                    list.append(Bound::new(py, PyEntry::decode(py, bound(py, codec), entry)?)?)?;
                }
                Ok((list, page.more).into_pyobject(py)?.into_any())
            }
            (Conversion::KeyPage, Answer::Page(page)) => {
                let keys = PyList::new(py, page.entries.iter().map(|entry| PyBytes::new(py, &entry.key)))?;
                Ok((keys, page.more).into_pyobject(py)?.into_any())
            }
            (Conversion::Version, Answer::Written(written)) => Ok(written.version.0.into_pyobject(py)?.into_any()),
            (Conversion::Existed, Answer::Written(written)) => Ok(bool(py, written.existed)),
            _ => Err(mismatch().into()),
        }
    }
}

pub(super) fn bound<'a, 'py>(py: Python<'py>, codec: &'a Option<Py<PyAny>>) -> Option<&'a Bound<'py, PyAny>> {
    codec.as_ref().map(|codec| codec.bind(py))
}

pub(super) fn bool(py: Python<'_>, value: bool) -> Bound<'_, PyAny> {
    PyBool::new(py, value).to_owned().into_any()
}

pub(super) fn mismatch() -> Error {
    Error::new(ErrorCode::Internal, "the answer is not of the kind that was asked for")
}

fn entries<'py>(
    py: Python<'py>,
    codec: Option<&Bound<'py, PyAny>>,
    answers: Vec<Result<Answer>>,
) -> PyResult<Bound<'py, PyAny>> {
    let found = PyDict::new(py);
    for answer in answers {
        match answer? {
            Answer::Entry(None) => {}
            Answer::Entry(Some(Entry { key, value, flags, .. })) => {
                found.set_item(convert::key_text(py, &key)?, codec::decode(py, codec, &value, flags)?)?;
            }
            Answer::Written(_) | Answer::Count(_) | Answer::Page(_) | Answer::Pong => return Err(mismatch().into()),
        }
    }
    Ok(found.into_any())
}

/// A list of pairs: whether it went well, and the answer or the error.
fn batch<'py>(py: Python<'py>, each: &[Conversion], answers: Vec<Result<Answer>>) -> PyResult<Bound<'py, PyAny>> {
    if each.len() != answers.len() {
        return Err(mismatch().into());
    }
    let list = PyList::empty(py);
    for (conversion, answer) in each.iter().zip(answers) {
        match answer.map_err(PyErr::from).and_then(|answer| conversion.single(py, answer)) {
            Ok(answer) => list.append((true, answer))?,
            Err(error) => list.append((false, error.into_value(py)))?,
        }
    }
    Ok(list.into_any())
}

/// How many keys were there. Of many writes one may fail after others were applied.
fn existed_count(answers: Vec<Result<Answer>>) -> Result<u64> {
    let several = answers.len() > 1;
    let mut count = 0;
    for answer in answers {
        match answer {
            Ok(Answer::Written(written)) => count += u64::from(written.existed),
            Ok(Answer::Entry(_) | Answer::Count(_) | Answer::Page(_) | Answer::Pong) => return Err(mismatch()),
            Err(error) => return Err(if several { error.maybe_applied() } else { error }),
        }
    }
    Ok(count)
}

/// None, once every answer is known to be no error.
fn nothing(py: Python<'_>, answers: Vec<Result<Answer>>) -> PyResult<Bound<'_, PyAny>> {
    let several = answers.len() > 1;
    match answers.into_iter().find_map(Result::err) {
        None => Ok(py.None().into_bound(py)),
        Some(error) => Err(if several { error.maybe_applied() } else { error }.into()),
    }
}

const STATUS: &str = "kvstore.status";

static NODE: Import = Import::new(STATUS, "NodeStatus");
static PEER: Import = Import::new(STATUS, "PeerStatus");
static LAG: Import = Import::new(STATUS, "ReplicationLag");
static DIGEST: Import = Import::new(STATUS, "PartitionDigest");
static GROUP: Import = Import::new(STATUS, "GroupStatus");
static GROUP_MEMBER: Import = Import::new(STATUS, "GroupMember");
static STORAGE: Import = Import::new(STATUS, "StorageStatus");
static MEMBER: Import = Import::new(STATUS, "MemberStatus");

/// For [`super::imports`].
pub(super) static IMPORTS: [&Import; 8] = [&NODE, &PEER, &LAG, &DIGEST, &GROUP, &GROUP_MEMBER, &STORAGE, &MEMBER];

fn tuple<'py>(
    py: Python<'py>,
    items: impl Iterator<Item = PyResult<Bound<'py, PyAny>>>,
) -> PyResult<Bound<'py, PyTuple>> {
    PyTuple::new(py, items.collect::<PyResult<Vec<_>>>()?)
}

/// A `NodeStatus`.
fn node_status<'py>(py: Python<'py>, status: &NodeStatus) -> PyResult<Bound<'py, PyAny>> {
    let lag = &status.replication_lag;
    let lag = LAG.make(py, (lag.samples, lag.p50_ms / 1000.0, lag.p99_ms / 1000.0, lag.max_ms / 1000.0))?;
    let peers = tuple(py, status.peers.iter().map(|peer| peer_status(py, peer)))?;
    let digests = status.digests.iter().map(|part| DIGEST.make(py, (part.partition.0, part.digest, part.records)));
    let digests = tuple(py, digests)?;
    let leader = status.group.as_ref().and_then(|group| group.leader).map(|leader| leader.to_string());
    // In parts, because the conversion of tuples ends at twelve fields.
    let head = (
        status.node.to_string(),
        status.address.to_string(),
        role(status.group.as_ref()),
        leader,
        status.ready && status.health.serving,
        status.keys,
        status.bytes,
        status.uptime.as_secs_f64(),
        status.version.as_str(),
        status.cluster.as_str(),
        status.ready,
    );
    let (kept, dropped, inexact) = (status.conflicts, status.conflicts_dropped, status.conflicts_inexact);
    let problems = PyTuple::new(py, &status.health.problems)?;
    let middle = (status.tombstones, kept, dropped, inexact, peers, lag, digests, status.removed, problems);
    let held_back_by = status.held_back_by.iter().map(|node| node.to_string()).collect::<Vec<_>>();
    let tail = (
        status.oldest_tombstone_ms as f64 / 1000.0,
        status.stable_lag_ms as f64 / 1000.0,
        PyTuple::new(py, held_back_by)?,
        status.divergences,
        status.repairs,
        status.expired,
        status.refused_writes,
    );
    let fields = head.into_pyobject(py)?.as_sequence().concat(middle.into_pyobject(py)?.as_sequence())?;
    let fields = fields.concat(tail.into_pyobject(py)?.as_sequence())?;
    let storage = status.storage.as_ref().map(|storage| storage_status(py, storage)).transpose()?;
    let (moved, limit) = ((status.state_bytes, status.change_bytes), status.max_memory);
    let group = status.group.as_ref().map(|group| group_status(py, group)).transpose()?;
    let end = (status.memory, limit, moved.0, moved.1, storage, group, status.default_keyspace.as_str());
    let fields = fields.concat(end.into_pyobject(py)?.as_sequence())?;
    NODE.make(py, fields.to_tuple()?)
}

/// What a node is for who asks a node, not a group: one that stands for election follows nobody, but is no leader.
fn role(group: Option<&GroupStatus>) -> &'static str {
    match group.map(|group| group.role) {
        None | Some(GroupRole::None) => "peer",
        Some(GroupRole::Learner) => "learner",
        Some(GroupRole::Follower | GroupRole::Candidate) => "follower",
        Some(GroupRole::Leader) => "leader",
    }
}

/// A `GroupStatus`.
fn group_status<'py>(py: Python<'py>, group: &GroupStatus) -> PyResult<Bound<'py, PyAny>> {
    let member = |member: &GroupMember| {
        GROUP_MEMBER.make(py, (member.member.to_string(), member.address.as_str(), member.votes, member.lag))
    };
    let members = tuple(py, group.members.iter().map(member))?;
    // In parts, because the conversion of tuples ends at twelve fields.
    let head = (
        group.role.as_str(),
        group.leader.map(|leader| leader.to_string()),
        group.term,
        group.last_index,
        group.applied_index,
        group.revision,
        group.compacted,
        group.log_hash,
    );
    let unheard = group.unheard_ms.map(|ms| ms as f64 / 1000.0);
    let tail = (group.elections, unheard, members, group.problem.as_str(), group.failed, group.keys, group.bytes);
    let fields = head.into_pyobject(py)?.as_sequence().concat(tail.into_pyobject(py)?.as_sequence())?;
    GROUP.make(py, fields.to_tuple()?)
}

/// A `StorageStatus`.
fn storage_status<'py>(py: Python<'py>, storage: &StorageStatus) -> PyResult<Bound<'py, PyAny>> {
    let fields = (
        storage.durability.as_str(),
        storage.state.as_str(),
        storage.problem.as_str(),
        storage.damage.as_deref(),
        storage.log_bytes,
        storage.snapshots,
        storage.snapshot_bytes,
        storage.syncs,
        storage.sync_p50_ms / 1000.0,
        storage.sync_p99_ms / 1000.0,
    );
    STORAGE.make(py, fields)
}

fn peer_status<'py>(py: Python<'py>, peer: &PeerStatus) -> PyResult<Bound<'py, PyAny>> {
    let state = match peer.state {
        PeerState::Connecting => "connecting",
        PeerState::Connected => "connected",
        PeerState::Refused => "refused",
    };
    let id = peer.node.map(|node| node.to_string());
    let fields = (
        id,
        peer.address.to_string(),
        state,
        peer.unacknowledged,
        peer.transfers,
        peer.problem.as_str(),
        peer.clock_offset_ms as f64 / 1000.0,
        peer.refuses_ms as f64 / 1000.0,
        peer.refused_ms as f64 / 1000.0,
    );
    PEER.make(py, fields)
}

/// A tuple of `MemberStatus`.
fn member_statuses<'py>(py: Python<'py>, members: &[MemberStatus]) -> PyResult<Bound<'py, PyAny>> {
    let member = |member: &MemberStatus| {
        let id = member.node.map(|node| node.to_string());
        let moment = |ms: u64| (ms > 0).then_some(ms as f64 / 1000.0);
        let (state, behind) = (member.state.as_str(), member.behind);
        let (since, born) = (moment(member.since_ms), moment(member.born_ms));
        MEMBER.make(py, (id, member.address.to_string(), member.connected, state, behind, since, born))
    };
    Ok(tuple(py, members.iter().map(member))?.into_any())
}
