//! The conflicts of one node, page by page; and those of a cluster, which every node tells for itself.

use std::{collections::BTreeSet, future::Future, sync::Arc};

use tokio::task::JoinSet;

use super::{access::Access, admin_client::node_members, channel::Channel, status::from_status};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{
        CLIENT_CONNECT_TIMEOUT, CONFLICTS_BYTES_MAX, CONFLICTS_MAX, MESSAGE_BYTES_MAX, PAGE_BYTES_TARGET, PAGE_KEYS_MAX,
    },
    types::{Address, Conflict, ConflictQuery, Conflicts, LostWrite, MemberState, MemberStatus, Space},
    wire::{
        kv::{conflicts_page, decode_conflicts_page, encode_conflicts},
        v1::{self, kv_client::KvClient},
    },
};

/// The pages of an answer, each made when the one before it is on its way.
pub(super) fn conflict_pages(
    space: Space,
    conflicts: Vec<Arc<Conflict>>,
) -> impl Iterator<Item = v1::ConflictsPage> + Send {
    let mut next = 0;
    std::iter::from_fn(move || {
        let rest = &conflicts[next..];
        let mut bytes = 0;
        let fits = |conflict: &&Arc<Conflict>| {
            let has_room = bytes < PAGE_BYTES_TARGET;
            bytes += conflict.bytes();
            has_room
        };
        let page = conflicts_page(space, rest.iter().take(PAGE_KEYS_MAX).take_while(fits).map(|conflict| &**conflict));
        next += page.conflicts.len();
        (!page.conflicts.is_empty()).then_some(page)
    })
}

/// The conflicts that the node at the other end remembers, the newest first.
///
/// # Errors
/// `CONNECTION_LOST`, `DEADLINE_EXCEEDED` when it keeps silent, `MALFORMED_MESSAGE`, or what the node answered.
pub async fn node_conflicts(channel: Channel, query: &ConflictQuery) -> Result<Vec<LostWrite>> {
    let mut client = KvClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX);
    let asked = within(client.conflicts(encode_conflicts(query))).await?;
    let mut pages = asked.map_err(|status| from_status(&status))?.into_inner();
    let (mut found, mut bytes) = (Vec::new(), 0);
    while let Some(page) = within(pages.message()).await?.map_err(|status| from_status(&status))? {
        let page = decode_conflicts_page(page)?;
        bytes += page.iter().map(LostWrite::bytes).sum::<usize>();
        found.extend(page);
        if found.len() > CONFLICTS_MAX || bytes > CONFLICTS_BYTES_MAX {
            return Err(Error::new(ErrorCode::MalformedMessage, "conflicts: more than a node remembers"));
        }
    }
    Ok(found)
}

/// Those of the node at the other end, and of every other member that it does not take for dead.
///
/// # Errors
/// Those of [`node_conflicts`], for the node at the other end.
pub async fn all_conflicts(channel: Channel, access: Access, query: ConflictQuery) -> Result<Conflicts> {
    let own = node_conflicts(channel.clone(), &query).await?;
    let members = node_members(channel).await?;
    Ok(gather_conflicts(own, members, access, query).await)
}

/// `own`, and those of the other members, the first of whom is the node that `own` came from.
pub async fn gather_conflicts(
    own: Vec<LostWrite>,
    members: Vec<MemberStatus>,
    access: Access,
    query: ConflictQuery,
) -> Conflicts {
    let mut asked = JoinSet::new();
    let mut found = Conflicts { writes: own, silent: Vec::new() };
    for member in members.into_iter().skip(1) {
        if !may_answer(&member) {
            let problem = Error::new(ErrorCode::Unreachable, "the node that was asked does not hear from it");
            found.silent.push((member.address, problem));
            continue;
        }
        let (access, query) = (access.clone(), query.clone());
        asked.spawn(async move {
            let answer = ask(&access, &member.address, &query).await;
            (member.address, answer)
        });
    }
    while let Some(answered) = asked.join_next().await {
        match answered {
            Ok((_, Ok(writes))) => found.writes.extend(writes),
            Ok((address, Err(problem))) => found.silent.push((address, problem)),
            Err(problem) => tracing::error!(%problem, "a task that asked for conflicts ended early"),
        }
    }
    for (address, problem) in &found.silent {
        tracing::warn!(%address, %problem, "the conflicts of a member are missing");
    }
    settle(&mut found, &query);
    found
}

/// Whether it is worth asking a member. One that is alive may be cut off from the asked node alone, or have lost its
/// connection with that one a moment ago.
fn may_answer(member: &MemberStatus) -> bool {
    match member.state {
        MemberState::Up | MemberState::Suspected => true,
        MemberState::Unknown | MemberState::Dead | MemberState::Left | MemberState::Removed => member.connected,
    }
}

async fn ask(access: &Access, address: &Address, query: &ConflictQuery) -> Result<Vec<LostWrite>> {
    let channel = within(access.connect(address)).await??;
    node_conflicts(channel, query).await
}

/// The newest first, each once: a member with two addresses was asked twice.
fn settle(found: &mut Conflicts, query: &ConflictQuery) {
    found.writes.sort_by(|a, b| {
        let rank = |write: &LostWrite| (write.noticed_ms, write.node, write.lost_version);
        rank(b).cmp(&rank(a)).then_with(|| a.key.cmp(&b.key))
    });
    let mut known = BTreeSet::new();
    found.writes.retain(|write| known.insert((write.node, write.lost_version, write.key.clone())));
    found.writes.truncate(query.limit.unwrap_or(usize::MAX));
    found.silent.sort_by(|a, b| a.0.cmp(&b.0));
}

/// One step of an exchange with a member: the rest must not wait for one that keeps silent.
async fn within<T>(step: impl Future<Output = T>) -> Result<T> {
    let outcome = tokio::time::timeout(CLIENT_CONNECT_TIMEOUT, step).await;
    outcome.map_err(|_| Error::deadline("conflicts", CLIENT_CONNECT_TIMEOUT))
}
