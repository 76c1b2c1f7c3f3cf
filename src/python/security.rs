//! What `kvstore.TLS` and a token say; and the desk at which a Python thread answers for a token that is a callable. No thread
//! of ours takes the GIL: whoever needs the token waits until that thread has answered.

use std::{borrow::Cow, path::PathBuf, sync::Arc};

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;
use tokio::sync::oneshot;

use crate::{
    client::TokenSource,
    env::BoxFuture,
    error::{Error, ErrorCode, Result},
    types::{Address, Secret, TlsFiles, Trust},
};

const MODULE: &str = "kvstore._security";

/// The fields of a `kvstore.TLS`.
#[derive(FromPyObject)]
pub(super) struct TlsArgument {
    ca: Option<PathBuf>,
    cert: Option<PathBuf>,
    key: Option<PathBuf>,
    server_name: Option<String>,
}

impl From<TlsArgument> for TlsFiles {
    fn from(argument: TlsArgument) -> TlsFiles {
        let TlsArgument { ca, cert, key, server_name } = argument;
        TlsFiles { ca, cert, key, server_name }
    }
}

/// What a client is given: whether it believes whom the system believes, or files.
#[derive(FromPyObject)]
pub(super) enum TrustArgument {
    System(bool),
    Files(TlsArgument),
}

impl TrustArgument {
    /// Whom it believes; `None`: it speaks in the clear.
    pub(super) fn into_trust(self) -> Option<Trust> {
        match self {
            TrustArgument::System(is_wanted) => is_wanted.then_some(Trust::System),
            TrustArgument::Files(files) => Some(Trust::Files(files.into())),
        }
    }
}

/// Refuses to send a token in the clear to another machine.
///
/// # Errors
/// `BAD_SETTING`; names the target.
pub(super) fn check_exposure(targets: &[Address]) -> Result<()> {
    let Some(target) = targets.iter().find(|target| !target.is_loopback()) else { return Ok(()) };
    let text = format!(
        "token: {target} is another machine, and without tls the token can be read on its way; \
         give tls, or tls=False if it is to be sent all the same"
    );
    Err(Error::new(ErrorCode::BadSetting, text))
}

/// Where a token is asked for, and answered.
#[derive(Default)]
struct Desk {
    /// Guards who waits for an answer.
    state: Mutex<State>,
    changed: Condvar,
}

#[derive(Default)]
struct State {
    waiting: Option<oneshot::Sender<Result<Secret>>>,
    is_closed: bool,
}

impl Desk {
    fn answer(&self, answer: Result<Secret>) {
        let waiting = self.state.lock().waiting.take();
        if let Some(waiting) = waiting {
            // Who is gone has no use for it.
            drop(waiting.send(answer));
        }
    }

    fn close(&self) {
        let mut state = self.state.lock();
        state.is_closed = true;
        state.waiting = None;
        self.changed.notify_all();
    }
}

/// A token that is asked for at a desk, which closes with it.
pub(super) struct AskedToken(Arc<Desk>);

impl TokenSource for AskedToken {
    fn ask(&self) -> BoxFuture<'_, Result<Secret>> {
        let (sender, answer) = oneshot::channel();
        {
            let mut state = self.0.state.lock();
            if !state.is_closed {
                state.waiting = Some(sender);
                self.0.changed.notify_all();
            }
        }
        Box::pin(async move {
            let nobody = || Error::new(ErrorCode::Denied, "token: nobody is left who could be asked for it");
            answer.await.unwrap_or_else(|_| Err(nobody()))
        })
    }
}

impl Drop for AskedToken {
    fn drop(&mut self) {
        self.0.close();
    }
}

/// The desk as the thread sees it that answers. See `_core.pyi`.
#[pyclass(frozen, module = "kvstore._core")]
pub(super) struct TokenDesk(Arc<Desk>);

impl TokenDesk {
    /// A source that asks `callable`, on a Python thread of its own that ends with the source. To be called with no lock held:
    /// starting a thread releases the GIL.
    ///
    /// # Errors
    /// When there is no thread to be had.
    pub(super) fn open(py: Python<'_>, callable: &Py<PyAny>) -> PyResult<AskedToken> {
        let desk = Arc::new(Desk::default());
        let source = AskedToken(desk.clone());
        py.import(MODULE)?.call_method1("answer_at", (TokenDesk(desk), callable))?;
        Ok(source)
    }
}

#[pymethods]
impl TokenDesk {
    /// Waits until somebody asks: True; False: nobody will any more.
    fn wait(&self, py: Python<'_>) -> bool {
        py.detach(|| {
            let mut state = self.0.state.lock();
            self.0.changed.wait_while(&mut state, |state| state.waiting.is_none() && !state.is_closed);
            !state.is_closed
        })
    }

    /// Answers with a token.
    #[pyo3(signature = (token, /))]
    fn answer(&self, token: Cow<'_, str>) -> PyResult<()> {
        self.0.answer(Ok(token.parse::<Secret>()?));
        Ok(())
    }

    /// Answers nobody any more. Idempotent.
    fn close(&self) {
        self.0.close();
    }

    /// Says why there is none.
    #[pyo3(signature = (why, /))]
    fn fail(&self, why: Cow<'_, str>) {
        self.0.answer(Err(Error::new(ErrorCode::Denied, &*why)));
    }
}
