//! Every unary call and the scan, and both sides of each edge.

use tokio_stream::StreamExt;
use tonic_health::pb::{health_check_response::ServingStatus, health_client::HealthClient, HealthCheckRequest};

use super::*;
use crate::{
    limits::{BATCH_BYTES_MAX, BATCH_OPERATIONS_MAX, KEY_BYTES_MAX, PAGE_KEYS_MAX, TTL_MS_MAX, VALUE_BYTES_MAX},
    wire::v1,
};

fn put(key: &[u8], value: &[u8]) -> v1::PutRequest {
    v1::PutRequest { key: key.to_vec().into(), value: value.to_vec().into(), ..v1::PutRequest::default() }
}

fn get(key: &[u8]) -> v1::GetRequest {
    v1::GetRequest { key: key.to_vec().into(), ..v1::GetRequest::default() }
}

#[tokio::test]
async fn every_call_does_what_it_says_over_both_transports() {
    for transport in transports() {
        let fixture = Fixture::new(transport).await;
        let mut client = fixture.client().await;
        let request = v1::PutRequest { flags: 5, ttl_ms: Some(1000), ..put(b"a", b"1") };
        let version = client.put(request).await.unwrap().into_inner().version;
        let entry = client.get(get(b"a")).await.unwrap().into_inner().entry.unwrap();
        assert_eq!((&entry.key[..], &entry.value[..], entry.flags, entry.version), (&b"a"[..], &b"1"[..], 5, version));
        assert_eq!(entry.expires_ms, Some(entry.modified_ms + 1000));

        let metadata = v1::GetRequest { metadata_only: true, ..get(b"a") };
        let entry = client.get(metadata).await.unwrap().into_inner().entry.unwrap();
        assert!(entry.value.is_empty());
        assert_eq!(client.get(get(b"none")).await.unwrap().into_inner().entry, None);

        let touch = |key: &'static [u8]| v1::TouchRequest { key: key.into(), ..v1::TouchRequest::default() };
        assert!(client.touch(touch(b"a")).await.unwrap().into_inner().existed);
        assert!(!client.touch(touch(b"none")).await.unwrap().into_inner().existed);
        let entry = client.get(get(b"a")).await.unwrap().into_inner().entry.unwrap();
        assert_eq!(entry.expires_ms, None);

        assert_eq!(client.count(v1::CountRequest::default()).await.unwrap().into_inner().count, 1);
        let delete = v1::DeleteRequest { key: "a".into(), ..v1::DeleteRequest::default() };
        assert!(client.delete(delete.clone()).await.unwrap().into_inner().existed);
        assert!(!client.delete(delete).await.unwrap().into_inner().existed);
        assert_eq!(client.count(v1::CountRequest::default()).await.unwrap().into_inner().count, 0);
    }
}

#[tokio::test]
async fn batches_are_checked_whole_before_the_first_write() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    let batch = |items| v1::BatchPutRequest { items, ..v1::BatchPutRequest::default() };
    let bad = client.batch_put(batch(vec![put(b"a", b"1"), put(b"", b"2")])).await;
    assert_eq!(code(bad), ErrorCode::KeyEmpty);
    assert_eq!(fixture.host.keyspace.stats().keys, 0, "nothing was changed");

    let good = client.batch_put(batch(vec![put(b"a", b"1"), put(b"b", b"2")])).await.unwrap().into_inner();
    assert_eq!(good.versions.len(), 2);
    let keys = |keys: &[&'static str]| keys.iter().map(|&key| Bytes::from(key)).collect::<Vec<_>>();
    let request = v1::BatchGetRequest { keys: keys(&["b", "none", "a"]), ..v1::BatchGetRequest::default() };
    let found = client.batch_get(request).await.unwrap().into_inner();
    assert_eq!(found.answered, 3);
    assert_eq!(found.entries.iter().map(|entry| &entry.key[..]).collect::<Vec<_>>(), [b"b", b"a"]);

    let request = v1::BatchDeleteRequest { keys: keys(&["a", "none", "b"]), ..v1::BatchDeleteRequest::default() };
    assert_eq!(client.batch_delete(request).await.unwrap().into_inner().existed, 2);
}

