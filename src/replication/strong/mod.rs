//! The strong engine: every write in one order, agreed on by a majority.
//!
//! * [`Group`] is the member of the group that every node runs: [`Call`] is what clients ask of it, [`Reply`] the answer. It is
//!   told to other members by a [`Courier`], and keeps what a [`GroupStore`] holds.
//! * [`Machine`] is the state of a group: `apply(position, entry) -> answers`, no clock, no randomness, no I/O. Start
//!   reading there. `docs/strong.md` lists the entries, their answers and what they promise.
//! * [`Snapshot`] is its state at one entry, taken in no time, written out while the machine goes on.
//! * [`Restore`] makes a machine of the chunks of a snapshot.
//! * [`LogStore`] keeps the log of a group in the one log of its node, for the consensus library.

mod call;
mod group;
mod log_store;
mod machine;
mod runtime;
mod types;

pub use call::{Call, Freshness, Read, ReadAnswer, ReadCall, ReadKind, ReadReply, Reply, Submission};
#[cfg(feature = "faults")]
pub use group::{look_on, Witness};
pub use group::{Courier, Group, GroupConfig, GroupStore, GroupWatch, GroupWatcher, WatchPage};
pub use log_store::{Kept, LogStore};
pub use machine::{
    Answer, Bounds, Change, Changes, ChangesQuery, Chunks, ClientId, Command, Entry, Guard, Item, ItemPage,
    KeyspaceFacts, KeyspaceId, Lease, LeaseId, LeasePage, Lifetime, LockName, LogPosition, Machine, MachineTime,
    Operation, OperationKind, Outcome, Place, ReadError, Refusal, Request, RequestId, Restore, Revision, SeenLease,
    Snapshot, Space, Transaction, TransactionChanges, Until, VersionState,
};
pub use types::{GroupTypes, LogEntry, LogId, Vote};
