//! Calls from here into Python.
//!
//! Before Python 3.14 a daemon thread that asks for the GIL while the interpreter ends is ended by `pthread_exit`, which unwinds its
//! stack. Where that is a stack of ours, values would be dropped without the GIL, and the process would abort at the first
//! `catch_unwind`, of which there is one around each function that Python calls. pyo3 has such a thread wait for ever when it takes
//! the GIL back itself; here it is done for what runs Python code, which gives the GIL away and takes it back at any time.
//!
//! What is not done: a `__del__` in Python that runs because a value is dropped here.

use std::{mem, thread};

use pyo3::{
    prelude::*,
    types::{PyString, PyTuple},
};

/// Waits for ever when it is dropped by anything but a panic: nothing else unwinds a stack here.
struct Park;

impl Drop for Park {
    fn drop(&mut self) {
        while !thread::panicking() {
            thread::park();
        }
    }
}

/// Does what may run Python code. It must own nothing that has to be dropped: that would happen first.
#[inline]
pub(super) fn into_python<T>(run: impl FnOnce() -> T) -> T {
    let park = Park;
    let outcome = run();
    mem::forget(park);
    outcome
}

/// `function(*arguments)`
pub(super) fn call<'py>(
    function: &Bound<'py, PyAny>,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    let arguments = arguments.into_pyobject(function.py()).map_err(Into::into)?;
    into_python(|| function.call1(&arguments))
}

/// `object.name(*arguments)`
pub(super) fn call_method<'py>(
    object: &Bound<'py, PyAny>,
    name: &Bound<'py, PyString>,
    arguments: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
) -> PyResult<Bound<'py, PyAny>> {
    call(&into_python(|| object.getattr(name))?, arguments)
}
