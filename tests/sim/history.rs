//! What the clients saw, as it happens, and the judge who looks at it with every invariant.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

use kvstore::{
    error::ErrorCode,
    node::Running,
    storage::partition_of,
    types::{NodeId, ReadLevel, Record, RecordRef, Timestamp, WatchPage},
};
use xxhash_rust::xxh3::Xxh3;

use super::{
    apart::Apart,
    chronicle::Chronicle,
    cluster::{Host, Hosts, Opened},
    invariants::{self, Invariant, Reopening, Verdict},
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
    /// A client of the library is one session.
    pub session: usize,
    /// When it was asked for.
    pub asked: Duration,
    /// With whom the client was connected when the answer came.
    pub contact: Option<NodeId>,
    pub key: String,
    pub wrote: Wrote,
    pub outcome: Outcome,
    /// Why it was refused.
    pub why: Option<ErrorCode>,
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
    pub session: usize,
    /// When it was asked for: the operations of one call have this in common.
    pub asked: Duration,
    pub level: ReadLevel,
    pub key: String,
    pub found: Option<(u64, String)>,
    pub by: Option<NodeId>,
    /// The version that the node held when it was asked, a tombstone's too, if it is the node that answered.
    pub held: Option<u64>,
}

/// What a watcher was told, or how its watch goes on.
#[derive(Clone, Debug)]
pub enum Watched {
    /// A watch was opened; what it begins with.
    Begun {
        is_initial: bool,
        prefix: String,
    },
    Page(WatchPage),
    /// It ended, because a delete may have been missed.
    Compacted,
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
    /// What the nodes did, by their own outboxes.
    pub chronicle: Chronicle,
    pub apart: Apart,
    /// The nodes that the cluster was told to remove.
    pub removed: BTreeSet<NodeId>,
    /// The nodes that are there, removed ones left out.
    pub live: BTreeSet<NodeId>,
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

    /// Who made an acknowledged write. Two nodes may draw the same stamp; then it is the one the client was connected with.
    pub fn maker(&self, key: &str, version: u64, contact: Option<NodeId>) -> Option<NodeId> {
        let mut makers = self.chronicle.at(key, version).map(|((_, dot), _)| dot.node);
        let first = makers.next()?;
        Some(makers.find(|&node| Some(node) == contact).unwrap_or(first))
    }

