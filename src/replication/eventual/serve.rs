//! State transfers that a peer asks for.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    snapshot::{PieceBounds, Snapshot},
    Eventual,
};
use crate::{
    limits::{STATE_CHUNKS_IN_FLIGHT, STATE_TRANSFERS_MAX},
    types::{PartitionId, StateChunk, StateEnd, TransferId, VersionVector},
};

/// The transfers to one peer.
#[derive(Default)]
pub(super) struct Serves {
    active: BTreeMap<TransferId, Serve>,
}

struct Serve {
    partition: PartitionId,
    /// What the asker has.
    known: VersionVector,
    /// Taken with the first chunk.
    snapshot: Option<Snapshot>,
    /// Chunks that the asker has not confirmed.
    in_flight: usize,
}

impl Serves {
    /// A peer asks. One that asks for more at a time than anyone does has given up the oldest, whose chunks got lost.
    pub(super) fn begin(&mut self, transfer: TransferId, partition: PartitionId, known: VersionVector) {
        self.active.insert(transfer, Serve { partition, known, snapshot: None, in_flight: 0 });
        if self.active.len() > STATE_TRANSFERS_MAX {
            self.active.pop_first();
        }
    }

    /// The asker has taken a chunk in. A transfer that is over needs no confirmation.
    pub(super) fn confirm(&mut self, transfer: TransferId) {
        if let Some(serve) = self.active.get_mut(&transfer) {
            serve.in_flight = serve.in_flight.saturating_sub(1);
        }
    }

    /// The next chunk that may be sent. No transfer begins in a partition that `is_merging`, whose records are ahead of
    /// its vector for a moment.
    pub(super) fn next_chunk(
        &mut self,
        keyspace: &Arc<Eventual>,
        is_merging: impl Fn(PartitionId) -> bool,
        bounds: PieceBounds,
    ) -> Option<StateChunk> {
        let may_send = |serve: &Serve| {
            serve.in_flight < STATE_CHUNKS_IN_FLIGHT && (serve.snapshot.is_some() || !is_merging(serve.partition))
        };
        let (&transfer, serve) = self.active.iter_mut().find(|(_, serve)| may_send(serve))?;
        let partition = serve.partition;
        let take = || Snapshot::take(keyspace, partition, serve.known.clone());
        let snapshot = serve.snapshot.get_or_insert_with(take);
        let records = snapshot.next_piece(bounds);
        let last = snapshot.is_read().then(|| StateEnd {
            vector: snapshot.vector().clone(),
            seen: keyspace.seen_between(partition, &serve.known, snapshot.vector()),
            dropped: keyspace.dropped(partition),
        });
        serve.in_flight += 1;
        if last.is_some() {
            self.active.remove(&transfer);
        }
        Some(StateChunk { transfer, partition, records, last })
    }
}
