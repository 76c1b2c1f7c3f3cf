//! Watches at whole nodes, one of which dies.

use super::*;
use crate::{
    replication::eventual::Watcher,
    types::{WatchFilter, WatchPage, WatchPosition, WatchRequest, WatchStart},
};

/// Reads pages of a watch at a node until `is_enough`.
fn watched(node: &Node, start: WatchStart, mut is_enough: impl FnMut(&WatchPage) -> bool) {
    let request = WatchRequest { filter: WatchFilter::All, start };
    let mut watcher = Watcher::new(node.keyspace().unwrap(), request).unwrap();
    node.runtime().unwrap().block_on(async {
        while !is_enough(&tokio::time::timeout(DEADLINE, watcher.next()).await.unwrap().unwrap()) {}
    });
}

#[test]
fn a_watch_goes_on_at_another_node_with_what_a_dead_one_had_shown() {
    let network = SimulatedNetwork::default();
    let first = started(config(1, &[]), simulated_env(&network, 1));
    let second = started(config(2, &[1]), simulated_env(&network, 2));
    let third = started(config(3, &[1, 2]), simulated_env(&network, 3));
    [&first, &second, &third].into_iter().for_each(|node| node.wait_ready(DEADLINE).unwrap());
    eventually("every node knows the others", || first.members().unwrap().len() == 3);
    (0..500).for_each(|number| put(&first, &format!("k{number}"), "old"));
    let (mut position, mut keys) = (WatchPosition::new(), Vec::new());
    let mut take = |page: &WatchPage| {
        page.advance(&mut position);
        keys.extend(page.events.iter().map(|event| event.key().clone()));
        keys.len()
    };
    watched(&first, WatchStart::Initial, |page| take(page) >= 300);
    // It dies without a word; nobody has stopped it.
    drop(first);
    (0..100).for_each(|number| put(&second, &format!("new{number}"), "new"));
    let missing = 600 - keys.len();
    let start = WatchStart::After(position.clone());
    let mut rest = Vec::new();
    watched(&third, start, |page| {
        rest.extend(page.events.iter().map(|event| event.key().clone()));
        rest.len() >= missing
    });
    keys.extend(rest);
    keys.sort_unstable();
    keys.dedup();
    assert_eq!(keys.len(), 600, "every key once");
}
