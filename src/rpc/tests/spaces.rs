//! Eventual keyspaces by name: one that the node has not heard of is asked for, and holds nothing else up.

use tokio_stream::{wrappers::ReceiverStream, StreamExt};

use super::*;
use crate::{
    types::{Edition, Listed, SpaceId},
    wire::v1::{self, operation::Operation as Body, operation_result::Result as Outcome},
};

fn catalogue(edition: u64) -> Catalogue {
    let edition = Edition { made: edition, dropped: 0 };
    let mut catalogue = Catalogue { edition, group: Some(5), ..Catalogue::default() };
    let space = SpaceId { group: 5, keyspace: 1 };
    catalogue.list("jobs", Listed::Eventual { space, keep_conflicts: 1 });
    catalogue.list("bank", Listed::Strong);
    catalogue
}

/// The next question is answered so, once the word is given.
fn ask_later(fixture: &Fixture, answer: OurResult<Catalogue>) -> oneshot::Sender<()> {
    let (word, waiting) = oneshot::channel();
    *fixture.host.question.lock() = Some((waiting, answer));
    word
}

fn put(id: u64, keyspace: &str, value: &str) -> v1::Operation {
    let (key, value) = (Bytes::from_static(b"\xff\x01"), Bytes::copy_from_slice(value.as_bytes()));
    let request = v1::PutRequest { keyspace: keyspace.into(), key, value, ..v1::PutRequest::default() };
    v1::Operation { id, operation: Some(Body::Put(request)) }
}

fn get(id: u64, keyspace: &str) -> v1::Operation {
    let key = Bytes::from_static(b"\xff\x01");
    let request = v1::GetRequest { keyspace: keyspace.into(), key, metadata_only: false };
    v1::Operation { id, operation: Some(Body::Get(request)) }
}

/// By id: the value of a get, "" for a put, or the code of a failure.
fn told(results: Vec<v1::OperationResult>) -> Vec<(u64, String)> {
    let tell = |result: v1::OperationResult| {
        let text = match result.result.unwrap() {
            Outcome::Get(response) => String::from_utf8(response.entry.unwrap().value.to_vec()).unwrap(),
            Outcome::Put(_) => String::new(),
            Outcome::Failure(failure) => failure.code,
            other => panic!("{other:?}"),
        };
        (result.id, text)
    };
    results.into_iter().map(tell).collect()
}

fn pairs(told: &[(u64, &str)]) -> Vec<(u64, String)> {
    told.iter().map(|(id, text)| (*id, text.to_string())).collect()
}

#[tokio::test]
async fn what_waits_for_the_group_is_done_in_order_and_nothing_else_waits() {
    let fixture = Fixture::new(simulated()).await;
    let word = ask_later(&fixture, Ok(catalogue(1)));
    let (requests, receiver) = mpsc::channel(4);
    let stream = fixture.client().await.pipeline(ReceiverStream::new(receiver)).await.unwrap();
    let mut answers = stream.into_inner();
    let operations = vec![
        put(1, "jobs", "first"),
        put(2, "", "default"),
        put(3, "jobs", "second"),
        get(4, "default"),
        get(5, "bank"),
    ];
    requests.send(v1::PipelineRequest { operations }).await.unwrap();
    let at_once = within(answers.next()).await.unwrap().unwrap();
    assert_eq!(told(at_once.results), pairs(&[(2, ""), (4, "default")]));
    word.send(()).unwrap();
    let later = within(answers.next()).await.unwrap().unwrap();
    assert_eq!(told(later.results), pairs(&[(1, ""), (3, ""), (5, "KEYSPACE_IS_STRONG")]));
    let long = "x".repeat(10_000);
    let operations = vec![get(6, "jobs"), get(7, &long), get(8, "none"), get(9, "default")];
    requests.send(v1::PipelineRequest { operations }).await.unwrap();
    drop(requests);
    let mut rest = Vec::new();
    while let Some(message) = within(answers.next()).await {
        rest.extend(message.unwrap().results);
    }
    rest.sort_by_key(|result| result.id);
    let wanted = [(6, "second"), (7, "INVALID_ARGUMENT"), (8, "UNKNOWN_KEYSPACE"), (9, "default")];
    assert_eq!(told(rest), pairs(&wanted), "the stream ends when the last is answered");
}

