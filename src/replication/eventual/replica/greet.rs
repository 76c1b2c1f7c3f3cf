//! The beginning of a session: who is there, do we fit together, do we have two sessions now; and who else is there.

use std::collections::BTreeSet;

use super::{Action, Link, Now, Phase, Replica, Session, SessionId};
use crate::{
    limits::{HEARD_RECENTLY, PARTITIONS, PROTOCOL_VERSION},
    replication::eventual::listeners::Stand,
    types::{Address, Hello, Member, NodeId, PeerMessage},
};

impl Replica {
    /// A stream is there: says Hello on it.
    pub(super) fn open(&mut self, now: Now, id: SessionId, dialled: Option<Address>, actions: &mut Vec<Action>) {
        self.sessions.insert(id, Session::new(now.monotonic, dialled, self.members.version()));
        let hello = Hello {
            protocol_version: PROTOCOL_VERSION,
            cluster: self.cluster.clone(),
            sender: self.me.clone(),
            partitions: PARTITIONS,
            membership: self.members.membership(),
        };
        actions.push(Action::Send { session: id, message: PeerMessage::Hello(hello) });
    }

    /// The peer says who it is.
    pub(super) fn handle_hello(&mut self, now: Now, id: SessionId, hello: Hello, actions: &mut Vec<Action>) {
        let Some(session) = self.sessions.get(&id) else { return };
        let dialled = session.dialled.clone();
        if hello.sender.node == self.me.node {
            if let Some(address) = dialled {
                self.close(now, id, "this node has dialled itself", actions);
                self.peers.forget_ourselves(&address);
            }
            return;
        }
        if let Some(why) = self.mismatch(&hello) {
            return self.refuse(now, id, &hello.sender.address, &why, actions);
        }
        if hello.membership.removed.contains(&self.me.node) {
            self.learn_removed(now, vec![self.me.node], actions);
            return self.refuse(now, id, &hello.sender.address, "the peer says that this node was removed", actions);
        }
        let heard = self.heard();
        let is_heard =
            |node| heard.get(&node).is_some_and(|&heard| now.monotonic.saturating_sub(heard) < HEARD_RECENTLY);
        let replaced = match self.members.meet(now.monotonic, &hello.sender, is_heard) {
            Ok(replaced) => replaced,
            Err(why) => return self.refuse(now, id, &hello.sender.address, &why, actions),
        };
        self.learn_removed(now, replaced, actions);
        self.close_former_incarnation(now, &hello.sender, actions);
        self.peers.meet(&hello.sender, dialled.as_ref().map(|address| (address, id)));
        self.hear_members(now, &hello.membership, actions);
        self.detector.linked(now.monotonic, hello.sender.node);
        let node = hello.sender.node;
        let is_counted = hello.membership.members.iter().any(|member| member.node == self.me.node);
        if !is_counted {
            self.reissues.meet(node);
        }
        self.settle_members();
        if let Some(session) = self.sessions.get_mut(&id) {
            let mut link = Link::new(hello.sender, now.wall_ms);
            link.push.begin_at(self.begins_at.get(&node).map_or(&[], Vec::as_slice));
            session.phase = Phase::Linked(Box::new(link));
        }
        self.retention.met(node);
        self.keyspace.listeners().peer_stands(node, &Stand::new());
        self.keyspace.partition_ids().for_each(|partition| self.release(partition));
        self.close_duplicates(now, node, actions);
        if self.sessions.contains_key(&id) {
            self.tell_positions_to(now, id, actions);
        }
    }

    /// Draws the conclusions of whom this node counts now.
    pub(super) fn settle_members(&mut self) {
        let version = self.members.version();
        if self.counted.0 == version {
            return;
        }
        let now: BTreeSet<NodeId> = self.members.counted().map(|member| member.node).collect();
        let (_, before) = std::mem::replace(&mut self.counted, (version, now.clone()));
        before.difference(&now).for_each(|&gone| self.forget(gone));
        now.difference(&before).for_each(|&met| self.count(met));
    }

    /// Counts a member from now on.
    fn count(&mut self, node: NodeId) {
        self.stability.meet();
        self.lows.meet();
        let first = |partition| {
            let told = self.stability.told(partition);
            self.keyspace.outbox(partition, |outbox| outbox.first_after(told))
        };
        let begins_at = self.keyspace.partition_ids().map(first).collect();
        self.begins_at.insert(node, begins_at);
    }

    /// A node is no member any more.
    fn forget(&mut self, node: NodeId) {
        self.begins_at.remove(&node);
        self.stability.forget(node);
        self.reissues.forget(node);
        self.keyspace.forget_seen(node);
    }

    /// Why the two cannot talk to each other.
    fn mismatch(&self, hello: &Hello) -> Option<String> {
        let address = &hello.sender.address;
        if hello.cluster != self.cluster {
            let (theirs, ours) = (&hello.cluster, &self.cluster);
            return Some(format!("{address} belongs to cluster {theirs:?}, this node to {ours:?}"));
        }
        if hello.protocol_version != PROTOCOL_VERSION {
            let theirs = hello.protocol_version;
            return Some(format!("{address} speaks protocol version {theirs}, this node {PROTOCOL_VERSION}"));
        }
        let theirs = hello.partitions;
        (theirs != PARTITIONS).then(|| format!("{address} has {theirs} partitions, this node {PARTITIONS}"))
    }

    fn refuse(&mut self, now: Now, id: SessionId, address: &Address, why: &str, actions: &mut Vec<Action>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.phase = Phase::Refused;
        if session.dialled.is_some() {
            self.close(now, id, why, actions);
        } else {
            self.peers.refused(address, now.monotonic, why);
        }
    }

    /// Another node answers at this address: the one before is gone, also when its stream does not know it yet.
    fn close_former_incarnation(&mut self, now: Now, member: &Member, actions: &mut Vec<Action>) {
        let is_former = |link: &Link| link.peer.address == member.address && link.peer.node != member.node;
        let former: Vec<SessionId> = self.links().filter(|(_, link)| is_former(link)).map(|(id, _)| id).collect();
        for id in former {
            self.close(now, id, "a new incarnation has taken its place", actions);
        }
    }

    /// Of the sessions with a node keeps the one that the smaller node id dialled, and of several that this node
    /// dialled the newest. Closes only sessions that this node dialled; the peer does the same with its own.
    fn close_duplicates(&mut self, now: Now, node: NodeId, actions: &mut Vec<Action>) {
        let with_node = |id: &SessionId| self.sessions[id].link().is_some_and(|link| link.peer.node == node);
        let all = self.sessions.keys().copied().filter(with_node);
        let (mine, theirs): (Vec<_>, Vec<_>) = all.partition(|id| self.sessions[id].dialled.is_some());
        let kept = if node < self.me.node && !theirs.is_empty() { None } else { mine.last().copied() };
        for id in mine.into_iter().filter(|&id| Some(id) != kept) {
            self.close(now, id, "there is another session with this peer", actions);
        }
    }
}
