//! Persist before Send (docs/durability.md, "How"): a write that a crash took back from its maker, because it was not on its
//! disk yet, is nowhere else. Otherwise the next write of that node would give one name to two writes (PE-3, EV-3).

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
        match history.chronicle.lost_at(key, record.timestamp.0).any(|lost| lost == record) {
            true => Err(format!("{node} holds {record:?} of {key}, which its maker lost in a crash")),
            false => Ok(()),
        }
    }
}
