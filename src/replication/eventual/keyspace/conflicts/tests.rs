//! Who had seen whom is known in each example; so is what the journals must hold.

use std::{num::NonZeroU64, sync::Arc};

use super::*;
use crate::{
    env::SimulatedClock,
    replication::eventual::{PieceBounds, Snapshot},
    storage::partition_of,
    types::{Change, Command, CommandKind, Dot, PartitionChanges, StateEnd, StateRecord, Timestamp, Value},
};

const KEY: &[u8] = b"k";

fn node(id: u64) -> Arc<Eventual> {
    // Later nodes have later clocks, so that their writes win.
    Arc::new(Eventual::new(NodeId(id), Arc::new(SimulatedClock::new(1000 * id))))
}

fn put(node: &Eventual, value: &str) {
    let kind = CommandKind::Put { value: Value::new(value.as_bytes()).unwrap(), flags: 0, ttl_ms: None };
    node.write(Command { key: Key::new(KEY).unwrap(), kind }).unwrap();
}

fn delete(node: &Eventual) {
    node.write(Command { key: Key::new(KEY).unwrap(), kind: CommandKind::Delete }).unwrap();
}

/// All that `from` wrote and `to` has not got is pushed.
fn push(from: &Eventual, to: &Eventual) {
    let partition = partition_of(KEY);
    let first = to.position(partition, from.me()).next();
    to.apply_changes(from.me(), from.own_changes(partition, first, (100, usize::MAX)).unwrap());
}

/// `to` fetches the state of `from`.
fn fetch(from: &Arc<Eventual>, to: &Eventual) {
    let partition = partition_of(KEY);
    let known = to.vector(partition);
    let mut snapshot = Snapshot::take(from, partition, known.clone());
    let vector = snapshot.vector().clone();
    to.learn_seen(partition, from.seen_between(partition, &known, &vector));
    while !snapshot.is_read() {
        to.apply_state(
            partition,
            snapshot.next_piece(PieceBounds { records_max: 1, visits_max: 1, bytes_target: 1 }),
            false,
        );
    }
    to.adopt_end(partition, &StateEnd { vector, ..StateEnd::default() });
}

fn text(record: &Record) -> String {
    record.value.as_ref().map_or("-".to_string(), |value| String::from_utf8(value.to_vec()).unwrap())
}

/// What a node lost, and to what, the oldest first; `-` is a delete.
fn lost(node: &Eventual) -> Vec<(String, String)> {
    let found = node.all_conflicts();
    found.iter().rev().map(|conflict| (text(&conflict.lost), text(&conflict.won))).collect()
}

fn pair(lost: &str, won: &str) -> (String, String) {
    (lost.to_string(), won.to_string())
}

#[test]
fn of_two_that_wrote_apart_the_earlier_loses_and_only_its_node_records_it() {
    let (a, b) = (node(1), node(2));
    put(&a, "a");
    put(&b, "b");
    push(&b, &a);
    push(&a, &b);
    assert_eq!(lost(&a), [pair("a", "b")]);
    assert_eq!(lost(&b), []);
    let conflict = &a.all_conflicts()[0];
    assert_eq!((conflict.node, conflict.noticed_ms, &conflict.key[..]), (NodeId(1), 1000, KEY));
}

#[test]
fn a_write_that_was_seen_is_replaced_without_a_word() {
    let (a, b) = (node(1), node(2));
    put(&a, "a");
    push(&a, &b);
    put(&b, "b");
    push(&b, &a);
    assert_eq!(lost(&a), []);
    // But a write made meanwhile was not seen.
    put(&a, "a2");
    put(&b, "b2");
    put(&b, "b3");
    push(&b, &a);
    assert_eq!(lost(&a), [pair("a2", "b2")]);
}

#[test]
fn deletes_lose_and_win_like_any_write() {
    let (a, b) = (node(1), node(2));
    delete(&a);
    put(&b, "b");
    push(&b, &a);
    assert_eq!(lost(&a), [pair("-", "b")]);
    let (a, b) = (node(1), node(2));
    put(&a, "a");
    delete(&b);
    push(&b, &a);
    assert_eq!(lost(&a), [pair("a", "-")]);
}

