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

use super::{
    endpoints::draw,
    lookout::keep_lookout,
    session::QUESTION_ID,
    shared::{silent, Shared},
};
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

/// Starts the tasks on `runtime`, unless they run or the client is closed.
pub(super) fn start(shared: &Arc<Shared>, runtime: &tokio::runtime::Handle) {
    if !shared.start() {
        return;
    }
    if shared.is_watching() {
        let shared = shared.clone();
        runtime.spawn(async move {
            tokio::select! {
                biased;
                () = shared.closed() => {}
                () = keep_lookout(&shared) => {}
            }
        });
    }
    spawn(shared.clone(), runtime);
}

fn spawn(shared: Arc<Shared>, runtime: &tokio::runtime::Handle) {
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
    let mut endpoints = shared.endpoints();
    // That a node of this round does not let this client in.
    let mut denied = None;
    loop {
        while !shared.is_wanted() {
            shared.wanted.notified().await;
        }
        let target = endpoints.next();
        match open(shared, &target).await {
            Ok((channel, answers)) => {
                endpoints.reached();
                denied = None;
                let (why, has_answered) = run(shared, channel, answers, &target).await;
                tracing::debug!(%target, why, "the connection ended");
                let has_moved = shared.connection_lost(&format!("{target}: {why}"));
                match (has_moved, has_answered) {
                    (true, _) => {}
                    (false, true) => endpoints.left(&why),
                    (false, false) => endpoints.failed(why),
                }
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
        let pause = endpoints.pause(&shared.retry, draw(&shared.env));
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
        // Side by side: nothing is sent on the stream before it is said to be open.
        let opening = open_pipeline(channel.clone(), shared.name.as_ref(), batches);
        let (heard, answers) = tokio::join!(shared.hear(&channel, target), opening);
        heard?;
        Ok((channel, answers?))
    };
    tokio::time::timeout(CLIENT_CONNECT_TIMEOUT, opening).await.map_err(|_| silent(target))?
}

/// Reads answers until the connection ends or is given up; gives the reason, and whether the node was well until then.
async fn run(shared: &Shared, channel: Channel, answers: PipelineAnswers, target: &Address) -> (String, bool) {
    let abandoned = shared.connection_opened(channel, target);
    tokio::select! {
        biased;
        end = read(shared, answers, target) => end,
        Ok(why) = abandoned => (why, false),
    }
}

async fn read(shared: &Shared, mut answers: PipelineAnswers, target: &Address) -> (String, bool) {
    let mut has_answered = false;
    loop {
        let (mut results, is_end) = match answers.next().await {
            Ok(Some(response)) => (response.results, response.is_end),
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
        if is_end {
            shared.refuse_rest();
        }
        if is_drained || is_end {
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
