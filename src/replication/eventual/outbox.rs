//! The recent own writes of one partition, for streaming to peers: a ring, bounded in bytes and writes, that shrinks to a
//! few spare ones when every peer has the rest.

use std::{collections::VecDeque, sync::Arc};

use crate::{
    limits::{OUTBOX_BYTES_MAX, OUTBOX_SPARE_WRITES, OUTBOX_WRITES_MAX},
    sync::{AtomicU64, Ordering},
    types::{Key, Record, Sequence, Timestamp},
};

/// One own write.
#[derive(Clone, Debug)]
pub struct OutboxWrite {
    /// What was written.
    pub key: Key,
    /// Its dot names this node and counts up by one from write to write.
    pub record: Record,
    /// Counted when it entered.
    bytes: usize,
}

impl OutboxWrite {
    /// Bytes of its key and value.
    pub fn bytes(&self) -> usize {
        self.bytes
    }
}

/// How much an outbox holds.
#[derive(Clone, Copy, Debug)]
pub struct OutboxBounds {
    /// Bytes of keys and values.
    pub bytes_max: usize,
    /// Writes, whatever their size.
    pub writes_max: usize,
    /// Writes that are kept although no peer needs them.
    pub spare_writes: usize,
}

impl Default for OutboxBounds {
    fn default() -> OutboxBounds {
        OutboxBounds { bytes_max: OUTBOX_BYTES_MAX, writes_max: OUTBOX_WRITES_MAX, spare_writes: OUTBOX_SPARE_WRITES }
    }
}

/// A ring of own writes without gaps. When it is full the oldest leave; a peer that has not got them fetches state.
#[derive(Debug, Default)]
pub struct Outbox {
    bounds: OutboxBounds,
    writes: VecDeque<OutboxWrite>,
    bytes: usize,
    last: Sequence,
    reached: Arc<Reached>,
}

/// How far the peers are with the writes of an outbox. Shared with whoever hears of it, so that an acknowledgement takes no
/// lock: each would take the lock's memory away from the writers.
#[derive(Debug)]
pub struct Reached {
    /// Peers have the writes up to here, or are not there.
    acknowledged: AtomicU64,
    /// At least one peer has the writes up to here, or there is none.
    safe: AtomicU64,
}

impl Default for Reached {
    fn default() -> Reached {
        Reached { acknowledged: AtomicU64::new(u64::MAX), safe: AtomicU64::new(u64::MAX) }
    }
}

impl Reached {
    /// Every peer has the writes up to `sequence`; [`Sequence::MAX`]: there is none.
    pub fn acknowledge(&self, sequence: Sequence) {
        if self.acknowledged.load(Ordering::Relaxed) != sequence.0 {
            self.acknowledged.store(sequence.0, Ordering::Relaxed);
        }
    }

    /// A peer has the writes up to `sequence`; [`Sequence::MAX`]: there is no peer to wait for. True when that is news.
    pub fn set_safe(&self, sequence: Sequence) -> bool {
        self.safe.load(Ordering::Relaxed) != sequence.0 && self.safe.swap(sequence.0, Ordering::Release) != sequence.0
    }
}

impl Outbox {
    /// An empty outbox that holds this much.
    pub fn new(bounds: OutboxBounds) -> Outbox {
        Outbox { bounds, ..Outbox::default() }
    }

    /// Goes on after `last`, with none of the writes up to there.
    pub fn resume(&mut self, last: Sequence) {
        self.writes.clear();
        self.bytes = 0;
        self.last = last;
    }

    /// The sequence of the last own write, whether or not it is still held.
    pub fn last(&self) -> Sequence {
        self.last
    }

    /// The sequence of the oldest write that is still held; one more than the last when none is.
    pub fn first(&self) -> Sequence {
        Sequence(self.last.0 + 1 - self.writes.len() as u64)
    }

    /// Appends a write, whose sequence must be the next one.
    pub fn push(&mut self, key: Key, record: Record) {
        assert_eq!(record.dot.sequence, self.last.next(), "own writes enter the outbox without gaps");
        let bytes = key.len() + record.value_bytes();
        self.last = record.dot.sequence;
        self.bytes += bytes;
        self.writes.push_back(OutboxWrite { key, record, bytes });
        while self.bytes > self.bounds.bytes_max || self.writes.len() > self.bounds.writes_max {
            self.drop_first();
        }
        // Two leave for one that enters, so that a long outbox gets shorter without ever keeping a writer waiting.
        self.trim(2);
    }

