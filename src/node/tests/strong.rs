//! The strong group of whole nodes: it forms, whoever knows whom; it takes writes and reads at every node; it survives its leader.

use super::*;
use crate::{
    replication::strong::{
        Answer, Call, Command as Change, Freshness, Guard, Lifetime, Operation, OperationKind, Read, ReadAnswer,
        ReadCall, ReadKind, Reply, Space, Submission, Transaction, Until,
    },
    types::GroupRole,
};

const KEYSPACE: &str = "shop";

fn submit(keyspace: &str, command: Change) -> Call {
    Call::Submit(Submission { id: None, keyspace: keyspace.to_string(), command })
}

fn ask(node: &Node, call: Call) -> crate::Result<Reply> {
    node.ask("strong", DEADLINE, move |running| async move { running.group().call(call, DEADLINE).await })?
}

fn key(text: &str) -> Key {
    Key::new(text.as_bytes()).unwrap()
}

fn put_call(name: &str, value: &str, guards: Vec<Guard>) -> Call {
    let kind =
        OperationKind::Put { value: Value::new(value.as_bytes()).unwrap(), flags: 0, lifetime: Lifetime::Forever };
    let operations = vec![Operation { key: key(name), kind }];
    submit(KEYSPACE, Change::Transact(Transaction { keyspace: Default::default(), guards, operations }))
}

fn strong_put(node: &Node, name: &str, value: &str) {
    let reply = ask(node, put_call(name, value, Vec::new())).unwrap();
    assert!(matches!(reply, Reply::Done(Answer::Written { revision: Some(_), .. })), "{reply:?}");
}

fn strong_get(node: &Node, name: &str, freshness: Freshness) -> Option<Vec<u8>> {
    let read = Read { space: Space::Data, kind: ReadKind::Key { key: key(name), metadata_only: false } };
    let call = ReadCall { keyspace: KEYSPACE.to_string(), freshness, at: None, reads: vec![read] };
    let Reply::Read(reply) = ask(node, Call::Read(call)).unwrap() else { panic!("no answer to reads") };
    match &reply.answers[..] {
        [ReadAnswer::Key { item, .. }] => item.as_ref().map(|item| item.value.to_vec()),
        other => panic!("{other:?}"),
    }
}

fn voters(node: &Node) -> usize {
    node.running().unwrap().group().status().members.iter().filter(|member| member.votes).count()
}

/// The place of the node that leads, once one does: on a busy machine there may be none for a moment.
fn leading(nodes: &[Node]) -> usize {
    let leads = |node: &Node| node.running().unwrap().group().status().role == GroupRole::Leader;
    let mut found = None;
    eventually("somebody leads", || {
        found = nodes.iter().position(leads);
        found.is_some()
    });
    found.unwrap()
}

fn formed(nodes: &[&Node]) {
    eventually("all nodes have a vote", || nodes.iter().all(|node| voters(node) == nodes.len()));
}

/// Nodes at the ports from 1 on, each with its list of peers.
fn started_with<const NODES: usize>(network: &SimulatedNetwork, lists: [&[u16]; NODES]) -> Vec<Node> {
    let start = |(port, peers): (u16, &[u16])| started(config(port, peers), simulated_env(network, port.into()));
    (1u16..).zip(lists).map(start).collect()
}

fn create(node: &Node) {
    ask(node, submit(KEYSPACE, Change::CreateKeyspace { name: String::new() })).unwrap();
}

#[test]
fn three_nodes_form_a_group_that_every_node_serves() {
    let network = SimulatedNetwork::default();
    let nodes = started_with(&network, [&[2, 3], &[1, 3], &[1, 2]]);
    let all: Vec<&Node> = nodes.iter().collect();
    formed(&all);
    create(all[0]);
    for (number, node) in all.iter().enumerate() {
        strong_put(node, &format!("k{number}"), &format!("by {number}"));
        for other in &all {
            let found = strong_get(other, &format!("k{number}"), Freshness::Linearizable);
            assert_eq!(found, Some(format!("by {number}").into_bytes()));
        }
    }
    let refused = ask(all[1], put_call("k1", "again", vec![Guard::Absent { key: key("k1") }])).unwrap_err();
    assert_eq!((refused.code(), refused.is_maybe_applied()), (ErrorCode::VersionConflict, false));
    let unknown = ask(all[2], submit("nowhere", Change::DropKeyspace { keyspace: Default::default() })).unwrap_err();
    assert_eq!(unknown.code(), ErrorCode::UnknownKeyspace);
}

