//! Watches (docs/eventual.md, "Watch"), over nodes that die and from positions that are taken to other nodes:
//!
//! * WA-1 each key comes in the order of its versions; WA-2 no event comes twice; and each tells of a write that was made;
//! * WA-3 no gap: in the end the last event of each key is its final value, or the delete that ended it;
//! * WA-5 a watch goes on from its position, or ends with `COMPACTED`, which is said only where a delete was forgotten that
//!   the position does not cover;
//! * WA-6 a position is never ahead of what was told, which shows in WA-3; WA-8 a slow watcher is no exception to any.
//!
//! A watcher may know more than the cluster, or than the node it moves to: of what died with its node, or is cut off with
//! it, shown after it was held back for a while. Such keys are let off and counted.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kvstore::{
    node::Running,
    storage::partition_of,
    types::{NodeId, Record, Timestamp, WatchChange, WatchEvent, WatchPage, WatchPosition},
};

use super::{Invariant, Verdict};
use crate::{
    chronicle::{Chronicle, Made, WriteName},
    cluster::Hosts,
    history::{History, Watched},
};

pub struct Watches {
    hosts: Arc<Hosts>,
    /// The watch of each watcher.
    open: BTreeMap<usize, Course>,
    events: u64,
    finals: u64,
    compacted: u64,
    excused: u64,
}

impl Watches {
    pub fn new(hosts: Arc<Hosts>) -> Watches {
        Watches { hosts, open: BTreeMap::new(), events: 0, finals: 0, compacted: 0, excused: 0 }
    }
}

/// What a watch has told.
#[derive(Default)]
struct Course {
    is_initial: bool,
    prefix: String,
    /// What was there before it began; `None` until its first page.
    begin: Option<WatchPosition>,
    position: WatchPosition,
    /// The last event of each key: which write, and whether it left a value.
    last: BTreeMap<String, ((Timestamp, NodeId), WriteName, bool)>,
    told: BTreeSet<WriteName>,
}

impl Course {
    /// Gives how often the watch went back behind something that died with its node.
    fn take(&mut self, page: &WatchPage, history: &History, hosts: &Hosts) -> Result<u64, String> {
        let mut excused = 0;
        for event in &page.events {
            let key = String::from_utf8_lossy(event.key()).into_owned();
            let (name, rank) = ((event.partition, event.dot), (event.version(), event.dot.node));
            check_event(event, &key, &history.chronicle)?;
            if !key.starts_with(&self.prefix) {
                return Err(format!("{key} does not begin with {:?}", self.prefix));
            }
            if !self.told.insert(name) {
                return Err(format!("WA-2 {event:?} came before"));
            }
            let is_value = matches!(event.change, WatchChange::Put(_));
            let Some((before, (partition, dot), _)) = self.last.insert(key, (rank, name, is_value)) else { continue };
            if rank > before {
                continue;
            }
            let is_everywhere = hosts.live().iter().all(|node| node.keyspace().vector(partition).covers(dot));
            if is_everywhere || !(history.is_gone(dot.node) || hosts.was_cut_lately()) {
                return Err(format!("WA-1 {event:?} after {before:?}"));
            }
            excused += 1;
        }
        page.advance(&mut self.position);
        if self.begin.is_none() {
            self.begin = Some(if self.is_initial { WatchPosition::new() } else { self.position.clone() });
        }
        Ok(excused)
    }

    /// WA-3, where all is quiet and the watch has caught up. Gives the keys that were checked, and those let off.
    fn check_finals(&self, node: &Running, chronicle: &Chronicle) -> Result<(u64, u64), String> {
        let (mut checked, mut excused) = (0, 0);
        let begin = self.begin.as_ref().ok_or("WA-3 a watch never began")?;
        for key in chronicle.keys().into_iter().filter(|key| key.starts_with(&self.prefix)) {
            let Some((name, last)) = chronicle.decides(&key, node.keyspace()) else { continue };
            let told = self.last.get(&key);
            let vector = node.keyspace().vector(name.0);
            let position = self.position.vector(name.0);
            // What was shown, or only passed over for the sake of it.
            let is_ahead = |(_, made): (WriteName, &Made)| {
                let Record { dot, .. } = made.record;
                made.record.rank() > last.record.rank() && position.covers(dot) && !vector.covers(dot)
            };
            if chronicle.of_key(&key).any(is_ahead) {
                excused += 1;
                continue;
            }
            let was_there = begin.vector(name.0).covers(name.1);
            let is_told = told.is_some_and(|&(_, last, _)| last == name);
            // Of a key that is not there a watch that began with what is there need not tell.
            let is_nothing = last.record.value.is_none() && told.is_none_or(|&(_, _, is_value)| !is_value);
            if !was_there && !is_told && !(is_nothing && (self.is_initial || chronicle.may_be_dropped(name))) {
                return Err(format!("WA-3 {key} ends with {:?}, told was {told:?}", last.record));
            }
            checked += 1;
        }
        Ok((checked, excused))
    }
}

/// An event tells of a write as it was made.
fn check_event(event: &WatchEvent, key: &str, chronicle: &Chronicle) -> Verdict {
    let made = chronicle.get((event.partition, event.dot)).filter(|made| made.record.timestamp == event.version());
    let made = match made {
        Some(made) => made,
        // A watch may show what a crash takes back before it is on disk.
        None if chronicle.lost_at(key, event.version().0).any(|record| record.dot == event.dot) => return Ok(()),
        None => return Err(format!("{event:?}: nobody made that")),
    };
    let value = made.record.value.as_ref().map(|value| &value[..]);
    let is_right = match &event.change {
        WatchChange::Put(entry) => value == Some(&entry.value[..]),
        WatchChange::Delete { .. } => value.is_none() && !made.record.is_sweep(),
        WatchChange::Expire { .. } => made.record.is_sweep(),
    };
    let is_there = event.partition == partition_of(key.as_bytes());
    if is_right && is_there && made.key == key && made.record.timestamp == event.version() {
        return Ok(());
    }
    Err(format!("{event:?} tells of {made:?}"))
}

impl Invariant for Watches {
    fn name(&self) -> &'static str {
        "WA watch"
    }

    fn on_watched(&mut self, watcher: usize, watched: &Watched, history: &History) -> Verdict {
        match watched {
            Watched::Begun { is_initial, prefix } => {
                let course = Course { is_initial: *is_initial, prefix: prefix.clone(), ..Course::default() };
                self.open.insert(watcher, course);
                Ok(())
            }
            Watched::Page(page) => {
                self.events += page.events.len() as u64;
                let course = self.open.get_mut(&watcher).ok_or("a page of no watch")?;
                self.excused += course.take(page, history, &self.hosts)?;
                Ok(())
            }
            Watched::Compacted => {
                self.compacted += 1;
                let course = self.open.remove(&watcher).ok_or("the end of no watch")?;
                let covers = |partition, vector: &_| course.position.vector(partition).covers_all(vector);
                if history.chronicle.has_dropped_beyond(covers) {
                    return Ok(());
                }
                Err("WA-5 COMPACTED, although the position covers every delete that was forgotten".to_string())
            }
        }
    }

    fn on_end(&mut self, nodes: &[Arc<Running>], history: &History) -> Verdict {
        let node = nodes.first().ok_or("no node is left")?;
        for course in self.open.values() {
            let (checked, excused) = course.check_finals(node, &history.chronicle)?;
            self.finals += checked;
            self.excused += excused;
        }
        Ok(())
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("watch events checked", self.events),
            ("final states of watched keys", self.finals),
            ("watches compacted", self.compacted),
            ("watch events excused: after one that died with its node", self.excused),
        ]
    }
}
