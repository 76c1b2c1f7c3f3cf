//! The Python bindings (L6): translate, nothing else.
//!
//! A call from Python becomes a [`request::Request`]: what to do, and how the answer turns into Python. It runs in one
//! of three places: at a [`node`] of this process, now, without a socket; at a [`client`], while the thread waits with
//! the GIL released; or at a client for an asyncio task, through a [`completion`] queue. A node's `get`, `put` and
//! `delete` take a shorter way that needs no request. What is about [`strong`] keyspaces always waits.
//!
//! No thread of ours ever takes the GIL: answers wait in slots and queues for a Python thread to fetch them. What
//! `fork()` breaks is in [`runtime`].

mod answer;
mod call;
mod client;
mod codec;
mod completion;
mod conflict;
mod convert;
mod default;
mod durable;
mod entry;
mod errors;
mod faults;
mod imports;
mod load;
mod log;
mod node;
mod offline;
mod operators;
mod request;
mod requests;
mod retry;
mod runtime;
mod security;
mod slot;
mod started;
mod strong;
mod watch;

use pyo3::prelude::*;

#[pymodule]
fn _core(module: &Bound<'_, PyModule>) -> PyResult<()> {
    module.add("__version__", crate::VERSION)?;
    module.add_class::<client::PyClient>()?;
    module.add_class::<completion::Completions>()?;
    module.add_class::<conflict::PyConflict>()?;
    module.add_class::<entry::PyEntry>()?;
    module.add_class::<faults::PyFaults>()?;
    module.add_class::<load::PyLoad>()?;
    module.add_class::<node::PyNode>()?;
    module.add_class::<operators::PyMonitor>()?;
    module.add_class::<request::Request>()?;
    module.add_class::<requests::Requests>()?;
    module.add_class::<security::TokenDesk>()?;
    module.add_class::<strong::Kept>()?;
    module.add_class::<strong::StrongRequests>()?;
    module.add_class::<strong::Write>()?;
    module.add_class::<watch::PyEvent>()?;
    module.add_class::<watch::Changes>()?;
    module.add_function(wrap_pyfunction!(call::end_calls, module)?)?;
    module.add_function(wrap_pyfunction!(codec::encode_auto, module)?)?;
    module.add_function(wrap_pyfunction!(codec::decode_auto, module)?)?;
    module.add_function(wrap_pyfunction!(convert::py_check_timeout, module)?)?;
    module.add_function(wrap_pyfunction!(log::close_log, module)?)?;
    module.add_function(wrap_pyfunction!(log::keep_log, module)?)?;
    module.add_function(wrap_pyfunction!(log::log_parts, module)?)?;
    module.add_function(wrap_pyfunction!(log::log_to_stderr, module)?)?;
    module.add_function(wrap_pyfunction!(log::open_log, module)?)?;
    module.add_function(wrap_pyfunction!(log::recent_log, module)?)?;
    module.add_function(wrap_pyfunction!(log::set_log_levels, module)?)?;
    module.add_function(wrap_pyfunction!(log::take_log, module)?)?;
    module.add_function(wrap_pyfunction!(offline::verify_snapshot, module)?)?;
    module.add_function(wrap_pyfunction!(offline::restore_snapshot, module)?)?;
    module.add_function(wrap_pyfunction!(offline::examine_data_dir, module)?)?;
    module.add_function(wrap_pyfunction!(imports::make_imports, module)?)?;
    module.add_function(wrap_pyfunction!(runtime::after_fork_in_child, module)?)
}
