//! What the server serves, as it sees it: the node's data, and what the node says of itself.

use std::{future::Future, pin::Pin, sync::Arc};

use crate::{
    error::Result,
    replication::eventual::{Eventual, PeerStream, Reach},
    types::{MemberStatus, NodeStatus},
};

/// The end of handing over a peer's stream.
pub type Accepting<'a> = Pin<Box<dyn Future<Output = Result<()>> + Send + 'a>>;

/// A node, as its services need it.
pub trait Host: Send + Sync + 'static {
    /// The data.
    fn keyspace(&self) -> &Arc<Eventual>;

    /// Whom it can get writes from.
    fn reach(&self) -> &dyn Reach;

    /// How the node is, without I/O. `digests` reads every record.
    fn status(&self, digests: bool) -> NodeStatus;

    /// The members it knows, itself first.
    fn members(&self) -> Vec<MemberStatus>;

    /// Takes over a stream that a peer opened.
    fn accept(&self, stream: PeerStream) -> Accepting<'_>;
}
