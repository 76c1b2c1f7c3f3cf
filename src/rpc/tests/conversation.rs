//! Questions over a stream: how many at a time, in which order, and how it ends.

use std::collections::BTreeSet;

use tokio::sync::Semaphore;
use tokio_stream::wrappers::ReceiverStream;
use tonic::Streaming;

use super::*;
use crate::{
    limits::{CONVERSATION_UNDER_WAY_MAX, STRONG_BATCH_CALLS_MAX},
    rpc::strong::fake::Fault,
    wire::v1::{self, strong_client::StrongClient},
};

struct Talk {
    group: Arc<FakeGroup>,
    fixture: Fixture,
    questions: mpsc::Sender<v1::StrongBatchRequest>,
    answers: Streaming<v1::StrongBatchResponse>,
}

/// What asks for the ids of a session.
fn question(number: u64) -> v1::StrongBatchRequest {
    let command = Some(v1::submit_request::Command::Register(v1::RegisterCommand {}));
    let submit = v1::SubmitRequest { command, ..v1::SubmitRequest::default() };
    let calls = vec![v1::StrongCall { call: Some(v1::strong_call::Call::Submit(submit)) }];
    v1::StrongBatchRequest { calls, number, patience_ms: 20_000 }
}

impl Talk {
    async fn new(transport: Arc<dyn Transport>) -> Talk {
        let group = FakeGroup::new();
        let fixture = Fixture::with_group(transport, group.clone()).await;
        let (questions, asked) = mpsc::channel(2 * CONVERSATION_UNDER_WAY_MAX);
        let mut client = StrongClient::new(fixture.channel().await);
        let answers = within(client.converse(ReceiverStream::new(asked))).await.unwrap().into_inner();
        Talk { group, fixture, questions, answers }
    }

    async fn ask(&self, number: u64) {
        self.questions.send(question(number)).await.unwrap();
    }

    /// `None`: the stream has ended.
    async fn answer(&mut self) -> Option<v1::StrongBatchResponse> {
        within(self.answers.message()).await.unwrap()
    }

    async fn heard(&self, count: usize) {
        within(async {
            while self.group.calls().len() < count {
                tokio::task::yield_now().await;
            }
        })
        .await;
    }
}

#[tokio::test]
async fn each_answer_comes_when_it_is_there() {
    for transport in transports() {
        let mut talk = Talk::new(transport).await;
        talk.group.order([Fault::Hang]);
        talk.ask(7).await;
        talk.heard(1).await;
        for number in [3, 9] {
            talk.ask(number).await;
            let answer = talk.answer().await.unwrap();
            assert_eq!((answer.number, answer.results.len(), answer.is_end), (number, 1, false));
        }
        *talk.group.leader.lock() = Some(NodeId(5));
        talk.ask(1).await;
        assert_eq!(talk.answer().await.unwrap().leader, Some(5));
    }
}

#[tokio::test]
async fn no_more_than_so_many_are_under_way() {
    for transport in transports() {
        let mut talk = Talk::new(transport).await;
        talk.group.gate.forget_permits(Semaphore::MAX_PERMITS);
        let all = CONVERSATION_UNDER_WAY_MAX as u64 + 2;
        for number in 0..all {
            talk.ask(number).await;
        }
        talk.heard(CONVERSATION_UNDER_WAY_MAX).await;
        // As long as an answer to somebody else takes.
        within(talk.fixture.client().await.count(v1::CountRequest::default())).await.unwrap();
        assert_eq!(talk.group.calls().len(), CONVERSATION_UNDER_WAY_MAX);
        talk.group.gate.add_permits(1);
        let mut answered = BTreeSet::new();
        for _ in 0..all {
            answered.insert(talk.answer().await.unwrap().number);
        }
        assert_eq!(answered, (0..all).collect());
    }
}

#[tokio::test]
async fn a_server_that_closes_answers_what_it_has_heard_and_says_that_the_rest_was_not() {
    for transport in transports() {
        let talk = Talk::new(transport).await;
        talk.group.gate.forget_permits(Semaphore::MAX_PERMITS);
        talk.ask(1).await;
        talk.heard(1).await;
        let Talk { group, fixture, questions, mut answers } = talk;
        let closing = tokio::spawn(fixture.server.shutdown(DEADLINE));
        // Heard or not, as it happens.
        questions.send(question(2)).await.unwrap();
        tokio::task::yield_now().await;
        group.gate.add_permits(1);
        let mut answered = Vec::new();
        loop {
            let answer = within(answers.message()).await.unwrap().expect("the last word comes first");
            if answer.is_end {
                break;
            }
            answered.push(answer.number);
        }
        assert_eq!((answered.len(), answered[0]), (group.calls().len(), 1));
        assert_eq!(within(answers.message()).await.unwrap(), None);
        assert!(within(closing).await.unwrap(), "it had to cut");
    }
}

#[tokio::test]
async fn what_cannot_be_done_at_all_is_said_and_the_stream_goes_on() {
    let mut talk = Talk::new(simulated()).await;
    let calls = vec![v1::StrongCall::default(); STRONG_BATCH_CALLS_MAX + 1];
    talk.questions.send(v1::StrongBatchRequest { calls, ..question(4) }).await.unwrap();
    let answer = talk.answer().await.unwrap();
    assert_eq!((answer.number, answer.failure.unwrap().code), (4, "BATCH_TOO_LARGE".to_string()));
    talk.ask(5).await;
    let answer = talk.answer().await.unwrap();
    assert_eq!((answer.number, answer.results.len(), answer.failure), (5, 1, None));
}
