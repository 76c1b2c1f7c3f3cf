//! How connections come in: each takes a place, comes to be known, and is handed to whom it wants to speak with.

use std::sync::Arc;

use tokio::{
    sync::{mpsc, Semaphore},
    time::timeout,
};

use super::{
    connection::{GuardedConnection, Place},
    gate::Gate,
    phase::{Phase, PhaseWatch},
    tls::{Known, ServerTls, Spoken},
    web::{connection::listen_to, Web},
};
use crate::{
    env::{Connection, Listener},
    limits,
};

/// What connections pass on their way in. Clones are of the same.
#[derive(Clone)]
pub(super) struct Entrance {
    /// `None`: in the clear.
    tls: Option<Arc<ServerTls>>,
    /// Who answers plain HTTP/1.1; `None`: nobody.
    web: Option<Arc<Web>>,
    /// Those on which calls are made.
    accepted: mpsc::Sender<GuardedConnection>,
    phase: PhaseWatch,
    /// Held as long as a connection is not closed that was not accepted.
    _open: mpsc::Sender<()>,
}

/// The connections that were not accepted.
pub(super) struct Others(mpsc::Receiver<()>);

impl Others {
    /// Returns when nothing comes in any more and each of them is closed.
    pub(super) async fn ended(mut self) {
        while self.0.recv().await.is_some() {}
    }
}

impl Entrance {
    /// For who may pass `gate`; `accepted` is where those go that want to make calls.
    pub(super) fn new(
        gate: &Gate,
        web: Option<Arc<Web>>,
        accepted: mpsc::Sender<GuardedConnection>,
        phase: PhaseWatch,
    ) -> (Entrance, Others) {
        let (open, others) = mpsc::channel(1);
        (Entrance { tls: gate.tls().cloned(), web, accepted, phase, _open: open }, Others(others))
    }

    /// Whether a connection has to say something before it is known who should have it.
    fn has_questions(&self) -> bool {
        self.tls.is_some() || self.web.is_some()
    }

    async fn hand_over(&self, known: Known, place: Place) -> Result<(), mpsc::error::SendError<GuardedConnection>> {
        self.accepted.send(GuardedConnection::new(known, place, self.phase.clone())).await
    }
}

/// Accepts until the server closes, then gives the listener back; dropped, it frees the port. Beyond the bound a new connection is
/// closed at once; a failed accept is one connection's misfortune, or passes (no file descriptors), and never the end. With TLS, or
/// plain HTTP, each connection has a task until it is known who it is: one that is slow keeps nobody else waiting.
pub(super) async fn accept(mut listener: Box<dyn Listener>, entrance: Entrance) -> Box<dyn Listener> {
    let places = Arc::new(Semaphore::new(limits::CONNECTIONS_MAX));
    let reserved = Arc::new(Semaphore::new(limits::NODE_CONNECTIONS_RESERVED));
    let closing = entrance.phase.clone().reached(Phase::Closing);
    tokio::pin!(closing);
    loop {
        let connection = tokio::select! {
            () = &mut closing => return listener,
            connection = listener.accept() => connection,
        };
        let (connection, from) = match connection {
            Ok(connection) => connection,
            Err(error) => {
                tracing::warn!(%error, "a connection could not be accepted");
                tokio::time::sleep(limits::ACCEPT_PAUSE).await;
                continue;
            }
        };
        let Some(place) = Place::take(&places, &reserved) else {
            tracing::warn!(%from, limit = limits::CONNECTIONS_MAX, "a connection was refused: there are too many");
            continue;
        };
        if entrance.has_questions() {
            tokio::spawn(greet(entrance.clone(), Arrival { connection, from, place }));
            continue;
        }
        if entrance.hand_over(Known::nobody(connection), place).await.is_err() {
            return listener;
        }
    }
}

/// A connection that nothing is known of yet.
struct Arrival {
    connection: Box<dyn Connection>,
    from: String,
    place: Place,
}

/// Comes to know who has connected, and hands the connection on. It has its place all the while.
async fn greet(entrance: Entrance, arrival: Arrival) {
    let Arrival { connection, from, place } = arrival;
    let met = tokio::select! {
        () = entrance.phase.clone().reached(Phase::Closing) => return,
        met = meet(&entrance, connection, &from) => met,
    };
    match (met, entrance.web.clone()) {
        (Some((Known { connection, .. }, Spoken::Http1)), Some(web)) => {
            web.serve(connection, place, entrance.phase.clone()).await;
        }
        // A server that has ended wants none.
        (Some((known, Spoken::Http1 | Spoken::Http2)), _) => drop(entrance.hand_over(known, place).await),
        (None, _) => {}
    }
}

/// Who it is, and what is spoken; `None`: it did not say so, or not in time.
async fn meet(entrance: &Entrance, connection: Box<dyn Connection>, from: &str) -> Option<(Known, Spoken)> {
    let known = match &entrance.tls {
        None => Known::nobody(connection),
        Some(tls) => {
            let shaken = tls.shake(connection).await;
            shaken.inspect_err(|error| tracing::warn!(%from, %error, "a TLS handshake failed")).ok()?
        }
    };
    // A client that has agreed to speak HTTP/2 may wait for our first byte before it says any: see `ClientTls`.
    if let Some(spoken) = known.agreed.or(entrance.web.is_none().then_some(Spoken::Http2)) {
        return Some((known, spoken));
    }
    let heard = timeout(limits::FIRST_BYTES_TIMEOUT, listen_to(known.connection)).await;
    // Whoever connects and says nothing, or goes again, has nothing to be told.
    let (spoken, connection) = heard.ok()?.ok()?;
    Some((Known { connection, ..known }, spoken))
}
