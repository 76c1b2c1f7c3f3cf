//! Reads and their answers.

use std::sync::Arc;

use bytes::Bytes;
use prost::Message;

use super::{bad, check_call, key, other_answer, other_reply, required, v1, value, within};
use crate::{
    error::Result,
    limits::{GROUP_READ_BYTES_TARGET, PAGE_BYTES_TARGET, PAGE_KEYS_MAX},
    replication::strong::{
        Call, Freshness, Item, ItemPage, LeaseId, Read, ReadAnswer, ReadCall, ReadKind, ReadReply, Reply, Revision,
        Space, Until,
    },
    types::{Key, PageRequest},
    wire::kv::{decode_range, encode_range},
};

/// A page's `bytes_target` is the server's choice and not sent.
pub(super) fn encode_reads(call: &ReadCall) -> v1::ReadRequest {
    let (freshness, seen) = match call.freshness {
        Freshness::Linearizable => (v1::Freshness::Linearizable, 0),
        Freshness::Session(revision) => (v1::Freshness::Session, revision.0),
        Freshness::Local => (v1::Freshness::Local, 0),
    };
    v1::ReadRequest {
        keyspace: call.keyspace.clone(),
        freshness: freshness.into(),
        seen,
        at: call.at.map(|revision| revision.0),
        reads: call.reads.iter().map(encode_read).collect(),
    }
}

fn encode_read(read: &Read) -> v1::ReadOperation {
    use v1::read_operation::Read as Body;
    let body = match &read.kind {
        ReadKind::Key { key, metadata_only } => {
            Body::Key(v1::ReadKey { key: key.to_bytes(), metadata_only: *metadata_only })
        }
        ReadKind::Page { page, keys_only } => Body::Page(v1::ReadPage {
            range: Some(encode_range(&page.range)),
            reverse: page.reverse,
            keys_only: *keys_only,
            limit: u32::try_from(page.keys_max).unwrap_or(u32::MAX),
        }),
        ReadKind::Count(range) => Body::Count(encode_range(range)),
    };
    v1::ReadOperation { locks: read.space == Space::Locks, read: Some(body) }
}

/// The call of a unary read.
///
/// # Errors
/// `MALFORMED_MESSAGE`, `KEY_EMPTY`, `KEY_TOO_LONG`, and those of [`check_call`].
pub(super) fn decode_reads(request: v1::ReadRequest) -> Result<Call> {
    let freshness = match v1::Freshness::try_from(request.freshness) {
        Ok(v1::Freshness::Unspecified | v1::Freshness::Linearizable) => Freshness::Linearizable,
        Ok(v1::Freshness::Session) => Freshness::Session(Revision(request.seen)),
        Ok(v1::Freshness::Local) => Freshness::Local,
        Err(_) => return Err(bad("freshness", format!("{}, there is no such freshness", request.freshness))),
    };
    let read = |(place, read)| decode_read(read).map_err(within(format_args!("reads[{place}]")));
    let reads = request.reads.into_iter().enumerate().map(read).collect::<Result<_>>()?;
    let call = Call::Read(ReadCall { keyspace: request.keyspace, freshness, at: request.at.map(Revision), reads });
    check_call(&call)?;
    Ok(call)
}

fn decode_read(read: v1::ReadOperation) -> Result<Read> {
    use v1::read_operation::Read as Body;
    let kind = match required("read", read.read)? {
        Body::Key(read) => ReadKind::Key { key: Key::new(&read.key)?, metadata_only: read.metadata_only },
        Body::Page(page) => {
            let limit = usize::try_from(page.limit).unwrap_or(usize::MAX);
            let keys_max = if limit == 0 { PAGE_KEYS_MAX } else { limit };
            let (range, reverse) = (decode_range(page.range)?, page.reverse);
            let request = PageRequest { range, reverse, keys_max, bytes_target: PAGE_BYTES_TARGET };
            ReadKind::Page { page: request, keys_only: page.keys_only }
        }
        Body::Count(range) => ReadKind::Count(decode_range(Some(range))?),
    };
    Ok(Read { space: if read.locks { Space::Locks } else { Space::Data }, kind })
}

/// As many answers as fit into one message, and one at least.
pub(super) fn encode_read_answers(reply: Reply) -> Result<v1::ReadResponse> {
    let Reply::Read(reply) = reply else { return other_reply(&reply) };
    let (mut answers, mut bytes) = (Vec::with_capacity(reply.answers.len()), 0);
    for answer in reply.answers {
        if bytes >= GROUP_READ_BYTES_TARGET {
            break;
        }
        let answer = encode_read_answer(answer, reply.elapsed_ms);
        bytes += answer.encoded_len();
        answers.push(answer);
    }
    Ok(v1::ReadResponse { revision: reply.revision.0, answers })
}

