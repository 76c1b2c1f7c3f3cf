//! The client's side of a connection.

use std::{
    io,
    sync::Arc,
    task::{Context, Poll},
};

use http::{header::AUTHORIZATION, HeaderValue};
use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tonic::{
    body::Body,
    transport::{channel::ResponseFuture, Endpoint},
};
use tower::{service_fn, Service};

use super::tls::ClientTls;

use crate::{
    env::{Connection, Transport},
    error::{Error, ErrorCode, Result},
    limits::{CONNECT_TIMEOUT, HEADER_LIST_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT},
    types::{Address, Secret},
};

/// One connection to a node; clones share it. It does not come back when it is lost: whoever opened it decides where
/// to connect next.
#[derive(Clone)]
pub struct Channel {
    inner: tonic::transport::Channel,
    /// Presented with each request.
    authorization: Option<HeaderValue>,
}

impl Channel {
    /// The same connection, over which this is presented from now on.
    pub(super) fn presenting(self, authorization: HeaderValue) -> Channel {
        Channel { authorization: Some(authorization), ..self }
    }
}

impl Service<http::Request<Body>> for Channel {
    type Response = http::Response<Body>;
    type Error = tonic::transport::Error;
    type Future = ResponseFuture;

    fn poll_ready(&mut self, cx: &mut Context<'_>) -> Poll<Result<(), Self::Error>> {
        self.inner.poll_ready(cx)
    }

    fn call(&mut self, mut request: http::Request<Body>) -> ResponseFuture {
        if let Some(authorization) = &self.authorization {
            request.headers_mut().insert(AUTHORIZATION, authorization.clone());
        }
        self.inner.call(request)
    }
}

/// The header that presents a token. It is in no table of compressed headers, and whoever prints it does not see it.
pub(super) fn authorization(token: &Secret) -> HeaderValue {
    let text = format!("Bearer {}", token.expose());
    let mut value = HeaderValue::try_from(text).expect("a token is visible ASCII");
    value.set_sensitive(true);
    value
}

/// Connects to a node within [`CONNECT_TIMEOUT`], the handshake of TLS included.
///
/// # Errors
/// `UNREACHABLE` when nobody listens there or nothing happens in time, `BAD_ADDRESS`, `CERTIFICATE_REFUSED`.
pub(super) async fn open(transport: &dyn Transport, tls: Option<&ClientTls>, to: &Address) -> Result<Channel> {
    let unreachable = |why: &dyn std::fmt::Display| Error::new(ErrorCode::Unreachable, format!("{to}: {why}"));
    let endpoint = Endpoint::from_shared(format!("http://{to}"))
        .map_err(|error| Error::new(ErrorCode::BadAddress, format!("address \"{to}\": {error}")))?
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX);
    let endpoint = steadfast(endpoint);
    let connecting = async {
        let connection = transport.connect(to).await.map_err(|error| unreachable(&error))?;
        match tls {
            Some(tls) => tls.shake(to, connection).await,
            None => Ok(connection),
        }
    };
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, connecting).await;
    let connection = connecting.map_err(|elapsed| unreachable(&elapsed))??;
    let once = Arc::new(Mutex::new(Some(connection)));
    let connector = service_fn(move |_| std::future::ready(take(&once)));
    let inner = endpoint.connect_with_connector(connector).await.map_err(|error| unreachable(&error))?;
    Ok(Channel { inner, authorization: None })
}

/// h2 forgets after a second of real time that it has reset a stream, and treats what comes late for it otherwise from then on.
/// Within a simulation that second is as long as the machine wants, and a seed does not replay.
#[cfg(feature = "sim")]
fn steadfast(endpoint: Endpoint) -> Endpoint {
    endpoint.http2_reset_stream_duration(std::time::Duration::from_secs(3600))
}

/// Nothing but in a simulation.
#[cfg(not(feature = "sim"))]
fn steadfast(endpoint: Endpoint) -> Endpoint {
    endpoint
}

/// The connection, the first time; tonic asks again when it is lost.
fn take(once: &Mutex<Option<Box<dyn Connection>>>) -> io::Result<TokioIo<Box<dyn Connection>>> {
    once.lock().take().map(TokioIo::new).ok_or_else(|| io::ErrorKind::NotConnected.into())
}
