//! A client of a cluster, called from any thread.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use pyo3::prelude::*;

use super::{
    convert::{self, Level, Timeout},
    request::Request,
    retry::RetryArgument,
    runtime::{self, ProcessBound},
    security::{check_exposure, TokenDesk, TrustArgument},
    started::{wait_or_drive, Ready},
    strong::Kept,
    watch::{Changes, Wanted},
};
use crate::{
    client::{Book, Client, ClientConfig, StrongClient, Token},
    env::Env,
    error::{Error, ErrorCode, Result},
    types::{Address, ClientName, Consistency, Secret},
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
        let client = Client::new(config, Env::system(), runtime::driver()?.handle().clone())?;
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
        let outcome = wait_or_drive(py, Ready::new(connection, call), (read, timeout.0))?;
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
