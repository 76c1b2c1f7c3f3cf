//! What the lookout wants to know of the calls, and a move to another node.

use super::{Calls, Link};
use crate::types::SessionToken;

/// How far the calls were at some moment.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(in crate::client) struct Progress {
    connection: u64,
    /// Messages with answers that have come.
    answered: u64,
    /// Counts operations that were submitted.
    submitted: u64,
    /// The node owes an answer, or the end of the stream.
    is_owed: bool,
}

impl Progress {
    /// Whether answers were owed all the time until then, and none has come.
    pub(in crate::client) fn is_stuck(&self, later: &Progress) -> bool {
        let is_same = self.connection == later.connection && self.answered == later.answered;
        is_same && self.is_owed && later.is_owed
    }
}

impl Calls {
    /// How far the calls are.
    pub(in crate::client) fn progress(&self) -> Progress {
        let is_owed = self.in_flight > 0 || self.session.is_asked() || self.is_moving;
        let (connection, answered) = (self.connection, self.answered);
        Progress { connection, answered, submitted: self.next_id, is_owed }
    }

    /// True when something is on its way and nobody watches: somebody has to from now on.
    pub(in crate::client) fn begin_watch(&mut self) -> bool {
        let is_unwatched = !self.is_watched && self.in_flight > 0;
        self.is_watched |= is_unwatched;
        is_unwatched
    }

    /// Nobody watches any more, if nothing has come since then and nothing is on its way.
    pub(in crate::client) fn end_watch(&mut self, before: &Progress) -> bool {
        let now = self.progress();
        let is_idle = !now.is_owed && now.submitted == before.submitted;
        self.is_watched = !is_idle;
        is_idle
    }

    /// Sends nothing more over this connection, so that it ends when all is answered. False when there is none, or while the node
    /// is asked about the session: that may take long.
    pub(in crate::client) fn begin_move(&mut self) -> bool {
        let is_free = self.link == Link::Up && self.session.may_read();
        if is_free {
            (self.link, self.is_moving) = (Link::Leaving, true);
        }
        is_free
    }

    /// Whether the connection ends for a move.
    pub(in crate::client) fn is_moving(&self) -> bool {
        self.is_moving
    }

    /// How many nodes there are to try from now on.
    pub(in crate::client) fn set_targets(&mut self, targets: usize) {
        self.targets = targets;
    }

    /// What the session has seen.
    pub(in crate::client) fn session_token(&self) -> SessionToken {
        self.session.token().clone()
    }

    /// The session has seen that at another node, which this one may not have.
    pub(in crate::client) fn join_session(&mut self, token: &SessionToken) {
        self.session.join(token);
    }
}
