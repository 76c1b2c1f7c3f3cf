//! The disks of hosts whose nodes keep their data: one a host, which outlives the nodes that run there.
//!
//! [`SimDisk`] knows what a crash takes; here it gets slow. What works on a worker of the disk is made to wait before each of
//! its turns, so that crashes and messages come between a write and its sync.

use std::{
    future::Future,
    io,
    path::Path,
    pin::Pin,
    sync::Arc,
    task::{ready, Context, Poll},
    time::Duration,
};

use kvstore::{
    env::{BoxFuture, Disk, DiskFile, DiskLock, DiskWorker, OpenMode, SimDisk},
    storage::{log, snapshot},
};
use parking_lot::Mutex;
use rand::{rngs::StdRng, Rng, SeedableRng};
use tokio::time::Sleep;

/// Where every durable node keeps its data, on the disk of its host.
pub const DATA_DIR: &str = "/data";

/// One turn in so many is stuck, for [`STUCK_FACTOR`] times as long as the others.
const STUCK_EVERY: u32 = 50;
const STUCK_FACTOR: u64 = 15;

/// How long after a limit is gone the log may still be full: it looks again once a second, on a slow disk.
const FULL_LINGERS: Duration = Duration::from_secs(4);

/// The header of a segment and that of its first batch: a bit of these that turns over is damage of what was synced, as long
/// as two more batches follow.
const FIRST_BATCH_BYTES: u64 = 80;

/// A slow disk.
pub struct HostDisk {
    pub sim: SimDisk,
    pace: Arc<Pace>,
}

struct Pace {
    turn_max_ms: u64,
    /// Guards what is drawn for the turns.
    rng: Mutex<StdRng>,
    /// Guards when a write or sync of the log has failed, in the process that runs now.
    failed: Mutex<Option<Duration>>,
    /// Guards whether the space is limited, and when it last was.
    limited: Mutex<(bool, Option<Duration>)>,
}

impl HostDisk {
    pub fn new(seed: u64, turn_max_ms: u64) -> HostDisk {
        let rng = Mutex::new(StdRng::seed_from_u64(seed));
        let pace = Arc::new(Pace { turn_max_ms, rng, failed: Mutex::default(), limited: Mutex::default() });
        HostDisk { sim: SimDisk::new(seed), pace }
    }

    /// The power fails, and comes back; `is_kill`: only the process dies.
    pub fn end(&self, is_kill: bool) {
        match is_kill {
            true => self.sim.kill(),
            false => self.sim.crash(),
        }
        *self.pace.failed.lock() = None;
    }

    /// When a write or sync of the log has failed, in the process that runs now.
    pub fn log_failed(&self) -> Option<Duration> {
        *self.pace.failed.lock()
    }

    pub fn limit(&self, now: Duration, bytes: Option<u64>) {
        self.sim.set_capacity(bytes);
        let mut limited = self.pace.limited.lock();
        if limited.0 {
            limited.1 = Some(now);
        }
        limited.0 = bytes.is_some();
    }

    /// Whether the disk may have been full a moment ago.
    pub fn may_be_full(&self, now: Duration) -> bool {
        let (is_limited, last) = *self.pace.limited.lock();
        is_limited || last.is_some_and(|last| now.saturating_sub(last) < FULL_LINGERS)
    }

    pub fn has_snapshot(&self) -> bool {
        snapshot::list(&self.sim, &Path::new(DATA_DIR).join("snapshots")).is_ok_and(|found| !found.is_empty())
    }

    /// Turns over one bit of what was synced for certain, while nobody runs. Not of the end of the log, where damage and
    /// what was torn off look alike: of a segment that others follow, or, in a node that waits for its disk, of the first
    /// batch when it is followed by two. Only the second of these says that an entry before it was synced, because the
    /// first may follow a mark, which is none; and what a node that does not wait has written says so only by chance.
    /// `None`: there is too little.
    pub fn flip_bit(&self, rng: &mut StdRng, is_synchronous: bool) -> Option<String> {
        let snapshots = snapshot::list(&self.sim, &Path::new(DATA_DIR).join("snapshots")).ok()?;
        let segments = log::verify(&self.sim, &Path::new(DATA_DIR).join("log")).ok()?;
        let mut places = Vec::new();
        for listed in &snapshots {
            let bytes = self.sim.open(&listed.path, OpenMode::Read).and_then(|file| file.len()).ok()?;
            places.push((listed.path.clone(), bytes));
        }
        for (number, segment) in segments.iter().enumerate() {
            let is_last = number + 1 == segments.len();
            match is_last {
                true if is_synchronous && segment.batches >= 3 => {
                    places.push((segment.path.clone(), FIRST_BATCH_BYTES))
                }
                false if segment.batches >= 2 => places.push((segment.path.clone(), segment.bytes)),
                true | false => {}
            }
        }
        places.retain(|(_, bytes)| *bytes > 0);
        let (path, bytes) = places.get(rng.random_range(0..places.len().max(1)))?;
        let (offset, bit) = (rng.random_range(0..*bytes), rng.random_range(0..8));
        self.sim.flip_bit(path, offset, bit).ok()?;
        Some(format!("bit {bit} of byte {offset} of {}", path.display()))
    }
}

