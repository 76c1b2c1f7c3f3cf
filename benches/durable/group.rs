//! Nodes of a strong group in processes of their own, and clients of it.

use std::{
    io::Read,
    path::Path,
    time::{Duration, Instant},
};

use kvstore::{
    client::{Client, ClientConfig, StrongClient},
    config::NodeConfig,
    env::Env,
    node::Node,
    replication::strong::{
        Answer, Call, Command, Freshness, KeyspaceId, Lifetime, Operation, OperationKind, Read as ReadOne, ReadAnswer,
        ReadCall, ReadKind, Reply, Space, Submission, Transaction,
    },
    types::{Address, Key, Value},
    ErrorCode,
};

use super::{key, Failure, VALUE};

const KEYSPACE: &str = "bench";

/// How long anything may take.
const PATIENCE: Duration = Duration::from_secs(30);

fn addresses(text: &str) -> Result<Vec<Address>, Failure> {
    Ok(text.split(',').filter(|part| !part.is_empty()).map(str::parse).collect::<Result<_, _>>()?)
}

/// Runs a node until standard input ends.
pub(super) fn member(dir: &Path, port: u16, peers: &str) -> Result<(), Failure> {
    let config =
        NodeConfig { port, peers: addresses(peers)?, data_dir: Some(dir.to_path_buf()), ..NodeConfig::default() };
    let node = Node::new(config, Env::system())?;
    node.start()?;
    let began = Instant::now();
    while node.status(false)?.group.is_none_or(|group| group.leader.is_none()) {
        if began.elapsed() > PATIENCE {
            return Err("the group has no leader".into());
        }
        std::thread::park_timeout(Duration::from_millis(10));
    }
    println!("READY");
    std::io::stdin().read_to_end(&mut Vec::new())?;
    Ok(node.stop(PATIENCE)?)
}

pub(super) fn client(targets: &str) -> Result<StrongClient, Failure> {
    let config = ClientConfig::new(addresses(targets)?);
    let client = Client::new(config, Env::system(), tokio::runtime::Handle::current())?;
    Ok(StrongClient::of_client(&client))
}

/// Makes the keyspace, unless it is there.
pub(super) async fn create(targets: &str) -> Result<(), Failure> {
    let command = Command::CreateKeyspace { name: KEYSPACE.to_string() };
    let call = Call::Submit(Submission { id: None, keyspace: KEYSPACE.to_string(), command });
    match client(targets)?.call(call, Some(PATIENCE)).await {
        Ok(_) => Ok(()),
        Err(error) if error.code() == ErrorCode::KeyspaceExists => Ok(()),
        Err(error) => Err(error.into()),
    }
}

pub(super) async fn put(client: &StrongClient, key: &str, value: &Value) -> Result<(), Failure> {
    let kind = OperationKind::Put { value: value.clone(), flags: 0, lifetime: Lifetime::Forever };
    let operations = vec![Operation { key: Key::new(key.as_bytes())?, kind }];
    let command = Command::Transact(Transaction { keyspace: KeyspaceId::default(), guards: Vec::new(), operations });
    let call = Call::Submit(Submission { id: None, keyspace: KEYSPACE.to_string(), command });
    match client.call(call, Some(PATIENCE)).await? {
        Reply::Done(Answer::Written { revision: Some(_), .. }) => Ok(()),
        other => Err(format!("a put was answered with {other:?}").into()),
    }
}

/// A linearizable get of a key that is there.
pub(super) async fn get(client: &StrongClient, key: &str) -> Result<(), Failure> {
    let kind = ReadKind::Key { key: Key::new(key.as_bytes())?, metadata_only: false };
    let reads = vec![ReadOne { space: Space::Data, kind }];
    let call = ReadCall { keyspace: KEYSPACE.to_string(), freshness: Freshness::Linearizable, at: None, reads };
    match client.call(Call::Read(call), Some(PATIENCE)).await? {
        Reply::Read(reply) => match &reply.answers[..] {
            [ReadAnswer::Key { item: Some(_), .. }] => Ok(()),
            other => Err(format!("a get was answered with {other:?}").into()),
        },
        other => Err(format!("a get was answered with {other:?}").into()),
    }
}

/// Puts one after the other. For each line of the input, which comes when the leader has been killed, it prints how long after the
/// line the next put was acknowledged that began after it.
pub(super) async fn failover(targets: &str) -> Result<(), Failure> {
    let (client, value) = (client(targets)?, Value::new(&VALUE)?);
    // Blocks this thread alone: the client works on others.
    let mut lines = std::io::stdin().lines();
    println!("READY");
    for number in 0.. {
        let Some(_killed) = lines.next().transpose()? else { return Ok(()) };
        let killed = Instant::now();
        put(&client, &key(number), &value).await?;
        println!("{}", killed.elapsed().as_micros());
    }
    Ok(())
}
