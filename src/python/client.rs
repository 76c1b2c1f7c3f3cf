//! A client of a cluster, called from any thread.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::{
    answer::Outcome,
    convert::{self, Level, Timeout},
    default::{self, Ticket},
    request::{Call, Request},
    retry::RetryArgument,
    runtime::{self, ProcessBound},
    security::{check_exposure, TokenDesk, TrustArgument},
    slot::Slot,
    strong::{self, Kept},
    watch::{Changes, Wanted},
};
use crate::{
    client::{Book, CallId, Client, ClientConfig, StrongClient, StrongTicket, Token},
    env::Env,
    error::{Error, ErrorCode, Result},
    limits::SIGNAL_CHECK_INTERVAL,
    types::{Address, ClientName, Consistency, Holding, Secret},
};

/// See `_core.pyi`.
#[pyclass(frozen, name = "Client", module = "kvstore._core")]
pub(super) struct PyClient {
    config: ClientConfig,
    /// Asked for the token, if that is no text.
    asked: Option<Py<PyAny>>,
    /// What it has been told of keyspaces.
    book: Arc<Book>,
    state: Mutex<State>,
}

enum State {
    /// Before the first call, and in a child after a fork.
    Idle,
    Open(ProcessBound<Connection>),
    Closed,
}

/// What one process has open: the client, and its session with strong keyspaces.
#[derive(Clone)]
pub(super) struct Connection {
    pub(super) client: Client,
    pub(super) strong: StrongClient,
    pub(super) book: Arc<Book>,
}

impl PyClient {
    /// The connection of this process; a forked child makes its own.
    ///
    /// # Errors
    /// `CLIENT_CLOSED`, and those of making a client.
    pub(super) fn connection(&self) -> Result<Connection> {
        if let Some(connection) = self.state.lock().connection()? {
            return Ok(connection);
        }
        // Another thread may do the same meanwhile, for the GIL is released where a thread is started.
        let config = ClientConfig { token: self.token()?, ..self.config.clone() };
        let client = Client::new(config, Env::system(), runtime::handle()?)?;
        let mut state = self.state.lock();
        if let Some(connection) = state.connection()? {
            return Ok(connection);
        }
        let (strong, book) = (StrongClient::of_client(&client), self.book.clone());
        let connection = Connection { strong, client, book };
        *state = State::Open(ProcessBound::new(connection.clone()));
        Ok(connection)
    }

    /// What is presented in this process.
    fn token(&self) -> Result<Token> {
        let Some(callable) = &self.asked else { return Ok(self.config.token.clone()) };
        let opened = Python::attach(|py| TokenDesk::open(py, callable));
        let no_thread = |error| Error::new(ErrorCode::Overloaded, format!("token: no thread to ask for it: {error}"));
        Ok(Token::Asked(Arc::new(opened.map_err(no_thread)?)))
    }
}

impl State {
    /// The connection, if there is one of this process.
    ///
    /// # Errors
    /// `CLIENT_CLOSED`.
    fn connection(&self) -> Result<Option<Connection>> {
        match self {
            State::Closed => Err(Error::new(ErrorCode::ClientClosed, "this client was closed: make a new one")),
            State::Open(connection) => Ok(connection.get().cloned()),
            State::Idle => Ok(None),
        }
    }
}

/// A token as Python gives it.
#[derive(FromPyObject)]
enum TokenArgument {
    Text(String),
    Callable(Py<PyAny>),
}

/// A call under way.
pub(super) enum Started {
    Operations(Client, CallId),
    Task(tokio::task::AbortHandle),
    Strong(StrongTicket),
    /// In the eventual way, and in the strong one if that is refused.
    Trial(Client, CallId, Ticket),
}

impl Started {
    /// Starts a call; `done` gets the outcome once, from a thread of the runtime.
    ///
    /// # Errors
    /// Those of making the runtime; `UNSUPPORTED`, when the keyspace does not promise such reads.
    pub(super) fn new(
        connection: Connection,
        call: Call,
        (read, timeout): (Level, Option<Duration>),
        done: impl FnOnce(Result<Outcome>) + Send + 'static,
    ) -> Result<Started> {
        let call = match call {
            Call::Operations(asked) => {
                return default::start(connection, asked, (read, timeout), Box::new(done));
            }
            call => call,
        };
        let (asking, strong) = (connection.client.clone(), connection.strong);
        let task = match call {
            Call::Operations(_) => return Err(Error::new(ErrorCode::Internal, "operations have a way of their own")),
            Call::Status { digests } => runtime::handle()?.spawn(async move {
                let status = asking.status(digests, timeout).await;
                done(status.map(|status| Outcome::Status(Box::new(status))));
            }),
            Call::Members => runtime::handle()?.spawn(async move {
                done(asking.members(timeout).await.map(Outcome::Members));
            }),
            Call::Holdings => runtime::handle()?.spawn(async move {
                let parts = |held: Vec<Holding>| held.into_iter().map(Holding::into_parts).collect();
                done(asking.holdings(timeout).await.map(parts).map(Outcome::Holdings));
            }),
            Call::Conflicts(query) => runtime::handle()?.spawn(async move {
                done(asking.conflicts(query, timeout).await.map(Outcome::Conflicts));
            }),
            Call::RemoveMember { node, force } => runtime::handle()?.spawn(async move {
                done(asking.remove_member(node, force, timeout).await.map(|()| Outcome::Removed));
            }),
            Call::MoveLeader { to } => runtime::handle()?.spawn(async move {
                done(asking.move_leader(to, timeout).await.map(Outcome::Leader));
            }),
            Call::Snapshot { path } => runtime::handle()?.spawn(async move {
                done(asking.snapshot(path, timeout).await.map(Outcome::Bytes));
            }),
            Call::Metrics => runtime::handle()?.spawn(async move {
                done(asking.metrics(timeout).await.map(Outcome::Metrics));
            }),
            Call::Strong(call) => {
                let note = default::note(&connection.book, &call);
                let done = Box::new(|reply: Result<_>| {
                    note(&reply);
                    done(reply.map(Outcome::Strong));
                });
                return Ok(Started::Strong(strong.submit(strong::at_level(*call, read), timeout, done)));
            }
        };
        Ok(Started::Task(task.abort_handle()))
    }

