//! Keyspaces share an engine and nothing else; what a dropped one leaves goes, wherever it comes from.

use std::{sync::Arc, time::Duration};

use super::*;
use crate::{
    env::SimulatedClock,
    replication::{eventual::Watcher, execute_in},
    storage::partition_of,
    types::{
        Answer, Command, CommandKind, Consistency, DefaultKeyspace, Edition, NodeId, Operation, PageRequest, Sequence,
        Value, WatchFilter, WatchRequest, WatchStart,
    },
};

const GROUP: u64 = 0xff00_ff00_ff00_ff01;

fn id(keyspace: u32) -> SpaceId {
    SpaceId { group: GROUP, keyspace }
}

fn space(keyspace: u32) -> Space {
    Space::Named(id(keyspace))
}

/// So many were made, of which these are left.
fn catalogue(made: u64, left: &[(&str, u32)]) -> Catalogue {
    let edition = Edition { made, dropped: made - left.len() as u64 };
    let mut catalogue = Catalogue { edition, group: Some(GROUP), ..Catalogue::default() };
    for (name, keyspace) in left {
        catalogue.list(name, Listed::Eventual { space: id(*keyspace), keep_conflicts: 10 });
    }
    catalogue
}

fn node(number: u64) -> (Arc<Eventual>, Arc<SimulatedClock>) {
    let clock = Arc::new(SimulatedClock::new(1_000_000));
    (Arc::new(Eventual::new(NodeId(number), clock.clone())), clock)
}

fn key(bytes: &[u8]) -> Key {
    Key::new(bytes).unwrap()
}

fn put(node: &Eventual, space: Space, bytes: &[u8], value: &str) {
    let kind = CommandKind::Put { value: Value::new(value.as_bytes()).unwrap(), flags: 0, ttl_ms: None };
    execute_in(node, space, Operation::Write(Command { key: key(bytes), kind })).unwrap();
}

fn get(node: &Eventual, space: Space, bytes: &[u8]) -> Option<(Vec<u8>, String)> {
    let answer = execute_in(node, space, Operation::Get { key: key(bytes), metadata_only: false });
    let Ok(Answer::Entry(entry)) = answer else { panic!("no entry: {answer:?}") };
    entry.map(|entry| (entry.key.to_vec(), String::from_utf8(entry.value.to_vec()).unwrap()))
}

fn scan(node: &Eventual, space: Space, reverse: bool) -> Vec<Vec<u8>> {
    let page = PageRequest { range: KeyRange::default(), reverse, keys_max: 100, bytes_target: usize::MAX };
    let Ok(Answer::Page(page)) = execute_in(node, space, Operation::Scan { page, keys_only: false }) else {
        panic!("no page")
    };
    page.entries.iter().map(|entry| entry.key.to_vec()).collect()
}

fn count(node: &Eventual, space: Space) -> u64 {
    match execute_in(node, space, Operation::Count(KeyRange::default())) {
        Ok(Answer::Count(count)) => count,
        other => panic!("no count: {other:?}"),
    }
}

/// Looks through all partitions until there is nothing more to be done now.
fn sweep(node: &Eventual) {
    for _ in 0..20 {
        node.partition_ids().for_each(|partition| node.sweep_dropped(partition, true));
    }
}

/// All that `from` wrote and `to` has not got is pushed.
fn push(from: &Eventual, to: &Eventual) {
    for partition in from.partition_ids() {
        let first = to.position(partition, from.me()).next();
        let changes = from.own_changes(partition, first, (10_000, usize::MAX)).unwrap();
        if !changes.changes.is_empty() {
            to.apply_changes(from.me(), changes);
        }
    }
}

