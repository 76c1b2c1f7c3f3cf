//! What is done from time to time without anybody asking: sweeping, dropping, and working out what may be dropped.

use std::collections::BTreeSet;

use super::{Now, Replica};
use crate::{
    limits::STABILITY_LAG_SHOWN,
    replication::eventual::stability::Members,
    types::{NodeId, PartitionId, PartitionPosition, Positions, Timestamp},
};

impl Replica {
    /// A bounded piece of upkeep in every partition.
    pub(super) fn keep_up(&mut self, now: Now) {
        let mut sweepers = self.connected_nodes();
        sweepers.insert(self.me.node);
        let place = sweepers.iter().position(|&node| node == self.me.node);
        self.keyspace.refresh_budget();
        for partition in self.keyspace.partition_ids() {
            self.release(partition);
            self.keyspace.trim_outbox(partition);
            let is_owner = Some(partition.index() % sweepers.len()) == place;
            if is_owner {
                self.keyspace.sweep(partition, self.bounds.sweep_grace);
            }
            self.keyspace.sweep_dropped(partition, is_owner);
            // A repair may bring back what was dropped since it was asked for.
            let covered = self.stability.covered(partition).filter(|_| !self.pulls.is_repairing(partition));
            if let Some(covered) = covered {
                let (stable, grace) = (self.stability.stable(partition), self.bounds.tombstone_grace);
                self.keyspace.drop_tombstones(partition, stable, covered, grace);
            }
        }
        self.sessions.values_mut().filter_map(|session| session.link_mut()).for_each(|link| {
            link.skew.expire(now.monotonic);
        });
    }

    /// Where this node stands in some partitions.
    pub(super) fn positions(&mut self, now: Now, partitions: impl Iterator<Item = PartitionId>) -> Positions {
        // Before any vector is read: see the field.
        let clock = self.keyspace.tick();
        if let Some(ledger) = self.keyspace.ledger() {
            ledger.tell_clock(clock, now.wall_ms);
        }
        let removed_digest = self.removed_digest();
        // One that has not caught up with anybody yet is not alone: it does not know the others.
        let others = self.members.others().filter(|_| self.is_ready);
        let members = Members { me: self.me.node, others: &others, removed_digest };
        let mut told = Vec::new();
        for partition in partitions {
            let standing = self.keyspace.standing(partition);
            let low = self.stability.settle(partition, &standing.vector, clock, &members);
            let floor = self.keyspace.tombstone_floor(partition, self.stability.told(partition));
            let low = self.lows.tell(&self.keyspace, partition, low);
            told.push(PartitionPosition {
                partition,
                vector: standing.vector,
                outbox_first: standing.outbox_first,
                low,
                digest: standing.digest,
                floor,
            });
        }
        Positions { clock, wall_ms: now.wall_ms, removed_digest, partitions: told }
    }

    /// How far the least stable time of all partitions is behind the wall clock, in milliseconds.
    pub(super) fn stable_lag_ms(&self, now_ms: u64) -> u64 {
        // Before this node began there was nothing to hold back.
        now_ms.saturating_sub(self.stability.least_reached().millis().max(self.me.born_ms))
    }

    /// Names the members that hold stability back for long, and warns when they change.
    pub(super) fn blame(&mut self, now: Now) {
        let bound_ms = STABILITY_LAG_SHOWN.as_millis() as u64;
        let others: BTreeSet<NodeId> = self.members.others().unwrap_or_default();
        let held_back_by = if self.stable_lag_ms(now.wall_ms) > bound_ms {
            let bound = Timestamp::from_millis(now.wall_ms.saturating_sub(bound_ms));
            self.stability.held_back_by(bound, &others)
        } else {
            Vec::new()
        };
        if held_back_by != self.counters.held_back_by && !held_back_by.is_empty() {
            let members: Vec<String> = held_back_by.iter().map(NodeId::to_string).collect();
            tracing::warn!(members = members.join(", "), "tombstones cannot be dropped: members are away or behind");
        }
        self.counters.held_back_by = held_back_by;
    }
}
