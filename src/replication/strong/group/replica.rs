//! The machine of a member, as the consensus library drives it and as readers see it.

use std::{ops::Deref, sync::Arc};

use openraft::{
    storage::{RaftStateMachine, Snapshot},
    EntryPayload, OptionalSend, RaftSnapshotBuilder, StorageError,
};
use parking_lot::RwLock;
use tokio::sync::watch;

use super::{snapshots::Snapshots, witness};
use crate::replication::strong::{
    machine::Snapshot as Captured,
    types::{GroupTypes, LogEntry, LogId, Members, SnapshotMeta},
    Answer, Bounds, LogPosition, Machine, Revision,
};
use crate::types::Edition;

type Stored<T> = std::result::Result<T, StorageError<u64>>;

/// How far a member has applied the log.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Progress {
    /// The index of the last entry; `None`: there was none.
    pub(super) index: Option<u64>,
    /// The machine's revision after it.
    pub(super) revision: Revision,
}

/// The machine of a member and what else the log says. Clones are the same.
#[derive(Clone)]
pub(super) struct Replica(Arc<Inner>);

struct Inner {
    /// Guards the machine: written by the log alone, read by everybody.
    held: RwLock<Held>,
    progress: watch::Sender<Progress>,
    /// Changes when a keyspace is made or dropped, and not with each entry.
    edition: watch::Sender<Edition>,
    snapshots: Snapshots,
    member: u64,
}

struct Held {
    machine: Machine,
    applied: Option<LogId>,
    members: Members,
}

impl Held {
    /// Passes over an entry that is not for the machine: nobody waits for an answer.
    fn pass(&mut self, member: u64, at: LogPosition) -> Vec<Answer> {
        self.machine.pass(at);
        witness::applied(member, at, None, self.machine.log_hash());
        Vec::new()
    }

    fn progress(&self) -> Progress {
        Progress { index: self.applied.map(|applied| applied.index), revision: self.machine.revision() }
    }
}

impl Replica {
    /// Begins with the newest snapshot, or with nothing.
    pub(super) fn new(member: u64, snapshots: Snapshots) -> Replica {
        let held = match snapshots.current() {
            Some((meta, captured)) => Held {
                machine: Machine::resume(captured),
                applied: meta.last_log_id,
                members: meta.last_membership.clone(),
            },
            None => Held { machine: Machine::new(Bounds::default()), applied: None, members: Members::default() },
        };
        witness::restored(member, held.machine.applied(), held.machine.log_hash());
        let progress = watch::Sender::new(held.progress());
        let edition = watch::Sender::new(held.machine.edition());
        Replica(Arc::new(Inner { held: RwLock::new(held), progress, edition, snapshots, member }))
    }

    /// The machine, for as long as the answer is held. What takes longer than a look takes a copy of it
    /// ([`Machine::capture`]).
    pub(super) fn machine(&self) -> impl Deref<Target = Machine> + '_ {
        parking_lot::RwLockReadGuard::map(self.0.held.read(), |held| &held.machine)
    }

    /// How far it is, and when that changes.
    pub(super) fn progress(&self) -> watch::Receiver<Progress> {
        self.0.progress.subscribe()
    }

    /// Which keyspaces there are, and when that changes.
    pub(super) fn edition(&self) -> watch::Receiver<Edition> {
        self.0.edition.subscribe()
    }

    /// Tells whoever waits how far it is.
    fn tell(&self, progress: Progress, edition: Edition) {
        self.0.progress.send_replace(progress);
        self.0.edition.send_if_modified(|told| std::mem::replace(told, edition) != edition);
    }

    /// Why the last snapshot could not be written; empty: it was.
    pub(super) fn snapshot_problem(&self) -> String {
        self.0.snapshots.problem()
    }

    /// Makes this the newest snapshot, and returns when it is on disk, if the member keeps its data there.
    pub(super) async fn keep(&self, meta: SnapshotMeta, captured: Captured) {
        self.0.snapshots.keep(meta, captured).await;
    }

    fn captured(&self) -> (SnapshotMeta, Captured) {
        let held = self.0.held.read();
        let (last_log_id, last_membership) = (held.applied, held.members.clone());
        let snapshot_id = last_log_id.map_or_else(|| "-".to_string(), |applied| applied.to_string());
        (SnapshotMeta { last_log_id, last_membership, snapshot_id }, held.machine.capture())
    }
}

fn position(log_id: LogId) -> LogPosition {
    LogPosition { term: log_id.leader_id.term, index: log_id.index }
}

fn snapshot((meta, captured): (SnapshotMeta, Captured)) -> Snapshot<GroupTypes> {
    Snapshot { meta, snapshot: Box::new(captured) }
}

impl RaftSnapshotBuilder<GroupTypes> for Replica {
    /// Returns when the snapshot is on disk, if the member keeps its data there: the log before it is given up afterwards.
    async fn build_snapshot(&mut self) -> Stored<Snapshot<GroupTypes>> {
        let (meta, captured) = self.captured();
        self.keep(meta.clone(), captured.clone()).await;
        Ok(snapshot((meta, captured)))
    }
}

impl RaftStateMachine<GroupTypes> for Replica {
    type SnapshotBuilder = Replica;

    async fn applied_state(&mut self) -> Stored<(Option<LogId>, Members)> {
        let held = self.0.held.read();
        Ok((held.applied, held.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Stored<Vec<Vec<Answer>>>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let mut answers = Vec::new();
        for entry in entries {
            let mut held = self.0.held.write();
            let at = position(entry.log_id);
            answers.push(match entry.payload {
                EntryPayload::Normal(requests) => {
                    let answers = held.machine.apply(at, &requests);
                    witness::applied(self.0.member, at, Some((&requests, &answers)), held.machine.log_hash());
                    answers
                }
                EntryPayload::Membership(members) => {
                    held.members = Members::new(Some(entry.log_id), members);
                    held.pass(self.0.member, at)
                }
                EntryPayload::Blank => held.pass(self.0.member, at),
            });
            held.applied = Some(entry.log_id);
            let (progress, edition) = (held.progress(), held.machine.edition());
            drop(held);
            self.tell(progress, edition);
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Replica {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Stored<Box<Captured>> {
        Ok(Box::new(Machine::default().capture()))
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta, snapshot: Box<Captured>) -> Stored<()> {
        self.keep(meta.clone(), Captured::clone(&snapshot)).await;
        let mut held = self.0.held.write();
        // What was applied is never taken back (openraft#1892).
        if meta.last_log_id < held.applied {
            return Ok(());
        }
        *held = Held {
            machine: Machine::resume(*snapshot),
            applied: meta.last_log_id,
            members: meta.last_membership.clone(),
        };
        witness::restored(self.0.member, held.machine.applied(), held.machine.log_hash());
        let (progress, edition) = (held.progress(), held.machine.edition());
        drop(held);
        self.tell(progress, edition);
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Stored<Option<Snapshot<GroupTypes>>> {
        Ok(self.0.snapshots.current().map(snapshot))
    }
}
