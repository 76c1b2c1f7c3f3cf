//! EV-7, the part that holds without a session token: from one and the same node a client never reads something older
//! than what it has read or written there before (Terry et al., "Session Guarantees", 1994: monotonic reads and
//! read-your-writes, at one server). A read may show what is not on the disk of the node yet; that a crash takes it back
//! only a session is told.

use std::collections::BTreeMap;

use kvstore::types::NodeId;

use super::{Invariant, Reopening, Verdict};
use crate::history::{History, Outcome, Read, Write};

#[derive(Default)]
pub struct MonotonicReads {
    /// The version each client knows of each key at each node.
    known: BTreeMap<(usize, NodeId, String), u64>,
}

impl Invariant for MonotonicReads {
    fn name(&self) -> &'static str {
        "EV-7 monotonic reads at one node"
    }

    fn on_write(&mut self, write: &Write, _history: &History) -> Verdict {
        if let Outcome::Acked { version, by: Some(by) } = write.outcome {
            let known = self.known.entry((write.client, by, write.key.clone())).or_default();
            *known = version.max(*known);
        }
        Ok(())
    }

    fn on_opened(&mut self, reopening: &Reopening<'_>, history: &History) -> Verdict {
        let Reopening { me, opened, .. } = reopening;
        self.known.retain(|(_, node, key), version| {
            let mut made = history.chronicle.at(key, *version);
            node != me
                || made.any(|((partition, dot), _)| opened.vectors.get(&partition).is_some_and(|v| v.covers(dot)))
        });
        Ok(())
    }

    fn on_read(&mut self, read: &Read, history: &History) -> Verdict {
        let Some(by) = read.by else { return Ok(()) };
        let known = self.known.entry((read.client, by, read.key.clone())).or_default();
        match &read.found {
            Some((version, _)) if version < known => Err(format!("{read:?} after version {known}")),
            Some((version, _)) => {
                *known = *version;
                Ok(())
            }
            None if *known > 0 && !history.may_be_absent(&read.key, *known) => {
                Err(format!("{read:?} after version {known}, and nobody deleted it"))
            }
            None => Ok(()),
        }
    }
}
