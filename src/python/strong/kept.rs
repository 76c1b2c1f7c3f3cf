//! A lease that threads of ours keep alive, while Python does something else.

use std::{sync::Arc, time::Duration};

use parking_lot::{Condvar, Mutex};
use pyo3::prelude::*;

use crate::{
    client::{KeptLease, StrongClient},
    error::Result,
    limits::CALL_TIMEOUT,
    python::{
        convert::Timeout,
        runtime::{driver, forked, ProcessBound},
        slot::wait_patiently,
    },
    replication::strong::{Call, Command, LeaseId, Submission},
};

/// See `_core.pyi`. A child after a fork does not have it: the lease is its parent's.
#[pyclass(frozen, module = "kvstore._core")]
pub(in crate::python) struct Kept {
    inner: ProcessBound<(StrongClient, KeptLease)>,
    end: Arc<End>,
}

/// How it ended, for threads that wait for that.
#[derive(Default)]
struct End {
    /// Guards the word that the waiting threads wait for.
    word: Mutex<Option<Word>>,
    said: Condvar,
}

#[derive(Clone, Copy)]
enum Word {
    Lost,
    Stopped,
}

impl End {
    /// Says it. The first word stays.
    fn say(&self, word: Word) {
        self.word.lock().get_or_insert(word);
        self.said.notify_all();
    }

    fn wait(&self, patience: Duration) -> Option<Word> {
        let mut word = self.word.lock();
        if word.is_none() {
            self.said.wait_for(&mut word, patience);
        }
        *word
    }
}

impl Kept {
    /// Keeps a lease alive from now on.
    pub(in crate::python) fn new(client: StrongClient, lease: u64, ttl: Duration) -> Kept {
        let end = Arc::new(End::default());
        let kept = client.keep(LeaseId(lease), ttl);
        let lost = end.clone();
        kept.on_lost(Box::new(move || lost.say(Word::Lost)));
        Kept { inner: ProcessBound::new((client, kept)), end }
    }

    fn inner(&self) -> Result<&(StrongClient, KeptLease)> {
        self.inner.get().ok_or_else(|| forked("lease"))
    }
}

#[pymethods]
impl Kept {
    /// Whether it certainly lasts.
    #[getter]
    fn alive(&self) -> PyResult<bool> {
        Ok(self.inner()?.1.is_alive())
    }

    /// Seconds for which it certainly lasts.
    #[getter]
    fn remaining(&self) -> PyResult<f64> {
        Ok(self.inner()?.1.remaining().as_secs_f64())
    }

    /// Waits for its end, with the GIL released: True when it was lost, False when it was stopped, None after the timeout.
    #[pyo3(signature = (timeout, /))]
    fn wait(&self, py: Python<'_>, timeout: Timeout) -> PyResult<Option<bool>> {
        let word = wait_patiently(py, timeout.0, |patience| self.end.wait(patience))?;
        Ok(word.map(|word| matches!(word, Word::Lost)))
    }

    /// Keeps it alive no longer. Idempotent.
    fn stop(&self) -> PyResult<()> {
        self.inner()?.1.stop();
        self.end.say(Word::Stopped);
        Ok(())
    }

    /// As `stop`, and revokes it without waiting for the answer: if that does not get through, its time ends it.
    fn abandon(&self) -> PyResult<()> {
        self.stop()?;
        let (client, kept) = self.inner()?;
        let command = Command::Revoke { lease: kept.lease() };
        let call = Call::Submit(Submission { id: None, keyspace: String::new(), command });
        // Nobody waits for it.
        client.submit(call, Some(CALL_TIMEOUT), Box::new(drop));
        driver()?.run_alone();
        Ok(())
    }
}
