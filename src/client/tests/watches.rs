//! Watches while nodes and connections come and go.

use super::*;
use crate::types::{WatchFilter, WatchPage, WatchRequest, WatchStart};

fn all(start: WatchStart) -> WatchRequest {
    WatchRequest { filter: WatchFilter::All, start }
}

/// The keys that a watch tells of, until it has told of so many.
async fn told(watch: &Watch, count: usize) -> Vec<String> {
    let mut keys = Vec::new();
    while keys.len() < count {
        let page = watch.next().await.unwrap();
        keys.extend(page.events.iter().map(|event| String::from_utf8(event.key().to_vec()).unwrap()));
    }
    keys
}

#[test]
fn a_watch_goes_on_at_the_next_node_without_gap_or_repeat() {
    over_both(|world| async move {
        let (first, first_address) = world.node().await;
        let (_second, second_address) = world.node().await;
        let client = world.client(&[&first_address, &second_address]);
        store(&client, "a", b"0").await.unwrap();
        let watch = client.watch(all(WatchStart::Initial), 100).unwrap();
        assert_eq!(told(&watch, 1).await, ["a"]);
        store(&client, "b", b"1").await.unwrap();
        assert_eq!(told(&watch, 1).await, ["b"]);
        first.leave().await;
        assert!(first.shutdown(Duration::from_secs(10)).await);
        store(&client, "c", b"2").await.unwrap();
        store(&client, "a", b"3").await.unwrap();
        let mut rest = told(&watch, 2).await;
        rest.sort();
        assert_eq!(rest, ["a", "c"]);
    });
}

#[test]
fn a_watch_waits_for_a_node_that_is_not_there_yet() {
    with_tcp(|world| async move {
        let (listener, address) = world.listen().await;
        drop(listener);
        let client = world.client(&[&address]);
        let watch = client.watch(all(WatchStart::Initial), 100).unwrap();
        assert!(tokio::time::timeout(Duration::from_millis(50), watch.next()).await.is_err());
        let listener = world.env.transport.listen("127.0.0.1", address.port()).await.unwrap();
        let _server = Server::spawn(listener, Arc::new(Data::new(&world.data, None)), Gate::open()).await;
        store(&client, "a", b"0").await.unwrap();
        assert_eq!(told(&watch, 1).await, ["a"]);
    });
}

#[test]
fn a_program_that_takes_nothing_holds_a_bounded_number_of_pages_and_loses_nothing() {
    over_both(|world| async move {
        let (_server, address) = world.node().await;
        let client = world.client(&[&address]);
        let watch = client.watch(all(WatchStart::Now), 1).unwrap();
        assert!(watch.next().await.unwrap().events.is_empty(), "it has begun");
        for number in 0..20_000 {
            let kind = CommandKind::Put { value: Value::new(&[b'x'; 100]).unwrap(), flags: 0, ttl_ms: None };
            world.data.write(Command { key: key(&format!("k{}", number % 5000)), kind }).unwrap();
        }
        let mut keys: Vec<String> = Vec::new();
        while keys.iter().collect::<std::collections::BTreeSet<_>>().len() < 5000 {
            keys.extend(told(&watch, 1).await);
        }
        assert!(keys.len() <= 20_000);
    });
}

#[test]
fn cancelling_closing_and_wrong_requests_end_a_watch_with_a_reason() {
    over_both(|world| async move {
        let (_server, address) = world.node().await;
        let client = world.client(&[&address]);
        let code = |result: Result<WatchPage>| result.unwrap_err().code();
        let watch = client.watch(all(WatchStart::Now), 100).unwrap();
        watch.cancel();
        assert_eq!(code(watch.next().await), ErrorCode::WatchCancelled);
        let long =
            WatchRequest { filter: WatchFilter::Prefix(vec![b'x'; limits::KEY_BYTES_MAX + 1]), start: WatchStart::Now };
        let refused = client.watch(long, 100).unwrap();
        assert_eq!(code(refused.next().await), ErrorCode::KeyTooLong);
        assert_eq!(
            client.watch(all(WatchStart::Now), 0).err().map(|error| error.code()),
            Some(ErrorCode::InvalidArgument)
        );
        let watch = client.watch(all(WatchStart::Now), 100).unwrap();
        watch.next().await.unwrap();
        client.close();
        assert_eq!(code(watch.next().await), ErrorCode::ClientClosed);
        assert_eq!(
            client.watch(all(WatchStart::Now), 1).err().map(|error| error.code()),
            Some(ErrorCode::ClientClosed)
        );
    });
}

#[test]
fn a_watch_in_this_process_tells_the_same() {
    with_tcp(|world| async move {
        let runtime = tokio::runtime::Handle::current();
        let watch = Watch::local(world.data.clone(), all(WatchStart::Now), 100, &runtime).unwrap();
        assert!(watch.next().await.unwrap().events.is_empty());
        let kind = CommandKind::Delete;
        world.data.write(Command { key: key("a"), kind }).unwrap();
        assert_eq!(told(&watch, 1).await, ["a"]);
    });
}
