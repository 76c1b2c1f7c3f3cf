//! Laws of the merge: in whatever order, however often and in whatever pieces writes arrive, the outcome is one.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    env::SimulatedClock,
    replication::eventual::{OutboxBounds, PieceBounds, Snapshot},
    types::{Change, Key, RecordRef, StateEnd, StateRecord, Value},
};

fn keyspace(node: u64) -> Arc<Eventual> {
    let bounds = OutboxBounds { bytes_max: 1 << 20, writes_max: 1000, spare_writes: 1000 };
    Arc::new(Eventual::with_outbox_bounds(NodeId(node), Arc::new(SimulatedClock::new(1)), bounds))
}

fn write(keyspace: &Eventual, key: u8, value: Option<u8>) {
    let kind = value.map_or(CommandKind::Delete, |value| CommandKind::Put {
        value: Value::new(&[value]).unwrap(),
        flags: 0,
        ttl_ms: None,
    });
    keyspace.write(Command { key: Key::new(&[key]).unwrap(), kind }).unwrap();
}

/// What a client may do: a key out of few, a put or a delete.
fn writes() -> impl Strategy<Value = Vec<(u8, Option<u8>)>> {
    prop::collection::vec((0u8..6, any::<Option<u8>>()), 0..40)
}

fn written(node: u64, writes: &[(u8, Option<u8>)]) -> Arc<Eventual> {
    let keyspace = keyspace(node);
    writes.iter().for_each(|&(key, value)| write(&keyspace, key, value));
    keyspace
}

/// All own writes of a node, cut into stretches of `length`.
fn stretches(of: &Eventual, length: usize) -> Vec<PartitionChanges> {
    let mut stretches = Vec::new();
    for partition in of.partition_ids() {
        let mut from = Sequence(1);
        loop {
            let stretch = of.own_changes(partition, from, (length, usize::MAX)).unwrap();
            if stretch.changes.is_empty() {
                break;
            }
            from = from.plus(stretch.changes.len() as u64);
            stretches.push(stretch);
        }
    }
    stretches
}

fn state(keyspace: &Eventual) -> (Vec<PartitionDigest>, Vec<VersionVector>) {
    (keyspace.digests(), keyspace.partition_ids().map(|id| keyspace.vector(id)).collect())
}

fn apply(to: &Eventual, partition: PartitionId, piece: Vec<StateRecord>) {
    to.admit_state(&piece).unwrap();
    to.apply_state(partition, piece, false);
}

fn copy_state(from: &Arc<Eventual>, to: &Eventual, records_max: usize) {
    for partition in from.partition_ids() {
        let known = to.vector(partition);
        let mut snapshot = Snapshot::take(from, partition, known.clone());
        to.learn_seen(partition, from.seen_between(partition, &known, snapshot.vector()));
        let bounds = PieceBounds { records_max, visits_max: 3, bytes_target: usize::MAX };
        while !snapshot.is_read() {
            apply(to, partition, snapshot.next_piece(bounds));
        }
        to.adopt_end(partition, &StateEnd { vector: snapshot.vector().clone(), ..StateEnd::default() });
    }
}

