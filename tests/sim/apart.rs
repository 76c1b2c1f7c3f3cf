//! Nodes that were apart from the start for longer than a dropped tombstone is safe from those whom nobody counts yet: the one
//! hole that docs/eventual.md names ("What is not done"). A run that had such nodes is let off what the hole touches: a
//! deleted value may show until the nodes have compared and repaired. They have to agree in the end all the same.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kvstore::{limits::TOMBSTONE_GRACE, node::Running, types::NodeId};

#[derive(Default)]
pub struct Apart {
    /// Pairs that have met, directly or by what others told.
    met: BTreeMap<(NodeId, NodeId), Duration>,
    /// Since when the other pairs are both there.
    since: BTreeMap<(NodeId, NodeId), Duration>,
    /// A pair did not know of each other for too long.
    pub were: bool,
}

impl Apart {
    /// Ten times a second. The grace goes by wall clocks, which differed by up to `clock_spread`.
    pub fn look(&mut self, now: Duration, nodes: &[Arc<Running>], clock_spread: Duration) {
        let grace = TOMBSTONE_GRACE.saturating_sub(clock_spread);
        for node in nodes {
            let me = node.keyspace().me();
            let strangers: Vec<NodeId> = nodes.iter().map(|other| other.keyspace().me()).collect();
            let is_open = |other: &NodeId| *other != me && !self.met.contains_key(&(me, *other));
            let strangers: Vec<NodeId> = strangers.into_iter().filter(is_open).collect();
            if strangers.is_empty() {
                continue;
            }
            let known: BTreeSet<NodeId> = node.members().iter().filter_map(|member| member.node).collect();
            for other in strangers {
                if known.contains(&other) {
                    self.met.insert((me, other), now);
                    continue;
                }
                let since = *self.since.entry((me, other)).or_insert(now);
                self.were |= now.saturating_sub(since) > grace;
            }
        }
    }

    /// Whether a node did not know of another one at this time.
    pub fn were_strangers(&self, me: NodeId, other: NodeId, at: Duration) -> bool {
        self.met.get(&(me, other)).is_none_or(|&met| met > at)
    }
}
