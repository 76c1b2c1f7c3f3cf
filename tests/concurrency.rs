//! The store under thousands of seeded schedules of its threads: what ships, with its locks and atomics replaced by
//! shuttle's (`src/sync.rs`). A failure prints the schedule that `shuttle::replay` runs again.
//!
//! `cargo test --features shuttle --test concurrency`

use std::{
    io::Write,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
};

use kvstore::{
    env::SimulatedClock,
    replication::eventual::{Applied, Eventual, PieceBounds, Snapshot},
    storage::partition_of,
    types::{
        Change, Command, CommandKind, Key, KeyRange, NodeId, PageRequest, PartitionChanges, PartitionId, Record,
        Sequence, StateEnd, StateRecord, Timestamp, Value, VersionVector,
    },
};
use shuttle::{future::block_on, thread};

const ME: NodeId = NodeId(1);
const PEER: NodeId = NodeId(2);
const NOW_MS: u64 = 1_000;

/// Schedules of each test that choose at random, and that change priorities at a few points (PCT).
const RANDOM_SCHEDULES: usize = 10_000;
const PCT_SCHEDULES: usize = 5_000;
const PCT_DEPTH: usize = 3;

/// Runs one test under all its schedules and says how many there were.
fn explore(name: &str, test: fn()) {
    static SCHEDULES: AtomicUsize = AtomicUsize::new(0);
    let counted = move || {
        SCHEDULES.fetch_add(1, Ordering::Relaxed);
        test();
    };
    shuttle::check_random(counted, RANDOM_SCHEDULES);
    shuttle::check_pct(counted, PCT_SCHEDULES, PCT_DEPTH);
    let all = SCHEDULES.load(Ordering::Relaxed);
    // Past the capture of output, so that the counts are seen when all is well.
    writeln!(std::io::stderr(), "{name}: {} schedules ({all} so far)", RANDOM_SCHEDULES + PCT_SCHEDULES)
        .expect("standard error can be written");
}

fn keyspace() -> Arc<Eventual> {
    Arc::new(Eventual::new(ME, Arc::new(SimulatedClock::new(NOW_MS))))
}

/// The partition in which most of the tests' keys lie, so that threads meet.
fn partition() -> PartitionId {
    partition_of(b"key 0")
}

/// The first keys in [`partition`].
fn key(number: usize) -> Key {
    let candidates = (0..).map(|n| format!("key {n}").into_bytes());
    let bytes = candidates.filter(|bytes| partition_of(bytes) == partition()).nth(number);
    Key::new(&bytes.expect("the candidates do not end")).expect("a short key is within the bounds")
}

/// A value that shows when it was torn: its flags, its length and each of its bytes are the tag.
fn value(tag: u8) -> Value {
    Value::new(&vec![tag; usize::from(tag)]).expect("a short value is within the bounds")
}

fn put(key: Key, tag: u8) -> Command {
    Command { key, kind: CommandKind::Put { value: value(tag), flags: u32::from(tag), ttl_ms: None } }
}

fn delete(key: Key) -> Command {
    Command { key, kind: CommandKind::Delete }
}

fn assert_whole(record: &Record) {
    let Some(bytes) = &record.value else { return };
    let tag = record.flags as u8;
    assert!(bytes.len() == usize::from(tag) && bytes.iter().all(|&byte| byte == tag), "torn: {record:?} {bytes:?}");
}

/// What the peer wrote: its stamps lie around those that this node draws.
fn peer_changes() -> Vec<Change> {
    let change = |(number, stamp): (usize, u64)| Change {
        key: key(number),
        value: Some(value(200 + stamp as u8)),
        flags: 200 + stamp as u32,
        timestamp: Timestamp(Timestamp::from_millis(NOW_MS).0 + stamp),
        expires_ms: None,
    };
    [(0, 1), (1, 2), (0, 4)].into_iter().map(change).collect()
}

fn stretch(first: usize, last: usize) -> PartitionChanges {
    PartitionChanges {
        partition: partition(),
        first_sequence: Sequence(first as u64),
        seen: Vec::new(),
        changes: peer_changes()[first - 1..last].to_vec(),
    }
}

