//! Writes that are stamped too far ahead: refused, not lost. The sender keeps them and tries again, until its clock is
//! set right and ours has caught up with what was stamped meanwhile.

use std::time::Duration;

use rand::Rng;

use super::{exchange::Breach, Action, Now, Replica, SessionId};
use crate::{
    limits::SKEW_PAUSE,
    types::{PartitionId, PeerMessage, Sequence, TransferId},
};

impl Replica {
    /// Tells a peer that its write after `at` was refused.
    pub(super) fn refuse_changes(
        &mut self,
        now: Now,
        id: SessionId,
        at: (PartitionId, Sequence),
        ahead_ms: u64,
    ) -> Action {
        let (partition, sequence) = at;
        self.mark_refused(now, id, partition, ahead_ms);
        Action::Send { session: id, message: PeerMessage::ClockSkew { partition, sequence, ahead_ms } }
    }

    /// Gives up a state transfer of which a piece was refused. The peer is asked again after a pause.
    pub(super) fn refuse_state(
        &mut self,
        now: Now,
        id: SessionId,
        (transfer, partition): (TransferId, PartitionId),
        ahead_ms: u64,
    ) {
        let until = now.monotonic + self.skew_pause();
        self.pulls.refuse(transfer, until);
        self.mark_refused(now, id, partition, ahead_ms);
    }

    /// What a peer sent of a partition was taken.
    pub(super) fn take(&mut self, id: SessionId, partition: PartitionId) {
        if let Some(link) = self.link_mut(id) {
            link.skew.take_theirs(partition);
        }
    }

    /// The peer has refused the own write after `at`: goes back there, and waits.
    pub(super) fn handle_clock_skew(
        &mut self,
        now: Now,
        id: SessionId,
        at: (PartitionId, Sequence),
        ahead_ms: u64,
    ) -> Result<(), Breach> {
        let push_after = now.monotonic + self.skew_pause();
        let Some(link) = self.sessions.get_mut(&id).and_then(|session| session.link_mut()) else { return Ok(()) };
        link.push.rewind(&self.keyspace, at).ok_or("more is acknowledged than was written")?;
        if link.skew.refuses_ms() == 0 {
            tracing::warn!(peer = %link.peer.address, ahead_ms, "a peer refuses own writes: the clocks differ too much");
        }
        link.skew.push_after = push_after;
        link.skew.refuse_ours(now.monotonic, at.0, at.1, ahead_ms);
        Ok(())
    }

    fn mark_refused(&mut self, now: Now, id: SessionId, partition: PartitionId, ahead_ms: u64) {
        self.counters.refused_writes += 1;
        let Some(link) = self.link_mut(id) else { return };
        if link.skew.refused_ms() == 0 {
            let peer = &link.peer.address;
            tracing::warn!(%peer, ahead_ms, "writes from a peer are refused: they are stamped too far ahead");
        }
        link.skew.refuse_theirs(now.monotonic, partition, ahead_ms);
    }

    fn skew_pause(&mut self) -> Duration {
        SKEW_PAUSE.mul_f64(self.rng.random_range(0.75..1.25))
    }
}
