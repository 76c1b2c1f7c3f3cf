//! Who looks on while the members of a process apply the log: in a simulation what was applied is what all answers are
//! compared with. With the Cargo feature `faults` only; without it nobody can look on, and this costs nothing.

#[cfg(feature = "faults")]
pub use watched::{look_on, Witness};

#[cfg(feature = "faults")]
pub(super) use watched::{applied, restored};

#[cfg(feature = "faults")]
mod watched {
    use std::sync::OnceLock;

    use crate::{
        replication::strong::{Answer, Entry, LogPosition},
        types::NodeId,
    };

    /// Looks on.
    pub trait Witness: Send + Sync + 'static {
        /// A member has applied an entry, with these answers; `None`: it was not for the machine. `log_hash` is that of the
        /// machine afterwards.
        fn applied(&self, member: NodeId, at: LogPosition, entry: Option<(&Entry, &[Answer])>, log_hash: u64);

        /// A member has the state after this entry, from a snapshot.
        fn restored(&self, member: NodeId, at: Option<LogPosition>, log_hash: u64);
    }

    static WITNESS: OnceLock<Box<dyn Witness>> = OnceLock::new();

    /// Lets `witness` look on from now on, for as long as the process lives. The first one stays.
    pub fn look_on(witness: Box<dyn Witness>) {
        WITNESS.get_or_init(|| witness);
    }

    pub(crate) fn applied(member: u64, at: LogPosition, entry: Option<(&Entry, &[Answer])>, log_hash: u64) {
        if let Some(witness) = WITNESS.get() {
            witness.applied(NodeId(member), at, entry, log_hash);
        }
    }

    pub(crate) fn restored(member: u64, at: Option<LogPosition>, log_hash: u64) {
        if let Some(witness) = WITNESS.get() {
            witness.restored(NodeId(member), at, log_hash);
        }
    }
}

#[cfg(not(feature = "faults"))]
mod nobody {
    use crate::replication::strong::{Answer, Entry, LogPosition};

    pub(crate) fn applied(_member: u64, _at: LogPosition, _entry: Option<(&Entry, &[Answer])>, _log_hash: u64) {}

    pub(crate) fn restored(_member: u64, _at: Option<LogPosition>, _log_hash: u64) {}
}

#[cfg(not(feature = "faults"))]
pub(super) use nobody::{applied, restored};