#[tokio::test]
async fn where_the_group_does_not_answer_nothing_was_done() {
    let fixture = Fixture::new(simulated()).await;
    let failure = Error::new(ErrorCode::NoLeader, "nobody leads");
    ask_later(&fixture, Err(failure.clone())).send(()).unwrap();
    let request = v1::PipelineRequest { operations: vec![put(1, "jobs", "lost")] };
    let stream = fixture.client().await.pipeline(tokio_stream::iter([request])).await.unwrap();
    let answer = within(stream.into_inner().next()).await.unwrap().unwrap();
    assert_eq!(told(answer.results), pairs(&[(1, "NO_LEADER")]));
    ask_later(&fixture, Err(failure)).send(()).unwrap();
    let Some(Body::Put(put)) = put(0, "jobs", "lost").operation else { panic!("it is a put") };
    assert_eq!(code(within(fixture.client().await.put(put)).await), ErrorCode::NoLeader);
    assert_eq!(fixture.host.keyspace.stats().keys, 0);
}

#[tokio::test]
async fn every_unary_call_goes_to_its_keyspace() {
    let fixture = Fixture::new(simulated()).await;
    fixture.host.keyspace.take_catalogue(catalogue(1));
    let mut client = fixture.client().await;
    for keyspace in ["", "jobs"] {
        let Some(Body::Put(request)) = put(0, keyspace, keyspace).operation else { panic!("it is a put") };
        let items = vec![v1::PutRequest { keyspace: String::new(), key: bytes(3), ..request.clone() }];
        client.put(request).await.unwrap();
        let batch = v1::BatchPutRequest { keyspace: keyspace.into(), items };
        client.batch_put(batch).await.unwrap();
    }
    let keyspace = || "jobs".to_string();
    let range = || Some(v1::Range { prefix: Bytes::from_static(b"\xff"), ..v1::Range::default() });
    let count = client.count(v1::CountRequest { keyspace: keyspace(), range: range(), with_seen: false }).await;
    assert_eq!(count.unwrap().into_inner().count, 1);
    let keys = vec![bytes(3), Bytes::from_static(b"\xff\x01")];
    let found = client.batch_get(v1::BatchGetRequest { keyspace: keyspace(), keys: keys.clone() }).await.unwrap();
    assert!(found.into_inner().entries.iter().all(|entry| entry.value == "jobs"));
    let scan = v1::ScanRequest { keyspace: keyspace(), page_size: 1, ..v1::ScanRequest::default() };
    let mut pages = client.scan(scan).await.unwrap().into_inner();
    let mut scanned = Vec::new();
    while let Some(page) = within(pages.next()).await {
        scanned.extend(page.unwrap().entries.into_iter().map(|entry| entry.key));
    }
    assert_eq!(scanned, keys, "also from page to page");
    let watch = v1::WatchRequest { keyspace: keyspace(), initial: true, ..v1::WatchRequest::default() };
    let mut pages = client.watch(watch).await.unwrap().into_inner();
    let mut watched = Vec::new();
    while watched.len() < 2 {
        let page = within(pages.next()).await.unwrap().unwrap();
        watched.extend(page.events.into_iter().map(|event| event.entry.unwrap().value));
    }
    assert_eq!(watched, ["jobs", "jobs"]);
    let touch = v1::TouchRequest { keyspace: keyspace(), key: bytes(3), ttl_ms: None };
    assert!(client.touch(touch).await.unwrap().into_inner().existed);
    let delete = v1::BatchDeleteRequest { keyspace: keyspace(), keys };
    assert_eq!(client.batch_delete(delete).await.unwrap().into_inner().existed, 2);
    let holdings = node_holdings(fixture.channel().await).await.unwrap();
    assert_eq!(
        holdings.iter().map(|held| (held.keyspace.as_str(), held.keys)).collect::<Vec<_>>(),
        [("default", 2), ("jobs", 0)]
    );
    let strong = v1::GetRequest { keyspace: "bank".into(), key: bytes(3), metadata_only: true };
    assert_eq!(code(client.get(strong).await), ErrorCode::KeyspaceIsStrong);
    let conflicts = v1::ConflictsRequest { keyspace: "none".into(), ..v1::ConflictsRequest::default() };
    assert_eq!(code(client.conflicts(conflicts).await), ErrorCode::UnknownKeyspace);
}