#[test]
fn calls_that_come_together_are_each_answered_in_their_place() {
    let network = SimulatedNetwork::default();
    let nodes = started_with(&network, [&[], &[1]]);
    formed(&nodes.iter().collect::<Vec<_>>());
    create(&nodes[0]);
    strong_put(&nodes[0], "there", "before");
    let read = |keyspace: &str, freshness| {
        let read = Read { space: Space::Data, kind: ReadKind::Key { key: key("there"), metadata_only: false } };
        Call::Read(ReadCall { keyspace: keyspace.to_string(), freshness, at: None, reads: vec![read] })
    };
    let Call::Submit(put) = put_call("k", "v", Vec::new()) else { panic!("a put is a change") };
    let nowhere = Call::Submit(Submission { keyspace: "nowhere".to_string(), ..put });
    let calls = vec![
        put_call("a", "1", Vec::new()),
        read(KEYSPACE, Freshness::Linearizable),
        nowhere,
        Call::Keyspaces,
        put_call("there", "again", vec![Guard::Absent { key: key("there") }]),
        read("nowhere", Freshness::Linearizable),
        read(KEYSPACE, Freshness::Local),
        put_call("b", "2", Vec::new()),
    ];
    for node in &nodes {
        let asked = calls.clone();
        let ask = move |running: Arc<Running>| async move { running.group().call_many(asked, DEADLINE).await };
        let answers = node.ask("strong", DEADLINE, ask).unwrap();
        let codes: Vec<Option<ErrorCode>> =
            answers.iter().map(|answer| answer.as_ref().err().map(Error::code)).collect();
        let (unknown, conflict) = (Some(ErrorCode::UnknownKeyspace), Some(ErrorCode::VersionConflict));
        assert_eq!(codes, [None, None, unknown, None, conflict, unknown, None, None]);
        let is_written = |answer: &crate::Result<Reply>| matches!(answer, Ok(Reply::Done(Answer::Written { .. })));
        assert!(is_written(&answers[0]) && is_written(&answers[7]), "{answers:?}");
        for read in [&answers[1], &answers[6]] {
            let Ok(Reply::Read(reply)) = read else { panic!("{read:?}") };
            assert!(
                matches!(&reply.answers[..], [ReadAnswer::Key { item: Some(item), .. }] if &*item.value == b"before")
            );
        }
        assert!(matches!(&answers[3], Ok(Reply::Keyspaces(found)) if !found.is_empty()));
    }
}

#[test]
fn a_group_goes_on_when_its_leader_stops_and_takes_it_back_as_somebody_new() {
    let network = SimulatedNetwork::default();
    let mut nodes = started_with(&network, [&[], &[1], &[1, 2]]);
    formed(&nodes.iter().collect::<Vec<_>>());
    create(&nodes[0]);
    strong_put(&nodes[1], "k", "before");
    let old = nodes.remove(leading(&nodes));
    let port = old.address().unwrap().port();
    old.stop(DEADLINE).unwrap();
    let rest: Vec<&Node> = nodes.iter().collect();
    eventually("the one that left is no member any more", || voters(rest[0]) == 2);
    assert_eq!(strong_get(rest[1], "k", Freshness::Linearizable), Some(b"before".to_vec()));
    strong_put(rest[0], "k", "after");

    let peers: Vec<u16> = rest.iter().map(|node| node.address().unwrap().port()).collect();
    let new = started(config(port, &peers), simulated_env(&network, 77));
    formed(&[rest[0], rest[1], &new]);
    assert_eq!(strong_get(&new, "k", Freshness::Linearizable), Some(b"after".to_vec()));
}

#[test]
fn a_node_that_is_removed_leaves_the_group_and_does_not_come_back() {
    let network = SimulatedNetwork::default();
    let nodes = started_with(&network, [&[], &[1], &[1, 2]]);
    formed(&nodes.iter().collect::<Vec<_>>());
    create(&nodes[0]);
    let (stays, removed) = (&nodes[0], &nodes[2]);
    stays.remove_member(removed.id().unwrap(), true).unwrap();
    eventually("the removed node takes no part any more", || {
        removed.status(false).unwrap().group.is_some_and(|group| group.role == GroupRole::None)
    });
    eventually("the one that stays knows", || voters(stays) == 2);
    let refused = ask(removed, put_call("k", "v", Vec::new())).unwrap_err();
    assert_eq!((refused.code(), refused.is_maybe_applied()), (ErrorCode::NotRunning, false), "{refused}");
    strong_put(stays, "k", "by those who stay");
}

#[test]
fn of_two_nodes_each_can_remove_the_other_whose_vote_that_takes() {
    for leads in [true, false] {
        let network = SimulatedNetwork::default();
        let nodes = started_with(&network, [&[], &[1]]);
        formed(&nodes.iter().collect::<Vec<_>>());
        create(&nodes[0]);
        let leader = leading(&nodes);
        let place = if leads { leader } else { 1 - leader };
        let (stays, removed) = (&nodes[place], &nodes[1 - place]);
        stays.remove_member(removed.id().unwrap(), true).unwrap();
        eventually("it is alone", || voters(stays) == 1);
        strong_put(stays, "k", "by the one that stays");
    }
}

