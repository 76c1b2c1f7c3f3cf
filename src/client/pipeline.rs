//! The one task of a client: connects when it is needed, reads answers, keeps deadlines.
//!
//! There is no task that writes: [`Batches`] is the request body itself, asked for the next message when HTTP/2 has
//! room for one. So operations that arrive while a message is on its way make up the next one together, nothing waits
//! when the connection is idle, and what the node does not take yet stays in the queue, where its outcome is known.

use std::{
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
};

use tokio_stream::Stream;

use super::{endpoints::Endpoints, session::QUESTION_ID, shared::Shared};
use crate::{
    error::{Error, ErrorCode, ErrorKind, Result},
    limits::CLIENT_CONNECT_TIMEOUT,
    rpc::{open_pipeline, Channel, PipelineAnswers},
    types::{Address, LostWrites},
    wire::{
        kv::{decode_caught_up, decode_failure, decode_result},
        v1::{self, operation_result::Result as Body},
    },
};

/// Closes the client when its task ends for whatever reason, the end of the runtime included: nobody may wait for an
/// answer that cannot come.
struct CloseAtEnd(Arc<Shared>);

impl Drop for CloseAtEnd {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// Starts the task on `runtime`.
pub(super) fn spawn(shared: Arc<Shared>, runtime: &tokio::runtime::Handle) {
    let guard = CloseAtEnd(shared);
    runtime.spawn(async move {
        let shared = &guard.0;
        tokio::select! {
            biased;
            () = shared.closed() => {}
            () = keep_deadlines(shared) => {}
            () = keep_connected(shared) => {}
        }
    });
}

async fn keep_deadlines(shared: &Shared) {
    loop {
        match shared.expire() {
            None => shared.deadlines.notified().await,
            // Whichever comes first: the next round looks at the clock.
            Some(wait) => drop(tokio::time::timeout(wait, shared.deadlines.notified()).await),
        }
    }
}

async fn keep_connected(shared: &Arc<Shared>) {
    let mut endpoints = Endpoints::new(&shared.targets);
    // That a node of this round does not let this client in.
    let mut denied = None;
    loop {
        while !shared.is_wanted() {
            shared.wanted.notified().await;
        }
        let target = endpoints.current().clone();
        match open(shared, &target).await {
            Ok((channel, answers)) => {
                denied = None;
                let (why, has_answered) = run(shared, channel, answers, &target).await;
                tracing::debug!(%target, why, "the connection ended");
                if has_answered {
                    endpoints.left();
                } else {
                    endpoints.failed(why.clone());
                }
                shared.connection_lost(&format!("{target}: {why}"));
            }
            Err(error) => {
                tracing::debug!(%target, %error, "a node could not be reached");
                endpoints.failed(error.message().to_string());
                denied = denied.or(is_of_client(&error).then_some(error.code()));
                match denied.take_if(|_| endpoints.is_round_over()) {
                    // Time does not help, unlike with nodes that are down.
                    Some(code) => shared.denied(Error::new(code, endpoints.problems())),
                    None => shared.connecting_failed(endpoints.problems()),
                }
            }
        }
        // Without entropy the pause has no jitter, which is a pity and no error.
        let pause = endpoints.pause(&shared.retry, shared.env.rng.next_u64().unwrap_or(0));
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Whether the client has to be made otherwise: what it presents is refused, or must not be presented.
fn is_of_client(error: &Error) -> bool {
    error.kind() == ErrorKind::Denied || error.code() == ErrorCode::BadSetting
}

/// Connects to a node and opens the stream. The node has to take the stream before it gets an operation: until then
/// another node may be tried without a doubt about what happened.
async fn open(shared: &Arc<Shared>, target: &Address) -> Result<(Channel, PipelineAnswers)> {
    let connection = shared.number_connection();
    let opening = async {
        let channel = shared.access.connect(target).await?;
        let batches = Batches { shared: shared.clone(), connection };
        let answers = open_pipeline(channel.clone(), shared.name.as_ref(), batches).await?;
        Ok((channel, answers))
    };
    let silent = |_| {
        let seconds = CLIENT_CONNECT_TIMEOUT.as_secs_f64();
        Error::new(ErrorCode::Unreachable, format!("{target}: it did not answer within {seconds} s"))
    };
    tokio::time::timeout(CLIENT_CONNECT_TIMEOUT, opening).await.map_err(silent)?
}

/// Reads answers until the connection ends; gives the reason, and whether there was any answer.
async fn run(shared: &Shared, channel: Channel, mut answers: PipelineAnswers, target: &Address) -> (String, bool) {
    shared.connection_opened(channel);
    let mut has_answered = false;
    loop {
        let mut results = match answers.next().await {
            Ok(Some(response)) => response.results,
            Ok(None) => return ("the node ended the stream".to_string(), has_answered),
            Err(error) => return (error.message().to_string(), has_answered),
        };
        has_answered = true;
        let mut is_drained = false;
        if let Some(answer) = take_caught_up(&mut results) {
            is_drained = shared.handle_caught_up(caught_up(answer));
        }
        let decode = |result| decode_result(result).map_err(|error| error.of_node(&target.to_string()));
        is_drained |= shared.answer(results.into_iter().map(|result| (result.id, decode(result))).collect());
        if is_drained {
            return ("the node is being stopped".to_string(), has_answered);
        }
    }
}

/// Takes the answer to the question out of a message. The others stay in the order of the operations: those that a
/// stopping node has refused are asked of the next node in the order in which their answers are taken in.
fn take_caught_up(results: &mut Vec<v1::OperationResult>) -> Option<v1::OperationResult> {
    let place = results.iter().position(|result| result.id == QUESTION_ID)?;
    Some(results.remove(place))
}

/// What the node says to the question whether it has what the session has seen.
fn caught_up(answer: v1::OperationResult) -> Result<Vec<LostWrites>> {
    match answer.result {
        Some(Body::CatchUp(response)) => decode_caught_up(response),
        Some(Body::Failure(failure)) => Err(decode_failure(failure)),
        _ => Err(Error::new(ErrorCode::MalformedMessage, "result: is not the answer to catch_up")),
    }
}

/// The messages of one connection.
struct Batches {
    shared: Arc<Shared>,
    connection: u64,
}

impl Stream for Batches {
    type Item = v1::PipelineRequest;

    fn poll_next(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Option<v1::PipelineRequest>> {
        self.shared.next_batch(|calls, writer| {
            if calls.is_over(self.connection) {
                return Poll::Ready(None);
            }
            let batch = calls.next_batch();
            if batch.is_none() {
                *writer = Some(context.waker().clone());
                return Poll::Pending;
            }
            Poll::Ready(batch)
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn taking_the_answer_to_the_question_out_leaves_the_others_in_order() {
        let result = |id| v1::OperationResult { id, result: None };
        let mut results: Vec<_> = [QUESTION_ID, 1, 2, 3].map(result).into();
        assert_eq!(take_caught_up(&mut results).map(|result| result.id), Some(QUESTION_ID));
        assert_eq!(results.iter().map(|result| result.id).collect::<Vec<_>>(), [1, 2, 3]);
        assert_eq!(take_caught_up(&mut results), None);
    }
}
