//! Samples of the calls of a node, for people who want to see what it is busy with. Values are in none.

use std::{borrow::Cow, time::Duration};

use bytes::Bytes;

use super::ClientName;

/// Which calls are told.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Sampling {
    /// So many in a million, drawn at random.
    Share(u32),
    /// The first ones, up to so many a second.
    Rate(u32),
}

/// A call that was made at a node.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct SampledCall {
    /// The name users know it by, such as `get`.
    pub kind: Cow<'static, str>,
    /// Where.
    pub keyspace: String,
    /// Of which key; of a scan or count: what the keys begin with.
    pub key: Bytes,
    /// What the client calls itself; `None`: it has not said so, or that is not known where the call is made.
    pub client: Option<ClientName>,
    /// Of the value that was written or found; 0: none, or none that is known.
    pub value_bytes: u64,
    /// When, by the monotonic clock of the node.
    pub at: Duration,
}

/// What somebody who listens is told at once.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct SamplePage {
    /// Each with how long ago it was when the page was made, in the order in which they were made.
    pub calls: Vec<(SampledCall, Duration)>,
    /// Calls since the page before, whether they are told or not.
    pub seen: u64,
    /// Calls that were to be told, and were dropped because too many waited.
    pub dropped: u64,
}
