//! The state machine of a group: the same log gives the same state and the same answers on every replica.
//!
//! [`Machine::apply`] takes one entry after another and answers each request in it. What is not in the entry does not count:
//! there is no clock, no randomness and no I/O here. Time is what the entries show (`clock`).
//!
//! Every transaction that changes something is one step of one [`Revision`]; a key keeps its older versions, and the group
//! the order of its transactions, back to a compaction point, so [`Machine::get_at`] reads the past and
//! [`Machine::changes_since`] tells what happened, whole transactions in order. Below the point both say
//! [`ReadError::Compacted`].
//!
//! A request with a [`RequestId`] is applied once; its retry gets the first answer (`clients`). Leases, locks and
//! their fencing tokens are in `leases` and `locks`.
//!
//! All state is in maps that share their parts with their copies: [`Machine::capture`] takes no time, and
//! [`Snapshot::chunks`] writes the copy out while the machine goes on.

mod answer;
mod bounds;
mod clients;
mod clock;
mod codec;
mod entry;
mod history;
mod ids;
mod item;
mod keyspaces;
mod leases;
mod locks;
mod reads;
mod restore;
mod snapshot;
mod state;
#[cfg(test)]
mod tests;
mod transaction;

use xxhash_rust::xxh3::xxh3_64_with_seed;

use self::{clients::Known, state::State};
use crate::{
    config::HistoryBounds,
    limits::{EXPIRED_KEYS_PER_ENTRY, HISTORY_CHANGES_PER_ENTRY},
    storage::codec::{put_list, Stored},
};

pub use answer::{Answer, Outcome, Refusal};
pub use bounds::Bounds;
pub use entry::{Command, Entry, Guard, Lifetime, LockName, Operation, OperationKind, Request, SeenLease, Transaction};
pub use ids::{ClientId, KeyspaceId, LeaseId, LogPosition, RequestId, Revision};
pub use item::{Item, Place, Space, Until, VersionState};
pub use reads::{
    Change, Changes, ChangesQuery, ItemPage, KeyspaceFacts, Lease, LeasePage, ReadError, TransactionChanges,
};
pub use restore::Restore;
pub use snapshot::{Chunks, Snapshot};

/// See [`Machine::time`].
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct MachineTime {
    /// Whose leader showed it.
    pub term: u64,
    /// By the clock of that leader: milliseconds since the Unix epoch.
    pub shown_ms: u64,
    /// What had passed under leaders then.
    pub elapsed_ms: u64,
}

/// The state of a group. Whoever owns it feeds it the log.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Machine {
    state: State,
}

impl Machine {
    /// Before the first entry. All replicas of a group begin with the same bounds.
    pub fn new(bounds: Bounds) -> Machine {
        Machine { state: State { bounds, ..State::default() } }
    }

    /// Applies the entry at a position of the log: one answer for each of its requests, in order.
    ///
    /// # Panics
    /// When the log goes back: an entry is applied once, after all before it.
    pub fn apply(&mut self, at: LogPosition, entry: &Entry) -> Vec<Answer> {
        self.advance(at);
        let state = &mut self.state;
        state.clock.observe(at.term, entry.time_ms);
        state.expire_keys(entry.time_ms, EXPIRED_KEYS_PER_ENTRY);
        let answers: Vec<Answer> = entry.requests.iter().map(|request| answer(state, entry.time_ms, request)).collect();
        state.retire(HISTORY_CHANGES_PER_ENTRY);
        state.log_hash = extend_hash(state.log_hash, at, entry, &answers);
        answers
    }

    /// Passes over an entry of the log that is not for the machine: a change of membership, or the first of a leader.
    ///
    /// # Panics
    /// As [`Machine::apply`].
    pub fn pass(&mut self, at: LogPosition) {
        self.advance(at);
    }

    fn advance(&mut self, at: LogPosition) {
        if let Some(applied) = self.state.applied {
            assert!(at.index > applied.index && at.term >= applied.term, "entry {at} after {applied}");
        }
        self.state.applied = Some(at);
    }