/// Everything a vector covers is in the map, as it was written or under a later write.
fn assert_vector_is_honest(store: &Eventual) {
    let vector = store.vector(partition());
    let own = store.outbox(partition(), |outbox| {
        let writes = outbox.from(outbox.first()).expect("the ring reaches back to its first");
        writes.map(|write| (write.key.clone(), write.record.rank(), write.record.dot)).collect::<Vec<_>>()
    });
    let peers = peer_changes().into_iter().zip(1..).map(|(change, sequence)| {
        let dot = kvstore::types::Dot { node: PEER, sequence: Sequence(sequence) };
        (change.key, (change.timestamp, PEER), dot)
    });
    for (key, rank, dot) in own.into_iter().chain(peers).filter(|&(_, _, dot)| vector.covers(dot)) {
        let held = store.records(partition(), |records| records.get(&key).map(|record| record.rank()));
        assert!(held.is_some_and(|held| held >= rank), "{dot:?} is covered, {key:?} is at {held:?}, not {rank:?}");
    }
}

/// Own writes count up by one, and their stamps grow in the same order.
fn assert_outbox_in_order(store: &Eventual, partition: PartitionId) {
    store.outbox(partition, |outbox| {
        let writes = outbox.from(outbox.first()).expect("the ring reaches back to its first");
        let (mut sequence, mut latest) = (outbox.first(), Timestamp::ZERO);
        for write in writes {
            assert_eq!(write.record.dot.sequence, sequence, "a gap in the outbox");
            assert!(write.record.timestamp > latest, "{} after {latest}", write.record.timestamp);
            (sequence, latest) = (sequence.next(), write.record.timestamp);
        }
        assert_eq!(sequence, outbox.last().next());
    });
}

/// A snapshot's records, read in pieces of one each so that writers come between, and the vector that covers them.
fn snapshot_of(store: &Arc<Eventual>) -> (Vec<StateRecord>, VersionVector) {
    let mut snapshot = Snapshot::take(store, partition(), VersionVector::new());
    let mut found = Vec::new();
    while !snapshot.is_read() {
        found.extend(snapshot.next_piece(PieceBounds { records_max: 1, visits_max: 100, bytes_target: usize::MAX }));
    }
    (found, snapshot.vector().clone())
}

fn join(threads: Vec<thread::JoinHandle<()>>) {
    for thread in threads {
        thread.join().expect("no thread of a test panics");
    }
}

#[test]
fn records_sequences_and_vectors_hold_together_under_writers_and_a_peer() {
    explore("writers, a peer, an observer", || {
        let store = keyspace();
        let (a, b, peer, observer) = (store.clone(), store.clone(), store.clone(), store.clone());
        join(vec![
            thread::spawn(move || {
                a.write(put(key(0), 1)).unwrap();
                a.write(delete(key(1))).unwrap();
            }),
            thread::spawn(move || {
                b.write(put(key(0), 2)).unwrap();
                b.write(put(key(1), 3)).unwrap();
            }),
            thread::spawn(move || {
                assert_eq!(peer.apply_changes(PEER, stretch(1, 2)), Applied::UpTo(Sequence(2)));
                // Resent from the start, as after a lost connection.
                assert_eq!(peer.apply_changes(PEER, stretch(1, 3)), Applied::UpTo(Sequence(3)));
            }),
            thread::spawn(move || {
                for _ in 0..2 {
                    assert_vector_is_honest(&observer);
                    assert_outbox_in_order(&observer, partition());
                    observer.read(&key(0)).iter().for_each(assert_whole);
                }
            }),
        ]);
        assert_vector_is_honest(&store);
        assert_outbox_in_order(&store, partition());
        assert_eq!(store.vector(partition()).sequence(ME), Sequence(4));
        assert_eq!(store.vector(partition()).sequence(PEER), Sequence(3));
        assert_eq!(store.stats().keys + store.stats().tombstones, 2);
    });
}

