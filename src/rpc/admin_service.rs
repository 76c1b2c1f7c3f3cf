//! What operators ask.

use std::sync::Arc;

use tonic::{Request, Response, Status};

use super::{host::Host, monitor, phase::PhaseWatch, snapshot, status::to_status, survey::survey};
use crate::{
    types::{NodeId, Sampling, SurveyQuery},
    wire::v1::{self, admin_server::Admin},
};

pub(super) struct AdminService {
    pub(super) host: Arc<dyn Host>,
    pub(super) phase: PhaseWatch,
}

#[tonic::async_trait]
impl Admin for AdminService {
    type MonitorStream = monitor::Pages;
    type SnapshotStream = snapshot::Chunks;

    async fn status(&self, request: Request<v1::StatusRequest>) -> Result<Response<v1::StatusResponse>, Status> {
        Ok(Response::new(self.host.status(request.into_inner().digests).into()))
    }

    async fn holdings(&self, _: Request<v1::HoldingsRequest>) -> Result<Response<v1::HoldingsResponse>, Status> {
        self.phase.check_serving()?;
        Ok(Response::new(self.host.keyspace().holdings().into()))
    }

    async fn survey(&self, request: Request<v1::SurveyRequest>) -> Result<Response<v1::SurveyResponse>, Status> {
        self.phase.check_serving()?;
        let query = SurveyQuery::try_from(request.into_inner())?;
        Ok(Response::new(survey(&*self.host, query).await?.into()))
    }

    async fn monitor(&self, request: Request<v1::MonitorRequest>) -> Result<Response<monitor::Pages>, Status> {
        self.phase.check_serving()?;
        let listening = self.host.keyspace().tap().listen(Sampling::try_from(request.into_inner())?)?;
        Ok(Response::new(monitor::pages(listening, self.phase.clone())))
    }

    async fn members(&self, _: Request<v1::MembersRequest>) -> Result<Response<v1::MembersResponse>, Status> {
        Ok(Response::new(self.host.members().into()))
    }

    async fn remove_member(
        &self,
        request: Request<v1::RemoveMemberRequest>,
    ) -> Result<Response<v1::RemoveMemberResponse>, Status> {
        let asked = <(NodeId, bool)>::try_from(request.into_inner()).map_err(|error| to_status(&error.into()))?;
        self.host.remove_member(asked.0, asked.1).await.map_err(|error| to_status(&error))?;
        Ok(Response::new(v1::RemoveMemberResponse {}))
    }

    async fn move_leader(
        &self,
        request: Request<v1::MoveLeaderRequest>,
    ) -> Result<Response<v1::MoveLeaderResponse>, Status> {
        self.phase.check_serving()?;
        let to = request.into_inner().node_id;
        let leader = self.host.move_leader((to != 0).then_some(NodeId(to))).await?;
        Ok(Response::new(v1::MoveLeaderResponse { node_id: leader.0 }))
    }

    async fn snapshot(&self, _: Request<v1::SnapshotRequest>) -> Result<Response<snapshot::Chunks>, Status> {
        self.phase.check_serving()?;
        Ok(Response::new(snapshot::send(self.host.clone(), self.phase.clone())))
    }
}
