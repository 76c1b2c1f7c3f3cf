//! What names things in a group: revisions, keyspaces, leases, clients and their requests, places in the log. All numbers
//! are counted up by the machine itself, so that none is ever used again. Those of revisions, leases and clients go on from the time
//! at which the group was founded ([`super::Command::Begin`]), so that another group, before or after it, has others.

use std::fmt;

macro_rules! numbers {
    ($($(#[$doc:meta])* $name:ident;)*) => {$(
        $(#[$doc])*
        #[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
        pub struct $name(pub u64);

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                self.0.fmt(f)
            }
        }
    )*};
}

numbers! {
    /// Counts the transactions of a group that changed something; 0 is before the first of any group. The version of a key is the
    /// revision that wrote it, a fencing token the revision at which the lock was taken.
    Revision;
    /// A keyspace, from its creation to its drop. Another one of the same name has another id.
    KeyspaceId;
    /// A lease. Never used again, so that a late keep-alive cannot meet another lease.
    LeaseId;
    /// A client that has registered, so that its retries are known.
    ClientId;
}

impl Revision {
    /// Before the first transaction.
    pub const ZERO: Revision = Revision(0);

    /// The revision after this one.
    pub fn next(self) -> Revision {
        Revision(self.0 + 1)
    }
}

/// Names a request for ever: the retry of a request has its id. A client counts its requests up.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct RequestId {
    /// Who asks.
    pub client: ClientId,
    /// Which of its requests.
    pub number: u64,
}

/// Where an entry stands in the replicated log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct LogPosition {
    /// The term of the leader that appended it.
    pub term: u64,
    /// Its place.
    pub index: u64,
}

impl fmt::Display for LogPosition {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}-{}", self.term, self.index)
    }
}