    /// Gives the call up.
    pub(super) fn cancel(self) {
        match self {
            Started::Operations(client, call) => client.cancel(call),
            Started::Task(task) => task.abort(),
            Started::Strong(ticket) => ticket.cancel(),
            Started::Trial(client, call, ticket) => {
                ticket.cancel();
                client.cancel(call);
            }
        }
    }
}

/// Starts a call and waits for its outcome with the GIL released; looks for Ctrl-C from time to time.
///
/// # Errors
/// Those of `start`; what a handler of a signal raises.
pub(super) fn wait(
    py: Python<'_>,
    start: impl FnOnce(Box<dyn FnOnce(Result<Outcome>) + Send>) -> PyResult<Started>,
) -> PyResult<Result<Outcome>> {
    let slot = Arc::new(Slot::new());
    let filled = slot.clone();
    let started = start(Box::new(move |outcome| filled.fill(outcome)))?;
    loop {
        if let Some(outcome) = py.detach(|| slot.take(SIGNAL_CHECK_INTERVAL)) {
            return Ok(outcome);
        }
        if let Err(interrupt) = py.check_signals() {
            started.cancel();
            return Err(interrupt);
        }
    }
}

#[pymethods]
impl PyClient {
    #[new]
    #[pyo3(signature = (targets, retry, name, discover, hedge, tls=None, token=None, /))]
    #[allow(clippy::too_many_arguments, reason = "one for each option of a client")]
    fn new(
        targets: Vec<String>,
        retry: Option<RetryArgument>,
        name: Option<String>,
        discover: bool,
        hedge: Option<f64>,
        tls: Option<TrustArgument>,
        token: Option<TokenArgument>,
    ) -> PyResult<PyClient> {
        let targets = targets.iter().map(|target| target.parse::<Address>()).collect::<Result<Vec<_>>>()?;
        let name = name.map(|name| name.parse::<ClientName>()).transpose()?;
        let hedge = hedge.map(Duration::try_from_secs_f64).transpose();
        let hedge = hedge.map_err(|error| Error::new(ErrorCode::BadSetting, format!("hedge: {error}")))?;
        // An explicit False is the word that says: in the clear all the same.
        let is_careless = matches!(tls, Some(TrustArgument::System(false)));
        let tls = tls.and_then(TrustArgument::into_trust);
        if token.is_some() && tls.is_none() && !is_careless {
            check_exposure(&targets)?;
        }
        let (token, asked) = match token {
            None => (Token::None, None),
            Some(TokenArgument::Text(text)) => (Token::Fixed(text.parse::<Secret>()?), None),
            Some(TokenArgument::Callable(callable)) => (Token::None, Some(callable)),
        };
        let retry = RetryArgument::into_retry(retry)?;
        let config = ClientConfig { targets, discover, hedge, retry, name, tls, token, is_careless };
        Ok(PyClient { config, asked, book: Arc::default(), state: Mutex::new(State::Idle) })
    }

    #[pyo3(signature = (request, timeout, read, /))]
    fn run<'py>(
        &self,
        py: Python<'py>,
        request: &Request,
        timeout: Timeout,
        read: Level,
    ) -> PyResult<Bound<'py, PyAny>> {
        let connection = self.connection()?;
        let (call, conversion) = request.take()?;
        let outcome = wait(py, |done| Ok(Started::new(connection, call, (read, timeout.0), done)?))?;
        conversion.finish(py, outcome)
    }

    #[pyo3(signature = (lease, ttl, /))]
    fn keep(&self, lease: u64, ttl: &Bound<'_, PyAny>) -> PyResult<Kept> {
        Ok(Kept::new(self.connection()?.strong, lease, convert::ttl(ttl)?))
    }

    #[pyo3(signature = (wanted, /))]
    fn watch(&self, wanted: Wanted<'_>) -> PyResult<Changes> {
        let Connection { client, strong, book } = self.connection()?;
        let (known, name) = (book.of(wanted.keyspace()), wanted.keyspace().to_string());
        wanted.open(
            known,
            |request, buffer| client.watch_in(&name, request, buffer),
            move |watch, buffer| strong.watch(watch, buffer),
        )
    }

    /// What a keyspace is; None: nobody has told this client yet.
    #[pyo3(signature = (keyspace, /))]
    fn consistency(&self, keyspace: &str) -> Option<&'static str> {
        self.book.of(keyspace).get().map(Consistency::as_str)
    }

    /// Locks of the client may be held by its threads, which never wait for the GIL; so it may be kept here.
    fn close(&self) {
        let state = std::mem::replace(&mut *self.state.lock(), State::Closed);
        if let State::Open(connection) = state {
            if let Some(connection) = connection.get() {
                connection.client.close();
            }
        }
    }
}
