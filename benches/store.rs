//! What a local read and write cost: nanoseconds an operation on one keyspace, 16-byte keys, 100-byte values, medians
//! of five runs, alone and beside another thread that reads or writes all the time.
//!
//! `cargo bench --bench store`
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and starts threads")]

use std::{
    hint::black_box,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    thread,
    time::Instant,
};

use kvstore::{
    env::SystemClock,
    limits::{OUTBOX_BYTES_MAX, PARTITIONS},
    replication::eventual::Eventual,
    types::{Command, CommandKind, Key, KeyRange, NodeId, PageRequest, Value},
};

const RUNS: usize = 5;
const OPERATIONS: usize = 500_000;
const VALUE: [u8; 100] = [7; 100];

/// What the other thread does meanwhile.
#[derive(Clone, Copy)]
enum Beside {
    Nothing,
    Reader,
    Writer,
}

fn main() {
    println!("{:>9}  {:<8}  {:>8}  {:>8}  {:>8}", "keys", "beside", "get ns", "put ns", "page us");
    for keys in [100, 10_000, 1_000_000] {
        let store = filled(keys);
        for (name, beside) in [("nothing", Beside::Nothing), ("reader", Beside::Reader), ("writer", Beside::Writer)] {
            let get = beside_of(&store, keys, beside, || nanos_an_operation(|n| get(&store, keys, n)));
            let put = beside_of(&store, keys, beside, || nanos_an_operation(|n| put(&store, keys, n)));
            let page = beside_of(&store, keys, beside, || page_micros(&store, keys));
            println!("{keys:>9}  {name:<8}  {get:>8.0}  {put:>8.0}  {page:>8.1}");
        }
    }
}

fn filled(keys: u64) -> Arc<Eventual> {
    let store = Eventual::new(NodeId(1), Arc::new(SystemClock::new()));
    // Until the rings of recent writes are full as well, so that no figure has their growth in it.
    let rings = (OUTBOX_BYTES_MAX / (16 + VALUE.len())) as u64 * u64::from(PARTITIONS);
    for number in 0..keys.max(rings + rings / 8) {
        store.write(put_command(number % keys)).expect("the clock is not at its end");
    }
    Arc::new(store)
}

/// The `n`-th of a fixed sequence of pseudo-random keys (SplitMix64).
fn key_number(n: usize, keys: u64) -> u64 {
    let mut z = (n as u64).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    (z ^ (z >> 31)) % keys
}

/// Sixteen digits, written without the formatting machinery, which would be a large part of what is measured.
fn key_bytes(number: u64) -> [u8; 16] {
    let (mut bytes, mut rest) = (*b"key:000000000000", number);
    for byte in bytes[4..].iter_mut().rev() {
        *byte = b'0' + (rest % 10) as u8;
        rest /= 10;
    }
    bytes
}

fn put_command(number: u64) -> Command {
    let key = Key::new(&key_bytes(number)).expect("16 bytes are within the bounds");
    let value = Value::new(&VALUE).expect("100 bytes are within the bounds");
    Command { key, kind: CommandKind::Put { value, flags: 0, ttl_ms: None } }
}

fn get(store: &Eventual, keys: u64, n: usize) {
    black_box(store.read(&key_bytes(key_number(n, keys))));
}

fn put(store: &Eventual, keys: u64, n: usize) {
    black_box(store.write(put_command(key_number(n, keys))).expect("the clock is not at its end"));
}

fn median(mut figures: Vec<f64>) -> f64 {
    figures.sort_by(f64::total_cmp);
    figures[figures.len() / 2]
}

fn nanos_an_operation(operation: impl Fn(usize)) -> f64 {
    let run = |_| {
        let start = Instant::now();
        (0..OPERATIONS).for_each(&operation);
        start.elapsed().as_nanos() as f64 / OPERATIONS as f64
    };
    median((0..RUNS).map(run).collect())
}

fn page_micros(store: &Eventual, keys: u64) -> f64 {
    const PAGES: usize = 50;
    let run = |run: usize| {
        let start = Instant::now();
        for n in 0..PAGES {
            let first = key_bytes(key_number(run * PAGES + n, keys)).to_vec();
            let range = KeyRange { start: Some(first), ..KeyRange::default() };
            let request = PageRequest { range, reverse: false, keys_max: 1000, bytes_target: usize::MAX };
            black_box(store.page(&request));
        }
        start.elapsed().as_nanos() as f64 / 1000.0 / PAGES as f64
    };
    median((0..RUNS).map(run).collect())
}

/// Measures while another thread reads or writes, and ends it.
fn beside_of(store: &Arc<Eventual>, keys: u64, beside: Beside, measure: impl Fn() -> f64) -> f64 {
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            let mut n = 1 << 40;
            while !stop.load(Ordering::Relaxed) {
                n += 1;
                match beside {
                    Beside::Nothing => return,
                    Beside::Reader => get(store, keys, n),
                    Beside::Writer => put(store, keys, n),
                }
            }
        });
        let figure = measure();
        stop.store(true, Ordering::Relaxed);
        figure
    })
}
