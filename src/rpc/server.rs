//! The one hardened server: every limit of [`crate::limits`] is set here, and nobody else builds a server. tonic's own
//! defaults are not safe: it takes hyper's caps on streams and resets away, and knows no deadline for a silent
//! connection.

use std::{convert::Infallible, sync::Arc, time::Duration};

use http::{header::CONTENT_TYPE, Request};
use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::{wrappers::ReceiverStream, StreamExt};
use tonic::{
    service::{interceptor::InterceptedService, Routes},
    transport::server::Router,
    Status,
};
use tonic_health::{
    pb::health_server::{Health, HealthServer},
    server::HealthReporter,
    ServingStatus,
};

use super::{
    admin_service::AdminService,
    entrance::{accept, Entrance},
    gate::Gate,
    group_service::GroupService,
    host::Host,
    kv_service::KvService,
    peer_service::PeerService,
    phase::{Phase, PhaseWatch},
    strong::StrongService,
    web::Web,
};
use crate::{
    env::Listener,
    limits,
    wire::v1::{
        admin_server::AdminServer, group_server::GroupServer, kv_server::KvServer, peer_server::PeerServer,
        strong_server::StrongServer,
    },
};

/// The name of the client API in `grpc.health.v1`; the empty name is the node as a whole.
const KV_SERVICE: &str = "kvstore.v1.KV";

/// How the type of what a call sends begins.
const GRPC: &str = "application/grpc";

/// A server at work. Dropping it cuts every connection.
pub struct Server {
    phase: watch::Sender<Phase>,
    health: HealthReporter,
    /// Ends when every connection is closed.
    serving: JoinHandle<()>,
}

impl Server {
    /// Serves `host` to whoever connects to `listener` and may pass `gate`, on the current tokio runtime.
    pub async fn spawn(listener: Box<dyn Listener>, host: Arc<dyn Host>, gate: Gate) -> Server {
        let (sender, phase) = PhaseWatch::new();
        let (health, health_service) = tonic_health::server::health_reporter();
        health.set_service_status(KV_SERVICE, ServingStatus::Serving).await;
        let web = Web::behind(&gate, Some(host.clone()), &phase);
        let (accepted, incoming) = mpsc::channel(1);
        let (entrance, others) = Entrance::new(&gate, web.clone(), accepted, phase.clone());
        tokio::spawn(accept(listener, entrance));
        let incoming = ReceiverStream::new(incoming).map(Ok::<_, std::io::Error>);
        tokio::spawn(watch_fitness(host.clone(), health.clone(), phase.clone()));
        let routes = with_web(routes(host, health_service, &gate, &phase), web, || Status::unimplemented(""));
        let router = hardened(routes);
        let serving = tokio::spawn(async move {
            let closing = phase.reached(Phase::Closing);
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, closing).await {
                tracing::error!(%error, "the server ended");
            }
            others.ended().await;
        });
        Server { phase: sender, health, serving }
    }

    /// Refuses clients from now on; peers stay connected.
    pub async fn leave(&self) {
        self.advance(Phase::Leaving);
        stop_serving(&self.health).await;
    }

    /// Closes the port, ends every stream and connection in order, and after `patience` cuts those that are left. False
    /// when it had to cut. Afterwards nothing of the server runs.
    pub async fn shutdown(mut self, patience: Duration) -> bool {
        self.advance(Phase::Closing);
        let in_order = tokio::time::timeout(patience, &mut self.serving).await.is_ok();
        if !in_order {
            self.advance(Phase::Cut);
            // A cut connection fails at its next read, so this wait is short. The task panics only by a bug.
            if let Err(error) = (&mut self.serving).await {
                tracing::error!(%error, "the server did not end in order");
            }
        }
        in_order
    }

    fn advance(&self, to: Phase) {
        self.phase.send_if_modified(|phase| {
            let is_forward = to > *phase;
            *phase = to.max(*phase);
            is_forward
        });
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.advance(Phase::Cut);
    }
}

pub(super) async fn stop_serving(health: &HealthReporter) {
    for service in ["", KV_SERVICE] {
        health.set_service_status(service, ServingStatus::NotServing).await;
    }
}

/// A node that was removed or whose log has failed takes no writes: load balancers should look elsewhere.
async fn watch_fitness(host: Arc<dyn Host>, health: HealthReporter, phase: PhaseWatch) {
    tokio::select! {
        biased;
        () = phase.reached(Phase::Leaving) => {}
        () = host.unfit() => stop_serving(&health).await,
    }
}

