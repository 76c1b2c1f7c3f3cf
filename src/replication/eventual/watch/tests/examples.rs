//! What the laws do not say: waiting, limits, and what a watch costs nobody.

use super::*;

#[test]
fn own_writes_are_needed_at_a_peer_before_they_are_shown() {
    let keyspace = &keyspaces()[0];
    let request = WatchRequest { filter: WatchFilter::All, start: WatchStart::Now };
    let mut reader = Reader::new(keyspace, Space::Default, request, bounds());
    let partition = partition_of(&key(1));
    keyspace.outbox(partition, |outbox| outbox.reached().set_safe(Sequence::ZERO));
    write(keyspace, 1, Some(1));
    let Read::Page { needs, .. } = reader.read(keyspace, false).unwrap() else { panic!("there is an event") };
    assert_eq!(needs, BTreeMap::from([(partition, Sequence(1))]));
    keyspace.outbox(partition, |outbox| outbox.reached().set_safe(Sequence::MAX));
    write(keyspace, 1, Some(2));
    let Read::Page { needs, .. } = reader.read(keyspace, false).unwrap() else { panic!("there is an event") };
    assert!(needs.is_empty(), "alone there is nobody to wait for");
}

#[test]
fn nothing_is_noted_while_nobody_watches() {
    let keyspace = &keyspaces()[0];
    write(keyspace, 1, Some(1));
    let partition = partition_of(&key(1));
    let next = |keyspace: &Eventual| keyspace.read_partition(partition, |partition| partition.sidecar.feed.next());
    assert_eq!(next(keyspace), 0);
    let request = WatchRequest { filter: WatchFilter::All, start: WatchStart::Now };
    let reader = Reader::new(keyspace, Space::Default, request, bounds());
    write(keyspace, 1, Some(1));
    assert_eq!(next(keyspace), 1);
    reader.leave(keyspace);
    let left = next(keyspace);
    write(keyspace, 1, Some(1));
    assert_eq!(next(keyspace), left);
}

#[test]
fn while_fetched_state_is_merged_the_partition_tells_nothing() {
    let keyspaces = keyspaces();
    (0..6).for_each(|key| write(&keyspaces[0], key, Some(key)));
    let mut observer = Observer::begin(&keyspaces, 1, WatchFilter::All, WatchStart::Now);
    let partition = partition_of(&key(1));
    let mut snapshot = Snapshot::take(&keyspaces[0], partition, VersionVector::new());
    keyspaces[1].apply_state(partition, snapshot.next_piece(PieceBounds { records_max: 100, ..bounds().piece }), false);
    observer.read(&keyspaces, usize::MAX, true);
    assert!(observer.shown.is_empty());
    while !snapshot.is_read() {
        keyspaces[1].apply_state(partition, snapshot.next_piece(bounds().piece), false);
    }
    keyspaces[1].adopt_end(partition, &StateEnd { vector: snapshot.vector().clone(), ..StateEnd::default() });
    observer.read(&keyspaces, usize::MAX, true);
    assert!(observer.shown.contains_key(key(1).as_slice()));
}

#[tokio::test]
async fn a_position_that_nobody_can_cover_is_given_up_after_a_grace() {
    let keyspace = keyspaces().remove(0);
    let mut position = WatchPosition::new();
    position.pass(PartitionId(0), Dot { node: NodeId(77), sequence: Sequence(5) });
    let request = WatchRequest { filter: WatchFilter::All, start: WatchStart::After(position.clone()) };
    let mut watcher = Watcher::with_bounds(Arc::clone(&keyspace), request, bounds()).unwrap();
    let began = Instant::now();
    assert_eq!(watcher.next().await.unwrap().events, []);
    assert!(began.elapsed() >= bounds().cover.grace);
    assert_eq!(watcher.position(), Some(position.clone()), "what is gone stays covered");

    // Someone who is connected may still bring it; in the end another node has to do.
    keyspace.listeners().peer_stands(NodeId(77), &BTreeMap::new());
    let request = WatchRequest { filter: WatchFilter::All, start: WatchStart::After(position) };
    let mut watcher = Watcher::with_bounds(keyspace, request, bounds()).unwrap();
    assert_eq!(watcher.next().await.unwrap_err().code(), ErrorCode::Unreachable);
    assert!(began.elapsed() >= bounds().cover.grace + bounds().cover.timeout);
}

#[tokio::test]
async fn an_event_waits_for_a_peer_but_not_for_ever_and_not_twice() {
    let keyspace = keyspaces().remove(0);
    let request = WatchRequest { filter: WatchFilter::All, start: WatchStart::Now };
    let mut watcher = Watcher::with_bounds(Arc::clone(&keyspace), request, bounds()).unwrap();
    watcher.next().await.unwrap();
    let partition = partition_of(&key(1));
    keyspace.outbox(partition, |outbox| outbox.reached().set_safe(Sequence::ZERO));
    write(&keyspace, 1, Some(0));
    let began = Instant::now();
    assert_eq!(watcher.next().await.unwrap().events.len(), 1);
    assert!(began.elapsed() >= bounds().hold_max);
    let began = Instant::now();
    write(&keyspace, 1, Some(1));
    assert_eq!(watcher.next().await.unwrap().events.len(), 1);
    assert!(began.elapsed() < bounds().hold_max);
}

#[test]
fn more_watches_than_the_limit_are_refused() {
    let keyspace = keyspaces().remove(0);
    let watch = || {
        let request = WatchRequest { filter: WatchFilter::All, start: WatchStart::Now };
        Watcher::new(Arc::clone(&keyspace), request)
    };
    let watchers: Vec<_> = (0..crate::limits::WATCHES_PER_NODE_MAX).map(|_| watch().unwrap()).collect();
    assert_eq!(watch().err().map(|error| error.code()), Some(ErrorCode::Overloaded));
    drop(watchers);
    assert!(watch().is_ok());
}

#[tokio::test]
async fn a_removed_node_ends_its_watches_and_begins_none() {
    let keyspace = keyspaces().remove(0);
    let request = WatchRequest { filter: WatchFilter::All, start: WatchStart::Now };
    let mut watcher = Watcher::new(keyspace.clone(), request.clone()).unwrap();
    watcher.next().await.unwrap();
    // The watch waits already when the node learns of it.
    let (ended, ()) = tokio::join!(watcher.next(), async { keyspace.refuse_writes() });
    assert_eq!(ended.unwrap_err().code(), crate::error::ErrorCode::MemberRemoved);
    let refused = Watcher::new(keyspace, request).unwrap().next().await;
    assert_eq!(refused.unwrap_err().code(), crate::error::ErrorCode::MemberRemoved);
}
