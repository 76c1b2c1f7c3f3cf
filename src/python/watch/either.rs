//! A watch of a keyspace by a client that does not know what it is: in the eventual way, until a node refuses that.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Eventual, Source, Strong, Told};
use crate::{
    client::{Known, Wake},
    error::{Error, ErrorCode, Result},
    types::Consistency,
};

/// Begins the watch in the strong way.
type Reopen = Box<dyn FnOnce() -> Result<Strong> + Send>;

/// See the module.
pub(super) struct Either {
    known: Arc<Known>,
    is_initial: bool,
    state: Mutex<State>,
}

enum State {
    /// `None`: it has told something, or was tried in the strong way, and that failed.
    First(Eventual, Option<Reopen>),
    Strong(Strong),
}

impl Either {
    pub(super) fn new(
        first: Eventual,
        (known, is_initial): (Arc<Known>, bool),
        reopen: impl FnOnce() -> Result<Strong> + Send + 'static,
    ) -> Either {
        Either { known, is_initial, state: Mutex::new(State::First(first, Some(Box::new(reopen)))) }
    }

    /// Does it with what there is, and again in the strong way when a node says so. Not once it has told something: what came
    /// after that would be passed over.
    fn ask<T>(&self, ask: impl Fn(&dyn Source) -> Result<T>, has_told: impl Fn(&T) -> bool) -> Result<T> {
        let mut state = self.state.lock();
        let State::First(first, reopen) = &mut *state else { return ask(state.source()) };
        let asked = ask(&*first);
        if asked.as_ref().is_ok_and(has_told) {
            *reopen = None;
        }
        let is_strong =
            |error: &Error| matches!(error.code(), ErrorCode::DefaultIsStrong | ErrorCode::KeyspaceIsStrong);
        if !asked.as_ref().is_err_and(is_strong) {
            return asked;
        }
        let Some(reopen) = reopen.take() else { return asked };
        self.known.set(Consistency::Strong);
        *state = State::Strong(reopen()?);
        ask(state.source())
    }
}

impl State {
    fn source(&self) -> &dyn Source {
        match self {
            State::First(first, _) => first,
            State::Strong(strong) => strong,
        }
    }
}

impl Source for Either {
    fn on_change(&self, wake: Wake) {
        self.state.lock().source().on_change(wake);
    }

    fn pop(&self) -> Result<Option<Told>> {
        self.ask(|source| source.pop(), Option::is_some)
    }

    fn is_begun(&self) -> Result<bool> {
        // One that begins with what is there has begun before a node has said anything.
        self.ask(|source| source.is_begun(), |is_begun| *is_begun && !self.is_initial)
    }

    fn position(&self) -> Vec<u8> {
        self.state.lock().source().position()
    }

    fn is_inside(&self) -> bool {
        self.state.lock().source().is_inside()
    }

    fn cancel(&self) {
        self.state.lock().source().cancel();
    }
}
