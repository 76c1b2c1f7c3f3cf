//! What a durable write costs: the disk's own sync, an append to the log, and synced appends a second with few and many
//! writers that wait, each a 16-byte key and a 100-byte value. Medians of five runs.
//!
//! `cargo bench --bench log [-- DIR]`; without a directory it measures the disk of the temporary files.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock, starts threads and makes directories")]

use std::{
    error::Error,
    path::{Path, PathBuf},
    thread,
    time::{Duration, Instant},
};

use kvstore::{
    env::{Disk, Env, OpenMode, RealDisk},
    storage::log::{Durability, Log, LogOptions, Position},
};

const RUNS: usize = 5;
const PAYLOAD: [u8; 116] = [7; 116];
const PREALLOCATED: usize = 4 * 1024 * 1024;
const SYNCS: usize = 1000;
const PATIENCE: Duration = Duration::from_secs(60);

fn main() -> Result<(), Box<dyn Error>> {
    let given = std::env::args().skip(1).find(|argument| !argument.starts_with('-')).map(PathBuf::from);
    let root = given.unwrap_or_else(std::env::temp_dir).join(format!("kvstore-bench-{}", std::process::id()));
    RealDisk.create_dir_all(&root)?;
    let outcome = measure(&root);
    std::fs::remove_dir_all(&root)?;
    outcome
}

fn measure(root: &Path) -> Result<(), Box<dyn Error>> {
    let [p50, p99] = raw_sync_micros(&root.join("raw"))?;
    println!("raw fdatasync of 170 bytes over zeros: {p50:.0} us (median), {p99:.0} us (99th percentile)");
    println!("append of {} bytes without waiting: {:.0} ns", PAYLOAD.len(), append_nanos(&root.join("append"))?);
    println!("{:>8}  {:>12}  {:>12}  {:>12}  {:>14}", "writers", "appends/s", "a sync", "p50 us", "bytes/record");
    for (writers, each) in [(1, 2000), (64, 500), (512, 100)] {
        let mut figures: Vec<Figures> = Vec::new();
        for run in 0..RUNS {
            figures.push(synced_appends(&root.join(format!("{writers}-{run}")), writers, each)?);
        }
        figures.sort_by(|a, b| a.a_second.total_cmp(&b.a_second));
        let Figures { a_second, a_sync, p50_us, bytes } = &figures[RUNS / 2];
        println!("{writers:>8}  {a_second:>12.0}  {a_sync:>12.1}  {p50_us:>12}  {bytes:>14.1}");
    }
    Ok(())
}

/// What the disk itself takes, with the space written before.
fn raw_sync_micros(path: &Path) -> Result<[f64; 2], Box<dyn Error>> {
    let file = RealDisk.open(path, OpenMode::CreateNew)?;
    file.write_all_at(0, &vec![0; PREALLOCATED])?;
    file.sync()?;
    let mut micros = Vec::with_capacity(SYNCS);
    for number in 0..SYNCS {
        let start = Instant::now();
        file.write_all_at(number as u64 * 170, &[7; 170])?;
        file.sync()?;
        micros.push(start.elapsed().as_nanos() as f64 / 1000.0);
    }
    micros.sort_by(f64::total_cmp);
    Ok([micros[SYNCS / 2], micros[SYNCS * 99 / 100]])
}

/// What a writer pays under its partition's lock.
fn append_nanos(dir: &Path) -> Result<f64, Box<dyn Error>> {
    const APPENDS: u32 = 50_000;
    let log = Log::open(&Env::system(), dir, &LogOptions { durability: Durability::Memory, ..LogOptions::default() })?;
    let mut nanos = Vec::new();
    for _ in 0..RUNS {
        log.wait_for_room(PATIENCE)?;
        let start = Instant::now();
        for _ in 0..APPENDS {
            log.append(1, 1, &PAYLOAD)?;
        }
        nanos.push(start.elapsed().as_nanos() as f64 / f64::from(APPENDS));
    }
    nanos.sort_by(f64::total_cmp);
    close(&log)?;
    Ok(nanos[RUNS / 2])
}

struct Figures {
    a_second: f64,
    /// Appends that shared a sync.
    a_sync: f64,
    p50_us: u64,
    /// What a record takes on disk, headers included.
    bytes: f64,
}

fn synced_appends(dir: &Path, writers: usize, each: usize) -> Result<Figures, Box<dyn Error>> {
    let log = Log::open(&Env::system(), dir, &LogOptions::default())?;
    let start = Instant::now();
    let write = || -> kvstore::Result<()> {
        for _ in 0..each {
            let position = log.append(1, 1, &PAYLOAD)?;
            log.wait_synced(position, PATIENCE)?;
        }
        Ok(())
    };
    thread::scope(|scope| {
        let threads: Vec<_> = (0..writers).map(|_| scope.spawn(write)).collect();
        threads.into_iter().try_for_each(|thread| thread.join().expect("a writer does not panic"))
    })?;
    let seconds = start.elapsed().as_secs_f64();
    let (stats, appends) = (log.stats(), (writers * each) as f64);
    assert_eq!(stats.synced, Position(appends as u64));
    close(&log)?;
    // The header of a batch has 44 bytes.
    let bytes = (stats.written_bytes + 44 * stats.batches) as f64 / appends;
    Ok(Figures { a_second: appends / seconds, a_sync: appends / stats.syncs as f64, p50_us: stats.sync_p50_us, bytes })
}

fn close(log: &Log) -> Result<(), Box<dyn Error>> {
    Ok(tokio::runtime::Builder::new_current_thread().build()?.block_on(log.close())?)
}
