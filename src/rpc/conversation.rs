//! Questions and answers over one stream, each answer by the number of its question, in any order.
//!
//! A unary call takes three frames on the way there and two on the way back, each a system call and mostly a wake-up of its own; a
//! question in a stream takes one each way. Used by what is asked all the time: what members of the strong group tell each
//! other, and what clients ask about strong keyspaces together.
//!
//! * [`Conversation`] asks, and a [`Line`] keeps one open. A stream that breaks leaves open whether a question was heard; one that ends in order, with a
//!   [last word](Answer::is_end), says that what is unanswered was not.
//! * [`Answering`] answers: so many questions at a time, and without a task, so that whoever does not take answers is not listened to
//!   either.

use std::{
    collections::BTreeMap,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{ready, Context, Poll},
};

use futures_util::stream::FuturesUnordered;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tokio_stream::{wrappers::ReceiverStream, Stream};
use tonic::{Status, Streaming};

use super::{
    phase::{Phase, PhaseWatch},
    status::from_status,
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::CONVERSATION_QUEUE_MAX,
};

/// A message that answers another.
pub(super) trait Answer: Send + 'static {
    /// The number of its question.
    fn number(&self) -> u64;
    /// Nothing follows it: what is unanswered was not heard, and never will be.
    fn is_end(&self) -> bool;
    /// What says so.
    fn end() -> Self;
}

/// Why a question has no answer.
#[derive(Clone, Debug)]
pub(super) struct Unanswered {
    pub(super) error: Error,
    /// It may have been heard.
    pub(super) may_be_heard: bool,
}

/// The asking side of a stream. It ends when this is dropped.
pub(super) struct Conversation<Q, A> {
    questions: mpsc::Sender<Q>,
    askers: Arc<Askers<A>>,
}

/// Those who wait for answers.
struct Askers<A>(Mutex<State<A>>);

struct State<A> {
    /// Counts questions.
    last: u64,
    waiting: BTreeMap<u64, oneshot::Sender<std::result::Result<A, Unanswered>>>,
    /// Why the stream has ended.
    end: Option<Error>,
}

impl<Q: Send + 'static, A: Answer> Conversation<Q, A> {
    /// What is asked, and where to put what comes back.
    pub(super) fn new() -> (Conversation<Q, A>, ReceiverStream<Q>) {
        let (questions, asked) = mpsc::channel(CONVERSATION_QUEUE_MAX);
        let state = State { last: 0, waiting: BTreeMap::new(), end: None };
        (Conversation { questions, askers: Arc::new(Askers(Mutex::new(state))) }, ReceiverStream::new(asked))
    }

    /// Hands out the answers until the stream ends.
    pub(super) fn listen(&self, mut answers: Streaming<A>) {
        let askers = self.askers.clone();
        tokio::spawn(async move {
            loop {
                let end = match answers.message().await {
                    Ok(Some(answer)) if answer.is_end() => Unanswered { error: stopping(), may_be_heard: false },
                    Ok(Some(answer)) => {
                        askers.answer(answer);
                        continue;
                    }
                    Ok(None) => Unanswered { error: lost(), may_be_heard: true },
                    Err(status) => Unanswered { error: from_status(&status), may_be_heard: true },
                };
                return askers.end(&end);
            }
        });
    }

    /// Whether nothing more can be asked.
    pub(super) fn is_over(&self) -> bool {
        self.askers.0.lock().end.is_some()
    }

    /// Asks; `question` makes the message with its number. One that is given up is answered in vain.
    pub(super) async fn ask(&self, question: impl FnOnce(u64) -> Q) -> std::result::Result<A, Unanswered> {
        let (asker, answer) = oneshot::channel();
        let number = self.askers.add(asker)?;
        let _asked = Asked { askers: &self.askers, number };
        if self.questions.send(question(number)).await.is_err() {
            return Err(Unanswered { error: lost(), may_be_heard: false });
        }
        answer.await.unwrap_or_else(|_| Err(Unanswered { error: lost(), may_be_heard: true }))
    }
}

fn stopping() -> Error {
    Error::new(ErrorCode::NotRunning, "the node is being stopped")
}

fn lost() -> Error {
    Error::new(ErrorCode::ConnectionLost, "the connection ended while the call was under way")
}

impl<A: Answer> Askers<A> {
    fn add(&self, asker: oneshot::Sender<std::result::Result<A, Unanswered>>) -> std::result::Result<u64, Unanswered> {
        let mut state = self.0.lock();
        if let Some(error) = &state.end {
            return Err(Unanswered { error: error.clone(), may_be_heard: false });
        }
        state.last += 1;
        let number = state.last;
        state.waiting.insert(number, asker);
        Ok(number)
    }

