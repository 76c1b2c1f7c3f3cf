//! What a record costs: bytes of resident memory and nanoseconds to insert, load, get and overwrite it, microseconds for
//! a page of 1000 keys, and the longest that one insert took. 16 partitions, random 16-byte keys, 100-byte values, one
//! thread, no node around it. Each size in a process of its own; medians of five runs.
//!
//! `cargo bench --bench records`; with `-- memory:N` bytes an entry of N keys alone, for `bench/memory.py`.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the size of its process")]

use std::{fs, hint::black_box, time::Instant};

use kvstore::{
    storage::{partition_of, Partitions},
    types::{Dot, Key, KeyRange, NodeId, PageRequest, PartitionId, Record, Sequence, Timestamp, Value},
};

const RUNS: usize = 5;
const OPERATIONS: u64 = 200_000;
const PAGES: u64 = 50;
const VALUE: [u8; 100] = [7; 100];

/// The key of a number: uniform, in 16 hexadecimal digits (SplitMix64).
fn key(number: u64) -> [u8; 16] {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    std::array::from_fn(|at| b"0123456789abcdef"[(z >> (60 - 4 * at)) as usize & 15])
}

fn record(stamp: u64) -> Record {
    let dot = Dot { node: NodeId(1), sequence: Sequence(stamp) };
    let value = Some(Value::new(&VALUE).expect("100 bytes are within the bounds"));
    Record { value, flags: 0, timestamp: Timestamp(stamp), dot, expires_ms: None }
}

fn put(store: &Partitions<()>, key: &[u8], stamp: u64) {
    let merged = store.write(partition_of(key)).records.merge(Key::of_held(key), record(stamp));
    drop(black_box(merged));
}

/// The `n`-th key to be touched: a stride that is coprime to both sizes visits all before it repeats.
fn touched(n: u64, keys: u64) -> [u8; 16] {
    key(n.wrapping_mul(7_368_787) % keys)
}

/// Bytes of this process in memory; 0 where there is no `/proc`.
fn resident_bytes() -> i64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<i64>().ok()).unwrap_or(0) * 4096
}

fn nanos(count: u64, mut operation: impl FnMut(u64)) -> f64 {
    let start = Instant::now();
    (0..count).for_each(&mut operation);
    start.elapsed().as_nanos() as f64 / count as f64
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn page(store: &Partitions<()>, first: &[u8]) {
    let range = KeyRange { start: Some(first.to_vec()), ..KeyRange::default() };
    let request = PageRequest { range, reverse: false, keys_max: 1000, bytes_target: usize::MAX };
    black_box(store.page(&request, 0));
}

/// A store of so many keys, nanoseconds an insert, the longest one in microseconds, and bytes an entry.
fn inserted(keys: u64) -> (Partitions<()>, f64, f64, f64) {
    let before = resident_bytes();
    let store = Partitions::new(|_| ());
    let mut longest = 0;
    let insert = nanos(keys, |number| {
        let start = Instant::now();
        put(&store, &key(number), number + 1);
        longest = longest.max(start.elapsed().as_nanos());
    });
    let bytes = (resident_bytes() - before) as f64 / keys as f64;
    (store, insert, longest as f64 / 1000.0, bytes)
}

/// Nanoseconds a record that is loaded in key order, partition by partition, its key and value made on the way.
fn load_nanos(keys: u64) -> f64 {
    let mut sorted: Vec<(PartitionId, [u8; 16])> = (0..keys).map(key).map(|key| (partition_of(&key), key)).collect();
    sorted.sort_unstable();
    let store: Partitions<()> = Partitions::new(|_| ());
    let start = Instant::now();
    for part in sorted.chunk_by(|(a, _), (b, _)| a == b) {
        let records = part.iter().zip(1..).map(|((_, key), stamp)| (Key::of_held(key), record(stamp)));
        store.write(part[0].0).records.load_sorted(records);
    }
    let elapsed = start.elapsed().as_nanos() as f64 / keys as f64;
    assert_eq!(store.stats().keys, keys);
    elapsed
}

fn measure(keys: u64) {
    let (store, insert, longest, bytes) = inserted(keys);
    let of_runs = |run: &dyn Fn() -> f64| median((0..RUNS).map(|_| run()).collect());
    let get = of_runs(&|| nanos(OPERATIONS, |n| assert!(black_box(store.get(&touched(n, keys))).is_some())));
    let look = of_runs(&|| {
        nanos(OPERATIONS, |n| {
            let key = touched(n, keys);
            let guard = store.read(partition_of(&key));
            let value = guard.records.get(&key).and_then(|record| record.value.map(|value| value[n as usize % 100]));
            assert_eq!(value, Some(7));
        })
    });
    let overwrite = of_runs(&|| nanos(OPERATIONS, |n| put(&store, &touched(n, keys), keys + n + 1)));
    let scan = of_runs(&|| nanos(PAGES, |n| page(&store, &key(n)))) / 1000.0;
    drop(store);
    let load = of_runs(&|| load_nanos(keys));
    println!(
        "{keys:>9}  {get:>7.0}  {look:>7.0}  {overwrite:>7.0}  {insert:>9.0}  {longest:>10.0}  {load:>7.0}  {scan:>7.0}  {bytes:>7.0}"
    );
}

fn main() {
    let asked = std::env::args().skip(1).find_map(|text| {
        let (what, keys) = text.split_once(':')?;
        Some((what.to_owned(), keys.parse::<u64>().ok()?))
    });
    match asked {
        Some((what, keys)) if what == "memory" => return println!("{:.1}", inserted(keys).3),
        Some((_, keys)) => return measure(keys),
        None => {}
    }
    println!(
        "{:>9}  {:>7}  {:>7}  {:>7}  {:>9}  {:>10}  {:>7}  {:>7}  {:>7}",
        "keys", "get ns", "look ns", "put ns", "insert ns", "longest us", "load ns", "page us", "B/entry"
    );
    let program = std::env::current_exe().expect("a running program has a path");
    for keys in [10_000, 1_000_000] {
        let status = std::process::Command::new(&program).arg(format!("all:{keys}")).status();
        assert!(status.expect("this program starts again").success(), "{keys} keys failed");
    }
}
