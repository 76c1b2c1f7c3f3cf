//! Connections on which HTTP/1.1 is spoken, told from those of gRPC by their first bytes. They have places of their own, beside the
//! one that every connection has. One loses them when the head of its next request does not come in time, when it takes
//! nothing of what it asked for, and when the server ends: it is closed after its answer, or cut.

use std::{
    convert::Infallible,
    future::Future,
    io,
    pin::Pin,
    sync::Arc,
    task::{Context, Poll},
    time::Duration,
};

use http::Request;
use hyper::{body::Incoming, server::conn::http1, service::service_fn};
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::{
    io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadBuf},
    time::Sleep,
};

use super::Web;
use crate::{
    env::Connection,
    limits::{HTTP_HEADERS_MAX, HTTP_HEAD_BYTES_MAX, HTTP_HEAD_TIMEOUT, HTTP_WRITE_TIMEOUT},
    rpc::{
        begun::Begun,
        connection::Place,
        phase::{Phase, PhaseWatch},
        tls::Spoken,
    },
};

/// How HTTP/2 begins (RFC 9113, 3.4), and no request of HTTP/1.1.
const PREFACE_START: &[u8; 4] = b"PRI ";

/// Waits for as many bytes as it takes to tell; whoever reads the connection next begins with them.
///
/// # Errors
/// It ended, or broke, before.
pub(in crate::rpc) async fn listen_to(
    mut connection: Box<dyn Connection>,
) -> io::Result<(Spoken, Box<dyn Connection>)> {
    let mut start = [0; PREFACE_START.len()];
    let mut length = 0;
    while length < start.len() && start[..length] == PREFACE_START[..length] {
        let read = connection.read(&mut start[length..]).await?;
        if read == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        length += read;
    }
    let spoken = if start == *PREFACE_START { Spoken::Http2 } else { Spoken::Http1 };
    Ok((spoken, Box::new(Begun::new(&start[..length], connection))))
}

/// What is said to one that finds no place, without a look at what it asks.
const NO_PLACE: &str =
    "HTTP/1.1 503 Service Unavailable\r\ncontent-type: text/plain; charset=utf-8\r\ncontent-length: 37\r\n\
                        retry-after: 1\r\nconnection: close\r\n\r\nthere are too many HTTP connections\r\n";

impl Web {
    /// Answers what is asked on a connection, until either side ends it.
    pub(in crate::rpc) async fn serve(
        self: Arc<Web>,
        connection: Box<dyn Connection>,
        place: Place,
        phase: PhaseWatch,
    ) {
        let http_place = self.connections.clone().try_acquire_owned();
        let mut connection = Patient { inner: connection, patience: HTTP_WRITE_TIMEOUT, deadline: None };
        if http_place.is_err() || place.is_reserved() {
            let refused = async {
                connection.write_all(NO_PLACE.as_bytes()).await?;
                connection.shutdown().await
            };
            if let Err(error) = refused.await {
                tracing::debug!(%error, "a refused HTTP connection ended");
            }
            return;
        }
        let service = service_fn(move |request: Request<Incoming>| {
            let web = self.clone();
            async move { Ok::<_, Infallible>(web.answer(&request.into_parts().0).await) }
        });
        let served = http1::Builder::new()
            .timer(TokioTimer::new())
            .header_read_timeout(HTTP_HEAD_TIMEOUT)
            .max_buf_size(HTTP_HEAD_BYTES_MAX)
            .max_headers(HTTP_HEADERS_MAX)
            .serve_connection(TokioIo::new(connection), service);
        tokio::pin!(served);
        let outcome = tokio::select! {
            outcome = served.as_mut() => outcome,
            () = phase.clone().reached(Phase::Closing) => {
                served.as_mut().graceful_shutdown();
                tokio::select! {
                    outcome = served => outcome,
                    () = phase.reached(Phase::Cut) => return,
                }
            }
        };
        if let Err(error) = outcome {
            tracing::debug!(%error, "an HTTP connection ended");
        }
    }
}

/// A connection whose other side has to take what is written within some time.
struct Patient {
    inner: Box<dyn Connection>,
    patience: Duration,
    /// From when on nothing was taken.
    deadline: Option<Pin<Box<Sleep>>>,
}

impl Patient {
    fn unless_late<T>(&mut self, cx: &mut Context<'_>, outcome: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if outcome.is_ready() {
            self.deadline = None;
            return outcome;
        }
        let patience = self.patience;
        let deadline = self.deadline.get_or_insert_with(|| Box::pin(tokio::time::sleep(patience)));
        deadline.as_mut().poll(cx).map(|()| Err(io::Error::new(io::ErrorKind::TimedOut, "nothing was taken in time")))
    }
}

impl AsyncRead for Patient {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.inner).poll_read(cx, buf)
    }
}

impl AsyncWrite for Patient {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.inner).poll_write(cx, buf);
        self.unless_late(cx, written)
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let flushed = Pin::new(&mut self.inner).poll_flush(cx);
        self.unless_late(cx, flushed)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        let shut = Pin::new(&mut self.inner).poll_shutdown(cx);
        self.unless_late(cx, shut)
    }
}
