//! A watch of the keyspace `default` by a client that does not know what it is: in the eventual way, until a node refuses that.

use std::sync::Arc;

use parking_lot::Mutex;

use super::{Eventual, Source, Strong, Told};
use crate::{
    client::{Known, Wake},
    error::{ErrorCode, Result},
    types::Consistency,
};

/// Begins the watch in the strong way.
type Reopen = Box<dyn FnOnce() -> Result<Strong> + Send>;

/// See the module.
pub(super) struct Either {
    known: Arc<Known>,
    state: Mutex<State>,
}

enum State {
    /// `None`: it was tried in the strong way, and that failed.
    First(Eventual, Option<Reopen>),
    Strong(Strong),
}

impl Either {
    pub(super) fn new(
        first: Eventual,
        known: Arc<Known>,
        reopen: impl FnOnce() -> Result<Strong> + Send + 'static,
    ) -> Either {
        Either { known, state: Mutex::new(State::First(first, Some(Box::new(reopen)))) }
    }

    /// Does it with what there is, and again in the strong way when a node says so. A watch that was refused has told nothing.
    fn ask<T>(&self, ask: impl Fn(&dyn Source) -> Result<T>) -> Result<T> {
        let mut state = self.state.lock();
        let State::First(first, reopen) = &mut *state else { return ask(state.source()) };
        let asked = ask(&*first);
        if !asked.as_ref().is_err_and(|error| error.code() == ErrorCode::DefaultIsStrong) {
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
        self.ask(|source| source.pop())
    }

    fn is_begun(&self) -> Result<bool> {
        self.ask(|source| source.is_begun())
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
