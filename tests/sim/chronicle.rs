//! Every write that any node ever made, its upkeep included, and what its maker had applied by then: seen from outside,
//! after each step of the simulation, from the nodes' outboxes and vectors. What a node says of itself in its messages and
//! its journal can be compared with this.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
};

use kvstore::{
    replication::eventual::Eventual,
    types::{Dot, NodeId, PartitionId, Record, Sequence, VersionVector},
};

/// Names a write for ever.
pub type WriteName = (PartitionId, Dot);

/// A write, as its maker entered it into its outbox.
#[derive(Clone, Debug)]
pub struct Made {
    pub key: String,
    pub record: Record,
    /// What its maker had applied before the step in which it was made, and after it. In between the order is not known.
    before: Arc<VersionVector>,
    after: Arc<VersionVector>,
}

/// Whether the maker of one write had applied another one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Knew {
    Yes,
    No,
    /// It applied it in the same step.
    Perhaps,
}

impl Made {
    pub fn knew(&self, other: Dot) -> Knew {
        if self.record.dot.node == other.node || self.before.covers(other) {
            Knew::Yes
        } else if self.after.covers(other) {
            Knew::Perhaps
        } else {
            Knew::No
        }
    }
}

#[derive(Default)]
pub struct Chronicle {
    made: BTreeMap<(PartitionId, NodeId, Sequence), Made>,
    by_key: BTreeMap<String, Vec<WriteName>>,
    /// What each node had applied of each partition after the last step.
    stands: BTreeMap<(NodeId, PartitionId), Arc<VersionVector>>,
    /// Writes that a crash took back from their maker, before anybody was told that they are done.
    lost: BTreeMap<String, Vec<Record>>,
    /// Covers every tombstone that any node ever dropped.
    dropped: BTreeMap<PartitionId, VersionVector>,
}

impl Chronicle {
    /// Takes in what a node has done in the last step; gives the writes that it made.
    pub fn observe(&mut self, keyspace: &Eventual) -> Vec<WriteName> {
        let me = keyspace.me();
        let mut new = Vec::new();
        for partition in keyspace.partition_ids() {
            let dropped = keyspace.dropped(partition);
            if !dropped.is_empty() {
                self.dropped.entry(partition).or_default().merge(&dropped);
            }
            let vector = keyspace.vector(partition);
            let before = self.stands.entry((me, partition)).or_default();
            if **before == vector {
                continue;
            }
            let after = Arc::new(vector);
            let before = std::mem::replace(before, after.clone());
            let from = before.sequence(me).next();
            let writes = keyspace.outbox(partition, |outbox| {
                let held = outbox.from(from).expect("an outbox holds the writes of one step");
                held.map(|write| (write.key.clone(), write.record.clone())).collect::<Vec<_>>()
            });
            for (key, record) in writes {
                let key = String::from_utf8_lossy(&key).into_owned();
                let dot = record.dot;
                self.by_key.entry(key.clone()).or_default().push((partition, dot));
                let made = Made { key, record, before: before.clone(), after: after.clone() };
                self.made.insert((partition, dot.node, dot.sequence), made);
                new.push((partition, dot));
            }
        }
        new
    }

