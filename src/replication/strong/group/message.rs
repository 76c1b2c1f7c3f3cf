//! What the members of a group say to each other, and its bytes, in the style of [`crate::storage::codec`]: 1 byte of
//! version, 1 byte of kind, the fields in their order.

use openraft::raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse};

use super::snapshots::{put_meta, take_meta};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{GROUP_ACQUAINTANCES_MAX, MEMBER_ADDRESS_BYTES_MAX, STRONG_CHUNK_BYTES_MAX},
    replication::strong::{
        log_store::record::{
            put_entry, put_log_id, put_option, put_vote, take_entry, take_log_id, take_option, take_vote,
        },
        types::{GroupTypes, LogEntry, LogId, SnapshotMeta, Vote},
        Answer, Request,
    },
    storage::codec::{put_list, put_number, put_sized, CodecError, Decoded, Fault, Reader, Stored},
};

/// The version of the messages. Members of another one are refused.
const VERSION: u8 = 1;

/// What one member asks another.
#[derive(Debug)]
pub(super) enum Message {
    Append(AppendEntriesRequest<GroupTypes>),
    Vote(VoteRequest<u64>),
    /// A snapshot follows, under this number of the sender's.
    SnapshotBegin {
        transfer: u64,
        vote: Vote,
        meta: SnapshotMeta,
    },
    SnapshotChunk {
        transfer: u64,
        number: u64,
        chunk: Vec<u8>,
    },
    SnapshotEnd {
        transfer: u64,
    },
    /// Requests for the leader.
    Propose {
        requests: Vec<Request>,
    },
    /// Which entry a linearizable read has to wait for.
    ReadIndex,
    /// From a node without a group: is there one?
    Ask {
        sender: Acquaintance,
        known: Vec<String>,
    },
    /// The node wants to belong to the group.
    Join(Acquaintance),
    /// The member wants to belong to it no longer, or somebody else wants that.
    Leave {
        member: u64,
    },
    /// Stand for election now.
    Campaign,
    /// Hand the leadership over, to this member if it is not 0.
    MoveLeader {
        to: u64,
    },
}

/// A node and the address by which others reach it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Acquaintance {
    pub(super) member: u64,
    pub(super) address: String,
}

/// The answer to a [`Message`].
#[derive(Debug)]
pub(super) enum Reply {
    Append(AppendEntriesResponse<u64>),
    Vote(VoteResponse<u64>),
    /// The snapshot is installed, or refused because this vote is greater.
    Snapshot(Vote),
    Answers(Vec<Answer>),
    ReadIndex {
        /// The entry that reads have to wait for.
        log_id: Option<LogId>,
        /// The machine's own time at the leader, when it was confirmed.
        elapsed_ms: u64,
    },
    /// The receiver of [`Message::Ask`], whether it has a group, and whom it knows.
    Asked {
        receiver: Acquaintance,
        has_group: bool,
        known: Vec<String>,
    },
    Done,
    /// The receiver is not the leader, and has done nothing. It takes this one for the leader.
    NotLeader(Option<Acquaintance>),
}

