//! A session that loses its node: what the next one shows.

use super::*;
use crate::{
    limits::SESSION_LOST_AFTER,
    replication::eventual::{Applied, OutboxBounds},
    types::{CommandKind, KeyRange, PageRequest, Sequence},
};

/// Two nodes with data of their own; what the second gets of the first the test says.
struct Pair {
    world: World,
    data: [Arc<Eventual>; 2],
    servers: Vec<Server>,
    addresses: Vec<Address>,
}

impl Pair {
    async fn new(world: World) -> Pair {
        let keyspace =
            |node| Eventual::with_outbox_bounds(NodeId(node), Arc::new(SystemClock::new()), OutboxBounds::default());
        let data = [Arc::new(keyspace(1)), Arc::new(keyspace(2))];
        let (mut servers, mut addresses) = (Vec::new(), Vec::new());
        for data in &data {
            let (server, address) = world.node_of(data).await;
            servers.push(server);
            addresses.push(address);
        }
        Pair { world, data, servers, addresses }
    }

    fn client(&self) -> Client {
        self.world.client(&[&self.addresses[0], &self.addresses[1]])
    }

    /// The first node vanishes.
    async fn lose_first(&mut self) {
        self.servers.remove(0).shutdown(Duration::ZERO).await;
    }

    /// Replication gets through.
    fn push(&self) {
        let [from, to] = &self.data;
        for partition in from.partition_ids() {
            let stretch = from.own_changes(partition, Sequence(1), (1000, 1 << 20)).unwrap();
            assert!(matches!(to.apply_changes(from.me(), stretch), Applied::UpTo(_)));
        }
    }
}

fn write(data: &Eventual, name: &str, kind: CommandKind) {
    data.write(Command { key: key(name), kind }).unwrap();
}

async fn local(client: &Client, name: &str) -> Option<Vec<u8>> {
    let answer = client.call_at(vec![get(name)], ReadLevel::Local, SECONDS).await.unwrap().remove(0).unwrap();
    match answer {
        Answer::Entry(entry) => entry.map(|entry| entry.value.to_vec()),
        other => panic!("a get was answered by {other:?}"),
    }
}

/// Enough for a busy machine to ask the second node, and less than it takes to call writes lost.
fn short() -> Option<Duration> {
    Some(SESSION_LOST_AFTER / 4)
}

#[test]
fn a_session_reads_its_own_write_on_a_node_that_lags_and_a_local_read_does_not_wait() {
    over_both(|world| async move {
        let mut pair = Pair::new(world).await;
        let client = pair.client();
        store(&client, "a", b"mine").await.unwrap();
        pair.lose_first().await;
        assert_eq!(local(&client, "a").await, None);
        let error = client.call(vec![get("a")], short()).await.unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::SessionBehind, false));
        let reading = {
            let client = client.clone();
            tokio::spawn(async move { value(&client, "a").await })
        };
        // A write does not wait, and wins against the one that it does not find.
        store(&client, "a", b"later").await.unwrap();
        assert!(!reading.is_finished());
        pair.push();
        assert_eq!(reading.await.unwrap(), Ok(Some(b"later".to_vec())));
    });
}

#[test]
fn whatever_a_session_has_read_stays_read() {
    over_both(|world| async move {
        let pages = PageRequest {
            range: KeyRange::prefix(b""),
            reverse: false,
            keys_max: 10,
            bytes_target: limits::PAGE_BYTES_TARGET,
        };
        let reads = [
            get("a"),
            Operation::Count(KeyRange::prefix(b"")),
            Operation::Scan { page: pages.clone(), keys_only: true },
            Operation::Scan { page: pages, keys_only: false },
            Operation::Write(Command { key: key("gone"), kind: CommandKind::Touch { ttl_ms: None } }),
            get("gone"),
        ];
        for read in reads {
            let mut pair = Pair::new(World::new(world.env.transport.clone())).await;
            // The second node has the old state: no "a", and "gone" still there.
            write(&pair.data[0], "gone", CommandKind::Put { value: Value::new(b"1").unwrap(), flags: 0, ttl_ms: None });
            pair.push();
            write(&pair.data[0], "gone", CommandKind::Delete);
            write(&pair.data[0], "a", CommandKind::Put { value: Value::new(b"1").unwrap(), flags: 0, ttl_ms: None });
            let client = pair.client();
            client.call(vec![read.clone()], SECONDS).await.unwrap().remove(0).unwrap();
            pair.lose_first().await;
            let error = client.call(vec![get("b")], short()).await.unwrap_err();
            assert_eq!(error.code(), ErrorCode::SessionBehind, "{read:?}");
            pair.push();
            assert_eq!(value(&client, "gone").await, Ok(None));
        }
    });
}

#[test]
fn a_session_that_has_seen_nothing_waits_for_nothing() {
    over_both(|world| async move {
        let mut pair = Pair::new(world).await;
        let client = pair.client();
        assert_eq!(value(&client, "a").await, Ok(None));
        pair.lose_first().await;
        assert_eq!(value(&client, "a").await, Ok(None));
    });
}

#[test]
fn writes_that_went_with_their_node_are_told_once_and_the_session_goes_on() {
    with_tcp(|world| async move {
        let mut pair = Pair::new(world).await;
        let client = pair.client();
        store(&client, "a", b"1").await.unwrap();
        pair.push();
        store(&client, "a", b"2").await.unwrap();
        pair.lose_first().await;
        let started = tokio::time::Instant::now();
        let error = value(&client, "a").await.unwrap_err();
        assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::SessionLost, false));
        assert!(error.message().contains("node 0000000000000001"), "{error}");
        assert!(started.elapsed() >= SESSION_LOST_AFTER);
        assert_eq!(value(&client, "a").await, Ok(Some(b"1".to_vec())));
        store(&client, "a", b"3").await.unwrap();
        assert_eq!(value(&client, "a").await, Ok(Some(b"3".to_vec())));
    });
}
