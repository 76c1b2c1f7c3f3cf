//! Laws of a watch: whatever is written, pushed, transferred and resumed in whatever order, a watcher that has come to
//! rest knows what the keyspace holds, and no key of its ever went back.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use proptest::prelude::*;

use super::*;
use crate::{
    env::SimulatedClock,
    error::ErrorCode,
    replication::eventual::{CoverBounds, FeedBounds, OutboxBounds, PieceBounds, Snapshot},
    storage::partition_of,
    types::{
        Command, CommandKind, Dot, Key, NodeId, PartitionChanges, StateEnd, Timestamp, Value, VersionVector,
        WatchChange, WatchEvent, WatchFilter,
    },
};

const NODES: usize = 3;

/// So small that everything overflows.
fn bounds() -> WatchBounds {
    WatchBounds {
        feed: FeedBounds { entries_max: 3, bytes_max: 1000 },
        piece: PieceBounds { records_max: 2, visits_max: 3, bytes_target: usize::MAX },
        visits_max: 2,
        events_max: 2,
        bytes_target: 1000,
        hold_max: Duration::from_millis(60),
        cover: CoverBounds { grace: Duration::from_millis(40), timeout: Duration::from_millis(120) },
    }
}

fn keyspaces() -> Vec<Arc<Eventual>> {
    let bounds = OutboxBounds { bytes_max: 1 << 20, writes_max: 1000, spare_writes: 1000 };
    let keyspace = |node| Eventual::with_outbox_bounds(NodeId(node), Arc::new(SimulatedClock::new(1)), bounds);
    (1..=NODES as u64).map(|node| Arc::new(keyspace(node))).collect()
}

/// One of few keys, which share two partitions.
fn key(number: u8) -> Key {
    let mut keys = (0..=u8::MAX).filter(|&byte| partition_of(&[byte]).0 < 2);
    Key::new(&[keys.nth(number.into()).unwrap()]).unwrap()
}

fn write(keyspace: &Eventual, number: u8, value: Option<u8>) {
    let kind = value.map_or(CommandKind::Delete, |value| CommandKind::Put {
        value: Value::new(&[value]).unwrap(),
        flags: 0,
        ttl_ms: None,
    });
    keyspace.write(Command { key: key(number), kind }).unwrap();
}

/// Brings all own writes of one to another, by pushes.
fn push(from: &Eventual, to: &Eventual) {
    for partition in from.partition_ids() {
        loop {
            let first = to.position(partition, from.me()).next();
            let stretch: PartitionChanges = from.own_changes(partition, first, (3, usize::MAX)).unwrap();
            if stretch.changes.is_empty() {
                break;
            }
            to.apply_changes(from.me(), stretch);
        }
    }
}

/// Brings everything from one to another, as state.
fn transfer(from: &Arc<Eventual>, to: &Eventual) {
    for partition in from.partition_ids() {
        let mut snapshot = Snapshot::take(from, partition, to.vector(partition));
        while !snapshot.is_read() {
            let piece = snapshot.next_piece(bounds().piece);
            to.admit_state(&piece).unwrap();
            to.apply_state(partition, piece, false);
        }
        to.adopt_end(partition, &StateEnd { vector: snapshot.vector().clone(), ..StateEnd::default() });
    }
}

/// What decides a merge, and the value, by key.
type Contents = BTreeMap<Vec<u8>, ((Timestamp, NodeId), Option<Vec<u8>>)>;

/// Whoever watches: what it was shown, and where it stands.
struct Observer {
    filter: WatchFilter,
    position: WatchPosition,
    shown: Contents,
    order: Vec<(PartitionId, Dot)>,
    reader: Option<(usize, Reader)>,
}

impl Observer {
    fn begin(keyspaces: &[Arc<Eventual>], at: usize, filter: WatchFilter, start: WatchStart) -> Observer {
        let request = WatchRequest { filter: filter.clone(), start };
        let reader = Reader::new(&keyspaces[at], Space::Default, request, bounds());
        let mut position = WatchPosition::new();
        reader.first_page().advance(&mut position);
        Observer { filter, position, shown: BTreeMap::new(), order: Vec::new(), reader: Some((at, reader)) }
    }

    fn take(&mut self, page: &WatchPage) {
        for event in &page.events {
            self.see(event);
        }
        page.advance(&mut self.position);
    }