#[tokio::test]
async fn each_limit_accepts_its_edge_and_refuses_the_next_by_name() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    let value = |length| v1::PutRequest { value: bytes(length), ..put(b"v", b"") };
    client.put(value(VALUE_BYTES_MAX)).await.unwrap();
    assert_eq!(code(client.put(value(VALUE_BYTES_MAX + 1)).await), ErrorCode::ValueTooLarge);
    client.put(put(&bytes(KEY_BYTES_MAX), b"")).await.unwrap();
    assert_eq!(code(client.put(put(&bytes(KEY_BYTES_MAX + 1), b"")).await), ErrorCode::KeyTooLong);
    assert_eq!(code(client.get(get(b"")).await), ErrorCode::KeyEmpty);
    let ttl = |ttl_ms| v1::PutRequest { ttl_ms: Some(ttl_ms), ..put(b"t", b"") };
    client.put(ttl(TTL_MS_MAX)).await.unwrap();
    assert_eq!(code(client.put(ttl(TTL_MS_MAX + 1)).await), ErrorCode::BadTtl);
    let scan = |page_size| v1::ScanRequest { page_size, ..v1::ScanRequest::default() };
    client.scan(scan(PAGE_KEYS_MAX as u32)).await.unwrap();
    assert_eq!(code(client.scan(scan(PAGE_KEYS_MAX as u32 + 1)).await.map(|_| ())), ErrorCode::InvalidArgument);
    let other = v1::GetRequest { keyspace: "other".to_string(), ..get(b"v") };
    assert_eq!(code(client.get(other).await), ErrorCode::UnknownKeyspace);
    client.get(v1::GetRequest { keyspace: "default".to_string(), ..get(b"v") }).await.unwrap();
}

#[tokio::test]
async fn a_full_batch_passes_and_a_fuller_one_is_refused_by_name() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    let batch = |count: usize| v1::BatchPutRequest {
        items: (0..count).map(|i| put(&(i as u32).to_be_bytes(), b"v")).collect(),
        ..v1::BatchPutRequest::default()
    };
    let versions = client.batch_put(batch(BATCH_OPERATIONS_MAX)).await.unwrap().into_inner().versions;
    assert_eq!(versions.len(), BATCH_OPERATIONS_MAX);
    assert_eq!(code(client.batch_put(batch(BATCH_OPERATIONS_MAX + 1)).await), ErrorCode::BatchTooLarge);

    // Four values of a quarter each, keys included, and then one byte more.
    let heavy = |extra: usize| v1::BatchPutRequest {
        items: (0..4)
            .map(|i| put(&[i], &bytes(BATCH_BYTES_MAX / 4 - 1)))
            .chain((0..extra).map(|_| put(b"x", b"")))
            .collect(),
        ..v1::BatchPutRequest::default()
    };
    client.batch_put(heavy(0)).await.unwrap();
    assert_eq!(code(client.batch_put(heavy(1)).await), ErrorCode::BatchTooLarge);
}

#[tokio::test]
async fn a_batch_of_gets_says_how_far_it_came_when_the_answer_is_full() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    for i in 0..6 {
        client.put(put(&[b'k', i], &bytes(VALUE_BYTES_MAX))).await.unwrap();
    }
    let mut keys: Vec<Bytes> = (0..6).map(|i| vec![b'k', i].into()).collect();
    let mut found = 0;
    while !keys.is_empty() {
        let request = v1::BatchGetRequest { keys: keys.clone(), ..v1::BatchGetRequest::default() };
        let response = client.batch_get(request).await.unwrap().into_inner();
        assert!(response.answered > 0);
        assert_eq!(response.entries.len(), response.answered as usize);
        found += response.entries.len();
        keys.drain(..response.answered as usize);
    }
    assert_eq!(found, 6);
}