    /// The state as of now. Takes no time, and does not change when the machine does.
    pub fn capture(&self) -> Snapshot {
        Snapshot::new(self.state.clone())
    }

    /// The machine of which this is the state.
    pub fn resume(snapshot: Snapshot) -> Machine {
        Machine { state: snapshot.into_state() }
    }

    /// What time it is for the machine: the term whose leader showed it, what that showed last, and
    /// [`Machine::elapsed_ms`] then.
    pub fn time(&self) -> MachineTime {
        let clock = &self.state.clock;
        MachineTime { term: clock.term, shown_ms: clock.shown_ms, elapsed_ms: clock.elapsed_ms }
    }

    /// The hash of the whole state, the same on every replica that has applied the same entries, by way of the log or of a
    /// snapshot. Reads everything.
    pub fn state_hash(&self) -> u64 {
        self.capture().state_hash()
    }

    /// The hash of all entries and their answers. Costs nothing: replicas that have applied as much compare it.
    pub fn log_hash(&self) -> u64 {
        self.state.log_hash
    }

    /// The last entry that was applied or passed over.
    pub fn applied(&self) -> Option<LogPosition> {
        self.state.applied
    }

    /// How much of the history is kept at most, and how much there is: changes, and their bytes.
    pub fn history(&self) -> (HistoryBounds, (u64, u64)) {
        (self.state.bounds.history(), self.state.history.size())
    }

    /// The revision of the last transaction that changed something.
    pub fn revision(&self) -> Revision {
        self.state.revision
    }

    /// The oldest revision that can be read.
    pub fn compacted(&self) -> Revision {
        self.state.compacted
    }

    /// The machine's own time: what has passed under leaders, milliseconds. Deadlines are in it; it is no time of day.
    pub fn elapsed_ms(&self) -> u64 {
        self.state.clock.elapsed_ms
    }
}

fn answer(state: &mut State, time_ms: u64, request: &Request) -> Answer {
    let Some(id) = request.id else { return execute(state, time_ms, &request.command) };
    match state.clients.recall(id) {
        Known::Answered(answer) => answer,
        Known::Refused(refusal) => Answer::Refused(refusal),
        Known::New => {
            let answer = execute(state, time_ms, &request.command);
            let bounds = state.bounds;
            state.clients.keep(id, &answer, &bounds);
            answer
        }
    }
}

fn execute(state: &mut State, time_ms: u64, command: &Command) -> Answer {
    let answer = match command {
        Command::Register => {
            let bounds = state.bounds;
            Ok(Answer::Registered(state.clients.register(&bounds)))
        }
        Command::Transact(transaction) => state.transact(time_ms, transaction),
        Command::Grant { ttl_ms } => state.grant(*ttl_ms),
        Command::KeepAlive { lease } => state.keep_alive(*lease),
        Command::Revoke { lease } => state.revoke(time_ms, *lease),
        Command::Expire { term, leases } => state.expire(time_ms, *term, leases),
        Command::Acquire { lock, lease, value, wait } => state.acquire(time_ms, lock, *lease, value, *wait),
        Command::Release { lock, lease } => state.release(time_ms, lock, *lease),
        Command::Proclaim { lock, token, value } => state.proclaim(time_ms, lock, *token, value),
        Command::CreateKeyspace { name } => state.create_keyspace(name),
        Command::CreateEventual { name, group, keep_conflicts } => state.create_eventual(name, *group, *keep_conflicts),
        Command::DropKeyspace { keyspace } => state.drop_keyspace(*keyspace),
        Command::Compact { revision } => state.compact(*revision),
        Command::Retain(history) => {
            state.bounds.set_history(*history);
            Ok(Answer::Compacted)
        }
        Command::Begin(first) => {
            state.begin(*first);
            Ok(Answer::Compacted)
        }
    };
    answer.unwrap_or_else(Answer::Refused)
}

fn extend_hash(before: u64, at: LogPosition, entry: &Entry, answers: &[Answer]) -> u64 {
    let mut bytes = Vec::new();
    at.put(&mut bytes);
    entry.put(&mut bytes);
    put_list(&mut bytes, answers);
    xxh3_64_with_seed(&bytes, before)
}
