//! Who belongs to the cluster, and who of them lives: the member table and the failure detector, fed by the sessions.

use std::{collections::BTreeMap, time::Duration};

use super::{exchange::Breach, Action, Now, Phase, Replica, Session, SessionId};
use crate::{
    cluster::{Evidence, Gone},
    error::{Error, ErrorCode, Result},
    limits::REMOVED_SESSION_GRACE,
    types::{MemberState, Membership, NodeId, PeerMessage},
};

impl Replica {
    /// The members that count, this node left out: everybody who was ever linked with, or told of as one that counts,
    /// and neither left nor was removed.
    #[cfg(test)]
    pub(super) fn counted(&self) -> std::collections::BTreeSet<NodeId> {
        self.members.counted().map(|member| member.node).collect()
    }

    /// An order-independent hash of the nodes that are known to be removed.
    pub(super) fn removed_digest(&self) -> u64 {
        self.members.removed_digest()
    }

    /// Changes whenever [`Replica::membership`] does.
    pub(in super::super) fn members_version(&self) -> u64 {
        self.members.version()
    }

    /// Who belongs to the cluster, as far as this node knows.
    pub(in super::super) fn membership(&self) -> Membership {
        self.members.membership()
    }

    /// Takes over who belonged to the cluster when this node stopped.
    pub(super) fn remember_members(&mut self, now: Now, membership: &Membership) {
        self.members.hear(now.monotonic, membership);
        self.members.counted().for_each(|member| self.peers.hear_of(member));
        self.settle_members();
    }

    /// A node no longer counts, for good; it is forgotten wherever it was waited for.
    pub(super) fn on_removed(&mut self, node: NodeId) {
        self.retention.met(node);
        self.peers.forget_node(node);
    }

    /// Whether this node itself was removed.
    pub(in super::super) fn is_removed(&self) -> bool {
        self.members.is_removed(self.me.node)
    }

    /// Whether a member may be removed, which is to say that it counts: false for one that was removed already.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER`; `MEMBER_UP` when it is heard from, or was a moment ago, unless `force`; `INVALID_ARGUMENT` for
    /// this node itself.
    pub(in super::super) fn check_removal(&self, node: NodeId, force: bool) -> Result<bool> {
        if node == self.me.node {
            let text = format!("node_id: {node} is the node that was asked; stop it, and it leaves by itself");
            return Err(Error::new(ErrorCode::InvalidArgument, text));
        }
        if self.members.is_removed(node) {
            return Ok(false);
        }
        let Some(entry) = self.members.entry(node) else {
            let text = format!("node_id: no member has the id {node}; \"kvstore members\" lists them");
            return Err(Error::new(ErrorCode::UnknownMember, text));
        };
        let state = entry.state;
        if matches!(state, MemberState::Up | MemberState::Suspected) && !force {
            let hint = "stop it, which hands over its writes, or remove it with force";
            return Err(Error::new(ErrorCode::MemberUp, format!("member {node} is {}: {hint}", state.as_str())));
        }
        Ok(true)
    }

    /// Removes a member for good, and tells all peers.
    ///
    /// # Errors
    /// As with [`check_removal`](Self::check_removal); nothing is changed then.
    pub(in super::super) fn remove_member(
        &mut self,
        now: Now,
        node: NodeId,
        force: bool,
        actions: &mut Vec<Action>,
    ) -> Result<()> {
        if self.check_removal(node, force)? {
            self.members.remove(now.monotonic, node, Gone::Removed);
            self.learn_removed(now, vec![node], actions);
            self.tell_members(actions);
        }
        Ok(())
    }

    /// Says goodbye to all peers. They remove this node and hang up.
    pub(super) fn leave(&mut self, actions: &mut Vec<Action>) {
        self.is_leaving = true;
        actions.extend(self.links().map(|(session, _)| Action::Send { session, message: PeerMessage::Leave }));
    }

    /// A peer leaves, and has handed over its writes if it could.
    pub(super) fn handle_leave(&mut self, now: Now, id: SessionId, node: NodeId, actions: &mut Vec<Action>) {
        self.members.remove(now.monotonic, node, Gone::Left);
        self.learn_removed(now, vec![node], actions);
        self.close(now, id, "the peer leaves the cluster", actions);
    }

    /// A peer tells whom it counts and who was removed.
    pub(super) fn hear_members(&mut self, now: Now, membership: &Membership, actions: &mut Vec<Action>) {
        let newly = self.members.hear(now.monotonic, membership);
        let heard = membership.members.iter().filter(|member| self.members.counts(member.node));
        heard.for_each(|member| self.peers.hear_of(member));
        self.learn_removed(now, newly, actions);
        self.settle_members();
    }

