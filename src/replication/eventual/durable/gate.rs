//! Persist before Send: what a peer could build on leaves a node only when it is on disk.
//!
//! A node that waits for its disk keeps its id over a crash, so nobody may have seen a write of it that the crash took
//! back: the next write would get the same dot. Neither may anybody have heard that it has a write, and forgotten a delete
//! or an outbox on its word.
//!
//! A node that does not wait sends at once, but for acknowledgements while its log has no room: what peers send has to be
//! bounded by something.

use std::collections::VecDeque;

use super::Ledger;
use crate::{
    faults::is_mutant,
    replication::eventual::{replica::SessionId, Eventual},
    storage::log::Position,
    types::PeerMessage,
};

/// The messages that wait for the disk, in the order in which they are to be sent.
///
/// Bounded by what they are about: writes by the window of each peer, state by the chunks in flight, positions by the
/// time that a disk may be stuck before the node is stopped.
#[derive(Debug, Default)]
pub(in crate::replication::eventual) struct Gate {
    held: VecDeque<(Position, SessionId, PeerMessage)>,
}

impl Gate {
    /// Gives a message back that may be sent at once, and keeps the others.
    pub(in crate::replication::eventual) fn pass(
        &mut self,
        keyspace: &Eventual,
        session: SessionId,
        message: PeerMessage,
    ) -> Option<PeerMessage> {
        let Some(ledger) = keyspace.ledger() else { return Some(message) };
        let end = ledger.end();
        let may_go = if ledger.is_synchronous() {
            !tells_of_records(&message) || (self.held.is_empty() && ledger.synced() >= end)
        } else {
            // Peers send more once what they sent is acknowledged: a log that does not keep up must slow them down.
            !matches!(message, PeerMessage::Acknowledgements(_)) || ledger.check().is_ok()
        };
        if may_go || is_mutant("gate_open") {
            return Some(message);
        }
        self.held.push_back((end, session, message));
        None
    }

    /// The next message whose time has come.
    pub(in crate::replication::eventual) fn next(&mut self, keyspace: &Eventual) -> Option<(SessionId, PeerMessage)> {
        let ledger = keyspace.ledger()?;
        let synced = ledger.synced();
        let may_go = |position: Position| match ledger.is_synchronous() {
            true => position <= synced,
            false => ledger.check().is_ok(),
        };
        self.held.front().filter(|(position, _, _)| may_go(*position))?;
        self.held.pop_front().map(|(_, session, message)| (session, message))
    }

    /// What the next message waits for; `None`: there is none, or it waits for room, which is looked for with each tick.
    pub(in crate::replication::eventual) fn waits_for(&self, keyspace: &Eventual) -> Option<Position> {
        let is_synchronous = keyspace.ledger().is_some_and(Ledger::is_synchronous);
        self.held.front().filter(|_| is_synchronous).map(|(position, _, _)| *position)
    }
}

/// Returns when the disk has got there: never without a position, or when it cannot any more.
pub(in crate::replication::eventual) async fn opened(keyspace: &Eventual, position: Option<Position>) {
    let is_there = match (keyspace.ledger(), position) {
        (Some(ledger), Some(position)) => ledger.durable(position).await.is_ok(),
        (_, None) | (None, _) => false,
    };
    if !is_there {
        std::future::pending::<()>().await;
    }
}

/// Whether a message says anything of the records and vectors of this node.
fn tells_of_records(message: &PeerMessage) -> bool {
    match message {
        PeerMessage::Positions(_)
        | PeerMessage::Changes(_)
        | PeerMessage::Acknowledgements(_)
        | PeerMessage::StateChunk(_)
        | PeerMessage::Leave => true,
        // A request says what this node lacks: whoever answers builds nothing on it.
        PeerMessage::StateRequest { .. }
        | PeerMessage::StateChunkReceived { .. }
        | PeerMessage::ClockSkew { .. }
        | PeerMessage::Hello(_)
        | PeerMessage::Members(_)
        | PeerMessage::Gossip(_) => false,
    }
}
