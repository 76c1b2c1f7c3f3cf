//! Which own writes the outboxes keep for peers that are away: a connection that breaks and comes back goes on where it
//! stood, instead of fetching state.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    limits::OUTBOX_RETENTION,
    types::{NodeId, PartitionId, Sequence},
};

/// The peers that were connected a while ago, and where they stood.
#[derive(Debug, Default)]
pub(super) struct Retention {
    away: BTreeMap<NodeId, Away>,
}

#[derive(Debug)]
struct Away {
    until: Duration,
    /// By partition.
    acknowledged: Vec<Sequence>,
}

impl Retention {
    /// The connection with a peer is lost; it had acknowledged this much of each partition.
    pub(super) fn parted(&mut self, now: Duration, node: NodeId, acknowledged: Vec<Sequence>) {
        self.away.insert(node, Away { until: now + OUTBOX_RETENTION, acknowledged });
    }

    /// The peer is connected again, and says itself where it stands.
    pub(super) fn met(&mut self, node: NodeId) {
        self.away.remove(&node);
    }

    /// Gives up peers that stay away.
    pub(super) fn expire(&mut self, now: Duration) {
        self.away.retain(|_, away| away.until > now);
    }

    /// Where the peers that are away stood in a partition.
    pub(super) fn positions(&self, partition: PartitionId) -> impl Iterator<Item = Sequence> + '_ {
        self.away.values().filter_map(move |away| away.acknowledged.get(partition.index()).copied())
    }
}