#[test]
fn pages_and_state_show_whole_records_in_order_while_others_write() {
    explore("a writer, a peer, a scanner, a state transfer", || {
        let store = keyspace();
        let stays = Key::new(b"stays, in whatever partition").unwrap();
        store.write(put(stays.clone(), 9)).unwrap();
        store.write(put(key(2), 8)).unwrap();
        let (writer, peer, scanner, sender) = (store.clone(), store.clone(), store.clone(), store.clone());
        join(vec![
            thread::spawn(move || {
                writer.write(put(key(0), 1)).unwrap();
                writer.write(delete(key(0))).unwrap();
            }),
            thread::spawn(move || {
                peer.apply_changes(PEER, stretch(1, 3));
            }),
            thread::spawn(move || {
                let range = KeyRange::default();
                let request = PageRequest { range, reverse: false, keys_max: 10, bytes_target: usize::MAX };
                let page = scanner.page(&request);
                page.entries.iter().for_each(|(_, record)| assert_whole(record));
                assert!(page.entries.windows(2).all(|pair| pair[0].0 < pair[1].0), "out of order: {page:?}");
                for key in [&stays, &key(2)] {
                    assert!(page.entries.iter().any(|(found, _)| found == key), "{key:?} is missing: {page:?}");
                }
                assert!(!page.more && (2..=4).contains(&scanner.count(&KeyRange::default())));
            }),
            thread::spawn(move || {
                let (state, vector) = snapshot_of(&sender);
                assert!(state.windows(2).all(|pair| pair[0].key < pair[1].key), "out of order: {state:?}");
                state.iter().for_each(|state| assert_whole(&state.record));
                // What the vector covered when the transfer began arrives: the receiver may adopt that vector.
                let receiver = Eventual::new(NodeId(3), Arc::new(SimulatedClock::new(NOW_MS)));
                receiver.admit_state(&state).expect("all clocks agree");
                receiver.apply_state(partition(), state, false);
                receiver.adopt_end(partition(), &StateEnd { vector: vector.clone(), ..StateEnd::default() });
                assert!(receiver.read(&key(2)).is_some(), "covered by {vector:?}");
                assert_vector_is_honest(&receiver);
            }),
        ]);
    });
}

#[test]
fn a_lost_write_is_recorded_once_and_one_that_wins_is_not() {
    explore("a writer, a peer that has not seen it, and a reader of conflicts", || {
        let store = keyspace();
        let (writer, peer, reader) = (store.clone(), store.clone(), store.clone());
        join(vec![
            thread::spawn(move || {
                writer.write(put(key(0), 1)).unwrap();
            }),
            thread::spawn(move || {
                peer.apply_changes(PEER, stretch(1, 3));
            }),
            thread::spawn(move || assert!(reader.all_conflicts().len() <= 1)),
        ]);
        let has_lost = store.read(&key(0)).is_some_and(|record| record.dot.node == PEER);
        let recorded = store.all_conflicts();
        assert_eq!(recorded.len(), usize::from(has_lost), "{recorded:?}");
        assert_eq!(store.conflict_counts().recorded, u64::from(has_lost));
    });
}

#[test]
fn every_write_is_told_to_the_replica() {
    explore("two writers and the replica", || {
        let store = keyspace();
        let other = Key::new(b"in another partition").unwrap();
        let (a, b) = (store.clone(), store.clone());
        let writers = vec![
            thread::spawn(move || {
                a.write(put(key(0), 1)).unwrap();
                a.write(put(key(1), 2)).unwrap();
            }),
            thread::spawn(move || {
                b.write(put(other, 3)).unwrap();
                b.write(delete(key(0))).unwrap();
            }),
        ];
        // A lost wake-up leaves this waiting for ever, which shuttle reports as a deadlock.
        block_on(async {
            let seen = || store.partition_ids().map(|id| store.vector(id).sequence(ME).0).sum::<u64>();
            while seen() < 4 {
                store.news().await;
            }
        });
        join(writers);
        store.partition_ids().for_each(|id| assert_outbox_in_order(&store, id));
    });
}
