//! How the clock of a peer and ours differ, and which writes are refused for that.

use std::{collections::BTreeMap, time::Duration};

use crate::{
    limits::SKEW_SHOWN,
    types::{PartitionId, Sequence},
};

/// What is known of a peer's clock.
#[derive(Debug, Default)]
pub(super) struct Skew {
    /// Its wall clock minus ours, in milliseconds, when it told us last.
    pub(super) offset_ms: i64,
    /// Nothing is pushed to it before: it has refused a write.
    pub(super) push_after: Duration,
    /// Writes that came from it and were refused here.
    theirs: BTreeMap<PartitionId, Refusal>,
    /// Own writes that it has refused.
    ours: BTreeMap<PartitionId, Refusal>,
}

#[derive(Clone, Copy, Debug)]
struct Refusal {
    /// The write before, of those that are pushed.
    after: Sequence,
    ahead_ms: u64,
    at: Duration,
}

impl Skew {
    /// A write that came from the peer was refused.
    pub(super) fn refuse_theirs(&mut self, at: Duration, partition: PartitionId, ahead_ms: u64) {
        self.theirs.insert(partition, Refusal { after: Sequence::ZERO, ahead_ms, at });
    }

    /// What came from the peer of a partition was taken.
    pub(super) fn take_theirs(&mut self, partition: PartitionId) {
        self.theirs.remove(&partition);
    }

    /// The peer has refused the own write after `after`.
    pub(super) fn refuse_ours(&mut self, at: Duration, partition: PartitionId, after: Sequence, ahead_ms: u64) {
        self.ours.insert(partition, Refusal { after, ahead_ms, at });
    }

    /// The peer has the own writes up to `position`.
    pub(super) fn take_ours(&mut self, partition: PartitionId, position: Sequence) {
        self.ours.retain(|&of, refusal| of != partition || refusal.after >= position);
    }

    /// Lets go of refusals that were not repeated.
    pub(super) fn expire(&mut self, now: Duration) {
        let is_recent = |refusal: &Refusal| now.saturating_sub(refusal.at) < SKEW_SHOWN;
        self.theirs.retain(|_, refusal| is_recent(refusal));
        self.ours.retain(|_, refusal| is_recent(refusal));
    }

    /// By how much the refused writes of the peer are ahead; 0: none are.
    pub(super) fn refused_ms(&self) -> u64 {
        self.theirs.values().map(|refusal| refusal.ahead_ms).max().unwrap_or(0)
    }

    /// By how much the own writes that the peer refuses are ahead; 0: none are.
    pub(super) fn refuses_ms(&self) -> u64 {
        self.ours.values().map(|refusal| refusal.ahead_ms).max().unwrap_or(0)
    }
}
