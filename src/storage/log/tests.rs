//! What the log promises. Here what it does while all is well; `crashes` and `damage` have what it does when it is not.

mod crashes;
mod damage;
mod faults;
mod real;

use std::{
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::Duration,
};

use tokio::time::Instant;

use super::*;
use crate::env::{Clock, Rng, SimDisk, SimulatedNetwork};
use crate::limits::LOG_ENTRY_BYTES_MAX;

/// The clock of tokio's own time, which tests stop.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn wall_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// 1, 2, 3, ...: golden bytes must not depend on a generator.
#[derive(Default)]
struct Counting(AtomicU64);

impl Rng for Counting {
    fn next_u64(&self) -> Result<u64> {
        Ok(self.0.fetch_add(1, Ordering::Relaxed) + 1)
    }
}

fn env_of(disk: &SimDisk) -> Env {
    Env {
        clock: Arc::new(TokioClock(Instant::now())),
        rng: Arc::new(Counting::default()),
        transport: Arc::new(SimulatedNetwork::default()),
        disk: Arc::new(disk.clone()),
    }
}

fn dir() -> PathBuf {
    PathBuf::from("/data/log")
}

/// Small segments, so that a test sees several.
fn small(durability: Durability) -> LogOptions {
    LogOptions { durability, segment_bytes: 1024, preallocate_bytes: 256 }
}

fn open(disk: &SimDisk, options: &LogOptions) -> Result<Log> {
    Log::open(&env_of(disk), &dir(), options)
}

fn open_small(disk: &SimDisk) -> Log {
    open(disk, &small(Durability::Sync)).unwrap()
}

fn payload(serial: u64, len: usize) -> Vec<u8> {
    let mut bytes = serial.to_le_bytes().to_vec();
    bytes.extend((8..len).map(|i| (i as u64 ^ serial) as u8));
    bytes
}

fn append(log: &Log, serial: u64) -> Position {
    log.append((serial % 3) as u32, (serial % 5) as u8, &payload(serial, 40)).unwrap()
}

/// Appends all at once; the position of the last.
fn append_all(log: &Log, serials: std::ops::Range<u64>) -> Position {
    serials.fold(Position(0), |_, serial| append(log, serial))
}

fn serial(entry: &Entry) -> u64 {
    let serial = u64::from_le_bytes(entry.payload[..8].try_into().unwrap());
    assert_eq!((entry.stream, entry.kind), ((serial % 3) as u32, (serial % 5) as u8));
    assert_eq!(entry.payload, payload(serial, entry.payload.len()));
    serial
}

fn serials(log: &Log) -> Vec<u64> {
    let first = log.first();
    let entries: Vec<Entry> = log.entries_from(first).unwrap().map(|entry| entry.unwrap()).collect();
    for (number, entry) in entries.iter().enumerate() {
        assert_eq!(entry.position, Position(first.0 + number as u64), "positions have no gap");
    }
    entries.iter().map(serial).collect()
}

