//! The suite that the library's authors wrote for every store, and the machine that it needs beside the log.

use openraft::{
    storage::{RaftStateMachine, Snapshot, SnapshotMeta},
    testing::{StoreBuilder, Suite},
    BasicNode, EntryPayload, RaftSnapshotBuilder, StoredMembership,
};

use super::{
    super::super::{Answer, LogPosition, Machine},
    *,
};

/// A machine as the library wants it, for its suite.
#[derive(Default)]
struct SuiteMachine {
    machine: Machine,
    applied: Option<LogId>,
    members: StoredMembership<u64, BasicNode>,
    snapshot: Option<(SnapshotMeta<u64, BasicNode>, Vec<u8>)>,
}

impl SuiteMachine {
    fn current(&self) -> Option<Snapshot<GroupTypes>> {
        let (meta, bytes) = self.snapshot.clone()?;
        Some(Snapshot { meta, snapshot: Box::new(bytes) })
    }
}

impl RaftSnapshotBuilder<GroupTypes> for Arc<tokio::sync::Mutex<SuiteMachine>> {
    async fn build_snapshot(&mut self) -> Stored<Snapshot<GroupTypes>> {
        let mut inner = self.lock().await;
        let bytes = inner.machine.capture().chunks().flatten().collect();
        let (last_log_id, last_membership) = (inner.applied, inner.members.clone());
        let meta = SnapshotMeta { last_log_id, last_membership, snapshot_id: format!("{last_log_id:?}") };
        inner.snapshot = Some((meta, bytes));
        Ok(inner.current().expect("it was just made"))
    }
}

impl RaftStateMachine<GroupTypes> for Arc<tokio::sync::Mutex<SuiteMachine>> {
    type SnapshotBuilder = Self;

    async fn applied_state(&mut self) -> Stored<(Option<LogId>, StoredMembership<u64, BasicNode>)> {
        let inner = self.lock().await;
        Ok((inner.applied, inner.members.clone()))
    }

    async fn apply<I>(&mut self, entries: I) -> Stored<Vec<Vec<Answer>>>
    where
        I: IntoIterator<Item = LogEntry> + OptionalSend,
        I::IntoIter: OptionalSend,
    {
        let entries: Vec<LogEntry> = entries.into_iter().collect();
        let mut inner = self.lock().await;
        let mut answers = Vec::new();
        for entry in entries {
            inner.applied = Some(entry.log_id);
            let at = LogPosition { term: entry.log_id.leader_id.term, index: entry.log_id.index };
            let given = match entry.payload {
                EntryPayload::Normal(requests) => inner.machine.apply(at, &requests),
                EntryPayload::Membership(members) => {
                    inner.members = StoredMembership::new(Some(entry.log_id), members);
                    inner.machine.pass(at);
                    Vec::new()
                }
                EntryPayload::Blank => {
                    inner.machine.pass(at);
                    Vec::new()
                }
            };
            answers.push(given);
        }
        Ok(answers)
    }

    async fn get_snapshot_builder(&mut self) -> Self {
        self.clone()
    }

    async fn begin_receiving_snapshot(&mut self) -> Stored<Box<Vec<u8>>> {
        Ok(Box::default())
    }

    async fn install_snapshot(&mut self, meta: &SnapshotMeta<u64, BasicNode>, snapshot: Box<Vec<u8>>) -> Stored<()> {
        let mut inner = self.lock().await;
        inner.applied = meta.last_log_id;
        inner.members = meta.last_membership.clone();
        inner.snapshot = Some((meta.clone(), *snapshot));
        Ok(())
    }

    async fn get_current_snapshot(&mut self) -> Stored<Option<Snapshot<GroupTypes>>> {
        Ok(self.lock().await.current())
    }
}

struct Builder;

impl StoreBuilder<GroupTypes, LogStore, Arc<tokio::sync::Mutex<SuiteMachine>>> for Builder {
    async fn build(&self) -> Stored<((), LogStore, Arc<tokio::sync::Mutex<SuiteMachine>>)> {
        Ok(((), open(&SimDisk::new(1)), Arc::default()))
    }
}

/// What the library's authors ask of every store. Of the machine it sees only what concerns the log.
#[test]
fn the_suite_of_the_library_passes() {
    Suite::test_all(Builder).unwrap();
}
