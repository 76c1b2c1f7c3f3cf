//! EV-9 No phantom: every value was put by someone, whole, for this key, in a write that was not refused, and under the
//! version that it is shown with some node has made it. That is the version its writer was told, or a later one: of a touch,
//! or of a node that was a stranger to the cluster and wrote what it holds again (docs/eventual.md, "Deletes").

use kvstore::types::{NodeId, Record};

use super::{Invariant, Verdict};
use crate::history::{History, Outcome, Read};

pub struct NoPhantom;

fn check(key: &str, version: u64, value: &str, history: &History) -> Verdict {
    let shown: String = value.chars().take(40).collect();
    let Some(put) = history.put_of(value) else { return Err(format!("{key}: nobody put {shown:?}")) };
    if put.key != key {
        return Err(format!("{key}: {shown:?} was put for {}", put.key));
    }
    let is_it = |record: &Record| record.value.as_ref().is_some_and(|made| &made[..] == value.as_bytes());
    // A read may show what a crash takes back before it is on disk.
    let is_made = history.chronicle.at(key, version).any(|(_, made)| is_it(&made.record));
    if !is_made && !history.chronicle.lost_at(key, version).any(is_it) {
        return Err(format!("{key}: nobody made {shown:?} under version {version}"));
    }
    match put.outcome {
        Outcome::Refused => Err(format!("{key}: the put of {shown:?} was refused")),
        Outcome::Acked { version: told, .. } if told > version => {
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
        check(&read.key, *version, value, history)
    }

    fn on_sight(&mut self, _node: NodeId, key: &str, record: Option<&Record>, history: &History) -> Verdict {
        let Some((record, value)) = record.and_then(|record| Some((record, record.value.as_ref()?))) else {
            return Ok(());
        };
        check(key, record.timestamp.0, &String::from_utf8_lossy(value), history)
    }
}