    /// Nodes were removed, this one perhaps.
    pub(super) fn learn_removed(&mut self, now: Now, nodes: Vec<NodeId>, actions: &mut Vec<Action>) {
        if nodes.is_empty() {
            return;
        }
        for node in nodes {
            if node != self.me.node {
                tracing::info!(%node, "a member no longer counts");
                self.detector.forget(now.monotonic, node);
                self.on_removed(node);
                continue;
            }
            self.members.remove(now.monotonic, node, Gone::Removed);
            if !self.is_leaving {
                tracing::warn!(%node, "the cluster removed this node: it refuses writes from now on");
                self.keyspace.refuse_writes();
                let linked: Vec<SessionId> = self.links().map(|(id, _)| id).collect();
                linked.into_iter().for_each(|id| self.close(now, id, "this node was removed", actions));
            }
        }
        self.judge_members(now, actions);
        self.settle_members();
        self.keyspace.partition_ids().for_each(|partition| self.release(partition));
    }

    /// Tells every peer who counts and who was removed, if that has changed since it was told last.
    pub(super) fn tell_members(&mut self, actions: &mut Vec<Action>) {
        let version = self.members.version();
        let is_behind = |session: &Session| session.told != version && session.link().is_some();
        if !self.sessions.values().any(is_behind) {
            return;
        }
        let membership = self.members.membership();
        for (&session, state) in self.sessions.iter_mut().filter(|(_, session)| is_behind(session)) {
            state.told = version;
            actions.push(Action::Send { session, message: PeerMessage::Members(membership.clone()) });
        }
    }

    /// A message of the failure detector.
    pub(super) fn handle_gossip(&mut self, now: Now, node: NodeId, message: &[u8]) -> std::result::Result<(), Breach> {
        let outcome = self.detector.handle(now.monotonic, node, message);
        outcome.map_err(|error| {
            tracing::warn!(%node, %error, "a bad message");
            "a message of the failure detector cannot be"
        })
    }

    /// Sends what the failure detector has to say, where there is a link. Elsewhere it is lost, as a datagram would be.
    pub(super) fn send_gossip(&mut self, actions: &mut Vec<Action>) {
        for (node, message) in self.detector.take_messages().collect::<Vec<_>>() {
            if let Some((session, _)) = self.links().find(|(_, link)| link.peer.node == node) {
                actions.push(Action::Send { session, message: PeerMessage::Gossip(message) });
            }
        }
    }

    /// Probes, and judges by what is known now.
    pub(super) fn watch_members(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.detector.tick(now.monotonic);
        self.judge_members(now, actions);
        self.close_removed(now, actions);
    }

    /// Judges each member by what is known now.
    fn judge_members(&mut self, now: Now, actions: &mut Vec<Action>) {
        let (heard, verdicts) = (self.heard(), self.detector.verdicts());
        let evidence = |node| Evidence { heard: heard.get(&node).copied(), verdict: verdicts.get(&node).copied() };
        let replaced = self.members.observe(now.monotonic, now.wall_ms, evidence);
        self.learn_removed(now, replaced, actions);
    }

    /// When the last message came from each linked node.
    pub(super) fn heard(&self) -> BTreeMap<NodeId, Duration> {
        let linked = self.sessions.values().filter_map(|session| Some((session.link()?.peer.node, session.heard)));
        let mut latest = BTreeMap::new();
        for (node, heard) in linked {
            let known: &mut Duration = latest.entry(node).or_default();
            *known = heard.max(*known);
        }
        latest
    }

    /// A removed node has a moment to learn of it, or to say itself that it leaves.
    fn close_removed(&mut self, now: Now, actions: &mut Vec<Action>) {
        let is_over = |node| {
            let since = self.members.entry(node).and_then(|entry| entry.gone_since());
            self.members.is_removed(node)
                && since.is_none_or(|since| now.monotonic.saturating_sub(since) >= REMOVED_SESSION_GRACE)
        };
        let is_overdue = |phase: &Phase| matches!(phase, Phase::Linked(link) if is_over(link.peer.node));
        let overdue = self.sessions.iter().filter(|(_, session)| is_overdue(&session.phase)).map(|(&id, _)| id);
        for id in overdue.collect::<Vec<_>>() {
            self.close(now, id, "this node was removed from the cluster", actions);
        }
    }
}
