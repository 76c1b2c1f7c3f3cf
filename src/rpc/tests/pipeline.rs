//! The pipeline: every operation gets its own answer, and the stream survives what is wrong with one of them.

use std::collections::BTreeMap;

use tokio_stream::{wrappers::ReceiverStream, StreamExt};

use super::*;
use crate::{
    limits::{BATCH_OPERATIONS_MAX, STREAMS_PER_CONNECTION_MAX, VALUE_BYTES_MAX},
    wire::v1::{self, operation::Operation as Body, operation_result::Result as Outcome},
};

/// Sends messages, closes the stream and gives the answers by id.
async fn run(fixture: &Fixture, messages: Vec<Vec<v1::Operation>>) -> BTreeMap<u64, Outcome> {
    let requests = messages.into_iter().map(|operations| v1::PipelineRequest { operations });
    let response = fixture.client().await.pipeline(tokio_stream::iter(requests.collect::<Vec<_>>())).await.unwrap();
    let mut answers = BTreeMap::new();
    let mut stream = response.into_inner();
    while let Some(message) = within(stream.next()).await {
        for result in message.unwrap().results {
            let earlier = answers.insert(result.id, result.result.unwrap());
            assert!(earlier.is_none(), "operation {} was answered twice", result.id);
        }
    }
    answers
}

fn put(id: u64, key: &str, value: Bytes) -> v1::Operation {
    let request = v1::PutRequest { key: key.to_string().into(), value, ..v1::PutRequest::default() };
    v1::Operation { id, operation: Some(Body::Put(request)) }
}

fn get(id: u64, key: &str) -> v1::Operation {
    let request = v1::GetRequest { key: key.to_string().into(), ..v1::GetRequest::default() };
    v1::Operation { id, operation: Some(Body::Get(request)) }
}

fn failure_code(outcome: &Outcome) -> &str {
    match outcome {
        Outcome::Failure(failure) => &failure.code,
        other => panic!("{other:?} is no failure"),
    }
}

#[tokio::test]
async fn a_thousand_operations_in_one_message_are_each_answered_once() {
    for transport in transports() {
        let fixture = Fixture::new(transport).await;
        let puts = (0..500).map(|i| put(i, &format!("k{i}"), Bytes::from(format!("v{i}"))));
        let gets = (0..500).map(|i| get(500 + i, &format!("k{i}")));
        let answers = run(&fixture, vec![puts.chain(gets).collect()]).await;
        assert_eq!(answers.len(), 1000);
        for i in 0..500 {
            let Outcome::Get(v1::GetResponse { entry: Some(entry), .. }) = &answers[&(500 + i)] else { panic!("{i}") };
            assert_eq!(entry.value, format!("v{i}"));
        }
    }
}

#[tokio::test]
async fn large_values_are_spread_over_several_answers() {
    let fixture = Fixture::new(simulated()).await;
    for i in 0..20 {
        run(&fixture, vec![vec![put(i, &format!("k{i}"), bytes(VALUE_BYTES_MAX))]]).await;
    }
    let answers = run(&fixture, vec![(0..20).map(|i| get(i, &format!("k{i}"))).collect()]).await;
    assert_eq!(answers.len(), 20);
    for outcome in answers.values() {
        assert!(
            matches!(outcome, Outcome::Get(v1::GetResponse { entry: Some(e), .. }) if e.value.len() == VALUE_BYTES_MAX)
        );
    }
}

#[tokio::test]
async fn a_bad_operation_fails_alone_and_the_stream_goes_on() {
    let fixture = Fixture::new(simulated()).await;
    let absent = v1::Operation { id: 1, operation: None };
    let stranger = v1::GetRequest { keyspace: "other".to_string(), key: "k".into(), metadata_only: false };
    let stranger = v1::Operation { id: 3, operation: Some(Body::Get(stranger)) };
    let messages = vec![vec![absent, put(2, "", Bytes::new()), stranger, put(4, "k", "v".into())], vec![get(5, "k")]];
    let answers = run(&fixture, messages).await;
    assert_eq!(failure_code(&answers[&1]), "MALFORMED_MESSAGE");
    assert_eq!(failure_code(&answers[&2]), "KEY_EMPTY");
    assert_eq!(failure_code(&answers[&3]), "UNKNOWN_KEYSPACE");
    assert!(matches!(answers[&4], Outcome::Put(_)));
    assert!(matches!(&answers[&5], Outcome::Get(v1::GetResponse { entry: Some(_), .. })));
}

#[tokio::test]
async fn a_message_of_too_many_operations_is_refused_operation_by_operation() {
    let fixture = Fixture::new(simulated()).await;
    let puts = |count: usize| (0..count as u64).map(|i| put(i, "k", Bytes::new())).collect::<Vec<_>>();
    let answers = run(&fixture, vec![puts(BATCH_OPERATIONS_MAX + 1)]).await;
    assert_eq!(answers.len(), BATCH_OPERATIONS_MAX + 1);
    assert!(answers.values().all(|outcome| failure_code(outcome) == "BATCH_TOO_LARGE"));
    assert_eq!(fixture.host.keyspace.stats().keys, 0);
    let answers = run(&fixture, vec![puts(BATCH_OPERATIONS_MAX)]).await;
    assert!(answers.values().all(|outcome| matches!(outcome, Outcome::Put(_))));
}

#[tokio::test]
async fn an_answer_does_not_wait_for_the_next_message() {
    let fixture = Fixture::new(simulated()).await;
    let (sender, requests) = tokio::sync::mpsc::channel(1);
    let response = within(fixture.client().await.pipeline(ReceiverStream::new(requests))).await.unwrap();
    let mut answers = response.into_inner();
    for id in 0..3 {
        let ping = v1::Operation { id, operation: Some(Body::Ping(v1::PingRequest {})) };
        sender.send(v1::PipelineRequest { operations: vec![ping] }).await.unwrap();
        let results = within(answers.next()).await.unwrap().unwrap().results;
        assert_eq!(results.iter().map(|result| result.id).collect::<Vec<_>>(), [id]);
    }
}

#[tokio::test]
async fn long_streams_leave_room_for_other_calls_up_to_the_bound() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    let mut open = Vec::new();
    for _ in 1..STREAMS_PER_CONNECTION_MAX {
        let (sender, requests) = tokio::sync::mpsc::channel::<v1::PipelineRequest>(1);
        let answers = within(client.pipeline(ReceiverStream::new(requests))).await.unwrap();
        open.push((sender, answers));
    }
    within(client.count(v1::CountRequest::default())).await.unwrap();

    // One more stream takes the last place: the next call has to wait until one ends.
    let (_sender, requests) = tokio::sync::mpsc::channel::<v1::PipelineRequest>(1);
    let _answers = within(client.pipeline(ReceiverStream::new(requests))).await.unwrap();
    let mut waiting = std::pin::pin!(client.count(v1::CountRequest::default()));
    assert!(tokio::time::timeout(Duration::from_millis(50), &mut waiting).await.is_err());
    open.pop();
    within(waiting).await.unwrap();
}
