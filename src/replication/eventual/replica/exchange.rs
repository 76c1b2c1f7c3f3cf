//! The exchange on a session: positions, writes, acknowledgements, state.

use super::{Action, Link, Now, Phase, Replica, SessionId};
use crate::{
    limits::{PARTITIONS, WATCH_HOLD_MAX},
    replication::eventual::{pull::Piece, Applied},
    types::{
        Hello, Membership, NodeId, PartitionChanges, PartitionId, PartitionPosition, PeerMessage, Positions, Sequence,
        StateChunk, Timestamp, VersionVector,
    },
};

/// A peer broke the protocol: this is how.
type Breach = &'static str;

const BAD_PARTITION: Breach = "a message names a partition that there is not";

impl Replica {
    /// Takes in what a peer says. One that breaks the protocol is cut off.
    pub(super) fn handle_message(&mut self, now: Now, id: SessionId, message: PeerMessage, actions: &mut Vec<Action>) {
        let Some(session) = self.sessions.get_mut(&id) else { return };
        session.heard = now.monotonic;
        let (node, message) = match (&session.phase, message) {
            (Phase::Greeting, PeerMessage::Hello(hello)) => return self.handle_hello(now, id, hello, actions),
            (Phase::Greeting, _) => return self.close(now, id, "the first message is not a Hello", actions),
            (Phase::Refused, _) => return,
            (Phase::Linked(_), PeerMessage::Hello(Hello { .. })) => {
                return self.close(now, id, "there is a second Hello", actions);
            }
            (Phase::Linked(link), message) => (link.peer.node, message),
        };
        if let Err(breach) = self.handle_linked(now, (id, node), message, actions) {
            self.close(now, id, breach, actions);
        }
    }

    fn handle_linked(
        &mut self,
        now: Now,
        (id, node): (SessionId, NodeId),
        message: PeerMessage,
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        match message {
            PeerMessage::Hello(_) => Ok(()),
            PeerMessage::Members(Membership { members, removed: _ }) => {
                members.iter().for_each(|member| self.peers.hear_of(member));
                Ok(())
            }
            PeerMessage::Positions(positions) => self.handle_positions(now, id, positions.partitions, actions),
            PeerMessage::Changes(stretches) => self.handle_changes((id, node), stretches, actions),
            PeerMessage::Acknowledgements(positions) => {
                positions.into_iter().try_for_each(|position| self.handle_acknowledgement(now, id, position))
            }
            PeerMessage::StateRequest { transfer, partition, vector, repair: _ } => {
                check(partition)?;
                let Some(link) = self.link_mut(id) else { return Ok(()) };
                link.serves.begin(transfer, partition, vector);
                Ok(())
            }
            PeerMessage::StateChunk(chunk) => self.handle_chunk(now, id, chunk, actions),
            PeerMessage::StateChunkReceived { transfer } => {
                let Some(link) = self.link_mut(id) else { return Ok(()) };
                link.serves.confirm(transfer);
                Ok(())
            }
            PeerMessage::ClockSkew { partition, .. } => check(partition),
            PeerMessage::Gossip(_) | PeerMessage::Leave => Ok(()),
        }
    }