#[tokio::test]
async fn a_scan_gives_every_key_once_in_order_whatever_the_page_size() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    let names: Vec<String> = (0..57).map(|i| format!("k{i:03}")).collect();
    for name in &names {
        client.put(put(name.as_bytes(), b"v")).await.unwrap();
    }
    for (page_size, limit, reverse) in [(0, 0, false), (10, 0, false), (10, 25, true), (7, 14, false), (1, 57, true)] {
        let request = v1::ScanRequest { page_size, limit, reverse, keys_only: true, ..v1::ScanRequest::default() };
        let pages: Vec<v1::ScanPage> =
            client.scan(request).await.unwrap().into_inner().map(Result::unwrap).collect().await;
        assert!(pages.iter().all(|page| page_size == 0 || page.entries.len() <= page_size as usize));
        let found: Vec<_> = pages.iter().flat_map(|page| &page.entries).map(|entry| entry.key.clone()).collect();
        let wanted = if limit == 0 { names.len() } else { limit as usize };
        let mut expected = names.clone();
        if reverse {
            expected.reverse();
        }
        assert_eq!(found, expected[..wanted], "page_size {page_size}, limit {limit}, reverse {reverse}");
    }
}

#[tokio::test]
async fn operators_get_the_whole_status_and_all_members() {
    for transport in transports() {
        let fixture = Fixture::new(transport).await;
        let channel = fixture.channel().await;
        for digests in [false, true] {
            assert_eq!(node_status(channel.clone(), digests).await.unwrap(), fixture.host.status(digests));
        }
        assert_eq!(node_members(channel).await.unwrap(), fixture.host.members());
    }
}

#[tokio::test]
async fn health_is_serving_until_the_node_leaves() {
    let fixture = Fixture::new(simulated()).await;
    let mut health = HealthClient::new(fixture.channel().await);
    let ask = |service: &str| HealthCheckRequest { service: service.to_string() };
    for service in ["", "kvstore.v1.KV"] {
        let status = health.check(ask(service)).await.unwrap().into_inner().status();
        assert_eq!(status, ServingStatus::Serving);
    }
    fixture.server.leave().await;
    assert_eq!(health.check(ask("")).await.unwrap().into_inner().status(), ServingStatus::NotServing);
    assert_eq!(code(fixture.client().await.get(get(b"a")).await), ErrorCode::NotRunning);
}

#[tokio::test]
async fn health_is_not_serving_once_the_cluster_has_removed_the_node() {
    let fixture = Fixture::new(simulated()).await;
    let mut health = HealthClient::new(fixture.channel().await);
    let ask = || HealthCheckRequest { service: "kvstore.v1.KV".to_string() };
    assert_eq!(health.check(ask()).await.unwrap().into_inner().status(), ServingStatus::Serving);
    let mut watched = health.watch(ask()).await.unwrap().into_inner();
    fixture.host.removal.notify_one();
    let becomes_not_serving =
        async { while watched.message().await.unwrap().unwrap().status() != ServingStatus::NotServing {} };
    tokio::time::timeout(DEADLINE, becomes_not_serving).await.expect("load balancers are told");
}

#[tokio::test]
async fn a_member_is_removed_or_the_reason_comes_back() {
    for transport in transports() {
        let fixture = Fixture::new(transport).await;
        let channel = fixture.channel().await;
        assert_eq!(remove_member(channel.clone(), NodeId(8), true).await, Ok(()));
        let refused = remove_member(channel.clone(), NodeId(8), false).await.unwrap_err();
        assert_eq!(refused, Error::new(ErrorCode::MemberUp, format!("{} is up", NodeId(8))));
        let nobody = remove_member(channel, NodeId(0), false).await.unwrap_err();
        assert_eq!(nobody.code(), ErrorCode::MalformedMessage);
        assert!(nobody.message().contains("node_id"), "{nobody}");
    }
}
