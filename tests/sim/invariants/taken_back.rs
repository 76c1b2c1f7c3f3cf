//! Persist before Send (docs/durability.md, "How"): a write that a crash took back from its maker, because it was not on its
//! disk yet, is nowhere else. Otherwise the next write of that node would give one name to two writes (PE-3, EV-3).
//!
//! Its maker may make the very same write again: the sweep of an expired value has no other stamp than the one behind it.

use kvstore::types::{NodeId, Record};

use super::{Invariant, Verdict};
use crate::history::History;

#[derive(Default)]
pub struct TakenBack;

impl Invariant for TakenBack {
    fn name(&self) -> &'static str {
        "PE-3 taken back is nowhere"
    }

    fn on_sight(&mut self, node: NodeId, key: &str, record: Option<&Record>, history: &History) -> Verdict {
        let Some(record) = record else { return Ok(()) };
        let is_lost = history.chronicle.lost_at(key, record.timestamp.0).any(|lost| lost == record);
        let is_made_again = || history.chronicle.at(key, record.timestamp.0).any(|(_, made)| made.record == *record);
        match is_lost && !is_made_again() {
            true => Err(format!("{node} holds {record:?} of {key}, which its maker lost in a crash")),
            false => Ok(()),
        }
    }
}
