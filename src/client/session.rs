//! The session of a client: what it has seen, and whether the connected node has all of it.
//!
//! While a client stays with one node there is nothing to do, because what it wrote or saw there is there. Only a new
//! connection begins with a question: does the node have what this session has seen? Until it says so, session reads
//! wait. Puts, deletes and local reads do not: the node's clock takes note of the question when it arrives, so that what
//! is written after it wins against everything that the session has seen.

use crate::{
    error::{Error, ErrorCode, Result},
    replication::eventual::lost_error,
    types::{LostWrites, Seen, SessionToken},
    wire::{kv::encode_catch_up, v1},
};

/// The id of the question on the stream: operations count from 1.
pub(super) const QUESTION_ID: u64 = 0;

/// See the module.
#[derive(Default)]
pub(super) struct Session {
    token: SessionToken,
    standing: Standing,
    /// Lost writes of which no call was told yet.
    loss: Option<Error>,
}

/// How the connected node stands to the session.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Standing {
    /// It has everything that the session has seen.
    #[default]
    Level,
    /// It has to be asked before it gets anything else.
    Unasked,
    /// It was asked.
    Asked,
    /// It was asked, and the session has seen more since.
    Outdated,
}

/// What follows from the node's word.
pub(super) enum Verdict {
    /// Session reads may go on.
    Go,
    /// Those that wait fail with this.
    Fail(Error),
    /// They wait on.
    Wait,
    /// They wait for another node: this one is stopping.
    Leave,
}

impl Session {
    /// A new connection stands.
    pub(super) fn connected(&mut self) {
        self.standing = if self.token.is_empty() { Standing::Level } else { Standing::Unasked };
    }

    /// Whether session reads may be sent.
    pub(super) fn may_read(&self) -> bool {
        self.standing == Standing::Level
    }

    /// Whether [`Session::question`] has one.
    pub(super) fn has_question(&self) -> bool {
        self.standing == Standing::Unasked
    }

    /// What has to be sent before anything else.
    pub(super) fn question(&mut self) -> Option<v1::Operation> {
        if !self.has_question() {
            return None;
        }
        self.standing = Standing::Asked;
        let question = v1::operation::Operation::CatchUp(encode_catch_up(&self.token.wanted()));
        Some(v1::Operation { id: QUESTION_ID, operation: Some(question) })
    }

    /// Takes note of what an answer has shown.
    pub(super) fn raise(&mut self, seen: &Seen) {
        self.token.raise(seen);
    }

    /// All that it has seen.
    pub(super) fn token(&self) -> &SessionToken {
        &self.token
    }

    /// Whether an answer about it is owed.
    pub(super) fn is_asked(&self) -> bool {
        matches!(self.standing, Standing::Asked | Standing::Outdated)
    }

    /// Takes note of what was seen at another node; this one has to be asked for what is new of it.
    pub(super) fn join(&mut self, other: &SessionToken) {
        if self.token.join(other) {
            self.standing = match self.standing {
                Standing::Level | Standing::Unasked => Standing::Unasked,
                Standing::Asked | Standing::Outdated => Standing::Outdated,
            };
        }
    }

    /// The node answered. What is lost is forgotten here, so that the session can go on.
    pub(super) fn handle_answer(&mut self, answer: Result<Vec<LostWrites>>) -> Verdict {
        let is_level = answer.is_ok() && self.standing != Standing::Outdated;
        self.standing = if is_level { Standing::Level } else { Standing::Unasked };
        match answer {
            Ok(lost) if lost.is_empty() => Verdict::Go,
            Ok(lost) => {
                self.token.forget(&lost);
                Verdict::Fail(lost_error(lost.iter().map(|lost| lost.node)))
            }
            Err(error) if error.code() == ErrorCode::SessionBehind => Verdict::Wait,
            Err(error) if error.code() == ErrorCode::NotRunning => Verdict::Leave,
            Err(error) => Verdict::Fail(error),
        }
    }

    /// Nobody waited who could have been told of this: the next session read will be.
    pub(super) fn keep_loss(&mut self, error: Error) {
        if error.code() == ErrorCode::SessionLost {
            self.loss = Some(error);
        }
    }

    /// What the next session read has to be told instead of an answer, once.
    pub(super) fn take_loss(&mut self) -> Option<Error> {
        self.loss.take()
    }
}
