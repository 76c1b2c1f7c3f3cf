//! How the engine reaches its peers without knowing what carries the messages.

use std::{future::Future, pin::Pin};

use tokio::sync::mpsc;

use crate::{
    error::Result,
    types::{Address, PeerMessage},
};

/// A stream of messages to and from one peer. Dropping it ends the connection.
#[derive(Debug)]
pub struct PeerStream {
    /// To the peer. Messages that wait here count against [`crate::limits::PEER_QUEUE_MESSAGES_MAX`].
    pub outbound: mpsc::Sender<PeerMessage>,
    /// Ends with an error that says why, or without one when the peer closed in order.
    pub inbound: mpsc::Receiver<Result<PeerMessage>>,
}

/// Opens streams to peers.
pub trait Dialer: Send + Sync + 'static {
    /// Connects to `to`, within [`crate::limits::CONNECT_TIMEOUT`]. Nothing has been said on the stream yet.
    fn dial(&self, to: Address) -> Pin<Box<dyn Future<Output = Result<PeerStream>> + Send + '_>>;
}