#[test]
fn what_its_own_node_overwrote_is_not_lost() {
    let (a, b) = (node(1), node(2));
    put(&a, "first");
    put(&a, "second");
    put(&b, "b");
    push(&b, &a);
    assert_eq!(lost(&a), [pair("second", "b")]);
    // After the conflict the node writes again, knowingly: nothing is lost there.
    put(&a, "third");
    push(&a, &b);
    assert_eq!(lost(&b), []);
}

#[test]
fn a_third_tells_what_a_dead_writer_had_seen() {
    let (a, b, c) = (node(1), node(2), node(3));
    put(&a, "a1");
    push(&a, &b);
    put(&b, "knows a1");
    push(&b, &c);
    put(&a, "a2");
    // b dies; a gets its write from c, as state.
    fetch(&c, &a);
    assert_eq!(lost(&a), [pair("a2", "knows a1")]);
    // Had a written no more, nothing would be lost.
    let (a, b, c) = (node(1), node(2), node(3));
    put(&a, "a1");
    push(&a, &b);
    put(&b, "knows a1");
    fetch(&b, &c);
    fetch(&c, &a);
    assert_eq!(lost(&a), []);
    assert_eq!(text(&a.read(KEY).unwrap()), "knows a1");
}

#[test]
fn what_was_learnt_by_state_counts_as_seen() {
    let (a, b) = (node(1), node(2));
    put(&a, "a");
    fetch(&a, &b);
    put(&b, "b");
    fetch(&b, &a);
    assert_eq!(lost(&a), []);
}

#[test]
fn a_repeated_transfer_or_push_records_nothing_again() {
    let (a, b, c) = (node(1), node(2), node(3));
    put(&a, "a");
    put(&b, "b");
    push(&b, &c);
    fetch(&c, &a);
    fetch(&b, &a);
    push(&b, &a);
    assert_eq!(lost(&a).len(), 1);
    assert_eq!(a.conflict_counts(), ConflictCounts { recorded: 1, dropped: 0, inexact: 0 });
}

#[test]
fn a_repair_brings_back_what_was_judged_long_ago() {
    let (a, b) = (node(1), node(2));
    put(&b, "b");
    push(&b, &a);
    put(&a, "a");
    let partition = partition_of(KEY);
    for repairer in [1, 2] {
        let dot = Dot { node: NodeId(repairer), sequence: Sequence(1) };
        let timestamp = Timestamp((1 << 40) + repairer);
        let record = Record { value: None, flags: 0, timestamp, dot, expires_ms: None };
        a.apply_state(partition, vec![StateRecord { key: Key::new(KEY).unwrap(), record }], true);
    }
    assert_eq!(lost(&a), []);
}

#[test]
fn the_sweep_of_an_expired_key_is_no_write_of_a_client() {
    let partition = partition_of(KEY);
    let neighbour = (0u64..).map(|number| number.to_be_bytes()).find(|key| partition_of(key) == partition).unwrap();
    for (expires_ms, expected) in [(NonZeroU64::new(5), 0), (None, 1)] {
        let (a, b) = (node(1), node(2));
        // What the sweep leaves behind, as this node's first write.
        a.write(Command { key: Key::new(&neighbour).unwrap(), kind: CommandKind::Delete }).unwrap();
        let dot = Dot { node: NodeId(1), sequence: Sequence(1) };
        let record = Record { value: None, flags: 0, timestamp: Timestamp(7), dot, expires_ms };
        a.apply_state(partition, vec![StateRecord { key: Key::new(KEY).unwrap(), record }], true);
        put(&b, "b");
        push(&b, &a);
        assert_eq!(lost(&a).len(), expected);
    }
}

#[test]
fn a_lying_step_of_another_writer_is_taken_as_the_senders_own() {
    let a = node(1);
    put(&a, "a");
    let step = SeenStep { writer: NodeId(9), of: NodeId(1), from: Sequence(1), seen: Sequence(1) };
    let change =
        Change { key: Key::new(KEY).unwrap(), value: None, flags: 0, timestamp: Timestamp(1 << 40), expires_ms: None };
    let stretch = PartitionChanges {
        partition: partition_of(KEY),
        first_sequence: Sequence(1),
        seen: vec![step],
        changes: vec![change],
    };
    a.apply_changes(NodeId(2), stretch);
    assert_eq!(lost(&a), []);
}
