//! Random work, random faults, random crashes, from a seed: all that was acknowledged is there, in order, and nothing else
//! but what was appended after it. `KVSTORE_LOG_SEEDS` sets how many seeds are tried.

use rand::{rngs::StdRng, Rng as _, SeedableRng};

use super::*;
use crate::env::SimFault;

const SEEDS: u64 = 300;
const LIVES: usize = 6;

struct World {
    disk: SimDisk,
    rng: StdRng,
    /// The serial of each entry that may be in the log; its place is its position.
    appended: Vec<u64>,
    next_serial: u64,
    /// So many of them were acknowledged, or found at a start.
    durable: usize,
    /// Entries before this one may have been cut.
    cut: u64,
    lost: u64,
}

impl World {
    fn new(seed: u64) -> World {
        let rng = StdRng::seed_from_u64(seed);
        let disk = SimDisk::new(seed ^ 0xd15c);
        World { disk, rng, appended: Vec::new(), next_serial: 0, durable: 0, cut: 0, lost: 0 }
    }

    fn options(&mut self) -> LogOptions {
        let durability = match self.rng.random_range(0..4) {
            0 => Durability::Interval(Duration::from_millis(50)),
            1 => Durability::Memory,
            _ => Durability::Sync,
        };
        LogOptions { durability, segment_bytes: 1024, preallocate_bytes: [0, 100, 512][self.rng.random_range(0..3)] }
    }

    fn set_fault(&mut self) {
        let (few, many, bytes) =
            (self.rng.random_range(0..4), self.rng.random_range(0..60), self.rng.random_range(0..200));
        match self.rng.random_range(0..6) {
            0 => self.disk.set_fault(SimFault::Sync(few)),
            1 => self.disk.set_fault(SimFault::Write(few, bytes)),
            2 | 3 => self.disk.set_fault(SimFault::DieAt(many)),
            _ => {}
        }
    }

    /// A process from its start to its end.
    async fn live(&mut self) {
        let options = self.options();
        if self.rng.random_range(0..2) == 0 {
            self.set_fault();
        }
        let log = match open(&self.disk, &options) {
            Ok(log) => log,
            Err(error) => return self.excuse(&error),
        };
        self.check(&log);
        if self.rng.random_range(0..2) == 0 {
            self.set_fault();
        }
        self.work(&log).await;
        match self.rng.random_range(0..4) {
            0 => self.close(&log).await,
            1 => self.disk.kill(),
            _ => self.disk.crash(),
        }
    }

    /// Only a fault may keep a log from being opened.
    fn excuse(&self, error: &Error) {
        assert!(self.disk.faults_happened() > 0, "{error}");
        assert_eq!(error.code(), ErrorCode::DiskFailed, "{error}");
    }

    fn check(&mut self, log: &Log) {
        let (first, end) = (log.first().0, log.next().0 as usize);
        assert!(first <= self.cut, "entries from {} on were not cut, the first is {first}", self.cut);
        assert!(end >= self.durable, "{} entries were acknowledged, {end} are there", self.durable);
        assert!(end <= self.appended.len(), "{} entries were appended, {end} are there", self.appended.len());
        match log.entries_from(log.first()).unwrap().collect::<Result<Vec<_>>>() {
            Ok(entries) => {
                let found: Vec<u64> = entries.iter().map(serial).collect();
                assert_eq!(found, self.appended[first as usize..end], "from {first} on");
            }
            Err(error) => self.excuse(&error),
        }
        self.lost += (self.appended.len() - end) as u64;
        self.appended.truncate(end);
        self.durable = end;
    }

    async fn work(&mut self, log: &Log) {
        for _ in 0..self.rng.random_range(0..40) {
            match self.rng.random_range(0..10) {
                0 => tokio::task::yield_now().await,
                1 => tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..80))).await,
                2 if self.durable > 0 => self.cut(log),
                3..=5 => self.sync(log).await,
                _ => self.append(log),
            }
        }
    }

    fn append(&mut self, log: &Log) {
        let len = if self.rng.random_range(0..20) == 0 { 1500 } else { self.rng.random_range(8..120) };
        let serial = self.next_serial;
        let outcome = log.append((serial % 3) as u32, (serial % 5) as u8, &payload(serial, len));
        if let Ok(position) = outcome {
            assert_eq!(position.0 as usize, self.appended.len());
            self.appended.push(serial);
            self.next_serial += 1;
        } else {
            assert!(self.disk.faults_happened() > 0, "{outcome:?}");
        }
    }

    async fn sync(&mut self, log: &Log) {
        if self.appended.is_empty() || log.durability() == Durability::Memory {
            return;
        }
        let position = self.rng.random_range(0..self.appended.len());
        match log.synced(Position(position as u64)).await {
            Ok(()) => self.durable = self.durable.max(log.synced_before().0 as usize),
            Err(error) => assert!(self.disk.faults_happened() > 0 && error.is_maybe_applied(), "{error}"),
        }
    }

    fn cut(&mut self, log: &Log) {
        let before = self.rng.random_range(0..=self.durable as u64);
        self.cut = self.cut.max(before);
        if let Err(error) = log.cut(Position(before)) {
            self.excuse(&error);
        }
    }

    async fn close(&mut self, log: &Log) {
        match log.close().await {
            Ok(()) => self.durable = self.appended.len(),
            Err(error) => assert!(self.disk.faults_happened() > 0, "{error}"),
        }
        self.disk.kill();
    }
}

