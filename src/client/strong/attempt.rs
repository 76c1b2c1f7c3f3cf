//! What the tries of one call have come to: which errors are worth another try, and what the last one says about a change.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use tokio::time::Instant;

use crate::{
    error::{Error, ErrorCode, ErrorKind},
    limits::{REQUEST_TIMEOUT, STRONG_TRY_FIRST},
    replication::strong::{Call, Command},
};

/// Whether a change may have happened.
pub(super) struct Progress {
    is_change: bool,
    /// A try that was sent has no definite outcome.
    is_unknown: AtomicBool,
    /// So it was before the last try.
    was_unknown: AtomicBool,
}

impl Progress {
    pub(super) fn of(call: &Call) -> Progress {
        let is_change = match call {
            Call::Submit(_) => true,
            Call::Read(_) | Call::AwaitLock { .. } | Call::Lease(_) | Call::Leases { .. } | Call::Keyspaces => false,
        };
        Progress { is_change, is_unknown: AtomicBool::new(false), was_unknown: AtomicBool::new(false) }
    }

    pub(super) fn is_unknown(&self) -> bool {
        self.is_unknown.load(Ordering::SeqCst)
    }

    /// A try begins; gives what is to be told to [`Progress::try_failed`].
    pub(super) fn begin_try(&self) -> bool {
        self.is_unknown.swap(self.is_change, Ordering::SeqCst)
    }

    /// A try failed. `before`: whether an earlier one left the outcome open.
    pub(super) fn try_failed(&self, before: bool, error: &Error) {
        self.was_unknown.store(before, Ordering::SeqCst);
        self.is_unknown.store(self.is_change && (before || error.is_maybe_applied()), Ordering::SeqCst);
    }

    /// Whether the group cannot have got the change before the try that failed last.
    pub(super) fn was_sent_once(&self) -> bool {
        !self.was_unknown.load(Ordering::SeqCst)
    }

    /// What was tried did not happen, for certain.
    pub(super) fn begin_anew(&self) {
        self.is_unknown.store(false, Ordering::SeqCst);
    }

    /// The error of the call as a whole. The group's own refusal is the answer to all tries, because they have one id; what
    /// was said without looking at the log says nothing about earlier tries.
    pub(super) fn settle(&self, error: Error) -> Error {
        let is_refusal = match error.kind() {
            ErrorKind::Conflict => true,
            ErrorKind::InvalidArgument => error.code() != ErrorCode::UnknownKeyspace,
            ErrorKind::Unsupported
            | ErrorKind::Unavailable
            | ErrorKind::Timeout
            | ErrorKind::Denied
            | ErrorKind::Closed
            | ErrorKind::Corrupt
            | ErrorKind::Internal => false,
        };
        if self.is_unknown() && !is_refusal {
            return error.maybe_applied();
        }
        error
    }
}

/// Whether another try, perhaps at another node, may succeed where this one failed.
pub(super) fn is_worth_another_try(error: &Error) -> bool {
    matches!(
        error.code(),
        ErrorCode::ConnectionLost
            | ErrorCode::Unreachable
            | ErrorCode::NoLeader
            | ErrorCode::MemberRemoved
            | ErrorCode::DeadlineExceeded
    )
}

/// Whether the group applies a command twice when it gets it twice without an id, and that matters.
pub(super) fn needs_id(command: &Command) -> bool {
    match command {
        Command::Register | Command::KeepAlive { .. } => false,
        Command::Transact(_)
        | Command::Grant { .. }
        | Command::Revoke { .. }
        | Command::Expire { .. }
        | Command::Acquire { .. }
        | Command::Release { .. }
        | Command::Proclaim { .. }
        | Command::CreateKeyspace { .. }
        | Command::CreateEventual { .. }
        | Command::DropKeyspace { .. }
        | Command::Compact { .. }
        | Command::Retain(_)
        | Command::Begin(_) => true,
    }
}

/// How long the try after so many failed ones may take: a node that is stuck must not cost the whole deadline.
pub(super) fn try_timeout(failures: u32) -> Duration {
    STRONG_TRY_FIRST.saturating_mul(2_u32.saturating_pow(failures)).min(REQUEST_TIMEOUT)
}

/// Until when a call has to be answered.
#[derive(Clone, Copy)]
pub(super) struct Deadline {
    at: Option<Instant>,
    timeout: Duration,
}

impl Deadline {
    /// `None`: never. One that lies beyond the end of time counts as never.
    pub(super) fn after(timeout: Option<Duration>) -> Deadline {
        let at = timeout.and_then(|timeout| Instant::now().checked_add(timeout));
        Deadline { at, timeout: timeout.unwrap_or(Duration::MAX) }
    }

    pub(super) fn left(&self) -> Duration {
        self.at.map_or(Duration::MAX, |at| at.saturating_duration_since(Instant::now()))
    }

    /// The error of what is not done when the deadline has passed; `last` is why it is not.
    pub(super) fn passed(&self, last: Option<Error>) -> Error {
        match last {
            Some(error) if error.code() != ErrorCode::DeadlineExceeded => {
                let text = format!("no success within {:.3} s: {}", self.timeout.as_secs_f64(), error.message());
                Error::new(error.code(), text)
            }
            Some(_) | None => Error::deadline("call", self.timeout),
        }
    }
}
