//! The nodes that a client knows, as a backend: one of them is asked until it fails, then the next best.
//!
//! Changes go to the node that leads, which spares them a hop, once a node has said who that is and there is a connection to it.
//! Nothing depends on it: when that node fails they go where everything else goes, until an answer says again who leads.
//!
//! Connections are kept, one a node: a node that knows no leader may know one a moment later. A connection is opened by
//! a task of its own, so that a caller with little patience does not undo what others wait for.

use std::{collections::BTreeMap, pin::pin, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{
    sync::watch,
    time::{timeout_at, Instant},
};

use super::attempt::is_worth_another_try;
use crate::{
    client::{
        endpoints::{draw, Endpoints},
        hedge::Hedge,
        pipeline,
        shared::Shared,
    },
    env::BoxFuture,
    error::{Error, ErrorCode, Result},
    limits::STRONG_TRY_FIRST,
    replication::strong::{Call, GroupWatch, Reply, WatchPage},
    rpc::{call_each, Leader, RpcPages, StrongBackend, StrongPages, StrongRpc},
    types::{Address, NodeId},
};

pub(super) struct Remote {
    inner: Arc<Inner>,
    runtime: tokio::runtime::Handle,
}

struct Inner {
    shared: Arc<Shared>,
    /// Guards which node is asked, and the connections.
    nodes: Mutex<Nodes>,
    /// As the nodes say.
    leader: Leader,
}

struct Nodes {
    endpoints: Endpoints,
    /// The node that is asked; `None`: the next call chooses one.
    current: Option<Address>,
    /// How often the client had moved to a nearer node when that was chosen.
    moves: u64,
    connections: BTreeMap<Address, Arc<Connection>>,
    /// Counts connections.
    last: u64,
}

impl Nodes {
    /// The node that is asked at present.
    fn current(&mut self, shared: &Shared) -> &Address {
        let moves = shared.directory.lock().moves();
        if self.moves != moves {
            (self.moves, self.current) = (moves, None);
            self.endpoints.begin_anew();
        }
        let endpoints = &mut self.endpoints;
        self.current.get_or_insert_with(|| endpoints.next())
    }

    /// The connection to that node.
    fn asked(&self) -> Option<&Arc<Connection>> {
        self.connections.get(self.current.as_ref()?)
    }

    /// Another node is to be asked, unless that is so already. `problem`: why this one is of no use to anybody.
    fn leave(&mut self, address: &Address, problem: Option<&str>) {
        if self.current.as_ref() == Some(address) {
            self.current = None;
            match problem {
                Some(problem) => self.endpoints.failed(problem.to_string()),
                None => self.endpoints.pass(),
            }
        }
    }
}

/// A connection, or one that is being opened.
struct Connection {
    number: u64,
    address: Address,
    outcome: watch::Receiver<Option<Result<Arc<StrongRpc>>>>,
}

impl Remote {
    pub(super) fn new(shared: Arc<Shared>, runtime: tokio::runtime::Handle) -> Remote {
        let (endpoints, connections) = (shared.endpoints(), BTreeMap::new());
        let nodes = Mutex::new(Nodes { endpoints, current: None, moves: 0, connections, last: 0 });
        Remote { inner: Arc::new(Inner { shared, nodes, leader: Leader::default() }), runtime }
    }

    async fn ask(&self, call: Call, timeout: Duration) -> Result<Reply> {
        if self.inner.shared.is_watching() {
            // Somebody has to look after the nodes, also for a client that asks for nothing else.
            pipeline::start(&self.inner.shared, &self.runtime);
            self.inner.shared.note_strong_call();
        }
        match &self.inner.shared.hedge {
            // Boxed: it is twice as large as what most calls need.
            Some(hedge) if matches!(call, Call::Read(_)) => Box::pin(self.ask_two(hedge, call, timeout)).await,
            Some(_) | None => self.ask_one(self.inner.connection_for(&call), call, timeout).await,
        }
    }

    /// Asks a second node, too, when the first takes long. A read says itself what it has to show, so any node will do.
    async fn ask_two(&self, hedge: &Hedge, call: Call, timeout: Duration) -> Result<Reply> {
        let delay = hedge.begin();
        let mut first = pin!(self.ask_one(self.inner.connection(), call.clone(), timeout));
        tokio::select! {
            biased;
            outcome = &mut first => return outcome,
            () = tokio::time::sleep(delay) => {}
        }
        if self.inner.shared.count_nodes() < 2 || !hedge.take() {
            return first.await;
        }
        let mut second = pin!(self.ask_one(self.inner.second_connection(), call, timeout.saturating_sub(delay)));
        tokio::select! {
            biased;
            outcome = &mut first => match outcome {
                Err(error) => second.await.map_err(|_| error),
                answer => answer,
            },
            outcome = &mut second => match outcome {
                Err(_) => first.await,
                answer => answer,
            },
        }
    }

    async fn ask_one(&self, connection: Arc<Connection>, call: Call, timeout: Duration) -> Result<Reply> {
        let started = Instant::now();
        let rpc = match connection.rpc() {
            Some(rpc) => rpc,
            // Boxed: it is rare, and every call would be larger by it.
            None => Box::pin(connection.opened(started, timeout)).await?,
        };
        let asked = rpc.call(&call, timeout.saturating_sub(started.elapsed())).await;
        asked.map_err(|error| {
            let is_answer = error.code() != ErrorCode::ConnectionLost && error.code() != ErrorCode::DeadlineExceeded;
            let error = if is_answer { error.of_node(&connection.address.to_string()) } else { error };
            self.inner.failed(&connection, timeout, error)
        })
    }

    async fn open_watch(&self, watch: GroupWatch, timeout: Duration) -> Result<Box<dyn StrongPages>> {
        let address = self.inner.nodes.lock().current(&self.inner.shared).clone();
        let opening = async { self.inner.open(&address).await?.watch(&watch).await };
        let opened = tokio::time::timeout(timeout, opening).await;
        let opened = opened.unwrap_or_else(|_| Err(Error::deadline("watch", timeout)));
        let pages = opened.map_err(|error| self.inner.watch_failed(&address, error))?;
        Ok(Box::new(RemotePages { inner: self.inner.clone(), address, pages }))
    }
}

impl StrongBackend for Remote {
    fn call(&self, call: Call, timeout: Duration) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(self.ask(call, timeout))
    }

    fn call_many(&self, calls: Vec<Call>, timeout: Duration) -> BoxFuture<'_, Vec<Result<Reply>>> {
        // They share messages all the same.
        call_each(self, calls, timeout)
    }

    fn leader(&self) -> Option<NodeId> {
        self.inner.leader.get()
    }

    fn watch(&self, watch: GroupWatch, timeout: Duration) -> BoxFuture<'_, Result<Box<dyn StrongPages>>> {
        Box::pin(self.open_watch(watch, timeout))
    }
}

