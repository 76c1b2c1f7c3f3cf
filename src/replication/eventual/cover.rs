//! Waiting until this node has what somebody has seen elsewhere.
//!
//! A session that comes from another node names what it has seen. While something of it is missing here, this waits for
//! what arrives: pushed by its origin, or fetched from whoever has it. What nobody who can be asked has, for
//! [`SESSION_LOST_AFTER`], is given up and named, because a session that waited for the memory of a dead node would wait
//! for ever.

use std::{future::Future, pin::Pin};

use tokio::time::{timeout_at, Instant};

use super::Eventual;
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{SESSION_LOOK_INTERVAL, SESSION_LOST_AFTER},
    types::{Dot, LostWrites, NodeId, PartitionId, VersionVector},
};

/// The end of asking who has some writes.
pub type Reaching<'a> = Pin<Box<dyn Future<Output = Vec<(PartitionId, Dot)>> + Send + 'a>>;

/// Knows whom this node can get writes from.
pub trait Reach: Send + Sync {
    /// Those of some writes, all missing here, that no connected node can be expected to bring.
    fn out_of_reach(&self, wanted: Vec<(PartitionId, Dot)>) -> Reaching<'_>;
}

/// Returns when this node has everything that `wanted` covers: with nothing, or with what is lost, all else being here.
///
/// # Errors
/// `SESSION_BEHIND` at the deadline, `OVERLOADED` when too many wait.
pub async fn catch_up(
    keyspace: &Eventual,
    reach: &dyn Reach,
    wanted: &[(PartitionId, VersionVector)],
    deadline: Instant,
) -> Result<Vec<LostWrites>> {
    let mut missing: Vec<(PartitionId, Dot)> = wanted.iter().flat_map(dots).collect();
    missing.retain(|&(partition, dot)| !keyspace.covers(partition, dot));
    if missing.is_empty() {
        return Ok(Vec::new());
    }
    let arrivals = keyspace.await_arrivals()?;
    let mut look_due = Instant::now();
    let mut out_of_reach_since = None;
    loop {
        let mut arrival = std::pin::pin!(arrivals.next());
        // From here on nothing is missed: what arrives while we look ends the wait below at once.
        arrival.as_mut().enable();
        missing.retain(|&(partition, dot)| !keyspace.covers(partition, dot));
        let now = Instant::now();
        if missing.is_empty() {
            return Ok(Vec::new());
        }
        if now >= deadline {
            return Err(behind(&missing));
        }
        if now >= look_due {
            look_due = now + SESSION_LOOK_INTERVAL;
            let gone = reach.out_of_reach(missing.clone()).await;
            let since = *out_of_reach_since.get_or_insert(now);
            if gone.len() < missing.len() {
                out_of_reach_since = None;
            } else if now.saturating_duration_since(since) >= SESSION_LOST_AFTER {
                return Ok(missing.into_iter().map(|(partition, dot)| lost(keyspace, partition, dot)).collect());
            }
        }
        // Whichever comes first: the next round looks at what there is and at the clock.
        drop(timeout_at(look_due.min(deadline), arrival).await);
    }
}

/// As [`catch_up`], for those who cannot go on without what is lost.
///
/// # Errors
/// Those of [`catch_up`]; `SESSION_LOST` names the nodes whose writes are lost.
pub async fn cover(
    keyspace: &Eventual,
    reach: &dyn Reach,
    wanted: &[(PartitionId, VersionVector)],
    deadline: Instant,
) -> Result<()> {
    let lost = catch_up(keyspace, reach, wanted, deadline).await?;
    if lost.is_empty() {
        return Ok(());
    }
    Err(lost_error(lost.iter().map(|lost| lost.node)))
}

/// What a session is told about lost writes of these nodes.
pub fn lost_error(nodes: impl Iterator<Item = NodeId>) -> Error {
    let text = format!(
        "writes that this session has made or seen are not here, and the nodes that took them are gone or cut off \
         ({}); from now on the session goes on without them: read again",
        names(nodes)
    );
    Error::new(ErrorCode::SessionLost, text)
}

fn dots((partition, vector): &(PartitionId, VersionVector)) -> impl Iterator<Item = (PartitionId, Dot)> + '_ {
    vector.iter().map(|(node, sequence)| (*partition, Dot { node, sequence }))
}

fn lost(keyspace: &Eventual, partition: PartitionId, dot: Dot) -> LostWrites {
    LostWrites { partition, node: dot.node, last_here: keyspace.last_here(partition, dot) }
}

fn behind(missing: &[(PartitionId, Dot)]) -> Error {
    let nodes = names(missing.iter().map(|(_, dot)| dot.node));
    let text = format!("this node waits for writes that the session has made or seen elsewhere ({nodes})");
    Error::new(ErrorCode::SessionBehind, text)
}

/// A few names are enough for people.
fn names(nodes: impl Iterator<Item = NodeId>) -> String {
    let mut nodes: Vec<NodeId> = nodes.collect();
    nodes.sort_unstable();
    nodes.dedup();
    let named: Vec<String> = nodes.iter().take(3).map(|node| format!("node {node}")).collect();
    let more = nodes.len().saturating_sub(named.len());
    let more = if more == 0 { String::new() } else { format!(" and {more} more") };
    named.join(", ") + &more
}

#[cfg(test)]
mod tests;