proptest! {
    #[test]
    fn the_order_in_which_two_origins_arrive_does_not_matter(a in writes(), b in writes()) {
        let (a, b) = (written(1, &a), written(2, &b));
        let (one, other) = (keyspace(3), keyspace(3));
        for stretch in stretches(&a, 3) { one.apply_changes(NodeId(1), stretch); }
        for stretch in stretches(&b, 2) {
            one.apply_changes(NodeId(2), stretch.clone());
            other.apply_changes(NodeId(2), stretch);
        }
        for stretch in stretches(&a, 5) { other.apply_changes(NodeId(1), stretch); }
        prop_assert_eq!(state(&one), state(&other));
    }

    #[test]
    fn replay_duplication_and_reordering_of_stretches_change_nothing(
        a in writes(),
        order in prop::collection::vec(any::<prop::sample::Index>(), 0..60),
    ) {
        let origin = written(1, &a);
        let expected = keyspace(3);
        let stretches = stretches(&origin, 2);
        for stretch in &stretches { expected.apply_changes(NodeId(1), stretch.clone()); }
        let shuffled = keyspace(3);
        for index in order.iter().filter(|_| !stretches.is_empty()) {
            shuffled.apply_changes(NodeId(1), index.get(&stretches).clone());
        }
        // Whatever came before in whatever order, sending what is missing completes it.
        for stretch in &stretches { shuffled.apply_changes(NodeId(1), stretch.clone()); }
        prop_assert_eq!(state(&expected), state(&shuffled));
        prop_assert_eq!(expected.digests(), origin.digests());
    }

    #[test]
    fn a_stretch_after_a_gap_is_refused_and_changes_nothing(first in 2u64..100, count in 1usize..5) {
        let keyspace = keyspace(3);
        let change = Change {
            key: Key::new(b"k").unwrap(), value: None, flags: 0, timestamp: Timestamp(7), expires_ms: None,
        };
        let partition = partition_of(b"k");
        let changes = vec![change; count];
        let stretch = PartitionChanges { partition, first_sequence: Sequence(first), seen: Vec::new(), changes };
        let before = state(&keyspace);
        prop_assert_eq!(keyspace.apply_changes(NodeId(1), stretch), Applied::Gap(Sequence::ZERO));
        prop_assert_eq!(state(&keyspace), before);
    }

    #[test]
    fn a_snapshot_is_the_state_at_its_moment_whatever_is_written_meanwhile(
        a in writes(), b in writes(), late in writes(), records_max in 1usize..4,
    ) {
        let from = written(1, &a);
        let other = written(2, &b);
        let to = keyspace(3);
        for stretch in stretches(&other, 2) { from.apply_changes(NodeId(2), stretch); }
        let expected = state(&from);
        let snapshots: Vec<_> =
            from.partition_ids().map(|id| (id, Snapshot::take(&from, id, VersionVector::new()))).collect();
        let mut late = late.into_iter();
        for (partition, mut snapshot) in snapshots {
            let bounds = PieceBounds { records_max, visits_max: 3, bytes_target: usize::MAX };
            while !snapshot.is_read() {
                apply(&to, partition, snapshot.next_piece(bounds));
                if let Some((key, value)) = late.next() { write(&from, key, value); }
            }
            to.adopt_end(partition, &StateEnd { vector: snapshot.vector().clone(), ..StateEnd::default() });
        }
        prop_assert_eq!(state(&to), expected);
    }

    #[test]
    fn state_twice_or_on_top_of_other_state_changes_nothing(a in writes(), b in writes(), records_max in 1usize..4) {
        let (a, b) = (written(1, &a), written(2, &b));
        let (one, other) = (keyspace(3), keyspace(3));
        copy_state(&a, &one, records_max);
        copy_state(&b, &one, 2);
        copy_state(&b, &other, 3);
        copy_state(&a, &other, records_max);
        prop_assert_eq!(state(&one), state(&other));
        let once = state(&one);
        copy_state(&a, &one, 1);
        prop_assert_eq!(state(&one), once);
    }

    #[test]
    fn a_conflict_is_a_lost_write_that_its_winner_had_not_seen(has_seen in any::<bool>()) {
        let (me, peer) = (keyspace(1), keyspace(2));
        write(&me, 1, Some(1));
        if has_seen {
            for stretch in stretches(&me, 1) { peer.apply_changes(NodeId(1), stretch); }
        }
        write(&peer, 1, Some(2));
        let partition = partition_of(&[1]);
        let stretch = peer.own_changes(partition, Sequence(1), (10, 1000)).unwrap();
        me.apply_changes(NodeId(2), stretch.clone());
        me.apply_changes(NodeId(2), stretch);
        prop_assert_eq!(me.conflict_counts().recorded, u64::from(!has_seen));
    }
}

fn at(node: u64, wall_ms: u64) -> (Arc<SimulatedClock>, Eventual) {
    let clock = Arc::new(SimulatedClock::new(wall_ms));
    let keyspace = Eventual::new(NodeId(node), Arc::clone(&clock) as Arc<dyn Clock>);
    (clock, keyspace)
}

fn put(keyspace: &Eventual, ttl_ms: Option<u64>) -> Timestamp {
    let kind = CommandKind::Put { value: Value::new(b"v").unwrap(), flags: 0, ttl_ms };
    keyspace.write(Command { key: Key::new(b"k").unwrap(), kind }).unwrap().version
}

fn own(keyspace: &Eventual) -> PartitionChanges {
    keyspace.own_changes(partition_of(b"k"), Sequence(1), (100, usize::MAX)).unwrap()
}

