//! What the members of the strong group say to each other: on this side it is checked for whom it is, and handed on.

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status, Streaming};

use super::{
    conversation::{Answer, Answering},
    host::Host,
    phase::{Phase, PhaseWatch},
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::CONVERSATION_UNDER_WAY_MAX,
    wire::{
        kv::encode_failure,
        v1::{self, group_answer::Answer as Body, group_server},
    },
};

#[derive(Clone)]
pub(super) struct GroupService {
    pub(super) host: Arc<dyn Host>,
    pub(super) phase: PhaseWatch,
}

impl GroupService {
    async fn answer(self, message: v1::GroupMessage) -> v1::GroupAnswer {
        let (number, patience) = (message.number, Duration::from_millis(message.patience_ms));
        let answer = tokio::time::timeout(patience, self.receive(message)).await;
        let answer = answer.unwrap_or_else(|_| Err(Error::deadline("the message", patience).maybe_applied()));
        let answer = match answer {
            Ok(body) => Body::Body(body.into()),
            Err(error) => Body::Failure(encode_failure(&error)),
        };
        v1::GroupAnswer { number, answer: Some(answer) }
    }

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

impl Answer for v1::GroupAnswer {
    fn number(&self) -> u64 {
        self.number
    }

    fn is_end(&self) -> bool {
        matches!(self.answer, Some(Body::End(_)))
    }

    fn end() -> v1::GroupAnswer {
        v1::GroupAnswer { number: 0, answer: Some(Body::End(v1::GroupEnd {})) }
    }
}

#[tonic::async_trait]
impl group_server::Group for GroupService {
    type ConverseStream = Answering<v1::GroupMessage, v1::GroupAnswer>;

    async fn converse(
        &self,
        request: Request<Streaming<v1::GroupMessage>>,
    ) -> Result<Response<Self::ConverseStream>, Status> {
        let (service, phase) = (self.clone(), self.phase.clone());
        let answer = move |message| Box::pin(service.clone().answer(message)) as _;
        Ok(Response::new(Answering::new(request.into_inner(), CONVERSATION_UNDER_WAY_MAX, phase, answer)))
    }
}
