//! What is sent when, and what of it says how late a peer is.

use std::{num::NonZeroU64, sync::Arc};

use super::*;
use crate::{
    env::SimulatedClock,
    types::{Change, Command, CommandKind, Key, NodeId, Timestamp, Value},
};

const BOUNDS: PushBounds = PushBounds {
    batch_writes_max: 4,
    batch_bytes_target: 1 << 20,
    window_bytes: 1 << 20,
    window_stretches: 100,
    paced_stretches: 2,
    paced_max: Duration::from_millis(10),
};

/// A stream to a peer that has nothing and says so, and the keyspace that it streams from.
fn stream() -> (Eventual, Push) {
    let keyspace = Eventual::new(NodeId(1), Arc::new(SimulatedClock::new(1)));
    let mut push = Push::new();
    keyspace.partition_ids().for_each(|id| drop(push.acknowledge(&keyspace, (id, Sequence::ZERO))));
    (keyspace, push)
}

/// Writes to one partition, and says which one and how many there are of it now.
fn write(keyspace: &Eventual) -> (PartitionId, Sequence) {
    let kind = CommandKind::Put { value: Value::new(b"v").unwrap(), flags: 0, ttl_ms: None };
    let key = Key::new(b"k").unwrap();
    let partition = crate::storage::partition_of(&key);
    keyspace.write(Command { key, kind }).unwrap();
    (partition, keyspace.outbox(partition, |outbox| outbox.last()))
}

/// How many writes the next batch has.
fn sent(push: &mut Push, keyspace: &Eventual, now_ms: u64) -> usize {
    let batch = push.next_batch(keyspace, Duration::from_millis(now_ms), &BOUNDS);
    batch.changes.iter().map(|stretch| stretch.changes.len()).sum()
}

#[test]
fn small_batches_wait_for_an_acknowledgement_and_grow_meanwhile() {
    let (keyspace, mut push) = stream();
    for _ in 0..2 {
        write(&keyspace);
        assert_eq!(sent(&mut push, &keyspace, 0), 1, "a lone write leaves at once");
    }
    let (partition, third) = write(&keyspace);
    write(&keyspace);
    assert!(push.is_paced(Duration::ZERO, &BOUNDS));
    assert_eq!(sent(&mut push, &keyspace, 0), 0);
    push.acknowledge(&keyspace, (partition, Sequence(third.0 - 2))).unwrap();
    assert!(!push.is_paced(Duration::ZERO, &BOUNDS));
    assert_eq!(sent(&mut push, &keyspace, 0), 2);
}

#[test]
fn small_batches_do_not_wait_for_long() {
    let (keyspace, mut push) = stream();
    for now_ms in [0, 0, 10, 20] {
        write(&keyspace);
        assert_eq!(sent(&mut push, &keyspace, now_ms), 1);
    }
    write(&keyspace);
    assert_eq!(sent(&mut push, &keyspace, 29), 0);
    assert_eq!(sent(&mut push, &keyspace, 30), 1);
}

#[test]
fn what_does_not_fit_into_a_batch_follows_at_once() {
    let (keyspace, mut push) = stream();
    for _ in 0..14 {
        write(&keyspace);
    }
    let batches: Vec<usize> = (0..5).map(|_| sent(&mut push, &keyspace, 0)).collect();
    assert_eq!(batches, [4, 4, 4, 2, 0]);
}

fn change(made_ms: u64, is_delete: bool, expires_ms: Option<u64>) -> Change {
    let value = (!is_delete).then(|| Value::new(b"v").unwrap());
    let expires_ms = expires_ms.and_then(NonZeroU64::new);
    Change { key: Key::new(b"k").unwrap(), value, flags: 0, timestamp: Timestamp::from_millis(made_ms), expires_ms }
}

#[test]
fn the_end_of_a_value_that_had_expired_says_nothing_about_lag() {
    let made = |changes: Vec<Change>| {
        let (partition, seen) = (PartitionId(0), Vec::new());
        Stretch::of(&PartitionChanges { partition, first_sequence: Sequence(1), seen, changes }).unwrap().made
    };
    let (put, delete, sweep) = (change(10, false, Some(20)), change(15, true, None), change(1, true, Some(20)));
    assert_eq!(made(vec![sweep.clone()]), None);
    let expected = Some(Made { writes: 2, first_ms: 10, last_ms: 15 });
    assert_eq!(made(vec![sweep.clone(), put, delete, sweep]), expected);
}