impl Message {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut buf = vec![VERSION];
        match self {
            Message::Append(request) => {
                buf.push(1);
                put_vote(&mut buf, &request.vote);
                put_option(&mut buf, request.prev_log_id.as_ref(), put_log_id);
                put_option(&mut buf, request.leader_commit.as_ref(), put_log_id);
                put_number(&mut buf, request.entries.len() as u64);
                request.entries.iter().for_each(|entry| put_entry(&mut buf, entry));
            }
            Message::Vote(request) => {
                buf.push(2);
                put_vote(&mut buf, &request.vote);
                put_option(&mut buf, request.last_log_id.as_ref(), put_log_id);
            }
            Message::SnapshotBegin { transfer, vote, meta } => {
                buf.push(3);
                put_number(&mut buf, *transfer);
                put_vote(&mut buf, vote);
                put_meta(&mut buf, meta);
            }
            Message::SnapshotChunk { transfer, number, chunk } => {
                buf.push(4);
                put_number(&mut buf, *transfer);
                put_number(&mut buf, *number);
                put_sized(&mut buf, chunk);
            }
            Message::SnapshotEnd { transfer } => {
                buf.push(5);
                put_number(&mut buf, *transfer);
            }
            Message::Propose { requests } => {
                buf.push(6);
                put_list(&mut buf, requests);
            }
            Message::ReadIndex => buf.push(7),
            Message::Ask { sender, known } => {
                buf.push(8);
                put_acquaintance(&mut buf, sender);
                put_addresses(&mut buf, known);
            }
            Message::Join(joiner) => {
                buf.push(9);
                put_acquaintance(&mut buf, joiner);
            }
            Message::Leave { member } => {
                buf.push(10);
                put_number(&mut buf, *member);
            }
            Message::Campaign => buf.push(11),
            Message::MoveLeader { to } => {
                buf.push(12);
                put_number(&mut buf, *to);
            }
        }
        buf
    }

    /// # Errors
    /// `MALFORMED_MESSAGE` with the field; `UNSUPPORTED` for another version.
    pub(super) fn decode(bytes: &[u8]) -> Result<Message> {
        read(bytes, |kind, reader| {
            Ok(match kind {
                1 => Message::Append(take_append(reader)?),
                2 => Message::Vote(VoteRequest {
                    vote: take_vote(reader)?,
                    last_log_id: take_option(reader, "vote.last", take_log_id)?,
                }),
                3 => Message::SnapshotBegin {
                    transfer: reader.take_number("snapshot.transfer")?,
                    vote: take_vote(reader)?,
                    meta: take_meta(reader)?,
                },
                4 => Message::SnapshotChunk {
                    transfer: reader.take_number("snapshot.transfer")?,
                    number: reader.take_number("snapshot.number")?,
                    chunk: reader.take_sized("snapshot.chunk", STRONG_CHUNK_BYTES_MAX)?.to_vec(),
                },
                5 => Message::SnapshotEnd { transfer: reader.take_number("snapshot.transfer")? },
                6 => Message::Propose { requests: reader.take_list("propose.requests")? },
                7 => Message::ReadIndex,
                8 => Message::Ask { sender: take_acquaintance(reader)?, known: take_addresses(reader)? },
                9 => Message::Join(take_acquaintance(reader)?),
                10 => Message::Leave { member: reader.take_number("leave.member")? },
                11 => Message::Campaign,
                12 => Message::MoveLeader { to: reader.take_number("move.to")? },
                other => return unknown("message.kind", other),
            })
        })
    }
}

impl Reply {
    pub(super) fn encode(&self) -> Vec<u8> {
        let mut buf = vec![VERSION];
        match self {
            Reply::Append(response) => {
                buf.push(1);
                put_append_response(&mut buf, response);
            }
            Reply::Vote(response) => {
                buf.push(2);
                put_vote(&mut buf, &response.vote);
                buf.push(response.vote_granted.into());
                put_option(&mut buf, response.last_log_id.as_ref(), put_log_id);
            }
            Reply::Snapshot(vote) => {
                buf.push(3);
                put_vote(&mut buf, vote);
            }
            Reply::Answers(answers) => {
                buf.push(4);
                put_list(&mut buf, answers);
            }
            Reply::ReadIndex { log_id, elapsed_ms } => {
                buf.push(5);
                put_option(&mut buf, log_id.as_ref(), put_log_id);
                put_number(&mut buf, *elapsed_ms);
            }
            Reply::Asked { receiver, has_group, known } => {
                buf.push(6);
                put_acquaintance(&mut buf, receiver);
                buf.push((*has_group).into());
                put_addresses(&mut buf, known);
            }
            Reply::Done => buf.push(7),
            Reply::NotLeader(leader) => {
                buf.push(8);
                put_option(&mut buf, leader.as_ref(), put_acquaintance);
            }
        }
        buf
    }

    /// # Errors
    /// As [`Message::decode`].
    pub(super) fn decode(bytes: &[u8]) -> Result<Reply> {
        read(bytes, |kind, reader| {
            Ok(match kind {
                1 => Reply::Append(take_append_response(reader)?),
                2 => Reply::Vote(VoteResponse {
                    vote: take_vote(reader)?,
                    vote_granted: take_flag(reader, "vote.granted")?,
                    last_log_id: take_option(reader, "vote.last", take_log_id)?,
                }),
                3 => Reply::Snapshot(take_vote(reader)?),
                4 => Reply::Answers(reader.take_list("answers")?),
                5 => Reply::ReadIndex {
                    log_id: take_option(reader, "read_index", take_log_id)?,
                    elapsed_ms: reader.take_number("read_index.elapsed_ms")?,
                },
                6 => Reply::Asked {
                    receiver: take_acquaintance(reader)?,
                    has_group: take_flag(reader, "asked.has_group")?,
                    known: take_addresses(reader)?,
                },
                7 => Reply::Done,
                8 => Reply::NotLeader(take_option(reader, "not_leader.leader", take_acquaintance)?),
                other => return unknown("reply.kind", other),
            })
        })
    }
}

