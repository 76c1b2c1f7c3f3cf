//! Own writes on their way to one peer: a window, acknowledgements, and what to do when the peer has fallen behind.

use std::{collections::VecDeque, time::Duration};

use super::Eventual;
use crate::{
    limits::PARTITIONS,
    types::{PartitionChanges, PartitionId, SeenStep, Sequence},
};

/// How much is sent at once, and ahead of acknowledgements.
#[derive(Clone, Copy, Debug)]
pub(super) struct PushBounds {
    pub(super) batch_writes_max: usize,
    pub(super) batch_bytes_target: usize,
    pub(super) window_bytes: usize,
    pub(super) window_stretches: usize,
    /// From so many stretches on their way, the next batch waits for an acknowledgement, and grows meanwhile.
    pub(super) paced_stretches: usize,
    /// But not for longer.
    pub(super) paced_max: Duration,
}

/// The stream of own writes to one peer.
#[derive(Debug)]
pub(super) struct Push {
    streams: Vec<Stream>,
    in_flight_bytes: usize,
    in_flight_stretches: usize,
    /// Partitions take turns in being first in a batch.
    turn: usize,
    /// When the last batch was made that took all there was; `None`: there was more, or nothing was sent yet.
    caught_up: Option<Duration>,
}

/// The stream of one partition.
#[derive(Debug, Default)]
struct Stream {
    /// The peer has said where it stands.
    is_known: bool,
    /// See [`Push::begin_at`].
    begins_at: Sequence,
    acknowledged: Sequence,
    sent: Sequence,
    in_flight: VecDeque<Stretch>,
    /// The outbox no longer reaches back to what the peer needs: it has to fetch state.
    is_behind: bool,
}

/// A stretch of writes that was sent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Stretch {
    last: Sequence,
    bytes: usize,
    /// What lag is measured by; `None`: no client made any of its writes.
    pub(super) made: Option<Made>,
}

/// When the writes of a stretch were made. Sweeps are left out: their stamps are those of the values that they end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Made {
    pub(super) writes: u64,
    /// The first of them: milliseconds since the Unix epoch.
    pub(super) first_ms: u64,
    /// The last.
    pub(super) last_ms: u64,
}

/// What to send next.
#[derive(Debug, Default)]
pub(super) struct Batch {
    pub(super) changes: Vec<PartitionChanges>,
    /// Partitions in which the peer has just been found to have fallen behind the outbox.
    pub(super) fallen_behind: Vec<PartitionId>,
    /// There is more to send at once.
    pub(super) has_more: bool,
}

impl Push {
    /// A stream to a peer that has not said yet where it stands: nothing is sent.
    pub(super) fn new() -> Push {
        let streams = (0..PARTITIONS).map(|_| Stream::default()).collect();
        Push { streams, in_flight_bytes: 0, in_flight_stretches: 0, turn: 0, caught_up: None }
    }

    /// The peer has applied own writes up to `sequence`. Returns the stretches that this confirms.
    ///
    /// The peer may stand beyond what was sent on this session, because it got the writes from others, but not beyond
    /// what was written (`None`). A position below an earlier one, which only a gap can cause, goes back to it.
    pub(super) fn acknowledge(&mut self, keyspace: &Eventual, at: (PartitionId, Sequence)) -> Option<Vec<Stretch>> {
        let (partition, sequence) = at;
        let stream = self.streams.get_mut(partition.index())?;
        // What was sent was written: for that no lock has to be taken from the writers.
        if sequence > stream.sent && sequence > keyspace.outbox(partition, |outbox| outbox.last()) {
            return None;
        }
        let is_back = sequence < stream.acknowledged;
        let count = if is_back { stream.in_flight.len() } else { stream.confirmed(sequence) };
        let ended: Vec<Stretch> = stream.in_flight.drain(..count).collect();
        self.in_flight_stretches -= ended.len();
        self.in_flight_bytes -= ended.iter().map(|stretch| stretch.bytes).sum::<usize>();
        stream.sent = if is_back { sequence } else { stream.sent.max(sequence) };
        stream.is_behind &= stream.acknowledged == sequence && stream.is_known;
        stream.acknowledged = sequence;
        stream.is_known = true;
        Some(if is_back { Vec::new() } else { ended })
    }

    /// The peer has refused what follows `sequence`: what is on its way of this partition is lost, and sent again later.
    /// As for [`Push::acknowledge`].
    pub(super) fn rewind(&mut self, keyspace: &Eventual, at: (PartitionId, Sequence)) -> Option<()> {
        self.acknowledge(keyspace, at)?;
        let stream = self.streams.get_mut(at.0.index())?;
        let lost: Vec<Stretch> = stream.in_flight.drain(..).collect();
        self.in_flight_stretches -= lost.len();
        self.in_flight_bytes -= lost.iter().map(|stretch| stretch.bytes).sum::<usize>();
        stream.sent = stream.acknowledged;
        Some(())
    }

