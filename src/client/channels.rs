//! Connections for calls that do not go over the stream: each waits for one, and for the next when it is lost.

use std::sync::{atomic::Ordering, Arc};

use tokio::sync::watch;

use super::{
    retry::Tries,
    shared::{Dials, Shared},
};
use crate::{
    error::{Error, Result},
    rpc::Channel,
};

impl Shared {
    /// Waits for connections; makes the task connect while it lives.
    pub(super) fn channels(self: &Arc<Shared>) -> Channels {
        self.channel_waiters.fetch_add(1, Ordering::SeqCst);
        self.wanted.notify_one();
        let (receiver, dials) = (self.channel.subscribe(), self.dials.subscribe());
        let known = self.dials.borrow().clone();
        Channels { shared: self.clone(), receiver, dials, known, tries: Tries::default() }
    }
}

/// See [`Shared::channels`].
pub(super) struct Channels {
    shared: Arc<Shared>,
    receiver: watch::Receiver<Option<Channel>>,
    dials: watch::Receiver<Dials>,
    /// What is counted in `tries`.
    known: Dials,
    tries: Tries,
}

impl Channels {
    /// A connection that was not given before.
    ///
    /// # Errors
    /// `UNREACHABLE` when the call was tried as often as it may be; why no node lets the client in.
    pub(super) async fn next(&mut self) -> Result<Channel> {
        loop {
            if let Some(channel) = self.receiver.borrow_and_update().clone() {
                return Ok(channel);
            }
            let dials = self.dials.borrow_and_update().clone();
            if let Some(denial) = dials.denial.filter(|_| dials.denied > self.known.denied) {
                return Err(denial);
            }
            while self.known.in_vain < dials.in_vain {
                self.known.in_vain += 1;
                self.tries.dialled_in_vain();
            }
            if self.is_exhausted() {
                return Err(self.shared.out_of_tries());
            }
            // The senders are fields of what `shared` holds, so they cannot be gone.
            tokio::select! {
                biased;
                _changed = self.receiver.changed() => {}
                _changed = self.dials.changed() => {}
            }
        }
    }

    /// Returns when the connection, over which the call came to nothing, has changed since it was given.
    ///
    /// # Errors
    /// The same, when the call was tried as often as it may be.
    pub(super) async fn lost(&mut self, error: Error) -> Result<()> {
        self.tries.sent_in_vain();
        if self.is_exhausted() {
            return Err(error);
        }
        // The sender is a field of what `shared` holds, so it cannot be gone.
        let _changed = self.receiver.changed().await;
        Ok(())
    }

    fn is_exhausted(&self) -> bool {
        self.shared.retry.is_exhausted(self.tries.count(self.shared.count_nodes()))
    }

    /// Whether there is a connection now.
    pub(super) fn is_connected(&self) -> bool {
        self.receiver.borrow().is_some()
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.shared.channel_waiters.fetch_sub(1, Ordering::SeqCst);
    }
}
