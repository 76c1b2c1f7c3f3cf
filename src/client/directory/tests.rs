//! Which node is chosen, whatever they say and however they fail.

use std::collections::BTreeMap;

use proptest::prelude::*;

use super::*;
use crate::{
    env::{Rng, SeededRng},
    types::ClusterNode,
};

const NOW: Duration = Duration::from_secs(100);

fn address(port: u16) -> Address {
    Address::new("h", port).unwrap()
}

fn directory(ports: impl IntoIterator<Item = u16>) -> Directory {
    let given: Vec<Address> = ports.into_iter().map(address).collect();
    Directory::new(&given)
}

/// As the node at the first port says; the id of a node is its port.
fn view(ports: &[u16]) -> ClusterView {
    let node = |&port: &u16| ClusterNode { node: NodeId(u64::from(port)), address: address(port), gone: false };
    ClusterView { cluster: "c".into(), serving: true, nodes: ports.iter().map(node).collect() }
}

fn tried(ports: &[u16]) -> BTreeSet<Address> {
    ports.iter().map(|&port| address(port)).collect()
}

fn ports(directory: &Directory) -> Vec<u16> {
    (0..directory.len()).map(|place| directory.address(place).port()).collect()
}

/// How many of 1,000 clients begin at each node.
fn crowd(measured: &[(u16, u64)]) -> BTreeMap<u16, u32> {
    let mut crowd = BTreeMap::new();
    for seed in 0..1000 {
        let mut directory = directory([1, 2, 3]);
        for &(port, us) in measured {
            directory.measured(&address(port), Duration::from_micros(us));
        }
        let draw = SeededRng::new(seed).next_u64().unwrap();
        *crowd.entry(directory.choose(NOW, draw, &tried(&[])).port()).or_default() += 1;
    }
    crowd
}

/// A node that everybody may choose gets 333 of 1,000 on average, with a standard deviation of 15.
fn assert_spread(crowd: &BTreeMap<u16, u32>, nodes: u32) {
    let fair = 1000 / nodes;
    assert_eq!(crowd.len() as u32, nodes, "{crowd:?}");
    assert!(crowd.values().all(|&count| count.abs_diff(fair) < 80), "{crowd:?}");
}

#[test]
fn clients_with_the_same_list_spread_over_it() {
    assert_spread(&crowd(&[]), 3);
}

#[test]
fn nodes_that_are_about_as_near_share_the_clients_and_a_far_one_gets_none() {
    assert_spread(&crowd(&[(1, 200), (2, 500), (3, 650)]), 3);
    let crowd = crowd(&[(1, 200), (2, 20_000), (3, 350)]);
    assert_spread(&crowd, 2);
    assert!(!crowd.contains_key(&2));
}

#[test]
fn a_client_stays_at_home_until_it_fails() {
    let mut directory = directory([1, 2, 3]);
    let home = directory.choose(NOW, 0, &tried(&[]));
    for draw in 0..50 {
        assert_eq!(directory.choose(NOW, draw, &tried(&[])), home);
    }
    // What one connection cannot do there it does elsewhere, and the others stay.
    assert_ne!(directory.choose(NOW, 7, &[home.clone()].into()), home);
    assert_eq!(directory.home(), Some(&home));
    directory.failed(&home, NOW, 0, "reset".into());
    let next = directory.choose(NOW, 0, &[home.clone()].into());
    assert_ne!(next, home);
    assert_eq!(directory.home(), Some(&next));
}

