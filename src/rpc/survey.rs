//! How much room the keys of a keyspace take, page by page: each call reads one page, as a scan does, and tells sizes. It
//! reads what the node has, strong keyspaces too, and is no snapshot.

use super::host::{space_of, Host};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{CALL_TIMEOUT, PAGE_BYTES_TARGET, PAGE_KEYS_MAX},
    replication::strong::{Call, Freshness, Read, ReadAnswer, ReadCall, ReadKind, Reply, Space as Part},
    types::{PageRequest, Space, Survey, SurveyQuery, Tally, DEFAULT_KEYSPACE},
};

/// One page of what was asked.
///
/// # Errors
/// `UNKNOWN_KEYSPACE`, `NO_LEADER` while it is not known what the keyspace is, and those of the group.
pub async fn survey(host: &dyn Host, query: SurveyQuery) -> Result<Survey> {
    let page = PageRequest {
        range: query.range.clone(),
        reverse: false,
        keys_max: PAGE_KEYS_MAX,
        bytes_target: PAGE_BYTES_TARGET,
    };
    match space(host, &query.keyspace).await {
        Ok(space) => Ok(of_eventual(host, space, page, Tally::new(&query))),
        Err(error) if matches!(error.code(), ErrorCode::KeyspaceIsStrong | ErrorCode::DefaultIsStrong) => {
            of_strong(host, &query, page).await
        }
        Err(error) => Err(error),
    }
}

async fn space(host: &dyn Host, name: &str) -> Result<Space> {
    let space = space_of(host, name).await?;
    host.keyspace().check_space(space)?;
    Ok(space)
}

fn of_eventual(host: &dyn Host, space: Space, page: PageRequest, mut tally: Tally) -> Survey {
    let found = host.keyspace().page(&space.page(page));
    // Every key that lies in the range is one of the keyspace.
    let keys = found.entries.iter().filter_map(|(held, record)| Some((space.key(held)?, record.value_bytes())));
    let mut last = None;
    for (key, bytes) in keys {
        tally.add(key, bytes as u64);
        last = Some(key);
    }
    tally.into_survey(last.filter(|_| found.more).map(after))
}

async fn of_strong(host: &dyn Host, query: &SurveyQuery, page: PageRequest) -> Result<Survey> {
    let none = || Error::new(ErrorCode::Unsupported, "this node has no strong keyspaces");
    let name = if query.keyspace.is_empty() { DEFAULT_KEYSPACE } else { &query.keyspace };
    let call = Call::Read(ReadCall {
        keyspace: name.to_string(),
        freshness: Freshness::Local,
        at: None,
        reads: vec![Read { space: Part::Data, kind: ReadKind::Page { page, keys_only: true } }],
    });
    let other = || Error::new(ErrorCode::Internal, "the answer is not the page that was asked for");
    let Reply::Read(reply) = host.strong().ok_or_else(none)?.call(call, CALL_TIMEOUT).await? else {
        return Err(other());
    };
    let Some(ReadAnswer::Page { page, .. }) = reply.answers.into_iter().next() else { return Err(other()) };
    let mut tally = Tally::new(query);
    for (key, item) in &page.items {
        tally.add(key, item.value.len() as u64);
    }
    let next = page.items.last().filter(|_| page.more).map(|(key, _)| after(key));
    Ok(tally.into_survey(next))
}

/// The first byte string after a key.
fn after(key: &[u8]) -> Vec<u8> {
    [key, &[0]].concat()
}
