//! What the clients saw, as it happens, and the judge who looks at it with every invariant.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kvstore::{
    node::Running,
    storage::partition_of,
    types::{NodeId, Record, RecordRef, Timestamp},
};
use xxhash_rust::xxh3::Xxh3;

use super::{
    cluster::Hosts,
    invariants::{self, Invariant, Verdict},
};

/// The kinds of write, with what they leave behind.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Wrote {
    /// The value is unique: client, serial, padding.
    Put {
        value: String,
        has_ttl: bool,
    },
    Delete,
    Touch,
}

/// How a write ended.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Outcome {
    Pending,
    /// Answered by this incarnation; `None`: it was gone before anybody knew its name.
    Acked {
        version: u64,
        by: Option<NodeId>,
    },
    /// Done, at a version that the answer does not tell.
    Done,
    /// A definite error: it has had no effect and will have none.
    Refused,
    Unknown,
}

#[derive(Clone, Debug)]
pub struct Write {
    pub client: usize,
    pub key: String,
    pub wrote: Wrote,
    pub outcome: Outcome,
}

impl Write {
    /// The version and the writer, when it was acknowledged.
    pub fn rank(&self) -> Option<(u64, NodeId)> {
        match self.outcome {
            Outcome::Acked { version, by } => Some((version, by.unwrap_or(NodeId(0)))),
            Outcome::Pending | Outcome::Done | Outcome::Refused | Outcome::Unknown => None,
        }
    }
}

/// What a client read: the version and value, or nothing.
#[derive(Clone, Debug)]
pub struct Read {
    pub client: usize,
    pub key: String,
    pub found: Option<(u64, String)>,
    pub by: Option<NodeId>,
}

/// Counts for the report.
#[derive(Clone, Copy, Debug, Default)]
pub struct Counts {
    pub acked: u64,
    pub refused: u64,
    pub unknown: u64,
    pub reads: u64,
    pub reads_failed: u64,
}

/// Everything that was done, and where to find it.
#[derive(Default)]
pub struct History {
    pub writes: Vec<Write>,
    /// The put of each value.
    by_value: BTreeMap<String, usize>,
    by_key: BTreeMap<String, Vec<usize>>,
    pub counts: Counts,
}

impl History {
    pub fn keys(&self) -> BTreeSet<String> {
        self.by_key.keys().cloned().collect()
    }

    /// The put of a value, if there was one.
    pub fn put_of(&self, value: &str) -> Option<&Write> {
        self.by_value.get(value).map(|&index| &self.writes[index])
    }

    pub fn writes_of<'a>(&'a self, key: &str) -> impl Iterator<Item = &'a Write> + 'a {
        self.by_key.get(key).into_iter().flatten().map(|&index| &self.writes[index])
    }

    /// Whether a key may be gone although `version` of it was written: it was deleted, or ended, since.
    pub fn may_be_absent(&self, key: &str, version: u64) -> bool {
        self.writes_of(key).any(|write| {
            let can_end = match write.wrote {
                Wrote::Put { has_ttl, .. } => has_ttl,
                Wrote::Delete | Wrote::Touch => true,
            };
            can_end
                && match write.outcome {
                    Outcome::Acked { version: ended, .. } => ended >= version,
                    Outcome::Pending | Outcome::Done | Outcome::Unknown => true,
                    Outcome::Refused => false,
                }
        })
    }
}

/// What a node holds for a key, visible or not.
pub fn held(node: &Running, key: &str) -> Option<Record> {
    node.keyspace()
        .records(partition_of(key.as_bytes()), |records| records.get(key.as_bytes()).map(RecordRef::to_record))
}

/// Writes the history and asks every invariant about each step of it.
pub struct Judge {
    pub history: History,
    invariants: Vec<Box<dyn Invariant>>,
    pub violations: Vec<String>,
    /// What each node held of each key at the last look.
    sights: BTreeMap<(NodeId, String), Option<(Timestamp, NodeId)>>,
    trace: Xxh3,
}

/// More than these of one run only repeat themselves.
const VIOLATIONS_MAX: usize = 8;

