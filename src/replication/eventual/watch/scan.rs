//! What a watcher lacks of one partition, collected from the records as they were at one moment.

use std::{sync::Arc, vec};

use super::reader::{Draft, WatchBounds};
use crate::{
    replication::eventual::{feed::Changed, Eventual, Snapshot},
    types::{PartitionId, VersionVector, WantedKeys},
};

/// A scan of one partition: first it collects the keys, without values, then it delivers them.
pub(super) struct Scan {
    partition: PartitionId,
    stage: Stage,
    /// The moment of the scan.
    vector: VersionVector,
    /// The entry of the feed that comes after that moment.
    next: u64,
}

enum Stage {
    Collecting { snapshot: Snapshot, found: Vec<Changed> },
    Delivering(vec::IntoIter<Changed>),
}

/// How far a scan came.
pub(super) enum Progress {
    /// There is more.
    Under,
    /// This is its moment, and the entry of the feed that comes after it.
    Over { vector: VersionVector, next: u64 },
}

impl Scan {
    /// Begins where `known` stands. `None`: fetched state is being merged, so that the records are ahead of the vector.
    pub(super) fn begin(keyspace: &Arc<Eventual>, partition: PartitionId, known: VersionVector) -> Option<Scan> {
        let (snapshot, next) = Snapshot::take_if(keyspace, partition, known, |progress| {
            (!progress.is_merging).then(|| progress.feed.next())
        })?;
        let vector = snapshot.vector().clone();
        Some(Scan { partition, stage: Stage::Collecting { snapshot, found: Vec::new() }, vector, next })
    }

    /// One piece of work: looks at some records, or delivers what fits into the page.
    pub(super) fn step(
        &mut self,
        keyspace: &Eventual,
        wanted: &WantedKeys,
        bounds: &WatchBounds,
        draft: &mut Draft,
    ) -> Progress {
        match &mut self.stage {
            Stage::Collecting { snapshot, found } => {
                let piece = snapshot.next_piece(bounds.piece).into_iter();
                let piece = piece.filter(|state| wanted.wants(&state.key));
                found.extend(piece.map(|state| Changed::new(state.key, state.record.view())));
                if snapshot.is_read() {
                    let mut found = std::mem::take(found);
                    found.sort_unstable_by_key(|changed| changed.dot);
                    self.stage = Stage::Delivering(found.into_iter());
                }
                Progress::Under
            }
            Stage::Delivering(found) => {
                keyspace.read_partition(self.partition, |partition| {
                    let visits = found.as_slice().len().min(bounds.visits_max);
                    for changed in found.by_ref().take(visits) {
                        draft.offer(self.partition, partition, &changed);
                        if draft.is_full(bounds) {
                            break;
                        }
                    }
                    draft.needs(self.partition, partition);
                });
                match found.as_slice().is_empty() {
                    true => Progress::Over { vector: self.vector.clone(), next: self.next },
                    false => Progress::Under,
                }
            }
        }
    }

    /// Which partition is scanned.
    pub(super) fn partition(&self) -> PartitionId {
        self.partition
    }
}
