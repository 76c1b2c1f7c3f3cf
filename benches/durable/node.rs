//! A durable node in a process of its own, and directories that one recovers from.

use std::{
    io::Read,
    path::Path,
    sync::Arc,
    time::{Duration, Instant},
};

use kvstore::{
    client::{Client, ClientConfig},
    config::{Durability, NodeConfig},
    env::Env,
    node::Node,
    replication::eventual::{open, Eventual, OpenConfig, Opened},
    types::{Answer, Command, CommandKind, Key, NodeId, Operation, Value},
};

use super::{
    key,
    load::{load, Shape, Target},
    Failure, VALUE,
};

const PATIENCE: Duration = Duration::from_secs(60);

/// Writes of which the last waits until it is on disk. Far fewer than fit into the log's buffer.
const WRITES_A_SYNC: u64 = 10_000;

/// Runs a node on a port of its own until standard input ends.
pub(super) fn serve(dir: &Path, probe: Option<&str>) -> Result<(), Failure> {
    let config = NodeConfig { data_dir: Some(dir.to_path_buf()), ..NodeConfig::default() };
    let node = Node::new(config, Env::system())?;
    let began = Instant::now();
    node.start()?;
    let start_ms = began.elapsed().as_secs_f64() * 1000.0;
    let address = node.address().ok_or("a node that runs has an address")?;
    if let Some(key) = probe {
        let config = ClientConfig::new(vec![address.clone()]);
        let client = Client::new(config, Env::system(), node.runtime()?)?;
        let get = Operation::Get { key: Key::new(key.as_bytes())?, metadata_only: false };
        let mut answers = super::runtime()?.block_on(client.call(vec![get], Some(PATIENCE)))?;
        match answers.pop() {
            Some(Ok(Answer::Entry(Some(_)))) => {}
            other => return Err(format!("the get of {key} was answered with {other:?}").into()),
        }
    }
    println!("READY {address} {start_ms:.1}");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    end_in_order(&node)
}

/// Runs a node and its writers in one process, and prints the figures of both.
pub(super) fn embed(dir: &Path, shape: Shape) -> Result<(), Failure> {
    let config = NodeConfig { data_dir: Some(dir.to_path_buf()), ..NodeConfig::default() };
    let node = Node::new(config, Env::system())?;
    node.start()?;
    let target = Target::Keyspace(node.keyspace()?, Value::new(&VALUE)?);
    super::runtime()?.block_on(load(&[target], shape))?;
    end_in_order(&node)
}

/// Stops a node, and prints what it did.
fn end_in_order(node: &Node) -> Result<(), Failure> {
    let status = node.status(false)?;
    let storage = status.storage.ok_or("a durable node has storage")?;
    println!(
        "{{\"keys\":{},\"log_bytes\":{},\"syncs\":{},\"sync_p50_ms\":{:.3},\"sync_p99_ms\":{:.3},\"snapshots\":{}}}",
        status.keys, storage.log_bytes, storage.syncs, storage.sync_p50_ms, storage.sync_p99_ms, storage.snapshots
    );
    Ok(node.stop(PATIENCE)?)
}

/// A node that is not served, so that nothing but what is asked for happens to its directory.
async fn opened(dir: &Path) -> Result<Opened, Failure> {
    let (env, defaults) = (Env::system(), NodeConfig::default());
    let clock = env.clock.clone();
    let make = move |id: NodeId| Eventual::new(id, clock.clone());
    let config = OpenConfig {
        dir: dir.to_path_buf(),
        cluster: defaults.cluster,
        durability: Durability::Sync,
        has_peers: false,
        bounds: defaults.disk,
    };
    Ok(open(&config, &env, &make, &|_, _| Ok(Box::new(|| None))).await?)
}

/// Ends the log in order.
async fn end(keyspace: &Arc<Eventual>) -> Result<(), Failure> {
    Ok(keyspace.ledger().ok_or("a durable keyspace has a ledger")?.end_run().await?)
}

/// Writes so many records with nobody who makes snapshots.
pub(super) async fn fill_log(dir: &Path, keys: u64) -> Result<(), Failure> {
    let Opened { keyspace, keeper, dir: _lock, .. } = opened(dir).await?;
    keeper.stop().await;
    let value = Value::new(&VALUE)?;
    for number in 1..=keys {
        let kind = CommandKind::Put { value: value.clone(), flags: 0, ttl_ms: None };
        keyspace.write(Command { key: Key::new(key(number).as_bytes())?, kind })?;
        if number % WRITES_A_SYNC == 0 {
            keyspace.durable(keyspace.written()).await?;
        }
    }
    end(&keyspace).await
}

/// Writes a snapshot and cuts the log, as a node does by itself when its log has grown.
pub(super) async fn checkpoint(dir: &Path) -> Result<(), Failure> {
    let Opened { keyspace, keeper, dir: _lock, .. } = opened(dir).await?;
    keeper.checkpoint().await?;
    keeper.stop().await;
    end(&keyspace).await
}
