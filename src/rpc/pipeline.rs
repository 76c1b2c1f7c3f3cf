//! The `Pipeline` stream: each message is executed at once, in order, and answered by id.
//!
//! No task and no queue: the answers are made when HTTP/2 asks for them, so a client that does not read is not read from
//! either. A stream holds one message and one answer at most, and a few answers more that wait for the disk: those to
//! writes of a node that keeps its data there. Reads overtake them.

use std::{
    collections::{BTreeSet, VecDeque},
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
    limits::{check_batch, PIPELINE_ANSWER_BYTES_TARGET, PIPELINE_HELD_MAX, SPACE_WAITING_MAX},
    replication::{eventual::Eventual, execute, execute_seen},
    types::{Answer, Operation, Seen, Space, Timestamp, Written},
    wire::{
        kv::{decode_operation, encode_failure, encode_result, keyspace_of, wants_seen, AnswerKind},
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
    /// Operations about keyspaces of which this node has not heard, in order. The others go on meanwhile.
    aside: VecDeque<v1::Operation>,
    /// Of those keyspaces. Follows from the operations.
    unknown: BTreeSet<String>,
    /// The question for those keyspaces that is under way, and for how many of the operations it is asked.
    question: Option<(usize, Question)>,
    /// Operations that a question was answered for, and whether it was.
    settled: VecDeque<(v1::Operation, Result<()>)>,
    /// Answers that wait for the disk, in order.
    held: VecDeque<Held>,
    /// The log has to catch up before anything more is executed.
    room: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// The client sends nothing more, or is not listened to any more.
    is_ended: bool,
    /// Until the server closes.
    closing: Option<Pin<Box<dyn Future<Output = ()> + Send>>>,
    /// What ends the stream once everything that was executed is answered.
    last_word: Option<v1::PipelineResponse>,
}

/// The end of asking the group which keyspaces there are.
type Question = Pin<Box<dyn Future<Output = Result<()>> + Send>>;

/// The answers to writes that are not on disk yet.
struct Held {
    results: Vec<v1::OperationResult>,
    durable: Pin<Box<dyn Future<Output = Result<()>> + Send>>,
}

/// The answers to the operations of `inbound`, until it ends or the server closes. Then what was executed is answered, nothing
/// more is executed, and the last message says so.
pub(super) fn answers(
    host: Arc<dyn Host>,
    phase: PhaseWatch,
    inbound: Streaming<v1::PipelineRequest>,
) -> impl Stream<Item = Result<v1::PipelineResponse, Status>> + Send {
    let closing = Box::pin(phase.clone().reached(Phase::Closing));
    Pipeline {
        host,
        phase,
        inbound,
        waiting: Vec::new().into_iter(),
        verdict: Ok(()),
        catching_up: None,
        aside: VecDeque::new(),
        unknown: BTreeSet::new(),
        question: None,
        settled: VecDeque::new(),
        held: VecDeque::new(),
        room: None,
        is_ended: false,
        closing: Some(closing),
        last_word: None,
    }
}

impl Pipeline {
    /// Executes what waits, as much as fits into one answer. `None` when there is nothing to be answered at once.
    fn answer(&mut self) -> Option<v1::PipelineResponse> {
        let keyspace = self.host.keyspace().clone();
        let is_held = keyspace.written().is_some();
        let (mut results, mut held) = (Vec::with_capacity(self.waiting.len()), Vec::new());
        let mut bytes = 0;
        while bytes < PIPELINE_ANSWER_BYTES_TARGET {
            let (result, is_write) = if let Some((operation, answered)) = self.settled.pop_front() {
                let is_write = is_write(&operation);
                (Some(self.settle(operation, answered)), is_write)
            } else {
                let Some(operation) = self.waiting.next() else { break };
                let is_write = is_write(&operation);
                (self.result(operation), is_write)
            };
            let is_held = is_held && is_write;
            let Some(result) = result else { continue };
            bytes += result.encoded_len();
            // A write that was refused had no effect, whatever becomes of the disk.
            let is_refused = matches!(result.result, Some(ResultBody::Failure(_)));
            if is_held && !is_refused { &mut held } else { &mut results }.push(result);
        }
        if !held.is_empty() {
            let written = keyspace.written();
            let durable = Box::pin(async move { keyspace.durable(written).await });
            self.held.push_back(Held { results: held, durable });
        }
        (!results.is_empty()).then(|| answers_of(results))
    }

    /// Waits until the log takes more. It costs no task: the client is not read from meanwhile, and so slowed down.
    fn poll_room(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let keyspace = self.host.keyspace();
        if self.room.is_none() && !keyspace.has_room() {
            let keyspace = keyspace.clone();
            self.room = Some(Box::pin(async move { keyspace.room().await }));
        }
        if let Some(room) = &mut self.room {
            ready!(room.as_mut().poll(cx));
            self.room = None;
        }
        Poll::Ready(())
    }

    /// The next answer that waited for the disk, when its time has come.
    fn poll_durable(&mut self, cx: &mut Context<'_>) -> Option<v1::PipelineResponse> {
        let Poll::Ready(outcome) = self.held.front_mut()?.durable.as_mut().poll(cx) else { return None };
        let Held { mut results, .. } = self.held.pop_front()?;
        if let Err(error) = outcome {
            results.iter_mut().for_each(|result| *result = failure(result.id, &error));
        }
        Some(answers_of(results))
    }

    /// `None`: the answer comes later.
    fn result(&mut self, operation: v1::Operation) -> Option<v1::OperationResult> {
        let id = operation.id;
        if let Some(Body::CatchUp(request)) = operation.operation {
            return self.catch_up(id, request).err().map(|error| failure(id, &error));
        }
        match self.verdict.clone().and_then(|()| self.space_of(&operation)) {
            Ok(Some(space)) => Some(self.perform(space, operation)),
            Ok(None) => {
                self.unknown.insert(keyspace_of(&operation).to_string());
                self.aside.push_back(operation);
                None
            }
            Err(error) => Some(failure(id, &error)),
        }
    }

    /// `None`: the group is to be asked, or is being asked for an earlier operation in the same keyspace.
    fn space_of(&self, operation: &v1::Operation) -> Result<Option<Space>> {
        let name = keyspace_of(operation);
        let found = self.host.keyspace().space_named(name)?;
        if found == Some(Space::Default) {
            return Ok(found);
        }
        let found = found.filter(|_| !self.unknown.contains(name));
        if found.is_none() && self.aside.len() >= SPACE_WAITING_MAX {
            return Err(Error::new(
                ErrorCode::Overloaded,
                "keyspace: too many calls wait to know what it is; call again",
            ));
        }
        Ok(found)
    }

    /// The answer to an operation that was set aside.
    fn settle(&self, operation: v1::Operation, answered: Result<()>) -> v1::OperationResult {
        let found = answered.and_then(|()| self.host.keyspace().space_settled(keyspace_of(&operation)));
        match found {
            Ok(space) => self.perform(space, operation),
            Err(error) => failure(operation.id, &error),
        }
    }

    /// Asks the group for the keyspaces of what was set aside. One question is for all that came before it.
    fn poll_question(&mut self, cx: &mut Context<'_>) {
        if self.question.is_none() && !self.aside.is_empty() {
            let host = self.host.clone();
            self.question = Some((self.aside.len(), Box::pin(async move { host.refresh_spaces().await })));
        }
        let Some((count, question)) = &mut self.question else { return };
        let (count, Poll::Ready(answered)) = (*count, question.as_mut().poll(cx)) else { return };
        self.question = None;
        self.settled.extend(self.aside.drain(..count).map(|operation| (operation, answered.clone())));
        self.unknown = self.aside.iter().map(|operation| keyspace_of(operation).to_string()).collect();
    }

    fn perform(&self, space: Space, operation: v1::Operation) -> v1::OperationResult {
        let (id, with_seen) = (operation.id, wants_seen(&operation));
        match decode_operation(operation) {
            Ok(operation) => encode_result(id, AnswerKind::of(&operation), self.execute(space, operation, with_seen)),
            Err(error) => failure(id, &error),
        }
    }

    fn execute(&self, space: Space, operation: Operation, with_seen: bool) -> Result<(Answer, Seen)> {
        self.phase.check_serving()?;
        if is_mutant("ack_before_applying") && space == Space::Default && operation.is_write() {
            return Ok((apply_later(self.host.keyspace().clone(), operation), Seen::Nothing));
        }
        execute_seen(self.host.keyspace(), space, operation, with_seen)
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
        Some(answers_of(vec![result]))
    }

    /// Gives up what is not executed when the server closes.
    fn poll_closing(&mut self, cx: &mut Context<'_>) {
        let is_closing = self.closing.as_mut().is_some_and(|closing| closing.as_mut().poll(cx).is_ready());
        if !is_closing {
            return;
        }
        self.closing = None;
        self.waiting = Vec::new().into_iter();
        self.settled.clear();
        self.aside.clear();
        (self.question, self.catching_up, self.room) = (None, None, None);
        self.is_ended = true;
        self.last_word = Some(v1::PipelineResponse { results: Vec::new(), is_end: true });
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
        self.poll_closing(cx);
        loop {
            if let Some(response) = self.poll_durable(cx) {
                return Poll::Ready(Some(Ok(response)));
            }
            if self.held.len() >= PIPELINE_HELD_MAX {
                return Poll::Pending;
            }
            self.poll_question(cx);
            if self.waiting.len() > 0 || !self.settled.is_empty() {
                ready!(self.poll_room(cx));
                match self.answer() {
                    Some(response) => return Poll::Ready(Some(Ok(response))),
                    None => continue,
                }
            }
            if let Some(response) = self.poll_caught_up(cx) {
                return Poll::Ready(Some(Ok(response)));
            }
            if self.is_ended {
                let is_waiting = self.catching_up.is_some() || !self.held.is_empty() || !self.aside.is_empty();
                return if is_waiting { Poll::Pending } else { Poll::Ready(self.last_word.take().map(Ok)) };
            }
            match ready!(Pin::new(&mut self.inbound).poll_next(cx)) {
                Some(Ok(request)) => self.take(request),
                Some(Err(status)) => return Poll::Ready(Some(Err(status))),
                None => self.is_ended = true,
            }
        }
    }
}

/// Whether an operation of the wire changes anything.
fn is_write(operation: &v1::Operation) -> bool {
    match &operation.operation {
        Some(Body::Put(_) | Body::Delete(_) | Body::Touch(_)) => true,
        Some(Body::Get(_) | Body::Count(_) | Body::Scan(_) | Body::Ping(_) | Body::CatchUp(_)) | None => false,
    }
}

fn answers_of(results: Vec<v1::OperationResult>) -> v1::PipelineResponse {
    v1::PipelineResponse { results, is_end: false }
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