    /// How far the peers are.
    pub fn reached(&self) -> &Arc<Reached> {
        &self.reached
    }

    /// Up to where own writes survive this node: a peer has them. [`Sequence::MAX`]: there is no peer to wait for.
    pub fn safe(&self) -> Sequence {
        Sequence(self.reached.safe.load(Ordering::Acquire))
    }

    /// Drops at most `writes_max` of the writes that no peer needs, but for the spare ones.
    pub fn trim(&mut self, writes_max: usize) {
        let acknowledged = self.reached.acknowledged.load(Ordering::Relaxed);
        let spare = self.bounds.spare_writes;
        for _ in 0..writes_max {
            if self.writes.len() <= spare || self.first().0 > acknowledged {
                return;
            }
            self.drop_first();
            // A ring walks through all of its memory: what it does not need would be in the way of the data.
            if self.writes.len() == spare && self.writes.capacity() > 8 * spare {
                self.writes.shrink_to(2 * spare);
            }
        }
    }

    /// The first write after the last that is stamped up to `stamp`. The tombstones of a sweep do not count: their stamps
    /// lie in the past.
    pub fn first_after(&self, stamp: Timestamp) -> Sequence {
        let is_later = |write: &&OutboxWrite| write.record.is_sweep() || write.record.timestamp > stamp;
        Sequence(self.last.0 + 1 - self.writes.iter().rev().take_while(is_later).count() as u64)
    }

    /// Whether [`Outbox::trim`] would drop anything.
    pub fn has_excess(&self) -> bool {
        self.writes.len() > self.bounds.spare_writes
            && self.first().0 <= self.reached.acknowledged.load(Ordering::Relaxed)
    }

    fn drop_first(&mut self) {
        if let Some(oldest) = self.writes.pop_front() {
            self.bytes -= oldest.bytes;
        }
    }

    /// The writes from `sequence` on; `None` when the ring no longer reaches that far back.
    pub fn from(&self, sequence: Sequence) -> Option<impl Iterator<Item = &OutboxWrite>> {
        let skipped = sequence.0.checked_sub(self.first().0)?;
        let skipped = usize::try_from(skipped).unwrap_or(usize::MAX).min(self.writes.len());
        Some(self.writes.range(skipped..))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Dot, NodeId, Timestamp};

    const BOUNDS: OutboxBounds = OutboxBounds { bytes_max: 1 << 20, writes_max: 100, spare_writes: 4 };

    fn push(outbox: &mut Outbox, writes: u64) {
        for _ in 0..writes {
            let sequence = outbox.last().next();
            let dot = Dot { node: NodeId(1), sequence };
            let timestamp = Timestamp(sequence.0);
            let record = Record { value: None, flags: 0, timestamp, dot, expires_ms: None };
            outbox.push(Key::new(b"k").unwrap(), record);
        }
    }

    #[test]
    fn without_peers_only_the_spare_writes_stay() {
        let mut outbox = Outbox::new(BOUNDS);
        push(&mut outbox, 50);
        assert_eq!((outbox.first(), outbox.last()), (Sequence(47), Sequence(50)));
    }

    #[test]
    fn what_a_peer_lacks_stays_up_to_the_bound() {
        let mut outbox = Outbox::new(BOUNDS);
        outbox.reached().acknowledge(Sequence::ZERO);
        push(&mut outbox, 90);
        assert_eq!(outbox.first(), Sequence(1));
        push(&mut outbox, 20);
        assert_eq!(outbox.first(), Sequence(11));
        outbox.reached().acknowledge(Sequence(60));
        assert!(outbox.has_excess());
        outbox.trim(1000);
        assert_eq!(outbox.first(), Sequence(61), "what is not acknowledged stays");
        assert!(!outbox.has_excess());
        assert!(outbox.from(Sequence(60)).is_none() && outbox.from(Sequence(61)).is_some());
    }

    #[test]
    fn a_ring_that_was_long_gives_its_memory_back() {
        let mut outbox = Outbox::new(BOUNDS);
        outbox.reached().acknowledge(Sequence::ZERO);
        push(&mut outbox, 100);
        outbox.reached().acknowledge(Sequence::MAX);
        push(&mut outbox, 200);
        assert_eq!(outbox.writes.len(), 4);
        assert!(outbox.writes.capacity() <= 32, "{}", outbox.writes.capacity());
    }
}
