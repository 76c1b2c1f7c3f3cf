//! When a time is stable, and when not.

use super::*;
use crate::types::PartitionPosition;

const ME: NodeId = NodeId(1);
const FIRST: PartitionId = PartitionId(0);

fn vector(entries: &[(u64, u64)]) -> VersionVector {
    entries.iter().map(|&(node, sequence)| (NodeId(node), Sequence(sequence))).collect()
}

fn told(clock: u64, entries: &[(u64, u64)], low: u64) -> Positions {
    let position = PartitionPosition {
        partition: FIRST,
        vector: vector(entries),
        outbox_first: Sequence(1),
        low: Timestamp(low),
        digest: None,
        floor: Timestamp::ZERO,
    };
    Positions { clock: Timestamp(clock), partitions: vec![position], ..Positions::default() }
}

fn others(nodes: &[u64]) -> Option<BTreeSet<NodeId>> {
    Some(nodes.iter().copied().map(NodeId).collect())
}

fn settle(stability: &mut Stability, ours: &[(u64, u64)], clock: u64, nodes: &[u64]) -> (u64, u64) {
    let members = Members { me: ME, others: &others(nodes), removed_digest: 0 };
    let low = stability.settle(FIRST, &vector(ours), Timestamp(clock), &members);
    (low.0, stability.stable(FIRST).0)
}

#[test]
fn a_node_alone_is_as_stable_as_its_clock() {
    assert_eq!(settle(&mut Stability::new(), &[(1, 5)], 100, &[]), (100, 100));
}

#[test]
fn a_member_that_was_never_heard_holds_everything_back() {
    let mut stability = Stability::new();
    stability.hear(NodeId(2), &told(100, &[], 100));
    assert_eq!(settle(&mut stability, &[], 100, &[2, 3]), (0, 0));
    stability.hear(NodeId(3), &told(90, &[], 80));
    assert_eq!(settle(&mut stability, &[], 100, &[2, 3]), (90, 80));
}

#[test]
fn a_clock_counts_once_the_writes_told_with_it_are_here() {
    let mut stability = Stability::new();
    stability.hear(NodeId(2), &told(100, &[(2, 7)], 100));
    assert_eq!(settle(&mut stability, &[(2, 6)], 100, &[2]), (0, 0));
    stability.hear(NodeId(2), &told(110, &[(2, 9)], 100));
    assert_eq!(settle(&mut stability, &[(2, 8)], 120, &[2]), (100, 100), "the older report is confirmed first");
    assert_eq!(settle(&mut stability, &[(2, 9)], 120, &[2]), (110, 100));
    assert_eq!(stability.told(FIRST), Timestamp(110));
}

#[test]
fn a_member_that_is_away_holds_back_and_the_stable_time_never_returns() {
    let mut stability = Stability::new();
    stability.hear(NodeId(2), &told(100, &[], 100));
    assert_eq!(settle(&mut stability, &[], 200, &[2]), (100, 100));
    assert_eq!(settle(&mut stability, &[], 300, &[2]), (100, 100));
    assert_eq!(settle(&mut stability, &[], 300, &[2, 3]), (0, 100), "one that has just been met");
    assert_eq!(stability.held_back_by(Timestamp(250), &others(&[2, 3]).unwrap()), [NodeId(2), NodeId(3)]);
    stability.forget(NodeId(2));
    assert_eq!(settle(&mut stability, &[], 300, &[]), (300, 300));
}

#[test]
fn what_was_stable_alone_is_not_with_others() {
    let mut stability = Stability::new();
    assert_eq!(settle(&mut stability, &[], 100, &[]), (100, 100));
    stability.meet();
    assert_eq!(stability.stable(FIRST), Timestamp::ZERO);
    stability.hear(NodeId(2), &told(50, &[(2, 3)], 50));
    assert_eq!(settle(&mut stability, &[], 110, &[2]), (0, 0));
    assert_eq!(settle(&mut stability, &[(2, 3)], 120, &[2]), (50, 50));
}

#[test]
fn writes_of_the_gone_that_another_has_hold_back_until_they_are_here() {
    let mut stability = Stability::new();
    stability.hear(NodeId(2), &told(100, &[(9, 4)], 100));
    assert_eq!(settle(&mut stability, &[(9, 3)], 100, &[2]), (0, 0));
    assert_eq!(settle(&mut stability, &[(9, 4)], 100, &[2]), (100, 100));
}

#[test]
fn members_that_disagree_on_who_is_gone_hold_back() {
    let mut stability = Stability::new();
    stability.hear(NodeId(2), &Positions { removed_digest: 7, ..told(100, &[], 100) });
    assert_eq!(settle(&mut stability, &[], 100, &[2]), (0, 0));
    stability.hear(NodeId(2), &told(100, &[], 100));
    assert_eq!(settle(&mut stability, &[], 100, &[2]), (100, 100));
}

#[test]
fn what_is_covered_is_what_all_had_before_the_writes_that_are_still_to_come() {
    let mut stability = Stability::new();
    stability.hear(NodeId(2), &told(100, &[(1, 3), (2, 8)], 100));
    settle(&mut stability, &[(1, 5), (2, 7), (9, 1)], 100, &[2]);
    assert_eq!(stability.covered(FIRST), Some(&vector(&[])), "its eighth write may not have seen our third");
    settle(&mut stability, &[(1, 5), (2, 8), (9, 1)], 100, &[2]);
    assert_eq!(stability.covered(FIRST), Some(&vector(&[(1, 3), (2, 8)])));
}

#[test]
fn without_knowing_all_members_nothing_is_stable() {
    let mut stability = Stability::new();
    let members = Members { me: ME, others: &None, removed_digest: 0 };
    assert_eq!(stability.settle(FIRST, &vector(&[]), Timestamp(100), &members), Timestamp::ZERO);
    assert_eq!(stability.least_reached(), Timestamp::ZERO);
}
