//! Log lines on stderr, written by the node's own threads without the GIL.

use pyo3::prelude::*;
use tracing_subscriber::{
    filter::{LevelFilter, Targets},
    layer::SubscriberExt,
    util::SubscriberInitExt,
};

/// From now on, what the nodes and clients of this process report goes to stderr: what changed, what is degraded, what a
/// person must see to. Does nothing when the process has a subscriber already.
#[pyfunction]
pub(super) fn log_to_stderr() {
    let lines =
        tracing_subscriber::fmt().with_writer(std::io::stderr).with_ansi(false).with_max_level(LevelFilter::INFO);
    // The consensus library tells of every message that a dead member does not take, ten times a second. What a person must see
    // to, the group itself tells.
    let loud = Targets::new().with_default(LevelFilter::INFO).with_target("openraft", LevelFilter::OFF);
    // It fails only when there is a subscriber already, which is what was wanted.
    drop(lines.finish().with(loud).try_init());
}
