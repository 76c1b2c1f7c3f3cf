//! How a server ends: in phases, so that what depends on a stream is over before the stream is.

use tokio::sync::watch;

use crate::error::{Error, ErrorCode, Result};

/// Where a server is on its way out. Only ever moves forward.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) enum Phase {
    Serving,
    /// Clients are refused; peers stay connected, to be handed what they lack.
    Leaving,
    /// Every stream ends and every connection closes in order.
    Closing,
    /// What is still open is cut.
    Cut,
}

/// Lets a stream or connection see how far the server is. A server that is gone counts as cut.
#[derive(Clone, Debug)]
pub(super) struct PhaseWatch(watch::Receiver<Phase>);

impl PhaseWatch {
    /// A server that serves, and the hand that moves it forward.
    pub(super) fn new() -> (watch::Sender<Phase>, PhaseWatch) {
        let (sender, receiver) = watch::channel(Phase::Serving);
        (sender, PhaseWatch(receiver))
    }

    /// Lets clients pass while the server serves.
    ///
    /// # Errors
    /// `NOT_RUNNING` from [`Phase::Leaving`] on: what was acknowledged after the hand-over began could be lost.
    pub(super) fn check_serving(&self) -> Result<()> {
        if *self.0.borrow() == Phase::Serving {
            return Ok(());
        }
        Err(Error::new(ErrorCode::NotRunning, "the node is being stopped"))
    }

    /// Returns once the server has reached `phase`.
    pub(super) async fn reached(mut self, phase: Phase) {
        // A server that is gone has reached every phase.
        let _gone = self.0.wait_for(|now| *now >= phase).await.is_err();
    }
}
