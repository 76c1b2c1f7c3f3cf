//! Damage that shows only while the log is replayed: the log is open by then, and has to be closed before anybody goes on.

use super::*;

/// A node whose log has several segments, the first of which was damaged afterwards.
async fn damaged_in_the_middle(bench: &Bench) -> NodeId {
    let node = bench.open().await.unwrap();
    let id = node.keyspace.me();
    for number in 0..100 {
        put(&node.keyspace, &format!("k{number}"), "value");
        node.keyspace.durable(node.keyspace.written()).await.unwrap();
    }
    assert!(node.keyspace.ledger().unwrap().log().stats().segments > 2);
    bench.lose_power(node).await;
    let dir = Path::new(DIR).join("log");
    let first = bench.env.disk.list(&dir).unwrap().into_iter().find(|name| name.ends_with(".log")).unwrap();
    bench.disk.flip_bit(&dir.join(first), 150, 3).unwrap();
    id
}

fn bench(has_peers: bool) -> Bench {
    let bounds = DiskBounds { segment_bytes: 1024, preallocate_bytes: 256, ..DiskBounds::default() };
    Bench { has_peers, bounds, ..Bench::new(3, Durability::Sync) }
}

#[test]
fn damage_of_an_old_segment_is_set_aside_at_once() {
    block_on(async {
        let bench = bench(true);
        let id = damaged_in_the_middle(&bench).await;
        let node = bench.open().await.unwrap();
        assert_ne!(node.keyspace.me(), id);
        assert!(node.damage.as_ref().is_some_and(|damage| damage.contains(".log")), "{:?}", node.damage);
        assert_eq!(node.keyspace.stats().keys, 0);
    });
}

#[test]
fn damage_of_an_old_segment_is_named_at_every_start_of_a_node_without_peers() {
    block_on(async {
        let bench = bench(false);
        damaged_in_the_middle(&bench).await;
        for start in 0..3 {
            let error = bench.open().await.map(drop).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Corrupt, "start {start}: {error}");
        }
    });
}
