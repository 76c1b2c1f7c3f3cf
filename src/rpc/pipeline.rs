//! The `Pipeline` stream: each message is executed at once, in order, and answered by id.
//!
//! No task and no queue: the answers are made when HTTP/2 asks for them, so a client that does not read is not read from
//! either, and a stream holds one message and one answer at most.

use std::{
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{ready, Context, Poll},
    time::Duration,
    vec,
};

use prost::Message;
use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::phase::{Phase, PhaseWatch};
use crate::{
    error::Result,
    faults::is_mutant,
    limits::{check_batch, PIPELINE_ANSWER_BYTES_TARGET},
    replication::{eventual::Eventual, execute},
    types::{Answer, Operation, Timestamp, Written},
    wire::{
        kv::{decode_operation, encode_result, AnswerKind},
        v1,
    },
};

/// The state of one stream.
struct Pipeline {
    keyspace: Arc<Eventual>,
    phase: PhaseWatch,
    inbound: Streaming<v1::PipelineRequest>,
    /// Of the last message, those that are not executed yet.
    waiting: vec::IntoIter<v1::Operation>,
    /// Whether the last message as a whole may be executed.
    verdict: Result<()>,
}

/// The answers to the operations of `inbound`, until it ends or the server closes.
pub(super) fn answers(
    keyspace: Arc<Eventual>,
    phase: PhaseWatch,
    inbound: Streaming<v1::PipelineRequest>,
) -> impl Stream<Item = Result<v1::PipelineResponse, Status>> + Send {
    let closing = phase.clone().reached(Phase::Closing);
    until(closing, Pipeline { keyspace, phase, inbound, waiting: Vec::new().into_iter(), verdict: Ok(()) })
}

impl Pipeline {
    /// Executes what waits, as much as fits into one answer. `None` when nothing waits.
    fn answer(&mut self) -> Option<v1::PipelineResponse> {
        let mut results = Vec::with_capacity(self.waiting.len());
        let mut bytes = 0;
        while bytes < PIPELINE_ANSWER_BYTES_TARGET {
            let Some(operation) = self.waiting.next() else { break };
            let result = self.result(operation);
            bytes += result.encoded_len();
            results.push(result);
        }
        (!results.is_empty()).then_some(v1::PipelineResponse { results })
    }

    fn result(&self, operation: v1::Operation) -> v1::OperationResult {
        let id = operation.id;
        let checked = self.verdict.clone().and_then(|()| decode_operation(operation));
        match checked {
            Ok(operation) => encode_result(id, AnswerKind::of(&operation), self.execute(operation)),
            // A failure looks the same whatever was asked for.
            Err(error) => encode_result(id, AnswerKind::Ping, Err(error)),
        }
    }

    fn execute(&self, operation: Operation) -> Result<Answer> {
        self.phase.check_serving()?;
        if is_mutant("ack_before_applying") && operation.is_write() {
            return Ok(apply_later(self.keyspace.clone(), operation));
        }
        execute(&self.keyspace, operation)
    }

    fn take(&mut self, request: v1::PipelineRequest) {
        // The bytes of a message are bounded by its weight on the wire.
        self.verdict = check_batch(request.operations.len(), 0);
        self.waiting = request.operations.into_iter();
    }
}

impl Stream for Pipeline {
    type Item = Result<v1::PipelineResponse, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        loop {
            if let Some(response) = self.answer() {
                return Poll::Ready(Some(Ok(response)));
            }
            match ready!(Pin::new(&mut self.inbound).poll_next(cx)) {
                Some(Ok(request)) => self.take(request),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => return Poll::Ready(None),
            }
        }
    }
}

/// A known mistake, see [`crate::faults`]: the answer to a write that is applied later, if the node lives so long. The
/// version is the one that the write would probably get.
fn apply_later(keyspace: Arc<Eventual>, operation: Operation) -> Answer {
    let version = match &operation {
        Operation::Write(command) => keyspace.read(&command.key).map_or(Timestamp(1), |record| record.timestamp.next()),
        Operation::Get { .. } | Operation::Count(_) | Operation::Scan { .. } | Operation::Ping => Timestamp::ZERO,
    };
    tokio::spawn(async move {
        tokio::time::sleep(Duration::from_millis(20)).await;
        execute(&keyspace, operation)
    });
    Answer::Written(Written { version, existed: false })
}

/// `stream` until `end` returns, also while the stream has more.
pub(super) fn until<S: Stream + Send + Unpin>(
    end: impl Future<Output = ()> + Send + 'static,
    stream: S,
) -> impl Stream<Item = S::Item> + Send {
    Until { stream, end: Box::pin(end) }
}

struct Until<S> {
    stream: S,
    end: Pin<Box<dyn Future<Output = ()> + Send>>,
}

impl<S: Stream + Unpin> Stream for Until<S> {
    type Item = S::Item;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<S::Item>> {
        if self.end.as_mut().poll(cx).is_ready() {
            return Poll::Ready(None);
        }
        Pin::new(&mut self.stream).poll_next(cx)
    }
}
