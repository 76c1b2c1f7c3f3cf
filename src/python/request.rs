//! A call, converted and checked, and how its answer becomes Python.

use std::{path::PathBuf, sync::Arc};

use pyo3::prelude::*;

use super::{
    answer::Conversion,
    convert::{self, KeyBytes},
    errors,
};
use crate::{
    limits,
    replication::strong,
    types::{ConflictQuery, KeyRange, NodeId, Operation, PageRequest, SurveyQuery},
    wire::admin::check_survey,
};

/// Operations in one keyspace, asked for as if it were eventual.
pub(super) struct Asked {
    /// `None`: `default`.
    pub(super) keyspace: Option<Arc<str>>,
    pub(super) operations: Vec<Operation>,
}

impl Asked {
    /// As messages say it: empty for `default`.
    pub(super) fn name(&self) -> &str {
        self.keyspace.as_deref().unwrap_or_default()
    }
}

/// What a node or client is asked to do.
pub(super) enum Call {
    Operations(Asked),
    Status { digests: bool },
    Members,
    Holdings,
    Conflicts(ConflictQuery),
    RemoveMember { node: NodeId, force: bool },
    MoveLeader { to: Option<NodeId> },
    Metrics,
    Snapshot { path: PathBuf },
    Survey(SurveyQuery),
    Strong(Box<strong::Call>),
}

impl Call {
    /// Whether it changes anything in an eventual keyspace.
    pub(super) fn is_write(&self) -> bool {
        match self {
            Call::Operations(asked) => asked.operations.iter().any(Operation::is_write),
            Call::Status { .. }
            | Call::Members
            | Call::Holdings
            | Call::Conflicts(_)
            | Call::RemoveMember { .. }
            | Call::MoveLeader { .. }
            | Call::Metrics
            | Call::Snapshot { .. }
            | Call::Survey(_)
            | Call::Strong(_) => false,
        }
    }
}

/// See `_core.pyi`. Good for one run, because running moves the operations out of it.
#[pyclass(frozen, module = "kvstore._core")]
pub(super) struct Request(parking_lot::Mutex<Option<(Call, Conversion)>>);

impl Request {
    pub(super) fn new(call: Call, conversion: Conversion) -> Request {
        Request(parking_lot::Mutex::new(Some((call, conversion))))
    }

    /// What becomes of the call, before it is run.
    pub(super) fn look<R>(&self, look: impl FnOnce(&Call) -> R) -> Option<R> {
        self.0.lock().as_ref().map(|(call, _)| look(call))
    }

    /// The call, once.
    ///
    /// # Errors
    /// `InvalidArgumentError` when it was run already.
    pub(super) fn take(&self) -> PyResult<(Call, Conversion)> {
        self.0.lock().take().ok_or_else(|| errors::invalid("request: it was run already"))
    }
}

/// Which page of a scan: prefix, start, end, reverse, the last key of the page before, and how many keys at most.
#[derive(FromPyObject)]
pub(super) struct PageArguments<'py>(
    KeyBytes<'py>,
    Option<KeyBytes<'py>>,
    Option<KeyBytes<'py>>,
    bool,
    Option<KeyBytes<'py>>,
    Bound<'py, PyAny>,
);

impl PageArguments<'_> {
    /// The page.
    ///
    /// # Errors
    /// `InvalidArgumentError` for a size that is none.
    pub(super) fn to_page(&self) -> PyResult<PageRequest> {
        let PageArguments(prefix, start, end, reverse, last, keys_max) = self;
        let bytes = |key: &Option<KeyBytes<'_>>| key.as_deref().map(<[u8]>::to_vec);
        let mut range = KeyRange { prefix: prefix.to_vec(), start: bytes(start), end: bytes(end) };
        match (last, reverse) {
            (None, _) => {}
            (Some(last), true) => range.end = Some(last.to_vec()),
            // The first key after `last`, bytewise.
            (Some(last), false) => range.start = Some([last, &[0][..]].concat()),
        }
        Ok(PageRequest {
            range,
            reverse: *reverse,
            keys_max: convert::count(keys_max, "page_size")?.clamp(1, limits::PAGE_KEYS_MAX),
            bytes_target: limits::PAGE_BYTES_TARGET,
        })
    }
}

#[pymethods]
impl Request {
    #[staticmethod]
    fn ping() -> Request {
        let asked = Asked { keyspace: None, operations: vec![Operation::Ping] };
        Request::new(Call::Operations(asked), Conversion::Nothing)
    }

    #[staticmethod]
    fn status(digests: bool) -> Request {
        Request::new(Call::Status { digests }, Conversion::Status)
    }

    /// What the contacted node holds of each eventual keyspace.
    #[staticmethod]
    fn holdings() -> Request {
        Request::new(Call::Holdings, Conversion::Holdings)
    }

    #[staticmethod]
    fn members() -> Request {
        Request::new(Call::Members, Conversion::Members)
    }

    #[staticmethod]
    fn remove_member(node_id: &str, force: bool) -> PyResult<Request> {
        Ok(Request::new(Call::RemoveMember { node: node_id.parse::<NodeId>()?, force }, Conversion::Nothing))
    }

    #[staticmethod]
    fn move_leader(node_id: Option<&str>) -> PyResult<Request> {
        let to = node_id.map(str::parse::<NodeId>).transpose()?;
        Ok(Request::new(Call::MoveLeader { to }, Conversion::Nothing))
    }

    #[staticmethod]
    fn metrics() -> Request {
        Request::new(Call::Metrics, Conversion::Metrics)
    }

    #[staticmethod]
    fn snapshot(path: PathBuf) -> Request {
        Request::new(Call::Snapshot { path }, Conversion::Count)
    }

    /// How much room keys take, one page of a keyspace.
    #[staticmethod]
    fn survey(
        keyspace: String,
        prefix: KeyBytes<'_>,
        start: Option<KeyBytes<'_>>,
        share: u32,
        top: &Bound<'_, PyAny>,
    ) -> PyResult<Request> {
        let range = KeyRange { prefix: prefix.to_vec(), start: start.as_deref().map(<[u8]>::to_vec), end: None };
        let query = SurveyQuery { keyspace, range, share, top: convert::count(top, "top")? };
        check_survey(&query)?;
        Ok(Request::new(Call::Survey(query), Conversion::Survey))
    }

    /// Whether a node asks other nodes for the answer, or reads and writes much.
    #[getter]
    fn waits(&self) -> bool {
        let waits = |call: &Call| {
            matches!(
                call,
                Call::Conflicts(_)
                    | Call::Holdings
                    | Call::RemoveMember { .. }
                    | Call::MoveLeader { .. }
                    | Call::Snapshot { .. }
                    | Call::Survey(_)
            )
        };
        self.look(waits).unwrap_or(false)
    }
}
