//! Which node a client goes to, over a network whose distances the test says, with time that runs as fast as it may.

mod hedges;
mod leaders;
mod nodes;

use std::sync::atomic::{AtomicBool, AtomicU64};

use parking_lot::Mutex;
use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::*;
use crate::{
    env::{BoxFuture, Clock, Connection, Rng, SeededRng},
    replication::strong::{
        Call, Command as StrongCommand, Freshness, KeyspaceId, Lifetime, Operation as StrongOperation, OperationKind,
        Read, ReadCall, ReadKind, Reply, Space, Submission, Transaction,
    },
};

/// The clock of tokio's own time, which runs ahead whenever nothing is to be done.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn wall_ms(&self) -> u64 {
        1_700_000_000_000 + self.0.elapsed().as_millis() as u64
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

/// Always the same, so that of nodes that are alike the first is chosen.
struct Zero;

impl Rng for Zero {
    fn next_u64(&self) -> Result<u64> {
        Ok(0)
    }
}

/// The way to one node.
#[derive(Default)]
struct Way {
    /// What each direction takes.
    delay_us: AtomicU64,
    is_stuck: AtomicBool,
    /// Connections that were opened.
    opened: AtomicUsize,
    /// Pieces that clients have sent.
    sent: AtomicUsize,
}

impl Way {
    async fn pass(&self) {
        tokio::time::sleep(Duration::from_micros(self.delay_us.load(Ordering::SeqCst))).await;
        while self.is_stuck.load(Ordering::SeqCst) {
            tokio::time::sleep(Duration::from_millis(1)).await;
        }
    }
}

/// A network with distances.
#[derive(Default)]
struct Ways {
    network: SimulatedNetwork,
    /// By port.
    ways: Mutex<BTreeMap<u16, Arc<Way>>>,
}

impl Ways {
    fn to(&self, address: &Address) -> Arc<Way> {
        self.ways.lock().entry(address.port()).or_default().clone()
    }
}

impl Transport for Ways {
    fn listen<'a>(&'a self, host: &'a str, port: u16) -> BoxFuture<'a, std::io::Result<Box<dyn Listener>>> {
        self.network.listen(host, port)
    }

    fn connect<'a>(&'a self, to: &'a Address) -> BoxFuture<'a, std::io::Result<Box<dyn Connection>>> {
        let way = self.to(to);
        Box::pin(async move {
            let inner = self.network.connect(to).await?;
            way.pass().await;
            way.opened.fetch_add(1, Ordering::SeqCst);
            let (ours, theirs) = tokio::io::duplex(1 << 20);
            let (from_client, to_client) = tokio::io::split(theirs);
            let (from_node, to_node) = tokio::io::split(inner);
            tokio::spawn(carry(from_client, to_node, way.clone(), true));
            tokio::spawn(carry(from_node, to_client, way, false));
            Ok(Box::new(ours) as Box<dyn Connection>)
        })
    }
}

async fn carry(
    mut from: impl tokio::io::AsyncRead + Unpin,
    mut to: impl tokio::io::AsyncWrite + Unpin,
    way: Arc<Way>,
    is_sent: bool,
) {
    let mut piece = vec![0; 1 << 16];
    while let Ok(count @ 1..) = from.read(&mut piece).await {
        way.sent.fetch_add(usize::from(is_sent), Ordering::SeqCst);
        way.pass().await;
        if to.write_all(&piece[..count]).await.is_err() {
            return;
        }
    }
    // Whether the other side is there to be told is of no matter.
    let _ended = to.shutdown().await;
}

/// Three nodes that know each other, at some distance.
struct Trio {
    ways: Arc<Ways>,
    env: Env,
    addresses: Vec<Address>,
    servers: Vec<Option<Server>>,
    asked: Vec<Arc<AtomicUsize>>,
    data: Vec<Arc<Eventual>>,
    group: Arc<FakeGroup>,
}

/// What the nodes of a trio have in common.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Has {
    OneKeyspace,
    KeyspacesOfTheirOwn,
    ClustersOfTheirOwn,
}

