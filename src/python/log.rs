//! What the nodes and clients of this process report, written by their own threads without the GIL: to stderr, and to a bounded
//! memory of the last lines, as asked for.

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use pyo3::prelude::*;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// Bytes of a line that are kept.
const LINE_BYTES_MAX: usize = 4096;

/// How long a line waits for its place before it is dropped: in a forked child whoever has the place may be gone.
const PATIENCE: Duration = Duration::from_millis(10);

static TO_STDERR: AtomicBool = AtomicBool::new(false);

/// How many lines are kept.
static KEPT_MAX: AtomicUsize = AtomicUsize::new(0);

static KEPT: Mutex<VecDeque<String>> = Mutex::new(VecDeque::new());

/// From now on, what the nodes and clients of this process report goes to stderr: what changed, what is degraded, what a
/// person must see to. Does nothing when the process has a subscriber of somebody else already.
#[pyfunction]
pub(super) fn log_to_stderr() {
    TO_STDERR.store(true, Ordering::Relaxed);
    subscribe();
}

/// From now on, the last `lines` of it are kept in memory.
#[pyfunction]
#[pyo3(signature = (lines, /))]
pub(super) fn keep_log(lines: usize) {
    KEPT_MAX.store(lines, Ordering::Relaxed);
    subscribe();
}

/// What was kept, the oldest line first.
#[pyfunction]
pub(super) fn recent_log(py: Python<'_>) -> Vec<String> {
    py.detach(|| KEPT.try_lock_for(PATIENCE).map(|kept| kept.iter().cloned().collect()).unwrap_or_default())
}

fn subscribe() {
    let lines = tracing_subscriber::fmt().with_writer(|| Sink).with_ansi(false).with_max_level(LevelFilter::INFO);
    // The consensus library tells of every message that a dead member does not take, ten times a second. What a person must see
    // to, the group itself tells.
    let loud = Targets::new().with_default(LevelFilter::INFO).with_target("openraft", LevelFilter::OFF);
    // It fails only when there is a subscriber already, which is what was wanted.
    drop(lines.finish().with(loud).try_init());
}

/// Where lines go. Each is written at once.
struct Sink;

impl Write for Sink {
    fn write(&mut self, line: &[u8]) -> io::Result<usize> {
        keep(line);
        if TO_STDERR.load(Ordering::Relaxed) {
            io::stderr().write_all(line)?;
        }
        Ok(line.len())
    }

    fn flush(&mut self) -> io::Result<()> {
        io::stderr().flush()
    }
}

fn keep(line: &[u8]) {
    let most = KEPT_MAX.load(Ordering::Relaxed);
    if most == 0 {
        return;
    }
    let Some(mut kept) = KEPT.try_lock_for(PATIENCE) else { return };
    kept.push_back(String::from_utf8_lossy(&line[..line.len().min(LINE_BYTES_MAX)]).trim_end().to_string());
    while kept.len() > most {
        kept.pop_front();
    }
}
