//! How members are removed, from the strong group and from the cluster.

use std::sync::Arc;

use super::Inside;
use crate::{
    error::{Error, ErrorCode, Result},
    types::NodeId,
};

impl Inside {
    /// Removes a member from the strong group, if it is in it, and then from the cluster. In this order: a node that learns of its
    /// removal from the cluster ends its part in the group at once, and the group may need its vote to let it go. A group that can
    /// do nothing, for want of a majority, does not keep the cluster from going on without that member.
    ///
    /// # Errors
    /// Those of the cluster, and `CONFLICT` of the group: nothing is changed then. Other errors of the group, when the cluster has
    /// removed the member.
    pub(super) async fn remove(&self, node: NodeId, force: bool) -> Result<()> {
        self.replication.check_removal(node, force).await?;
        let is_in_group = self.group.status().members.iter().any(|member| member.member == node);
        let dismissed = match is_in_group {
            true => self.group.remove(node).await,
            false => Ok(()),
        };
        if dismissed.as_ref().is_err_and(|error| error.code() == ErrorCode::Conflict) {
            return dismissed;
        }
        self.replication.remove_member(node, force).await?;
        dismissed.map_err(|error| {
            let text = format!("the cluster has removed member {node}, but the strong group could not yet: {error}");
            let error_now = Error::new(error.code(), text);
            if error.is_maybe_applied() {
                error_now.maybe_applied()
            } else {
                error_now
            }
        })
    }
}

/// A node that the cluster has removed takes no part in the strong group any more.
pub(super) async fn retire_when_removed(inside: Arc<Inside>) {
    tokio::select! {
        () = inside.replication.removed() => inside.group.retire().await,
        () = inside.group.retired() => {}
    }
}
