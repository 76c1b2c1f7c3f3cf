//! The one error that crosses layers: what the caller can do next ([`ErrorKind`]), a finer stable [`ErrorCode`], one
//! sentence for people, and whether a write may have happened all the same.
//!
//! Inside a layer errors are as rich as the layer wants (`std::io::Error`, `wire::ConvertError`, ...); at its edge they
//! become this type. The kinds are coarse on purpose: they are the exceptions a Python program catches.

use std::{fmt, time::Duration};

/// Shorthand for results of this crate.
pub type Result<T, E = Error> = std::result::Result<T, E>;

/// What the caller should do next.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum ErrorKind {
    /// Change the call; nothing was changed.
    InvalidArgument,
    /// Use a keyspace that promises this; nothing was changed.
    Unsupported,
    /// Read again, then decide.
    Conflict,
    /// Try later, or another node.
    Unavailable,
    /// The deadline passed; a write's outcome is unknown when `maybe_applied` says so.
    Timeout,
    /// Fix the credentials.
    Denied,
    /// Make a new client, start the node.
    Closed,
    /// Stored data failed its checks; repair.
    Corrupt,
    /// A bug of ours; report it.
    Internal,
}

impl ErrorKind {
    /// Every kind, for tables and tests.
    pub const ALL: [ErrorKind; 9] = [
        ErrorKind::InvalidArgument,
        ErrorKind::Unsupported,
        ErrorKind::Conflict,
        ErrorKind::Unavailable,
        ErrorKind::Timeout,
        ErrorKind::Denied,
        ErrorKind::Closed,
        ErrorKind::Corrupt,
        ErrorKind::Internal,
    ];

    /// The name users see, on the wire and in Python.
    pub fn as_str(self) -> &'static str {
        match self {
            ErrorKind::InvalidArgument => "InvalidArgument",
            ErrorKind::Unsupported => "Unsupported",
            ErrorKind::Conflict => "Conflict",
            ErrorKind::Unavailable => "Unavailable",
            ErrorKind::Timeout => "Timeout",
            ErrorKind::Denied => "Denied",
            ErrorKind::Closed => "Closed",
            ErrorKind::Corrupt => "Corrupt",
            ErrorKind::Internal => "Internal",
        }
    }

    /// The kind with this name, if there is one.
    pub fn from_name(name: &str) -> Option<ErrorKind> {
        ErrorKind::ALL.into_iter().find(|kind| kind.as_str() == name)
    }
}

