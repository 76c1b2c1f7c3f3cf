//! What the members of the strong group say to each other: on this side it is checked for whom it is, and handed on.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{
    host::Host,
    phase::{Phase, PhaseWatch},
};
use crate::{
    error::{Error, ErrorCode, Result},
    wire::v1::{self, group_server},
};

pub(super) struct GroupService {
    pub(super) host: Arc<dyn Host>,
    pub(super) phase: PhaseWatch,
}

impl GroupService {
    async fn receive(&self, message: v1::GroupMessage) -> Result<Vec<u8>> {
        if message.cluster != self.host.cluster() {
            let (theirs, ours) = (message.cluster, self.host.cluster());
            let text = format!("cluster: the message is from cluster \"{theirs}\", this node belongs to \"{ours}\"");
            return Err(Error::new(ErrorCode::WrongCluster, text));
        }
        let none = || Error::new(ErrorCode::Unsupported, "this node takes no part in a strong group");
        let group = self.host.group().ok_or_else(none)?;
        tokio::select! {
            // Its end is that of a connection: the sender knows nothing.
            () = self.phase.clone().reached(Phase::Closing) => {
                Err(Error::new(ErrorCode::NotRunning, "the node is being stopped").maybe_applied())
            }
            reply = group.receive(message.to, &message.body) => reply,
        }
    }
}

#[tonic::async_trait]
impl group_server::Group for GroupService {
    async fn exchange(&self, request: Request<v1::GroupMessage>) -> Result<Response<v1::GroupMessage>, Status> {
        let body = self.receive(request.into_inner()).await?;
        Ok(Response::new(v1::GroupMessage { cluster: String::new(), to: 0, body: body.into() }))
    }
}
