//! EV-6 A node's versions strictly grow, over all partitions, also while its wall clock goes back; and none is further
//! ahead than the drift bound of the greatest time that its own wall clock ever showed (Kulkarni et al., "Logical Physical
//! Clocks", OPODIS 2014, theorem 3, with remote stamps beyond the bound refused).
//!
//! The tombstones of a sweep have the stamps right behind the values they end, which may be old.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kvstore::{
    limits::{CLOCK_DRIFT_MAX, CLOCK_RESERVE},
    types::{NodeId, PartitionId, Timestamp},
};

use super::{Invariant, Reopening, Verdict};
use crate::{
    chronicle::Made,
    cluster::{Host, Hosts},
    history::{History, Outcome, Write},
};

pub struct BoundedClock {
    hosts: Arc<Hosts>,
    /// The last version of each node in each partition.
    latest: BTreeMap<(NodeId, PartitionId), Timestamp>,
    /// Every version, by node: in no two partitions is it the same.
    drawn: BTreeSet<(NodeId, Timestamp)>,
    /// The last version each client got from each node; it waits for the answer before it sends again.
    told: BTreeMap<(usize, NodeId), u64>,
}

impl BoundedClock {
    pub fn new(hosts: Arc<Hosts>) -> BoundedClock {
        BoundedClock { hosts, latest: BTreeMap::new(), drawn: BTreeSet::new(), told: BTreeMap::new() }
    }
}

impl Invariant for BoundedClock {
    fn name(&self) -> &'static str {
        "EV-6 bounded clock"
    }

    fn on_made(&mut self, made: &Made, host: &Host, _history: &History) -> Verdict {
        let (version, node) = made.record.rank();
        let bound_ms = host.clock.highest_wall_ms() + CLOCK_DRIFT_MAX.as_millis() as u64;
        if version.millis() > bound_ms {
            return Err(format!("{node} made {version}, its own clock and the drift bound allow {bound_ms} ms"));
        }
        if made.record.is_sweep() {
            return Ok(());
        }
        let partition = kvstore::storage::partition_of(made.key.as_bytes());
        let before = self.latest.insert((node, partition), version).unwrap_or(Timestamp::ZERO);
        if version <= before || !self.drawn.insert((node, version)) {
            return Err(format!("{node} made {version} after {before}"));
        }
        Ok(())
    }

    /// Stamps that a crash took back, and nobody was told, may be drawn again.
    fn on_opened(&mut self, reopening: &Reopening<'_>, history: &History) -> Verdict {
        for ((partition, dot), made) in reopening.lost {
            self.drawn.remove(&(dot.node, made.record.timestamp));
            self.latest.remove(&(dot.node, *partition));
        }
        for ((partition, dot), made) in history.chronicle.of_node(reopening.me) {
            if !made.record.is_sweep() {
                let latest = self.latest.entry((dot.node, partition)).or_insert(Timestamp::ZERO);
                *latest = made.record.timestamp.max(*latest);
            }
        }
        Ok(())
    }

    fn on_write(&mut self, write: &Write, _history: &History) -> Verdict {
        let Outcome::Acked { version, by: Some(by) } = write.outcome else { return Ok(()) };
        let before = self.told.insert((write.client, by), version).unwrap_or(0);
        if version <= before {
            return Err(format!("{by} gave {} after {}", Timestamp(version), Timestamp(before)));
        }
        // A node that comes back from its disk goes on after what it may have told, which takes some time in advance.
        let reserve = if self.hosts.storage.is_some() { CLOCK_RESERVE } else { Duration::ZERO };
        let highest_ms = self.hosts.nodes.iter().map(|host| host.clock.highest_wall_ms()).max().unwrap_or(0);
        let bound_ms = highest_ms + reserve.as_millis() as u64;
        if Timestamp(version).millis() > bound_ms {
            return Err(format!("{by} gave {}, no clock ever showed more than {bound_ms} ms", Timestamp(version)));
        }
        Ok(())
    }
}
