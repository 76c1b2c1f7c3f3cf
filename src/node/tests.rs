//! Whole nodes over a simulated network; over TCP where the port itself matters.

mod abandoned;
mod default;
mod snapshots;
mod strong;
mod watch;

use super::*;
use crate::{
    env::{Clock, SeededRng, SimDisk, SimulatedNetwork, SystemClock, Transport},
    types::{Command, CommandKind, Key, MemberState, PeerState, Value},
};

/// Only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(60);

fn simulated_env(network: &SimulatedNetwork, seed: u64) -> Env {
    Env {
        clock: Arc::new(SystemClock::new()),
        rng: Arc::new(SeededRng::new(seed)),
        transport: Arc::new(network.clone()),
        disk: Arc::new(SimDisk::new(seed)),
    }
}

fn config(port: u16, peers: &[u16]) -> NodeConfig {
    let peers = peers.iter().map(|&port| Address::new("127.0.0.1", port).unwrap()).collect();
    NodeConfig { port, peers, threads: 1, ..NodeConfig::default() }
}

fn started(config: NodeConfig, env: Env) -> Node {
    let node = Node::new(config, env).unwrap();
    node.start().unwrap();
    node
}

fn put(node: &Node, key: &str, value: &str) {
    let kind = CommandKind::Put { value: Value::new(value.as_bytes()).unwrap(), flags: 0, ttl_ms: None };
    node.keyspace().unwrap().write(Command { key: Key::new(key.as_bytes()).unwrap(), kind }).unwrap();
}

fn eventually(what: &str, mut is_so: impl FnMut() -> bool) {
    let clock = SystemClock::new();
    while !is_so() {
        assert!(clock.monotonic() < DEADLINE, "{what}");
        std::thread::park_timeout(Duration::from_millis(2));
    }
}

fn equal(nodes: &[&Node]) -> bool {
    let digests: Vec<_> = nodes.iter().map(|node| node.status(true).unwrap().digests).collect();
    digests.windows(2).all(|pair| pair[0] == pair[1])
}

#[test]
fn three_nodes_find_each_other_and_converge() {
    let network = SimulatedNetwork::default();
    let first = started(config(1, &[]), simulated_env(&network, 1));
    let second = started(config(2, &[1]), simulated_env(&network, 2));
    let third = started(config(3, &[1]), simulated_env(&network, 3));
    let nodes = [&first, &second, &third];
    for (number, node) in nodes.iter().enumerate() {
        node.wait_ready(DEADLINE).unwrap();
        for i in 0..200 {
            put(node, &format!("own-{number}-{i}"), "value");
            put(node, &format!("shared-{i}"), &format!("by {number}"));
        }
    }
    eventually("every node is connected with both others", || {
        nodes.iter().all(|node| {
            let members = node.members().unwrap();
            members.len() == 3 && members.iter().all(|member| member.connected)
        })
    });
    eventually("all contents are equal", || {
        nodes.iter().all(|node| node.status(false).unwrap().keys == 800) && equal(&nodes)
    });
    assert_eq!(first.members().unwrap()[0].node, Some(first.id().unwrap()));
    for node in nodes {
        node.stop(DEADLINE).unwrap();
    }
}

#[test]
fn a_node_of_another_cluster_is_refused_and_the_status_says_why() {
    let network = SimulatedNetwork::default();
    let here = started(config(1, &[]), simulated_env(&network, 1));
    let stranger = NodeConfig { cluster: "other".to_string(), ..config(2, &[1]) };
    let stranger = started(stranger, simulated_env(&network, 2));
    eventually("the stranger sees that it is refused", || {
        let peers = stranger.status(false).unwrap().peers;
        peers.iter().any(|peer| peer.state == PeerState::Refused && peer.problem.contains("default"))
    });
    put(&here, "k", "v");
    assert_eq!(stranger.status(false).unwrap().keys, 0);
    assert_eq!(stranger.wait_ready(Duration::ZERO).unwrap_err().code(), ErrorCode::DeadlineExceeded);
}

#[test]
fn a_taken_port_names_its_owner() {
    let owner = started(NodeConfig { cluster: "shop".to_string(), ..config(0, &[]) }, Env::system());
    let port = owner.address().unwrap().port();
    let error = Node::new(config(port, &[]), Env::system()).unwrap().start().unwrap_err();
    assert_eq!(error.code(), ErrorCode::AddressInUse);
    let named = format!("port {port} is taken by node {} of cluster 'shop'", owner.id().unwrap());
    assert!(error.message().starts_with(&named), "{error}");
    owner.stop(DEADLINE).unwrap();
}

