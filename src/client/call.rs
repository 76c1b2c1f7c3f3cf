//! One call and its operations.

use std::time::Duration;

use bytes::Bytes;

use super::Completion;
use crate::{
    error::{Error, ErrorCode, Result},
    types::{Answer, Operation},
    wire::{
        kv,
        v1::{self, operation::Operation as Body},
    },
};

/// A call whose outcome is known. Hand the outcome over with [`Finished::complete`], outside of every lock.
#[must_use = "a completion that is dropped never learns the outcome"]
pub(super) struct Finished {
    pub(super) done: Completion,
    pub(super) outcome: Result<Vec<Result<Answer>>>,
}

impl Finished {
    pub(super) fn complete(self) {
        (self.done)(self.outcome);
    }
}

/// One operation on its way.
pub(super) struct Slot {
    /// What is sent. Its bytes are shared with the message, so keeping it for another try costs no copy.
    pub(super) body: Body,
    /// Of the key and the value, or of the range.
    pub(super) bytes: usize,
    pub(super) name: &'static str,
    pub(super) is_write: bool,
    pub(super) state: State,
}

/// How far an operation has come.
pub(super) enum State {
    Waiting,
    Sent,
    Answered(Result<Answer>),
}

impl Slot {
    pub(super) fn new(operation: &Operation) -> Slot {
        let body = kv::encode_body(operation);
        let (name, is_write) = (operation.name(), operation.is_write());
        Slot { bytes: bytes_of(&body), body, name, is_write, state: State::Waiting }
    }

    /// Whether it is a write that a node has applied, or may have.
    fn may_have_changed(&self) -> bool {
        self.is_write
            && match &self.state {
                State::Waiting => false,
                State::Sent => true,
                State::Answered(answer) => answer.as_ref().err().is_none_or(Error::is_maybe_applied),
            }
    }
}

fn bytes_of(body: &Body) -> usize {
    match body {
        Body::Get(request) => request.key.len(),
        Body::Put(request) => request.key.len() + request.value.len(),
        Body::Delete(request) => request.key.len(),
        Body::Touch(request) => request.key.len(),
        Body::Count(request) => request.range.as_ref().map_or(0, bytes_of_range),
        Body::Scan(request) => request.range.as_ref().map_or(0, bytes_of_range),
        Body::Ping(_) => 0,
    }
}

fn bytes_of_range(range: &v1::Range) -> usize {
    let bound = |bound: &Option<Bytes>| bound.as_ref().map_or(0, Bytes::len);
    range.prefix.len() + bound(&range.start) + bound(&range.end)
}

/// Operations that were submitted together and complete together.
pub(super) struct Call {
    pub(super) slots: Vec<Slot>,
    pub(super) unanswered: usize,
    pub(super) submitted: Duration,
    pub(super) timeout: Option<Duration>,
    /// How often a part of it was sent and not answered.
    pub(super) sends_in_vain: u32,
    pub(super) done: Completion,
}

impl Call {
    /// When it fails if it is still unanswered.
    pub(super) fn deadline(&self) -> Option<Duration> {
        self.timeout.map(|timeout| self.submitted.saturating_add(timeout))
    }

    /// Its operations that wait to be sent, and their bytes.
    pub(super) fn waiting(&self) -> (usize, usize) {
        let waiting = self.slots.iter().filter(|slot| matches!(slot.state, State::Waiting));
        waiting.fold((0, 0), |(count, bytes), slot| (count + 1, bytes + slot.bytes))
    }

    /// Its end without all answers. The error is for the whole call: a write of it that a node has applied, or may
    /// have, makes the outcome unknown.
    pub(super) fn fail(self, code: ErrorCode, why: &str) -> Finished {
        let error = Error::new(code, why);
        let error = if self.slots.iter().any(Slot::may_have_changed) { error.maybe_applied() } else { error };
        Finished { done: self.done, outcome: Err(error) }
    }

    /// Its end with all answers.
    pub(super) fn finish(self) -> Finished {
        let answer = |slot: Slot| match slot.state {
            State::Answered(answer) => answer,
            State::Waiting | State::Sent => Err(Error::new(ErrorCode::Internal, "a call was finished unanswered")),
        };
        Finished { done: self.done, outcome: Ok(self.slots.into_iter().map(answer).collect()) }
    }
}
