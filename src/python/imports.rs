//! What is kept of Python from its first use on: names, and objects of modules.
//!
//! Two threads may use one first at the same time; one of them makes it, and gives the GIL away meanwhile. A child that is forked in
//! just that moment has a thing that is being made, and not the thread that makes it: its first use would wait for ever. So all of
//! them are made by [`make_imports`], when the package is imported. `pyo3::intern!` is not for this folder.

use pyo3::{
    prelude::*,
    sync::PyOnceLock,
    types::{PyString, PyTuple},
};

use super::{
    answer,
    call::{call, into_python},
    codec, completion, convert, errors, offline,
};

/// An object of a module.
pub(super) struct Import {
    object: PyOnceLock<Py<PyAny>>,
    module: &'static str,
    name: &'static str,
}

impl Import {
    /// `module.name`
    pub(super) const fn new(module: &'static str, name: &'static str) -> Import {
        Import { object: PyOnceLock::new(), module, name }
    }

    /// The object.
    ///
    /// # Errors
    /// Those of importing it.
    pub(super) fn get<'py>(&self, py: Python<'py>) -> PyResult<&Bound<'py, PyAny>> {
        into_python(py, || self.object.import(py, self.module, self.name))
    }

    /// What it gives when it is called, as a `NamedTuple` class its fields in order.
    ///
    /// # Errors
    /// Those of importing and calling it.
    pub(super) fn make<'py>(
        &self,
        py: Python<'py>,
        fields: impl IntoPyObject<'py, Target = PyTuple, Output = Bound<'py, PyTuple>>,
    ) -> PyResult<Bound<'py, PyAny>> {
        call(self.get(py)?, fields)
    }
}

/// The name of an attribute.
pub(super) struct Name {
    string: PyOnceLock<Py<PyString>>,
    text: &'static str,
}

impl Name {
    /// Of this text.
    pub(super) const fn new(text: &'static str) -> Name {
        Name { string: PyOnceLock::new(), text }
    }

    /// The interned string.
    pub(super) fn get<'py>(&self, py: Python<'py>) -> &Bound<'py, PyString> {
        self.string.get_or_init(py, || PyString::intern(py, self.text).unbind()).bind(py)
    }
}

/// See the module. Without those of the load loop, whose module only the benchmarks import.
#[pyfunction]
pub(super) fn make_imports(py: Python<'_>) -> PyResult<()> {
    for names in [&codec::NAMES[..], &completion::NAMES, &convert::NAMES] {
        for name in names {
            name.get(py);
        }
    }
    for all in [&answer::IMPORTS[..], &codec::IMPORTS, &convert::IMPORTS, &errors::IMPORTS, &offline::IMPORTS] {
        for import in all {
            import.get(py)?;
        }
    }
    Ok(())
}