#[test]
fn a_port_taken_by_a_stranger_is_said_to_be_so() {
    let network = SimulatedNetwork::default();
    let env = simulated_env(&network, 1);
    let runtime = Builder::new_current_thread().build().unwrap();
    let _listener = runtime.block_on(env.transport.listen("127.0.0.1", 1)).unwrap();
    let error = Node::new(config(1, &[]), env).unwrap().start().unwrap_err();
    assert_eq!(error.code(), ErrorCode::AddressInUse);
    assert!(error.message().contains("another process"), "{error}");
}

#[test]
fn a_host_that_is_not_ours_cannot_be_bound() {
    // From the block for documentation (RFC 5737), which no machine has.
    let config = NodeConfig { host: "192.0.2.1".to_string(), insecure: true, ..config(0, &[]) };
    let error = Node::new(config, Env::system()).unwrap().start().unwrap_err();
    assert_eq!(error.code(), ErrorCode::BindFailed);
}

#[test]
fn a_node_starts_once_and_stops_once_however_often_it_is_told() {
    let network = SimulatedNetwork::default();
    let node = Node::new(config(0, &[]), simulated_env(&network, 1)).unwrap();
    assert_eq!((node.is_running(), node.address()), (false, None));
    assert_eq!(node.keyspace().map(|_| ()).unwrap_err().code(), ErrorCode::NotRunning);
    node.start().unwrap();
    let address = node.address().unwrap();
    node.start().unwrap();
    assert_eq!(node.address(), Some(address));
    assert!(node.is_running());
    node.wait_ready(Duration::from_secs(5)).unwrap();

    put(&node, "k", "v");
    let keyspace = node.keyspace().unwrap();
    node.stop(DEADLINE).unwrap();
    node.stop(DEADLINE).unwrap();
    assert!(!node.is_running());
    assert!(keyspace.read(b"k").is_some(), "data that is still held stays readable");
    for code in [node.start(), node.wait_ready(DEADLINE), node.status(false).map(|_| ()), node.members().map(|_| ())] {
        assert_eq!(code.unwrap_err().code(), ErrorCode::NotRunning);
    }
}

#[test]
fn a_node_that_was_never_started_can_be_stopped() {
    let node = Node::new(config(0, &[]), simulated_env(&SimulatedNetwork::default(), 1)).unwrap();
    node.stop(Duration::ZERO).unwrap();
    assert_eq!(node.start().unwrap_err().code(), ErrorCode::NotRunning);
}

#[test]
fn a_stop_hands_over_what_the_peers_lack() {
    let network = SimulatedNetwork::default();
    let leaving = started(config(1, &[]), simulated_env(&network, 1));
    let staying = started(config(2, &[1]), simulated_env(&network, 2));
    staying.wait_ready(DEADLINE).unwrap();
    for i in 0..20_000 {
        put(&leaving, &format!("k{i}"), "value");
    }
    leaving.stop(DEADLINE).unwrap();
    assert_eq!(staying.status(false).unwrap().keys, 20_000);
}

#[test]
fn a_stop_wakes_who_waits_for_readiness() {
    let network = SimulatedNetwork::default();
    // Nobody listens there, so it does not become ready.
    let node = started(config(1, &[9]), simulated_env(&network, 1));
    std::thread::scope(|scope| {
        let waiting = scope.spawn(|| node.wait_ready(DEADLINE));
        node.stop(DEADLINE).unwrap();
        assert_eq!(waiting.join().unwrap().unwrap_err().code(), ErrorCode::NotRunning);
    });
}

#[test]
fn a_dropped_node_gives_its_port_back() {
    let network = SimulatedNetwork::default();
    drop(started(config(1, &[]), simulated_env(&network, 1)));
    let runtime = Builder::new_current_thread().build().unwrap();
    let is_free = || runtime.block_on(network.listen("127.0.0.1", 1)).is_ok();
    eventually("the port is free", is_free);
}

#[test]
fn every_incarnation_has_an_identity_of_its_own_and_never_zero() {
    struct ZeroFirst(std::sync::atomic::AtomicU64);
    impl crate::env::Rng for ZeroFirst {
        fn next_u64(&self) -> Result<u64> {
            Ok(self.0.fetch_add(1, std::sync::atomic::Ordering::Relaxed))
        }
    }
    let env = Env { rng: Arc::new(ZeroFirst(Default::default())), ..simulated_env(&SimulatedNetwork::default(), 1) };
    let ids = [(); 3].map(|()| Node::new(config(0, &[]), env.clone()).unwrap().id().unwrap().0);
    assert_eq!(ids, [1, 2, 3]);
}

