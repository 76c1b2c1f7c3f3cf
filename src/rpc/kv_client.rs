//! The client API from the caller's side, over a [`Channel`].

use tokio_stream::Stream;
use tonic::{metadata::AsciiMetadataValue, Request, Streaming};

use super::{channel::Channel, kv_service::CLIENT_NAME_HEADER, status::from_status};
use crate::{
    error::Result,
    limits::MESSAGE_BYTES_MAX,
    types::{ClientName, ClusterView},
    wire::{
        kv::decode_nodes,
        v1::{self, kv_client::KvClient},
    },
};

fn client(channel: Channel) -> KvClient<Channel> {
    KvClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(MESSAGE_BYTES_MAX)
}

/// The answers of a `Pipeline` stream. Dropping it ends the stream.
pub struct PipelineAnswers(Streaming<v1::PipelineResponse>);

impl PipelineAnswers {
    /// The next message; `None`: the node ended the stream.
    ///
    /// # Errors
    /// `CONNECTION_LOST`, or why the node ended the stream.
    pub async fn next(&mut self) -> Result<Option<v1::PipelineResponse>> {
        self.0.message().await.map_err(|status| from_status(&status))
    }
}

/// Opens a `Pipeline` stream; returns when the node has taken it. `requests` is asked for a message whenever HTTP/2 has
/// room for one. The node gets to know the name of the client, if it has one.
///
/// # Errors
/// `CONNECTION_LOST`, or why the node refused.
pub async fn open_pipeline(
    channel: Channel,
    name: Option<&ClientName>,
    requests: impl Stream<Item = v1::PipelineRequest> + Send + 'static,
) -> Result<PipelineAnswers> {
    let mut request = Request::new(requests);
    if let Some(name) = name {
        // A name is made of characters that headers take.
        let value = AsciiMetadataValue::try_from(name.as_str()).expect("a name is visible ASCII");
        request.metadata_mut().insert(CLIENT_NAME_HEADER, value);
    }
    let response = client(channel).pipeline(request).await;
    Ok(PipelineAnswers(response.map_err(|status| from_status(&status))?.into_inner()))
}

/// The pages of a `Watch` stream. Dropping it ends the stream.
pub struct WatchAnswers(Streaming<v1::WatchPage>);

impl WatchAnswers {
    /// The next page; `None`: the node ended the stream.
    ///
    /// # Errors
    /// `CONNECTION_LOST`, or why the node ended the stream.
    pub async fn next(&mut self) -> Result<Option<v1::WatchPage>> {
        self.0.message().await.map_err(|status| from_status(&status))
    }
}

/// Opens a `Watch` stream; returns when the node has taken it.
///
/// # Errors
/// `CONNECTION_LOST`, or why the node refused.
pub async fn open_watch(channel: Channel, request: v1::WatchRequest) -> Result<WatchAnswers> {
    let response = client(channel).watch(request).await;
    Ok(WatchAnswers(response.map_err(|status| from_status(&status))?.into_inner()))
}

/// Whom a client may turn to, as the node at the other end sees it.
///
/// # Errors
/// `CONNECTION_LOST`, `MALFORMED_MESSAGE`, or why the node does not say.
pub async fn cluster_view(channel: Channel) -> Result<ClusterView> {
    let response = client(channel).nodes(v1::NodesRequest {}).await;
    decode_nodes(response.map_err(|status| from_status(&status))?.into_inner())
}

/// Unary calls, each a request of its own: what a stranger's client does.
#[derive(Clone)]
pub struct UnaryClient(KvClient<Channel>);

impl UnaryClient {
    /// Calls over `channel`; clones share it.
    pub fn new(channel: Channel) -> UnaryClient {
        UnaryClient(client(channel))
    }

    /// Gets one key.
    ///
    /// # Errors
    /// `CONNECTION_LOST`, or what the node answered.
    pub async fn get(&mut self, request: v1::GetRequest) -> Result<v1::GetResponse> {
        Ok(self.0.get(request).await.map_err(|status| from_status(&status))?.into_inner())
    }

    /// Puts one key.
    ///
    /// # Errors
    /// `CONNECTION_LOST`, or what the node answered.
    pub async fn put(&mut self, request: v1::PutRequest) -> Result<v1::PutResponse> {
        Ok(self.0.put(request).await.map_err(|status| from_status(&status))?.into_inner())
    }
}
