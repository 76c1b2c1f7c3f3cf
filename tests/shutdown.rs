//! After a stop there is no thread and no open port. In a process of its own, because it counts the threads of the process.

use std::{
    fs, thread,
    time::{Duration, Instant},
};

use kvstore::{config::NodeConfig, env::Env, node::Node};

/// Only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(20);

#[allow(clippy::disallowed_methods, reason = "it looks at this process, not at the world of a node")]
fn node_threads() -> usize {
    let tasks = fs::read_dir("/proc/self/task").expect("Linux shows the threads of a process");
    let name = |task: fs::DirEntry| fs::read_to_string(task.path().join("comm")).unwrap_or_default();
    tasks.flatten().map(name).filter(|name| name.starts_with("kvstore-node")).count()
}

#[allow(clippy::disallowed_methods, reason = "it waits in this process, not in the world of a node")]
#[test]
fn after_a_stop_there_is_no_thread_and_no_port() {
    let first = Node::new(NodeConfig { threads: 2, ..NodeConfig::default() }, Env::system()).unwrap();
    first.start().unwrap();
    let address = first.address().unwrap();
    let config = NodeConfig { peers: vec![address.clone()], ..NodeConfig::default() };
    let second = Node::new(config, Env::system()).unwrap();
    second.start().unwrap();
    second.wait_ready(DEADLINE).unwrap();
    assert!(node_threads() >= 2);

    first.stop(DEADLINE).unwrap();
    let again = Node::new(NodeConfig { port: address.port(), ..NodeConfig::default() }, Env::system()).unwrap();
    again.start().expect("the port is free at once");
    again.stop(DEADLINE).unwrap();
    second.stop(DEADLINE).unwrap();
    // The system shows a thread for a moment after it was joined.
    let ends = Instant::now() + DEADLINE;
    while node_threads() > 0 {
        assert!(Instant::now() < ends, "{} threads are left", node_threads());
        thread::yield_now();
    }
}
