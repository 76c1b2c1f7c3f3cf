//! A node that ends as its process would: without a flush and without a word.

use super::*;

#[test]
fn an_abandoned_node_frees_its_port_and_directory_and_comes_back_with_what_was_synced() {
    let (network, disk) = (SimulatedNetwork::default(), Arc::new(SimDisk::new(7)));
    let env = || Env { disk: disk.clone(), ..simulated_env(&network, 7) };
    let config = NodeConfig { data_dir: Some("/data".into()), ..config(1, &[]) };
    let first = started(config.clone(), env());
    put(&first, "k", "v");
    let (id, kept) = (first.id().unwrap(), first.keyspace().unwrap());
    let log = kept.ledger().unwrap().log();
    log.wait_synced(log.next(), DEADLINE).unwrap();
    first.abandon();
    first.abandon();
    assert_eq!(first.status(false).unwrap_err().code(), ErrorCode::NotRunning);
    let second = started(config, env());
    assert_eq!((second.id(), second.status(false).unwrap().keys), (Some(id), 1));
    second.stop(DEADLINE).unwrap();
}

#[test]
fn an_abandoned_node_does_not_leave_its_cluster() {
    let network = SimulatedNetwork::default();
    let first = started(config(1, &[]), simulated_env(&network, 1));
    let second = started(config(2, &[1]), simulated_env(&network, 2));
    second.wait_ready(DEADLINE).unwrap();
    second.abandon();
    let state = || first.members().unwrap().iter().find(|member| member.node == second.id()).map(|member| member.state);
    eventually("it is noticed", || state().is_some_and(|state| state != MemberState::Up));
    assert_ne!(state(), Some(MemberState::Left), "nobody has said goodbye");
    first.stop(DEADLINE).unwrap();
}
