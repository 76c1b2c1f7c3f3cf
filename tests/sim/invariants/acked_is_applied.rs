//! A write is acknowledged when the node that took it has applied it, and not before: what an answer tells is a write that
//! some node has made, of this key, under this version, with this value (docs/eventual.md, "The promise").

use super::{Invariant, Verdict};
use crate::history::{History, Outcome, Write, Wrote};

#[derive(Default)]
pub struct AckedIsApplied {
    checked: u64,
}

impl Invariant for AckedIsApplied {
    fn name(&self) -> &'static str {
        "acknowledged is applied"
    }

    fn on_write(&mut self, write: &Write, history: &History) -> Verdict {
        let Outcome::Acked { version, .. } = write.outcome else { return Ok(()) };
        self.checked += 1;
        let mut made = history.chronicle.at(&write.key, version);
        let is_it = |value: Option<&[u8]>| match &write.wrote {
            Wrote::Put { value: put, .. } => value == Some(put.as_bytes()),
            Wrote::Delete => value.is_none(),
            Wrote::Touch => value.is_some(),
        };
        if made.any(|(_, made)| is_it(made.record.value.as_ref().map(|value| &value[..]))) {
            return Ok(());
        }
        Err(format!("{write:?}: no node has made such a write"))
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![("acknowledgements checked", self.checked)]
    }
}