    /// A node has come back with what was on its disk, at these vectors. Gives the writes that it made and has not any more:
    /// their dots are given to others from here on.
    pub fn reopen(
        &mut self,
        keyspace: &Eventual,
        vectors: &BTreeMap<PartitionId, VersionVector>,
    ) -> Vec<(WriteName, Made)> {
        let me = keyspace.me();
        let mut lost = Vec::new();
        for (&partition, vector) in vectors {
            let held: BTreeMap<Sequence, Record> = keyspace.outbox(partition, |outbox| {
                let held = outbox.from(outbox.first()).into_iter().flatten();
                held.map(|write| (write.record.dot.sequence, write.record.clone())).collect()
            });
            let first = keyspace.outbox(partition, |outbox| outbox.first());
            let all = (partition, me, Sequence(0))..=(partition, me, Sequence::MAX);
            let is_held = |&(_, _, sequence): &(_, _, Sequence), made: &Made| {
                sequence < first || held.get(&sequence).is_some_and(|record| *record == made.record)
            };
            let gone = self.made.range(all).find(|(place, made)| !is_held(place, made)).map(|(&place, _)| place);
            let mut stand = vector.clone();
            if let Some(from) = gone {
                // What it has made in the meantime is yet to be seen.
                stand.lower(me, Sequence(from.2 .0 - 1));
                let places: Vec<_> =
                    self.made.range(from..=(partition, me, Sequence::MAX)).map(|(&at, _)| at).collect();
                let taken = places.into_iter().filter_map(|place| Some((place.2, self.made.remove(&place)?)));
                lost.extend(taken.map(|(sequence, made)| ((partition, Dot { node: me, sequence }), made)));
            }
            self.stands.insert((me, partition), Arc::new(stand));
        }
        for (name, made) in &lost {
            self.by_key.entry(made.key.clone()).or_default().retain(|other| other != name);
            self.lost.entry(made.key.clone()).or_default().push(made.record.clone());
        }
        lost
    }

    /// The writes of a key with this version that a crash took back.
    pub fn lost_at<'a>(&'a self, key: &str, version: u64) -> impl Iterator<Item = &'a Record> + 'a {
        let lost = self.lost.get(key).into_iter().flatten();
        lost.filter(move |record| record.timestamp.0 == version)
    }

    pub fn get(&self, (partition, dot): WriteName) -> Option<&Made> {
        self.made.get(&(partition, dot.node, dot.sequence))
    }

    /// The writes of a key, by whomever.
    pub fn of_key<'a>(&'a self, key: &str) -> impl Iterator<Item = (WriteName, &'a Made)> + 'a {
        let names = self.by_key.get(key).into_iter().flatten();
        names.filter_map(|&name| Some((name, self.get(name)?)))
    }

    /// The writes of a key with this version: one, but for two nodes that drew the same stamp.
    pub fn at<'a>(&'a self, key: &str, version: u64) -> impl Iterator<Item = (WriteName, &'a Made)> + 'a {
        self.of_key(key).filter(move |(_, made)| made.record.timestamp.0 == version)
    }

    /// The writes of a node.
    pub fn of_node(&self, node: NodeId) -> impl Iterator<Item = (WriteName, &Made)> {
        let own = self.made.iter().filter(move |((_, maker, _), _)| *maker == node);
        own.map(|(&(partition, node, sequence), made)| ((partition, Dot { node, sequence }), made))
    }

    pub fn keys(&self) -> BTreeSet<String> {
        self.by_key.keys().cloned().collect()
    }

    /// The write that decides a key where the vectors are those of this node. Its tombstone may have been dropped, but
    /// what a node holds is a function of its vector.
    pub fn decides(&self, key: &str, keyspace: &Eventual) -> Option<(WriteName, &Made)> {
        let covered = self.of_key(key).filter(|((partition, dot), _)| keyspace.vector(*partition).covers(*dot));
        covered.max_by_key(|(_, made)| made.record.rank())
    }

    /// Whether a tombstone that no `vector` covers has been dropped somewhere.
    pub fn has_dropped_beyond(&self, covers: impl Fn(PartitionId, &VersionVector) -> bool) -> bool {
        self.dropped.iter().any(|(&partition, dropped)| !covers(partition, dropped))
    }

    /// Whether a tombstone may have been dropped.
    pub fn may_be_dropped(&self, (partition, dot): WriteName) -> bool {
        self.dropped.get(&partition).is_some_and(|dropped| dropped.covers(dot))
    }

    /// Whether a node that is in `gone` made writes that this keyspace has not.
    pub fn lacks_of(&self, keyspace: &Eventual, is_gone: impl Fn(NodeId) -> bool) -> bool {
        let mut last: BTreeMap<(PartitionId, NodeId), Sequence> = BTreeMap::new();
        for &(partition, node, sequence) in self.made.keys().filter(|(_, node, _)| is_gone(*node)) {
            last.insert((partition, node), sequence);
        }
        last.into_iter().any(|((partition, node), sequence)| keyspace.position(partition, node) < sequence)
    }
}
