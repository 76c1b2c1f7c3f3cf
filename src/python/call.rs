//! Calls from here into Python.
//!
//! Before Python 3.14 a daemon thread that asks for the GIL while the interpreter ends is ended by `pthread_exit`, which unwinds its
//! stack. Where that is a stack of ours the process aborts. pyo3 has such a thread wait for ever when it takes the GIL back itself;
//! what runs Python code gives the GIL away and takes it back at any time. So [`end_calls`], which runs before the interpreter ends,
//! waits until no thread runs Python code from here, and from then on none begins to but its own.
//!
//! What is not done: a `__del__` in Python that runs because a value is dropped here, and Python code that runs for longer than
//! [`PATIENCE`].

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        OnceLock,
    },
    thread::{self, ThreadId},
    time::Duration,
};

use pyo3::{
    prelude::*,
    types::{PyString, PyTuple},
};

use crate::env::{Clock, SystemClock};

/// How many calls into Python are under way. Changed by threads that have the GIL.
static INSIDE: AtomicUsize = AtomicUsize::new(0);

/// The thread that ends the interpreter, once it has begun to.
static ENDS: OnceLock<ThreadId> = OnceLock::new();

/// How long the end waits for calls that are under way.
const PATIENCE: Duration = Duration::from_secs(1);

/// How often it looks.
const LOOK: Duration = Duration::from_millis(1);

/// A call into Python.
struct Inside;

impl Inside {
    fn enter(py: Python<'_>) -> Inside {
        if ENDS.get().is_some_and(|ends| *ends != thread::current().id()) {
            // It would never come back.
            py.detach(|| loop {
                thread::park();
            })
        }
        INSIDE.fetch_add(1, Ordering::SeqCst);
        Inside
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        // A child that was forked from inside has counted anew.
        let _was_inside = INSIDE.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |inside| inside.checked_sub(1));
    }
}

/// The other threads, which may have been inside, are not in a forked child.
pub(super) fn after_fork_in_child() {
    INSIDE.store(0, Ordering::SeqCst);
}

/// See the module.
#[pyfunction]
pub(super) fn end_calls(py: Python<'_>) {
    ENDS.get_or_init(|| thread::current().id());
    let clock = SystemClock::new();
    while INSIDE.load(Ordering::SeqCst) > 0 && clock.monotonic() < PATIENCE {
        py.detach(|| thread::park_timeout(LOOK));
    }
}

/// Does what may run Python code.
#[inline]
pub(super) fn into_python<T>(py: Python<'_>, run: impl FnOnce() -> T) -> T {
    let _inside = Inside::enter(py);
    run()
}

/// `function(*arguments)`
pub(super) fn call<'py>(
    function: &Bound<'py, PyAny>,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = arguments.into_pyobject(function.py()).map_err(Into::into)?;
    into_python(function.py(), || function.call1(&arguments))
}

/// `object.name(*arguments)`
pub(super) fn call_method<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    call(&into_python(object.py(), || object.getattr(name))?, arguments)
}
