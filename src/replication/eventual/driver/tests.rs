//! Whole replicas on a tokio runtime, joined by channels.

use std::{collections::BTreeMap, future::Future, pin::Pin};

use tokio::time;

use super::*;
use crate::{
    env::{Clock, SeededRng, SimDisk, SimulatedNetwork, SystemClock},
    limits::PEER_QUEUE_MESSAGES_MAX,
    replication::eventual::Eventual,
    types::{Command, CommandKind, Key, NodeId, PeerMessage, Value},
};

/// No condition takes longer, unless it never comes.
const DEADLINE: Duration = Duration::from_secs(20);

/// Who answers at which port.
#[derive(Clone, Default)]
struct Switchboard {
    nodes: Arc<Mutex<BTreeMap<u16, Arc<Replication>>>>,
}

impl Dialer for Switchboard {
    fn dial(&self, to: Address) -> Pin<Box<dyn Future<Output = Result<PeerStream>> + Send + '_>> {
        Box::pin(async move {
            let target = self.nodes.lock().get(&to.port()).cloned();
            let target = target.ok_or_else(|| Error::new(ErrorCode::Unreachable, "nobody listens"))?;
            let (ours, theirs) = stream_pair();
            target.accept(theirs).await?;
            Ok(ours)
        })
    }
}

fn stream_pair() -> (PeerStream, PeerStream) {
    let (out_a, in_b) = wire();
    let (out_b, in_a) = wire();
    (PeerStream { outbound: out_a, inbound: in_a }, PeerStream { outbound: out_b, inbound: in_b })
}

/// One direction: what goes in comes out, until either end is dropped.
fn wire() -> (mpsc::Sender<PeerMessage>, mpsc::Receiver<Result<PeerMessage>>) {
    let (outbound, mut messages) = mpsc::channel(PEER_QUEUE_MESSAGES_MAX);
    let (arriving, inbound) = mpsc::channel(1);
    tokio::spawn(async move {
        loop {
            tokio::select! {
                message = messages.recv() => {
                    let Some(message) = message else { return };
                    if arriving.send(Ok(message)).await.is_err() {
                        return;
                    }
                }
                () = arriving.closed() => return,
            }
        }
    });
    (outbound, inbound)
}

struct TestNode {
    keyspace: Arc<Eventual>,
    replication: Arc<Replication>,
}

fn address(port: u16) -> Address {
    Address::new("node", port).unwrap()
}

fn start(switchboard: &Switchboard, port: u16, peers: &[u16]) -> TestNode {
    let clock = Arc::new(SystemClock::new());
    let keyspace = Arc::new(Eventual::new(NodeId(u64::from(port)), Arc::clone(&clock) as Arc<dyn Clock>));
    let rng = Arc::new(SeededRng::new(u64::from(port)));
    let (transport, disk) = (Arc::new(SimulatedNetwork::default()), Arc::new(SimDisk::new(u64::from(port))));
    let env = Env { clock, rng, transport, disk };
    let config = ReplicationConfig {
        cluster: "test".to_string(),
        advertise: address(port),
        peers: peers.iter().map(|&port| address(port)).collect(),
        membership: Membership::default(),
    };
    let dialer = Arc::new(switchboard.clone());
    let replication = Arc::new(Replication::spawn(config, Arc::clone(&keyspace), dialer, env));
    switchboard.nodes.lock().insert(port, Arc::clone(&replication));
    TestNode { keyspace, replication }
}

fn put(keyspace: &Eventual, key: &str) {
    let kind = CommandKind::Put { value: Value::new(b"value").unwrap(), flags: 0, ttl_ms: None };
    keyspace.write(Command { key: Key::new(key.as_bytes()).unwrap(), kind }).unwrap();
}

async fn until(what: &str, condition: impl Fn() -> bool) {
    let wait = async {
        while !condition() {
            time::sleep(Duration::from_millis(1)).await;
        }
    };
    assert!(time::timeout(DEADLINE, wait).await.is_ok(), "{what} does not come");
}

/// Three nodes of which each knows one other at most.
fn start_three(switchboard: &Switchboard) -> [TestNode; 3] {
    [start(switchboard, 1, &[]), start(switchboard, 2, &[1]), start(switchboard, 3, &[1])]
}

