//! How far a node may say that it is, when it does not wait for its disk.
//!
//! Others forget deletes on the word of a node that it has everything up to a stamp ([`super::super::stability`]). A crash
//! must not take that word back, so it is given when what it is about is on disk, and held back until then.

use std::collections::{BTreeMap, VecDeque};

use crate::{
    faults::is_mutant,
    limits::LOWS_HELD_MAX,
    replication::eventual::Eventual,
    storage::log::Position,
    types::{PartitionId, Timestamp},
};

/// The lows that may be told, and those that cannot be yet.
#[derive(Debug, Default)]
pub(in crate::replication::eventual) struct Lows {
    held: BTreeMap<PartitionId, VecDeque<(Position, Timestamp)>>,
    safe: BTreeMap<PartitionId, Timestamp>,
}

impl Lows {
    /// A member counts from now on. Lows from before say nothing of its writes, which may be older and not on disk yet.
    pub(in crate::replication::eventual) fn meet(&mut self) {
        self.held.clear();
        self.safe.clear();
    }

    /// What to tell of a partition, of which this node has everything up to `low` by now; zero: it cannot say.
    pub(in crate::replication::eventual) fn tell(
        &mut self,
        keyspace: &Eventual,
        partition: PartitionId,
        low: Timestamp,
    ) -> Timestamp {
        let Some(ledger) = keyspace.ledger().filter(|ledger| !ledger.is_synchronous()) else { return low };
        let held = self.held.entry(partition).or_default();
        if low == Timestamp::ZERO || is_mutant("low_before_sync") {
            held.clear();
            return low;
        }
        if held.len() < LOWS_HELD_MAX {
            held.push_back((ledger.end(), low));
        }
        let synced = ledger.synced();
        let safe = self.safe.entry(partition).or_default();
        while let Some(&(_, low)) = held.front().filter(|(position, _)| *position <= synced) {
            *safe = low.max(*safe);
            held.pop_front();
        }
        *safe
    }
}
