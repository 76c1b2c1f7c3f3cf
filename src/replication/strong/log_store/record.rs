//! The records of a group in the log of its node, and their bytes: one form each, in the style of [`crate::storage::codec`].
//!
//! | kind | record | payload |
//! | --- | --- | --- |
//! | 1 | an entry | log id; 1 byte: 1 blank, 2 requests, 3 members; the requests or members |
//! | 2 | entries are taken back | index of the first of them |
//! | 3 | all facts: whose log it is, what is given up, the vote, what is committed | 8 bytes of node; then each 1 byte whether it is there, then it: log id; term, 8 bytes of node (0: nobody), 1 byte whether granted; log id |
//! | 4 | what is committed | log id |
//! | 5 | the log of a member begins, and nothing before it counts | 8 bytes of node |
//!
//! A log id is term, index. Members are a list of configurations, each a list of 8 bytes of node, and a list of
//! nodes with sized addresses. A number of a kind is never used for another kind.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use openraft::{BasicNode, CommittedLeaderId, EntryPayload, LeaderId, Membership};

use crate::{
    error::{Error, ErrorCode, Result},
    limits::MEMBER_ADDRESS_BYTES_MAX,
    replication::strong::{
        types::{LogEntry, LogId, Vote},
        Entry,
    },
    storage::codec::{put_list, put_number, put_sized, CodecError, Decoded, Fault, Reader, Stored},
};

/// What the log says of a group in one place.
#[derive(Clone, Debug, PartialEq)]
pub(super) enum Record {
    Entry(LogEntry),
    Truncated { since: u64 },
    Facts(Facts),
    Committed(LogId),
    Begun { member: u64 },
}

/// What stands beside the entries.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Facts {
    /// Whose log it is. 0: of nobody yet.
    pub(super) member: u64,
    /// Entries up to this one are given up: a snapshot has what they say.
    pub(super) purged: Option<LogId>,
    pub(super) vote: Option<Vote>,
    pub(super) committed: Option<LogId>,
}

const ENTRY: u8 = 1;
const TRUNCATED: u8 = 2;
const FACTS: u8 = 3;
const COMMITTED: u8 = 4;
const BEGUN: u8 = 5;

/// No member has this id.
const NOBODY: u64 = 0;

const BLANK: u8 = 1;
const REQUESTS: u8 = 2;
const MEMBERS: u8 = 3;

impl Record {
    pub(super) fn kind(&self) -> u8 {
        match self {
            Record::Entry(_) => ENTRY,
            Record::Truncated { .. } => TRUNCATED,
            Record::Facts(_) => FACTS,
            Record::Committed(_) => COMMITTED,
            Record::Begun { .. } => BEGUN,
        }
    }

    pub(super) fn put(&self, buf: &mut Vec<u8>) {
        match self {
            Record::Entry(entry) => put_entry(buf, entry),
            Record::Truncated { since } => put_number(buf, *since),
            Record::Facts(Facts { member, purged, vote, committed }) => {
                put_node(buf, *member);
                put_option(buf, purged.as_ref(), put_log_id);
                put_option(buf, vote.as_ref(), put_vote);
                put_option(buf, committed.as_ref(), put_log_id);
            }
            Record::Committed(committed) => put_log_id(buf, committed),
            Record::Begun { member } => put_node(buf, *member),
        }
    }
}

/// Reads a record of a kind.
///
/// # Errors
/// `CORRUPT`, with the field; `FORMAT_TOO_NEW` for a kind that this software does not know.
pub(super) fn decode(kind: u8, payload: &[u8]) -> Result<Record> {
    let mut reader = Reader::new(payload);
    let record = match kind {
        ENTRY => Record::Entry(take_entry(&mut reader)?),
        TRUNCATED => Record::Truncated { since: reader.take_number("truncated.since")? },
        FACTS => Record::Facts(Facts {
            member: reader.take_u64("facts.member")?,
            purged: take_option(&mut reader, "facts.purged", take_log_id)?,
            vote: take_option(&mut reader, "facts.vote", take_vote)?,
            committed: take_option(&mut reader, "facts.committed", take_log_id)?,
        }),
        COMMITTED => Record::Committed(take_log_id(&mut reader)?),
        BEGUN => Record::Begun { member: reader.take_u64("begun.member")? },
        other => {
            let text = format!("log of a group: records of kind {other} are of a later version");
            return Err(Error::new(ErrorCode::FormatTooNew, text));
        }
    };
    reader.finish("record")?;
    Ok(record)
}

pub(in crate::replication::strong) fn put_option<T>(
    buf: &mut Vec<u8>,
    value: Option<&T>,
    put: impl Fn(&mut Vec<u8>, &T),
) {
    buf.push(value.is_some().into());
    if let Some(value) = value {
        put(buf, value);
    }
}

pub(in crate::replication::strong) fn take_bool(reader: &mut Reader<'_>, field: &'static str) -> Decoded<bool> {
    match reader.take_u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        other => Err(CodecError { field, fault: Fault::Invalid(other.into()) }),
    }
}