#[test]
fn the_same_key_is_another_one_in_each_keyspace() {
    let (node, _) = node(1);
    let spaces = [Space::Default, space(1), space(2)];
    let keys: [&[u8]; 5] = [b"a", b"\xff", b"\xff\x00", b"\xff\x01", &id(1).prefix()];
    for (number, space) in spaces.into_iter().enumerate() {
        keys.iter().for_each(|bytes| put(&node, space, bytes, &number.to_string()));
    }
    for (number, space) in spaces.into_iter().enumerate() {
        for bytes in keys {
            assert_eq!(get(&node, space, bytes), Some((bytes.to_vec(), number.to_string())), "{space:?} {bytes:?}");
        }
        assert_eq!(scan(&node, space, false), keys.map(<[u8]>::to_vec));
        assert_eq!(scan(&node, space, true), keys.map(<[u8]>::to_vec).into_iter().rev().collect::<Vec<_>>());
        assert_eq!(count(&node, space), 5);
    }
    let delete = Operation::Write(Command { key: key(b"\xff"), kind: CommandKind::Delete });
    execute_in(&node, space(1), delete).unwrap();
    assert_eq!(spaces.map(|space| count(&node, space)), [5, 4, 5]);
    assert!(node.has_default());
    let ttl = CommandKind::Put { value: Value::new(b"v").unwrap(), flags: 0, ttl_ms: Some(1000) };
    execute_in(&node, space(2), Operation::Write(Command { key: key(b"t"), kind: ttl })).unwrap();
    assert_eq!(spaces.map(|space| count(&node, space)), [5, 4, 6], "where something expires nothing is subtracted");
}

#[test]
fn a_strong_default_hides_no_other_keyspace() {
    let (node, _) = node(1);
    node.set_default_keyspace(DefaultKeyspace::from(Consistency::Strong));
    put(&node, space(1), b"k", "v");
    assert_eq!(get(&node, space(1), b"k"), Some((b"k".to_vec(), "v".to_string())));
    let refused = execute_in(&node, Space::Default, Operation::Count(KeyRange::default())).unwrap_err();
    assert_eq!(refused.code(), ErrorCode::DefaultIsStrong);
    assert!(!node.has_default());
    assert!(node.holdings().is_empty(), "the node has heard of no name");
}

#[test]
fn names_are_known_from_the_latest_catalogue_alone() {
    let (node, _) = node(1);
    assert_eq!(
        (node.space_named(""), node.space_named("default")),
        (Ok(Some(Space::Default)), Ok(Some(Space::Default)))
    );
    assert_eq!(node.space_named("jobs"), Ok(None));
    assert_eq!(node.space_named(&"x".repeat(65)).unwrap_err().code(), ErrorCode::InvalidArgument);
    let mut later = catalogue(3, &[("jobs", 3)]);
    later.list("bank", Listed::Strong);
    node.take_catalogue(later);
    node.take_catalogue(catalogue(2, &[("jobs", 2)]));
    assert_eq!(node.space_named("jobs"), Ok(Some(space(3))));
    assert_eq!(node.space_named("bank").unwrap_err().code(), ErrorCode::KeyspaceIsStrong);
    assert_eq!(node.space_settled("none").unwrap_err().code(), ErrorCode::UnknownKeyspace);
    put(&node, space(3), b"key", "value");
    put(&node, Space::Default, b"k", "v");
    let holdings = node.holdings();
    let found: Vec<_> = holdings.iter().map(|held| (held.keyspace.as_str(), held.keys)).collect();
    assert_eq!(found, [("default", 1), ("jobs", 1)]);
    assert_eq!((holdings[0].bytes, holdings[1].bytes), (2, 8 + crate::types::SPACE_PREFIX_BYTES as u64));
}

#[test]
fn what_a_dropped_keyspace_leaves_is_deleted_and_nothing_else() {
    let (node, _) = node(1);
    node.take_catalogue(catalogue(2, &[("a", 1), ("b", 2)]));
    let foreign = Space::Named(SpaceId { group: GROUP + 1, keyspace: 1 });
    for number in 0..2000 {
        let bytes = format!("k{number}");
        [Space::Default, space(1), space(2), space(3), foreign]
            .into_iter()
            .for_each(|space| put(&node, space, bytes.as_bytes(), "v"));
    }
    sweep(&node);
    let counts = || [Space::Default, space(1), space(2), space(3), foreign].map(|space| count(&node, space));
    assert_eq!(counts(), [2000; 5]);
    node.take_catalogue(catalogue(2, &[("b", 2)]));
    sweep(&node);
    assert_eq!(counts(), [2000, 0, 2000, 2000, 2000], "3 was made by others, and this node has not heard of it yet");
    assert_eq!(node.expired(), 0);
    assert!(node.all_conflicts().is_empty());
}

