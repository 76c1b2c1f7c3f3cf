//! What watchers see of a keyspace.

use super::{Eventual, Progress};
use crate::{
    replication::eventual::listeners::Listeners,
    sync::Ordering,
    types::{PartitionId, VersionVector},
};

impl Eventual {
    /// Who waits for changes, and what they have to know of the peers.
    pub(in crate::replication::eventual) fn listeners(&self) -> &Listeners {
        &self.listeners
    }

    /// What is kept beside the records of a partition, under its write lock, together with its vector.
    pub(in crate::replication::eventual) fn write_progress<R>(
        &self,
        id: PartitionId,
        change: impl FnOnce(&mut Progress, VersionVector) -> R,
    ) -> R {
        let mut guard = self.partitions.write(id);
        let vector = guard.sidecar.vector(self.me);
        change(&mut guard.sidecar, vector)
    }

    /// Whether the replica has caught up with a peer, or has none.
    pub(in crate::replication::eventual) fn is_caught_up(&self) -> bool {
        self.is_caught_up.load(Ordering::Acquire)
    }

    /// The replica has caught up, or has just started.
    pub(in crate::replication::eventual) fn set_caught_up(&self, is_caught_up: bool) {
        self.is_caught_up.store(is_caught_up, Ordering::Release);
        self.listeners.wake();
    }
}
