//! What is wrong with the world of one node, as `kvstore.testing` wants it.

use std::time::Duration;

use pyo3::prelude::*;

use crate::{
    env::{Env, Faults, Slowness},
    error::{Error, ErrorCode, Result},
    types::Address,
};

/// See `_core.pyi`.
#[pyclass(frozen, name = "Faults", module = "kvstore._core")]
pub(super) struct PyFaults(Faults);

impl PyFaults {
    /// The real world, with the faults before it.
    pub(super) fn doors(&self) -> Env {
        self.0.doors(Env::system())
    }
}

#[pymethods]
impl PyFaults {
    #[new]
    #[pyo3(signature = (seed, /))]
    fn new(seed: u64) -> PyFaults {
        PyFaults(Faults::new(seed))
    }

    /// Those of another node, whose clocks are advanced together with this one's.
    #[pyo3(signature = (seed, /))]
    fn beside(&self, seed: u64) -> PyFaults {
        PyFaults(self.0.beside(seed))
    }

    #[pyo3(signature = (addresses, /))]
    fn block(&self, addresses: Vec<String>) -> PyResult<()> {
        let addresses = addresses.iter().map(|address| address.parse::<Address>()).collect::<Result<_>>()?;
        self.0.block(addresses);
        Ok(())
    }

    #[pyo3(signature = (paused, /))]
    fn pause(&self, paused: bool) {
        self.0.pause(paused);
    }

    #[pyo3(signature = (delay, jitter, drop, /))]
    fn slow(&self, delay: f64, jitter: f64, drop: f64) -> PyResult<()> {
        self.0.slow(Slowness::new(delay, jitter, drop)?);
        Ok(())
    }

    #[pyo3(signature = (seconds, /))]
    fn advance(&self, seconds: f64) -> PyResult<()> {
        let no_time = |_| Error::new(ErrorCode::InvalidArgument, format!("seconds: {seconds} is no time that passes"));
        self.0.advance(Duration::try_from_secs_f64(seconds).map_err(no_time)?);
        Ok(())
    }
}
