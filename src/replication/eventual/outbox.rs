//! The recent own writes of one partition, for streaming to peers: a ring, bounded in bytes and writes.

use std::collections::VecDeque;

use crate::{
    limits::{OUTBOX_BYTES_MAX, OUTBOX_WRITES_MAX},
    types::{Key, Record, Sequence},
};

/// One own write.
#[derive(Clone, Debug)]
pub struct OutboxWrite {
    pub key: Key,
    /// Its dot names this node and counts up by one from write to write.
    pub record: Record,
    /// Counted when it entered.
    bytes: usize,
}

/// A ring of own writes without gaps. When it is full the oldest leave; a peer that has not got them fetches state.
#[derive(Debug, Default)]
pub struct Outbox {
    writes: VecDeque<OutboxWrite>,
    bytes: usize,
    last: Sequence,
}

impl Outbox {
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
        while self.bytes > OUTBOX_BYTES_MAX || self.writes.len() > OUTBOX_WRITES_MAX {
            let Some(oldest) = self.writes.pop_front() else { break };
            self.bytes -= oldest.bytes;
        }
    }

    /// The writes from `sequence` on; `None` when the ring no longer reaches that far back.
    pub fn from(&self, sequence: Sequence) -> Option<impl Iterator<Item = &OutboxWrite>> {
        let skipped = sequence.0.checked_sub(self.first().0)?;
        Some(self.writes.iter().skip(usize::try_from(skipped).unwrap_or(usize::MAX)))
    }
}
