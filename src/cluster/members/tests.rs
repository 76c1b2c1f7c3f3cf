//! Who counts does not depend on the order in which it is learned; how each is depends on the evidence alone.

use proptest::prelude::*;

use super::*;

const SECOND: Duration = Duration::from_secs(1);

fn member(node: u64, port: u16, born_ms: u64) -> Member {
    Member { node: NodeId(node), address: Address::new("node", port).unwrap(), born_ms }
}

fn table() -> Members {
    Members::new(member(1000, 1000, 5))
}

fn ids(members: &Members) -> Vec<u64> {
    members.counted().map(|member| member.node.0).collect()
}

fn never(_: NodeId) -> bool {
    false
}

fn memberships() -> impl Strategy<Value = Vec<Membership>> {
    let nodes = || prop::collection::vec(1u64..12, 0..5);
    let membership = (nodes(), nodes()).prop_map(|(members, removed)| Membership {
        members: members.into_iter().map(|node| member(node, node as u16, node)).collect(),
        removed: removed.into_iter().map(NodeId).collect(),
    });
    prop::collection::vec(membership, 0..10)
}

proptest! {
    #[test]
    fn tables_that_heard_the_same_agree_in_whatever_order(told in memberships(), repeat in any::<bool>()) {
        let (mut one, mut other) = (table(), table());
        told.iter().for_each(|membership| drop(one.hear(SECOND, membership)));
        told.iter().rev().for_each(|membership| drop(other.hear(SECOND, membership)));
        if repeat {
            told.iter().for_each(|membership| drop(other.hear(SECOND * 2, membership)));
        }
        prop_assert_eq!(one.membership(), other.membership());
        prop_assert_eq!(one.removed_digest(), other.removed_digest());
        let version = one.version();
        told.iter().for_each(|membership| assert!(one.hear(SECOND, membership).is_empty()));
        prop_assert_eq!(one.version(), version, "what is known already is no news");
    }

    #[test]
    fn what_a_table_tells_makes_another_agree(told in memberships()) {
        let (mut one, mut other) = (table(), table());
        told.iter().for_each(|membership| drop(one.hear(SECOND, membership)));
        other.hear(SECOND, &one.membership());
        prop_assert_eq!(one.membership(), other.membership());
    }
}

#[test]
fn a_removed_node_never_counts_again() {
    let mut members = table();
    assert_eq!(members.meet(SECOND, &member(1, 1, 1), never), Ok(vec![]));
    assert!(members.remove(SECOND, NodeId(1), Gone::Removed));
    assert!(!members.remove(SECOND, NodeId(1), Gone::Removed));
    let told = Membership { members: vec![member(1, 1, 1)], removed: Vec::new() };
    assert_eq!(members.hear(SECOND, &told), []);
    assert!(members.meet(SECOND, &member(1, 1, 1), never).unwrap_err().contains("was removed"));
    assert!(ids(&members).is_empty());
}

#[test]
fn a_new_incarnation_replaces_the_former_at_its_address() {
    let mut members = table();
    members.meet(SECOND, &member(1, 1, 10), never).unwrap();
    members.meet(SECOND, &member(2, 2, 10), never).unwrap();
    assert_eq!(members.meet(SECOND, &member(3, 1, 20), |_| true), Ok(vec![NodeId(1)]));
    assert_eq!(ids(&members), [2, 3]);
    assert_eq!(members.shown().count(), 2, "the new one is shown, the former is not");
    assert!(members.is_removed(NodeId(1)));
}

#[test]
fn of_two_living_nodes_with_one_address_the_later_born_stays() {
    let mut members = table();
    members.meet(SECOND, &member(1, 1, 10), never).unwrap();
    assert!(members.meet(SECOND, &member(2, 1, 9), |_| true).unwrap_err().contains("has the address"));
    assert_eq!(ids(&members), [1]);
    // A machine whose clock was set back between the two starts.
    assert_eq!(members.meet(SECOND, &member(2, 1, 9), never), Ok(vec![NodeId(1)]));
    assert_eq!(ids(&members), [2]);
    assert!(members.meet(SECOND, &member(3, 1000, 9), never).unwrap_err().contains("has the address"), "ours");
}