    /// The laws that hold at each event.
    fn see(&mut self, event: &WatchEvent) {
        assert!(self.filter.wants(event.key()), "{event:?} was not asked for");
        let before = self.position.clone();
        assert!(!before.vector(event.partition).covers(event.dot), "{event:?} was covered before: a position repeats");
        assert!(!self.order.contains(&(event.partition, event.dot)), "{event:?} comes twice");
        self.order.push((event.partition, event.dot));
        let value = match &event.change {
            WatchChange::Put(entry) => Some(entry.value.to_vec()),
            WatchChange::Delete { .. } | WatchChange::Expire { .. } => None,
        };
        let rank = (event.version(), event.dot.node);
        if let Some((former, _)) = self.shown.insert(event.key().to_vec(), (rank, value)) {
            assert!(former < rank, "{event:?} goes back from {former:?}");
        }
        self.position.pass(event.partition, event.dot);
    }

    /// Reads at most so many pieces, or until there is nothing.
    fn read(&mut self, keyspaces: &[Arc<Eventual>], pieces: usize, marks: bool) {
        let Some((at, mut reader)) = self.reader.take() else { return };
        for _ in 0..pieces {
            match reader.read(&keyspaces[at], marks).unwrap() {
                Read::Page { page, .. } => self.take(&page),
                Read::More => {}
                Read::Nothing => break,
            }
        }
        self.reader = Some((at, reader));
    }

    /// Goes on at another node with nothing but the position, once that node has caught up with it.
    fn resume(&mut self, keyspaces: &[Arc<Eventual>], to: usize) {
        let Some((at, reader)) = self.reader.take() else { return };
        reader.leave(&keyspaces[at]);
        let covers = |keyspace: &Eventual| {
            self.position.iter().all(|(partition, vector)| keyspace.vector(partition).covers_all(vector))
        };
        if !covers(&keyspaces[to]) {
            transfer(&keyspaces[at], &keyspaces[to]);
        }
        assert!(covers(&keyspaces[to]), "a node is never behind what it has shown");
        let request = WatchRequest { filter: self.filter.clone(), start: WatchStart::After(self.position.clone()) };
        self.reader = Some((to, Reader::new(&keyspaces[to], Space::Default, request, bounds())));
    }
}

#[derive(Clone, Debug)]
enum Step {
    Write { at: usize, key: u8, value: Option<u8> },
    Push { from: usize, to: usize },
    Transfer { from: usize, to: usize },
    Read { pieces: usize, marks: bool },
    Resume { at: usize },
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        8 => (0..NODES, 0u8..6, any::<Option<u8>>()).prop_map(|(at, key, value)| Step::Write { at, key, value }),
        3 => (0..NODES, 0..NODES).prop_map(|(from, to)| Step::Push { from, to }),
        2 => (0..NODES, 0..NODES).prop_map(|(from, to)| Step::Transfer { from, to }),
        5 => (0usize..6, any::<bool>()).prop_map(|(pieces, marks)| Step::Read { pieces, marks }),
        1 => (0..NODES).prop_map(|at| Step::Resume { at }),
    ];
    prop::collection::vec(step, 0..80)
}

fn filters() -> impl Strategy<Value = WatchFilter> {
    prop_oneof![
        2 => Just(WatchFilter::All),
        1 => (0u8..6).prop_map(|number| WatchFilter::Key(key(number))),
        1 => (0u8..6).prop_map(|number| WatchFilter::Prefix(key(number).to_vec())),
    ]
}

fn run(keyspaces: &[Arc<Eventual>], observer: &mut Observer, steps: Vec<Step>) {
    for step in steps {
        match step {
            Step::Write { at, key, value } => write(&keyspaces[at], key, value),
            Step::Push { from, to } if from != to => push(&keyspaces[from], &keyspaces[to]),
            Step::Transfer { from, to } if from != to => transfer(&keyspaces[from], &keyspaces[to]),
            Step::Push { .. } | Step::Transfer { .. } => {}
            Step::Read { pieces, marks } => observer.read(keyspaces, pieces, marks),
            Step::Resume { at } => observer.resume(keyspaces, at),
        }
    }
    for (from, to) in (0..NODES).flat_map(|from| (0..NODES).map(move |to| (from, to))).filter(|(from, to)| from != to) {
        push(&keyspaces[from], &keyspaces[to]);
    }
    observer.read(keyspaces, usize::MAX, true);
}

/// What a keyspace holds of the keys that a filter wants, deletes included.
fn contents(keyspace: &Eventual, filter: &WatchFilter) -> Contents {
    let mut contents = BTreeMap::new();
    for partition in keyspace.partition_ids() {
        keyspace.records(partition, |records| {
            for (key, record) in records.after(None).filter(|(key, _)| filter.wants(key)) {
                let value = record.value.map(|value| value.to_vec());
                contents.insert(key.to_vec(), (record.rank(), value));
            }
        });
    }
    contents
}

