//! Questions about conflicts and pages of answers, both ways.

use std::num::NonZeroU64;

use super::{
    bad, decode_entry, encode_entry,
    operations::{check_bound, check_name},
    v1,
};
use crate::{
    error::Result,
    limits::TIMESTAMP_MS_MAX,
    types::{Conflict, ConflictQuery, Entry, LostWrite, NodeId, Space, Timestamp},
    wire::ConvertError,
};

/// A checked question.
///
/// # Errors
/// `INVALID_ARGUMENT` for the name of the keyspace, `KEY_TOO_LONG` for the prefix.
pub fn decode_conflicts(request: v1::ConflictsRequest) -> Result<ConflictQuery> {
    check_name(&request.keyspace)?;
    check_bound("prefix", &request.prefix)?;
    let limit = NonZeroU64::new(request.limit);
    Ok(ConflictQuery {
        keyspace: request.keyspace,
        prefix: request.prefix.into(),
        since_ms: request.since_ms.unwrap_or(0),
        limit: limit.map(|limit| usize::try_from(limit.get()).unwrap_or(usize::MAX)),
    })
}

/// A question for a message.
pub fn encode_conflicts(query: &ConflictQuery) -> v1::ConflictsRequest {
    v1::ConflictsRequest {
        keyspace: query.keyspace.clone(),
        prefix: query.prefix.clone().into(),
        since_ms: Some(query.since_ms),
        limit: query.limit.map_or(0, |limit| limit as u64),
    }
}

/// A page of conflicts of a keyspace.
pub fn conflicts_page<'a>(space: Space, conflicts: impl Iterator<Item = &'a Conflict>) -> v1::ConflictsPage {
    let encode = |conflict: &Conflict| {
        let write = LostWrite::new(space, conflict);
        v1::Conflict {
            key: write.key,
            lost: write.lost.map(encode_entry),
            won: write.won.map(encode_entry),
            noticed_ms: write.noticed_ms,
            node_id: write.node.0,
            lost_version: write.lost_version.0,
            won_version: write.won_version.0,
        }
    };
    v1::ConflictsPage { conflicts: conflicts.map(encode).collect() }
}

/// What a page tells.
///
/// # Errors
/// `MALFORMED_MESSAGE`.
pub fn decode_conflicts_page(page: v1::ConflictsPage) -> Result<Vec<LostWrite>> {
    Ok(page.conflicts.into_iter().map(decode_conflict).collect::<Result<_, ConvertError>>()?)
}

fn decode_conflict(conflict: v1::Conflict) -> Result<LostWrite, ConvertError> {
    crate::limits::check_key(&conflict.key).map_err(|error| bad("conflict.key", error.message()))?;
    if conflict.node_id == 0 {
        return Err(bad("conflict.node_id", "must not be 0"));
    }
    if conflict.noticed_ms > TIMESTAMP_MS_MAX {
        return Err(bad("conflict.noticed_ms", format!("{}, the limit is {TIMESTAMP_MS_MAX}", conflict.noticed_ms)));
    }
    let entry = |field, entry: Option<v1::Entry>| -> Result<Option<Entry>, ConvertError> {
        let entry = entry.map(decode_entry).transpose()?;
        if entry.as_ref().is_some_and(|entry| entry.key != conflict.key) {
            return Err(bad(field, "must be the key of the conflict"));
        }
        Ok(entry)
    };
    Ok(LostWrite {
        lost: entry("conflict.lost.key", conflict.lost)?,
        won: entry("conflict.won.key", conflict.won)?,
        noticed_ms: conflict.noticed_ms,
        node: NodeId(conflict.node_id),
        lost_version: Timestamp(conflict.lost_version),
        won_version: Timestamp(conflict.won_version),
        key: conflict.key,
    })
}
