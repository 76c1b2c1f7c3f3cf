//! What the server serves, as it sees it: the node's data, and what the node says of itself.

use std::{future::Future, pin::Pin, sync::Arc};

use bytes::Bytes;
use tokio::sync::mpsc;

use super::strong::StrongBackend;
use crate::{
    error::Result,
    replication::{
        eventual::{Eventual, PeerStream, Reach},
        strong::Group,
    },
    types::{MemberStatus, NodeId, NodeStatus, Space},
};

/// The end of handing over a peer's stream.
pub type Accepting<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// The end of removing a member.
pub type Removing<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// The end of a hand-over: who leads then.
pub type Moving<'a> = Pin<Box<dyn Future<Output = Result<NodeId>> + Send + 'a>>;

/// The end of sending a snapshot.
pub type Sending<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// The end of asking the group which keyspaces there are.
pub type Refreshing<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// The moment from which on a node cannot serve any more.
pub type Unfit<'a> = Pin<Box<dyn Future<Output = ()> + Send + 'a>>;

/// A node, as its services need it.
pub trait Host: Send + Sync + 'static {
    /// The data.
    fn keyspace(&self) -> &Arc<Eventual>;

    /// The strong keyspaces; `None`: the node has none.
    fn strong(&self) -> Option<Arc<dyn StrongBackend>> {
        None
    }

    /// Asks the group which keyspaces there are, and lets the data know: all that were made before the call.
    fn refresh_spaces(&self) -> Refreshing<'_>;

    /// Whom it can get writes from.
    fn reach(&self) -> &dyn Reach;

    /// The name of its cluster.
    fn cluster(&self) -> &str;

    /// Its part of the strong group; `None`: it takes no part.
    fn group(&self) -> Option<&Group>;

    /// How the node is, without I/O. `digests` reads every record.
    fn status(&self, digests: bool) -> NodeStatus;

    /// The members it knows, itself first.
    fn members(&self) -> Vec<MemberStatus>;

    /// Removes a member for good, also one that is up with `force`.
    fn remove_member(&self, node: NodeId, force: bool) -> Removing<'_>;

    /// Has another node lead the strong group, or for `None` whoever is best at it.
    fn move_leader(&self, to: Option<NodeId>) -> Moving<'_>;

    /// Returns when the node cannot serve any more: the cluster has removed it, or its log has failed.
    fn unfit(&self) -> Unfit<'_>;

    /// Sends everything that the node holds, as the pieces of a snapshot file, and returns when the last is on its way. Ends
    /// early when nobody receives them, and leaves nothing behind.
    fn snapshot<'a>(&'a self, pieces: &'a mpsc::Sender<Result<Bytes>>) -> Sending<'a>;

    /// Takes over a stream that a peer opened.
    fn accept(&self, stream: PeerStream) -> Accepting<'_>;
}

/// Where the keys of an eventual keyspace lie. Of one that this node has not heard of the group is asked.
///
/// # Errors
/// Those of [`Eventual::space_settled`], and of asking the group.
pub(super) async fn space_of(host: &dyn Host, name: &str) -> Result<Space> {
    if let Some(space) = host.keyspace().space_named(name)? {
        return Ok(space);
    }
    host.refresh_spaces().await?;
    host.keyspace().space_settled(name)
}
