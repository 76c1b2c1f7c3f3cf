//! What the keyspace `default` is: the founder of the strong group says so once, and every node goes by it.

use std::path::PathBuf;

use super::*;
use crate::{
    config::Durability,
    replication::{
        execute,
        strong::{
            Answer as Done, Call, Command as Change, Freshness, Lifetime, Operation as Step, OperationKind, Read,
            ReadAnswer, ReadCall, ReadKind, Reply, Space, Submission, Transaction,
        },
    },
    types::{Answer, Consistency, DefaultKeyspace, KeyRange, Operation, DEFAULT_KEYSPACE},
};

fn wanting(wanted: Consistency, config: NodeConfig) -> NodeConfig {
    NodeConfig { default_consistency: wanted, ..config }
}

fn strong(config: NodeConfig) -> NodeConfig {
    wanting(Consistency::Strong, config)
}

fn durable(config: NodeConfig) -> NodeConfig {
    NodeConfig { data_dir: Some(PathBuf::from("/node")), ..config }
}

fn default_of(node: &Node) -> DefaultKeyspace {
    node.status(false).unwrap().default_keyspace
}

fn all_are(nodes: &[&Node], expected: DefaultKeyspace) {
    eventually("all nodes know what `default` is", || nodes.iter().all(|node| default_of(node) == expected));
}

fn problems(node: &Node) -> Vec<String> {
    let problems = node.status(false).unwrap().health.problems;
    problems.into_iter().filter(|problem| problem.starts_with("default_consistency")).collect()
}

/// What a client of an eventual keyspace is told, the same for reads and writes.
fn eventual_way(node: &Node) -> Result<(), ErrorCode> {
    let key = Key::new(b"k").unwrap();
    let kind = CommandKind::Put { value: Value::new(b"eventual").unwrap(), flags: 0, ttl_ms: None };
    let keyspace = node.keyspace().unwrap();
    let read = execute(&keyspace, Operation::Get { key: key.clone(), metadata_only: false });
    let write = execute(&keyspace, Operation::Write(Command { key, kind }));
    let code = |answer: Result<Answer>| answer.map(drop).map_err(|error| error.code());
    assert_eq!(code(read), code(write.clone()));
    code(write)
}

fn ask(node: &Node, call: Call) -> Result<Reply> {
    node.ask("strong", DEADLINE, move |running| async move { running.group().call(call, DEADLINE).await })?
}

fn submit(command: Change) -> Call {
    Call::Submit(Submission { id: None, keyspace: DEFAULT_KEYSPACE.to_string(), command })
}

fn strong_put(node: &Node, value: &str) {
    let kind =
        OperationKind::Put { value: Value::new(value.as_bytes()).unwrap(), flags: 0, lifetime: Lifetime::Forever };
    let operations = vec![Step { key: Key::new(b"k").unwrap(), kind }];
    let transaction = Transaction { keyspace: Default::default(), guards: Vec::new(), operations };
    let reply = ask(node, submit(Change::Transact(transaction))).unwrap();
    assert!(matches!(reply, Reply::Done(Done::Written { revision: Some(_), .. })), "{reply:?}");
}

fn strong_get(node: &Node) -> Option<Vec<u8>> {
    let read = Read { space: Space::Data, kind: ReadKind::Key { key: Key::new(b"k").unwrap(), metadata_only: false } };
    let (keyspace, freshness) = (DEFAULT_KEYSPACE.to_string(), Freshness::Linearizable);
    let call = ReadCall { keyspace, freshness, at: None, reads: vec![read] };
    let Reply::Read(reply) = ask(node, Call::Read(call)).unwrap() else { panic!("no answer to reads") };
    match &reply.answers[..] {
        [ReadAnswer::Key { item, .. }] => item.as_ref().map(|item| item.value.to_vec()),
        other => panic!("{other:?}"),
    }
}

#[test]
fn nobody_is_served_before_the_group_is_found_and_the_group_serves_afterwards() {
    let network = SimulatedNetwork::default();
    let second = started(strong(config(2, &[1])), simulated_env(&network, 2));
    assert_eq!((default_of(&second), eventual_way(&second)), (DefaultKeyspace::Undecided, Err(ErrorCode::NoLeader)));
    let first = started(strong(config(1, &[])), simulated_env(&network, 1));
    let third = started(strong(config(3, &[2])), simulated_env(&network, 3));
    let nodes = [&first, &second, &third];
    all_are(&nodes, DefaultKeyspace::Strong);
    for node in nodes {
        assert_eq!(eventual_way(node), Err(ErrorCode::DefaultIsStrong));
        let refused = node.snapshot(PathBuf::from("/snapshot"), DEADLINE).unwrap_err();
        assert_eq!(refused.code(), ErrorCode::DefaultIsStrong);
    }
    strong_put(&second, "by the second");
    assert!(nodes.iter().all(|node| strong_get(node).as_deref() == Some(b"by the second")));
    assert!(nodes.iter().all(|node| problems(node).is_empty() && node.status(false).unwrap().keys == 0));
    let again = ask(&third, submit(Change::CreateKeyspace { name: String::new() })).unwrap_err();
    assert_eq!(again.code(), ErrorCode::KeyspaceExists);
}

