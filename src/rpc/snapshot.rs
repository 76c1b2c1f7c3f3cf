//! The `Snapshot` stream. Its head is sent at once, because writing a snapshot takes longer than a head may; then come the
//! pieces, as fast as the client takes them.

use std::{pin::Pin, sync::Arc};

use tokio::sync::mpsc;
use tokio_stream::{wrappers::ReceiverStream, Stream, StreamExt};
use tonic::Status;

use super::{
    host::Host,
    phase::{Phase, PhaseWatch},
    status::to_status,
};
use crate::{
    error::{Error, ErrorCode},
    limits::SNAPSHOT_CHUNKS_AHEAD,
    wire::v1,
};

/// What a client gets.
pub(super) type Chunks = Pin<Box<dyn Stream<Item = Result<v1::SnapshotChunk, Status>> + Send>>;

/// Sends all that the node holds, until it is sent, the client is gone, or the node leaves.
pub(super) fn send(host: Arc<dyn Host>, phase: PhaseWatch) -> Chunks {
    let (pieces, received) = mpsc::channel(SNAPSHOT_CHUNKS_AHEAD);
    // Ends by itself when the client is gone: what is being written then must be removed first.
    tokio::spawn(async move {
        let outcome = tokio::select! {
            biased;
            () = phase.reached(Phase::Leaving) => Err(Error::new(ErrorCode::NotRunning, "the node is being stopped")),
            outcome = host.snapshot(&pieces) => outcome,
        };
        if let Err(error) = outcome {
            // A client that is gone needs no reason.
            drop(pieces.send(Err(error)).await);
        }
    });
    let chunk = |piece: Result<_, Error>| match piece {
        Ok(data) => Ok(v1::SnapshotChunk { data }),
        Err(error) => Err(to_status(&error)),
    };
    Box::pin(ReceiverStream::new(received).map(chunk))
}
