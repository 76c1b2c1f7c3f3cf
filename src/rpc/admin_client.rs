//! Asks a node what operators ask.

use bytes::Bytes;
use tonic::Streaming;

use super::{channel::Channel, status::from_status};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::MESSAGE_BYTES_MAX,
    types::{Holding, MemberStatus, NodeId, NodeStatus, SamplePage, Sampling, Survey, SurveyQuery},
    wire::v1::{self, admin_client::AdminClient},
};

fn client(channel: Channel) -> AdminClient<Channel> {
    AdminClient::new(channel).max_decoding_message_size(MESSAGE_BYTES_MAX)
}

/// How the node at the other end is. `digests` makes it read every record.
///
/// # Errors
/// `CONNECTION_LOST`, `MALFORMED_MESSAGE`, or what the node answered.
pub async fn node_status(channel: Channel, digests: bool) -> Result<NodeStatus> {
    let response = client(channel).status(v1::StatusRequest { digests }).await;
    Ok(response.map_err(|status| from_status(&status))?.into_inner().try_into()?)
}

/// What the node at the other end holds of each eventual keyspace.
///
/// # Errors
/// Those of [`node_status`].
pub async fn node_holdings(channel: Channel) -> Result<Vec<Holding>> {
    let response = client(channel).holdings(v1::HoldingsRequest {}).await;
    Ok(response.map_err(|status| from_status(&status))?.into_inner().try_into()?)
}

/// How much room keys take at the node at the other end, one page.
///
/// # Errors
/// Those of [`node_status`]; `UNKNOWN_KEYSPACE`.
pub async fn node_survey(channel: Channel, query: SurveyQuery) -> Result<Survey> {
    let response = client(channel).survey(v1::SurveyRequest::from(query)).await;
    Ok(response.map_err(|status| from_status(&status))?.into_inner().try_into()?)
}

/// The members that the node at the other end knows, itself first.
///
/// # Errors
/// Those of [`node_status`].
pub async fn node_members(channel: Channel) -> Result<Vec<MemberStatus>> {
    let response = client(channel).members(v1::MembersRequest {}).await;
    Ok(response.map_err(|status| from_status(&status))?.into_inner().try_into()?)
}

/// Removes a member for good.
///
/// # Errors
/// Those of [`node_status`]; `UNKNOWN_MEMBER`, `MEMBER_UP` without `force`, `INVALID_ARGUMENT` for the node that is asked.
pub async fn remove_member(channel: Channel, node: NodeId, force: bool) -> Result<()> {
    let response = client(channel).remove_member(v1::RemoveMemberRequest { node_id: node.0, force }).await;
    response.map_err(|status| from_status(&status))?;
    Ok(())
}

/// Has another member lead the strong group, or for `None` whoever is best at it; the id of the new leader.
///
/// # Errors
/// Those of [`node_status`]; `UNKNOWN_MEMBER` when it has no vote; `NO_LEADER`.
pub async fn move_leader(channel: Channel, to: Option<NodeId>) -> Result<NodeId> {
    let node_id = to.map_or(0, |to| to.0);
    let response = client(channel).move_leader(v1::MoveLeaderRequest { node_id }).await;
    Ok(NodeId(response.map_err(|status| from_status(&status))?.into_inner().node_id))
}

/// What one who listens to a node is told, page by page.
pub struct MonitorPages(Streaming<v1::MonitorPage>);

impl MonitorPages {
    /// The next page. A wait that is given up loses nothing.
    ///
    /// # Errors
    /// `CONNECTION_LOST`, `MALFORMED_MESSAGE`, or why the node broke off.
    pub async fn next(&mut self) -> Result<SamplePage> {
        let page = self.0.message().await.map_err(|status| from_status(&status))?;
        let ended = || Error::new(ErrorCode::ConnectionLost, "the node has ended the stream");
        Ok(page.ok_or_else(ended)?.try_into()?)
    }
}

/// Begins to listen to the calls that are made at a node: to all from then on.
///
/// # Errors
/// `CONNECTION_LOST`, `OVERLOADED`, or why the node refused.
pub async fn open_monitor(channel: Channel, sampling: Sampling) -> Result<MonitorPages> {
    let response = client(channel).monitor(v1::MonitorRequest::from(sampling)).await;
    Ok(MonitorPages(response.map_err(|status| from_status(&status))?.into_inner()))
}

/// The snapshot that a node sends, piece by piece.
pub struct SnapshotPieces(Streaming<v1::SnapshotChunk>);

impl SnapshotPieces {
    /// The next piece; `None`: that was the last. Whether all are here, the snapshot says itself.
    ///
    /// # Errors
    /// `CONNECTION_LOST`, or why the node broke off.
    pub async fn next(&mut self) -> Result<Option<Bytes>> {
        let chunk = self.0.message().await.map_err(|status| from_status(&status))?;
        Ok(chunk.map(|chunk| chunk.data))
    }
}

/// Asks a node for all that it holds, as a snapshot file.
///
/// # Errors
/// `CONNECTION_LOST`, or why the node refused.
pub async fn open_snapshot(channel: Channel) -> Result<SnapshotPieces> {
    let response = client(channel).snapshot(v1::SnapshotRequest {}).await;
    Ok(SnapshotPieces(response.map_err(|status| from_status(&status))?.into_inner()))
}
