//! What it costs to write a state to disk and to have it back: 1,000,000 records of 16-byte keys and 100-byte values in 16
//! partitions, in key order. Medians of five runs, one thread. The file is in the page cache when it is read.
//!
//! `cargo bench --bench snapshot`
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and removes its directory")]

use std::{hint::black_box, path::Path, sync::Arc, time::Instant};

use kvstore::{
    env::{Disk, RealDisk},
    limits::PARTITIONS,
    storage::{
        partition_of,
        snapshot::{file_name, records_in, verify, Header, RecordBlocks, SnapshotReader, SnapshotWriter},
        Records,
    },
    types::{Dot, Key, NodeId, Record, Sequence, Timestamp, Value},
};

const RUNS: usize = 5;
const RECORDS: u64 = 1_000_000;
const RECORD_BLOCK: u8 = 1;

fn main() {
    let dir = std::env::temp_dir().join(format!("kvstore-bench-snapshot-{}", std::process::id()));
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    disk.create_dir_all(&dir).expect("a temporary directory can be made");
    let partitions = partitions();
    let mut size = 0;
    report("write and sync", || size = write(&disk, &dir, &partitions));
    println!("{:<44} {:>8.1} bytes a record", "size", size as f64 / RECORDS as f64);
    drop(partitions);
    let path = dir.join(file_name(1));
    report("verify (read, checksum)", || assert!(verify(&*disk, &path).is_ok_and(|report| report.is_valid())));
    report("read and decode", || {
        read(&*disk, &path, |_, item| {
            black_box(item);
        })
    });
    report("read, decode, Records::merge each", || {
        let mut loaded: Vec<Records> = (0..PARTITIONS).map(|_| Records::new()).collect();
        read(&*disk, &path, |partition, (key, record)| {
            loaded[partition].merge(key, record);
        });
        loaded
    });
    report("read, decode, Records::load_sorted", || {
        let mut loaded: Vec<Records> = (0..PARTITIONS).map(|_| Records::new()).collect();
        let mut reader = SnapshotReader::open(&*disk, &path).expect("it was written");
        while let Some(block) = reader.next_block().expect("it is whole") {
            let records = records_in(&block).map(|item| item.expect("it is a record"));
            loaded[block.partition as usize].load_sorted(records);
        }
        loaded
    });
    std::fs::remove_dir_all(&dir).expect("the directory is ours");
}

fn partitions() -> Vec<Vec<(Key, Record)>> {
    let mut partitions: Vec<Vec<(Key, Record)>> = (0..PARTITIONS).map(|_| Vec::new()).collect();
    for number in 0..RECORDS {
        // Digits of a number that is scattered by a multiplication: no order but the one that is made below.
        let text = format!("{:016x}", number.wrapping_mul(0x9e37_79b9_7f4a_7c15));
        let key = Key::new(text.as_bytes()).expect("16 bytes are within the bounds");
        let record = Record {
            value: Some(Value::new(&[7; 100]).expect("100 bytes are within the bounds")),
            flags: 1,
            timestamp: Timestamp::from_millis(1_700_000_000_000 + number),
            dot: Dot { node: NodeId(0x0123_4567_89ab_cdef), sequence: Sequence(number + 1) },
            expires_ms: None,
        };
        partitions[partition_of(&key).index()].push((key, record));
    }
    partitions.iter_mut().for_each(|records| records.sort_by(|a, b| a.0.cmp(&b.0)));
    partitions
}

fn write(disk: &Arc<dyn Disk>, dir: &Path, partitions: &[Vec<(Key, Record)>]) -> u64 {
    let header = Header { node: NodeId(1), cluster: "bench".to_string(), log_position: 1, created_ms: 0 };
    let mut writer = SnapshotWriter::create(disk, dir, &header).expect("the directory is there");
    for (partition, records) in partitions.iter().enumerate() {
        let mut blocks = RecordBlocks::new(RECORD_BLOCK, partition as u32);
        for (key, record) in records {
            blocks.push(&mut writer, key, record).expect("the disk has room");
        }
        blocks.flush(&mut writer).expect("the disk has room");
    }
    writer.finish().expect("the disk has room")
}

fn read(disk: &dyn Disk, path: &Path, mut each: impl FnMut(usize, (Key, Record))) {
    let mut reader = SnapshotReader::open(disk, path).expect("it was written");
    while let Some(block) = reader.next_block().expect("it is whole") {
        let partition = block.partition as usize;
        records_in(&block).for_each(|item| each(partition, item.expect("it is a record")));
    }
}

/// What `run` leaves takes no part in the figure: to free a million records is not to load them.
fn report<T>(what: &str, mut run: impl FnMut() -> T) {
    let seconds = |_| {
        let start = Instant::now();
        let left = black_box(run());
        let seconds = start.elapsed().as_secs_f64();
        drop(left);
        seconds
    };
    let seconds = median((0..RUNS).map(seconds).collect());
    println!("{what:<44} {seconds:>8.3} s, {:.2} M records/s", RECORDS as f64 / seconds / 1e6);
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}
