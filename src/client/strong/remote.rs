//! The nodes that a client knows, as a backend: one of them is asked until it fails, then the next.
//!
//! Connections are kept, one a node: a node that knows no leader may know one a moment later. A connection is opened by
//! a task of its own, so that a caller with little patience does not undo what others wait for.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{timeout_at, Instant},
};

use crate::{
    env::BoxFuture,
    error::{Error, ErrorCode, Result},
    limits::{CLIENT_CONNECT_TIMEOUT, STRONG_TRY_FIRST},
    replication::strong::{Call, GroupWatch, Reply, WatchPage},
    rpc::{Access, RpcPages, StrongBackend, StrongPages, StrongRpc},
    types::Address,
};

pub(super) struct Remote {
    inner: Arc<Inner>,
}

struct Inner {
    access: Access,
    /// Guards which node is asked, and the connections.
    nodes: Mutex<Nodes>,
}

struct Nodes {
    nodes: Vec<Node>,
    current: usize,
    /// Counts connections.
    last: u64,
}

struct Node {
    address: Address,
    connection: Option<Connection>,
}

/// A connection, or one that is being opened.
#[derive(Clone)]
struct Connection {
    number: u64,
    address: Address,
    outcome: watch::Receiver<Option<Result<StrongRpc>>>,
}

impl Remote {
    /// At least one target.
    pub(super) fn new(targets: &[Address], access: Access) -> Remote {
        assert!(!targets.is_empty(), "a client has at least one target");
        let node = |address: &Address| Node { address: address.clone(), connection: None };
        let nodes = Nodes { nodes: targets.iter().map(node).collect(), current: 0, last: 0 };
        Remote { inner: Arc::new(Inner { access, nodes: Mutex::new(nodes) }) }
    }

    async fn ask(&self, call: Call, timeout: Duration) -> Result<Reply> {
        let started = Instant::now();
        let deadline = started.checked_add(timeout);
        let mut connection = self.inner.connection();
        let opening = connection.outcome.wait_for(Option::is_some);
        let opened = match deadline {
            Some(deadline) => timeout_at(deadline, opening).await.map_err(|_| not_connected(timeout))?,
            None => opening.await,
        };
        // Without an outcome the task that connects was ended, with its runtime.
        let opened = opened.ok().and_then(|outcome| outcome.clone());
        let rpc = opened.unwrap_or_else(|| Err(not_connected(timeout)))?;
        let asked = rpc.call(&call, timeout.saturating_sub(started.elapsed())).await;
        asked.map_err(|error| {
            let is_answer = error.code() != ErrorCode::ConnectionLost && error.code() != ErrorCode::DeadlineExceeded;
            let error = if is_answer { error.of_node(&connection.address.to_string()) } else { error };
            self.inner.failed(connection.number, timeout, error)
        })
    }

    async fn open_watch(&self, watch: GroupWatch, timeout: Duration) -> Result<Box<dyn StrongPages>> {
        let (place, address) = {
            let nodes = self.inner.nodes.lock();
            (nodes.current, nodes.nodes[nodes.current].address.clone())
        };
        let opening = async { self.inner.open(&address).await?.watch(&watch).await };
        let opened = tokio::time::timeout(timeout, opening).await;
        let opened = opened.unwrap_or_else(|_| Err(Error::deadline("watch", timeout)));
        let pages = opened.map_err(|error| self.inner.watch_failed(place, error))?;
        Ok(Box::new(RemotePages { inner: self.inner.clone(), place, pages }))
    }
}

impl StrongBackend for Remote {
    fn call(&self, call: Call, timeout: Duration) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(self.ask(call, timeout))
    }

    fn watch(&self, watch: GroupWatch, timeout: Duration) -> BoxFuture<'_, Result<Box<dyn StrongPages>>> {
        Box::pin(self.open_watch(watch, timeout))
    }
}

/// A watch at one node. It has a connection of its own, because a program that does not take its events stops it.
struct RemotePages {
    inner: Arc<Inner>,
    place: usize,
    pages: RpcPages,
}

impl RemotePages {
    async fn read(&mut self) -> Result<WatchPage> {
        self.pages.next().await.map_err(|error| self.inner.watch_failed(self.place, error))
    }
}

impl StrongPages for RemotePages {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchPage>> {
        Box::pin(self.read())
    }
}

fn not_connected(within: Duration) -> Error {
    Error::new(ErrorCode::Unreachable, format!("no connection within {:.3} s", within.as_secs_f64()))
}

/// That one node is being stopped does not end the client.
fn of_one_node(error: Error) -> Error {
    if error.code() != ErrorCode::NotRunning {
        return error;
    }
    let elsewhere = Error::new(ErrorCode::Unreachable, error.message());
    if error.is_maybe_applied() {
        return elsewhere.maybe_applied();
    }
    elsewhere
}

impl Inner {
    /// The connection to the node that is asked at present; opens it if need be.
    fn connection(self: &Arc<Inner>) -> Connection {
        let mut nodes = self.nodes.lock();
        let nodes = &mut *nodes;
        let node = &mut nodes.nodes[nodes.current];
        if let Some(connection) = &node.connection {
            return connection.clone();
        }
        nodes.last += 1;
        let (sender, outcome) = watch::channel(None);
        let connection = Connection { number: nodes.last, address: node.address.clone(), outcome };
        node.connection = Some(connection.clone());
        let (inner, number, address) = (self.clone(), nodes.last, node.address.clone());
        tokio::spawn(async move {
            let opened = inner.open(&address).await;
            if opened.is_err() {
                inner.leave(number, true);
            }
            sender.send_replace(Some(opened));
        });
        connection
    }

    async fn open(&self, address: &Address) -> Result<StrongRpc> {
        let opening = self.access.connect(address);
        let silent = |_| {
            let seconds = CLIENT_CONNECT_TIMEOUT.as_secs_f64();
            Error::new(ErrorCode::Unreachable, format!("{address}: it did not answer within {seconds} s"))
        };
        let channel = tokio::time::timeout(CLIENT_CONNECT_TIMEOUT, opening).await.map_err(silent)??;
        Ok(StrongRpc::new(channel))
    }

    /// Goes on to the next node when this one is of no use; gives the error for the caller.
    fn failed(&self, number: u64, timeout: Duration, error: Error) -> Error {
        match error.code() {
            ErrorCode::ConnectionLost => self.leave(number, true),
            ErrorCode::NoLeader | ErrorCode::MemberRemoved => self.leave(number, false),
            // It had its time. With a caller that has less patience than that it is no sign of anything.
            ErrorCode::DeadlineExceeded if timeout >= STRONG_TRY_FIRST => self.leave(number, false),
            ErrorCode::NotRunning => self.leave(number, true),
            _ => {}
        }
        of_one_node(error)
    }

    /// A watch goes on at the next node, unless that is asked already.
    fn watch_failed(&self, place: usize, error: Error) -> Error {
        let mut nodes = self.nodes.lock();
        if nodes.current == place {
            nodes.current = (place + 1) % nodes.nodes.len();
        }
        of_one_node(error)
    }

    /// Another node is to be asked, unless that is so already. `is_lost`: the connection is of no more use.
    fn leave(&self, number: u64, is_lost: bool) {
        let mut nodes = self.nodes.lock();
        let is_it = |node: &Node| node.connection.as_ref().is_some_and(|connection| connection.number == number);
        let Some(place) = nodes.nodes.iter().position(is_it) else { return };
        if is_lost {
            nodes.nodes[place].connection = None;
        }
        if place == nodes.current {
            nodes.current = (place + 1) % nodes.nodes.len();
        }
    }
}
