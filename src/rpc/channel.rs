//! The client's side of a connection.

use std::{io, sync::Arc};

use hyper_util::rt::TokioIo;
use parking_lot::Mutex;
use tonic::transport::Endpoint;
use tower::service_fn;

use crate::{
    env::{Connection, Transport},
    error::{Error, ErrorCode, Result},
    limits::{CONNECT_TIMEOUT, HEADER_LIST_BYTES_MAX, KEEPALIVE_INTERVAL, KEEPALIVE_TIMEOUT},
    types::Address,
};

/// One connection to a node; clones share it. It does not come back when it is lost: whoever opened it decides where
/// to connect next.
pub type Channel = tonic::transport::Channel;

/// Connects to a node within [`CONNECT_TIMEOUT`]. A connection that falls silent is ended by keepalive.
///
/// # Errors
/// `UNREACHABLE` when nobody listens there or nothing happens in time, `BAD_ADDRESS`.
pub async fn connect(transport: &dyn Transport, to: &Address) -> Result<Channel> {
    let unreachable = |why: &dyn std::fmt::Display| Error::new(ErrorCode::Unreachable, format!("{to}: {why}"));
    let endpoint = Endpoint::from_shared(format!("http://{to}"))
        .map_err(|error| Error::new(ErrorCode::BadAddress, format!("address \"{to}\": {error}")))?
        .http2_keep_alive_interval(KEEPALIVE_INTERVAL)
        .keep_alive_timeout(KEEPALIVE_TIMEOUT)
        .keep_alive_while_idle(true)
        .http2_max_header_list_size(HEADER_LIST_BYTES_MAX);
    let endpoint = steadfast(endpoint);
    let connecting = tokio::time::timeout(CONNECT_TIMEOUT, transport.connect(to)).await;
    let connection = connecting.map_err(|elapsed| unreachable(&elapsed))?.map_err(|error| unreachable(&error))?;
    let once = Arc::new(Mutex::new(Some(connection)));
    let connector = service_fn(move |_| std::future::ready(take(&once)));
    endpoint.connect_with_connector(connector).await.map_err(|error| unreachable(&error))
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
