//! The network: byte streams between addresses. TCP in the real world, in-memory pipes in a simulation.
#![allow(clippy::disallowed_methods, reason = "this is the door that the ban points to")]

use std::{collections::BTreeMap, future::Future, io, pin::Pin, sync::Arc};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncRead, AsyncWrite, DuplexStream},
    net::{TcpListener, TcpSocket, TcpStream},
    sync::mpsc,
};

#[cfg(unix)]
use super::unshared::Unshared;
use crate::types::Address;

/// A byte stream in both directions.
pub trait Connection: AsyncRead + AsyncWrite + Send + Unpin + 'static {}

impl<T: AsyncRead + AsyncWrite + Send + Unpin + 'static> Connection for T {}

/// A future behind a trait object, as `dyn` traits need it.
pub type BoxFuture<'a, T> = Pin<Box<dyn Future<Output = T> + Send + 'a>>;

/// Opens and accepts connections.
pub trait Transport: Send + Sync + 'static {
    /// Binds `host:port`; port 0 picks a free one. A port that another process listens on is `AddrInUse`.
    fn listen<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Listener>>>;

    /// Connects to a listener.
    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Connection>>>;
}

/// Accepts connections at one port.
pub trait Listener: Send + 'static {
    /// The next connection, with the IP address or name of the other side. Errors are of one connection; the listener
    /// goes on.
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Connection>, String)>>;

    /// The port that was bound.
    fn port(&self) -> u16;
}

/// TCP, without Nagle's delay.
#[derive(Debug)]
pub struct TcpTransport;

/// Connections that wait to be accepted; more are refused by the kernel.
const BACKLOG: u32 = 1024;

impl Transport for TcpTransport {
    fn listen<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let mut failure = io::Error::new(io::ErrorKind::NotFound, "the host has no address");
            for address in tokio::net::lookup_host((host, port)).await? {
                let socket = if address.is_ipv4() { TcpSocket::new_v4()? } else { TcpSocket::new_v6()? };
                // Without it a restarted node could not bind its port while old connections linger.
                socket.set_reuseaddr(true)?;
                match socket.bind(address).and_then(|()| socket.listen(BACKLOG)) {
                    Ok(listener) => return Ok(Box::new(OpenPort::new(listener)) as Box<dyn Listener>),
                    Err(error) => failure = error,
                }
            }
            Err(failure)
        })
    }

    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        Box::pin(async move {
            let stream = TcpStream::connect((to.host(), to.port())).await?;
            stream.set_nodelay(true)?;
            Ok(Box::new(stream) as Box<dyn Connection>)
        })
    }
}

/// A port that is closed when this is dropped, whoever has it open from a fork.
struct OpenPort {
    #[cfg(unix)]
    unshared: Option<Unshared>,
    /// `None` only while it is being dropped.
    listener: Option<TcpListener>,
}

impl OpenPort {
    fn new(listener: TcpListener) -> OpenPort {
        OpenPort {
            #[cfg(unix)]
            unshared: Some(Unshared::new(std::os::fd::AsRawFd::as_raw_fd(&listener))),
            listener: Some(listener),
        }
    }
}

impl Drop for OpenPort {
    fn drop(&mut self) {
        #[cfg(unix)]
        drop(self.unshared.take());
        #[cfg(unix)]
        if let Some(Ok(listener)) = self.listener.take().map(TcpListener::into_std) {
            // A listener is shut down like a stream; the standard library does that to streams only. One that listens no longer
            // is not connected, which is an error on some systems, and no matter.
            let as_stream = std::net::TcpStream::from(std::os::fd::OwnedFd::from(listener));
            drop(as_stream.shutdown(std::net::Shutdown::Both));
        }
    }
}

impl Listener for OpenPort {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Connection>, String)>> {
        Box::pin(async move {
            let Some(listener) = &self.listener else { return Err(io::ErrorKind::ConnectionAborted.into()) };
            let (stream, peer) = listener.accept().await?;
            stream.set_nodelay(true)?;
            Ok((Box::new(stream) as Box<dyn Connection>, peer.ip().to_string()))
        })
    }

    fn port(&self) -> u16 {
        let address = self.listener.as_ref().and_then(|listener| listener.local_addr().ok());
        address.map_or(0, |address| address.port())
    }
}

/// Who listens where: a connection is handed over by sending the listener one end of a pipe.
type ListenersByPort = BTreeMap<u16, mpsc::Sender<DuplexStream>>;

/// A network inside this process: whole clusters without ports. Clones share it.
#[derive(Clone, Debug, Default)]
pub struct SimulatedNetwork {
    /// Guards who listens where.
    listeners: Arc<Mutex<ListenersByPort>>,
}

/// Bytes that a simulated connection holds in each direction before its writer waits.
const PIPE_BYTES: usize = 64 * 1024;

impl Transport for SimulatedNetwork {
    fn listen<'a>(&'a self, _host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let mut listeners = self.listeners.lock();
            listeners.retain(|_, listener| !listener.is_closed());
            let port = match port {
                0 => (1..=u16::MAX).find(|port| !listeners.contains_key(port)).ok_or(io::ErrorKind::AddrInUse)?,
                port if listeners.contains_key(&port) => return Err(io::ErrorKind::AddrInUse.into()),
                port => port,
            };
            let (sender, incoming) = mpsc::channel(BACKLOG as usize);
            listeners.insert(port, sender);
            Ok(Box::new(SimulatedListener { port, incoming }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        Box::pin(async move {
            let listener = self.listeners.lock().get(&to.port()).cloned().ok_or(io::ErrorKind::ConnectionRefused)?;
            let (ours, theirs) = tokio::io::duplex(PIPE_BYTES);
            listener.send(theirs).await.map_err(|_| io::ErrorKind::ConnectionRefused)?;
            Ok(Box::new(ours) as Box<dyn Connection>)
        })
    }
}

struct SimulatedListener {
    port: u16,
    incoming: mpsc::Receiver<DuplexStream>,
}

impl Listener for SimulatedListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Connection>, String)>> {
        Box::pin(async move {
            let stream = self.incoming.recv().await.ok_or(io::ErrorKind::ConnectionAborted)?;
            Ok((Box::new(stream) as Box<dyn Connection>, "simulated".to_string()))
        })
    }

    fn port(&self) -> u16 {
        self.port
    }
}