#[test]
fn a_dead_member_that_led_is_removed_by_its_successor() {
    let network = SimulatedNetwork::default();
    let mut nodes = started_with(&network, [&[], &[1], &[1, 2]]);
    formed(&nodes.iter().collect::<Vec<_>>());
    let dead = nodes.remove(leading(&nodes));
    let gone = dead.id().unwrap();
    drop(dead);
    nodes[0].remove_member(gone, true).unwrap();
    eventually("its vote is gone", || voters(&nodes[0]) == 2);
    create(&nodes[1]);
    strong_put(&nodes[1], "k", "under its successor");
}

#[test]
fn a_dead_member_without_which_the_group_has_no_majority_is_removed_from_the_cluster_all_the_same() {
    let network = SimulatedNetwork::default();
    let mut nodes = started_with(&network, [&[], &[1]]);
    formed(&nodes.iter().collect::<Vec<_>>());
    let dead = nodes.pop().unwrap();
    let stays = &nodes[0];
    let gone = dead.id().unwrap();
    drop(dead);
    // Its threads end by themselves, and it may answer until they have.
    eventually("the other is gone", || network_is_gone(stays));
    let refused = stays.remove_member(gone, true).unwrap_err();
    assert!(refused.to_string().contains("the cluster has removed member"), "{refused}");
    assert_eq!(state_of(stays, gone), Some(MemberState::Removed));
}

#[test]
fn the_time_that_is_left_is_told_also_while_nothing_is_written() {
    let network = SimulatedNetwork::default();
    let nodes = started_with(&network, [&[], &[1], &[1]]);
    let all: Vec<&Node> = nodes.iter().collect();
    formed(&all);
    create(all[0]);
    let value = Value::new(b"v").unwrap();
    let kind = OperationKind::Put { value, flags: 0, lifetime: Lifetime::Ttl(3_600_000) };
    let operations = vec![Operation { key: key("k"), kind }];
    let transaction = Transaction { keyspace: Default::default(), guards: Vec::new(), operations };
    ask(all[0], submit(KEYSPACE, Change::Transact(transaction))).unwrap();
    let left_ms = |node: &Node| {
        let read = Read { space: Space::Data, kind: ReadKind::Key { key: key("k"), metadata_only: true } };
        let freshness = Freshness::Linearizable;
        let call = ReadCall { keyspace: KEYSPACE.to_string(), freshness, at: None, reads: vec![read] };
        let Reply::Read(reply) = ask(node, Call::Read(call)).unwrap() else { panic!("no answer to reads") };
        let [ReadAnswer::Key { item: Some(item), .. }] = &reply.answers[..] else { panic!("{:?}", reply.answers) };
        let Until::Elapsed(deadline_ms) = item.until else { panic!("{item:?}") };
        deadline_ms.saturating_sub(reply.elapsed_ms)
    };
    for node in all {
        eventually("time passes", || left_ms(node) <= 3_600_000 - 300);
    }
}

#[test]
fn requests_that_no_entry_can_hold_are_refused_before_the_consensus_sees_them() {
    let network = SimulatedNetwork::default();
    let node = started(config(1, &[]), simulated_env(&network, 1));
    formed(&[&node]);
    create(&node);
    let value = Value::new(&vec![7; crate::limits::VALUE_BYTES_MAX]).unwrap();
    let put = |number: u64| {
        let kind = OperationKind::Put { value: value.clone(), flags: 0, lifetime: Lifetime::Forever };
        Operation { key: key(&format!("k{number}")), kind }
    };
    let transaction = |count| {
        let operations = (0..count).map(put).collect();
        submit(KEYSPACE, Change::Transact(Transaction { keyspace: Default::default(), guards: Vec::new(), operations }))
    };
    for too_many in [5, 9] {
        let refused = ask(&node, transaction(too_many)).unwrap_err();
        assert_eq!((refused.code(), refused.is_maybe_applied()), (ErrorCode::BatchTooLarge, false), "{refused}");
    }
    strong_put(&node, "k", "the group goes on");
}

#[test]
fn without_a_majority_nothing_is_acknowledged_and_the_basis_goes_on() {
    let network = SimulatedNetwork::default();
    let nodes = started_with(&network, [&[2], &[1]]);
    formed(&[&nodes[0], &nodes[1]]);
    create(&nodes[0]);
    let mut nodes = nodes.into_iter();
    let (stays, leaves) = (nodes.next().unwrap(), nodes.next().unwrap());
    drop(leaves);
    eventually("the other is gone", || network_is_gone(&stays));
    let call = put_call("k", "v", Vec::new());
    let outcome = stays.ask("strong", DEADLINE, move |running| async move {
        running.group().call(call, Duration::from_millis(1500)).await
    });
    let error = outcome.unwrap().unwrap_err();
    assert!(matches!(error.kind(), crate::error::ErrorKind::Timeout | crate::error::ErrorKind::Unavailable), "{error}");
    put(&stays, "basis", "goes on");
    assert!(stays.keyspace().unwrap().read(b"basis").is_some());
}

fn network_is_gone(node: &Node) -> bool {
    node.members().unwrap().iter().filter(|member| member.connected).count() == 1
}
