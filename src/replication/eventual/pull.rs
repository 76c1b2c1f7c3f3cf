//! State transfers that this node asks for: of whom, of what, and when.
//!
//! State is fetched only where pushes cannot bring it. For a partition in which a peer's vector is ahead of ours for
//! some origin, that is so when
//!
//! * the origin is that peer, and its outbox no longer reaches back to our position;
//! * the origin is another node, with which we are not connected: it is gone, or we have just started;
//! * the origin is connected, but nothing came from it for some rounds although others are ahead with it.
//!
//! Each partition is fetched from one peer at a time. The pieces are kept aside until the last is here, and only then
//! merged, with the vector at the end: a transfer that breaks off changes nothing (see [`super::snapshot`] for why).

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    time::Duration,
};

use super::{replica::SessionId, Eventual};
use crate::{
    faults,
    limits::{STALLED_ROUNDS_MAX, STATE_TRANSFERS_MAX, STATE_TRANSFER_TIMEOUT},
    types::{
        NodeId, PartitionId, PartitionPosition, Sequence, StateChunk, StateEnd, StateRecord, TransferId, VersionVector,
    },
};

/// The transfers under way, and which origins seem stalled.
#[derive(Debug, Default)]
pub(super) struct Pulls {
    last_transfer: u64,
    active: BTreeMap<TransferId, Pull>,
    stalled: BTreeMap<(PartitionId, NodeId), Stall>,
    /// Nothing of these partitions is asked on these sessions before: what came was stamped too far ahead.
    paused: BTreeMap<(SessionId, PartitionId), Duration>,
}

#[derive(Debug)]
struct Pull {
    session: SessionId,
    partition: PartitionId,
    /// All records were asked for, because the two hold different ones at equal vectors.
    is_repair: bool,
    /// When it was asked for, or the last piece came.
    progressed: Duration,
    /// The pieces that came, to be merged when all are here.
    pieces: VecDeque<Vec<StateRecord>>,
    /// The last piece is here: what to take over after the merge.
    end: Option<StateEnd>,
}

/// An origin whose writes others have and we have not.
#[derive(Clone, Copy, Debug)]
struct Stall {
    position: Sequence,
    rounds: u32,
}

/// A peer of whom state could be asked.
#[derive(Clone, Copy)]
pub(super) struct Source<'a> {
    pub(super) session: SessionId,
    pub(super) node: NodeId,
    /// Where it said it stands, by partition.
    pub(super) positions: &'a BTreeMap<PartitionId, PartitionPosition>,
    /// It let us wait in vain a short while ago.
    pub(super) is_slow: bool,
}

/// A transfer to ask for.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Request {
    pub(super) session: SessionId,
    pub(super) transfer: TransferId,
    pub(super) partition: PartitionId,
    /// What we have.
    pub(super) vector: VersionVector,
    /// See [`Pulls::begin_repair`].
    pub(super) is_repair: bool,
}

/// What became of a piece.
#[derive(Debug, PartialEq, Eq)]
pub(super) enum Piece {
    /// Kept; the peer may send another.
    Kept,
    /// Of a transfer that was given up.
    Late,
    /// It does not belong to what was asked for.
    Wrong,
}

impl Pulls {
    /// Chooses what to ask for now, and of whom.
    pub(super) fn plan(&mut self, now: Duration, keyspace: &Eventual, sources: &[Source<'_>]) -> Vec<Request> {
        let connected: BTreeSet<NodeId> = sources.iter().map(|source| source.node).collect();
        let mut requests = Vec::new();
        for partition in keyspace.partition_ids() {
            if self.active.len() >= STATE_TRANSFERS_MAX {
                break;
            }
            if self.active.values().any(|pull| pull.partition == partition) {
                continue;
            }
            let vector = keyspace.vector(partition);
            let needed = |source: &&Source<'_>| {
                let is_paused = self.paused.get(&(source.session, partition)).is_some_and(|&until| now < until);
                !source.is_slow && !is_paused && self.is_needed(keyspace.me(), &vector, partition, source, &connected)
            };
            let least_asked = |source: &&Source<'_>| self.asked_of(source.session);
            let Some(source) = sources.iter().filter(needed).min_by_key(least_asked) else { continue };
            let (session, is_repair) = (source.session, false);
            let transfer = self.begin(now, session, partition, is_repair);
            requests.push(Request { session, transfer, partition, vector, is_repair });
        }
        requests
    }

    /// Asks for all records of a partition, whatever our vector covers. `None`: not now, others are under way.
    pub(super) fn begin_repair(
        &mut self,
        now: Duration,
        session: SessionId,
        partition: PartitionId,
    ) -> Option<Request> {
        let is_busy = self.active.values().any(|pull| pull.partition == partition);
        if is_busy || self.active.len() >= STATE_TRANSFERS_MAX {
            return None;
        }
        let transfer = self.begin(now, session, partition, true);
        Some(Request { session, transfer, partition, vector: VersionVector::new(), is_repair: true })
    }

    fn begin(&mut self, now: Duration, session: SessionId, partition: PartitionId, is_repair: bool) -> TransferId {
        self.last_transfer += 1;
        let pieces = VecDeque::new();
        let pull = Pull { session, partition, is_repair, progressed: now, pieces, end: None };
        let transfer = TransferId(self.last_transfer);
        self.active.insert(transfer, pull);
        transfer
    }

