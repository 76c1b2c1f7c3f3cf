//! The one load loop: so many writers, each of which puts a new key and waits until the server says that it is durable.

use std::{
    sync::Arc,
    time::{Duration, Instant},
};

use hdrhistogram::Histogram;
use kvstore::{
    client::{Client, ClientConfig, StrongClient},
    env::Env,
    replication::eventual::Eventual,
    types::{Address, Command, CommandKind, Key, Operation, Value},
};

use super::{etcd::Etcd, group, key, redis::Redis, Failure, VALUE};

/// How a run looks.
#[derive(Clone, Copy)]
pub(super) struct Shape {
    pub(super) seconds: f64,
    pub(super) writers: u64,
}

/// A way to one of the systems; clones share it.
#[derive(Clone)]
pub(super) enum Target {
    /// In this process.
    Keyspace(Arc<Eventual>, Value),
    Kvstore(Client, Value),
    Strong(StrongClient, Value),
    Redis(Redis),
    Etcd(Etcd),
}

/// What came of it.
struct Tally {
    latency_us: Histogram<u64>,
}

/// Numbers of keys of one writer.
const KEYS_A_WRITER: u64 = 1 << 32;

/// How long a server may take until it takes its first put, and a put afterwards.
const PATIENCE: Duration = Duration::from_secs(30);

/// Loads the server over so many connections, which the writers share evenly, and prints the figures.
pub(super) async fn run(system: &str, address: &str, shape: Shape, connections: u64) -> Result<(), Failure> {
    let mut targets = Vec::new();
    for number in 0..connections {
        let target = connect(system, address).await?;
        target.put(key(u64::MAX - number)).await?;
        targets.push(target);
    }
    load(&targets, shape).await
}

/// Runs the loops and prints the figures.
pub(super) async fn load(targets: &[Target], shape: Shape) -> Result<(), Failure> {
    let began = Instant::now();
    let ends = began + Duration::from_secs_f64(shape.seconds);
    let mut writers = tokio::task::JoinSet::new();
    for writer in 0..shape.writers {
        let target = targets[writer as usize % targets.len()].clone();
        writers.spawn(write(target, writer * KEYS_A_WRITER, ends));
    }
    let mut latency_us = histogram()?;
    while let Some(ended) = writers.join_next().await {
        latency_us.add(ended??.latency_us)?;
    }
    let (seconds, puts) = (began.elapsed().as_secs_f64(), latency_us.len());
    println!(
        "{{\"puts\":{puts},\"per_second\":{:.0},\"p50_us\":{},\"p99_us\":{}}}",
        puts as f64 / seconds,
        latency_us.value_at_quantile(0.5),
        latency_us.value_at_quantile(0.99),
    );
    Ok(())
}

/// As [`run`], with gets of keys that were put before.
pub(super) async fn run_gets(system: &str, address: &str, shape: Shape, connections: u64) -> Result<(), Failure> {
    let mut targets = Vec::new();
    for number in 0..connections {
        let target = connect(system, address).await?;
        target.put(key(number)).await?;
        targets.push(target);
    }
    let began = Instant::now();
    let ends = began + Duration::from_secs_f64(shape.seconds);
    let mut readers = tokio::task::JoinSet::new();
    for reader in 0..shape.writers {
        let number = reader % connections;
        readers.spawn(read(targets[number as usize].clone(), number, ends));
    }
    let mut latency_us = histogram()?;
    while let Some(ended) = readers.join_next().await {
        latency_us.add(ended??.latency_us)?;
    }
    let (seconds, gets) = (began.elapsed().as_secs_f64(), latency_us.len());
    println!(
        "{{\"gets\":{gets},\"per_second\":{:.0},\"p50_us\":{},\"p99_us\":{}}}",
        gets as f64 / seconds,
        latency_us.value_at_quantile(0.5),
        latency_us.value_at_quantile(0.99),
    );
    Ok(())
}

async fn read(target: Target, number: u64, ends: Instant) -> Result<Tally, Failure> {
    let mut latency_us = histogram()?;
    let mut begun = Instant::now();
    while begun < ends {
        target.get(key(number)).await?;
        let now = Instant::now();
        latency_us.saturating_record(now.duration_since(begun).as_micros() as u64);
        begun = now;
    }
    Ok(Tally { latency_us })
}

fn histogram() -> Result<Histogram<u64>, Failure> {
    Ok(Histogram::new_with_bounds(1, PATIENCE.as_micros() as u64, 3)?)
}

async fn write(target: Target, first: u64, ends: Instant) -> Result<Tally, Failure> {
    let mut latency_us = histogram()?;
    let mut begun = Instant::now();
    for number in first.. {
        target.put(key(number)).await?;
        let now = Instant::now();
        latency_us.saturating_record(now.duration_since(begun).as_micros() as u64);
        begun = now;
        if now >= ends {
            break;
        }
    }
    Ok(Tally { latency_us })
}

async fn connect(system: &str, address: &str) -> Result<Target, Failure> {
    Ok(match system {
        "kvstore" => {
            let config = ClientConfig::new(vec![address.parse::<Address>()?]);
            let client = Client::new(config, Env::system(), tokio::runtime::Handle::current())?;
            Target::Kvstore(client, Value::new(&VALUE)?)
        }
        "strong" => Target::Strong(group::client(address)?, Value::new(&VALUE)?),
        "redis" => Target::Redis(Redis::connect(address).await?),
        "etcd" => Target::Etcd(Etcd::connect(address, PATIENCE).await?),
        _ => return Err(format!("no such system: {system}").into()),
    })
}

impl Target {
    /// Puts a value; returns once the server has acknowledged it.
    async fn put(&self, key: String) -> Result<(), Failure> {
        match self {
            Target::Keyspace(keyspace, value) => {
                keyspace.write(put(&key, value)?)?;
                Ok(keyspace.durable(keyspace.written()).await?)
            }
            Target::Kvstore(client, value) => {
                for answer in client.call(vec![Operation::Write(put(&key, value)?)], Some(PATIENCE)).await? {
                    answer?;
                }
                Ok(())
            }
            Target::Strong(client, value) => group::put(client, &key, value).await,
            Target::Redis(redis) => redis.put(&key).await,
            Target::Etcd(etcd) => etcd.put(key).await,
        }
    }

    /// Gets a value that is there, as fresh as the system can.
    async fn get(&self, key: String) -> Result<(), Failure> {
        match self {
            Target::Strong(client, _) => group::get(client, &key).await,
            Target::Etcd(etcd) => etcd.get(key).await,
            Target::Keyspace(..) | Target::Kvstore(..) | Target::Redis(_) => Err("no linearizable gets".into()),
        }
    }
}

fn put(key: &str, value: &Value) -> kvstore::Result<Command> {
    let kind = CommandKind::Put { value: value.clone(), flags: 0, ttl_ms: None };
    Ok(Command { key: Key::new(key.as_bytes())?, kind })
}
