//! EV-9 No phantom: every value was put by someone, whole, for this key, in a write that was not refused. At the node that
//! took the put it has the version its writer was told, unless a touch gave it another; elsewhere never an older one (a node
//! that was a stranger to the cluster may write what it holds again, under a new version).

use kvstore::types::{NodeId, Record};

use super::{Invariant, Verdict};
use crate::history::{History, Outcome, Read, Wrote};

pub struct NoPhantom;

fn check(key: &str, version: u64, by: Option<NodeId>, value: &str, history: &History) -> Verdict {
    let shown: String = value.chars().take(40).collect();
    let Some(put) = history.put_of(value) else { return Err(format!("{key}: nobody put {shown:?}")) };
    if put.key != key {
        return Err(format!("{key}: {shown:?} was put for {}", put.key));
    }
    match put.outcome {
        Outcome::Refused => Err(format!("{key}: the put of {shown:?} was refused")),
        Outcome::Acked { version: told, by: writer } if told != version => {
            let is_touched = history.writes_of(key).any(|write| write.wrote == Wrote::Touch);
            let is_written_again = by.is_none() || by != writer;
            if version > told && (is_touched || is_written_again) {
                return Ok(());
            }
            Err(format!("{key}: {shown:?} has version {version}, its writer was told {told}"))
        }
        Outcome::Pending | Outcome::Acked { .. } | Outcome::Done | Outcome::Unknown => Ok(()),
    }
}

impl Invariant for NoPhantom {
    fn name(&self) -> &'static str {
        "EV-9 no phantom"
    }

    fn on_read(&mut self, read: &Read, history: &History) -> Verdict {
        let Some((version, value)) = &read.found else { return Ok(()) };
        check(&read.key, *version, None, value, history)
    }

    fn on_sight(&mut self, _node: NodeId, key: &str, record: Option<&Record>, history: &History) -> Verdict {
        let Some((record, value)) = record.and_then(|record| Some((record, record.value.as_ref()?))) else {
            return Ok(());
        };
        check(key, record.timestamp.0, Some(record.dot.node), &String::from_utf8_lossy(value), history)
    }
}
