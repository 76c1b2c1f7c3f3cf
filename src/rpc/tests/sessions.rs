//! Sessions in other languages: marks, and the question whether a node has what they name.

use super::*;
use crate::{
    limits::SESSION_LOST_AFTER,
    wire::v1::{self, operation::Operation as Body, operation_result::Result as Outcome},
};

fn put(key: &'static [u8]) -> v1::PutRequest {
    v1::PutRequest { key: Bytes::from_static(key), ..v1::PutRequest::default() }
}

fn get(key: &'static [u8]) -> v1::GetRequest {
    v1::GetRequest { key: Bytes::from_static(key), ..v1::GetRequest::default() }
}

fn question(mark: &v1::Mark, wait_ms: u32) -> v1::CatchUpRequest {
    let v1::Mark { partition, node_id, sequence, version } = *mark;
    let wanted = vec![v1::PartitionVector { partition, node_ids: vec![node_id], sequences: vec![sequence] }];
    v1::CatchUpRequest { wanted, clock: version, wait_ms, ..v1::CatchUpRequest::default() }
}

#[tokio::test]
async fn every_answer_carries_its_mark_and_that_of_a_miss_is_the_delete() {
    for transport in transports() {
        let fixture = Fixture::new(transport).await;
        let mut client = fixture.client().await;
        assert_eq!(client.get(get(b"a")).await.unwrap().into_inner(), v1::GetResponse::default());
        let stored = client.put(put(b"a")).await.unwrap().into_inner();
        let mark = stored.mark.unwrap();
        assert_eq!((mark.node_id, mark.sequence, mark.version), (7, 1, stored.version));
        assert_eq!(client.get(get(b"a")).await.unwrap().into_inner().mark, Some(mark));
        let key = Bytes::from_static(b"a");
        let request = v1::DeleteRequest { key, ..v1::DeleteRequest::default() };
        let deleted = client.delete(request).await.unwrap().into_inner().mark;
        assert_eq!(deleted.unwrap().sequence, 2);
        let missed = client.get(get(b"a")).await.unwrap().into_inner();
        assert_eq!((missed.entry, missed.mark), (None, deleted));
        let count = v1::CountRequest::default();
        assert_eq!(client.count(count.clone()).await.unwrap().into_inner().seen, None);
        let counted = client.count(v1::CountRequest { with_seen: true, ..count }).await.unwrap().into_inner();
        let partition = deleted.unwrap().partition;
        let vector = v1::PartitionVector { partition, node_ids: vec![7], sequences: vec![2] };
        let seen = v1::SeenPartitions { partitions: vec![vector], clock: deleted.unwrap().version };
        assert_eq!(counted.seen, Some(seen));
        let question = question(&mark, 0);
        assert_eq!(within(client.catch_up(question)).await.unwrap().into_inner(), v1::CatchUpResponse::default());
    }
}

#[tokio::test]
async fn what_is_missing_is_waited_for_and_then_named() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    let missing = v1::Mark { partition: 3, node_id: 9, sequence: 4, version: 0 };
    assert_eq!(code(client.catch_up(question(&missing, 50)).await), ErrorCode::SessionBehind);
    let started = tokio::time::Instant::now();
    let answer = within(client.catch_up(question(&missing, 0))).await.unwrap().into_inner();
    assert_eq!(answer.lost, [v1::LostWrites { partition: 3, node_id: 9, last_here: 0 }]);
    assert!(started.elapsed() >= SESSION_LOST_AFTER);
    let ahead = v1::Mark { version: 1_800_000_000_000 << 16, ..missing };
    assert_eq!(code(client.catch_up(question(&ahead, 50)).await), ErrorCode::ClockSkew);
}

#[tokio::test]
async fn on_a_stream_nothing_waits_for_the_question_and_what_follows_is_above_its_clock() {
    let fixture = Fixture::new(simulated()).await;
    let mut client = fixture.client().await;
    let clock = (1_700_000_000_000 + 5_000) << 16;
    let missing = v1::Mark { partition: 3, node_id: 9, sequence: 4, version: clock };
    let bodies = [
        Body::CatchUp(question(&missing, 200)),
        Body::Put(put(b"a")),
        Body::CatchUp(question(&missing, 200)),
        Body::Get(get(b"a")),
    ];
    let operations =
        bodies.into_iter().enumerate().map(|(id, body)| v1::Operation { id: id as u64, operation: Some(body) });
    let request = v1::PipelineRequest { operations: operations.collect() };
    // The client says that it has nothing more to ask, and gets every answer all the same.
    let mut answers = client.pipeline(tokio_stream::iter([request])).await.unwrap().into_inner();
    let first = within(answers.message()).await.unwrap().unwrap().results;
    assert_eq!(first.iter().map(|result| result.id).collect::<Vec<_>>(), [1, 2, 3]);
    let Some(Outcome::Put(stored)) = &first[0].result else { panic!("{first:?}") };
    assert!(stored.version > clock);
    assert!(matches!(&first[1].result, Some(Outcome::Failure(failure)) if failure.code == "OVERLOADED"));
    assert!(matches!(&first[2].result, Some(Outcome::Get(_))));
    let second = within(answers.message()).await.unwrap().unwrap().results;
    assert!(matches!(&second[0].result, Some(Outcome::Failure(failure)) if failure.code == "SESSION_BEHIND"));
    assert_eq!(within(answers.message()).await.unwrap(), None);
}
