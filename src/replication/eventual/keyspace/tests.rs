//! Laws of the merge: in whatever order, however often and in whatever pieces writes arrive, the outcome is one.

use std::sync::Arc;

use proptest::prelude::*;

use super::*;
use crate::{
    env::SimulatedClock,
    replication::eventual::{OutboxBounds, PieceBounds, Snapshot},
    types::{Change, Key, StateEnd, StateRecord, Value},
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