#[test]
fn a_stretch_ends_before_the_first_write_that_is_stamped_too_far_ahead() {
    let (ahead_clock, ahead) = at(1, 100_000);
    put(&ahead, None);
    ahead_clock.set_wall_ms(170_000);
    put(&ahead, None);
    put(&ahead, None);
    let (clock, me) = at(2, 100_000);
    let stretch = own(&ahead);
    let skewed = Applied::Skewed { position: Sequence(1), ahead_ms: 70_000 };
    assert_eq!(me.apply_changes(NodeId(1), stretch.clone()), skewed);
    assert_eq!(me.tick().millis(), 100_000, "the clock has not moved");
    clock.set_wall_ms(160_001);
    assert_eq!(me.apply_changes(NodeId(1), stretch), Applied::UpTo(Sequence(3)));
    assert_eq!(me.read(b"k").map(|record| record.dot.sequence), Some(Sequence(3)));
}

#[test]
fn state_is_admitted_whole_or_not_at_all() {
    let (_, me) = at(2, 100_000);
    let record = |wall_ms| StateRecord {
        key: Key::new(b"k").unwrap(),
        record: Record {
            value: None,
            flags: 0,
            timestamp: Timestamp::from_millis(wall_ms),
            dot: Dot { node: NodeId(1), sequence: Sequence(1) },
            expires_ms: None,
        },
    };
    assert_eq!(me.admit_state(&[record(1), record(110_001)]), Err(10_001));
    assert_eq!(me.tick().millis(), 100_000);
    assert_eq!(me.admit_state(&[record(110_000), record(1)]), Ok(()));
    assert_eq!(me.admit_state(&[]), Ok(()));
    assert!(me.tick().millis() >= 110_000);
}

#[test]
fn a_sweep_ends_what_has_expired_and_loses_against_every_other_write() {
    let partition = partition_of(b"k");
    let (clock, sweeper) = at(9, 100_000);
    let ended = put(&sweeper, Some(1000));
    clock.set_wall_ms(101_999);
    sweeper.sweep(partition, Duration::from_secs(1));
    assert_eq!((sweeper.expired(), sweeper.stats().keys), (0, 1), "the grace is not over");
    // Another node has seen the value and put it again in the same breath, before it expired.
    let (_, other) = at(1, 100_000);
    other.apply_changes(NodeId(9), own(&sweeper));
    let later = put(&other, None);
    clock.set_wall_ms(102_000);
    sweeper.sweep(partition, Duration::from_secs(1));
    sweeper.sweep(partition, Duration::from_secs(1));
    assert_eq!((sweeper.expired(), sweeper.stats().keys, sweeper.stats().tombstones), (1, 0, 1));
    let tombstone = sweeper.records(partition, |records| records.get(b"k").map(RecordRef::to_record)).unwrap();
    assert!(ended < tombstone.timestamp && tombstone.timestamp < later, "{tombstone:?}");
    assert!(tombstone.expires_ms.is_some());
    other.apply_changes(NodeId(9), own(&sweeper));
    sweeper.apply_changes(NodeId(1), own(&other));
    assert_eq!(sweeper.read(b"k").map(|record| record.timestamp), Some(later));
    assert_eq!(sweeper.read(b"k"), other.read(b"k"));
    assert!(put(&sweeper, None) > later, "and the node goes on");
}

#[test]
fn a_tombstone_is_dropped_when_it_is_stable_covered_and_old_and_never_comes_back() {
    let partition = partition_of(b"k");
    let (clock, me) = at(1, 100_000);
    put(&me, None);
    me.write(Command { key: Key::new(b"k").unwrap(), kind: CommandKind::Delete }).unwrap();
    let (stable, all) = (me.tick(), me.vector(partition));
    let grace = Duration::from_secs(30);
    let drop_with = |stable, covered: &VersionVector| me.drop_tombstones(partition, stable, covered, grace);
    assert_eq!(drop_with(stable, &all), 0, "too young");
    clock.advance(Duration::from_secs(31));
    assert_eq!(drop_with(Timestamp::ZERO, &all), 0, "not stable");
    assert_eq!(drop_with(stable, &VersionVector::new()), 0, "not covered by all");
    assert_eq!(drop_with(stable, &all), 1);
    assert_eq!((me.stats().tombstones, me.dropped(partition).sequence(NodeId(1))), (0, Sequence(2)));
    // A late piece of state with the value that was deleted.
    let dot = Dot { node: NodeId(1), sequence: Sequence(1) };
    let value = Some(Value::new(b"v").unwrap());
    let record = Record { value, flags: 0, timestamp: Timestamp(1), dot, expires_ms: None };
    me.apply_state(partition, vec![StateRecord { key: Key::new(b"k").unwrap(), record }], false);
    assert_eq!(me.read(b"k"), None);
}
