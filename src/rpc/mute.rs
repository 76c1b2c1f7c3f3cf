//! A server that breaks the rules, for tests: it takes a `Pipeline` stream and what is sent on it, and never answers.

use std::{pin::Pin, sync::Arc};

use tokio::sync::{mpsc, Semaphore};
use tokio_stream::{wrappers::ReceiverStream, Stream};
use tonic::{transport::server::TcpIncoming, Request, Response, Status, Streaming};

use crate::{
    types::Address,
    wire::v1::{
        self,
        kv_server::{Kv, KvServer},
    },
};

/// Serves on a free port of real TCP until the runtime ends. With `ends`, it ends each stream after its first message.
/// The semaphore counts the operations it was sent.
pub(crate) async fn spawn_mute(ends: bool) -> (Address, Arc<Semaphore>) {
    let received = Arc::new(Semaphore::new(0));
    let service = Mute { received: received.clone(), ends };
    #[allow(clippy::disallowed_methods, reason = "a server that breaks the rules is not built by the hardened builder")]
    let mut server = tonic::transport::Server::builder();
    let incoming = TcpIncoming::bind("127.0.0.1:0".parse().unwrap()).unwrap();
    let address = Address::new("127.0.0.1", incoming.local_addr().unwrap().port()).unwrap();
    let router = server.add_service(KvServer::new(service));
    tokio::spawn(async move { router.serve_with_incoming(incoming).await.unwrap() });
    (address, received)
}

type Answered<T> = Result<Response<T>, Status>;
type BoxStream<T> = Pin<Box<dyn Stream<Item = Result<T, Status>> + Send>>;

struct Mute {
    received: Arc<Semaphore>,
    ends: bool,
}

fn none<T>() -> Answered<T> {
    Err(Status::unimplemented("mute"))
}

#[tonic::async_trait]
impl Kv for Mute {
    type ScanStream = BoxStream<v1::ScanPage>;
    type WatchStream = BoxStream<v1::WatchPage>;
    type PipelineStream = BoxStream<v1::PipelineResponse>;
    type ConflictsStream = BoxStream<v1::ConflictsPage>;

    async fn pipeline(&self, request: Request<Streaming<v1::PipelineRequest>>) -> Answered<Self::PipelineStream> {
        let (mut inbound, received, ends) = (request.into_inner(), self.received.clone(), self.ends);
        let (sender, answers) = mpsc::channel(1);
        tokio::spawn(async move {
            while let Ok(Some(message)) = inbound.message().await {
                received.add_permits(message.operations.len());
                if ends {
                    break;
                }
            }
            drop(sender);
        });
        Ok(Response::new(Box::pin(ReceiverStream::new(answers))))
    }

    async fn get(&self, _: Request<v1::GetRequest>) -> Answered<v1::GetResponse> {
        none()
    }
    async fn put(&self, _: Request<v1::PutRequest>) -> Answered<v1::PutResponse> {
        none()
    }
    async fn delete(&self, _: Request<v1::DeleteRequest>) -> Answered<v1::DeleteResponse> {
        none()
    }
    async fn catch_up(&self, _: Request<v1::CatchUpRequest>) -> Answered<v1::CatchUpResponse> {
        none()
    }
    async fn nodes(&self, _: Request<v1::NodesRequest>) -> Answered<v1::NodesResponse> {
        none()
    }
    async fn touch(&self, _: Request<v1::TouchRequest>) -> Answered<v1::TouchResponse> {
        none()
    }
    async fn count(&self, _: Request<v1::CountRequest>) -> Answered<v1::CountResponse> {
        none()
    }
    async fn batch_get(&self, _: Request<v1::BatchGetRequest>) -> Answered<v1::BatchGetResponse> {
        none()
    }
    async fn batch_put(&self, _: Request<v1::BatchPutRequest>) -> Answered<v1::BatchPutResponse> {
        none()
    }
    async fn batch_delete(&self, _: Request<v1::BatchDeleteRequest>) -> Answered<v1::BatchDeleteResponse> {
        none()
    }
    async fn watch(&self, _: Request<v1::WatchRequest>) -> Answered<Self::WatchStream> {
        none()
    }
    async fn scan(&self, _: Request<v1::ScanRequest>) -> Answered<Self::ScanStream> {
        none()
    }
    async fn conflicts(&self, _: Request<v1::ConflictsRequest>) -> Answered<Self::ConflictsStream> {
        none()
    }
}
