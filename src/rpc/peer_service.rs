//! The stream between two nodes, on the side that was dialled.

use std::{pin::Pin, sync::Arc};

use tokio_stream::{Stream, StreamExt};
use tonic::{Request, Response, Status, Streaming};

use super::{
    host::Host,
    peer_stream::{encode, peer_stream, pump},
    phase::{Phase, PhaseWatch},
    pipeline::until,
};
use crate::wire::v1::{self, peer_server::Peer};

pub(super) struct PeerService {
    pub(super) host: Arc<dyn Host>,
    pub(super) phase: PhaseWatch,
}

#[tonic::async_trait]
impl Peer for PeerService {
    type ReplicateStream = Pin<Box<dyn Stream<Item = Result<v1::PeerMessage, Status>> + Send>>;

    async fn replicate(
        &self,
        request: Request<Streaming<v1::PeerMessage>>,
    ) -> Result<Response<Self::ReplicateStream>, Status> {
        let (stream, sent, received) = peer_stream();
        // Ends when the replica drops its end, the peer closes, or the server does.
        tokio::spawn(pump(request.into_inner(), received, self.phase.clone().reached(Phase::Closing)));
        self.host.accept(stream).await?;
        let messages = until(self.phase.clone().reached(Phase::Closing), encode(sent).map(Ok));
        Ok(Response::new(Box::pin(messages)))
    }
}
