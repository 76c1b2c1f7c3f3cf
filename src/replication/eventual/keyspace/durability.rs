//! When what a node holds is on disk.

use std::{sync::Arc, time::Duration};

use super::{Eventual, Ledger};
use crate::{error::Result, storage::log::Position};

impl Eventual {
    /// The same, writing every change to a log.
    pub(in crate::replication::eventual) fn with_ledger(self, ledger: Arc<Ledger>) -> Eventual {
        Eventual { ledger: Some(ledger), ..self }
    }

    /// Where changes are written; `None`: nowhere, the node lives in memory.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_deref()
    }

    /// What a write that was made just now has to wait for before it is acknowledged: `None` when it need not wait,
    /// because the node lives in memory or was told not to wait for its disk.
    pub fn written(&self) -> Option<Position> {
        self.ledger().filter(|ledger| ledger.is_synchronous()).map(Ledger::end)
    }

    /// Waits until everything up to [`Eventual::written`] is on disk.
    ///
    /// # Errors
    /// `LOG_FAILED`, with an unknown outcome.
    pub async fn durable(&self, written: Option<Position>) -> Result<()> {
        match (self.ledger(), written) {
            (Some(ledger), Some(position)) => ledger.durable(position).await,
            (None, _) | (_, None) => Ok(()),
        }
    }

    /// As [`Eventual::durable`], for a thread that may block.
    ///
    /// # Errors
    /// `LOG_FAILED`, `DEADLINE_EXCEEDED`, both with an unknown outcome.
    pub fn wait_durable(&self, written: Option<Position>, timeout: Duration) -> Result<()> {
        match (self.ledger(), written) {
            (Some(ledger), Some(position)) => ledger.wait_durable(position, timeout),
            (None, _) | (_, None) => Ok(()),
        }
    }
}