impl Pace {
    fn turn(&self) -> Duration {
        let mut rng = self.rng.lock();
        let turn_ms = rng.random_range(0..=self.turn_max_ms);
        let is_stuck = rng.random_ratio(1, STUCK_EVERY);
        Duration::from_millis(turn_ms * if is_stuck { STUCK_FACTOR } else { 1 })
    }

    fn note<T>(&self, path: &Path, outcome: io::Result<T>) -> io::Result<T> {
        let is_failure = outcome.as_ref().is_err_and(|error| error.kind() != io::ErrorKind::StorageFull);
        if is_failure && path.starts_with(Path::new(DATA_DIR).join("log")) {
            let now = turmoil::sim_elapsed().unwrap_or_default();
            self.failed.lock().get_or_insert(now);
        }
        outcome
    }
}

impl Disk for HostDisk {
    fn create_dir_all(&self, dir: &Path) -> io::Result<()> {
        self.sim.create_dir_all(dir)
    }

    fn list(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.sim.list(dir)
    }

    fn list_dirs(&self, dir: &Path) -> io::Result<Vec<String>> {
        self.sim.list_dirs(dir)
    }

    fn open(&self, path: &Path, mode: OpenMode) -> io::Result<Box<dyn DiskFile>> {
        let file = self.sim.open(path, mode)?;
        Ok(Box::new(SlowFile { file, path: path.into(), pace: self.pace.clone() }))
    }

    fn rename(&self, from: &Path, to: &Path) -> io::Result<()> {
        self.sim.rename(from, to)
    }

    fn remove(&self, path: &Path) -> io::Result<()> {
        self.sim.remove(path)
    }

    fn sync_dir(&self, dir: &Path) -> io::Result<()> {
        self.sim.sync_dir(dir)
    }

    fn lock(&self, path: &Path) -> io::Result<Box<dyn DiskLock>> {
        self.sim.lock(path)
    }

    fn spawn(&self, name: &str, work: BoxFuture<'static, ()>) -> io::Result<Box<dyn DiskWorker>> {
        self.sim.spawn(name, Box::pin(Paced { work, pace: self.pace.clone(), rest: None }))
    }
}

/// A file that notices when the log fails.
struct SlowFile {
    file: Box<dyn DiskFile>,
    path: std::path::PathBuf,
    pace: Arc<Pace>,
}

impl DiskFile for SlowFile {
    fn read_at(&self, offset: u64, buffer: &mut [u8]) -> io::Result<usize> {
        self.file.read_at(offset, buffer)
    }

    fn write_all_at(&self, offset: u64, bytes: &[u8]) -> io::Result<()> {
        self.pace.note(&self.path, self.file.write_all_at(offset, bytes))
    }

    fn sync(&self) -> io::Result<()> {
        self.pace.note(&self.path, self.file.sync())
    }

    fn set_len(&self, len: u64) -> io::Result<()> {
        self.file.set_len(len)
    }

    fn len(&self) -> io::Result<u64> {
        self.file.len()
    }
}

/// Work that waits before each of its turns.
struct Paced {
    work: BoxFuture<'static, ()>,
    pace: Arc<Pace>,
    /// Before the next turn; `None`: the last one is over, and nothing has woken the work since.
    rest: Option<Pin<Box<Sleep>>>,
}

impl Future for Paced {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        let pace = self.pace.clone();
        let rest = self.rest.get_or_insert_with(|| Box::pin(tokio::time::sleep(pace.turn())));
        ready!(rest.as_mut().poll(cx));
        self.rest = None;
        self.work.as_mut().poll(cx)
    }
}
