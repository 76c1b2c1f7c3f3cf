//! Opens streams to peers.

use std::{future::Future, pin::Pin};

use super::{
    access::Access,
    peer_stream::{encode, peer_stream, pump},
    status::from_status,
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{CONNECT_TIMEOUT, PEER_MESSAGE_BYTES_MAX},
    replication::eventual::{Dialer, PeerStream},
    types::Address,
    wire::v1::peer_client::PeerClient,
};

/// Reaches peers over gRPC: a connection for each stream.
pub struct RpcDialer {
    access: Access,
}

impl RpcDialer {
    /// A dialer that reaches them so.
    pub fn new(access: Access) -> RpcDialer {
        RpcDialer { access }
    }

    async fn open(&self, to: &Address) -> Result<PeerStream> {
        let channel = self.access.connect(to).await?;
        let mut client = PeerClient::new(channel)
            .max_decoding_message_size(PEER_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(PEER_MESSAGE_BYTES_MAX);
        let (stream, sent, received) = peer_stream();
        let response = client.replicate(encode(sent)).await.map_err(|status| from_status(&status))?;
        // Ends when the replica drops the stream, and the connection with it.
        tokio::spawn(async move {
            pump(response.into_inner(), received, std::future::pending()).await;
            drop(client);
        });
        Ok(stream)
    }
}

impl Dialer for RpcDialer {
    fn dial(&self, to: Address) -> Pin<Box<dyn Future<Output = Result<PeerStream>> + Send + '_>> {
        Box::pin(async move {
            let opening = tokio::time::timeout(CONNECT_TIMEOUT, self.open(&to)).await;
            opening.unwrap_or_else(|_| {
                let text = format!("{to}: no answer within {} s", CONNECT_TIMEOUT.as_secs());
                Err(Error::new(ErrorCode::Unreachable, text))
            })
        })
    }
}
