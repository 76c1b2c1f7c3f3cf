//! What is done with files alone, without a node: checking and restoring snapshots, looking at data directories.

use std::{
    path::PathBuf,
    sync::mpsc::{self, RecvTimeoutError},
};

use parking_lot::Mutex;
use pyo3::{prelude::*, types::PyTuple};

use super::imports::Import;
use crate::{
    env::Env,
    error::{Error, ErrorCode, Result},
    limits::SIGNAL_CHECK_INTERVAL,
    replication::eventual,
    storage::{
        doctor::{self, Diagnosis},
        log::SegmentReport,
        snapshot::{self, Report},
    },
};

const OFFLINE: &str = "kvstore.offline";

static SNAPSHOT: Import = Import::new(OFFLINE, "SnapshotReport");
static SEGMENT: Import = Import::new(OFFLINE, "SegmentReport");
static DIRECTORY: Import = Import::new(OFFLINE, "DirectoryReport");

/// For [`super::imports`].
pub(super) static IMPORTS: [&Import; 3] = [&SNAPSHOT, &SEGMENT, &DIRECTORY];

/// Reads a whole snapshot file and tells what of it is readable.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub(super) fn verify_snapshot(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyAny>> {
    let report = aside(py, move || snapshot::verify(&*Env::system().disk, &path))?;
    snapshot_report(py, &report)
}

/// Makes the directory of a new node out of a snapshot; the id of the node.
#[pyfunction]
#[pyo3(signature = (path, data_dir, cluster, /))]
pub(super) fn restore_snapshot(py: Python<'_>, path: PathBuf, data_dir: PathBuf, cluster: String) -> PyResult<String> {
    let restored = aside(py, move || eventual::restore_snapshot(&Env::system(), &path, &data_dir, &cluster))?;
    Ok(restored.to_string())
}

/// Looks at the directory of a node without changing it.
#[pyfunction]
#[pyo3(signature = (path, /))]
pub(super) fn examine_data_dir(py: Python<'_>, path: PathBuf) -> PyResult<Bound<'_, PyAny>> {
    let found = aside(py, move || doctor::examine(&*Env::system().disk, &path))?;
    let Diagnosis { path, node, cluster, in_use, snapshots, segments, set_aside, problems } = found;
    let snapshots = snapshots.iter().map(|report| snapshot_report(py, report)).collect::<PyResult<Vec<_>>>()?;
    let segments = segments.iter().map(|report| segment_report(py, report)).collect::<PyResult<Vec<_>>>()?;
    let set_aside: Vec<String> = set_aside.iter().map(|path| path.display().to_string()).collect();
    let fields = (
        path.display().to_string(),
        node.map(|node| node.to_string()),
        cluster,
        in_use,
        PyTuple::new(py, snapshots)?,
        PyTuple::new(py, segments)?,
        PyTuple::new(py, set_aside)?,
        PyTuple::new(py, problems)?,
    );
    DIRECTORY.make(py, fields)
}

/// Does it on a thread of its own, and looks for Ctrl-C meanwhile: then it goes on to its end, and nobody hears of it.
fn aside<T: Send + 'static>(py: Python<'_>, work: impl FnOnce() -> Result<T> + Send + 'static) -> PyResult<T> {
    let (sender, answer) = mpsc::sync_channel(1);
    let run = Box::pin(async move { drop(sender.send(work())) });
    let started = Env::system().disk.spawn("kvstore-offline", run);
    // Nobody waits for the thread, only for its answer.
    drop(started.map_err(|error| Error::new(ErrorCode::Overloaded, format!("no thread for it: {error}")))?);
    let answer = Mutex::new(answer);
    loop {
        match py.detach(|| answer.lock().recv_timeout(SIGNAL_CHECK_INTERVAL)) {
            Ok(outcome) => return Ok(outcome?),
            Err(RecvTimeoutError::Timeout) => py.check_signals()?,
            Err(RecvTimeoutError::Disconnected) => {
                return Err(Error::new(ErrorCode::Internal, "the thread that did it broke off").into());
            }
        }
    }
}

fn snapshot_report<'py>(py: Python<'py>, report: &Report) -> PyResult<Bound<'py, PyAny>> {
    let header = report.header.as_ref();
    let damage = report.damage.as_ref();
    let fields = (
        report.path.display().to_string(),
        report.file_bytes,
        header.map(|header| header.node.to_string()),
        header.map(|header| header.cluster.as_str()),
        header.map(|header| header.created_ms as f64 / 1000.0),
        report.readable.blocks,
        report.readable.records,
        report.readable.payload_bytes,
        damage.map(|damage| damage.offset),
        damage.map(|damage| damage.why.as_str()),
    );
    SNAPSHOT.make(py, fields)
}

fn segment_report<'py>(py: Python<'py>, report: &SegmentReport) -> PyResult<Bound<'py, PyAny>> {
    let damage = report.damage.as_ref();
    let fields = (
        report.path.display().to_string(),
        report.bytes,
        report.end.0.saturating_sub(report.first.0),
        report.torn_at,
        damage.map(|damage| damage.offset),
        damage.map(|damage| damage.why.as_str()),
    );
    SEGMENT.make(py, fields)
}
