//! What a session gets to see, and whether it is here.

use tokio::sync::futures::Notified;

use super::Eventual;
use crate::{
    error::{Error, ErrorCode, Result},
    limits::SESSION_WAITERS_MAX,
    storage::partition_of,
    sync::Ordering,
    types::{Dot, PartitionId, Record, RecordRef, Seen, SeenPartitions, Sequence, Timestamp},
};

impl Eventual {
    /// As [`Eventual::read`]; also says which write the reader has seen, a tombstone or an expired put included: a miss
    /// must not be followed by an older value elsewhere.
    pub fn read_seen(&self, key: &[u8]) -> (Option<Record>, Seen) {
        let partition = partition_of(key);
        let Some(record) = self.records(partition, |records| records.get(key).map(RecordRef::to_record)) else {
            return (None, Seen::Nothing);
        };
        let seen = record.seen_in(partition);
        let is_visible = record.value.is_some() && (record.expires_ms.is_none() || !record.is_expired(self.now_ms()));
        (is_visible.then_some(record), seen)
    }

    /// Everything that a reader may have seen by now. To be asked after the read.
    pub fn seen(&self) -> SeenPartitions {
        let vector = |partition| {
            let vector = self.progress(partition, |progress| {
                let mut vector = progress.vector(self.me);
                vector.merge(&progress.incoming);
                vector
            });
            (partition, vector)
        };
        let vectors = self.partition_ids().map(vector).filter(|(_, vector)| !vector.is_empty()).collect();
        SeenPartitions { vectors, clock: self.hlc.latest() }
    }

    /// Whether a write is here, or one of the same key that replaced it.
    pub(in crate::replication::eventual) fn covers(&self, partition: PartitionId, dot: Dot) -> bool {
        dot.sequence <= self.last_here(partition, dot)
    }

    /// The last write of a dot's node that is here without a gap.
    pub(in crate::replication::eventual) fn last_here(&self, partition: PartitionId, dot: Dot) -> Sequence {
        self.progress(partition, |progress| match dot.node == self.me {
            true => progress.outbox.last(),
            false => progress.others.sequence(dot.node),
        })
    }

    /// Takes note of the greatest version that a session has seen: what it writes here from now on is above that.
    ///
    /// # Errors
    /// `CLOCK_SKEW` when that is further ahead of this node's clock than the drift bound allows; the clock then stays.
    pub fn observe_session(&self, clock: Timestamp) -> Result<()> {
        let skew = |ahead_ms| {
            let text = format!("clock: this node's clock is {ahead_ms} ms behind what the session has seen");
            Error::new(ErrorCode::ClockSkew, text)
        };
        self.hlc.observe(clock, self.now_ms(), self.max_drift_ms).map_err(skew)
    }

    /// A place among those who wait for what arrives, while it is held.
    ///
    /// # Errors
    /// `OVERLOADED` beyond [`SESSION_WAITERS_MAX`].
    pub(in crate::replication::eventual) fn await_arrivals(&self) -> Result<Arrivals<'_>> {
        let arrivals = Arrivals(self);
        if self.waiters.fetch_add(1, Ordering::AcqRel) >= SESSION_WAITERS_MAX as u64 {
            let text = format!("{SESSION_WAITERS_MAX} sessions wait at this node already; try another one");
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        Ok(arrivals)
    }

    /// Wakes those who wait, after a vector was raised and its lock released. Whoever looked at the vector before that
    /// had counted itself before, so the lock between the two makes sure that it is seen here.
    pub(super) fn announce_arrival(&self) {
        if self.waiters.load(Ordering::Acquire) > 0 {
            self.arrivals.notify_waiters();
        }
    }
}

/// See [`Eventual::await_arrivals`].
pub(in crate::replication::eventual) struct Arrivals<'a>(&'a Eventual);

impl Arrivals<'_> {
    /// Ends when something arrives after it was enabled.
    pub(in crate::replication::eventual) fn next(&self) -> Notified<'_> {
        self.0.arrivals.notified()
    }
}

impl Drop for Arrivals<'_> {
    fn drop(&mut self) {
        self.0.waiters.fetch_sub(1, Ordering::AcqRel);
    }
}