#[test]
fn what_comes_late_from_a_node_that_has_not_heard_goes_too() {
    let ((one, clock), (late, late_clock)) = (node(1), node(2));
    [&one, &late].into_iter().for_each(|node| node.take_catalogue(catalogue(1, &[("a", 1)])));
    put(&one, space(1), b"k", "by one");
    push(&one, &late);
    one.take_catalogue(catalogue(1, &[]));
    sweep(&one);
    late_clock.advance(Duration::from_secs(1));
    put(&late, space(1), b"k", "later");
    put(&late, space(1), b"new", "later");
    push(&one, &late);
    assert_eq!(get(&late, space(1), b"k").unwrap().1, "later", "a later write wins against the sweep of an earlier");
    push(&late, &one);
    assert_eq!(count(&one, space(1)), 2);
    clock.advance(SPACE_PAUSE);
    sweep(&one);
    push(&one, &late);
    assert_eq!((count(&one, space(1)), count(&late, space(1))), (0, 0));
    assert_eq!(one.digests(), late.digests());
    assert!(late.all_conflicts().is_empty(), "a sweep is no client's write");
}

/// Longer than a partition is left alone.
const SPACE_PAUSE: Duration = Duration::from_secs(31);

#[test]
fn a_write_that_came_before_the_sweep_of_an_earlier_one_stays_gone() {
    let ((one, _), (other, _)) = (node(1), node(2));
    put(&one, space(1), b"k", "v");
    push(&one, &other);
    one.take_catalogue(catalogue(1, &[]));
    other.take_catalogue(catalogue(1, &[]));
    sweep(&one);
    sweep(&other);
    push(&one, &other);
    push(&other, &one);
    let held = space(1).held(key(b"k"));
    assert_eq!([&one, &other].map(|node| count(node, space(1))), [0, 0]);
    let record =
        |node: &Eventual| node.records(partition_of(&held), |records| records.get(&held).map(|r| r.to_record()));
    assert_eq!(record(&one), record(&other), "both have swept, and one of the two tombstones has won");
    assert!(record(&one).unwrap().is_sweep());
    assert!(one.position(partition_of(&held), other.me()) > Sequence(0));
}

#[tokio::test]
async fn a_watch_sees_its_keyspace_alone_and_ends_when_that_is_dropped() {
    let (node, _) = node(1);
    node.take_catalogue(catalogue(2, &[("a", 1), ("b", 2)]));
    let watch = |space, filter: WatchFilter| {
        let request = WatchRequest { filter, start: WatchStart::Initial };
        Watcher::new_in(node.clone(), space, request).unwrap()
    };
    [Space::Default, space(1), space(2)].into_iter().for_each(|space| put(&node, space, b"\xff\x01", "first"));
    let filters = [WatchFilter::All, WatchFilter::Key(key(b"\xff\x01")), WatchFilter::Prefix(b"\xff".to_vec())];
    for space in [Space::Default, space(1)] {
        for filter in filters.clone() {
            let mut watcher = watch(space, filter);
            let (mut seen, mut is_done) = (Vec::new(), false);
            while !is_done {
                let page = watcher.next().await.unwrap();
                is_done = page.is_initial_done;
                seen.extend(page.events.iter().map(|event| event.key().to_vec()));
            }
            assert_eq!(seen, [b"\xff\x01"], "{space:?}");
        }
    }
    let mut watcher = watch(space(1), WatchFilter::All);
    while !watcher.next().await.unwrap().is_initial_done {}
    put(&node, space(2), b"other", "v");
    put(&node, Space::Default, b"other", "v");
    put(&node, space(1), b"mine", "v");
    let events = loop {
        let page = watcher.next().await.unwrap();
        if !page.events.is_empty() {
            break page.events;
        }
    };
    assert_eq!(events.iter().map(|event| event.key().to_vec()).collect::<Vec<_>>(), [b"mine"]);
    node.take_catalogue(catalogue(2, &[("b", 2)]));
    let ended = loop {
        if let Err(error) = watcher.next().await {
            break error;
        }
    };
    assert_eq!(ended.code(), ErrorCode::UnknownKeyspace);
}
