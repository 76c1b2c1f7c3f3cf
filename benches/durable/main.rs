//! What `bench/durable.py` is made of: one load loop for kvstore, Redis and etcd, a durable node to load, and directories
//! to recover from. Each command prints one line of JSON, or the lines that it says.
//!
//! ```text
//! load SYSTEM HOST:PORT SECONDS WRITERS CONNECTIONS    closed loops, each waits for its put before the next
//! embed DIR SECONDS WRITERS    the same loops in the process of the node, through no connection
//! serve DIR [KEY]     a node; prints READY once it runs (and has answered a get of KEY over the wire), figures at its end
//! fill-log DIR KEYS   the directory of a node that wrote so many records and no snapshot
//! checkpoint DIR      writes a snapshot in it
//! fill-redis HOST:PORT KEYS
//! member DIR PORT PEERS    a node of a strong group, PEERS like "h:p,h:p"; prints READY once the group has a leader
//! create HOST:PORT    the strong keyspace that is loaded
//! gets SYSTEM HOST:PORT SECONDS READERS CONNECTIONS    linearizable gets of keys that are there
//! failover HOST:PORT,...    puts without end; prints the pause around each line of its input that says KILLED
//! sync DIR            what the disk itself takes for a small append and its sync
//! ```
#![allow(clippy::disallowed_methods, reason = "a benchmark reads the clock and connects to others' servers")]

mod etcd;
mod group;
mod load;
mod node;
mod redis;

use std::{error::Error, path::Path, time::Instant};

use kvstore::env::{Disk, OpenMode, RealDisk};

type Failure = Box<dyn Error + Send + Sync>;

/// Bytes in every value.
const VALUE: [u8; 100] = [7; 100];

fn main() -> Result<(), Failure> {
    // `cargo bench` adds an option of its own.
    let arguments: Vec<String> = std::env::args().skip(1).filter(|argument| argument != "--bench").collect();
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match arguments[..] {
        ["load", system, address, seconds, writers, connections] => {
            let shape = load::Shape { seconds: seconds.parse()?, writers: writers.parse()? };
            runtime()?.block_on(load::run(system, address, shape, connections.parse()?))
        }
        ["embed", dir, seconds, writers] => {
            let shape = load::Shape { seconds: seconds.parse()?, writers: writers.parse()? };
            node::embed(Path::new(dir), shape)
        }
        ["member", dir, port, peers] => group::member(Path::new(dir), port.parse()?, peers),
        ["create", address] => runtime()?.block_on(group::create(address)),
        ["gets", system, address, seconds, readers, connections] => {
            let shape = load::Shape { seconds: seconds.parse()?, writers: readers.parse()? };
            runtime()?.block_on(load::run_gets(system, address, shape, connections.parse()?))
        }
        ["failover", addresses] => runtime()?.block_on(group::failover(addresses)),
        ["serve", dir] => node::serve(Path::new(dir), None),
        ["serve", dir, key] => node::serve(Path::new(dir), Some(key)),
        ["fill-log", dir, keys] => runtime()?.block_on(node::fill_log(Path::new(dir), keys.parse()?)),
        ["checkpoint", dir] => runtime()?.block_on(node::checkpoint(Path::new(dir))),
        ["fill-redis", address, keys] => runtime()?.block_on(redis::fill(address, keys.parse()?)),
        ["sync", dir] => sync(Path::new(dir)),
        [] => {
            println!("run by `make bench-durable`");
            Ok(())
        }
        _ => Err(format!("no such command: {arguments:?}").into()),
    }
}

fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    tokio::runtime::Builder::new_multi_thread().enable_all().build()
}

/// The key with this number, 16 bytes, scattered (SplitMix64), as in `bench/memory.py`.
fn key(number: u64) -> String {
    let mut z = number.wrapping_mul(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    format!("{:016x}", z ^ (z >> 31))
}

/// Appends of about a record, each synced, to a file that grows.
fn sync(dir: &Path) -> Result<(), Failure> {
    const SYNCS: usize = 2000;
    const APPEND: [u8; 170] = [7; 170];
    RealDisk.create_dir_all(dir)?;
    let path = dir.join("raw");
    let file = RealDisk.open(&path, OpenMode::CreateNew)?;
    let mut micros = Vec::with_capacity(SYNCS);
    for number in 0..SYNCS {
        let start = Instant::now();
        file.write_all_at((number * APPEND.len()) as u64, &APPEND)?;
        file.sync()?;
        micros.push(start.elapsed().as_micros());
    }
    RealDisk.remove(&path)?;
    micros.sort_unstable();
    println!("{{\"p50_us\":{},\"p99_us\":{}}}", micros[SYNCS / 2], micros[SYNCS * 99 / 100]);
    Ok(())
}
