//! The load loop of `kvstore bench`: closed loops that call, wait for the answer, and call again.
//!
//! A closed loop measures a system at its own pace: a slow answer delays the next call instead of piling up, so the
//! figures are latencies at that concurrency, not at a given rate (coordinated omission is not corrected).

mod report;
mod sampler;
mod worker;

use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc,
    },
    time::Duration,
};

use super::Client;
use crate::{
    env::{Rng, SeededRng},
    error::{Error, ErrorCode, Result},
    limits::{self, LOAD_CONCURRENCY_MAX, LOAD_KEYS_MAX},
    types::{Command, CommandKind, Key, Operation, Value},
};
use sampler::Sampler;
use worker::{Tally, Worker};

pub use report::{LoadReport, WorkReport};

/// What the loops do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Work {
    /// Only gets.
    Get,
    /// Only puts.
    Put,
    /// So many gets in a hundred calls, the others puts.
    Mixed {
        /// 0 to 100.
        read_percent: u8,
    },
}

/// Which keys the loops pick.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Distribution {
    /// Each equally often.
    Uniform,
    /// A few very often, most seldom: the n-th most popular in proportion to 1/n^0.99, as YCSB does.
    Zipf,
}

/// When the loops end.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum LoadEnd {
    /// After so many calls by all loops together.
    Operations(u64),
    /// After this time; calls under way are still waited for.
    Duration(Duration),
}

/// How the calls travel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Path {
    /// Over the client's one stream.
    Pipeline,
    /// Each a unary request, over so many connections, as a stranger's client would.
    Unary {
        /// 1 to [`limits::LOAD_CONCURRENCY_MAX`].
        connections: usize,
    },
}

/// What a load run does.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct LoadConfig {
    /// What the loops do.
    pub work: Work,
    /// How the calls travel.
    pub path: Path,
    /// Loops at the same time, 1 to [`limits::LOAD_CONCURRENCY_MAX`].
    pub concurrency: usize,
    /// When it ends.
    pub end: LoadEnd,
    /// Bytes in a value.
    pub value_bytes: usize,
    /// How many different keys, 1 to [`limits::LOAD_KEYS_MAX`].
    pub keys: u64,
    /// Which of them.
    pub distribution: Distribution,
    /// Put every key once before the measurement, so that gets find something.
    pub preload: bool,
    /// The same seed picks the same keys in each loop.
    pub seed: u64,
    /// The deadline of each call.
    pub timeout: Duration,
}

impl Default for LoadConfig {
    fn default() -> LoadConfig {
        LoadConfig {
            work: Work::Mixed { read_percent: 95 },
            path: Path::Pipeline,
            concurrency: 64,
            end: LoadEnd::Duration(Duration::from_secs(10)),
            value_bytes: 100,
            keys: 100_000,
            distribution: Distribution::Uniform,
            preload: false,
            seed: 42,
            timeout: limits::CALL_TIMEOUT,
        }
    }
}

impl LoadConfig {
    /// Checks every setting.
    ///
    /// # Errors
    /// `BAD_SETTING` or `VALUE_TOO_LARGE`; the text names the setting.
    pub fn check(&self) -> Result<()> {
        in_range("concurrency", self.concurrency as u64, 1, LOAD_CONCURRENCY_MAX as u64)?;
        in_range("keys", self.keys, 1, LOAD_KEYS_MAX)?;
        in_range("value_bytes", self.value_bytes as u64, 0, limits::VALUE_BYTES_MAX as u64)?;
        if let Work::Mixed { read_percent } = self.work {
            in_range("read_percent", u64::from(read_percent), 0, 100)?;
        }
        if let Path::Unary { connections } = self.path {
            in_range("connections", connections as u64, 1, LOAD_CONCURRENCY_MAX as u64)?;
        }
        Ok(())
    }
}

fn in_range(setting: &str, value: u64, least: u64, most: u64) -> Result<()> {
    if (least..=most).contains(&value) {
        return Ok(());
    }
    Err(Error::new(ErrorCode::BadSetting, format!("{setting}: {value}, must be {least} to {most}")))
}