impl Trio {
    async fn new(has: Has) -> Trio {
        let ways = Arc::new(Ways::default());
        let clock = Arc::new(TokioClock(Instant::now()));
        let env = Env { transport: ways.clone(), clock: clock.clone(), rng: Arc::new(Zero), ..Env::system() };
        let shared = Arc::new(Eventual::new(NodeId(7), clock.clone()));
        let (mut listeners, mut addresses) = (Vec::new(), Vec::new());
        for _ in 0..3 {
            let listener = ways.listen("127.0.0.1", 0).await.unwrap();
            addresses.push(Address::new("127.0.0.1", listener.port()).unwrap());
            listeners.push(listener);
        }
        let ids = [NodeId(1), NodeId(2), NodeId(3)];
        let (mut servers, mut asked, mut data) = (Vec::new(), Vec::new(), Vec::new());
        let group = FakeGroup::new();
        for (place, listener) in listeners.into_iter().enumerate() {
            let own = || Arc::new(Eventual::new(ids[place], clock.clone()));
            let keyspace = if has == Has::OneKeyspace { shared.clone() } else { own() };
            let mut host = Data::new(&keyspace, Some(group.clone()));
            let others = (0..3).filter(|&other| other != place);
            host.members = [place].into_iter().chain(others).map(|at| member(ids[at], addresses[at].clone())).collect();
            if has == Has::ClustersOfTheirOwn {
                host.cluster = format!("cluster-{place}");
            }
            asked.push(host.asked.clone());
            servers.push(Some(Server::spawn(listener, Arc::new(host), Gate::open()).await));
            data.push(keyspace);
        }
        Trio { ways, env, addresses, servers, asked, data, group }
    }

    fn way(&self, place: usize) -> Arc<Way> {
        self.ways.to(&self.addresses[place])
    }

    /// Both directions together.
    fn put_away(&self, place: usize, round_trip: Duration) {
        self.way(place).delay_us.store(round_trip.as_micros() as u64 / 2, Ordering::SeqCst);
    }

    fn client(&self, places: &[usize], hedge: Option<Duration>) -> Client {
        self.client_that(true, places, hedge)
    }

    /// A client that goes by its list.
    fn listed(&self, places: &[usize], hedge: Option<Duration>) -> Client {
        self.client_that(false, places, hedge)
    }

    fn client_that(&self, discover: bool, places: &[usize], hedge: Option<Duration>) -> Client {
        let targets = places.iter().map(|&place| self.addresses[place].clone()).collect();
        let config = ClientConfig { discover, hedge, ..ClientConfig::new(targets) };
        Client::new(config, self.env.clone(), tokio::runtime::Handle::current()).unwrap()
    }

    async fn kill(&mut self, place: usize) {
        self.servers[place].take().expect("it was not killed yet").shutdown(Duration::ZERO).await;
    }

    /// Connections to each node so far.
    fn opened(&self) -> Vec<usize> {
        (0..3).map(|place| self.way(place).opened.load(Ordering::SeqCst)).collect()
    }

    fn asked(&self) -> usize {
        self.asked.iter().map(|asked| asked.load(Ordering::SeqCst)).sum()
    }
}

/// With time that jumps to the next thing that is due.
fn fast<F: Future<Output = ()>>(test: impl FnOnce() -> F) {
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().start_paused(true).build().unwrap();
    runtime.block_on(async {
        tokio::time::timeout(Duration::from_secs(24 * 3600), test()).await.expect("the test ends");
    });
}

const CALL: Option<Duration> = Some(limits::CALL_TIMEOUT);

/// Whom the client talks to.
fn contact(client: &Client) -> Option<Address> {
    client.handle.shared.contact().map(|(address, _)| address)
}

/// The error of a call when no node can be reached any more, and the client knows.
async fn unreachable(client: &Client, operation: Operation) -> Error {
    let second = Some(Duration::from_secs(1));
    client.call(vec![get("a")], second).await.unwrap_err();
    let error = client.call(vec![operation], second).await.unwrap_err();
    assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::Unreachable, false), "{error}");
    error
}

fn increment() -> Call {
    let kind = OperationKind::Increment { by: 1, initial: 0, lifetime: Lifetime::Forever };
    let operations = vec![StrongOperation { key: key("n"), kind }];
    let transaction = Transaction { keyspace: KeyspaceId::default(), guards: Vec::new(), operations };
    Call::Submit(Submission { id: None, keyspace: "jobs".into(), command: StrongCommand::Transact(transaction) })
}
