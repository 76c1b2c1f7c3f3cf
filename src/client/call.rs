//! One call and its operations.

use std::time::Duration;

use bytes::Bytes;

use super::{retry::Tries, Completion};
use crate::{
    error::{Error, ErrorCode, Result},
    types::{Answer, Operation, ReadLevel},
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
    /// Whether it reads what the session has seen at least. A touch does: it writes the value that it finds.
    pub(super) is_session_read: bool,
    /// It was sent before, and nobody knows what came of that.
    pub(super) is_repeated: bool,
    pub(super) state: State,
}

/// How far an operation has come.
pub(super) enum State {
    Waiting,
    Sent,
    Answered(Result<Answer>),
}

impl Slot {
    pub(super) fn new(keyspace: &str, operation: &Operation, read: ReadLevel) -> Slot {
        let is_session = read == ReadLevel::Session;
        let body = match is_session {
            true => kv::encode_session_body(keyspace, operation),
            false => kv::encode_body(keyspace, operation),
        };
        let (name, is_write) = (operation.name(), operation.is_write());
        let is_session_read = is_session && operation.is_read();
        let bytes = bytes_of(&body);
        Slot { bytes, body, name, is_write, is_session_read, is_repeated: false, state: State::Waiting }
    }

    /// Whether the session has to remember what its answer shows.
    pub(super) fn is_of_session(&self) -> bool {
        self.is_write || self.is_session_read
    }

    /// Whether it is a session read that is still to be sent.
    pub(super) fn waits_for_session(&self) -> bool {
        self.is_session_read && matches!(self.state, State::Waiting)
    }

    /// Takes its answer. A refusal says nothing about earlier tries.
    pub(super) fn answer(&mut self, answer: Result<Answer>) {
        let may_be_applied = self.is_write && self.is_repeated;
        self.state =
            State::Answered(answer.map_err(|error| if may_be_applied { error.maybe_applied() } else { error }));
    }

    /// Whether it is a write that a node has applied, or may have.
    fn may_have_changed(&self) -> bool {
        self.is_write
            && match &self.state {
                State::Waiting => self.is_repeated,
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
        Body::Ping(_) | Body::CatchUp(_) => 0,
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
    /// How often a part of it was sent and not answered, and targets could not be reached.
    pub(super) tries: Tries,
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

    /// As [`Call::fail`], with an error that a node gave.
    pub(super) fn fail_with(self, error: &Error) -> Finished {
        self.fail(error.code(), error.message())
    }

    /// Whether it waits with a session read.
    pub(super) fn waits_for_session(&self) -> bool {
        self.slots.iter().any(Slot::waits_for_session)
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
