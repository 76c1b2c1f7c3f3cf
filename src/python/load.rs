//! The load loop, which runs on the clients' threads: a load generator in Python measures itself.

use std::sync::Arc;

use pyo3::prelude::*;

use super::{client::PyClient, convert::Timeout, errors, imports::Import, runtime, slot::Slot};
use crate::{
    client::load::{Distribution, Load, LoadConfig, LoadEnd, LoadReport, Path, Work, WorkReport},
    error::Result,
    limits::{CALL_TIMEOUT, SIGNAL_CHECK_INTERVAL},
};

static REPORT: Import = Import::new("kvstore.bench", "LoadReport");
static WORK: Import = Import::new("kvstore.bench", "WorkReport");

/// The fields of `kvstore.bench.LoadSettings`.
#[derive(FromPyObject)]
pub(super) struct LoadSettings {
    work: String,
    read_percent: u8,
    distribution: String,
    concurrency: usize,
    operations: Option<u64>,
    seconds: Timeout,
    value_bytes: usize,
    keys: u64,
    preload: bool,
    unary_connections: Option<usize>,
    seed: u64,
}

impl LoadSettings {
    fn to_config(&self) -> PyResult<LoadConfig> {
        let work = match self.work.as_str() {
            "get" => Work::Get,
            "put" => Work::Put,
            "mixed" => Work::Mixed { read_percent: self.read_percent },
            other => return Err(errors::invalid(format!("work: {other:?} is not \"get\", \"put\" or \"mixed\""))),
        };
        let distribution = match self.distribution.as_str() {
            "uniform" => Distribution::Uniform,
            "zipf" => Distribution::Zipf,
            other => return Err(errors::invalid(format!("distribution: {other:?} is not \"uniform\" or \"zipf\""))),
        };
        let end = match (self.operations, self.seconds.0) {
            (Some(operations), None) => LoadEnd::Operations(operations),
            (None, Some(seconds)) => LoadEnd::Duration(seconds),
            _ => return Err(errors::invalid("operations, seconds: give one of them")),
        };
        Ok(LoadConfig {
            work,
            path: self.unary_connections.map_or(Path::Pipeline, |connections| Path::Unary { connections }),
            concurrency: self.concurrency,
            end,
            value_bytes: self.value_bytes,
            keys: self.keys,
            distribution,
            preload: self.preload,
            seed: self.seed,
            timeout: CALL_TIMEOUT,
        })
    }
}

/// See `_core.pyi`.
#[pyclass(frozen, name = "Load", module = "kvstore._core")]
pub(super) struct PyLoad {
    load: Arc<Load>,
    report: Arc<Slot<Result<LoadReport>>>,
}

#[pymethods]
impl PyLoad {
    #[new]
    #[pyo3(signature = (client, settings, /))]
    fn new(client: &PyClient, settings: LoadSettings) -> PyResult<PyLoad> {
        let load = Arc::new(Load::new(settings.to_config()?)?);
        let report = Arc::new(Slot::new());
        let client = client.connection()?.client;
        let (running, filled) = (Arc::clone(&load), Arc::clone(&report));
        // It ends by itself, by `stop`, or with the runtime.
        drop(runtime::spawn(async move { filled.fill(running.run(&client).await) })?);
        Ok(PyLoad { load, report })
    }

    #[getter]
    fn operations_done(&self) -> u64 {
        self.load.operations_done()
    }

    fn stop(&self) {
        self.load.stop();
    }

    fn wait<'py>(&self, py: Python<'py>) -> PyResult<Option<Bound<'py, PyAny>>> {
        match py.detach(|| self.report.take(SIGNAL_CHECK_INTERVAL)) {
            Some(report) => Ok(Some(load_report(py, &report?)?)),
            None => py.check_signals().map(|()| None),
        }
    }
}

fn load_report<'py>(py: Python<'py>, report: &LoadReport) -> PyResult<Bound<'py, PyAny>> {
    let work = |work: &Option<WorkReport>| work.as_ref().map(|work| work_report(py, work)).transpose();
    let first_error = report.first_error.as_ref().map(ToString::to_string);
    REPORT.make(py, (report.elapsed.as_secs_f64(), work(&report.get)?, work(&report.put)?, first_error))
}

fn work_report<'py>(py: Python<'py>, work: &WorkReport) -> PyResult<Bound<'py, PyAny>> {
    let ms = |us: u64| us as f64 / 1000.0;
    let fields = (
        work.operations,
        work.errors,
        work.per_second,
        ms(work.p50_us),
        ms(work.p90_us),
        ms(work.p99_us),
        ms(work.p999_us),
        ms(work.max_us),
    );
    WORK.make(py, fields)
}
