//! A connection under guard: it has a place among the bounded number of connections, loses it when its first bytes do
//! not come in time, and is cut when the server is.

use std::{
    future::Future,
    io,
    pin::Pin,
    task::{Context, Poll},
};

use tokio::{
    io::{AsyncRead, AsyncWrite, ReadBuf},
    sync::OwnedSemaphorePermit,
    time::Sleep,
};
use tonic::transport::server::Connected;

use super::phase::{Phase, PhaseWatch};
use crate::{
    env::Connection,
    limits::{FIRST_BYTES_TIMEOUT, PREFACE_BYTES},
};

/// Given back when the connection is dropped.
type Place = OwnedSemaphorePermit;

pub(super) struct GuardedConnection {
    inner: Box<dyn Connection>,
    /// Until the whole preface has come: a deadline, and the bytes that are missing.
    preface: Option<(Pin<Box<Sleep>>, usize)>,
    cut: Pin<Box<dyn Future<Output = ()> + Send>>,
    _place: Place,
}

impl GuardedConnection {
    pub(super) fn new(inner: Box<dyn Connection>, place: Place, phase: PhaseWatch) -> GuardedConnection {
        let deadline = Box::pin(tokio::time::sleep(FIRST_BYTES_TIMEOUT));
        GuardedConnection {
            inner,
            preface: Some((deadline, PREFACE_BYTES)),
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
        let Some((deadline, _)) = &mut self.preface else { return Poll::Pending };
        let late = || Err(io::Error::new(io::ErrorKind::TimedOut, "the HTTP/2 preface did not come in time"));
        deadline.as_mut().poll(cx).map(|()| late())
    }

    fn note_read(&mut self, bytes: usize) {
        self.preface = self.preface.take().and_then(|(deadline, missing)| {
            let missing = missing.saturating_sub(bytes);
            (missing > 0).then_some((deadline, missing))
        });
    }
}

/// Nothing about a connection is told to the services.
impl Connected for GuardedConnection {
    type ConnectInfo = ();

    fn connect_info(&self) {}
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
