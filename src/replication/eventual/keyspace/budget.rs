//! How much memory the data of a node may take.

use parking_lot::Mutex;

use super::Eventual;
use crate::{
    error::{Error, ErrorCode, Result},
    limits::RECORD_OVERHEAD_BYTES,
    storage::RecordsStats,
    sync::{AtomicU64, Ordering},
    types::{Command, CommandKind},
};

/// The bound, and an estimate of what is in use: never less than what own writes have added since it was last right.
#[derive(Debug)]
pub(super) struct Budget {
    max: u64,
    used: AtomicU64,
    /// Held while the estimate is corrected: two at once would take the same excess off twice.
    correcting: Mutex<()>,
}

impl Budget {
    pub(super) fn new(max: u64) -> Budget {
        Budget { max, used: AtomicU64::new(0), correcting: Mutex::new(()) }
    }
}

/// What records take in memory, about.
fn memory(stats: RecordsStats) -> u64 {
    stats.bytes + (stats.keys + stats.tombstones) * RECORD_OVERHEAD_BYTES
}

impl Eventual {
    /// What the data may take in memory; `None`: there is no bound.
    pub fn max_memory(&self) -> Option<u64> {
        self.budget.as_ref().map(|budget| budget.max)
    }

    /// Bytes that the data takes in memory, about.
    pub fn memory(&self) -> u64 {
        memory(self.stats())
    }

    /// Lets a write begin, unless it would take the data beyond its bound. Deletes may always begin: they make room,
    /// though not at once, because a delete is remembered until every member has it.
    ///
    /// # Errors
    /// `MEMORY_LIMIT`.
    pub(super) fn check_budget(&self, command: &Command) -> Result<()> {
        let Some(budget) = &self.budget else { return Ok(()) };
        let added = match &command.kind {
            CommandKind::Put { value, .. } => (command.key.len() + value.len()) as u64 + RECORD_OVERHEAD_BYTES,
            CommandKind::Delete | CommandKind::Touch { .. } => return Ok(()),
        };
        if budget.used.fetch_add(added, Ordering::Relaxed).saturating_add(added) <= budget.max {
            return Ok(());
        }
        // The estimate counts what was overwritten meanwhile; the truth costs a look at every partition.
        let used = self.correct(budget);
        if used.saturating_add(added) <= budget.max {
            // The truth did not know of this write yet.
            budget.used.fetch_add(added, Ordering::Relaxed);
            return Ok(());
        }
        let text = format!(
            "max_memory: the data takes {used} bytes of {}; delete something, or give the node more",
            budget.max
        );
        Err(Error::new(ErrorCode::MemoryLimit, text))
    }

    /// Makes the estimate right again. To be called from time to time: writes of other nodes are not in it.
    pub(in crate::replication::eventual) fn refresh_budget(&self) {
        if let Some(budget) = &self.budget {
            self.correct(budget);
        }
    }

    /// Brings the estimate to the truth, and gives that. By the difference: what writers add during the look stays counted,
    /// where storing the sum of a look that is old by then would let them go past the bound.
    fn correct(&self, budget: &Budget) -> u64 {
        let _alone = budget.correcting.lock();
        let before = budget.used.load(Ordering::Relaxed);
        let truth = self.memory();
        match before.checked_sub(truth) {
            Some(excess) => budget.used.fetch_sub(excess, Ordering::Relaxed),
            None => budget.used.fetch_add(truth - before, Ordering::Relaxed),
        };
        truth
    }
}
