//! What a client knows of the nodes, and what becomes of its connection when it learns more.

use std::sync::atomic::Ordering;

use super::Shared;
use crate::{
    client::{
        calls::Progress,
        endpoints::{draw, Endpoints, Order},
    },
    error::{Error, ErrorCode, Result},
    limits::CLIENT_CONNECT_TIMEOUT,
    rpc::{cluster_view, Channel},
    types::{Address, SessionToken},
};

impl Shared {
    /// The way through the nodes for one more connection.
    pub(in crate::client) fn endpoints(&self) -> Endpoints {
        Endpoints::new(self.directory.clone(), self.env.clone(), self.order)
    }

    /// Whether nodes are asked for others.
    pub(in crate::client) fn is_discovering(&self) -> bool {
        self.discover
    }

    /// Whether somebody looks after the nodes: for the connection that calls go over, and not for a second one.
    pub(in crate::client) fn is_watching(&self) -> bool {
        self.order == Order::Best
    }

    /// Connects to a node, and asks it who it is.
    ///
    /// # Errors
    /// `UNREACHABLE`, also for a node of another cluster, and for one that does not serve.
    pub(in crate::client) async fn reach(&self, target: &Address) -> Result<Channel> {
        let reaching = async {
            let channel = self.access.connect(target).await?;
            self.hear(&channel, target).await?;
            Ok(channel)
        };
        tokio::time::timeout(CLIENT_CONNECT_TIMEOUT, reaching).await.map_err(|_| silent(target))?
    }

    /// Asks a node who it is and whom it knows. One that does not say is taken as it is: it may be older than the question.
    ///
    /// # Errors
    /// `UNREACHABLE`, when it says that nothing may be asked of it.
    pub(in crate::client) async fn hear(&self, channel: &Channel, target: &Address) -> Result<()> {
        if !self.is_discovering() {
            return Ok(());
        }
        let view = match cluster_view(channel.clone()).await {
            Ok(view) => view,
            Err(error) => {
                tracing::debug!(%target, %error, "a node does not say who belongs to the cluster");
                return Ok(());
            }
        };
        let mut directory = self.directory.lock();
        let heard = directory.heard(target, view);
        let count = directory.len();
        drop(directory);
        self.inner.lock().calls.set_targets(count);
        heard.map_err(|why| Error::new(ErrorCode::Unreachable, format!("{target}: {why}")))
    }

    /// A node came to nothing outside of the usual way.
    pub(in crate::client) fn note_failure(&self, target: &Address, problem: &str) {
        self.directory.lock().failed(target, self.now(), draw(&self.env), problem.to_string());
    }

    /// The node at the other end of the stream.
    pub(in crate::client) fn contact(&self) -> Option<(Address, Channel)> {
        self.inner.lock().contact.as_ref().map(|contact| (contact.address.clone(), contact.channel.clone()))
    }

    /// How far the calls are.
    pub(in crate::client) fn progress(&self) -> Progress {
        self.inner.lock().calls.progress()
    }

    /// Gives the connection up, unless something has come of it since.
    pub(in crate::client) fn abandon(&self, silent: &Progress, why: &str) {
        let mut inner = self.inner.lock();
        if !silent.is_stuck(&inner.calls.progress()) {
            return;
        }
        if let Some(contact) = inner.contact.take() {
            // A connection that has ended by itself needs no reason.
            let _ = contact.abandon.send(why.to_string());
        }
    }

    /// Has the calls go to a nearer node: what is on its way is answered before. False when that has to wait.
    pub(in crate::client) fn begin_move(&self, to: &Address) -> bool {
        let mut inner = self.inner.lock();
        // Without a connection there is nothing to wait for: the next call goes there.
        if !inner.calls.is_down() && !inner.calls.begin_move() {
            return false;
        }
        self.directory.lock().move_home(to.clone());
        let writer = inner.writer.take();
        drop(inner);
        // The stream ends when it is asked for more.
        if let Some(writer) = writer {
            writer.wake();
        }
        true
    }

    /// Turns to another node, when all that is on its way was answered.
    pub(in crate::client) fn leave_node(&self) {
        let mut inner = self.inner.lock();
        let has_begun = inner.calls.begin_move();
        let writer = inner.writer.take_if(|_| has_begun);
        drop(inner);
        if let Some(writer) = writer {
            writer.wake();
        }
    }

    /// A call to a strong keyspace is on its way.
    pub(in crate::client) fn note_strong_call(&self) {
        if !self.is_strong_busy.swap(true, Ordering::SeqCst) {
            self.busy.notify_one();
        }
    }

    /// Whether no call has come since then, and none is under way. The next one wakes the lookout.
    pub(in crate::client) fn is_idle_since(&self, before: &Progress) -> bool {
        let is_strong_busy = self.is_strong_busy.swap(false, Ordering::SeqCst);
        !is_strong_busy && self.inner.lock().calls.end_watch(before)
    }

    /// What the session has seen.
    pub(in crate::client) fn session_token(&self) -> SessionToken {
        self.inner.lock().calls.session_token()
    }

    /// The session has seen that elsewhere.
    pub(in crate::client) fn join_session(&self, token: &SessionToken) {
        let mut inner = self.inner.lock();
        inner.calls.join_session(token);
        let writer = inner.writer_to_wake();
        drop(inner);
        if let Some(writer) = writer {
            writer.wake();
        }
    }
}

/// The error of a node that takes a connection and does nothing with it.
pub(in crate::client) fn silent(target: &Address) -> Error {
    let seconds = CLIENT_CONNECT_TIMEOUT.as_secs_f64();
    Error::new(ErrorCode::Unreachable, format!("{target}: it did not answer within {seconds} s"))
}