/// A runtime for each life: when it goes, the tasks of the process go with it.
fn block_on(future: impl Future) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_time().start_paused(true).build().unwrap();
    runtime.block_on(future);
}

fn seeds() -> u64 {
    std::env::var("KVSTORE_LOG_SEEDS").map_or(SEEDS, |text| text.parse().expect("a number"))
}

#[test]
fn whatever_crashes_what_was_acknowledged_is_there() {
    let (mut lost, mut faults, mut entries) = (0, 0, 0);
    for seed in 0..seeds() {
        let run = std::panic::AssertUnwindSafe(|| {
            let mut world = World::new(seed);
            (0..LIVES).for_each(|_| block_on(world.live()));
            (world.lost, world.disk.faults_happened(), world.next_serial)
        });
        let counts = std::panic::catch_unwind(run).unwrap_or_else(|panic| {
            eprintln!("seed {seed}");
            std::panic::resume_unwind(panic)
        });
        (lost, faults, entries) = (lost + counts.0, faults + counts.1, entries + counts.2);
    }
    assert!(lost > 0 && faults > seeds() / 2 && entries > seeds() * 20, "{lost} {faults} {entries}: too quiet");
}

#[test]
fn a_crash_at_any_step_of_a_recovery_is_recovered_from() {
    let mut steps = 0;
    for seed in 0..20 {
        let disk = SimDisk::new(seed);
        block_on(async {
            let log = open(&disk, &small(Durability::Memory)).unwrap();
            assert_eq!(append_all(&log, 0..40), Position(39));
            tokio::time::sleep(Duration::from_millis(1)).await;
        });
        disk.kill();
        let expected = (0..40).collect::<Vec<_>>();
        for step in 0.. {
            let disk = disk.copy(seed + step);
            disk.set_fault(SimFault::DieAt(step));
            let mut is_done = false;
            block_on(async { is_done = open(&disk, &small(Durability::Sync)).is_ok() });
            steps += 1;
            disk.crash();
            block_on(async { assert_eq!(serials(&open_small(&disk)), expected, "seed {seed}, step {step}") });
            if is_done {
                break;
            }
        }
    }
    assert!(steps > 100, "{steps} steps");
}

/// A node that loses its power again and again, each time soon after its start, must not fill its disk with space that
/// was written ahead and that nobody will use. (200 power cuts of a real ext4 found it: 4 MiB were left by each.)
#[test]
fn power_cuts_leave_no_space_behind_that_was_written_ahead() {
    const CUTS: u64 = 40;
    // The header of a segment, a mark, and a batch of one entry.
    const LIFE_BYTES: u64 = 200;
    let options = LogOptions { durability: Durability::Sync, segment_bytes: 1 << 16, preallocate_bytes: 4096 };
    let bound = 2 * options.preallocate_bytes + CUTS * LIFE_BYTES;
    for seed in 0..10 {
        let disk = SimDisk::new(seed);
        for cut in 0..CUTS {
            block_on(async { append_synced(&open(&disk, &options).unwrap(), cut..cut + 1).await });
            disk.crash();
        }
        block_on(async { assert_eq!(serials(&open(&disk, &options).unwrap()), (0..CUTS).collect::<Vec<_>>()) });
        assert!(disk.used_bytes() <= bound, "seed {seed}: {} bytes, at most {bound}", disk.used_bytes());
    }
}

/// Each known mistake makes the tests above, or those on damage, fail in a process of its own.
#[cfg(feature = "faults")]
#[test]
fn the_known_mistakes_are_caught() {
    use crate::faults::is_caught;
    let tests = ["whatever_crashes_what_was", "a_flipped_bit_is"];
    assert!(!is_caught("none", &tests));
    for mutant in ["log_no_sync", "log_no_dir_sync", "log_sync_retried", "log_cut_at_first_bad_frame"] {
        assert!(is_caught(mutant, &tests), "{mutant} survived");
    }
}
