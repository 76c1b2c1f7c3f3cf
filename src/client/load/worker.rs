//! One closed loop, and what it counted.

use std::{sync::Arc, time::Duration};

use hdrhistogram::Histogram;

use super::{sampler::Sampler, Client, Load, LoadConfig, Path, Work};
use crate::{
    env::{Clock, Rng, SeededRng},
    error::{Error, ErrorCode, Result},
    rpc::UnaryClient,
    types::{Key, Operation},
    wire::{kv, v1},
};

/// Bytes in a key of a load run.
pub(super) const KEY_BYTES: usize = 18;

/// The key with this number.
pub(super) fn key(number: u64) -> Key {
    Key::new(format!("bench:{number:012}").as_bytes()).expect("18 bytes are within the bounds of a key")
}

/// What makes the calls of one loop.
pub(super) enum Caller {
    Pipeline(Client),
    Unary(UnaryClient),
}

/// One for each loop.
pub(super) async fn callers(config: &LoadConfig, client: &Client) -> Result<Vec<Caller>> {
    let Path::Unary { connections } = config.path else {
        return Ok((0..config.concurrency).map(|_| Caller::Pipeline(client.clone())).collect());
    };
    let mut unary = Vec::with_capacity(connections);
    for target in client.targets().iter().cycle().take(connections) {
        unary.push(UnaryClient::new(client.access().connect(target).await?));
    }
    Ok(unary.iter().cycle().take(config.concurrency).cloned().map(Caller::Unary).collect())
}

impl Caller {
    async fn call(&mut self, operation: Operation, timeout: Duration) -> Result<()> {
        let unary = match self {
            Caller::Pipeline(client) => {
                let answers = client.call(vec![operation], Some(timeout)).await?;
                return answers.into_iter().try_for_each(|answer| answer.map(drop));
            }
            Caller::Unary(unary) => unary,
        };
        let name = operation.name();
        let calling = async {
            match kv::encode_body("", &operation) {
                v1::operation::Operation::Get(request) => unary.get(request).await.map(drop),
                v1::operation::Operation::Put(request) => unary.put(request).await.map(drop),
                _ => Err(Error::new(ErrorCode::Internal, format!("a load run does not {name}"))),
            }
        };
        tokio::time::timeout(timeout, calling).await.unwrap_or_else(|_| Err(Error::deadline(name, timeout)))
    }
}

/// How the calls of one kind went.
pub(super) struct Times {
    /// Microseconds of the calls that were answered.
    pub(super) us: Histogram<u64>,
    pub(super) errors: u64,
}

/// What loops counted.
pub(super) struct Tally {
    pub(super) get: Times,
    pub(super) put: Times,
    pub(super) first_error: Option<Error>,
}

impl Tally {
    pub(super) fn new() -> Tally {
        // Three digits: to 0.1 %. It grows with what is recorded, so the many loops of a run stay small.
        let times = || Times { us: Histogram::new(3).expect("0 to 5 digits are allowed"), errors: 0 };
        Tally { get: times(), put: times(), first_error: None }
    }

    pub(super) fn add(&mut self, other: Tally) {
        for (mine, theirs) in [(&mut self.get, other.get), (&mut self.put, other.put)] {
            mine.us.add(theirs.us).expect("a histogram that grows takes every other");
            mine.errors += theirs.errors;
        }
        self.first_error = self.first_error.take().or(other.first_error);
    }

    fn count(&mut self, is_write: bool, took: Duration, outcome: Result<()>) {
        let times = if is_write { &mut self.put } else { &mut self.get };
        match outcome {
            Ok(()) => {
                let us = u64::try_from(took.as_micros()).unwrap_or(u64::MAX / 2);
                times.us.record(us.max(1)).expect("a histogram that grows takes every value");
            }
            Err(error) => {
                times.errors += 1;
                self.first_error.get_or_insert(error);
            }
        }
    }
}

/// One closed loop.
pub(super) struct Worker {
    load: Arc<Load>,
    caller: Caller,
    sampler: Arc<Sampler>,
    random: SeededRng,
    clock: Arc<dyn Clock>,
    tally: Tally,
}

impl Worker {
    pub(super) fn new(
        load: Arc<Load>,
        caller: Caller,
        sampler: Arc<Sampler>,
        random: SeededRng,
        clock: Arc<dyn Clock>,
    ) -> Worker {
        Worker { load, caller, sampler, random, clock, tally: Tally::new() }
    }

    /// Calls until the run ends.
    pub(super) async fn run(mut self, ends: Option<Duration>) -> Result<Tally> {
        let mut now = self.clock.monotonic();
        while self.load.begin(now, ends) {
            let operation = self.operation()?;
            let is_write = operation.is_write();
            let outcome = self.caller.call(operation, self.load.config.timeout).await;
            let answered = self.clock.monotonic();
            self.tally.count(is_write, answered.saturating_sub(now), outcome);
            self.load.done.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
            now = answered;
        }
        Ok(self.tally)
    }

    fn operation(&self) -> Result<Operation> {
        let key = key(self.sampler.pick(self.random.next_u64()?));
        let is_read = match self.load.config.work {
            Work::Get => true,
            Work::Put => false,
            Work::Mixed { read_percent } => self.random.next_u64()? % 100 < u64::from(read_percent),
        };
        Ok(if is_read { Operation::Get { key, metadata_only: false } } else { self.load.put(key) })
    }
}