    fn answer(&self, answer: A) {
        let asker = self.0.lock().waiting.remove(&answer.number());
        if let Some(asker) = asker {
            // Whoever has given up wants no answer.
            drop(asker.send(Ok(answer)));
        }
    }

    fn end(&self, why: &Unanswered) {
        let waiting = {
            let mut state = self.0.lock();
            state.end = Some(why.error.clone());
            std::mem::take(&mut state.waiting)
        };
        for asker in waiting.into_values() {
            drop(asker.send(Err(why.clone())));
        }
    }
}

/// A question under way; one that is given up is forgotten.
struct Asked<'a, A> {
    askers: &'a Askers<A>,
    number: u64,
}

impl<A> Drop for Asked<'_, A> {
    fn drop(&mut self) {
        self.askers.0.lock().waiting.remove(&self.number);
    }
}

/// The stream to one place, or none.
pub(super) struct Line<Q, A> {
    stream: Mutex<Option<Arc<Conversation<Q, A>>>>,
    /// Held while one is opened, so that it is opened once.
    opening: tokio::sync::Mutex<()>,
}

impl<Q, A> Default for Line<Q, A> {
    fn default() -> Line<Q, A> {
        Line { stream: Mutex::default(), opening: tokio::sync::Mutex::default() }
    }
}

impl<Q: Send + 'static, A: Answer> Line<Q, A> {
    /// The stream, if it has not ended.
    pub(super) fn stream(&self) -> Option<Arc<Conversation<Q, A>>> {
        self.stream.lock().clone().filter(|stream| !stream.is_over())
    }

    /// The stream; opens it if there is none.
    ///
    /// # Errors
    /// Those of `open`.
    pub(super) async fn or_open(
        &self,
        open: impl Future<Output = Result<Conversation<Q, A>>>,
    ) -> Result<Arc<Conversation<Q, A>>> {
        let _opening = self.opening.lock().await;
        if let Some(stream) = self.stream() {
            return Ok(stream);
        }
        let stream = Arc::new(open.await?);
        *self.stream.lock() = Some(stream.clone());
        Ok(stream)
    }
}

type Work<A> = Pin<Box<dyn Future<Output = A> + Send>>;

/// The answering side of a stream: see the module.
pub(super) struct Answering<Q, A> {
    questions: Streaming<Q>,
    answer: Box<dyn Fn(Q) -> Work<A> + Send>,
    under_way: FuturesUnordered<Work<A>>,
    /// Questions that are answered at a time.
    most: usize,
    /// Until the server closes.
    closing: Work<()>,
    /// Nothing more is asked, or listened to.
    is_ended: bool,
    /// The last word was said.
    is_over: bool,
}

impl<Q, A> Answering<Q, A> {
    /// Answers until the caller ends the stream or the server closes.
    pub(super) fn new(
        questions: Streaming<Q>,
        most: usize,
        phase: PhaseWatch,
        answer: impl Fn(Q) -> Work<A> + Send + 'static,
    ) -> Answering<Q, A> {
        Answering {
            questions,
            answer: Box::new(answer),
            under_way: FuturesUnordered::new(),
            most,
            closing: Box::pin(phase.reached(Phase::Closing)),
            is_ended: false,
            is_over: false,
        }
    }

    /// Takes in what was asked, as much as may be under way.
    fn take_in(&mut self, cx: &mut Context<'_>) -> std::result::Result<(), Status> {
        self.is_ended = self.is_ended || self.closing.as_mut().poll(cx).is_ready();
        while !self.is_ended && self.under_way.len() < self.most {
            match Pin::new(&mut self.questions).poll_next(cx) {
                Poll::Ready(Some(question)) => self.under_way.push((self.answer)(question?)),
                Poll::Ready(None) => self.is_ended = true,
                Poll::Pending => break,
            }
        }
        Ok(())
    }
}

impl<Q, A: Answer> Stream for Answering<Q, A> {
    type Item = std::result::Result<A, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        if self.is_over {
            return Poll::Ready(None);
        }
        if let Err(status) = self.take_in(cx) {
            self.is_over = true;
            return Poll::Ready(Some(Err(status)));
        }
        let answer = match Pin::new(&mut self.under_way).poll_next(cx) {
            Poll::Ready(None) if !self.is_ended => return Poll::Pending,
            polled => ready!(polled),
        };
        self.is_over = answer.is_none();
        Poll::Ready(Some(Ok(answer.unwrap_or_else(A::end))))
    }
}