/// A load run: started by [`Load::run`], watched and stopped from other threads.
pub struct Load {
    config: LoadConfig,
    /// What every put stores.
    value: Value,
    /// Calls begun, which the operations of the run are counted by.
    begun: AtomicU64,
    done: AtomicU64,
    is_stopped: AtomicBool,
}

impl Load {
    /// A run that has not begun.
    ///
    /// # Errors
    /// Those of [`LoadConfig::check`].
    pub fn new(config: LoadConfig) -> Result<Load> {
        config.check()?;
        let random = SeededRng::new(config.seed);
        let bytes = (0..config.value_bytes).map(|_| random.next_u64().map(|number| number as u8));
        let value = Value::new(&bytes.collect::<Result<Vec<u8>>>()?)?;
        let (begun, done) = (AtomicU64::new(0), AtomicU64::new(0));
        Ok(Load { config, value, begun, done, is_stopped: AtomicBool::new(false) })
    }

    /// Calls that have come to an end so far, the preload left out.
    pub fn operations_done(&self) -> u64 {
        self.done.load(Ordering::Relaxed)
    }

    /// Ends the run early: [`Load::run`] returns when the calls under way are over.
    pub fn stop(&self) {
        self.is_stopped.store(true, Ordering::Relaxed);
    }

    /// Runs, over the connection of `client` or, for unary calls, over connections of its own to the client's targets.
    /// To be awaited on a tokio runtime, on which the loops run. Calls that fail are counted, not an error of the run.
    ///
    /// # Errors
    /// Those of a put while preloading, and of a connection for unary calls.
    pub async fn run(self: &Arc<Load>, client: &Client) -> Result<LoadReport> {
        if self.config.preload {
            self.preload(client).await?;
        }
        let mut workers = Vec::with_capacity(self.config.concurrency);
        let sampler = Arc::new(Sampler::new(self.config.distribution, self.config.keys));
        for caller in worker::callers(&self.config, client).await? {
            let random = SeededRng::new(self.config.seed.wrapping_add(workers.len() as u64));
            workers.push(Worker::new(self.clone(), caller, sampler.clone(), random, client.env().clock.clone()));
        }
        let clock = &client.env().clock;
        let started = clock.monotonic();
        let ends = match self.config.end {
            LoadEnd::Operations(_) => None,
            LoadEnd::Duration(duration) => Some(started.saturating_add(duration)),
        };
        // Aborts the loops when this future is dropped.
        let mut loops = tokio::task::JoinSet::new();
        for worker in workers {
            loops.spawn(worker.run(ends));
        }
        let mut total = Tally::new();
        while let Some(ended) = loops.join_next().await {
            let tally = ended.map_err(|error| Error::new(ErrorCode::Internal, format!("a load loop died: {error}")))?;
            total.add(tally?);
        }
        Ok(report::report(total, clock.monotonic().saturating_sub(started)))
    }

    /// Puts every key once, in batches.
    async fn preload(&self, client: &Client) -> Result<()> {
        let weight = worker::KEY_BYTES + self.config.value_bytes;
        let batch = (limits::CLIENT_BATCH_BYTES_TARGET / weight).clamp(1, limits::CLIENT_BATCH_OPERATIONS_MAX) as u64;
        for first in (0..self.config.keys).step_by(batch as usize) {
            if self.is_stopped.load(Ordering::Relaxed) {
                return Ok(());
            }
            let last = (first + batch).min(self.config.keys);
            let puts = (first..last).map(|number| self.put(worker::key(number))).collect();
            for answer in client.call(puts, Some(self.config.timeout)).await? {
                answer?;
            }
        }
        Ok(())
    }

    fn put(&self, key: Key) -> Operation {
        let kind = CommandKind::Put { value: self.value.clone(), flags: 0, ttl_ms: None };
        Operation::Write(Command { key, kind })
    }

    /// Whether a loop may begin another call at this time.
    fn begin(&self, now: Duration, ends: Option<Duration>) -> bool {
        if self.is_stopped.load(Ordering::Relaxed) || ends.is_some_and(|ends| now >= ends) {
            return false;
        }
        match self.config.end {
            LoadEnd::Operations(operations) => self.begun.fetch_add(1, Ordering::Relaxed) < operations,
            LoadEnd::Duration(_) => true,
        }
    }
}

#[cfg(test)]
mod tests;