/// Appends one by one, each in a batch of its own.
async fn append_synced(log: &Log, serials: std::ops::Range<u64>) {
    for serial in serials {
        let position = append(log, serial);
        log.synced(position).await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn what_is_appended_is_read_back_in_order_also_after_a_restart() {
    let disk = SimDisk::new(1);
    let log = open_small(&disk);
    assert_eq!((log.first(), log.next(), serials(&log)), (Position(0), Position(0), vec![]));
    append_synced(&log, 0..30).await;
    let last = append_all(&log, 30..60);
    assert_eq!(last, Position(59));
    log.synced(last).await.unwrap();
    assert_eq!(serials(&log), (0..60).collect::<Vec<_>>());
    let later: Vec<u64> = log.entries_from(Position(41)).unwrap().map(|entry| serial(&entry.unwrap())).collect();
    assert_eq!(later, (41..60).collect::<Vec<_>>());
    assert_eq!(log.entries_from(Position(60)).unwrap().count(), 0);
    log.close().await.unwrap();
    for _ in 0..3 {
        let log = open_small(&disk);
        assert_eq!(serials(&log), (0..60).collect::<Vec<_>>());
        assert_eq!((log.next(), log.synced_before()), (Position(60), Position(60)));
        log.close().await.unwrap();
    }
}

#[tokio::test(start_paused = true)]
async fn entries_that_wait_together_share_a_sync() {
    let log = open_small(&SimDisk::new(1));
    let before = log.stats();
    let last = append_all(&log, 0..10);
    log.synced(last).await.unwrap();
    let after = log.stats();
    assert_eq!((after.syncs - before.syncs, after.batches - before.batches), (1, 1));
    assert_eq!(after.written_bytes, 10 * (40 + 9));
    assert_eq!((after.next, after.synced, after.buffered_bytes), (Position(10), Position(10), 0));
}

#[tokio::test(start_paused = true)]
async fn callbacks_come_in_order_once_their_entries_are_synced() {
    let log = open_small(&SimDisk::new(1));
    let told = Arc::new(Mutex::new(Vec::new()));
    let tell = |position: Position| {
        let told = told.clone();
        log.on_synced(position, move |outcome| told.lock().push((position, outcome)));
    };
    let (first, second) = (append(&log, 0), append(&log, 1));
    tell(second);
    tell(first);
    assert!(told.lock().is_empty(), "not before the sync");
    log.synced(second).await.unwrap();
    tell(first);
    assert_eq!(*told.lock(), [(first, Ok(())), (second, Ok(())), (first, Ok(()))]);
}

#[tokio::test(start_paused = true)]
async fn a_cut_removes_whole_segments_before_a_position() {
    let disk = SimDisk::new(1);
    let log = open_small(&disk);
    append_synced(&log, 0..60).await;
    let segments = log.stats().segments;
    assert!(segments > 3, "{segments} segments");
    log.cut(Position(40)).unwrap();
    let first = log.first();
    assert!(first > Position(20) && first <= Position(40), "{first:?}");
    assert_eq!(serials(&log), (first.0..60).collect::<Vec<_>>());
    let gone = log.entries_from(Position(first.0 - 1)).map(|_| ());
    assert_eq!(gone.unwrap_err().code(), ErrorCode::Corrupt);
    log.cut(Position(1000)).unwrap();
    assert_eq!(log.stats().segments, 1, "the last one stays");
    log.close().await.unwrap();
    disk.crash();
    let log = open_small(&disk);
    append_synced(&log, 60..62).await;
    assert_eq!(serials(&log).last(), Some(&61));
}

#[tokio::test(start_paused = true)]
async fn an_interval_syncs_once_for_all_that_was_written_in_it() {
    let disk = SimDisk::new(1);
    let options = LogOptions { durability: Durability::Interval(Duration::from_millis(100)), ..LogOptions::default() };
    let log = open(&disk, &options).unwrap();
    let start = Instant::now();
    let before = log.stats().syncs;
    let mut last = Position(0);
    for serial in 0..5 {
        last = append(&log, serial);
        tokio::time::advance(Duration::from_millis(10)).await;
    }
    assert_eq!(serials(&log), [0, 1, 2, 3, 4], "written at once");
    assert_eq!(log.synced_before(), Position(0), "and not called synced before it is");
    log.synced(last).await.unwrap();
    let elapsed_ms = start.elapsed().as_millis();
    assert!((100..=120).contains(&elapsed_ms), "{elapsed_ms} ms");
    assert_eq!(log.stats().syncs - before, 1);
}

#[tokio::test(start_paused = true)]
async fn a_sync_is_told_to_all_who_wait_since_earlier_commits() {
    let durability = Durability::Interval(Duration::from_secs(3600));
    let log = Arc::new(open(&SimDisk::new(1), &LogOptions { durability, ..LogOptions::default() }).unwrap());
    let mut waiting = tokio::task::JoinSet::new();
    let wait = |position: Position| {
        let log = log.clone();
        async move { log.synced(position).await }
    };
    for serial in 0..5 {
        let position = append(&log, serial);
        waiting.spawn(wait(position));
        tokio::time::advance(Duration::from_millis(10)).await;
        assert_eq!(serials(&log).len() as u64, serial + 1, "written by a commit of its own");
        waiting.spawn(wait(position));
    }
    assert_eq!(log.synced_before(), Position(0));
    log.flush().await.unwrap();
    let outcomes = tokio::time::timeout(Duration::from_secs(1), waiting.join_all()).await;
    assert_eq!(outcomes.expect("nobody was forgotten"), vec![Ok(()); 10]);
}

#[tokio::test(start_paused = true)]
async fn in_memory_mode_nothing_is_synced_before_the_close() {
    let disk = SimDisk::new(1);
    let log = open(&disk, &LogOptions { durability: Durability::Memory, ..LogOptions::default() }).unwrap();
    let last = append_all(&log, 0..5);
    tokio::time::sleep(Duration::from_secs(3600)).await;
    assert_eq!((serials(&log).len(), log.synced_before()), (5, Position(0)));
    log.close().await.unwrap();
    log.synced(last).await.unwrap();
    disk.crash();
    assert_eq!(serials(&open_small(&disk)), [0, 1, 2, 3, 4]);
}

#[tokio::test(start_paused = true)]
async fn a_directory_has_one_log_at_a_time() {
    let disk = SimDisk::new(1);
    let log = open_small(&disk);
    let second = open(&disk, &LogOptions::default()).map(|_| ());
    assert_eq!(second.unwrap_err().code(), ErrorCode::DataDirInUse);
    log.close().await.unwrap();
    log.close().await.unwrap();
    assert_eq!(log.append(1, 1, b"late").unwrap_err().code(), ErrorCode::NotRunning);
    assert_eq!(log.check_room().unwrap_err().code(), ErrorCode::NotRunning);
    open_small(&disk).close().await.unwrap();
}

#[tokio::test(start_paused = true)]
async fn writers_are_held_up_when_the_buffer_is_full_and_those_past_the_check_are_not() {
    let log = open(&SimDisk::new(1), &LogOptions::default()).unwrap();
    let big = vec![7; LOG_ENTRY_BYTES_MAX];
    log.append(1, 1, &big).unwrap();
    log.check_room().unwrap();
    log.append(1, 1, &big).unwrap();
    assert_eq!(log.check_room().unwrap_err().code(), ErrorCode::Overloaded);
    assert_eq!(log.wait_for_room(Duration::ZERO).unwrap_err().code(), ErrorCode::Overloaded);
    let last = log.append(1, 1, b"past the check").unwrap();
    log.room().await.unwrap();
    log.synced(last).await.unwrap();
    assert_eq!(log.entries_from(Position(0)).unwrap().count(), 3);
    let refused = log.append(1, 1, &vec![7; LOG_ENTRY_BYTES_MAX + 1]);
    assert_eq!(refused.unwrap_err().code(), ErrorCode::InvalidArgument);
}

#[tokio::test(start_paused = true)]
async fn a_wait_on_a_thread_ends_with_its_deadline() {
    let log = open_small(&SimDisk::new(1));
    let position = append(&log, 0);
    let late = log.wait_synced(position, Duration::from_millis(1)).unwrap_err();
    assert!(late.is_maybe_applied() && late.code() == ErrorCode::DeadlineExceeded, "{late:?}");
    log.synced(position).await.unwrap();
    log.wait_synced(position, Duration::ZERO).unwrap();
}

#[tokio::test(start_paused = true)]
async fn a_log_that_is_dropped_makes_nothing_durable() {
    let disk = SimDisk::new(1);
    let log = open_small(&disk);
    append_synced(&log, 0..1).await;
    append(&log, 1);
    let steps = disk.steps();
    drop(log);
    tokio::time::sleep(Duration::from_secs(1)).await;
    assert_eq!(disk.steps(), steps, "no destructor writes or syncs");
    assert_eq!(serials(&open_small(&disk)), [0], "and the directory is free again");
}

fn content(disk: &SimDisk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, crate::env::OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    file.read_at(0, &mut bytes).unwrap();
    bytes
}

#[tokio::test(start_paused = true)]
async fn the_format_is_what_the_page_on_it_says() {
    let disk = SimDisk::new(1);
    let log = open(&disk, &LogOptions { preallocate_bytes: 0, ..LogOptions::default() }).unwrap();
    log.append(7, 1, b"a").unwrap();
    let last = log.append(8, 2, b"").unwrap();
    log.synced(last).await.unwrap();
    let last = log.append(7, 3, b"bc").unwrap();
    log.synced(last).await.unwrap();
    let bytes = content(&disk, &dir().join("00000000000000000000.log"));
    let hex: Vec<String> = bytes.iter().map(|byte| format!("{byte:02x}")).collect();
    let lines: Vec<String> = [0..48, 48..92, 92..111, 111..155, 155..166].map(|range| hex[range].join("")).into();
    assert_eq!(lines, GOLDEN, "the file of release 1 must stay readable");
    assert_eq!(bytes.len(), 166);
}

/// A segment's header, and two batches: header, entries, header, entries.
const GOLDEN: [&str; 5] = [
    "6b76732d6c6f670a0100000000000000010000000000000002000000000000000000000000000000000000006759cbf8",
    "6b7673621300000002000000000000000000000000000000000000000000000002000000153e1f64321b95db",
    "01000000070000000161000000000800000002",
    "6b7673620b000000020000000000000002000000000000000200000000000000010000000f2a5aa369c04ba3",
    "0200000007000000036263",
];