fn read<T>(bytes: &[u8], take: impl FnOnce(u8, &mut Reader<'_>) -> Decoded<T>) -> Result<T> {
    let malformed = |error: CodecError| Error::new(ErrorCode::MalformedMessage, format!("group message: {error}"));
    let mut reader = Reader::new(bytes);
    let version = reader.take_u8("message.version").map_err(malformed)?;
    if version != VERSION {
        let text = format!("group message: version {version}, this software speaks {VERSION}");
        return Err(Error::new(ErrorCode::Unsupported, text));
    }
    let kind = reader.take_u8("message.kind").map_err(malformed)?;
    let message = take(kind, &mut reader).map_err(malformed)?;
    reader.finish("message").map_err(malformed)?;
    Ok(message)
}

fn unknown<T>(field: &'static str, kind: u8) -> Decoded<T> {
    Err(CodecError { field, fault: Fault::Invalid(kind.into()) })
}

fn take_flag(reader: &mut Reader<'_>, field: &'static str) -> Decoded<bool> {
    match reader.take_u8(field)? {
        0 => Ok(false),
        1 => Ok(true),
        other => unknown(field, other),
    }
}

/// An entry in a list.
struct Listed(LogEntry);

impl Stored for Listed {
    const BYTES_LEAST: usize = 3;

    fn put(&self, buf: &mut Vec<u8>) {
        put_entry(buf, &self.0);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Listed> {
        take_entry(reader).map(Listed)
    }
}

fn take_append(reader: &mut Reader<'_>) -> Decoded<AppendEntriesRequest<GroupTypes>> {
    let vote = take_vote(reader)?;
    let prev_log_id = take_option(reader, "append.before", take_log_id)?;
    let leader_commit = take_option(reader, "append.committed", take_log_id)?;
    let entries: Vec<Listed> = reader.take_list("append.entries")?;
    let entries = entries.into_iter().map(|Listed(entry)| entry).collect();
    Ok(AppendEntriesRequest { vote, prev_log_id, entries, leader_commit })
}

fn put_append_response(buf: &mut Vec<u8>, response: &AppendEntriesResponse<u64>) {
    match response {
        AppendEntriesResponse::Success => buf.push(1),
        AppendEntriesResponse::PartialSuccess(upto) => {
            buf.push(2);
            put_option(buf, upto.as_ref(), put_log_id);
        }
        AppendEntriesResponse::Conflict => buf.push(3),
        AppendEntriesResponse::HigherVote(vote) => {
            buf.push(4);
            put_vote(buf, vote);
        }
    }
}

fn take_append_response(reader: &mut Reader<'_>) -> Decoded<AppendEntriesResponse<u64>> {
    Ok(match reader.take_u8("appended.outcome")? {
        1 => AppendEntriesResponse::Success,
        2 => AppendEntriesResponse::PartialSuccess(take_option(reader, "appended.upto", take_log_id)?),
        3 => AppendEntriesResponse::Conflict,
        4 => AppendEntriesResponse::HigherVote(take_vote(reader)?),
        other => return unknown("appended.outcome", other),
    })
}

fn put_acquaintance(buf: &mut Vec<u8>, acquaintance: &Acquaintance) {
    put_number(buf, acquaintance.member);
    put_sized(buf, acquaintance.address.as_bytes());
}

fn take_acquaintance(reader: &mut Reader<'_>) -> Decoded<Acquaintance> {
    let member = reader.take_number("node.id")?;
    Ok(Acquaintance { member, address: reader.take_text("node.address", MEMBER_ADDRESS_BYTES_MAX)?.to_string() })
}

fn put_addresses(buf: &mut Vec<u8>, addresses: &[String]) {
    put_number(buf, addresses.len() as u64);
    addresses.iter().for_each(|address| put_sized(buf, address.as_bytes()));
}

fn take_addresses(reader: &mut Reader<'_>) -> Decoded<Vec<String>> {
    let count = reader.take_number("known.count")?;
    if count > GROUP_ACQUAINTANCES_MAX as u64 {
        let fault = Fault::TooLarge { found: count, limit: GROUP_ACQUAINTANCES_MAX as u64 };
        return Err(CodecError { field: "known.count", fault });
    }
    (0..count).map(|_| Ok(reader.take_text("known.address", MEMBER_ADDRESS_BYTES_MAX)?.to_string())).collect()
}
