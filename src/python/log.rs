//! What the nodes and clients of this process report, written by their own threads without the GIL: to stderr, to a bounded
//! memory of the last lines, and to a queue from which a thread of Python hands it to `logging`, as asked for.

mod queue;
mod records;

use std::{
    collections::VecDeque,
    io::{self, Write},
    sync::atomic::{AtomicBool, AtomicUsize, Ordering},
    time::Duration,
};

use parking_lot::Mutex;
use pyo3::{prelude::*, types::PyTuple};
use tracing::{level_filters::LevelFilter, Level, Metadata};
use tracing_subscriber::{
    layer::{Context, Filter, Layer, SubscriberExt},
    util::SubscriberInitExt,
};

use self::{
    queue::{Queue, Record, Taken},
    records::{Records, Wanted},
};
use super::convert::Timeout;

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

/// From now on, it waits for [`take_log`]. False: it does already, in this process.
#[pyfunction]
pub(super) fn open_log() -> bool {
    let is_new = Queue::open();
    subscribe();
    is_new
}

/// The parts of the store that have a logger each.
#[pyfunction]
pub(super) fn log_parts() -> Vec<&'static str> {
    records::parts()
}

/// What the loggers of the parts want at least, as `logging` counts.
#[pyfunction]
#[pyo3(signature = (levels, /))]
pub(super) fn set_log_levels(levels: Vec<u8>) {
    if records::set_levels(&levels) {
        tracing::callsite::rebuild_interest_cache();
    }
}

/// What waits, after at most `timeout`; how many records were dropped; and whether more may come.
#[pyfunction]
#[pyo3(signature = (timeout, /))]
pub(super) fn take_log(py: Python<'_>, timeout: Timeout) -> PyResult<(Vec<Bound<'_, PyTuple>>, u64, bool)> {
    let Some(queue) = Queue::of_process() else { return Ok((Vec::new(), 0, false)) };
    let Taken { records, dropped, is_open } = py.detach(|| queue.take(timeout.0.unwrap_or(Duration::MAX)));
    let records = records.into_iter().map(|record| to_python(py, record)).collect::<PyResult<Vec<_>>>()?;
    Ok((records, dropped, is_open))
}

/// Nothing more is taken in: [`take_log`] gives what is left and does not wait.
#[pyfunction]
pub(super) fn close_log(py: Python<'_>) {
    if let Some(queue) = Queue::of_process() {
        py.detach(|| queue.close());
    }
}

fn to_python(py: Python<'_>, record: Record) -> PyResult<Bound<'_, PyTuple>> {
    let Record { level, part, message, file, line, time_ms, node, peer, term } = record;
    (level, part, message, file, line, time_ms as f64 / 1000.0, node, peer, term).into_pyobject(py)
}

fn subscribe() {
    let lines = tracing_subscriber::fmt::layer().with_writer(|| Sink).with_ansi(false).with_filter(Loud);
    // It fails only when there is a subscriber already: ours, which is what was wanted, or somebody else's.
    drop(tracing_subscriber::registry().with(lines).with(Records.with_filter(Wanted)).try_init());
    tracing::callsite::rebuild_interest_cache();
}

/// What becomes a line, if anybody wants lines. The consensus library tells of every message that a dead member does not take,
/// ten times a second. What a person must see to, the group itself tells.
struct Loud;

impl<S> Filter<S> for Loud {
    fn enabled(&self, metadata: &Metadata<'_>, _: &Context<'_, S>) -> bool {
        wants_lines() && *metadata.level() <= Level::INFO && !metadata.target().starts_with("openraft")
    }

    fn max_level_hint(&self) -> Option<LevelFilter> {
        Some(if wants_lines() { LevelFilter::INFO } else { LevelFilter::OFF })
    }
}

fn wants_lines() -> bool {
    TO_STDERR.load(Ordering::Relaxed) || KEPT_MAX.load(Ordering::Relaxed) > 0
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

/// As much of a text as is kept, in whole characters.
fn cut(text: &str) -> &str {
    let mut end = text.len().min(LINE_BYTES_MAX);
    while !text.is_char_boundary(end) {
        end -= 1;
    }
    &text[..end]
}