#[test]
fn a_failed_node_is_avoided_for_longer_each_time_and_taken_back_when_it_answers() {
    let mut directory = directory([1, 2]);
    directory.measured(&address(2), Duration::from_micros(100));
    let mut avoided = Vec::new();
    for _ in 0..9 {
        directory.failed(&address(1), NOW, 512, "reset".into());
        let is_open = |secs, draw| directory.to_measure(NOW + Duration::from_secs(secs), draw).contains(&address(1));
        avoided.push((0..200).take_while(|&secs| !(0..2).any(|draw| is_open(secs, draw))).count());
    }
    assert!(avoided.is_sorted() && avoided[0] <= 2 && avoided[3] > 2 * avoided[1], "{avoided:?}");
    assert!(avoided[8] as u64 <= CLIENT_AVOID_MAX.as_secs() * 5 / 4 + 1, "{avoided:?}");
    let later = NOW + Duration::from_secs(200);
    // Not used while there is another, even when its time is over: somebody has to ask it before.
    assert!((0..50).all(|draw| directory.pick(later, draw, &tried(&[])) == address(2)));
    assert_eq!(directory.problems(), "h:1: reset");
    directory.measured(&address(1), Duration::from_micros(100));
    assert_eq!(directory.pick(later, 0, &tried(&[])), address(1));
    assert_eq!(directory.problems(), "");
}

#[test]
fn when_all_have_failed_each_is_tried_once_before_any_is_tried_again() {
    let mut directory = directory([1, 2, 3]);
    for port in [1, 2, 3] {
        directory.failed(&address(port), NOW, 0, "refused".into());
    }
    let mut gone_through = BTreeSet::new();
    for draw in [5, 11, 23] {
        let next = directory.choose(NOW, draw, &gone_through);
        assert!(gone_through.insert(next.clone()));
        directory.failed(&next, NOW, draw, "refused".into());
    }
}

#[test]
fn members_are_learned_and_go_when_they_were_removed() {
    let mut directory = directory([1]);
    directory.heard(&address(1), view(&[1, 2, 3])).unwrap();
    assert_eq!(ports(&directory), [1, 2, 3]);
    let mut removed = view(&[1, 2, 3]);
    removed.nodes[1].gone = true;
    directory.heard(&address(1), removed.clone()).unwrap();
    assert_eq!(ports(&directory), [1, 3]);
    // Another node has its address now.
    removed.nodes.push(ClusterNode { node: NodeId(22), address: address(2), gone: false });
    directory.heard(&address(1), removed).unwrap();
    assert_eq!(ports(&directory), [1, 3, 2]);
    // What was given stays, whatever is said.
    let mut me = view(&[3, 1, 2]);
    me.nodes[1].gone = true;
    directory.heard(&address(3), me).unwrap();
    assert_eq!(ports(&directory), [1, 3, 2]);
}

#[test]
fn a_node_that_knows_nobody_yet_does_not_make_a_client_forget_the_others() {
    let mut directory = directory([1]);
    directory.heard(&address(1), view(&[1, 2, 3])).unwrap();
    for _ in 1..CLIENT_ABSENCES_MAX {
        directory.heard(&address(1), view(&[1])).unwrap();
    }
    assert_eq!(ports(&directory), [1, 2, 3]);
    directory.heard(&address(1), view(&[1, 2])).unwrap();
    assert_eq!(ports(&directory), [1, 2]);
}

#[test]
fn a_given_node_that_has_another_name_among_the_members_counts_once() {
    // Reached over the port 91 of a proxy.
    let mut directory = directory([91]);
    directory.heard(&address(91), view(&[1, 2])).unwrap();
    assert_eq!(ports(&directory), [91, 2]);
    // Two were given, and one of them was learned by its other name before it was reached.
    let mut directory = self::directory([91, 92]);
    directory.heard(&address(91), view(&[1, 2, 3])).unwrap();
    assert_eq!(ports(&directory), [91, 92, 2, 3]);
    directory.heard(&address(92), view(&[2, 1, 3])).unwrap();
    assert_eq!(ports(&directory), [91, 92, 3]);
}

#[test]
fn nothing_is_asked_of_a_node_of_another_cluster_and_nothing_learned_from_it() {
    let mut directory = directory([1, 2]);
    directory.heard(&address(1), view(&[1])).unwrap();
    let foreign = ClusterView { cluster: "d".into(), ..view(&[2, 9]) };
    let why = directory.heard(&address(2), foreign).unwrap_err();
    assert_eq!(why, "it belongs to cluster \"d\", and not to \"c\"");
    assert_eq!(ports(&directory), [1, 2]);
}

