//! A connection under guard: it has a place among the bounded number of connections, loses it when its first bytes do
//! not come in time, and is cut when the server is. Some places are for other nodes alone, so that clients cannot keep a node
//! from its cluster: who has one and does not speak as a node in time loses it, too.

use std::{
    future::Future,
    io,
    pin::Pin,
    sync::{
        atomic::{AtomicBool, Ordering},
        Arc,
    },
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::{OwnedSemaphorePermit, Semaphore},
    time::Sleep,
};
use tonic::{transport::server::Connected, Request, Status};

use super::{
    phase::{Phase, PhaseWatch},
    status::to_status,
    tls::Known,
};
use crate::{
    env::Connection,
    error::{Error, ErrorCode},
    limits::{CONNECTIONS_MAX, FIRST_BYTES_TIMEOUT, PREFACE_BYTES},
};

/// A place among the connections, given back when the connection is dropped.
pub(super) struct Place {
    /// It is for other nodes.
    is_reserved: bool,
    _permit: OwnedSemaphorePermit,
}

impl Place {
    /// Whether it is one of those for nodes.
    pub(super) fn is_reserved(&self) -> bool {
        self.is_reserved
    }

    /// One of those for anybody, or else of those for nodes, if there is one.
    pub(super) fn take(common: &Arc<Semaphore>, reserved: &Arc<Semaphore>) -> Option<Place> {
        let take = |places: &Arc<Semaphore>, is_reserved| {
            let permit = places.clone().try_acquire_owned().ok()?;
            Some(Place { is_reserved, _permit: permit })
        };
        take(common, false).or_else(|| take(reserved, true))
    }
}

/// What a connection tells the services.
#[derive(Clone, Default)]
pub(super) struct Standing {
    /// It has a reserved place; true once another node has spoken on it.
    is_node: Option<Arc<AtomicBool>>,
    /// Whoever opened it has presented a certificate of the cluster's authority.
    pub(super) has_certificate: bool,
}

impl Standing {
    pub(super) fn of<T>(request: &Request<T>) -> Standing {
        request.extensions().get::<Standing>().cloned().unwrap_or_default()
    }

    /// Whether the connection has a place that is for nodes.
    pub(super) fn is_for_nodes(&self) -> bool {
        self.is_node.is_some()
    }
}

/// Lets requests of clients pass that came over a place for anybody.
///
/// # Errors
/// `OVERLOADED`: it is a reserved one.
pub(super) fn check_common(request: Request<()>) -> Result<Request<()>, Status> {
    match Standing::of(&request).is_node {
        None => Ok(request),
        Some(_) => {
            let text =
                format!("the node has {CONNECTIONS_MAX} connections, and the places that are left are for other nodes");
            Err(to_status(&Error::new(ErrorCode::Overloaded, text)))
        }
    }
}

/// Takes note that another node speaks.
///
/// # Errors
/// None.
pub(super) fn note_node(request: Request<()>) -> Result<Request<()>, Status> {
    if let Some(is_node) = Standing::of(&request).is_node {
        is_node.store(true, Ordering::Relaxed);
    }
    Ok(request)
}

pub(super) struct GuardedConnection {
    inner: Box<dyn Connection>,
    /// Until the whole preface has come: a deadline, and the bytes that are missing.
    preface: Option<(Pin<Box<Sleep>>, usize)>,
    /// Of a reserved place, until a node has spoken: a deadline for that.
    proof: Option<(Pin<Box<Sleep>>, Arc<AtomicBool>)>,
    standing: Standing,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: Place,
}

impl GuardedConnection {
    pub(super) fn new(known: Known, place: Place, phase: PhaseWatch) -> GuardedConnection {
        let deadline = || Box::pin(tokio::time::sleep(FIRST_BYTES_TIMEOUT));
        let is_node = place.is_reserved.then(Arc::<AtomicBool>::default);
        GuardedConnection {
            inner: known.connection,
            preface: Some((deadline(), PREFACE_BYTES)),
            proof: is_node.clone().map(|is_node| (deadline(), is_node)),
            standing: Standing { is_node, has_certificate: known.has_certificate },
            cut: Box::pin(phase.reached(Phase::Cut)),
            _place: place,
        }
    }

    /// What the inner connection said. One that would wait fails instead once the server is cut or the preface is late,
    /// and is woken for both; one that does not wait need not know.
    fn unless_over<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            return outcome;
        }
        if self.cut.as_mut().poll(cx).is_ready() {
            return Poll::Ready(Err(io::Error::new(io::ErrorKind::ConnectionAborted, "the server is stopped")));
        }
        self.proof.take_if(|(_, is_node)| is_node.load(Ordering::Relaxed));
        let late = |what| Err(io::Error::new(io::ErrorKind::TimedOut, what));
        if let Some((deadline, _)) = &mut self.preface {
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(late("the HTTP/2 preface did not come in time"));
            }
        }
        if let Some((deadline, _)) = &mut self.proof {
            if deadline.as_mut().poll(cx).is_ready() {
                return Poll::Ready(late("the place is for other nodes, and none has spoken in time"));
            }
        }
        Poll::Pending
    }

    fn note_read(&mut self, bytes: usize) {
        self.preface = self.preface.take().and_then(|(deadline, missing)| {
            let missing = missing.saturating_sub(bytes);
            (missing > 0).then_some((deadline, missing))
        });
    }
}

impl Connected for GuardedConnection {
    type ConnectInfo = Standing;

    fn connect_info(&self) -> Standing {
        self.standing.clone()
    }
}

impl AsyncRead for GuardedConnection {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        let filled = buf.filled().len();
        let read = Pin::new(&mut self.inner).poll_read(cx, buf);
        if let Poll::Ready(Ok(())) = read {
            self.note_read(buf.filled().len() - filled);
        }
        self.unless_over(cx, read)
    }
}

impl AsyncWrite for GuardedConnection {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.unless_over(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.unless_over(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.unless_over(cx, shut)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write_vectored(cx, bufs);
        self.unless_over(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.inner.is_write_vectored()
    }
}