    /// A bounded piece of the work that is not an answer to a single event: push, serve, merge.
    pub(super) fn work(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.has_backlog = self.merge_fetched(now, actions);
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.has_backlog |= self.push(now, id, actions);
            self.has_backlog |= self.serve(id, actions);
        }
        self.check_ready();
    }

    /// Where this node stands in every partition.
    pub(super) fn positions(&self, now: Now) -> Positions {
        let partitions = self.keyspace.partition_ids().map(|partition| self.position(partition)).collect();
        Positions { wall_ms: now.wall_ms, partitions, ..Positions::default() }
    }

    /// Tells every peer where this node stands.
    pub(super) fn tell_positions(&self, now: Now, actions: &mut Vec<Action>) {
        let positions = self.positions(now);
        for (session, _) in self.links() {
            actions.push(Action::Send { session, message: PeerMessage::Positions(positions.clone()) });
        }
    }

    fn position(&self, partition: PartitionId) -> PartitionPosition {
        let vector = self.keyspace.vector(partition);
        let outbox_first = self.keyspace.outbox(partition, |outbox| outbox.first());
        PartitionPosition { partition, vector, outbox_first, low: Timestamp::ZERO, digest: None }
    }

    fn handle_positions(
        &mut self,
        now: Now,
        id: SessionId,
        positions: Vec<PartitionPosition>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        positions.iter().try_for_each(|position| check(position.partition))?;
        let me = self.me.node;
        let is_ready = self.is_ready;
        for position in &positions {
            self.handle_acknowledgement(now, id, (position.partition, position.vector.sequence(me)))?;
        }
        if let Some(link) = self.link_mut(id) {
            let stands = |position: &PartitionPosition| (position.partition, position.vector.clone());
            if link.goal.is_none() && !is_ready {
                link.goal = Some(positions.iter().map(stands).collect());
            }
            link.positions.extend(positions.into_iter().map(|position| (position.partition, position)));
        }
        if let Some(link) = self.sessions.get(&id).and_then(|session| session.link()) {
            self.keyspace.listeners().peer_stands(link.peer.node, &link.positions);
        }
        self.plan_pulls(now, actions);
        Ok(())
    }

    fn handle_acknowledgement(&mut self, now: Now, id: SessionId, at: (PartitionId, Sequence)) -> Result<(), Breach> {
        check(at.0)?;
        let Some(link) = self.sessions.get_mut(&id).and_then(|session| session.link_mut()) else { return Ok(()) };
        let confirmed = link.push.acknowledge(&self.keyspace, at);
        for stretch in confirmed.ok_or("more is acknowledged than was written")? {
            let (first_ms, last_ms) = stretch.made_ms;
            // What was written while the two were apart says nothing about how fast replication is.
            if first_ms < link.began_ms {
                continue;
            }
            let early = stretch.writes.div_ceil(2);
            self.lag.record(now.wall_ms.saturating_sub(first_ms), early);
            self.lag.record(now.wall_ms.saturating_sub(last_ms), stretch.writes - early);
        }
        self.release(at.0);
        Ok(())
    }

    /// Lets the outbox of a partition drop what every peer has, those that are away for a short time included.
    pub(super) fn release(&self, partition: PartitionId) {
        let linked = self.links().map(|(_, link)| link.push.position(partition));
        let least = linked.chain(self.retention.positions(partition)).min();
        let most = self.links().map(|(_, link)| link.push.position(partition)).max();
        let is_moved = self.keyspace.outbox(partition, |outbox| {
            outbox.acknowledge(least.unwrap_or(Sequence::MAX));
            match most {
                Some(most) => outbox.set_safe(most),
                // Whoever was here a moment ago may be back at once, and be the one that goes on without us.
                None if self.is_newly_alone() => false,
                None => outbox.set_safe(Sequence::MAX),
            }
        });
        if is_moved {
            self.keyspace.listeners().wake();
        }
    }

    /// Whether the last peer was lost, or this node was started with peers, less than [`WATCH_HOLD_MAX`] ago.
    fn is_newly_alone(&self) -> bool {
        self.parted.is_some_and(|parted| self.ticked.saturating_sub(parted) < WATCH_HOLD_MAX)
    }

    fn handle_changes(
        &mut self,
        (id, node): (SessionId, NodeId),
        stretches: Vec<PartitionChanges>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        let mut positions = Vec::with_capacity(stretches.len());
        for stretch in stretches {
            let partition = stretch.partition;
            check(partition)?;
            let end = stretch.first_sequence.0.checked_add(stretch.changes.len() as u64);
            if stretch.first_sequence == Sequence::ZERO || end.is_none() {
                return Err("a stretch of writes has sequences that there are not");
            }
            // A gap is answered by where we stand; the peer goes back to it.
            let (Applied::UpTo(position) | Applied::Gap(position)) = self.keyspace.apply_changes(node, stretch);
            positions.push((partition, position));
        }
        actions.push(Action::Send { session: id, message: PeerMessage::Acknowledgements(positions) });
        Ok(())
    }

    fn handle_chunk(
        &mut self,
        now: Now,
        id: SessionId,
        chunk: StateChunk,
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        check(chunk.partition)?;
        let transfer = chunk.transfer;
        match self.pulls.handle_chunk(now.monotonic, id, chunk) {
            Piece::Kept => {
                let message = PeerMessage::StateChunkReceived { transfer };
                actions.push(Action::Send { session: id, message });
                Ok(())
            }
            Piece::Late => Ok(()),
            Piece::Wrong => Err("a piece of state was not asked for"),
        }
    }

    /// Merges one piece of fetched state. When that completes a partition, tells the connected origins where we stand
    /// now, so that they go on from there. True when there may be more.
    fn merge_fetched(&mut self, now: Now, actions: &mut Vec<Action>) -> bool {
        let Some(merged) = self.pulls.merge_next(&self.keyspace) else { return false };
        if let Some(partition) = merged {
            for (session, link) in self.links() {
                let position = self.keyspace.position(partition, link.peer.node);
                let message = PeerMessage::Acknowledgements(vec![(partition, position)]);
                actions.push(Action::Send { session, message });
            }
            self.plan_pulls(now, actions);
        }
        true
    }

    /// Sends one batch of own writes. True when there is more.
    fn push(&mut self, now: Now, id: SessionId, actions: &mut Vec<Action>) -> bool {
        let Some(link) = self.sessions.get_mut(&id).and_then(|session| session.link_mut()) else { return false };
        let batch = link.push.next_batch(&self.keyspace, link.peer.node, &self.bounds.push);
        if !batch.changes.is_empty() {
            actions.push(Action::Send { session: id, message: PeerMessage::Changes(batch.changes) });
        }
        if !batch.fallen_behind.is_empty() {
            let partitions = batch.fallen_behind.into_iter().map(|partition| self.position(partition)).collect();
            let positions = Positions { wall_ms: now.wall_ms, partitions, ..Positions::default() };
            actions.push(Action::Send { session: id, message: PeerMessage::Positions(positions) });
        }
        batch.has_more
    }

    /// Sends one chunk of state. True when there may be more.
    fn serve(&mut self, id: SessionId, actions: &mut Vec<Action>) -> bool {
        let Some(link) = self.sessions.get_mut(&id).and_then(|session| session.link_mut()) else { return false };
        let is_merging = |partition| self.pulls.is_merging(partition);
        let Some(chunk) = link.serves.next_chunk(&self.keyspace, is_merging, self.bounds.piece) else { return false };
        actions.push(Action::Send { session: id, message: PeerMessage::StateChunk(chunk) });
        true
    }

    /// Once this node has everything that one of its peers had when they met, it is ready, and stays so.
    fn check_ready(&mut self) {
        if self.is_ready {
            return;
        }
        let covers =
            |(partition, vector): &(PartitionId, VersionVector)| self.keyspace.vector(*partition).covers_all(vector);
        let has_reached = |link: &Link| link.goal.as_ref().is_some_and(|goal| goal.iter().all(covers));
        let has_caught_up = self.links().any(|(_, link)| has_reached(link));
        self.is_ready = has_caught_up || !self.peers.has_configured();
        if self.is_ready {
            self.keyspace.set_caught_up(true);
        }
    }
}

fn check(partition: PartitionId) -> Result<(), Breach> {
    if partition.0 < PARTITIONS {
        Ok(())
    } else {
        Err(BAD_PARTITION)
    }
}