/// Every service, each with its bounds on messages and what it asks of those who come.
fn routes(host: Arc<dyn Host>, health: HealthServer<impl Health>, gate: &Gate, phase: &PhaseWatch) -> Routes {
    let kv = KvService { keyspace: host.keyspace().clone(), host: host.clone(), phase: phase.clone() };
    let peer = PeerService { host: host.clone(), phase: phase.clone() };
    let kv = KvServer::new(kv)
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
    let peer = PeerServer::new(peer)
        .max_decoding_message_size(limits::PEER_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::PEER_MESSAGE_BYTES_MAX);
    let group = GroupServer::new(GroupService { host: host.clone(), phase: phase.clone() })
        .max_decoding_message_size(limits::GROUP_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::GROUP_MESSAGE_BYTES_MAX);
    let strong = StrongServer::new(StrongService { backend: host.strong(), phase: phase.clone() })
        .max_decoding_message_size(limits::STRONG_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::STRONG_MESSAGE_BYTES_MAX);
    let admin = AdminServer::new(AdminService { host, phase: phase.clone() })
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
    let health = health
        .max_decoding_message_size(limits::MESSAGE_BYTES_MAX)
        .max_encoding_message_size(limits::MESSAGE_BYTES_MAX);
    // The last places are for nodes: see `connection`. Whoever asks for health or for its state is answered there, too.
    let asking = || gate.clone();
    let (clients, nodes) = (asking(), asking());
    let for_clients = move |request| clients.admit_client(request);
    let for_nodes = move |request| nodes.admit_node(request);
    let operators = asking();
    let for_operators = move |request| operators.admit_operator(request);
    let routes = Routes::new(InterceptedService::new(kv, for_clients.clone()));
    let routes = routes.add_service(InterceptedService::new(strong, for_clients));
    let routes = routes.add_service(InterceptedService::new(peer, for_nodes.clone()));
    let routes = routes.add_service(InterceptedService::new(group, for_nodes));
    let routes = routes.add_service(InterceptedService::new(admin, for_operators));
    routes.add_service(health)
}

/// What no service answers: a call gets `status`, and what is no call is for `web`, if there is one.
pub(super) fn with_web(routes: Routes, web: Option<Arc<Web>>, status: fn() -> Status) -> Routes {
    let fallback = tower::service_fn(move |request: Request<_>| {
        let (parts, _body) = request.into_parts();
        let is_call = parts.headers.get(CONTENT_TYPE).is_some_and(|kind| kind.as_bytes().starts_with(GRPC.as_bytes()));
        let web = web.clone().filter(|_| !is_call);
        async move {
            Ok::<_, Infallible>(match web {
                Some(web) => web.answer(&parts).await,
                None => status().into_http(),
            })
        }
    });
    Routes::from(routes.into_axum_router().fallback_service(fallback))
}

#[allow(clippy::disallowed_methods, reason = "this is the one builder that the ban points to")]
pub(super) fn hardened(routes: Routes) -> Router {
    tonic::transport::Server::builder()
        .max_concurrent_streams(limits::STREAMS_PER_CONNECTION_MAX)
        .http2_max_local_error_reset_streams(Some(limits::LOCAL_ERROR_RESETS_MAX))
        .http2_max_pending_accept_reset_streams(Some(limits::PENDING_ACCEPT_RESETS_MAX))
        .http2_max_header_list_size(limits::HEADER_LIST_BYTES_MAX)
        .http2_keepalive_interval(Some(limits::KEEPALIVE_INTERVAL))
        .http2_keepalive_timeout(Some(limits::KEEPALIVE_TIMEOUT))
        // Both count until the head of the response, so they bound unary calls and leave long streams alone.
        .timeout(limits::REQUEST_TIMEOUT)
        .concurrency_limit_per_connection(limits::REQUESTS_PER_CONNECTION_MAX)
        .load_shed(true)
        .add_routes(undated(routes))
}

/// hyper tells the time of day in each response. In a simulation it is the real one: its digits are of different lengths once
/// they are compressed, full buffers are flushed earlier or later for it, and a seed does not replay.
#[cfg(feature = "sim")]
fn undated(routes: Routes) -> Routes {
    fn set_date<B>(mut response: http::Response<B>) -> http::Response<B> {
        let date = http::HeaderValue::from_static("Thu, 01 Jan 2026 00:00:00 GMT");
        response.headers_mut().insert(http::header::DATE, date);
        response
    }
    let router = routes.into_axum_router().layer(tower::util::MapResponseLayer::new(set_date));
    Routes::from(router)
}

/// Nothing but in a simulation.
#[cfg(not(feature = "sim"))]
fn undated(routes: Routes) -> Routes {
    routes
}
