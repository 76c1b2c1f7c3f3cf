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

use super::{
    catch_up::{begin, CatchingUp},
    host::Host,
    phase::{Phase, PhaseWatch},
};
use crate::{
    error::{Error, ErrorCode, Result},
    faults::is_mutant,
    limits::{check_batch, PIPELINE_ANSWER_BYTES_TARGET},
    replication::{eventual::Eventual, execute, execute_seen},
    types::{Answer, Operation, Seen, Timestamp, Written},
    wire::{
        kv::{decode_operation, encode_failure, encode_result, wants_seen, AnswerKind},
        v1::{self, operation::Operation as Body, operation_result::Result as ResultBody},
    },
};

/// The state of one stream.
struct Pipeline {
    host: Arc<dyn Host>,
    phase: PhaseWatch,
    inbound: Streaming<v1::PipelineRequest>,
    /// Of the last message, those that are not executed yet.
    waiting: vec::IntoIter<v1::Operation>,
    /// Whether the last message as a whole may be executed.
    verdict: Result<()>,
    /// The catch-up that is under way, and the id of its operation. The other operations go on meanwhile.
    catching_up: Option<(u64, CatchingUp)>,
    /// The client sends nothing more.
    is_ended: bool,
}

/// The answers to the operations of `inbound`, until it ends or the server closes.
pub(super) fn answers(
    host: Arc<dyn Host>,
    phase: PhaseWatch,
    inbound: Streaming<v1::PipelineRequest>,
) -> impl Stream<Item = Result<v1::PipelineResponse, Status>> + Send {
    let closing = phase.clone().reached(Phase::Closing);
    let waiting = Vec::new().into_iter();
    until(closing, Pipeline { host, phase, inbound, waiting, verdict: Ok(()), catching_up: None, is_ended: false })
}

impl Pipeline {
    /// Executes what waits, as much as fits into one answer. `None` when nothing waits.
    fn answer(&mut self) -> Option<v1::PipelineResponse> {
        let mut results = Vec::with_capacity(self.waiting.len());
        let mut bytes = 0;
        while bytes < PIPELINE_ANSWER_BYTES_TARGET {
            let Some(operation) = self.waiting.next() else { break };
            let Some(result) = self.result(operation) else { continue };
            bytes += result.encoded_len();
            results.push(result);
        }
        (!results.is_empty()).then_some(v1::PipelineResponse { results })
    }

    /// `None`: the answer comes later.
    fn result(&mut self, operation: v1::Operation) -> Option<v1::OperationResult> {
        let (id, with_seen) = (operation.id, wants_seen(&operation));
        if let Some(Body::CatchUp(request)) = operation.operation {
            return self.catch_up(id, request).err().map(|error| failure(id, &error));
        }
        let checked = self.verdict.clone().and_then(|()| decode_operation(operation));
        Some(match checked {
            Ok(operation) => encode_result(id, AnswerKind::of(&operation), self.execute(operation, with_seen)),
            Err(error) => failure(id, &error),
        })
    }

    fn execute(&self, operation: Operation, with_seen: bool) -> Result<(Answer, Seen)> {
        self.phase.check_serving()?;
        if is_mutant("ack_before_applying") && operation.is_write() {
            return Ok((apply_later(self.host.keyspace().clone(), operation), Seen::Nothing));
        }
        execute_seen(self.host.keyspace(), operation, with_seen)
    }

    /// Begins to catch up; the clock counts at once, for what follows on the stream.
    fn catch_up(&mut self, id: u64, request: v1::CatchUpRequest) -> Result<()> {
        self.verdict.clone()?;
        self.phase.check_serving()?;
        if self.catching_up.is_some() {
            return Err(Error::new(ErrorCode::Overloaded, "catch_up: one at a time; wait for the answer"));
        }
        self.catching_up = Some((id, begin(self.host.clone(), request)?));
        Ok(())
    }

    /// The answer to the catch-up, when it is there.
    fn poll_caught_up(&mut self, cx: &mut Context<'_>) -> Option<v1::PipelineResponse> {
        let (id, catching_up) = self.catching_up.as_mut()?;
        let (id, Poll::Ready(outcome)) = (*id, catching_up.as_mut().poll(cx)) else { return None };
        self.catching_up = None;
        let result = match outcome {
            Ok(response) => v1::OperationResult { id, result: Some(ResultBody::CatchUp(response)) },
            Err(error) => failure(id, &error),
        };
        Some(v1::PipelineResponse { results: vec![result] })
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
            if let Some(response) = self.poll_caught_up(cx) {
                return Poll::Ready(Some(Ok(response)));
            }
            if self.is_ended {
                return if self.catching_up.is_some() { Poll::Pending } else { Poll::Ready(None) };
            }
            match ready!(Pin::new(&mut self.inbound).poll_next(cx)) {
                Some(Ok(request)) => self.take(request),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => self.is_ended = true,
            }
        }
    }
}

fn failure(id: u64, error: &Error) -> v1::OperationResult {
    v1::OperationResult { id, result: Some(ResultBody::Failure(encode_failure(error))) }
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
