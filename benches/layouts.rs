//! Which layout the store's map should have: get, put, a scan of 1000 and bytes an entry of each candidate, 16-byte keys,
//! 100-byte values, one thread. Medians of five runs. `docs/decisions/0002-store-layout.md` draws the conclusion.
//!
//! `cargo bench --bench layouts`
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock")]
#![allow(clippy::disallowed_types, reason = "a hash map is one of the candidates")]

use std::{
    collections::{BTreeMap, BTreeSet, HashMap},
    fs,
    hint::black_box,
    ops::Bound,
    sync::Arc,
    time::Instant,
};

use bytes::Bytes;
use kvstore::types::Key;
use parking_lot::RwLock;
use xxhash_rust::xxh3::{xxh3_64, Xxh3DefaultBuilder};

const RUNS: usize = 5;
const PARTITIONS: usize = 16;
const OPERATIONS: u64 = 200_000;
const SCANS: u64 = 50;
const SCAN_KEYS: usize = 1000;
const VALUE: [u8; 100] = [7; 100];

/// What the store keeps beside the value: stamp, dot, expiry, flags.
#[derive(Clone, Copy)]
struct Metadata {
    _words: [u64; 4],
    _flags: u32,
}

const METADATA: Metadata = Metadata { _words: [1; 4], _flags: 0 };

/// A kind of key, made from its bytes.
trait AKey: Ord + Clone + std::hash::Hash + std::borrow::Borrow<[u8]> {
    fn of(bytes: &[u8]) -> Self;
}

impl AKey for Key {
    fn of(bytes: &[u8]) -> Key {
        Key::new(bytes).expect("16 bytes are within the bounds")
    }
}

impl AKey for Box<[u8]> {
    fn of(bytes: &[u8]) -> Box<[u8]> {
        bytes.into()
    }
}

impl AKey for Bytes {
    fn of(bytes: &[u8]) -> Bytes {
        Bytes::copy_from_slice(bytes)
    }
}

/// A kind of value, made from its bytes.
trait AValue: Clone {
    fn of(bytes: &[u8]) -> Self;
}

impl AValue for Arc<[u8]> {
    fn of(bytes: &[u8]) -> Arc<[u8]> {
        bytes.into()
    }
}

impl AValue for Box<[u8]> {
    fn of(bytes: &[u8]) -> Box<[u8]> {
        bytes.into()
    }
}

impl AValue for Bytes {
    fn of(bytes: &[u8]) -> Bytes {
        Bytes::copy_from_slice(bytes)
    }
}

/// A candidate: how it is filled, read and scanned.
trait Layout {
    fn empty() -> Self;
    fn put(&self, key: &[u8]);
    fn get(&self, key: &[u8]) -> bool;
    /// Copies the first entries from `key` on, in key order; returns how many.
    fn scan(&self, key: &[u8]) -> usize;
}

fn hash_slot(key: &[u8]) -> usize {
    xxh3_64(key) as usize % PARTITIONS
}

/// Ordered maps by hash: a scan holds all locks and merges.
struct ByHash<K, V>(Vec<RwLock<BTreeMap<K, (V, Metadata)>>>);

impl<K: AKey, V: AValue> Layout for ByHash<K, V> {
    fn empty() -> Self {
        ByHash((0..PARTITIONS).map(|_| RwLock::default()).collect())
    }

    fn put(&self, key: &[u8]) {
        self.0[hash_slot(key)].write().insert(K::of(key), (V::of(&VALUE), METADATA));
    }

    fn get(&self, key: &[u8]) -> bool {
        black_box(self.0[hash_slot(key)].read().get(key).cloned()).is_some()
    }

    fn scan(&self, key: &[u8]) -> usize {
        let guards: Vec<_> = self.0.iter().map(RwLock::read).collect();
        let from = (Bound::Included(key), Bound::Unbounded);
        let mut parts: Vec<_> = guards.iter().map(|map| map.range::<[u8], _>(from).peekable()).collect();
        let mut found = Vec::with_capacity(SCAN_KEYS);
        while found.len() < SCAN_KEYS {
            let heads = parts.iter_mut().enumerate().filter_map(|(at, part)| Some((part.peek()?.0, at)));
            let Some((_, least)) = heads.min() else { break };
            found.extend(parts[least].next().map(|(key, value)| (key.clone(), value.clone())));
        }
        black_box(found).len()
    }
}

/// Ordered maps by key range, cut so that each holds its share of the keys of this benchmark.
struct ByRange<K, V> {
    slots: Vec<RwLock<BTreeMap<K, (V, Metadata)>>>,
}

impl<K, V> ByRange<K, V> {
    /// Keys here are uniform 64-bit numbers in hexadecimal: their first digit cuts them into equal parts.
    fn slot(key: &[u8]) -> usize {
        usize::from(if key[0] <= b'9' { key[0] - b'0' } else { key[0] - b'a' + 10 })
    }
}

impl<K: AKey, V: AValue> Layout for ByRange<K, V> {
    fn empty() -> Self {
        ByRange { slots: (0..PARTITIONS).map(|_| RwLock::default()).collect() }
    }

    fn put(&self, key: &[u8]) {
        self.slots[Self::slot(key)].write().insert(K::of(key), (V::of(&VALUE), METADATA));
    }

    fn get(&self, key: &[u8]) -> bool {
        black_box(self.slots[Self::slot(key)].read().get(key).cloned()).is_some()
    }

