//! The port of a node that still reads its data: health says NOT_SERVING, and everybody else is told at once to turn to
//! another node or to come back, instead of being kept waiting.

use std::time::Duration;

use tokio::{
    sync::{mpsc, watch},
    task::JoinHandle,
};
use tokio_stream::{wrappers::ReceiverStream, StreamExt};
use tonic::service::Routes;

use super::{
    entrance::{accept, Entrance},
    gate::Gate,
    phase::{Phase, PhaseWatch},
    server::{hardened, stop_serving, with_web},
    status::to_status,
    web::Web,
};
use crate::{
    env::Listener,
    error::{Error, ErrorCode, Result},
    limits::LOADING_CLOSE_GRACE,
};

/// A server without a node. Dropping it cuts every connection and closes the port.
pub struct Loading {
    phase: watch::Sender<Phase>,
    /// Gives the port back when it is closing.
    accepting: JoinHandle<Box<dyn Listener>>,
    serving: JoinHandle<()>,
}

impl Loading {
    /// Answers whoever connects to `listener`, on the current tokio runtime. It says the same to everybody, so nobody is asked for
    /// a token.
    pub async fn spawn(listener: Box<dyn Listener>, gate: &Gate) -> Loading {
        let (sender, phase) = PhaseWatch::new();
        let (health, health_service) = tonic_health::server::health_reporter();
        stop_serving(&health).await;
        let (accepted, incoming) = mpsc::channel(1);
        let web = Web::behind(gate, None, &phase);
        let (entrance, others) = Entrance::new(gate, web.clone(), accepted, phase.clone());
        let accepting = tokio::spawn(accept(listener, entrance));
        let incoming = ReceiverStream::new(incoming).map(Ok::<_, std::io::Error>);
        let routes = with_web(Routes::new(health_service), web, || {
            to_status(&Error::new(ErrorCode::NotRunning, "the node is reading its data; try again, or another node"))
        });
        let router = hardened(routes);
        let serving = tokio::spawn(async move {
            let closing = phase.reached(Phase::Closing);
            if let Err(error) = router.serve_with_incoming_shutdown(incoming, closing).await {
                tracing::error!(%error, "the server of a node that starts ended");
            }
            others.ended().await;
        });
        Loading { phase: sender, accepting, serving }
    }

    /// Closes every connection, and gives the port back, on which further ones wait to be accepted.
    ///
    /// # Errors
    /// `INTERNAL` when the listener's task has died.
    pub async fn end(mut self) -> Result<Box<dyn Listener>> {
        self.phase.send_replace(Phase::Closing);
        let died = |error| Error::new(ErrorCode::Internal, format!("the listener ended: {error}"));
        let listener = (&mut self.accepting).await.map_err(died)?;
        self.close(LOADING_CLOSE_GRACE).await;
        Ok(listener)
    }

    /// What they ask is answered at once, so hardly anybody is cut.
    async fn close(&mut self, grace: Duration) {
        if tokio::time::timeout(grace, &mut self.serving).await.is_err() {
            self.phase.send_replace(Phase::Cut);
        }
    }
}

impl Drop for Loading {
    fn drop(&mut self) {
        self.phase.send_replace(Phase::Cut);
    }
}
