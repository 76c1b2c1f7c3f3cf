//! Why a port could not be bound, in words that help: who has it, if it is a node.

use std::{io, time::Duration};

use crate::{
    config::NodeConfig,
    error::{Error, ErrorCode},
    limits::OWNER_TIMEOUT,
    rpc::{node_status, Access},
    types::{Address, NodeStatus},
};

/// The error for a failed bind.
pub(super) async fn bind_error(config: &NodeConfig, access: &Access, error: &io::Error) -> Error {
    let NodeConfig { host, port, .. } = config;
    if error.kind() != io::ErrorKind::AddrInUse {
        return Error::new(ErrorCode::BindFailed, format!("{host}:{port} cannot be bound: {error}"));
    }
    let owner = match ask_owner(config, access, OWNER_TIMEOUT).await {
        Some(owner) => format!("node {} of cluster '{}'", owner.node, owner.cluster),
        None => "another process, which is no kvstore node or does not answer".to_string(),
    };
    let hint = "under a server that forks workers one process owns the node, the others use a client";
    Error::new(ErrorCode::AddressInUse, format!("port {port} is taken by {owner}; {hint}"))
}

/// Who listens there; `None` when it does not say so in time, for whatever reason.
async fn ask_owner(config: &NodeConfig, access: &Access, timeout: Duration) -> Option<NodeStatus> {
    let address = Address::new(&config.host, config.port).ok()?;
    let ask = async { node_status(access.connect(&address).await?, false).await };
    tokio::time::timeout(timeout, ask).await.ok()?.ok()
}