    fn scan(&self, key: &[u8]) -> usize {
        let mut found = Vec::with_capacity(SCAN_KEYS);
        for slot in &self.slots[Self::slot(key)..] {
            let map = slot.read();
            let rest = map.range::<[u8], _>((Bound::Included(key), Bound::Unbounded));
            found.extend(rest.take(SCAN_KEYS - found.len()).map(|(key, value)| (key.clone(), value.clone())));
        }
        black_box(found).len()
    }
}

type Hashed<K, V> = HashMap<K, (V, Metadata), Xxh3DefaultBuilder>;

/// Hash maps for reads, and one ordered index of all keys for scans.
struct HashedWithIndex<K, V> {
    slots: Vec<RwLock<Hashed<K, V>>>,
    index: RwLock<BTreeSet<K>>,
}

impl<K: AKey, V: AValue> Layout for HashedWithIndex<K, V> {
    fn empty() -> Self {
        let slots = (0..PARTITIONS).map(|_| RwLock::default()).collect();
        HashedWithIndex { slots, index: RwLock::default() }
    }

    fn put(&self, key: &[u8]) {
        let key = K::of(key);
        let mut slot = self.slots[hash_slot(key.borrow())].write();
        if slot.insert(key.clone(), (V::of(&VALUE), METADATA)).is_none() {
            self.index.write().insert(key);
        }
    }

    fn get(&self, key: &[u8]) -> bool {
        black_box(self.slots[hash_slot(key)].read().get(key).cloned()).is_some()
    }

    fn scan(&self, key: &[u8]) -> usize {
        let index = self.index.read();
        let keys: Vec<K> =
            index.range::<[u8], _>((Bound::Included(key), Bound::Unbounded)).take(SCAN_KEYS).cloned().collect();
        drop(index);
        let value = |key: K| {
            let value = self.slots[hash_slot(key.borrow())].read().get(key.borrow()).cloned();
            value.map(|value| (key, value))
        };
        let found: Vec<_> = keys.into_iter().filter_map(value).collect();
        black_box(found).len()
    }
}

/// The key of a number: uniform, in 16 hexadecimal digits (SplitMix64).
fn key(number: u64) -> [u8; 16] {
    let mut z = number.wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^= z >> 31;
    std::array::from_fn(|at| b"0123456789abcdef"[(z >> (60 - 4 * at)) as usize & 15])
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

/// The `n`-th key to be touched: a stride that is coprime to both sizes visits all before it repeats.
fn touched(n: u64, keys: u64) -> [u8; 16] {
    key(n.wrapping_mul(7_368_787) % keys)
}

fn measure<L: Layout>(name: &str, keys: u64) {
    let before = resident_bytes();
    let layout = L::empty();
    (0..keys).for_each(|number| layout.put(&key(number)));
    let bytes_an_entry = (resident_bytes() - before) as f64 / keys as f64;
    let of_runs = |run: &dyn Fn() -> f64| median((0..RUNS).map(|_| run()).collect());
    let get = of_runs(&|| nanos(OPERATIONS, |n| assert!(layout.get(&touched(n, keys)), "every key was put")));
    let put = of_runs(&|| nanos(OPERATIONS, |n| layout.put(&touched(n, keys))));
    let scan = of_runs(&|| nanos(SCANS, |n| assert!(layout.scan(&key(n)) > 0, "the key itself is there")));
    println!("{keys:>9}  {name:<36}  {get:>7.0}  {put:>7.0}  {:>8.1}  {bytes_an_entry:>8.0}", scan / 1000.0);
}

/// One candidate a process, so that none inherits the heap of another.
type Candidate = (&'static str, fn(&str, u64));

const CANDIDATES: [Candidate; 7] = [
    ("tree by hash, inline key, Arc", measure::<ByHash<Key, Arc<[u8]>>>),
    ("tree by hash, boxed key, Arc", measure::<ByHash<Box<[u8]>, Arc<[u8]>>>),
    ("tree by hash, Bytes key, Arc", measure::<ByHash<Bytes, Arc<[u8]>>>),
    ("tree by hash, inline key, Bytes", measure::<ByHash<Key, Bytes>>),
    ("tree by hash, inline key, Box", measure::<ByHash<Key, Box<[u8]>>>),
    ("tree by range, inline key, Arc", measure::<ByRange<Key, Arc<[u8]>>>),
    ("hash map and index, inline key, Arc", measure::<HashedWithIndex<Key, Arc<[u8]>>>),
];

fn main() {
    let asked = std::env::args().skip(1).find_map(|text| {
        let (candidate, keys) = text.split_once(':')?;
        Some((CANDIDATES.get(candidate.parse::<usize>().ok()?)?, keys.parse().ok()?))
    });
    if let Some(((name, measure), keys)) = asked {
        return measure(name, keys);
    }
    println!("{:>9}  {:<36}  {:>7}  {:>7}  {:>8}  {:>8}", "keys", "layout", "get ns", "put ns", "scan us", "B/entry");
    let program = std::env::current_exe().expect("a running program has a path");
    for keys in [10_000, 1_000_000] {
        for candidate in 0..CANDIDATES.len() {
            let status = std::process::Command::new(&program).arg(format!("{candidate}:{keys}")).status();
            assert!(status.expect("this program starts again").success(), "candidate {candidate} failed");
        }
    }
}
