//! What a crash and a cut leave of a log, and what is refused.

mod records;

use std::{collections::BTreeMap, path::Path, sync::Arc};

use openraft::{storage::RaftLogStorageExt, CommittedLeaderId, EntryPayload};
use proptest::prelude::*;

use super::{
    super::{Command, Entry, Request},
    *,
};
use crate::{
    env::{Env, SimDisk, SimulatedNetwork, SystemClock, SystemRng},
    storage::log::{Entry as LogRecord, LogOptions},
    types::Value,
};

const STREAM: u32 = 7;

fn open_log(disk: &SimDisk) -> Arc<Log> {
    open_log_with(disk, Durability::Sync)
}

fn open_log_with(disk: &SimDisk, durability: Durability) -> Arc<Log> {
    let env = Env {
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(SystemRng),
        transport: Arc::new(SimulatedNetwork::default()),
        disk: Arc::new(disk.clone()),
    };
    let options = LogOptions { durability, segment_bytes: 1024, preallocate_bytes: 256 };
    Arc::new(Log::open(&env, Path::new("/data/log"), &options).unwrap())
}

fn open(disk: &SimDisk) -> LogStore {
    LogStore::open(open_log(disk), STREAM).unwrap()
}

fn log_id(term: u64, index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(term, 1), index)
}

fn entry(term: u64, index: u64) -> LogEntry {
    let command = Command::CreateKeyspace { name: format!("{term} {index}") };
    let requests = vec![Request { id: None, command }];
    LogEntry {
        log_id: log_id(term, index),
        payload: EntryPayload::Normal(Arc::new(Entry { time_ms: index, requests })),
    }
}

impl LogStore {
    fn disk_log(&self) -> &Log {
        match &self.home {
            Home::Disk { log, .. } => log,
            Home::Memory => panic!("it is on disk"),
        }
    }
}

/// One thing that is done to a log.
#[derive(Clone, Debug)]
enum Step {
    Append { term: u64, count: u64, waits: bool },
    Truncate { back: u64 },
    Purge { back: u64 },
    Vote { term: u64 },
    Commit { back: u64 },
    Cut,
    Crash,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        6 => (0u64..2, 1u64..6, any::<bool>()).prop_map(|(term, count, waits)| Step::Append { term, count, waits }),
        2 => (0u64..6).prop_map(|back| Step::Truncate { back }),
        2 => (0u64..8).prop_map(|back| Step::Purge { back }),
        2 => (0u64..9).prop_map(|term| Step::Vote { term }),
        2 => (0u64..4).prop_map(|back| Step::Commit { back }),
        1 => Just(Step::Cut),
        2 => Just(Step::Crash),
    ]
}

/// What a log says, without the places of its records.
#[derive(Clone, Debug, Default, PartialEq)]
struct Said {
    entries: BTreeMap<u64, LogEntry>,
    facts: Facts,
}

impl Said {
    fn of(store: &LogStore) -> Said {
        let kept = store.kept.lock();
        let entries = kept.entries.iter().map(|(index, kept)| (*index, kept.entry.clone())).collect();
        Said { entries, facts: kept.facts.clone() }
    }

    fn last(&self) -> Option<LogId> {
        self.entries.values().last().map(|entry| entry.log_id).or(self.facts.purged)
    }
}

/// A twin of the log, one whole copy for each record.
struct Twin {
    said: Vec<Said>,
    /// So many of the copies cannot be lost.
    durable: usize,
    term: u64,
}

impl Twin {
    fn now(&self) -> Said {
        self.said.last().unwrap().clone()
    }

    fn record(&mut self, change: impl FnOnce(&mut Said)) {
        let mut said = self.now();
        change(&mut said);
        self.said.push(said);
    }

    async fn take(&mut self, store: &mut LogStore, step: &Step) {
        let (now, last) = (self.now(), self.now().last());
        match step {
            Step::Append { term, count, waits } => {
                self.term += term;
                let first = last.map_or(0, |last| last.index + 1);
                let entries: Vec<_> = (first..first + count).map(|index| entry(self.term, index)).collect();
                for entry in &entries {
                    self.record(|said| drop(said.entries.insert(entry.log_id.index, entry.clone())));
                }
                if *waits {
                    store.blocking_append(entries).await.unwrap();
                    self.durable = self.said.len();
                } else {
                    store.write_entries(entries).unwrap();
                }
            }
            Step::Truncate { back } => {
                let Some(since) = now.entries.keys().rev().nth(*back as usize).copied() else { return };
                self.record(|said| drop(said.entries.split_off(&since)));
                store.truncate(log_id(self.term, since)).await.unwrap();
            }
            Step::Purge { back } => {
                let Some(upto) = now.entries.values().rev().nth(*back as usize).map(|entry| entry.log_id) else {
                    return;
                };
                self.record(|said| {
                    said.entries = said.entries.split_off(&(upto.index + 1));
                    said.facts.purged = Some(upto);
                });
                store.purge(upto).await.unwrap();
            }
            Step::Vote { term } => {
                let vote = Vote::new(*term, 3);
                self.record(|said| said.facts.vote = Some(vote));
                store.save_vote(&vote).await.unwrap();
                self.durable = self.said.len();
            }
            Step::Commit { back } => {
                let Some(upto) = now.entries.values().rev().nth(*back as usize).map(|entry| entry.log_id) else {
                    return;
                };
                self.record(|said| said.facts.committed = Some(upto));
                store.save_committed(Some(upto)).await.unwrap();
            }
            Step::Cut => store.disk_log().cut(store.low().unwrap_or_default()).unwrap(),
            Step::Crash => {}
        }
    }