#[test]
fn reads_go_on_while_the_node_stops() {
    let network = SimulatedNetwork::default();
    let node = started(config(1, &[]), simulated_env(&network, 1));
    put(&node, "k", "v");
    std::thread::scope(|scope| {
        let reader = scope.spawn(|| {
            let mut reads = 0u64;
            while let Ok(keyspace) = node.keyspace() {
                assert!(keyspace.read(b"k").is_some());
                reads += 1;
            }
            reads
        });
        eventually("it is running", || node.is_running());
        node.stop(DEADLINE).unwrap();
        reader.join().unwrap();
    });
}

fn state_of(at: &Node, id: NodeId) -> Option<MemberState> {
    at.members().unwrap().iter().find(|member| member.node == Some(id)).map(|member| member.state)
}

/// Three nodes that are all up for each other.
fn three(network: &SimulatedNetwork) -> [Node; 3] {
    let nodes = [(1, &[][..]), (2, &[1]), (3, &[1])]
        .map(|(port, peers)| started(config(port, peers), simulated_env(network, port.into())));
    eventually("all three are up for each other", || {
        nodes.iter().all(|at| nodes.iter().all(|of| state_of(at, of.id().unwrap()) == Some(MemberState::Up)))
    });
    nodes
}

#[test]
fn a_killed_node_is_dead_within_five_seconds_and_its_next_incarnation_takes_its_place() {
    let network = SimulatedNetwork::default();
    let [first, second, third] = three(&network);
    let (clock, id) = (SystemClock::new(), third.id().unwrap());
    drop(third);
    let is_dead = |at: &Node| state_of(at, id) == Some(MemberState::Dead);
    eventually("both others say that it is dead", || is_dead(&first) && is_dead(&second));
    assert!(clock.monotonic() < Duration::from_secs(5), "{:?}", clock.monotonic());
    assert!(first.status(false).unwrap().health.problems[0].contains(&id.to_string()));
    let error = first.remove_member(first.id().unwrap(), true).unwrap_err();
    assert_eq!(error.code(), ErrorCode::InvalidArgument);
    let third = started(config(3, &[1]), simulated_env(&network, 33));
    eventually("the next is up and the former is not shown", || {
        [&first, &second].iter().all(|at| {
            state_of(at, third.id().unwrap()) == Some(MemberState::Up)
                && state_of(at, id).is_none()
                && at.members().unwrap().len() == 3
        })
    });
}

#[test]
fn a_stopped_node_has_left() {
    let network = SimulatedNetwork::default();
    let [first, second, third] = three(&network);
    put(&third, "k", "v");
    third.stop(DEADLINE).unwrap();
    eventually("both others say that it left", || {
        [&first, &second].iter().all(|at| state_of(at, third.id().unwrap()) == Some(MemberState::Left))
    });
    assert!(first.status(false).unwrap().health.problems.is_empty(), "nobody waits for it");
    eventually("its address is not dialled", || first.status(false).unwrap().peers.len() == 1);
    assert_eq!(second.status(false).unwrap().keys, 1);
}

#[test]
fn a_member_is_removed_once_it_is_dead_or_by_force_and_then_refuses_writes() {
    let network = SimulatedNetwork::default();
    let [first, second, third] = three(&network);
    let unknown = first.remove_member(NodeId(9), false).unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::UnknownMember);
    assert_eq!(first.remove_member(third.id().unwrap(), false).unwrap_err().code(), ErrorCode::MemberUp);
    put(&third, "before", "v");
    eventually("the write is everywhere", || first.status(false).unwrap().keys == 1);
    first.remove_member(third.id().unwrap(), true).unwrap();
    first.remove_member(third.id().unwrap(), true).unwrap();
    eventually("it knows", || third.status(false).unwrap().removed);
    let write = Command { key: Key::new(b"after").unwrap(), kind: CommandKind::Delete };
    assert_eq!(third.keyspace().unwrap().write(write).unwrap_err().code(), ErrorCode::MemberRemoved);
    assert!(third.keyspace().unwrap().read(b"before").is_some(), "reads go on");
    assert!(!third.status(false).unwrap().health.serving);
    eventually("all agree", || state_of(&second, third.id().unwrap()) == Some(MemberState::Removed));
    eventually("nobody talks to it", || {
        [&first, &second].iter().all(|at| at.members().unwrap().iter().filter(|member| member.connected).count() == 2)
    });
    third.stop(DEADLINE).unwrap();
    let again = started(config(3, &[1]), simulated_env(&network, 33));
    eventually("it is back as a new member", || state_of(&second, again.id().unwrap()) == Some(MemberState::Up));
    put(&again, "again", "v");
    eventually("it takes part", || equal(&[&first, &second, &again]));
}
