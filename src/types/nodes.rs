//! Whom a client may turn to.

use super::{Address, NodeId};

/// What a node says of itself and of the cluster to a client that may have to go elsewhere.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterView {
    /// The name of the cluster.
    pub cluster: String,
    /// The node takes calls: not while it is being stopped, nor after it was removed or its log has failed.
    pub serving: bool,
    /// The answering node first.
    pub nodes: Vec<ClusterNode>,
}

/// A member, as clients need to know it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ClusterNode {
    /// This incarnation.
    pub node: NodeId,
    /// Where other members reach it.
    pub address: Address,
    /// It has left, or was removed: nobody should turn to it any more.
    pub gone: bool,
}
