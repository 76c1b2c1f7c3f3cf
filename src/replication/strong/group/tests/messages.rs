//! Messages come back as they went in, have one form only, and no bytes make the decoder panic.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use openraft::{
    raft::{AppendEntriesRequest, AppendEntriesResponse, VoteRequest, VoteResponse},
    BasicNode, CommittedLeaderId, EntryPayload, Membership,
};
use proptest::prelude::*;

use super::super::message::{Acquaintance, Message, Reply};
use crate::replication::strong::{
    types::{LogEntry, LogId, Members, SnapshotMeta, Vote},
    Answer, Command, Entry, LeaseId, Request, Revision,
};

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(3, 9), index)
}

fn vote() -> Vote {
    Vote { committed: true, ..Vote::new(4, 9) }
}

fn node() -> Acquaintance {
    Acquaintance { member: 5, address: "h:7001".to_string() }
}

fn request() -> Request {
    Request { id: None, command: Command::KeepAlive { lease: LeaseId(4) } }
}

fn members() -> Membership<u64, BasicNode> {
    Membership::new(vec![BTreeSet::from([9])], BTreeMap::from([(9, BasicNode::new("h:1"))]))
}

fn messages() -> Vec<Message> {
    let entries = vec![
        LogEntry { log_id: log_id(7), payload: EntryPayload::Blank },
        LogEntry {
            log_id: log_id(8),
            payload: EntryPayload::Normal(Arc::new(Entry { time_ms: 5, requests: vec![request()] })),
        },
        LogEntry { log_id: log_id(9), payload: EntryPayload::Membership(members()) },
    ];
    let meta = SnapshotMeta {
        last_log_id: Some(log_id(6)),
        last_membership: Members::new(Some(log_id(2)), members()),
        snapshot_id: "6".to_string(),
    };
    let append = AppendEntriesRequest { vote: vote(), prev_log_id: Some(log_id(6)), entries, leader_commit: None };
    vec![
        Message::Append(append),
        Message::Vote(VoteRequest { vote: vote(), last_log_id: Some(log_id(1)) }),
        Message::SnapshotBegin { transfer: 1, vote: vote(), meta },
        Message::SnapshotChunk { transfer: 1, number: 2, chunk: vec![1, 2, 3] },
        Message::SnapshotEnd { transfer: 1 },
        Message::Propose { requests: vec![request(), request()] },
        Message::ReadIndex,
        Message::Ask { sender: node(), known: vec!["a:1".to_string()] },
        Message::Join(node()),
        Message::Leave { member: 4 },
        Message::Campaign,
        Message::MoveLeader { to: 0 },
    ]
}

fn replies() -> Vec<Reply> {
    vec![
        Reply::Append(AppendEntriesResponse::Success),
        Reply::Append(AppendEntriesResponse::PartialSuccess(Some(log_id(3)))),
        Reply::Append(AppendEntriesResponse::Conflict),
        Reply::Append(AppendEntriesResponse::HigherVote(vote())),
        Reply::Vote(VoteResponse { vote: vote(), vote_granted: true, last_log_id: None }),
        Reply::Snapshot(vote()),
        Reply::Answers(vec![Answer::Revoked, Answer::Held { token: Revision(8) }]),
        Reply::ReadIndex { log_id: Some(log_id(4)), elapsed_ms: 300 },
        Reply::Asked { receiver: node(), has_group: true, known: Vec::new() },
        Reply::Done,
        Reply::NotLeader(Some(node())),
    ]
}

#[test]
fn every_message_comes_back_and_none_of_its_beginnings_does() {
    for message in messages() {
        let bytes = message.encode();
        let back = Message::decode(&bytes).unwrap();
        assert_eq!(format!("{back:?}"), format!("{message:?}"));
        assert_eq!(back.encode(), bytes);
        assert!((0..bytes.len()).all(|length| Message::decode(&bytes[..length]).is_err()), "{message:?}");
    }
    for reply in replies() {
        let bytes = reply.encode();
        let back = Reply::decode(&bytes).unwrap();
        assert_eq!(back.encode(), bytes);
        assert!((0..bytes.len()).all(|length| Reply::decode(&bytes[..length]).is_err()), "{reply:?}");
    }
}

#[test]
fn another_version_is_told_from_a_damaged_message() {
    let error = Message::decode(&[2, 7]).unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::Unsupported, "{error}");
    let error = Message::decode(&[1, 99]).unwrap_err();
    assert_eq!(error.code(), crate::ErrorCode::MalformedMessage, "{error}");
}

proptest! {
    #[test]
    fn any_bytes_are_read_or_refused(kind in 0u8..15, mut bytes in prop::collection::vec(any::<u8>(), 0..80)) {
        bytes.splice(0..0, [1, kind]);
        if let Ok(message) = Message::decode(&bytes) {
            prop_assert_eq!(message.encode(), bytes.clone());
        }
        if let Ok(reply) = Reply::decode(&bytes) {
            prop_assert_eq!(reply.encode(), bytes);
        }
    }
}