    /// Whether a node is not there now, or will never be talked to again. One with a disk may come back.
    pub fn is_gone(&self, node: NodeId) -> bool {
        !self.live.contains(&node)
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
                    // The sweep of a value that has ended has the odd stamp right behind it.
                    Outcome::Acked { version: ended, .. } => ended | 1 >= version,
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
    is_traced: bool,
    /// What had gone over the network when the chronicle was last written.
    segments: u64,
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
            segments: 0,
            is_traced: std::env::var_os("KVSTORE_SIM_TRACE").is_some(),
        }
    }

    /// Adds to the trace whose hash a replay must repeat.
    pub fn note(&mut self, at: Duration, what: &str) {
        if self.is_traced {
            eprintln!("{:9.3} {what}", at.as_secs_f64());
        }
        self.trace.update(&(at.as_nanos() as u64).to_le_bytes());
        self.trace.update(what.as_bytes());
    }

    pub fn trace_hash(&self) -> u64 {
        self.trace.digest()
    }

    /// A write is about to be sent; gives its number.
    pub fn invoke(&mut self, write: Write) -> usize {
        let index = self.history.writes.len();
        if let Wrote::Put { value, .. } = &write.wrote {
            self.history.by_value.insert(value.clone(), index);
        }
        self.history.by_key.entry(write.key.clone()).or_default().push(index);
        self.history.writes.push(write);
        index
    }

    /// A step is over: takes in what the nodes did in it, the dying words of those that are gone included. Where nothing went
    /// over the network, hardly anything happened, and the next time will do, unless it has `to_look`.
    pub fn stepped(&mut self, at: Duration, hosts: &Hosts, to_look: bool) {
        let segments = hosts.traffic.count();
        if std::mem::replace(&mut self.segments, segments) == segments && !to_look {
            return;
        }
        for host in &hosts.nodes {
            let Some(keyspace) = host.keyspace() else { continue };
            if let Some(opened) = host.take_opened() {
                self.opened(at, host, &opened);
            }
            for name in self.history.chronicle.observe(&keyspace) {
                self.ask(at, |invariant, history| {
                    let made = history.chronicle.get(name).ok_or("the chronicle lost a write")?;
                    invariant.on_made(made, host, history)
                });
            }
        }
    }

    /// A node was opened on the disk of its host.
    fn opened(&mut self, at: Duration, host: &Host, opened: &Opened) {
        let Some(keyspace) = host.keyspace() else { return };
        let lost = self.history.chronicle.reopen(&keyspace, &opened.vectors);
        let me = keyspace.me();
        self.note(at, &format!("{me} was opened, {:?} before, {} writes lost", opened.former, lost.len()));
        let running = host.running();
        let reopening = Reopening { me, opened, lost: &lost, running: running.as_deref() };
        self.sights.retain(|(node, _), _| *node != me);
        self.ask(at, |invariant, history| invariant.on_opened(&reopening, history));
    }

    /// The cluster is told to remove a node: from here on nothing can be expected of it.
    pub fn remove(&mut self, at: Duration, node: NodeId, left: &[Arc<Running>]) {
        self.history.removed.insert(node);
        self.died(at, left);
    }

    pub fn wrote(&mut self, at: Duration, index: usize, outcome: Outcome, contact: Option<NodeId>) {
        let write = &mut self.history.writes[index];
        (write.outcome, write.contact) = (outcome, contact);
        match outcome {
            Outcome::Pending => {}
            Outcome::Acked { .. } | Outcome::Done => self.history.counts.acked += 1,
            Outcome::Refused => self.history.counts.refused += 1,
            Outcome::Unknown => self.history.counts.unknown += 1,
        }
        self.note(at, &format!("write {index} {:?}", self.history.writes[index]));
        self.ask(at, |invariant, history| invariant.on_write(&history.writes[index], history));
    }

    /// A write has had no effect.
    pub fn refused(&mut self, at: Duration, index: usize, why: ErrorCode, contact: Option<NodeId>) {
        self.note(at, &format!("refused: {}", why.as_str()));
        self.history.writes[index].why = Some(why);
        self.wrote(at, index, Outcome::Refused, contact);
    }

    pub fn read_failed(&mut self, at: Duration, why: ErrorCode) {
        self.history.counts.reads_failed += 1;
        self.ask(at, |invariant, history| invariant.on_read_failed(why, history));
    }

    /// A session was told that writes which it has seen are lost, by the node it was connected with.
    pub fn session_lost(&mut self, at: Duration, session: usize, by: Option<Arc<Running>>) {
        self.note(
            at,
            &format!("session {session} is told of a loss by {:?}", by.as_ref().map(|by| by.keyspace().me())),
        );
        self.ask(at, |invariant, history| invariant.on_session_lost(session, by.as_deref(), history));
    }

    pub fn watched(&mut self, at: Duration, watcher: usize, watched: &Watched) {
        self.note(at, &format!("watcher {watcher} {watched:?}"));
        self.ask(at, |invariant, history| invariant.on_watched(watcher, watched, history));
    }

    pub fn read(&mut self, at: Duration, read: &Read) {
        self.history.counts.reads += 1;
        self.note(at, &format!("{read:?}"));
        self.ask(at, |invariant, history| invariant.on_read(read, history));
    }

    /// A node is gone, with its memory, or with what it had not synced; `left` are those that are there.
    pub fn died(&mut self, at: Duration, left: &[Arc<Running>]) {
        self.history.live = left.iter().map(|node| node.keyspace().me()).collect();
        self.ask(at, |invariant, history| invariant.on_death(left, history));
    }

    /// Looks into the nodes. What has not changed since the last look is not shown again: one version has one value.
    pub fn look(&mut self, at: Duration, nodes: &[Arc<Running>]) {
        self.history.live = nodes.iter().map(|node| node.keyspace().me()).collect();
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

    /// Before the invariants look: who has met whom.
    pub fn look_apart(&mut self, at: Duration, hosts: &Hosts) {
        self.history.apart.look(at, &hosts.live(), hosts.clock_spread());
    }

    /// A node that is to be removed, and whether it knows.
    pub fn look_at_removed(&mut self, at: Duration, node: NodeId, knows: bool) {
        self.invariants.iter_mut().for_each(|invariant| invariant.on_removed_look(at, node, knows));
    }

    /// The last look, at nodes that claim to agree.
    pub fn finish(&mut self, at: Duration, nodes: &[Arc<Running>]) {
        self.sights.clear();
        self.look(at, nodes);
        self.ask(at, |invariant, history| invariant.on_end(nodes, history));
    }

    /// What the invariants looked at and let off, summed up by name.
    pub fn tallies(&self) -> BTreeMap<&'static str, u64> {
        self.invariants.iter().flat_map(|invariant| invariant.tallies()).collect()
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