macro_rules! error_codes {
    ($($(#[$doc:meta])* $variant:ident => $name:literal, $kind:ident;)*) => {
        /// The finer, stable reason of an [`Error`]; programs may compare it, unlike the message.
        #[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub enum ErrorCode { $($(#[$doc])* $variant,)* }

        impl ErrorCode {
            /// Every code, for tables and tests.
            pub const ALL: &'static [ErrorCode] = &[$(ErrorCode::$variant,)*];

            /// The name users see, on the wire and in Python.
            pub fn as_str(self) -> &'static str {
                match self { $(ErrorCode::$variant => $name,)* }
            }

            /// The kind that errors with this code have.
            pub fn kind(self) -> ErrorKind {
                match self { $(ErrorCode::$variant => ErrorKind::$kind,)* }
            }
        }
    };
}

error_codes! {
    /// An argument is wrong in a way no finer code names.
    InvalidArgument => "INVALID_ARGUMENT", InvalidArgument;
    /// A key of no bytes.
    KeyEmpty => "KEY_EMPTY", InvalidArgument;
    /// A key over [`crate::limits::KEY_BYTES_MAX`].
    KeyTooLong => "KEY_TOO_LONG", InvalidArgument;
    /// A value over [`crate::limits::VALUE_BYTES_MAX`].
    ValueTooLarge => "VALUE_TOO_LARGE", InvalidArgument;
    /// A batch over [`crate::limits::BATCH_OPERATIONS_MAX`] or [`crate::limits::BATCH_BYTES_MAX`].
    BatchTooLarge => "BATCH_TOO_LARGE", InvalidArgument;
    /// A time to live of nothing, or beyond [`crate::limits::TTL_MS_MAX`].
    BadTtl => "BAD_TTL", InvalidArgument;
    /// Not a `host:port`.
    BadAddress => "BAD_ADDRESS", InvalidArgument;
    /// A setting of a node or client out of its range.
    BadSetting => "BAD_SETTING", InvalidArgument;
    /// There is no such keyspace.
    UnknownKeyspace => "UNKNOWN_KEYSPACE", InvalidArgument;
    /// No member has this id.
    UnknownMember => "UNKNOWN_MEMBER", InvalidArgument;
    /// A message that cannot be decoded; the text names the field.
    MalformedMessage => "MALFORMED_MESSAGE", InvalidArgument;
    /// An increment of what is no integer.
    NotAnInteger => "NOT_AN_INTEGER", InvalidArgument;
    /// An increment beyond 64 bits.
    Overflow => "OVERFLOW", InvalidArgument;
    /// The node has reached its bound on memory.
    MemoryLimit => "MEMORY_LIMIT", InvalidArgument;
    /// This keyspace does not promise what was asked for.
    Unsupported => "UNSUPPORTED", Unsupported;
    /// The keyspace `default` of this cluster is strong, and was asked for as an eventual one. Nothing was done.
    DefaultIsStrong => "DEFAULT_IS_STRONG", Unsupported;
    /// The keyspace is strong, and was asked for as an eventual one. Nothing was done.
    KeyspaceIsStrong => "KEYSPACE_IS_STRONG", Unsupported;
    /// The keyspace is eventual, and was asked for as a strong one. Nothing was done.
    KeyspaceIsEventual => "KEYSPACE_IS_EVENTUAL", Unsupported;
    /// What was found is not what the call expected, in a way no finer code names.
    Conflict => "CONFLICT", Conflict;
    /// A member that is up is not removed without force.
    MemberUp => "MEMBER_UP", Conflict;
    /// The key is there already.
    KeyExists => "KEY_EXISTS", Conflict;
    /// The key has another version than the call expected, or is not there.
    VersionConflict => "VERSION_CONFLICT", Conflict;
    /// There is a keyspace of that name.
    KeyspaceExists => "KEYSPACE_EXISTS", Conflict;
    /// Another has the lock.
    LockHeld => "LOCK_HELD", Conflict;
    /// The lock is not, or no longer, held by the caller.
    LockLost => "LOCK_LOST", Conflict;
    /// The lease was never granted, or has ended.
    LeaseLost => "LEASE_LOST", Conflict;
    /// The answer to this request is forgotten, or the client is: it may have been applied before.
    RequestForgotten => "REQUEST_FORGOTTEN", Conflict;
    /// A watch cannot go on from there: a delete after that position is forgotten.
    Compacted => "COMPACTED", Conflict;
    /// The port is taken.
    AddressInUse => "ADDRESS_IN_USE", Unavailable;
    /// The address cannot be bound, for another reason than being taken.
    BindFailed => "BIND_FAILED", Unavailable;
    /// Another node, of this process or another, works with the data directory.
    DataDirInUse => "DATA_DIR_IN_USE", Unavailable;
    /// Stored data have a format that only a later version of this software knows.
    FormatTooNew => "FORMAT_TOO_NEW", Unsupported;
    /// The group has no leader that a majority follows, or none that this node can reach.
    NoLeader => "NO_LEADER", Unavailable;
    /// No node answered.
    Unreachable => "UNREACHABLE", Unavailable;
    /// The connection broke while a call was under way.
    ConnectionLost => "CONNECTION_LOST", Unavailable;
    /// A bound on work in flight was reached.
    Overloaded => "OVERLOADED", Unavailable;
    /// There is no space on the disk for another write; writes go on once there is.
    DiskFull => "DISK_FULL", Unavailable;
    /// The disk failed; this node takes no more writes until it is started again.
    DiskFailed => "DISK_FAILED", Unavailable;
    /// The clocks of two nodes are too far apart.
    ClockSkew => "CLOCK_SKEW", Unavailable;
    /// Acknowledged writes that this session has made or seen went with a node; told once, the session goes on without them.
    SessionLost => "SESSION_LOST", Unavailable;
    /// The peer belongs to another cluster, or speaks another protocol version.
    WrongCluster => "WRONG_CLUSTER", Unavailable;
    /// This node was removed from the cluster; it comes back as a new, empty member when it is started again.
    MemberRemoved => "MEMBER_REMOVED", Unavailable;
    /// The deadline passed.
    DeadlineExceeded => "DEADLINE_EXCEEDED", Timeout;
    /// The deadline passed before the node had everything that this session has made or seen.
    SessionBehind => "SESSION_BEHIND", Timeout;
    /// The credentials do not allow this.
    Denied => "DENIED", Denied;
    /// The token is missing, or not that of the cluster. Nothing was done.
    TokenRefused => "TOKEN_REFUSED", Denied;
    /// A certificate is missing, or not one that the other side believes. Nothing was done.
    CertificateRefused => "CERTIFICATE_REFUSED", Denied;
    /// The node was not started, or was stopped.
    NotRunning => "NOT_RUNNING", Closed;
    /// The client was closed.
    ClientClosed => "CLIENT_CLOSED", Closed;
    /// The watch was ended by its own program.
    WatchCancelled => "WATCH_CANCELLED", Closed;
    /// The object was made before `fork()`.
    Forked => "FORKED", Closed;
    /// Stored data failed its checks.
    Corrupt => "CORRUPT", Corrupt;
    /// A bug of ours.
    Internal => "INTERNAL", Internal;
}

impl ErrorCode {
    /// The code with this name, if there is one.
    pub fn from_name(name: &str) -> Option<ErrorCode> {
        ErrorCode::ALL.iter().copied().find(|code| code.as_str() == name)
    }
}

/// The guard that kept a transaction from happening.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FailedGuard {
    /// Which, counted from 0.
    pub index: u64,
    /// The version that its key has, or the token of its lock; 0: there is none.
    pub found: u64,
}

