//! Strong keyspaces: requests about them, what becomes of the answers, and leases that are kept alive.
//!
//! A call is a [`crate::python::request::Request`] like any other. It runs at the session of a client, or of a node in this
//! process, which are the same to it.

mod conversion;
mod kept;
mod requests;
mod write;

pub(super) use conversion::{answers, Now, StrongConversion};
pub(super) use kept::Kept;
pub(super) use requests::StrongRequests;
pub(super) use write::Write;

use super::convert::Level;
use crate::replication::strong::{Call, ReadCall};

/// The call, as fresh as its caller wants it.
pub(super) fn at_level(call: Call, level: Level) -> Call {
    match call {
        Call::Read(call) => Call::Read(ReadCall { freshness: level.strong(), ..call }),
        call => call,
    }
}