impl Judge {
    pub fn new(hosts: &Arc<Hosts>) -> Judge {
        let invariants = invariants::all(hosts);
        Judge {
            history: History::default(),
            invariants,
            violations: Vec::new(),
            sights: BTreeMap::new(),
            trace: Xxh3::new(),
        }
    }

    /// Adds to the trace whose hash a replay must repeat.
    pub fn note(&mut self, at: Duration, what: &str) {
        if std::env::var_os("KVSTORE_SIM_TRACE").is_some() {
            eprintln!("{:9.3} {what}", at.as_secs_f64());
        }
        self.trace.update(&(at.as_nanos() as u64).to_le_bytes());
        self.trace.update(what.as_bytes());
    }

    pub fn trace_hash(&self) -> u64 {
        self.trace.digest()
    }

    /// A write is about to be sent; gives its number.
    pub fn invoke(&mut self, client: usize, key: &str, wrote: Wrote) -> usize {
        let index = self.history.writes.len();
        if let Wrote::Put { value, .. } = &wrote {
            self.history.by_value.insert(value.clone(), index);
        }
        self.history.by_key.entry(key.to_string()).or_default().push(index);
        self.history.writes.push(Write { client, key: key.to_string(), wrote, outcome: Outcome::Pending });
        index
    }

    pub fn wrote(&mut self, at: Duration, index: usize, outcome: Outcome) {
        self.history.writes[index].outcome = outcome;
        match outcome {
            Outcome::Pending => {}
            Outcome::Acked { .. } | Outcome::Done => self.history.counts.acked += 1,
            Outcome::Refused => self.history.counts.refused += 1,
            Outcome::Unknown => self.history.counts.unknown += 1,
        }
        self.note(at, &format!("write {index} {:?}", self.history.writes[index]));
        self.ask(at, |invariant, history| invariant.on_write(&history.writes[index], history));
    }

    pub fn read(&mut self, at: Duration, read: &Read) {
        self.history.counts.reads += 1;
        self.note(at, &format!("{read:?}"));
        self.ask(at, |invariant, history| invariant.on_read(read, history));
    }

    /// A node is gone, with its memory; `left` are those that are there.
    pub fn died(&mut self, at: Duration, left: &[Arc<Running>]) {
        self.ask(at, |invariant, history| invariant.on_death(left, history));
    }

    /// Looks into the nodes. What has not changed since the last look is not shown again: one version has one value.
    pub fn look(&mut self, at: Duration, nodes: &[Arc<Running>]) {
        self.ask(at, |invariant, history| invariant.on_look(nodes, history));
        for key in self.history.keys() {
            for node in nodes {
                let (me, record) = (node.keyspace().me(), held(node, &key));
                let rank = record.as_ref().map(Record::rank);
                if self.sights.insert((me, key.clone()), rank) != Some(rank) {
                    self.ask(at, |invariant, history| invariant.on_sight(me, &key, record.as_ref(), history));
                }
            }
        }
    }

    /// The last look, at nodes that claim to agree.
    pub fn finish(&mut self, at: Duration, nodes: &[Arc<Running>]) {
        self.sights.clear();
        self.look(at, nodes);
        self.ask(at, |invariant, history| invariant.on_end(nodes, history));
    }

    /// Acknowledged writes that were let off being kept.
    pub fn excused(&self) -> u64 {
        self.invariants.iter().map(|invariant| invariant.excused()).sum()
    }

    pub fn violated(&mut self, at: Duration, text: &str) {
        if self.violations.len() < VIOLATIONS_MAX {
            self.violations.push(format!("{text} (at {:.3} s)", at.as_secs_f64()));
        }
    }

    fn ask(&mut self, at: Duration, question: impl Fn(&mut dyn Invariant, &History) -> Verdict) {
        let mut invariants = std::mem::take(&mut self.invariants);
        for invariant in &mut invariants {
            if let Err(text) = question(&mut **invariant, &self.history) {
                self.violated(at, &format!("{}: {text}", invariant.name()));
            }
        }
        self.invariants = invariants;
    }
}
