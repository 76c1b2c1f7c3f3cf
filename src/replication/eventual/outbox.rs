//! The recent own writes of one partition, for streaming to peers: a ring, bounded in bytes and writes.

use std::collections::VecDeque;

use crate::{
    limits::{OUTBOX_BYTES_MAX, OUTBOX_WRITES_MAX},
    types::{Key, Record, Sequence},
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
}

impl Default for OutboxBounds {
    fn default() -> OutboxBounds {
        OutboxBounds { bytes_max: OUTBOX_BYTES_MAX, writes_max: OUTBOX_WRITES_MAX }
    }
}

/// A ring of own writes without gaps. When it is full the oldest leave; a peer that has not got them fetches state.
#[derive(Debug, Default)]
pub struct Outbox {
    bounds: OutboxBounds,
    writes: VecDeque<OutboxWrite>,
    bytes: usize,
    last: Sequence,
}

impl Outbox {
    /// An empty outbox that holds this much.
    pub fn new(bounds: OutboxBounds) -> Outbox {
        Outbox { bounds, ..Outbox::default() }
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
            let Some(oldest) = self.writes.pop_front() else { break };
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
