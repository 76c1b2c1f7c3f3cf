//! What the state machine of a strong group costs: microseconds to put, get and read the past, to take a snapshot, and to go on
//! after one; seconds to write a snapshot out and to read it; bytes of resident memory a key. Random 16-byte keys, 100-byte
//! values, a full history, one thread, no log around it.
//!
//! `cargo bench --bench machine`; with `-- N`, of N keys.
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and the size of its process")]

use std::{fs, hint::black_box, time::Instant};

use kvstore::{
    replication::strong::{
        Answer, Bounds, Command, Entry, KeyspaceId, Lifetime, LogPosition, Machine, Operation, OperationKind, Request,
        Restore, Space, Transaction,
    },
    types::{Key, Value},
};

const KEYS: u64 = 1_000_000;
const KEYSPACE: KeyspaceId = KeyspaceId(1);
const ENTRY_PUTS: usize = 64;

struct Bench {
    machine: Machine,
    index: u64,
    value: Value,
}

/// The key of a number: uniform, in 16 hexadecimal digits (SplitMix64).
fn key(number: u64) -> Key {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    Key::of_held(format!("{:016x}", z ^ (z >> 31)).as_bytes())
}

fn resident_bytes() -> f64 {
    let pages = fs::read_to_string("/proc/self/statm").ok();
    pages.and_then(|text| text.split(' ').nth(1)?.parse::<f64>().ok()).unwrap_or(0.0) * 4096.0
}

/// Microseconds that `operation` takes.
fn micros(operation: impl FnOnce()) -> f64 {
    let start = Instant::now();
    operation();
    start.elapsed().as_secs_f64() * 1e6
}

impl Bench {
    fn new() -> Bench {
        let value = Value::new(&[7; 100]).expect("100 bytes are within the bounds");
        let mut bench = Bench { machine: Machine::new(Bounds::default()), index: 0, value };
        bench.apply(vec![Command::CreateKeyspace { name: "bench".into() }]);
        bench
    }

    fn apply(&mut self, commands: Vec<Command>) -> Vec<Answer> {
        self.index += 1;
        let requests = commands.into_iter().map(|command| Request { id: None, command }).collect();
        self.machine.apply(LogPosition { term: 1, index: self.index }, &Entry { time_ms: self.index, requests })
    }

    fn put(&self, number: u64) -> Operation {
        // Copied, as a value that arrives in a message is.
        let value = Value::new(&self.value).expect("it is one");
        Operation { key: key(number), kind: OperationKind::Put { value, flags: 0, lifetime: Lifetime::Forever } }
    }

    fn transact(&self, operations: Vec<Operation>) -> Command {
        Command::Transact(Transaction { keyspace: KEYSPACE, guards: Vec::new(), operations })
    }

    /// Puts keys in entries of so many; the microseconds of one put, and those of the longest entry.
    fn puts(&mut self, numbers: std::ops::Range<u64>, together: usize) -> (f64, f64) {
        let (count, mut sum, mut longest) = (numbers.end - numbers.start, 0.0, 0f64);
        let numbers: Vec<u64> = numbers.collect();
        for numbers in numbers.chunks(together) {
            let commands = numbers.iter().map(|number| self.transact(vec![self.put(*number)])).collect();
            let took = micros(|| drop(black_box(self.apply(commands))));
            (sum, longest) = (sum + took, longest.max(took));
        }
        (sum / count as f64, longest)
    }
}

fn main() {
    let keys = std::env::args().skip(1).find_map(|text| text.parse().ok()).unwrap_or(KEYS);
    let mut bench = Bench::new();
    let before = resident_bytes();
    let (inserted, longest) = bench.puts(0..keys, ENTRY_PUTS);
    let memory = (resident_bytes() - before) / keys as f64;
    println!("{keys} keys: {memory:.0} bytes each; insert {inserted:.2} us, longest entry {longest:.0} us");
    let (put, longest) = bench.puts(0..keys / 4, ENTRY_PUTS);
    println!("put in entries of {ENTRY_PUTS}: {put:.2} us, longest entry {longest:.0} us");
    let (put, _) = bench.puts(0..keys / 8, 1);
    println!("put in entries of 1: {put:.2} us");
    reads(&bench, keys);
    snapshot(&mut bench, keys);
    let operations: Vec<Operation> = (0..keys.min(10_000)).map(|number| bench.put(number)).collect();
    let (count, command) = (operations.len(), bench.transact(operations));
    println!("transaction of {count}: {:.0} us", micros(|| drop(bench.apply(vec![command]))));
    let command = Command::DropKeyspace { keyspace: KEYSPACE };
    println!("keyspace dropped: {:.0} us", micros(|| drop(bench.apply(vec![command]))));
}

fn reads(bench: &Bench, keys: u64) {
    let machine = &bench.machine;
    let sought: Vec<Key> = (0..keys / 4).map(|number| key(number.wrapping_mul(7_368_787) % keys)).collect();
    let took = micros(|| {
        for key in &sought {
            black_box(machine.get(KEYSPACE, Space::Data, key).expect("the keyspace is there"));
        }
    });
    println!("get: {:.2} us", took / sought.len() as f64);
    let past = machine.compacted();
    let took = micros(|| {
        for key in &sought {
            black_box(machine.get_at(KEYSPACE, Space::Data, key, past).expect("it is kept"));
        }
    });
    println!("get at the oldest revision: {:.2} us", took / sought.len() as f64);
}

fn snapshot(bench: &mut Bench, keys: u64) {
    let mut snapshot = None;
    println!("capture: {:.2} us", micros(|| snapshot = Some(bench.machine.capture())));
    let snapshot = snapshot.expect("it was just taken");
    let (put, longest) = bench.puts(0..keys / 8, ENTRY_PUTS);
    println!("put after a capture: {put:.2} us, longest entry {longest:.0} us");
    let mut chunks = Vec::new();
    let took = micros(|| chunks = snapshot.chunks().collect());
    let bytes: usize = chunks.iter().map(Vec::len).sum();
    println!("snapshot written: {:.2} s, {} MB", took / 1e6, bytes / 1_000_000);
    let mut restore = Restore::new();
    let took = micros(|| {
        chunks.iter().for_each(|chunk| restore.push(chunk).expect("it is whole"));
        drop(black_box(restore.finish().expect("it is whole")));
    });
    println!("snapshot read: {:.2} s", took / 1e6);
}