/// Why a call failed. Nothing was changed unless `is_maybe_applied` says otherwise.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Error {
    code: ErrorCode,
    message: String,
    maybe_applied: bool,
    failed_guard: Option<FailedGuard>,
    node: Option<Box<str>>,
}

impl Error {
    /// An error with a definite outcome: the call had no effect and will have none.
    pub fn new(code: ErrorCode, message: impl Into<String>) -> Error {
        Error { code, message: message.into(), maybe_applied: false, failed_guard: None, node: None }
    }

    /// The deadline of `operation` passed after `timeout`.
    pub fn deadline(operation: &str, timeout: Duration) -> Error {
        Error::new(
            ErrorCode::DeadlineExceeded,
            format!("{operation} got no answer within {:.3} s", timeout.as_secs_f64()),
        )
    }

    /// The same error for a write whose outcome is unknown: it may have been applied, or may still be.
    pub fn maybe_applied(mut self) -> Error {
        self.maybe_applied = true;
        self
    }

    /// The same error of a transaction, with the guard that did not hold.
    pub fn at_guard(mut self, guard: FailedGuard) -> Error {
        self.failed_guard = Some(guard);
        self
    }

    /// The same error, as this node gave it.
    pub fn of_node(mut self, node: &str) -> Error {
        self.node = Some(node.into());
        self
    }

    /// The finer, stable reason.
    pub fn code(&self) -> ErrorCode {
        self.code
    }

    /// What the caller should do next.
    pub fn kind(&self) -> ErrorKind {
        self.code.kind()
    }

    /// One sentence for people.
    pub fn message(&self) -> &str {
        &self.message
    }

    /// Whether the outcome of this write is unknown.
    pub fn is_maybe_applied(&self) -> bool {
        self.maybe_applied
    }

    /// The node that answered so, by its address, where a client knows it.
    pub fn node(&self) -> Option<&str> {
        self.node.as_deref()
    }

    /// Of a transaction, the guard that did not hold.
    pub fn failed_guard(&self) -> Option<FailedGuard> {
        self.failed_guard
    }

    /// Whether the same call may succeed later without a change.
    pub fn is_retryable(&self) -> bool {
        match self.kind() {
            ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Conflict => {
                // What a lock or lease protected stays refused.
                !matches!(
                    self.code,
                    ErrorCode::WrongCluster | ErrorCode::Compacted | ErrorCode::LockLost | ErrorCode::LeaseLost
                )
            }
            ErrorKind::InvalidArgument
            | ErrorKind::Unsupported
            | ErrorKind::Denied
            | ErrorKind::Closed
            | ErrorKind::Corrupt
            | ErrorKind::Internal => false,
        }
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)?;
        if self.maybe_applied {
            f.write_str(" (the write may have been applied)")?;
        }
        Ok(())
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_code_and_kind_is_found_by_its_name() {
        for &code in ErrorCode::ALL {
            assert_eq!(ErrorCode::from_name(code.as_str()), Some(code));
        }
        for kind in ErrorKind::ALL {
            assert_eq!(ErrorKind::from_name(kind.as_str()), Some(kind));
        }
    }

    #[test]
    fn an_unknown_outcome_is_said_in_the_text() {
        let error = Error::deadline("put", Duration::from_millis(1500)).maybe_applied();
        assert_eq!(error.to_string(), "put got no answer within 1.500 s (the write may have been applied)");
        assert_eq!(error.kind(), ErrorKind::Timeout);
    }
}