    /// Own writes before these, by partition, are not for this peer: it has to fetch state.
    pub(super) fn begin_at(&mut self, first: &[Sequence]) {
        for (stream, &first) in self.streams.iter_mut().zip(first) {
            stream.begins_at = first;
        }
    }

    /// The first own write that this peer may get by push.
    pub(super) fn begins_at(&self, partition: PartitionId) -> Sequence {
        self.streams.get(partition.index()).map_or(Sequence::ZERO, |stream| stream.begins_at)
    }

    /// Whether small batches are on their way, so that the next one is to wait for their acknowledgement: the busier the
    /// two nodes, the more writes share a message, and a lone write still leaves at once (J. Nagle, RFC 896, 1984; here
    /// with more than one message on the way, so that neither side waits for the other).
    pub(super) fn is_paced(&self, now: Duration, bounds: &PushBounds) -> bool {
        self.in_flight_stretches >= bounds.paced_stretches
            && self.caught_up.is_some_and(|at| now.saturating_sub(at) < bounds.paced_max)
    }

    /// The next writes within the window, as one message.
    pub(super) fn next_batch(&mut self, keyspace: &Eventual, now: Duration, bounds: &PushBounds) -> Batch {
        let mut batch = Batch::default();
        if self.is_paced(now, bounds) {
            return batch;
        }
        let (mut writes, mut bytes) = (0, 0);
        for step in 0..self.streams.len() {
            if batch.has_more || self.is_window_full(bounds) {
                self.turn = (self.turn + step) % self.streams.len();
                break;
            }
            let index = (self.turn + step) % self.streams.len();
            let stream = &mut self.streams[index];
            if !stream.is_known || stream.is_behind {
                continue;
            }
            let room = (bounds.batch_writes_max - writes, bounds.batch_bytes_target - bytes);
            let partition = PartitionId(index as u16);
            let next = stream.sent.next();
            let changes = (next >= stream.begins_at).then(|| keyspace.own_changes(partition, next, room));
            let Some(changes) = changes.flatten() else {
                stream.is_behind = true;
                batch.fallen_behind.push(partition);
                continue;
            };
            let Some(stretch) = Stretch::of(&changes) else { continue };
            writes += changes.changes.len();
            bytes += stretch.bytes;
            stream.sent = stretch.last;
            stream.in_flight.push_back(stretch);
            self.in_flight_stretches += 1;
            self.in_flight_bytes += stretch.bytes;
            batch.changes.push(changes);
            batch.has_more = writes >= bounds.batch_writes_max || bytes >= bounds.batch_bytes_target;
        }
        self.caught_up = (!batch.has_more).then_some(now);
        batch
    }

    /// Own writes that the peer has acknowledged, in all.
    pub(super) fn acknowledged(&self) -> u64 {
        self.positions().map(|position| position.0).sum()
    }

    /// Where the peer stands, by partition; before everything where it has not said so.
    pub(super) fn positions(&self) -> impl Iterator<Item = Sequence> + '_ {
        self.streams.iter().map(|stream| stream.acknowledged)
    }

    /// Where the peer stands in one partition.
    pub(super) fn position(&self, partition: PartitionId) -> Sequence {
        self.streams.get(partition.index()).map_or(Sequence::ZERO, |stream| stream.acknowledged)
    }

    fn is_window_full(&self, bounds: &PushBounds) -> bool {
        self.in_flight_bytes >= bounds.window_bytes || self.in_flight_stretches >= bounds.window_stretches
    }
}

impl Stream {
    /// How many of the stretches in flight end at or before `sequence`.
    fn confirmed(&self, sequence: Sequence) -> usize {
        self.in_flight.iter().take_while(|stretch| stretch.last <= sequence).count()
    }
}

impl Stretch {
    fn of(changes: &PartitionChanges) -> Option<Stretch> {
        let last = changes.changes.len().checked_sub(1)? as u64;
        let mut timed = changes.changes.iter().filter(|change| change.value.is_some() || change.expires_ms.is_none());
        let made = timed.next().map(|first| {
            let (count, last) = timed.fold((1, first), |(count, _), change| (count + 1, change));
            Made { writes: count, first_ms: first.timestamp.millis(), last_ms: last.timestamp.millis() }
        });
        let bytes = |change: &crate::types::Change| change.key.len() + change.value.as_ref().map_or(0, |v| v.len());
        Some(Stretch {
            last: changes.first_sequence.plus(last),
            bytes: changes.changes.iter().map(bytes).sum::<usize>() + changes.seen.len() * size_of::<SeenStep>(),
            made,
        })
    }
}

#[cfg(test)]
mod tests;
