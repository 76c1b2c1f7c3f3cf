//! What is wrong with a directory or its disk, and what a node makes of it.

use super::*;

#[test]
fn two_nodes_cannot_have_one_directory() {
    block_on(async {
        let bench = Bench::new(1, Durability::Sync);
        let node = bench.open().await.unwrap();
        let error = bench.open().await.map(drop).unwrap_err();
        assert_eq!(error.code(), ErrorCode::DataDirInUse, "{error}");
        assert!(error.message().contains(DIR), "{error}");
        stop(node).await;
        stop(bench.open().await.unwrap()).await;
    });
}

/// Flips one bit of the only log segment, in the middle of what is synced.
async fn damaged(bench: &Bench) -> NodeId {
    let node = bench.open().await.unwrap();
    for number in 0..50 {
        put(&node.keyspace, &format!("k{number}"), "value");
        node.keyspace.durable(node.keyspace.written()).await.unwrap();
    }
    let id = node.keyspace.me();
    stop(node).await;
    let dir = Path::new(DIR).join("log");
    let names = bench.env.disk.list(&dir).unwrap();
    let segment = dir.join(names.iter().find(|name| name.ends_with(".log")).unwrap());
    bench.disk.flip_bit(&segment, 1000, 3).unwrap();
    id
}

#[test]
fn a_damaged_log_alone_is_refused_by_file_and_place() {
    block_on(async {
        let bench = Bench::new(1, Durability::Sync);
        damaged(&bench).await;
        for _ in 0..2 {
            let error = bench.open().await.map(drop).unwrap_err();
            assert_eq!(error.code(), ErrorCode::Corrupt, "{error}");
            assert!(error.message().contains(".log") && error.message().contains("at byte"), "{error}");
        }
    });
}

#[test]
fn a_damaged_log_with_peers_is_set_aside() {
    block_on(async {
        let bench = Bench { has_peers: true, ..Bench::new(1, Durability::Sync) };
        let id = damaged(&bench).await;
        let node = bench.open().await.unwrap();
        assert!(node.damage.as_ref().is_some_and(|damage| damage.contains(".log")), "{:?}", node.damage);
        assert_ne!(node.keyspace.me(), id);
        assert_eq!(node.keyspace.stats().keys, 0);
        let names = bench.env.disk.list(&Path::new(DIR).join("log")).unwrap();
        assert!(names.iter().any(|name| name.contains("damaged")), "{names:?}");
        put(&node.keyspace, "new", "value");
        node.keyspace.durable(node.keyspace.written()).await.unwrap();
        bench.lose_power(node).await;
        let node = bench.open().await.unwrap();
        assert_eq!((value(&node.keyspace, "new").as_deref(), node.damage), (Some("value"), None));
    });
}

#[tokio::test(start_paused = true)]
async fn what_peers_send_is_bounded_by_a_log_that_nobody_waits_for() {
    let bench = Bench::new(1, Durability::Memory);
    let node = bench.open().await.unwrap();
    let keyspace = &node.keyspace;
    bench.disk.set_capacity(Some(bench.disk.used_bytes()));
    let value = "x".repeat(100_000);
    while keyspace.has_space() {
        put(keyspace, "k", &value);
        tokio::task::yield_now().await;
    }
    let (mut gate, session) = (Gate::default(), SessionId(1));
    let acknowledgement = PeerMessage::Acknowledgements(Vec::new());
    assert_eq!(gate.pass(keyspace, session, PeerMessage::Leave), Some(PeerMessage::Leave));
    assert_eq!(gate.pass(keyspace, session, acknowledgement.clone()), None);
    assert_eq!(gate.next(keyspace), None);
    bench.disk.set_capacity(None);
    while !keyspace.has_space() {
        tokio::time::sleep(std::time::Duration::from_millis(50)).await;
    }
    assert_eq!(gate.next(keyspace), Some((session, acknowledgement)));
    assert_eq!(gate.next(keyspace), None);
    stop(node).await;
}