#[test]
fn a_state_follows_from_the_evidence() {
    let link = |ago_ms| Some(Duration::from_secs(100) - Duration::from_millis(ago_ms));
    let long_ago = 60_000;
    let cases = [
        (link(100), Some(Verdict::Down), 0, MemberState::Up),
        (link(5000), Some(Verdict::Alive), long_ago, MemberState::Up),
        (link(5000), Some(Verdict::Suspected), long_ago, MemberState::Suspected),
        (link(5000), Some(Verdict::Down), long_ago, MemberState::Dead),
        (link(5000), None, long_ago, MemberState::Suspected),
        (None, Some(Verdict::Alive), 100, MemberState::Suspected),
        (None, Some(Verdict::Alive), long_ago, MemberState::Up),
        (None, Some(Verdict::Suspected), long_ago, MemberState::Suspected),
        (None, Some(Verdict::Down), 0, MemberState::Dead),
        (None, None, 100, MemberState::Suspected),
        (None, None, long_ago, MemberState::Dead),
    ];
    for (heard, verdict, apart_ms, expected) in cases {
        let now = Duration::from_secs(100);
        let mut members = table();
        members.meet(SECOND, &member(1, 1, 1), never).unwrap();
        members.parted(now - Duration::from_millis(apart_ms), NodeId(1), 7);
        members.observe(now, 42, |_| Evidence { heard, verdict });
        let entry = members.entry(NodeId(1)).unwrap();
        assert_eq!((entry.state, entry.since_ms), (expected, 42), "{heard:?} {verdict:?} {apart_ms}");
        assert!(entry.counts(), "however dead it is");
    }
}

#[test]
fn who_left_is_shown_for_a_while_unless_another_has_the_address() {
    let mut members = table();
    for node in [1, 2] {
        members.meet(SECOND, &member(node, node as u16, 1), never).unwrap();
        members.remove(SECOND, NodeId(node), Gone::Removed);
        members.remove(SECOND, NodeId(node), Gone::Left);
    }
    members.observe(SECOND, 1, |_| Evidence::default());
    let states: Vec<MemberState> = members.shown().map(|entry| entry.state).collect();
    assert_eq!(states, [MemberState::Left, MemberState::Left], "its own word is better than hearsay");
    members.meet(SECOND, &member(3, 1, 2), never).unwrap();
    assert_eq!(members.shown().map(|entry| entry.member.node.0).collect::<Vec<_>>(), [2, 3]);
    members.observe(SECOND + GONE_SHOWN, 1, |_| Evidence::default());
    assert_eq!(members.shown().map(|entry| entry.member.node.0).collect::<Vec<_>>(), [3]);
    assert!(members.is_removed(NodeId(1)), "for good");
}

#[test]
fn a_full_table_keeps_those_who_were_met() {
    let mut members = table();
    let told = |from: u64| Membership {
        members: (from..from + 400).map(|node| member(node, node as u16, 1)).collect(),
        removed: Vec::new(),
    };
    members.hear(SECOND, &told(1));
    assert_eq!(members.counted().count(), MEMBERS_MAX);
    for node in 2000..2000 + MEMBERS_MAX as u64 {
        members.meet(SECOND, &member(node, node as u16, 1), never).unwrap();
    }
    assert!(members.counted().all(|member| member.node.0 >= 2000));
    assert!(members.meet(SECOND, &member(1, 1, 1), never).unwrap_err().contains("the most"));
    members.hear(SECOND, &told(1));
    assert_eq!(members.counted().count(), MEMBERS_MAX);
}

#[test]
fn late_news_of_a_former_incarnation_makes_no_ghost() {
    let mut members = table();
    members.meet(SECOND, &member(2, 1, 5), never).unwrap();
    let late = Membership { members: vec![member(1, 1, 9), member(3, 1000, 1), member(4, 4, 1)], removed: Vec::new() };
    members.hear(SECOND, &late);
    assert_eq!(ids(&members), [1, 2, 3, 4]);
    let heard = |now| move |node| Evidence { heard: (node == NodeId(2)).then_some(now), verdict: None };
    assert_eq!(members.observe(SECOND, 1, heard(SECOND)), [], "nobody is dead yet");
    assert_eq!(members.observe(SECOND * 60, 1, heard(SECOND * 60)), [NodeId(1), NodeId(3)], "the address, and ours");
    assert_eq!(ids(&members), [2, 4]);
}
