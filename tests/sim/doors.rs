//! The doors of `kvstore::env` in the simulated world: the network is turmoil's, time is the simulation's, seen through
//! each host's own bad clock.

use std::{
    io,
    net::Ipv4Addr,
    pin::Pin,
    sync::{
        atomic::{AtomicI64, AtomicU64, Ordering},
        Arc,
    },
    task::{Context, Poll},
    time::Duration,
};

use kvstore::{
    env::{BoxFuture, Clock, Connection, Listener, Transport},
    types::{Address, NodeId},
};
use parking_lot::Mutex;
use tokio::io::{AsyncRead, AsyncWrite, ReadBuf};
use turmoil::net::{TcpListener, TcpStream};

use super::{cluster::Hosts, plan::mix};

/// The wall clock of a host without skew when the simulation starts: 2026-01-01.
pub const EPOCH_MS: u64 = 1_767_225_600_000;

/// One host's clocks. The monotonic one runs with the simulation; the wall clock as the nemesis likes.
#[derive(Default)]
pub struct SimClock {
    /// Guards what the clocks show.
    state: Mutex<ClockState>,
    /// The greatest wall time that was ever read.
    highest_wall_ms: AtomicU64,
    /// How far it was ahead of the right time at most when it was read, and at least.
    most_ahead_ms: AtomicI64,
    least_ahead_ms: AtomicI64,
}

#[derive(Default)]
struct ClockState {
    /// The time of the simulation when it was last seen; outside of a host it cannot be asked for.
    now: Duration,
    /// At `since` the wall clock was `wall_ms` ahead of the right time, and gains `rate_ppm` since then.
    since: Duration,
    ahead_us: i64,
    rate_ppm: i64,
}

impl ClockState {
    fn look(&mut self) -> Duration {
        if tokio::runtime::Handle::try_current().is_ok() {
            self.now = turmoil::sim_elapsed().unwrap_or(self.now).max(self.now);
        }
        self.now
    }

    fn ahead_us(&self) -> i64 {
        let passed_us = self.now.saturating_sub(self.since).as_micros() as i64;
        self.ahead_us + passed_us * self.rate_ppm / 1_000_000
    }

    fn set(&mut self, now: Duration, ahead_us: i64, rate_ppm: i64) {
        self.now = self.now.max(now);
        (self.since, self.ahead_us, self.rate_ppm) = (self.now, ahead_us, rate_ppm);
    }
}

impl SimClock {
    /// Sets the wall clock so far ahead of the right time, or behind it.
    pub fn jump(&self, now: Duration, ahead_ms: i64) {
        let mut state = self.state.lock();
        let rate_ppm = state.rate_ppm;
        state.set(now, ahead_ms * 1000, rate_ppm);
    }

    /// Lets the wall clock gain or lose so much from now on.
    pub fn set_rate(&self, now: Duration, rate_ppm: i64) {
        let mut state = self.state.lock();
        state.now = state.now.max(now);
        let ahead_us = state.ahead_us();
        state.set(now, ahead_us, rate_ppm);
    }

    /// Makes it right, and lets it run right.
    pub fn mend(&self, now: Duration) {
        self.state.lock().set(now, 0, 0);
    }

    /// How far the greatest wall time that the host ever read is still ahead of the right one.
    pub fn lead(&self, now: Duration) -> Duration {
        Duration::from_millis(self.highest_wall_ms().saturating_sub(EPOCH_MS)).saturating_sub(now)
    }

    /// How far it was ahead of the right time at least and at most, in milliseconds.
    pub fn ahead_ms(&self) -> (i64, i64) {
        (self.least_ahead_ms.load(Ordering::Relaxed), self.most_ahead_ms.load(Ordering::Relaxed))
    }

    /// The greatest wall time that the host ever read.
    pub fn highest_wall_ms(&self) -> u64 {
        self.highest_wall_ms.load(Ordering::Relaxed)
    }
}

impl Clock for SimClock {
    fn wall_ms(&self) -> u64 {
        let mut state = self.state.lock();
        let right_us = EPOCH_MS as i64 * 1000 + state.look().as_micros() as i64;
        let ahead_us = state.ahead_us();
        let wall_ms = ((right_us + ahead_us) / 1000) as u64;
        self.most_ahead_ms.fetch_max(ahead_us / 1000, Ordering::Relaxed);
        self.least_ahead_ms.fetch_min(ahead_us / 1000, Ordering::Relaxed);
        self.highest_wall_ms.fetch_max(wall_ms, Ordering::Relaxed);
        wall_ms
    }

    fn monotonic(&self) -> Duration {
        self.state.lock().look()
    }
}

/// Which incarnation a client's connection goes to: whoever answers on it.
pub type Contact = Arc<Mutex<Option<NodeId>>>;

/// turmoil's TCP.
pub struct SimTransport {
    pub hosts: Arc<Hosts>,
    pub contact: Contact,
}

impl Transport for SimTransport {
    fn listen<'a>(&'a self, _host: &'a str, port: u16) -> BoxFuture<'a, io::Result<Box<dyn Listener>>> {
        Box::pin(async move {
            let listener = TcpListener::bind((Ipv4Addr::UNSPECIFIED, port)).await?;
            let traffic = self.hosts.traffic.clone();
            Ok(Box::new(SimListener { listener, port, traffic }) as Box<dyn Listener>)
        })
    }

    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, io::Result<Box<dyn Connection>>> {
        Box::pin(async move {
            let stream = TcpStream::connect((to.host(), to.port())).await?;
            *self.contact.lock() = self.hosts.incarnation(to);
            Ok(Box::new(SimStream { stream, traffic: self.hosts.traffic.clone() }) as Box<dyn Connection>)
        })
    }
}

struct SimListener {
    listener: TcpListener,
    port: u16,
    traffic: Arc<Traffic>,
}

impl Listener for SimListener {
    fn accept(&mut self) -> BoxFuture<'_, io::Result<(Box<dyn Connection>, String)>> {
        Box::pin(async move {
            let (stream, peer) = self.listener.accept().await?;
            let stream = SimStream { stream, traffic: self.traffic.clone() };
            Ok((Box::new(stream) as Box<dyn Connection>, peer.ip().to_string()))
        })
    }

    fn port(&self) -> u16 {
        self.port
    }
}

/// What goes over all connections together: when each segment was sent and how many there were. Their lengths are left
/// out, because an HTTP head carries the date.
#[derive(Default)]
pub struct Traffic {
    count: AtomicU64,
    hash: AtomicU64,
}

impl Traffic {
    pub fn count(&self) -> u64 {
        self.count.load(Ordering::Relaxed)
    }

    pub fn hash(&self) -> u64 {
        self.hash.load(Ordering::Relaxed)
    }

    fn note(&self) {
        let now = turmoil::sim_elapsed().unwrap_or_default().as_nanos() as u64;
        self.count.fetch_add(1, Ordering::Relaxed);
        self.hash.store(mix(&[self.hash(), now]), Ordering::Relaxed);
    }
}

struct SimStream {
    stream: TcpStream,
    traffic: Arc<Traffic>,
}

impl AsyncRead for SimStream {
    fn poll_read(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &mut ReadBuf<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for SimStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        if written.is_ready() {
            self.traffic.note();
        }
        written
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
