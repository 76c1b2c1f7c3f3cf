//! Who leads, as nodes tell those who ask them.

use std::sync::{
    atomic::{AtomicU64, Ordering},
    Arc,
};

use crate::types::NodeId;

/// The node that leads, as the last answer over any of some connections said. Clones are the same. Only a hint: any node does
/// what it is asked.
#[derive(Clone, Debug, Default)]
pub struct Leader(Arc<AtomicU64>);

/// No node has this id.
const NOBODY: u64 = 0;

impl Leader {
    /// `None`: nobody said.
    pub fn get(&self) -> Option<NodeId> {
        Some(self.0.load(Ordering::Relaxed)).filter(|&id| id != NOBODY).map(NodeId)
    }

    /// Until the next answer nobody has said.
    pub fn forget(&self) {
        self.0.store(NOBODY, Ordering::Relaxed);
    }

    pub(super) fn told(&self, leader: Option<u64>) {
        self.0.store(leader.unwrap_or(NOBODY), Ordering::Relaxed);
    }
}
