//! The Watch stream.

use super::*;
use crate::{
    types::{Command, CommandKind, Key, Value, WatchFilter, WatchPosition, WatchRequest, WatchStart},
    wire::{
        kv::{decode_watch_page, encode_watch},
        v1,
    },
};

fn put(fixture: &Fixture, key: &str) {
    let kind = CommandKind::Put { value: Value::new(b"v").unwrap(), flags: 3, ttl_ms: None };
    fixture.host.keyspace.write(Command { key: Key::new(key.as_bytes()).unwrap(), kind }).unwrap();
}

fn from(start: WatchStart) -> v1::WatchRequest {
    encode_watch("", &WatchRequest { filter: WatchFilter::Prefix(b"a".to_vec()), start })
}

async fn page(pages: &mut tonic::Streaming<v1::WatchPage>) -> crate::types::WatchPage {
    decode_watch_page(within(pages.message()).await.unwrap().unwrap()).unwrap()
}

#[tokio::test]
async fn a_watch_says_where_it_begins_then_tells_of_changes_over_both_transports() {
    for transport in transports() {
        let fixture = Fixture::new(transport).await;
        put(&fixture, "a0");
        let mut pages = fixture.client().await.watch(from(WatchStart::Now)).await.unwrap().into_inner();
        let mut position = WatchPosition::new();
        let first = page(&mut pages).await;
        assert!(first.events.is_empty());
        first.advance(&mut position);
        put(&fixture, "b");
        put(&fixture, "a1");
        let told = page(&mut pages).await;
        told.advance(&mut position);
        assert_eq!(told.events.iter().map(|event| &event.key()[..]).collect::<Vec<_>>(), [b"a1"]);
        // The filtered key is not told of, but the position moves on.
        let keyspace = &fixture.host.keyspace;
        let is_whole = |position: &WatchPosition| {
            keyspace.partition_ids().all(|id| position.vector(id).covers_all(&keyspace.vector(id)))
        };
        while !is_whole(&position) {
            let marks = page(&mut pages).await;
            assert!(marks.events.is_empty());
            marks.advance(&mut position);
        }
        drop(pages);
        put(&fixture, "a2");
        let mut pages = fixture.client().await.watch(from(WatchStart::After(position))).await.unwrap().into_inner();
        page(&mut pages).await;
        let told = page(&mut pages).await;
        assert_eq!(told.events.iter().map(|event| &event.key()[..]).collect::<Vec<_>>(), [b"a2"]);
    }
}

#[tokio::test]
async fn a_server_that_leaves_ends_its_watches_with_unavailable() {
    let fixture = Fixture::new(simulated()).await;
    let mut pages = fixture.client().await.watch(from(WatchStart::Initial)).await.unwrap().into_inner();
    while !page(&mut pages).await.is_initial_done {}
    fixture.server.leave().await;
    let status = within(pages.message()).await.unwrap_err();
    assert_eq!(status.code(), tonic::Code::Unavailable);
    let refused = fixture.client().await.watch(from(WatchStart::Now)).await;
    assert_eq!(code(refused.map(|_| ())), ErrorCode::NotRunning);
}

#[tokio::test]
async fn a_wrong_request_is_refused_and_names_the_field() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    let filter = Some(v1::watch_request::Filter::Key(Bytes::new()));
    let bare = v1::WatchRequest { filter, ..v1::WatchRequest::default() };
    assert_eq!(code(client.watch(bare).await.map(|_| ())), ErrorCode::KeyEmpty);
    let marks = vec![v1::WatchMark { partition: 99, vector: vec![v1::WatchMarkEntry { node_id: 1, sequence: 1 }] }];
    let since = Some(v1::WatchPosition { marks, filter_hash: 0 });
    let status = client.watch(v1::WatchRequest { since, ..v1::WatchRequest::default() }).await.unwrap_err();
    assert!(status.message().contains("marks.partition"), "{status}");
}
