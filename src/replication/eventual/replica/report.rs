//! How replication goes, for those who watch.

use std::collections::BTreeMap;

use super::{Replica, SessionId};
use crate::{
    cluster::Entry,
    replication::eventual::{peers::Peer, session::Link, ReplicationStatus},
    types::{Address, Dot, MemberState, MemberStatus, NodeId, PartitionId, PeerState, PeerStatus},
};

impl Replica {
    /// Whether this node has caught up with a peer, or has none.
    pub(in super::super) fn is_ready(&self) -> bool {
        self.is_ready
    }

    /// Whether every connected peer has acknowledged every own write.
    pub(in super::super) fn is_drained(&self) -> bool {
        let written = self.written();
        self.links().all(|(_, link)| link.push.acknowledged() >= written)
    }

    /// Those of some writes that are not here, while their node is not connected and no connected node has more of its
    /// writes than this one. A node that has met nobody yet gives nothing up.
    pub(in super::super) fn out_of_reach(&self, wanted: &[(PartitionId, Dot)]) -> Vec<(PartitionId, Dot)> {
        if !self.is_ready {
            return Vec::new();
        }
        let offers = |link: &Link, (partition, dot): &(PartitionId, Dot)| {
            let there = link.positions.get(partition).map(|position| position.vector.sequence(dot.node));
            link.peer.node == dot.node || there > Some(self.keyspace.position(*partition, dot.node))
        };
        let is_out_of_reach = |wanted: &&(PartitionId, Dot)| !self.links().any(|(_, link)| offers(link, wanted));
        wanted.iter().filter(is_out_of_reach).copied().collect()
    }

    /// How replication goes, at this time of the wall clock.
    pub(in super::super) fn status(&self, wall_ms: u64) -> ReplicationStatus {
        let written = self.written();
        let links = self.links_by_node();
        let peers = self.addresses(&links).map(|(address, peer)| {
            let link = peer.node.and_then(|node| links.get(&node));
            let acknowledged = link.map_or(peer.acknowledged, |(_, link)| link.push.acknowledged());
            PeerStatus {
                node: peer.node,
                address: address.clone(),
                state: if link.is_some() { PeerState::Connected } else { peer.state() },
                unacknowledged: written.saturating_sub(acknowledged),
                transfers: link.map_or(0, |(id, _)| self.pulls.asked_of(*id) as u32),
                problem: if link.is_some() { String::new() } else { peer.problem.clone() },
                clock_offset_ms: link.map_or(0, |(_, link)| link.skew.offset_ms),
                refuses_ms: link.map_or(0, |(_, link)| link.skew.refuses_ms()),
                refused_ms: link.map_or(0, |(_, link)| link.skew.refused_ms()),
            }
        });
        ReplicationStatus {
            peers: peers.collect(),
            lag: self.lag.summary(),
            ready: self.is_ready,
            stable_lag_ms: self.stable_lag_ms(wall_ms),
            held_back_by: self.counters.held_back_by.clone(),
            divergences: self.counters.divergences,
            repairs: self.counters.repairs,
            refused_writes: self.counters.refused_writes,
            removed: self.is_removed(),
            state_bytes: self.counters.state_bytes,
            change_bytes: self.counters.change_bytes,
        }
    }

    /// The members this node knows, itself first, and the configured addresses where nobody was reached.
    pub(in super::super) fn members(&self) -> Vec<MemberStatus> {
        let (written, links) = (self.written(), self.links_by_node());
        let me = MemberStatus {
            node: Some(self.me.node),
            address: self.me.address.clone(),
            connected: true,
            state: if self.is_removed() { MemberState::Removed } else { MemberState::Up },
            since_ms: self.me.born_ms,
            born_ms: self.me.born_ms,
            behind: 0,
        };
        let known = self.members.shown().map(|entry| {
            let link = links.get(&entry.member.node).map(|(_, link)| *link);
            let acknowledged = link.map_or(entry.acknowledged, |link| link.push.acknowledged());
            member_status(entry, link.is_some(), written.saturating_sub(acknowledged))
        });
        let is_listed = |address: &Address| self.members.shown().any(|entry| entry.member.address == *address);
        let is_second_name = |peer: &Peer| peer.node.is_some_and(|node| self.members.entry(node).is_some());
        let unreached = self.peers.iter().filter(|(address, peer)| !is_listed(address) && !is_second_name(peer));
        let unreached = unreached.map(|(address, peer)| MemberStatus {
            node: peer.node,
            address: address.clone(),
            connected: false,
            state: MemberState::Unknown,
            since_ms: 0,
            born_ms: 0,
            behind: written,
        });
        std::iter::once(me).chain(known).chain(unreached).collect()
    }

    /// Own writes in all partitions.
    fn written(&self) -> u64 {
        self.keyspace.partition_ids().map(|id| self.keyspace.outbox(id, |outbox| outbox.last().0)).sum()
    }

    fn links_by_node(&self) -> BTreeMap<NodeId, (SessionId, &Link)> {
        self.links().map(|(id, link)| (link.peer.node, (id, link))).collect()
    }

    /// The known addresses, but for second names of nodes that are connected.
    fn addresses<'a>(
        &'a self,
        links: &'a BTreeMap<NodeId, (SessionId, &'a Link)>,
    ) -> impl Iterator<Item = (&'a Address, &'a Peer)> {
        let is_second_name = |address: &Address, peer: &Peer| {
            let link = peer.node.and_then(|node| links.get(&node));
            link.is_some_and(|(_, link)| link.peer.address != *address)
        };
        self.peers.iter().filter(move |(address, peer)| !is_second_name(address, peer))
    }
}

fn member_status(entry: &Entry, connected: bool, behind: u64) -> MemberStatus {
    MemberStatus {
        node: Some(entry.member.node),
        address: entry.member.address.clone(),
        connected,
        state: entry.state,
        since_ms: entry.since_ms,
        born_ms: entry.member.born_ms,
        behind: if entry.counts() { behind } else { 0 },
    }
}