/// A watch at one node. It has a connection of its own, because a program that does not take its events stops it.
struct RemotePages {
    inner: Arc<Inner>,
    address: Address,
    pages: RpcPages,
}

impl RemotePages {
    async fn read(&mut self) -> Result<WatchPage> {
        self.pages.next().await.map_err(|error| self.inner.watch_failed(&self.address, error))
    }
}

impl StrongPages for RemotePages {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchPage>> {
        Box::pin(self.read())
    }
}

impl Connection {
    /// `None`: it is not open.
    fn rpc(&self) -> Option<Arc<StrongRpc>> {
        self.outcome.borrow().as_ref()?.as_ref().ok().cloned()
    }

    /// What became of it, once that is known.
    async fn opened(&self, since: Instant, timeout: Duration) -> Result<Arc<StrongRpc>> {
        let mut outcome = self.outcome.clone();
        let opening = outcome.wait_for(Option::is_some);
        let opened = match since.checked_add(timeout) {
            Some(deadline) => timeout_at(deadline, opening).await.map_err(|_| not_connected(timeout))?,
            None => opening.await,
        };
        // Without an outcome the task that connects was ended, with its runtime.
        opened.ok().and_then(|outcome| outcome.clone()).unwrap_or_else(|| Err(not_connected(timeout)))
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
    fn connection_for(self: &Arc<Inner>, call: &Call) -> Arc<Connection> {
        let leading = matches!(call, Call::Submit(_)).then(|| self.leading()).flatten();
        leading.unwrap_or_else(|| self.connection())
    }

    /// The connection to the node that leads. `None`: it is not known, or the connection is not open yet.
    fn leading(self: &Arc<Inner>) -> Option<Arc<Connection>> {
        let leader = self.leader.get()?;
        let mut nodes = self.nodes.lock();
        let address = self.shared.directory.lock().address_of(leader, self.shared.now())?.clone();
        let connection = self.connection_to(&mut nodes, address);
        drop(nodes);
        connection.rpc().is_some().then_some(connection)
    }

    /// The connection to the node that is asked at present; opens it if need be.
    fn connection(self: &Arc<Inner>) -> Arc<Connection> {
        let mut nodes = self.nodes.lock();
        nodes.current(&self.shared);
        match nodes.asked() {
            Some(connection) => connection.clone(),
            None => {
                let address = nodes.current(&self.shared).clone();
                self.connection_to(&mut nodes, address)
            }
        }
    }

    /// The connection to another node than that.
    fn second_connection(self: &Arc<Inner>) -> Arc<Connection> {
        let mut nodes = self.nodes.lock();
        let first = [nodes.current(&self.shared).clone()].into();
        let address = self.shared.directory.lock().pick(self.shared.now(), draw(&self.shared.env), &first);
        self.connection_to(&mut nodes, address)
    }

    fn connection_to(self: &Arc<Inner>, nodes: &mut Nodes, address: Address) -> Arc<Connection> {
        if let Some(connection) = nodes.connections.get(&address) {
            return connection.clone();
        }
        nodes.last += 1;
        let (sender, outcome) = watch::channel(None);
        let connection = Arc::new(Connection { number: nodes.last, address: address.clone(), outcome });
        let directory = self.shared.directory.lock();
        nodes.connections.retain(|address, _| directory.knows(address));
        drop(directory);
        nodes.connections.insert(address.clone(), connection.clone());
        let (inner, number) = (self.clone(), nodes.last);
        tokio::spawn(async move {
            let opened = inner.open(&address).await;
            match &opened {
                Ok(_) => inner.reached(&address),
                Err(error) => inner.leave(number, &address, Some(error.message())),
            }
            sender.send_replace(Some(opened.map(Arc::new)));
        });
        connection
    }

    async fn open(&self, address: &Address) -> Result<StrongRpc> {
        Ok(StrongRpc::new(self.shared.reach(address).await?, self.leader.clone()))
    }

    fn reached(&self, address: &Address) {
        let mut nodes = self.nodes.lock();
        if nodes.current.as_ref() == Some(address) {
            nodes.endpoints.reached();
        }
    }

    /// Goes on to the next node when this one is of no use; gives the error for the caller.
    fn failed(&self, connection: &Connection, timeout: Duration, error: Error) -> Error {
        let Connection { number, address, .. } = connection;
        if is_worth_another_try(&error) || error.code() == ErrorCode::NotRunning {
            // The next try goes another way.
            self.leader.forget();
        }
        match error.code() {
            ErrorCode::ConnectionLost | ErrorCode::NotRunning => self.leave(*number, address, Some(error.message())),
            ErrorCode::NoLeader | ErrorCode::MemberRemoved => self.leave(*number, address, None),
            // It had its time. With a caller that has less patience than that it is no sign of anything.
            ErrorCode::DeadlineExceeded if timeout >= STRONG_TRY_FIRST => self.leave(*number, address, None),
            _ => {}
        }
        of_one_node(error)
    }

    /// A watch goes on at the next node, unless that is asked already.
    fn watch_failed(&self, address: &Address, error: Error) -> Error {
        let is_lost = matches!(error.code(), ErrorCode::Unreachable | ErrorCode::ConnectionLost);
        self.nodes.lock().leave(address, is_lost.then(|| error.message()));
        of_one_node(error)
    }

    /// Another node is to be asked, unless that is so already. `problem`: why the connection is of no more use.
    fn leave(&self, number: u64, address: &Address, problem: Option<&str>) {
        let mut nodes = self.nodes.lock();
        if nodes.connections.get(address).is_none_or(|connection| connection.number != number) {
            return;
        }
        if problem.is_some() {
            nodes.connections.remove(address);
        }
        if let (Some(problem), true) = (problem, nodes.current.as_ref() != Some(address)) {
            self.shared.note_failure(address, problem);
        }
        nodes.leave(address, problem);
    }
}