pub(in crate::replication::strong) fn take_option<T>(
    reader: &mut Reader<'_>,
    field: &'static str,
    take: impl Fn(&mut Reader<'_>) -> Decoded<T>,
) -> Decoded<Option<T>> {
    match take_bool(reader, field)? {
        true => take(reader).map(Some),
        false => Ok(None),
    }
}

fn put_node(buf: &mut Vec<u8>, node: u64) {
    buf.extend_from_slice(&node.to_le_bytes());
}

pub(in crate::replication::strong) fn put_log_id(buf: &mut Vec<u8>, log_id: &LogId) {
    put_number(buf, log_id.leader_id.term);
    put_number(buf, log_id.index);
}

pub(in crate::replication::strong) fn take_log_id(reader: &mut Reader<'_>) -> Decoded<LogId> {
    let (term, index) = (reader.take_number("log_id.term")?, reader.take_number("log_id.index")?);
    if index == u64::MAX {
        return Err(CodecError { field: "log_id.index", fault: Fault::Invalid(index) });
    }
    // Nobody leads but one in a term, so the term says who it was.
    Ok(LogId::new(CommittedLeaderId::new(term, NOBODY), index))
}

pub(in crate::replication::strong) fn put_vote(buf: &mut Vec<u8>, vote: &Vote) {
    put_number(buf, vote.leader_id.term);
    put_node(buf, vote.leader_id.voted_for.unwrap_or(NOBODY));
    buf.push(vote.committed.into());
}

pub(in crate::replication::strong) fn take_vote(reader: &mut Reader<'_>) -> Decoded<Vote> {
    let (term, node) = (reader.take_number("vote.term")?, reader.take_u64("vote.node")?);
    let leader_id = LeaderId { term, voted_for: (node != NOBODY).then_some(node) };
    Ok(Vote { leader_id, committed: take_bool(reader, "vote.committed")? })
}

pub(in crate::replication::strong) fn put_entry(buf: &mut Vec<u8>, entry: &LogEntry) {
    put_log_id(buf, &entry.log_id);
    match &entry.payload {
        EntryPayload::Blank => buf.push(BLANK),
        EntryPayload::Normal(requests) => {
            buf.push(REQUESTS);
            requests.put(buf);
        }
        EntryPayload::Membership(members) => {
            buf.push(MEMBERS);
            put_members(buf, members);
        }
    }
}

pub(in crate::replication::strong) fn take_entry(reader: &mut Reader<'_>) -> Decoded<LogEntry> {
    let log_id = take_log_id(reader)?;
    let payload = match reader.take_u8("entry.payload")? {
        BLANK => EntryPayload::Blank,
        REQUESTS => EntryPayload::Normal(Arc::new(Entry::take(reader)?)),
        MEMBERS => EntryPayload::Membership(take_members(reader)?),
        other => return Err(CodecError { field: "entry.payload", fault: Fault::Invalid(other.into()) }),
    };
    Ok(LogEntry { log_id, payload })
}

/// A node of a configuration.
struct Voter(u64);

impl Stored for Voter {
    const BYTES_LEAST: usize = 8;

    fn put(&self, buf: &mut Vec<u8>) {
        put_node(buf, self.0);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Voter> {
        reader.take_u64("members.voter").map(Voter)
    }
}

/// A node with its address.
struct Node(u64, String);

impl Stored for Node {
    const BYTES_LEAST: usize = 9;

    fn put(&self, buf: &mut Vec<u8>) {
        put_node(buf, self.0);
        put_sized(buf, self.1.as_bytes());
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Node> {
        let node = reader.take_u64("members.node")?;
        Ok(Node(node, reader.take_text("members.address", MEMBER_ADDRESS_BYTES_MAX)?.to_string()))
    }
}

/// Nodes that voted together.
struct Configuration(BTreeSet<u64>);

impl Stored for Configuration {
    const BYTES_LEAST: usize = 1;

    fn put(&self, buf: &mut Vec<u8>) {
        let voters: Vec<Voter> = self.0.iter().copied().map(Voter).collect();
        put_list(buf, &voters);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Configuration> {
        let voters: Vec<Voter> = reader.take_list("members.voters")?;
        check_growing("members.voters", voters.iter().map(|voter| voter.0))?;
        Ok(Configuration(voters.into_iter().map(|voter| voter.0).collect()))
    }
}

fn check_growing(field: &'static str, nodes: impl Iterator<Item = u64> + Clone) -> Decoded<()> {
    match nodes.clone().zip(nodes.skip(1)).all(|(before, after)| before < after) {
        true => Ok(()),
        false => Err(CodecError { field, fault: Fault::Order }),
    }
}

pub(in crate::replication::strong) fn put_members(buf: &mut Vec<u8>, members: &Membership<u64, BasicNode>) {
    let configurations: Vec<Configuration> = members.get_joint_config().iter().cloned().map(Configuration).collect();
    put_list(buf, &configurations);
    let nodes: Vec<Node> = members.nodes().map(|(node, basic)| Node(*node, basic.addr.clone())).collect();
    put_list(buf, &nodes);
}

/// A node that votes has an address, or the library would make one up.
pub(in crate::replication::strong) fn take_members(reader: &mut Reader<'_>) -> Decoded<Membership<u64, BasicNode>> {
    let configurations: Vec<Configuration> = reader.take_list("members.configurations")?;
    let nodes: Vec<Node> = reader.take_list("members.nodes")?;
    check_growing("members.nodes", nodes.iter().map(|node| node.0))?;
    let nodes: BTreeMap<u64, BasicNode> =
        nodes.into_iter().map(|Node(node, addr)| (node, BasicNode { addr })).collect();
    if configurations.iter().flat_map(|configuration| &configuration.0).any(|voter| !nodes.contains_key(voter)) {
        return Err(CodecError { field: "members.nodes", fault: Fault::Short });
    }
    Ok(Membership::new(configurations.into_iter().map(|configuration| configuration.0).collect(), nodes))
}
