//! EV-4 No resurrection: what a node holds for a key never goes back to something older, whether by replay, by fetched
//! state, or because a tombstone was dropped. A key that is gone may come back only with a greater version.

use std::collections::BTreeMap;

use kvstore::types::{NodeId, Record};

use super::{Invariant, Verdict};
use crate::history::History;

#[derive(Default)]
pub struct NoResurrection {
    /// The greatest version each node ever held of each key, and whether it was a value.
    greatest: BTreeMap<(NodeId, String), ((u64, NodeId), bool)>,
}

impl Invariant for NoResurrection {
    fn name(&self) -> &'static str {
        "EV-4 no resurrection"
    }

    fn on_sight(&mut self, node: NodeId, key: &str, record: Option<&Record>, _history: &History) -> Verdict {
        let place = (node, key.to_string());
        let before = self.greatest.get(&place).copied();
        let Some(record) = record else {
            return match before {
                Some((rank, true)) => {
                    Err(format!("{node} held {rank:?} of {key}, a value without an end, and nothing now"))
                }
                Some((_, false)) | None => Ok(()),
            };
        };
        let rank = (record.timestamp.0, record.dot.node);
        if before.is_some_and(|(before, _)| rank < before) {
            return Err(format!("{node} held {before:?} of {key}, and {record:?} now"));
        }
        self.greatest.insert(place, (rank, record.value.is_some() && record.expires_ms.is_none()));
        Ok(())
    }
}