    /// Takes note, once a round of positions, of connected origins whose writes others have and we have not.
    pub(super) fn observe_round(&mut self, keyspace: &Eventual, sources: &[Source<'_>]) {
        let mut stalled = BTreeMap::new();
        for partition in keyspace.partition_ids() {
            let ours = keyspace.vector(partition);
            let positions = sources.iter().filter_map(|source| source.positions.get(&partition));
            for (origin, sequence) in positions.flat_map(|position| position.vector.iter()) {
                let position = ours.sequence(origin);
                if sequence > position && origin != keyspace.me() {
                    let before = self.stalled.get(&(partition, origin)).filter(|stall| stall.position == position);
                    let rounds = before.map_or(0, |stall| stall.rounds + 1);
                    stalled.insert((partition, origin), Stall { position, rounds });
                }
            }
        }
        self.stalled = stalled;
    }

    /// Takes in a piece of an answer.
    pub(super) fn handle_chunk(&mut self, now: Duration, session: SessionId, chunk: StateChunk) -> Piece {
        let Some(pull) = self.active.get_mut(&chunk.transfer) else { return Piece::Late };
        if pull.session != session || pull.partition != chunk.partition || pull.end.is_some() {
            return Piece::Wrong;
        }
        pull.progressed = now;
        pull.pieces.push_back(chunk.records);
        pull.end = chunk.last;
        Piece::Kept
    }

    /// Gives up a transfer of which a piece is stamped too far ahead, and asks this session again after `until` only.
    pub(super) fn refuse(&mut self, transfer: TransferId, until: Duration) {
        if let Some(pull) = self.active.remove(&transfer) {
            self.paused.insert((pull.session, pull.partition), until);
        }
    }

    /// Merges the next piece of a transfer that is here whole; with the last, adopts its vector. `None`: there is
    /// nothing to merge. `Some(Some((partition, is_repair)))`: this partition is complete.
    pub(super) fn merge_next(&mut self, keyspace: &Eventual) -> Option<Option<(PartitionId, bool)>> {
        let (&transfer, pull) = self.active.iter_mut().find(|(_, pull)| pull.end.is_some())?;
        if let Some(end) = &mut pull.end {
            keyspace.expect_end(pull.partition, end);
            // What is merged is judged by these.
            keyspace.learn_seen(pull.partition, std::mem::take(&mut end.seen));
        }
        let is_lost = faults::is_mutant("vector_on_truncated_delta") && pull.pieces.len() == 1;
        if let Some(records) = pull.pieces.pop_front().filter(|_| !is_lost) {
            keyspace.apply_state(pull.partition, records, pull.is_repair);
        }
        if !pull.pieces.is_empty() {
            return Some(None);
        }
        let pull = self.active.remove(&transfer)?;
        keyspace.adopt_end(pull.partition, &pull.end?);
        Some(Some((pull.partition, pull.is_repair)))
    }

    /// Whether a partition is in the middle of a merge: its records are ahead of its vector.
    pub(super) fn is_merging(&self, partition: PartitionId) -> bool {
        self.active.values().any(|pull| pull.partition == partition && pull.end.is_some())
    }

    /// Whether all records of a partition were asked for, also those that our vector covers.
    pub(super) fn is_repairing(&self, partition: PartitionId) -> bool {
        self.active.values().any(|pull| pull.partition == partition && pull.is_repair)
    }

    /// Gives up transfers that stand still; returns the sessions they were asked of.
    pub(super) fn expire(&mut self, now: Duration) -> Vec<SessionId> {
        let is_late = |pull: &Pull| pull.end.is_none() && now.saturating_sub(pull.progressed) >= STATE_TRANSFER_TIMEOUT;
        let late = self.active.values().filter(|pull| is_late(pull)).map(|pull| pull.session).collect();
        self.active.retain(|_, pull| !is_late(pull));
        self.paused.retain(|_, until| *until > now);
        late
    }

    /// Forgets what was asked of a session that ended; what is here whole stays.
    pub(super) fn session_ended(&mut self, session: SessionId) {
        self.active.retain(|_, pull| pull.session != session || pull.end.is_some());
        self.paused.retain(|&(of, _), _| of != session);
    }

    /// Transfers under way that were asked of a session.
    pub(super) fn asked_of(&self, session: SessionId) -> usize {
        self.active.values().filter(|pull| pull.session == session).count()
    }

    fn is_needed(
        &self,
        me: NodeId,
        ours: &VersionVector,
        partition: PartitionId,
        source: &Source<'_>,
        connected: &BTreeSet<NodeId>,
    ) -> bool {
        let Some(position) = source.positions.get(&partition) else { return false };
        position.vector.iter().any(|(origin, sequence)| {
            let next = ours.sequence(origin).next();
            let is_stalled = || {
                let stall = self.stalled.get(&(partition, origin)).filter(|stall| stall.position.next() == next);
                stall.is_some_and(|stall| stall.rounds >= STALLED_ROUNDS_MAX)
            };
            let is_out_of_reach = origin == source.node && position.outbox_first > next;
            let is_gone = !connected.contains(&origin);
            origin != me && sequence >= next && (is_out_of_reach || is_gone || is_stalled())
        })
    }
}
