//! What operators ask.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::host::Host;
use crate::wire::v1::{self, admin_server::Admin};

pub(super) struct AdminService {
    pub(super) host: Arc<dyn Host>,
}

#[tonic::async_trait]
impl Admin for AdminService {
    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(self.host.status(request.into_inner().digests).into()))
    }

    async fn members(&self, _: Request<v1::MembersRequest>) -> Result<Response<v1::MembersResponse>, Status> {
        Ok(Response::new(self.host.members().into()))
    }
}