    /// After a crash: one of the copies, not before what cannot be lost.
    fn survives(&mut self, store: &LogStore) {
        let found = Said::of(store);
        let at = (self.durable - 1..self.said.len()).find(|at| self.said[*at] == found);
        let at = at.unwrap_or_else(|| panic!("{found:#?}\nis none of {:#?}", &self.said[self.durable - 1..]));
        self.said.truncate(at + 1);
        self.durable = self.said.len();
    }
}

fn play(steps: &[Step], seed: u64) -> usize {
    let disk = SimDisk::new(seed);
    let mut twin = Twin { said: vec![Said::default()], durable: 1, term: 1 };
    let mut lost = 0;
    for life in steps.split_inclusive(|step| matches!(step, Step::Crash)) {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
        runtime.block_on(async {
            let mut store = open(&disk);
            let before = twin.said.len();
            twin.survives(&store);
            lost += before - twin.said.len();
            for step in life {
                twin.take(&mut store, step).await;
                assert_eq!(Said::of(&store), twin.now());
            }
        });
        disk.crash();
    }
    lost
}

proptest! {
    /// PE-1, PE-3: after a crash the log is what it was after one of its records, and not before those that were waited for.
    #[test]
    fn a_crash_leaves_what_was_acknowledged(steps in prop::collection::vec(step(), 1..60), seed in any::<u64>()) {
        play(&steps, seed);
    }
}

#[test]
fn crashes_do_lose_what_nobody_waited_for() {
    let step = Step::Append { term: 1, count: 5, waits: false };
    let lost: usize = (0..20).map(|seed| play(&[step.clone(), Step::Crash, Step::Crash], seed)).sum();
    assert!(lost > 0, "the test above has nothing to find");
}

fn block_on<T>(future: impl std::future::Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap().block_on(future)
}

#[test]
fn a_hole_and_an_entry_that_is_too_large_are_refused_before_anything_is_written() {
    block_on(async {
        let store = open(&SimDisk::new(1));
        store.write_entries(vec![entry(1, 0), entry(1, 1)]).unwrap();
        let before = store.disk_log().next();
        let error = store.write_entries(vec![entry(1, 2), entry(1, 4)]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::Internal);
        let value = Value::new(&vec![0; crate::limits::VALUE_BYTES_MAX]).unwrap();
        let lock = super::super::LockName { keyspace: Default::default(), name: crate::types::Key::new(b"l").unwrap() };
        let command = Command::Proclaim { lock, token: Default::default(), value };
        let requests = vec![Request { id: None, command }; 8];
        let large = LogEntry { payload: EntryPayload::Normal(Arc::new(Entry { time_ms: 0, requests })), ..entry(1, 3) };
        let error = store.write_entries(vec![entry(1, 2), large]).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BatchTooLarge);
        assert_eq!((store.disk_log().next(), Said::of(&store).last()), (before, Some(log_id(1, 1))));
    });
}

#[test]
fn a_cut_log_says_the_same() {
    let disk = SimDisk::new(1);
    block_on(async {
        let mut store = open(&disk);
        store.save_vote(&Vote::new(4, 2)).await.unwrap();
        for first in (0..200).step_by(10) {
            store.blocking_append((first..first + 10).map(|index| entry(1, index))).await.unwrap();
        }
        store.save_committed(Some(log_id(1, 199))).await.unwrap();
        store.purge(log_id(1, 190)).await.unwrap();
        store.disk_log().flush().await.unwrap();
        let (before, first) = (Said::of(&store), store.disk_log().first());
        store.disk_log().cut(store.low().unwrap()).unwrap();
        assert!(store.disk_log().first() > first, "there was something to cut");
        store.disk_log().abandon().await;
        assert_eq!(Said::of(&open(&disk)), before);
    });
}

