//! The client against the real server, over TCP and over the simulated network.

mod failures;
mod routing;
mod security;
mod sessions;
mod snapshots;
mod traffic;
mod watches;

use std::{
    future::Future,
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
};

use bytes::Bytes;
use tokio::{io::AsyncReadExt, runtime::Runtime, sync::mpsc};

use super::*;
use crate::{
    env::{Listener, SimulatedNetwork, SystemClock, TcpTransport, Transport},
    replication::{
        eventual::{Eventual, PeerStream, Reach, Reaching},
        strong::Group,
    },
    rpc::{spawn_mute, Accepting, FakeGroup, Gate, Host, Moving, Refreshing, Removing, Sending, Server, Unfit},
    types::{Command, CommandKind, Dot, Key, MemberState, NodeId, PartitionId, Value},
};

/// A node as far as clients see it: real data, the real server, no peers.
struct Data {
    keyspace: Arc<Eventual>,
    strong: Option<Arc<dyn StrongBackend>>,
    cluster: String,
    /// Whom it says there is, itself first.
    members: Vec<MemberStatus>,
    /// How often it was asked for them.
    asked: Arc<AtomicUsize>,
}

impl Data {
    fn new(keyspace: &Arc<Eventual>, strong: Option<Arc<dyn StrongBackend>>) -> Data {
        let (keyspace, asked) = (keyspace.clone(), Arc::default());
        let members = vec![member(keyspace.me(), Address::new("127.0.0.1", 1).unwrap())];
        Data { keyspace, strong, cluster: "default".into(), members, asked }
    }
}

fn member(node: NodeId, address: Address) -> MemberStatus {
    let (connected, state) = (true, MemberState::Up);
    MemberStatus { node: Some(node), address, connected, state, since_ms: 0, born_ms: 0, behind: 0 }
}

/// Nobody can bring it anything.
impl Reach for Data {
    fn out_of_reach(&self, wanted: Vec<(PartitionId, Dot)>) -> Reaching<'_> {
        Box::pin(std::future::ready(wanted))
    }
}

impl Host for Data {
    fn keyspace(&self) -> &Arc<Eventual> {
        &self.keyspace
    }

    fn strong(&self) -> Option<Arc<dyn StrongBackend>> {
        self.strong.clone()
    }

    fn cluster(&self) -> &str {
        &self.cluster
    }

    fn group(&self) -> Option<&Group> {
        None
    }

    fn refresh_spaces(&self) -> Refreshing<'_> {
        Box::pin(std::future::ready(Ok(())))
    }

    fn reach(&self) -> &dyn Reach {
        self
    }

    fn status(&self, _digests: bool) -> NodeStatus {
        let address = Address::new("127.0.0.1", 1).unwrap();
        NodeStatus { keys: self.keyspace.stats().keys, ..NodeStatus::of_nothing(self.keyspace.me(), address) }
    }

    fn members(&self) -> Vec<MemberStatus> {
        self.asked.fetch_add(1, Ordering::SeqCst);
        self.members.clone()
    }

    fn remove_member(&self, node: NodeId, _force: bool) -> Removing<'_> {
        Box::pin(async move { Err(Error::new(ErrorCode::UnknownMember, format!("no member {node}"))) })
    }

    fn move_leader(&self, _: Option<NodeId>) -> Moving<'_> {
        Box::pin(async { Err(Error::new(ErrorCode::Unsupported, "there is no strong group")) })
    }

    fn unfit(&self) -> Unfit<'_> {
        Box::pin(std::future::pending())
    }

    fn snapshot<'a>(&'a self, pieces: &'a mpsc::Sender<Result<Bytes>>) -> Sending<'a> {
        Box::pin(snapshots::send(&self.keyspace, pieces))
    }

    fn accept(&self, _stream: PeerStream) -> Accepting<'_> {
        Box::pin(async { Err(Error::new(ErrorCode::WrongCluster, "no peers here")) })
    }
}

/// A network with nodes and clients on it.
pub(super) struct World {
    env: Env,
    data: Arc<Eventual>,
}

impl World {
    fn new(transport: Arc<dyn Transport>) -> World {
        let env = Env { transport, ..Env::system() };
        World { data: Arc::new(Eventual::new(NodeId(7), Arc::new(SystemClock::new()))), env }
    }

    pub(super) fn simulated() -> World {
        World::new(Arc::new(SimulatedNetwork::default()))
    }

    fn tcp() -> World {
        World::new(Arc::new(TcpTransport))
    }

    pub(super) async fn listen(&self) -> (Box<dyn Listener>, Address) {
        let listener = self.env.transport.listen("127.0.0.1", 0).await.unwrap();
        let address = Address::new("127.0.0.1", listener.port()).unwrap();
        (listener, address)
    }

    /// A node; all nodes of a world serve the same data.
    pub(super) async fn node(&self) -> (Server, Address) {
        self.node_of(&self.data).await
    }

    /// A node that serves these data.
    async fn node_of(&self, data: &Arc<Eventual>) -> (Server, Address) {
        let (listener, address) = self.listen().await;
        (Server::spawn(listener, Arc::new(Data::new(data, None)), Gate::open()).await, address)
    }

    /// A node with strong keyspaces.
    pub(super) async fn strong_node(&self, group: &Arc<FakeGroup>) -> (Server, Address) {
        let (listener, address) = self.listen().await;
        let host = Data::new(&self.data, Some(group.clone()));
        (Server::spawn(listener, Arc::new(host), Gate::open()).await, address)
    }

    pub(super) fn client(&self, targets: &[&Address]) -> Client {
        self.client_with(targets, Retry::default())
    }

    pub(super) fn client_with(&self, targets: &[&Address], retry: Retry) -> Client {
        let targets = targets.iter().map(|&target| target.clone()).collect();
        let config = ClientConfig { retry, discover: false, ..ClientConfig::new(targets) };
        Client::new(config, self.env.clone(), tokio::runtime::Handle::current()).unwrap()
    }
}

/// Runs the test over both networks.
pub(super) fn over_both<F: Future<Output = ()>>(test: impl Fn(World) -> F) {
    for world in [World::simulated, World::tcp] {
        runtime().block_on(async {
            let finished = tokio::time::timeout(Duration::from_secs(60), test(world())).await;
            finished.expect("the test ends");
        });
    }
}

pub(super) fn runtime() -> Runtime {
    tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap()
}

fn key(key: &str) -> Key {
    Key::new(key.as_bytes()).unwrap()
}

fn get(name: &str) -> Operation {
    Operation::Get { key: key(name), metadata_only: false }
}

fn put(name: &str, value: &[u8]) -> Operation {
    let kind = CommandKind::Put { value: Value::new(value).unwrap(), flags: 0, ttl_ms: None };
    Operation::Write(Command { key: key(name), kind })
}

const SECONDS: Option<Duration> = Some(Duration::from_secs(20));

async fn value(client: &Client, name: &str) -> Result<Option<Vec<u8>>> {
    let answers = client.call(vec![get(name)], SECONDS).await?;
    match answers.into_iter().next().expect("one operation has one answer")? {
        Answer::Entry(entry) => Ok(entry.map(|entry| entry.value.to_vec())),
        other => panic!("a get was answered by {other:?}"),
    }
}

async fn store(client: &Client, name: &str, value: &[u8]) -> Result<()> {
    client.call(vec![put(name, value)], SECONDS).await?.remove(0).map(drop)
}

fn with_tcp<F: Future<Output = ()>>(test: impl FnOnce(World) -> F) {
    runtime().block_on(async {
        tokio::time::timeout(Duration::from_secs(60), test(World::tcp())).await.expect("the test ends");
    });
}
