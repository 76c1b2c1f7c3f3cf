//! How much a replica does at once.

use std::time::Duration;

use crate::{
    limits::{
        REPLICATION_BATCH_BYTES_TARGET, REPLICATION_BATCH_WRITES_MAX, REPLICATION_PACED_MAX,
        REPLICATION_PACED_STRETCHES, REPLICATION_WINDOW_BYTES, REPLICATION_WINDOW_STRETCHES, STATE_CHUNK_BYTES_TARGET,
        STATE_CHUNK_RECORDS_MAX, STATE_CHUNK_VISITS_MAX, SWEEP_GRACE, TOMBSTONE_GRACE,
    },
    replication::eventual::{push::PushBounds, snapshot::PieceBounds},
};

/// How much is done at once, and how late.
#[derive(Clone, Copy, Debug)]
pub(in super::super) struct Bounds {
    pub(in super::super) push: PushBounds,
    pub(in super::super) piece: PieceBounds,
    pub(in super::super) sweep_grace: Duration,
    pub(in super::super) tombstone_grace: Duration,
}

impl Default for Bounds {
    fn default() -> Bounds {
        Bounds {
            push: PushBounds {
                batch_writes_max: REPLICATION_BATCH_WRITES_MAX,
                batch_bytes_target: REPLICATION_BATCH_BYTES_TARGET,
                window_bytes: REPLICATION_WINDOW_BYTES,
                window_stretches: REPLICATION_WINDOW_STRETCHES,
                paced_stretches: REPLICATION_PACED_STRETCHES,
                paced_max: REPLICATION_PACED_MAX,
            },
            piece: PieceBounds {
                records_max: STATE_CHUNK_RECORDS_MAX,
                visits_max: STATE_CHUNK_VISITS_MAX,
                bytes_target: STATE_CHUNK_BYTES_TARGET,
            },
            sweep_grace: SWEEP_GRACE,
            tombstone_grace: TOMBSTONE_GRACE,
        }
    }
}

/// Small enough that every bound is met all the time.
#[cfg(test)]
pub(super) const TINY: Bounds = Bounds {
    push: PushBounds {
        batch_writes_max: 3,
        batch_bytes_target: 40,
        window_bytes: 100,
        window_stretches: 4,
        paced_stretches: 2,
        paced_max: Duration::from_millis(10),
    },
    piece: PieceBounds { records_max: 2, visits_max: 3, bytes_target: 30 },
    sweep_grace: Duration::from_millis(200),
    tombstone_grace: Duration::from_millis(1500),
};