#[test]
fn a_learned_address_that_leads_to_another_cluster_of_the_name_is_refused() {
    let mut directory = directory([1]);
    directory.heard(&address(1), view(&[1, 2])).unwrap();
    let at_2 = |ids: &[u64]| {
        let node = |&id: &u64| ClusterNode { node: NodeId(id), address: address(id as u16), gone: false };
        ClusterView { nodes: ids.iter().map(node).collect(), ..view(&[]) }
    };
    let why = directory.heard(&address(2), at_2(&[72, 73])).unwrap_err();
    assert!(why.contains("another cluster that is called \"c\""), "{why}");
    assert_eq!(ports(&directory), [1, 2]);
    // It was started anew under its old address: whom it knows, says whose it is.
    directory.heard(&address(2), at_2(&[82, 1])).unwrap();
    // Who gave the address of a node that has met nobody yet had a reason.
    directory.heard(&address(1), at_2(&[99])).unwrap();
}

#[test]
fn a_node_that_does_not_serve_is_refused_unless_it_is_the_only_one() {
    let ill = |ports: &[u16]| ClusterView { serving: false, ..view(ports) };
    directory([1]).heard(&address(1), ill(&[1, 2])).unwrap();
    let mut directory = directory([1, 2]);
    directory.heard(&address(1), ill(&[1, 3])).unwrap_err();
    let mut removed = view(&[1, 3]);
    removed.nodes[0].gone = true;
    directory.heard(&address(1), removed).unwrap_err();
    assert_eq!(ports(&directory), [1, 2]);
}

#[test]
fn only_a_clearly_nearer_node_is_worth_a_move() {
    let mut directory = directory([1]);
    directory.heard(&address(1), view(&[1, 2])).unwrap();
    let is_nearer = |port, us, home_us| {
        directory.is_clearly_nearer(&address(port), Duration::from_micros(us), Duration::from_micros(home_us))
    };
    assert!(is_nearer(1, 200, 1_500) && !is_nearer(1, 200, 1_300) && !is_nearer(1, 50_000, 90_000));
    // More for one that nobody has given.
    assert!(is_nearer(2, 200, 6_000) && !is_nearer(2, 200, 5_000));
}

#[test]
fn given_nodes_are_measured_first_and_then_one_at_a_time() {
    let mut directory = directory([1, 2, 3]);
    directory.heard(&address(1), view(&[1, 4])).unwrap();
    directory.home = Some(address(1));
    assert_eq!(directory.to_measure(NOW, 5), [address(2), address(3)]);
    for port in [2, 3] {
        directory.measured(&address(port), Duration::from_millis(1));
    }
    let measured: BTreeSet<u16> = (0..9).flat_map(|draw| directory.to_measure(NOW, draw)).map(|a| a.port()).collect();
    assert_eq!(measured, [2, 3, 4].into());
    assert!((0..9).all(|draw| directory.to_measure(NOW, draw).len() == 1));
}

proptest! {
    /// Whatever happens, there is somebody to turn to, and those that were given stay.
    #[test]
    fn given_nodes_stay_and_the_rest_is_bounded(
        heard in prop::collection::vec((1u16..4, prop::collection::vec((1u16..40, any::<bool>()), 1..8)), 0..60),
        draw: u64,
    ) {
        let mut directory = directory([1, 2]);
        for (from, nodes) in heard {
            let mut said = view(&nodes.iter().map(|(port, _)| *port).collect::<Vec<_>>());
            for (node, (_, gone)) in said.nodes.iter_mut().zip(&nodes) {
                node.gone = *gone;
            }
            let _refused = directory.heard(&address(from), said);
            directory.failed(&address(from), NOW, draw, "reset".into());
            prop_assert_eq!(&ports(&directory)[..2], &[1, 2]);
            // What the last few answers told of, and no more.
            prop_assert!(directory.len() <= 2 + 8 * (CLIENT_ABSENCES_MAX as usize + 1));
            let chosen = directory.choose(NOW, draw, &tried(&[]));
            prop_assert!(directory.knows(&chosen));
        }
    }
}