/// Found by seed 114 of the simulation: a member got entries with a hole before them.
#[test]
fn entries_after_some_that_are_gone_are_not_given_in_their_place() {
    block_on(async {
        let mut store = LogStore::in_memory();
        store.blocking_append((0..20).map(|index| entry(1, index))).await.unwrap();
        store.purge(log_id(1, 9)).await.unwrap();
        assert_eq!(store.limited_get_log_entries(5, 15).await.unwrap(), Vec::new());
        let given = store.limited_get_log_entries(10, 15).await.unwrap();
        assert_eq!(given, (10..15).map(|index| entry(1, index)).collect::<Vec<_>>());
    });
}

#[test]
fn entries_that_are_missing_are_noticed() {
    let record = |position, record: Record| {
        let mut payload = Vec::new();
        record.put(&mut payload);
        LogRecord { position: Position(position), stream: STREAM, kind: record.kind(), payload: payload.into() }
    };
    let purged = |upto| Record::Facts(Facts { purged: Some(log_id(1, upto)), ..Facts::default() });
    let said = |records: Vec<Record>| {
        let mut kept = Kept::default();
        for (at, found) in records.into_iter().enumerate() {
            kept.observe(&record(at as u64, found)).unwrap();
        }
        kept.check().map(|()| kept.last())
    };
    let entries = |indices: &[u64]| indices.iter().map(|index| Record::Entry(entry(1, *index))).collect::<Vec<_>>();
    assert_eq!(said(entries(&[4, 5])), Ok(Some(log_id(1, 5))), "a log may begin anywhere");
    assert_eq!(said(entries(&[4, 6])).unwrap_err().code(), ErrorCode::Corrupt);
    let with = |upto| entries(&[4, 6]).into_iter().chain([purged(upto)]).collect::<Vec<_>>();
    assert_eq!(said(with(4)).unwrap_err().code(), ErrorCode::Corrupt);
    assert_eq!(said(with(5)), Ok(Some(log_id(1, 6))), "what was missing is given up");
    let kept = Kept::default().observe(&LogRecord { kind: 6, ..record(0, purged(1)) });
    assert_eq!(kept.unwrap_err().code(), ErrorCode::FormatTooNew);
}

#[test]
fn a_log_keeps_what_the_snapshot_agrees_with_and_gives_up_what_it_contradicts() {
    let disk = SimDisk::new(1);
    let indexes = |store: &LogStore| store.kept.lock().entries.keys().copied().collect::<Vec<_>>();
    block_on(async {
        let mut store = open(&disk);
        store.blocking_append((0..10).map(|index| entry(2, index))).await.unwrap();
        store.purge(log_id(2, 3)).await.unwrap();
        let all: Vec<u64> = (4..10).collect();
        for agreeing in [log_id(2, 3), log_id(2, 6), log_id(2, 9), log_id(3, 10), log_id(3, 20)] {
            store.settle(Some(agreeing)).unwrap();
            assert_eq!(indexes(&store), all, "{agreeing}");
        }
        for missing in [None, Some(log_id(2, 2))] {
            let refused = store.settle(missing).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::Corrupt, "{refused}");
            assert_eq!(indexes(&store), all);
        }
        store.settle(Some(log_id(3, 7))).unwrap();
        assert_eq!(indexes(&store), [] as [u64; 0]);
        // As the library does with a snapshot that is ahead of the log, before what comes after it.
        store.purge(log_id(3, 7)).await.unwrap();
        store.blocking_append([entry(3, 8)]).await.unwrap();
        store.disk_log().abandon().await;
        assert_eq!(indexes(&open(&disk)), [8]);
    });
}

#[test]
fn a_log_that_is_not_synced_is_refused() {
    block_on(async {
        let log = open_log_with(&SimDisk::new(1), Durability::Memory);
        let error = LogStore::open(log, STREAM).map(|_| ()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BadSetting);
    });
}

#[test]
fn groups_in_one_log_are_apart() {
    let disk = SimDisk::new(1);
    block_on(async {
        let log = open_log(&disk);
        let mut stores = [STREAM, STREAM + 1].map(|stream| LogStore::open(log.clone(), stream).unwrap());
        for index in 0..10 {
            for (term, store) in stores.iter_mut().enumerate() {
                store.blocking_append([entry(1 + term as u64, index)]).await.unwrap();
            }
        }
        log.abandon().await;
        let log = open_log(&disk);
        for (term, stream) in [STREAM, STREAM + 1].into_iter().enumerate() {
            let said = Said::of(&LogStore::open(log.clone(), stream).unwrap());
            assert_eq!((said.entries.len(), said.last()), (10, Some(log_id(1 + term as u64, 9))));
        }
    });
}