fn are_equal(nodes: &[TestNode]) -> bool {
    nodes.windows(2).all(|pair| pair[0].keyspace.digests() == pair[1].keyspace.digests())
}

fn is_complete(node: &TestNode, others: usize) -> bool {
    node.replication.members().iter().filter(|member| member.connected).count() == others + 1
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn three_nodes_find_each_other_and_converge() {
    let switchboard = Switchboard::default();
    let nodes = start_three(&switchboard);
    for (number, node) in nodes.iter().enumerate() {
        for key in 0..5000 {
            let key = format!("key{}", key % 1000 + number * 500);
            put(&node.keyspace, &key);
            assert!(node.keyspace.read(key.as_bytes()).is_some(), "a write is there before any peer has it");
        }
    }
    for node in &nodes {
        time::timeout(DEADLINE, node.replication.ready()).await.expect("every node becomes ready");
        until("a connection with every node", || is_complete(node, 2)).await;
    }
    until("convergence", || are_equal(&nodes)).await;
    until("an empty backlog", || {
        nodes.iter().all(|node| node.replication.status().peers.iter().all(|peer| peer.unacknowledged == 0))
    })
    .await;
    assert!(nodes.iter().all(|node| node.replication.status().ready));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_shutdown_hands_over_every_write_and_leaves_no_task() {
    let switchboard = Switchboard::default();
    let nodes = start_three(&switchboard);
    for node in &nodes {
        until("a connection with every node", || is_complete(node, 2)).await;
    }
    (0..20_000).for_each(|key| put(&nodes[0].keyspace, &format!("key{key}")));
    assert!(nodes[0].replication.shutdown(DEADLINE).await, "every peer has everything");
    assert!(are_equal(&nodes));
    assert!(!nodes[0].replication.shutdown(DEADLINE).await, "it is over");
    assert!(nodes[0].replication.accept(stream_pair().0).await.is_err());
    assert!(nodes[1].replication.shutdown(DEADLINE).await && nodes[2].replication.shutdown(DEADLINE).await);
    let tasks = tokio::runtime::Handle::current().metrics();
    until("the end of all tasks", || tasks.num_alive_tasks() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn dropping_a_replica_ends_its_tasks() {
    let switchboard = Switchboard::default();
    let nodes = start_three(&switchboard);
    until("a connection", || is_complete(&nodes[0], 2)).await;
    switchboard.nodes.lock().clear();
    drop(nodes);
    let tasks = tokio::runtime::Handle::current().metrics();
    until("the end of all tasks", || tasks.num_alive_tasks() == 0).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_that_restarts_empty_gets_everything_back() {
    let switchboard = Switchboard::default();
    let mut nodes = Vec::from(start_three(&switchboard));
    for node in &nodes {
        until("a connection with every node", || is_complete(node, 2)).await;
        (0..2000).for_each(|key| put(&node.keyspace, &format!("{}-{key}", node.keyspace.me())));
    }
    until("convergence", || are_equal(&nodes)).await;
    let gone = nodes.remove(0);
    switchboard.nodes.lock().remove(&1);
    drop(gone);
    nodes.push(start(&switchboard, 4, &[2]));
    time::timeout(DEADLINE, nodes[2].replication.ready()).await.expect("the new node becomes ready");
    until("convergence", || are_equal(&nodes)).await;
    assert_eq!(nodes[2].keyspace.stats().keys, 6000, "also what the node wrote that is gone");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_node_of_another_cluster_is_refused_and_shown() {
    let switchboard = Switchboard::default();
    let mut strangers = start_three(&switchboard);
    let config = ReplicationConfig {
        cluster: "other".to_string(),
        advertise: address(4),
        peers: vec![address(1)],
        membership: Membership::default(),
    };
    let env = Env { transport: Arc::new(SimulatedNetwork::default()), ..Env::system() };
    let keyspace = Arc::clone(&start(&Switchboard::default(), 4, &[]).keyspace);
    strangers[0].replication = Arc::new(Replication::spawn(config, keyspace, Arc::new(switchboard.clone()), env));
    let problem = || strangers[0].replication.status().peers.first().map(|peer| peer.problem.clone());
    until("the refusal", || problem().is_some_and(|problem| problem.contains("belongs to cluster"))).await;
    assert!(!strangers[0].replication.status().ready);
}