fn encode_read_answer(answer: ReadAnswer, elapsed_ms: u64) -> v1::ReadAnswer {
    use v1::read_answer::Answer as Body;
    let body = match answer {
        ReadAnswer::Key { key, item, metadata_only } => {
            let item = item.map(|item| encode_item(&key, &item, elapsed_ms, !metadata_only));
            Body::Key(v1::KeyAnswer { item })
        }
        ReadAnswer::Page { page, keys_only } => {
            let item = |(key, item): &(Key, Arc<Item>)| encode_item(key, item, elapsed_ms, !keys_only);
            Body::Page(v1::StrongPage { items: page.items.iter().map(item).collect(), more: page.more })
        }
        ReadAnswer::Count(count) => Body::Count(count),
    };
    v1::ReadAnswer { answer: Some(body) }
}

pub(super) fn encode_item(key: &Key, item: &Item, elapsed_ms: u64, with_value: bool) -> v1::StrongItem {
    let (ttl_ms, lease) = match item.until {
        Until::Deleted => (None, None),
        Until::Elapsed(deadline_ms) => (Some(deadline_ms.saturating_sub(elapsed_ms)), None),
        Until::Lease(lease) => (None, Some(lease.0)),
    };
    v1::StrongItem {
        key: key.to_bytes(),
        value: if with_value { item.value.to_bytes() } else { Bytes::new() },
        flags: item.flags,
        version: item.modified.0,
        created: item.created.0,
        writes: item.writes,
        modified_ms: item.modified_ms,
        ttl_ms,
        lease,
    }
}

/// The answers to `call`, from the first read on.
///
/// # Errors
/// `MALFORMED_MESSAGE`, `KEY_EMPTY`, `KEY_TOO_LONG`, `VALUE_TOO_LARGE`.
pub(super) fn decode_read_answers(call: &ReadCall, response: v1::ReadResponse) -> Result<Reply> {
    let (count, asked) = (response.answers.len(), call.reads.len());
    if count > asked || (count == 0 && asked > 0) {
        return Err(bad("answers", format!("{count} answers to {asked} reads")));
    }
    let answer = |(place, (read, answer)): (usize, (&Read, v1::ReadAnswer))| {
        decode_read_answer(&read.kind, answer).map_err(within(format_args!("answers[{place}]")))
    };
    let answers = call.reads.iter().zip(response.answers).enumerate().map(answer).collect::<Result<_>>()?;
    Ok(Reply::Read(ReadReply { revision: Revision(response.revision), elapsed_ms: 0, answers }))
}

fn decode_read_answer(read: &ReadKind, answer: v1::ReadAnswer) -> Result<ReadAnswer> {
    use v1::read_answer::Answer as Body;
    Ok(match (read, required("answer", answer.answer)?) {
        (ReadKind::Key { key, metadata_only }, Body::Key(answer)) => {
            let found = answer.item.map(decode_item).transpose()?;
            if found.as_ref().is_some_and(|(found, _)| found != key) {
                return other_answer();
            }
            let (key, metadata_only) = (key.clone(), *metadata_only);
            ReadAnswer::Key { key, item: found.map(|(_, item)| item), metadata_only }
        }
        (ReadKind::Page { page, keys_only }, Body::Page(answer)) => {
            if answer.items.len() > page.keys_max {
                return Err(bad("page.items", format!("{} items of {}", answer.items.len(), page.keys_max)));
            }
            let items = answer.items.into_iter().map(decode_item).collect::<Result<_>>()?;
            ReadAnswer::Page { page: ItemPage { items, more: answer.more }, keys_only: *keys_only }
        }
        (ReadKind::Count(_), Body::Count(count)) => ReadAnswer::Count(count),
        _ => return other_answer(),
    })
}

pub(super) fn decode_item(item: v1::StrongItem) -> Result<(Key, Arc<Item>)> {
    let until = match (item.ttl_ms, item.lease) {
        (None, None) => Until::Deleted,
        (Some(ttl_ms), None) => Until::Elapsed(ttl_ms),
        (None, Some(lease)) => Until::Lease(LeaseId(lease)),
        (Some(_), Some(_)) => return Err(bad("item.lease", "is there beside a time to live")),
    };
    let decoded = Item {
        value: value("item", &item.value)?,
        flags: item.flags,
        created: Revision(item.created),
        modified: Revision(item.version),
        writes: item.writes,
        modified_ms: item.modified_ms,
        until,
    };
    Ok((key("item", &item.key)?, Arc::new(decoded)))
}