proptest! {
    #[test]
    fn a_watch_from_before_every_write_ends_with_what_is_there(steps in steps(), filter in filters(), at in 0..NODES) {
        let keyspaces = keyspaces();
        let start = WatchStart::After(WatchPosition::new());
        let mut observer = Observer::begin(&keyspaces, at, filter, start);
        run(&keyspaces, &mut observer, steps);
        prop_assert_eq!(&observer.shown, &contents(&keyspaces[0], &observer.filter));
        for (partition, vector) in observer.position.iter() {
            prop_assert_eq!(vector, &keyspaces[0].vector(partition));
        }
    }

    #[test]
    fn a_watch_from_now_on_tells_of_all_that_changed_since(
        before in steps(), after in steps(), filter in filters(), at in 0..NODES,
    ) {
        let keyspaces = keyspaces();
        let mut nobody = Observer::begin(&keyspaces, 0, WatchFilter::All, WatchStart::Now);
        run(&keyspaces, &mut nobody, before);
        let then = contents(&keyspaces[0], &filter);
        let mut observer = Observer::begin(&keyspaces, at, filter, WatchStart::Now);
        run(&keyspaces, &mut observer, after);
        let mut expected = contents(&keyspaces[0], &observer.filter);
        expected.retain(|key, state| then.get(key) != Some(state));
        prop_assert_eq!(&observer.shown, &expected);
    }

    #[test]
    fn an_initial_watch_begins_with_the_values_that_are_there(before in steps(), after in steps(), filter in filters()) {
        let keyspaces = keyspaces();
        let mut nobody = Observer::begin(&keyspaces, 0, WatchFilter::All, WatchStart::Now);
        run(&keyspaces, &mut nobody, before);
        let mut expected = contents(&keyspaces[1], &filter);
        expected.retain(|_, (_, value)| value.is_some());
        let request = WatchRequest { filter: filter.clone(), start: WatchStart::Initial };
        let mut reader = Reader::new(&keyspaces[1], Space::Default, request, bounds());
        let mut observer = Observer::begin(&keyspaces, 1, filter, WatchStart::Initial);
        loop {
            match reader.read(&keyspaces[1], true).unwrap() {
                Read::Page { page, .. } => {
                    prop_assert!(page.events.iter().all(|event| event.is_initial));
                    observer.take(&page);
                    if page.is_initial_done { break; }
                }
                Read::More => {}
                Read::Nothing => prop_assert!(false, "the initial values end without saying so"),
            }
        }
        prop_assert_eq!(&observer.shown, &expected);
        let (at, own) = observer.reader.replace((1, reader)).unwrap();
        own.leave(&keyspaces[at]);
        run(&keyspaces, &mut observer, after);
        let mut shown = observer.shown.clone();
        shown.retain(|_, (_, value)| value.is_some());
        let mut expected = contents(&keyspaces[0], &observer.filter);
        expected.retain(|_, (_, value)| value.is_some());
        prop_assert_eq!(shown, expected);
    }

    #[test]
    fn from_any_events_position_another_node_tells_exactly_the_rest(steps in steps(), later in steps()) {
        let keyspaces = keyspaces();
        let mut nobody = Observer::begin(&keyspaces, 0, WatchFilter::All, WatchStart::Now);
        run(&keyspaces, &mut nobody, steps);
        let start = WatchStart::After(WatchPosition::new());
        let mut observer = Observer::begin(&keyspaces, 0, WatchFilter::All, start);
        observer.read(&keyspaces, usize::MAX, false);
        let order = observer.order.clone();
        let mut position = WatchPosition::new();
        for (count, &(partition, dot)) in order.iter().enumerate() {
            position.pass(partition, dot);
            let start = WatchStart::After(position.clone());
            let mut rest = Observer::begin(&keyspaces, 1, WatchFilter::All, start);
            rest.position = position.clone();
            rest.read(&keyspaces, usize::MAX, false);
            rest.order.sort_unstable();
            let mut expected = order[count + 1..].to_vec();
            expected.sort_unstable();
            prop_assert_eq!(rest.order, expected);
        }
        run(&keyspaces, &mut observer, later);
        prop_assert_eq!(&observer.shown, &contents(&keyspaces[2], &WatchFilter::All));
    }
}

mod examples;
