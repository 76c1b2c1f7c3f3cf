//! A gRPC stream as the replica sees it: [`PeerStream`]. The same on both ends.

use std::future::Future;

use tokio::sync::mpsc;
use tokio_stream::{wrappers::ReceiverStream, Stream, StreamExt};
use tonic::Streaming;

use super::status::from_status;
use crate::{
    error::Result,
    limits::{PEER_INBOUND_MESSAGES_MAX, PEER_QUEUE_MESSAGES_MAX},
    replication::eventual::PeerStream,
    types::PeerMessage,
    wire::v1,
};

/// The end that a replica holds, what it sends, and where to put what it receives.
pub(super) fn peer_stream() -> (PeerStream, mpsc::Receiver<PeerMessage>, mpsc::Sender<Result<PeerMessage>>) {
    let (outbound, sent) = mpsc::channel(PEER_QUEUE_MESSAGES_MAX);
    let (received, inbound) = mpsc::channel(PEER_INBOUND_MESSAGES_MAX);
    (PeerStream { outbound, inbound }, sent, received)
}

/// What a replica sends, as messages of the wire.
pub(super) fn encode(sent: mpsc::Receiver<PeerMessage>) -> impl Stream<Item = v1::PeerMessage> + Send {
    ReceiverStream::new(sent).map(v1::PeerMessage::from)
}

/// Hands what arrives to the replica until one of the two ends, or `stopped` returns. A message that cannot be decoded
/// ends it too: whoever sent it does not keep to the protocol.
pub(super) async fn pump(
    mut stream: Streaming<v1::PeerMessage>,
    received: mpsc::Sender<Result<PeerMessage>>,
    stopped: impl Future<Output = ()>,
) {
    tokio::pin!(stopped);
    loop {
        let message = tokio::select! {
            () = received.closed() => return,
            () = &mut stopped => return,
            message = stream.message() => match message {
                Ok(None) => return,
                Ok(Some(message)) => PeerMessage::try_from(message).map_err(Into::into),
                Err(status) => Err(from_status(&status)),
            },
        };
        let is_last = message.is_err();
        // A replica that no longer listens has ended the stream.
        if received.send(message).await.is_err() || is_last {
            return;
        }
    }
}
