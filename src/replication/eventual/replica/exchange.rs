//! The exchange on a session: positions, writes, acknowledgements, state.

use super::{Action, Link, Now, Phase, Replica, SessionId};
use crate::{
    limits::{PARTITIONS, WATCH_HOLD_MAX},
    replication::eventual::{pull::Piece, Applied},
    types::{
        Change, Hello, NodeId, PartitionChanges, PartitionId, PartitionPosition, PeerMessage, Positions, Sequence,
        StateChunk, StateRecord, VersionVector,
    },
};

/// A peer broke the protocol: this is how.
pub(super) type Breach = &'static str;

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
            PeerMessage::Members(membership) => {
                self.hear_members(now, &membership, actions);
                Ok(())
            }
            PeerMessage::Positions(positions) => self.handle_positions(now, (id, node), positions, actions),
            PeerMessage::Changes(stretches) => self.handle_changes(now, (id, node), stretches, actions),
            PeerMessage::Acknowledgements(positions) => {
                positions.into_iter().try_for_each(|position| self.handle_acknowledgement(now, id, position))
            }
            PeerMessage::StateRequest { transfer, partition, vector, repair } => {
                check(partition)?;
                let Some(link) = self.link_mut(id) else { return Ok(()) };
                link.serves.begin(transfer, partition, if repair { VersionVector::new() } else { vector });
                Ok(())
            }
            PeerMessage::StateChunk(chunk) => self.handle_chunk(now, id, chunk, actions),
            PeerMessage::StateChunkReceived { transfer } => {
                let Some(link) = self.link_mut(id) else { return Ok(()) };
                link.serves.confirm(transfer);
                Ok(())
            }
            PeerMessage::ClockSkew { partition, sequence, ahead_ms } => {
                check(partition)?;
                self.handle_clock_skew(now, id, (partition, sequence), ahead_ms)
            }
            PeerMessage::Gossip(message) => self.handle_gossip(now, node, &message),
            PeerMessage::Leave => {
                self.handle_leave(now, id, node, actions);
                Ok(())
            }
        }
    }

    /// A bounded piece of the work that is not an answer to a single event: push, serve, merge.
    pub(super) fn work(&mut self, now: Now, actions: &mut Vec<Action>) {
        self.has_backlog = self.merge_fetched(now, actions);
        for id in self.sessions.keys().copied().collect::<Vec<_>>() {
            self.has_backlog |= self.push(now, id, actions);
            self.has_backlog |= self.serve(id, actions);
        }
        self.has_backlog |= self.reissues.work(&self.keyspace) > 0;
        self.check_ready();
    }

    /// Tells every peer where this node stands.
    pub(super) fn tell_positions(&mut self, now: Now, actions: &mut Vec<Action>) {
        let positions = self.positions(now, self.keyspace.partition_ids());
        for (session, link) in self.links() {
            actions.push(told(session, link, positions.clone()));
        }
    }

    /// Tells one peer where this node stands.
    pub(super) fn tell_positions_to(&mut self, now: Now, id: SessionId, actions: &mut Vec<Action>) {
        let positions = self.positions(now, self.keyspace.partition_ids());
        let link = self.sessions.get(&id).and_then(|session| session.link());
        actions.extend(link.map(|link| told(id, link, positions)));
    }

    fn handle_positions(
        &mut self,
        now: Now,
        (id, node): (SessionId, NodeId),
        positions: Positions,
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        positions.partitions.iter().try_for_each(|position| check(position.partition))?;
        let me = self.me.node;
        let is_ready = self.is_ready;
        for position in &positions.partitions {
            self.keyspace.trim_seen(position.partition, node, &position.vector);
            self.handle_acknowledgement(now, id, (position.partition, position.vector.sequence(me)))?;
        }
        if self.members.counts(node) {
            self.stability.hear(node, &positions);
        }
        self.reissues.hear(&self.keyspace, node, &positions.partitions);
        self.compare(now, id, &positions.partitions, actions);
        let offset_ms = i64::try_from(i128::from(positions.wall_ms) - i128::from(now.wall_ms));
        let positions = positions.partitions;
        if let Some(link) = self.link_mut(id) {
            let stands = |position: &PartitionPosition| (position.partition, position.vector.clone());
            link.skew.offset_ms = offset_ms.unwrap_or(i64::MAX);
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
        link.skew.take_ours(at.0, at.1);
        for stretch in confirmed.ok_or("more is acknowledged than was written")? {
            // What was written while the two were apart says nothing about how fast replication is.
            let Some(made) = stretch.made.filter(|made| made.first_ms >= link.began_ms) else { continue };
            let early = made.writes.div_ceil(2);
            self.lag.record(now.wall_ms.saturating_sub(made.first_ms), early);
            self.lag.record(now.wall_ms.saturating_sub(made.last_ms), made.writes - early);
        }
        self.release(at.0);
        Ok(())
    }

    /// Lets the outbox of a partition drop what every peer has, those that are away for a short time included.
    pub(super) fn release(&self, partition: PartitionId) {
        let linked = self.links().map(|(_, link)| link.push.position(partition));
        let least = linked.chain(self.retention.positions(partition)).min();
        let most = self.links().map(|(_, link)| link.push.position(partition)).max();
        let Some(reached) = self.reached.get(partition.index()) else { return };
        reached.acknowledge(least.unwrap_or(Sequence::MAX));
        let is_moved = match most {
            Some(most) => reached.set_safe(most),
            // Whoever was here a moment ago may be back at once, and be the one that goes on without us.
            None if self.is_newly_alone() => false,
            None => reached.set_safe(Sequence::MAX),
        };
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
        now: Now,
        (id, node): (SessionId, NodeId),
        stretches: Vec<PartitionChanges>,
        actions: &mut Vec<Action>,
    ) -> Result<(), Breach> {
        let mut positions = Vec::with_capacity(stretches.len());
        let mut refused = Vec::new();
        for stretch in stretches {
            let partition = stretch.partition;
            check(partition)?;
            let end = stretch.first_sequence.0.checked_add(stretch.changes.len() as u64);
            if stretch.first_sequence == Sequence::ZERO || end.is_none() {
                return Err("a stretch of writes has sequences that there are not");
            }
            self.counters.change_bytes += stretch.changes.iter().map(bytes_of_change).sum::<u64>();
            match self.keyspace.apply_changes(node, stretch) {
                Applied::UpTo(position) => {
                    positions.push((partition, position));
                    self.take(id, partition);
                }
                // It is answered by where we stand; the peer goes back to it.
                Applied::Gap(position) => positions.push((partition, position)),
                Applied::Skewed { position, ahead_ms } => {
                    positions.push((partition, position));
                    refused.push(self.refuse_changes(now, id, (partition, position), ahead_ms));
                }
            }
        }
        actions.push(Action::Send { session: id, message: PeerMessage::Acknowledgements(positions) });
        actions.append(&mut refused);
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
        self.counters.state_bytes += chunk.records.iter().map(bytes_of_record).sum::<u64>();
        let (transfer, partition, is_last) = (chunk.transfer, chunk.partition, chunk.last.is_some());
        if let Err(ahead_ms) = self.keyspace.admit_state(&chunk.records) {
            self.refuse_state(now, id, (transfer, partition), ahead_ms);
            return Ok(());
        }
        match self.pulls.handle_chunk(now.monotonic, id, chunk) {
            Piece::Kept => {
                if is_last {
                    self.take(id, partition);
                }
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
        if !self.keyspace.has_space() {
            // What was fetched waits where it is, until the log takes more.
            return false;
        }
        let Some(merged) = self.pulls.merge_next(&self.keyspace) else { return false };
        if let Some((partition, is_repair)) = merged {
            self.counters.repairs += u64::from(is_repair);
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
        if now.monotonic < link.skew.push_after {
            return false;
        }
        let batch = link.push.next_batch(&self.keyspace, now.monotonic, &self.bounds.push);
        if !batch.changes.is_empty() {
            actions.push(Action::Send { session: id, message: PeerMessage::Changes(batch.changes) });
        }
        if !batch.fallen_behind.is_empty() {
            let positions = self.positions(now, batch.fallen_behind.into_iter());
            let link = self.sessions.get(&id).and_then(|session| session.link());
            actions.extend(link.map(|link| told(id, link, positions)));
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

/// Where this node stands, as one peer is to know it: own writes that it may not get by push are state to it.
fn told(session: SessionId, link: &Link, mut positions: Positions) -> Action {
    for position in &mut positions.partitions {
        position.outbox_first = position.outbox_first.max(link.push.begins_at(position.partition));
    }
    Action::Send { session, message: PeerMessage::Positions(positions) }
}

fn bytes_of_change(change: &Change) -> u64 {
    (change.key.len() + change.value.as_ref().map_or(0, |value| value.len())) as u64
}

fn bytes_of_record(record: &StateRecord) -> u64 {
    (record.key.len() + record.record.value.as_ref().map_or(0, |value| value.len())) as u64
}

fn check(partition: PartitionId) -> Result<(), Breach> {
    if partition.0 < PARTITIONS {
        Ok(())
    } else {
        Err(BAD_PARTITION)
    }
}
