//! When what a node holds is on disk.

use std::{sync::Arc, time::Duration};

use super::{Eventual, Ledger};
use crate::{
    error::{ErrorCode, Result},
    faults::is_mutant,
    storage::log::Position,
};

impl Eventual {
    /// The same, writing every change to a log.
    pub(in crate::replication::eventual) fn with_ledger(self, ledger: Arc<Ledger>) -> Eventual {
        Eventual { ledger: Some(ledger), ..self }
    }

    /// Where changes are written; `None`: nowhere, the node lives in memory.
    pub fn ledger(&self) -> Option<&Ledger> {
        self.ledger.as_deref()
    }

    /// Whether a write may begin as far as the log is concerned: writers that do not wait for the disk are faster than it.
    /// False only while it catches up; a log that is full or has failed lets writes begin, and refuses them.
    pub fn has_room(&self) -> bool {
        let refusal = self.ledger().and_then(|ledger| ledger.check().err());
        refusal.is_none_or(|refusal| refusal.code() != ErrorCode::Overloaded)
    }

    /// Whether what other nodes wrote may be taken in: there is room in the log, and it is neither full nor has it failed.
    pub(in crate::replication::eventual) fn has_space(&self) -> bool {
        self.ledger().is_none_or(|ledger| ledger.check().is_ok())
    }

    /// Returns when a write may begin ([`Eventual::has_room`]).
    pub async fn room(&self) {
        if let Some(ledger) = self.ledger() {
            // A log without room for another reason is for the write to say.
            let _has_room = ledger.log().room().await.is_ok();
        }
    }

    /// What a write that was made just now has to wait for before it is acknowledged: `None` when it need not wait,
    /// because the node lives in memory or was told not to wait for its disk.
    pub fn written(&self) -> Option<Position> {
        let is_synchronous = |ledger: &&Ledger| ledger.is_synchronous() && !is_mutant("ack_before_sync");
        self.ledger().filter(is_synchronous).map(Ledger::end)
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
