//! The log and the replica together, as the consensus library wants them; snapshots on disk.

use std::{path::Path, sync::Arc};

use openraft::{
    storage::{RaftLogStorageExt, RaftStateMachine},
    testing::{StoreBuilder, Suite},
    CommittedLeaderId, EntryPayload, RaftSnapshotBuilder, StorageError,
};

use super::super::*;
use crate::{
    env::{SeededRng, SimDisk, SimulatedNetwork, SystemClock},
    replication::strong::{
        types::{LogEntry, LogId},
        Command, Entry, Request,
    },
    storage::log::{Durability, LogOptions},
};

const MEMBER: NodeId = NodeId(7);

fn env(disk: &SimDisk) -> Env {
    Env {
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(SeededRng::new(1)),
        transport: Arc::new(SimulatedNetwork::default()),
        disk: Arc::new(disk.clone()),
    }
}

fn open(disk: &SimDisk, member: NodeId) -> Result<GroupStore> {
    let env = env(disk);
    let dir = Path::new("/data/group");
    env.disk.create_dir_all(dir).unwrap();
    let options = LogOptions { durability: Durability::Sync, segment_bytes: 4096, preallocate_bytes: 256 };
    let log = Arc::new(Log::open(&env, Path::new("/data/log"), &options)?);
    GroupStore::open(member, "test", log, dir.into(), &env)
}

struct Durable;
struct InMemory;

impl StoreBuilder<super::super::super::GroupTypes, LogStore, Replica> for Durable {
    async fn build(&self) -> Result<((), LogStore, Replica), StorageError<u64>> {
        let store = open(&SimDisk::new(1), MEMBER).unwrap();
        Ok(((), store.log, Replica::new(1, store.snapshots)))
    }
}

impl StoreBuilder<super::super::super::GroupTypes, LogStore, Replica> for InMemory {
    async fn build(&self) -> Result<((), LogStore, Replica), StorageError<u64>> {
        let store = GroupStore::in_memory(MEMBER);
        Ok(((), store.log, Replica::new(1, store.snapshots)))
    }
}

/// The suite that the library's authors wrote for every store.
#[test]
fn the_suite_of_the_library_passes_on_disk_and_in_memory() {
    Suite::test_all(Durable).unwrap();
    Suite::test_all(InMemory).unwrap();
}

fn entry(index: u64) -> LogEntry {
    let command = Command::CreateKeyspace { name: format!("k{index}") };
    let requests = vec![Request { id: None, command }];
    let log_id = LogId::new(CommittedLeaderId::new(1, MEMBER.0), index);
    LogEntry { log_id, payload: EntryPayload::Normal(Arc::new(Entry { time_ms: index, requests })) }
}

#[tokio::test]
async fn a_snapshot_comes_back_with_what_it_is_of() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk, MEMBER).unwrap();
    let mut replica = Replica::new(1, store.snapshots);
    store.log.blocking_append((1..=9).map(entry)).await.unwrap();
    replica.apply((1..=5).map(entry)).await.unwrap();
    let hash = replica.machine().state_hash();
    replica.build_snapshot().await.unwrap();
    disk.mark_dying();
    drop((store.log, replica));
    disk.crash();

    let store = open(&disk, MEMBER).unwrap();
    assert_eq!(store.log.size().0, 9);
    let replica = Replica::new(1, store.snapshots);
    assert_eq!(replica.machine().state_hash(), hash);
    assert_eq!(replica.progress().borrow().index, Some(5));
}

#[tokio::test]
async fn nothing_of_a_former_self_counts() {
    let disk = SimDisk::new(1);
    let mut store = open(&disk, MEMBER).unwrap();
    let mut replica = Replica::new(1, store.snapshots);
    store.log.blocking_append((1..=9).map(entry)).await.unwrap();
    replica.apply((1..=5).map(entry)).await.unwrap();
    replica.build_snapshot().await.unwrap();
    disk.mark_dying();
    drop((store.log, replica));
    disk.crash();

    for _again in 0..2 {
        let store = open(&disk, NodeId(8)).unwrap();
        assert_eq!(store.log.size(), (0, 0));
        let replica = Replica::new(1, store.snapshots);
        assert_eq!(replica.progress().borrow().index, None);
        disk.mark_dying();
        drop((store.log, replica));
        disk.crash();
    }
}