#[test]
fn a_node_that_was_told_something_else_goes_by_the_cluster_and_says_so() {
    for formed in [Consistency::Strong, Consistency::Eventual] {
        let other = if formed == Consistency::Strong { Consistency::Eventual } else { Consistency::Strong };
        let network = SimulatedNetwork::default();
        let founder = started(wanting(formed, config(1, &[])), simulated_env(&network, 1));
        all_are(&[&founder], formed.into());
        let joiner = started(wanting(other, config(2, &[1])), simulated_env(&network, 2));
        eventually("the joiner knows what it was told wrong", || !problems(&joiner).is_empty());
        assert_eq!(default_of(&joiner), formed.into());
        assert!(problems(&joiner)[0].contains(&format!("formed with {:?}", formed.as_str())));
        assert_eq!(problems(&founder), Vec::<String>::new());
        match formed {
            Consistency::Strong => {
                strong_put(&joiner, "strong");
                assert_eq!(strong_get(&founder).as_deref(), Some(&b"strong"[..]));
            }
            Consistency::Eventual => {
                assert_eq!(eventual_way(&joiner), Ok(()));
                let nowhere = ask(&joiner, submit(Change::DropKeyspace { keyspace: Default::default() }));
                assert_eq!(nowhere.unwrap_err().code(), ErrorCode::UnknownKeyspace);
            }
        }
    }
}

#[test]
fn keys_that_a_node_took_before_it_knew_better_are_told_of() {
    let network = SimulatedNetwork::default();
    let early = started(config(2, &[1]), simulated_env(&network, 2));
    assert_eq!(eventual_way(&early), Ok(()), "it waits for the other and was not told of a strong `default`");
    let founder = started(strong(config(1, &[])), simulated_env(&network, 1));
    all_are(&[&founder, &early], DefaultKeyspace::Strong);
    assert_eq!(strong_get(&early), None);
    assert_eq!(problems(&early).len(), 2, "{:?}", problems(&early));
    eventually("the key has come to the founder", || problems(&founder).len() == 1);
    assert!(problems(&founder)[0].contains("is shown to nobody (keys: 1)"), "{:?}", problems(&founder));
}

#[test]
fn a_durable_node_knows_it_after_a_restart_without_anybody_else() {
    for formed in [Consistency::Strong, Consistency::Eventual] {
        let network = SimulatedNetwork::default();
        let envs = [simulated_env(&network, 1), simulated_env(&network, 2)];
        let first = started(durable(wanting(formed, config(1, &[]))), envs[0].clone());
        let second = started(durable(wanting(formed, config(2, &[1]))), envs[1].clone());
        eventually("both have a vote", || {
            let group = second.status(false).unwrap().group.unwrap();
            group.members.iter().filter(|member| member.votes).count() == 2
        });
        all_are(&[&first, &second], formed.into());
        first.stop(DEADLINE).unwrap();
        second.stop(DEADLINE).unwrap();
        // It has no majority, and its setting says something else now.
        let other = if formed == Consistency::Strong { Consistency::Eventual } else { Consistency::Strong };
        let back = started(durable(wanting(other, config(2, &[1]))), envs[1].clone());
        assert_eq!(default_of(&back), formed.into());
        assert_eq!(problems(&back).len(), 1);
        assert_eq!(eventual_way(&back).is_ok(), formed == Consistency::Eventual);
    }
}

#[test]
fn values_of_a_strong_default_outlive_its_only_node() {
    let env = simulated_env(&SimulatedNetwork::default(), 1);
    let node = started(durable(strong(config(1, &[]))), env.clone());
    all_are(&[&node], DefaultKeyspace::Strong);
    strong_put(&node, "kept");
    node.stop(DEADLINE).unwrap();
    let back = started(durable(strong(config(1, &[]))), env);
    assert_eq!(default_of(&back), DefaultKeyspace::Strong);
    assert_eq!(strong_get(&back).as_deref(), Some(&b"kept"[..]));
}

#[test]
fn no_group_is_formed_that_would_hide_what_its_founder_has() {
    let env = simulated_env(&SimulatedNetwork::default(), 1);
    // Its data stay, and its part of the group does not.
    let with = |wanted| NodeConfig { durability: Durability::Memory, ..durable(wanting(wanted, config(1, &[]))) };
    let node = started(with(Consistency::Eventual), env.clone());
    assert_eq!(eventual_way(&node), Ok(()));
    node.stop(DEADLINE).unwrap();
    let back = started(with(Consistency::Strong), env);
    all_are(&[&back], DefaultKeyspace::Eventual);
    assert_eq!(problems(&back).len(), 1);
    assert_eq!(execute(&back.keyspace().unwrap(), Operation::Count(KeyRange::default())), Ok(Answer::Count(1)));
}
