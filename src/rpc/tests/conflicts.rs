//! The conflicts of a node in pages, and those of a cluster, some of whose members keep silent.

use super::*;
use crate::{
    limits::{MESSAGE_BYTES_MAX, PAGE_KEYS_MAX, VALUE_BYTES_MAX},
    storage::partition_of,
    types::{Change, Command, CommandKind, ConflictQuery, Key, MemberState, PartitionChanges, Timestamp, Value},
    wire::v1,
};

/// Writes these keys here, and lets a peer that has not seen that replace them all.
fn lose(keyspace: &Eventual, keys: &[String], value_bytes: usize) {
    let keys: Vec<Key> = keys.iter().map(|key| Key::new(key.as_bytes()).unwrap()).collect();
    let value = Value::new(&bytes(value_bytes)).unwrap();
    for key in &keys {
        let kind = CommandKind::Put { value: value.clone(), flags: 0, ttl_ms: None };
        keyspace.write(Command { key: key.clone(), kind }).unwrap();
    }
    for key in keys {
        let partition = partition_of(&key);
        let first_sequence = keyspace.position(partition, NodeId(9)).next();
        let lost = keyspace.read(&key).unwrap().timestamp;
        let timestamp = Timestamp::from_millis(lost.millis() + 1);
        let change = Change { key, value: Some(value.clone()), flags: 0, timestamp, expires_ms: None };
        let stretch = PartitionChanges { partition, first_sequence, seen: Vec::new(), changes: vec![change] };
        keyspace.apply_changes(NodeId(9), stretch);
    }
}

fn numbered(count: usize) -> Vec<String> {
    (0..count).map(|number| format!("key/{number}")).collect()
}

async fn pages(fixture: &Fixture, request: v1::ConflictsRequest) -> Vec<v1::ConflictsPage> {
    let mut stream = fixture.client().await.conflicts(request).await.unwrap().into_inner();
    let mut pages = Vec::new();
    while let Some(page) = stream.message().await.unwrap() {
        pages.push(page);
    }
    pages
}

#[tokio::test]
async fn pages_are_bounded_in_number_and_bytes_and_lose_nothing() {
    for (keys, value_bytes) in [(PAGE_KEYS_MAX + 1, 1), (5, VALUE_BYTES_MAX)] {
        let fixture = Fixture::new(simulated()).await;
        lose(&fixture.host.keyspace, &numbered(keys), value_bytes);
        let pages = pages(&fixture, v1::ConflictsRequest::default()).await;
        assert!(pages.len() > 1 && pages.iter().all(|page| page.conflicts.len() <= PAGE_KEYS_MAX));
        assert!(pages.iter().all(|page| prost::Message::encoded_len(page) < MESSAGE_BYTES_MAX));
        let told = pages.iter().flat_map(|page| &page.conflicts).map(|conflict| conflict.key.to_vec());
        let expected = numbered(keys).into_iter().rev().map(String::into_bytes);
        assert_eq!(told.collect::<Vec<_>>(), expected.collect::<Vec<_>>(), "the newest first");
        let all = node_conflicts(fixture.channel().await, &ConflictQuery::default()).await.unwrap();
        assert_eq!(all.len(), keys);
    }
}

#[tokio::test]
async fn a_question_is_checked_and_its_limits_are_kept() {
    let fixture = Fixture::new(simulated()).await;
    lose(&fixture.host.keyspace, &["a/1".into(), "a/2".into(), "b/1".into()], 1);
    let count =
        |request| async { pages(&fixture, request).await.iter().map(|page| page.conflicts.len()).sum::<usize>() };
    let request = v1::ConflictsRequest::default;
    assert_eq!(count(v1::ConflictsRequest { prefix: "a/".into(), ..request() }).await, 2);
    assert_eq!(count(v1::ConflictsRequest { limit: 2, ..request() }).await, 2);
    assert_eq!(count(v1::ConflictsRequest { since_ms: Some(u64::MAX), ..request() }).await, 0);
    let mut client = fixture.client().await;
    let unknown = v1::ConflictsRequest { keyspace: "other".into(), ..request() };
    assert_eq!(code(client.conflicts(unknown).await), ErrorCode::UnknownKeyspace);
    let long = v1::ConflictsRequest { prefix: bytes(9000), ..request() };
    assert_eq!(code(client.conflicts(long).await), ErrorCode::KeyTooLong);
}

#[tokio::test]
async fn members_are_asked_each_conflict_comes_once_and_the_silent_are_named() {
    let fixture = Fixture::new(simulated()).await;
    lose(&fixture.host.keyspace, &numbered(3), 1);
    let query = ConflictQuery::default();
    let own = node_conflicts(fixture.channel().await, &query).await.unwrap();
    let member = |address: &Address, connected| MemberStatus {
        node: None,
        address: address.clone(),
        connected,
        state: MemberState::Unknown,
        since_ms: 0,
        born_ms: 0,
        behind: 0,
    };
    let nobody = |port| Address::new("127.0.0.1", port).unwrap();
    // The same node by another name, one that does not answer, and one that is away.
    let members = vec![
        member(&fixture.address, true),
        member(&fixture.address, true),
        member(&nobody(2), true),
        member(&nobody(1), false),
    ];
    let found =
        within(gather_conflicts(own.clone(), members, Access::plain(fixture.transport.clone()), query.clone())).await;
    assert_eq!(found.writes, own);
    let silent: Vec<_> = found.silent.iter().map(|(address, error)| (address.port(), error.code())).collect();
    assert_eq!(silent, [(1, ErrorCode::Unreachable), (2, ErrorCode::Unreachable)]);
    let all = all_conflicts(fixture.channel().await, Access::plain(fixture.transport.clone()), query).await.unwrap();
    assert_eq!((all.writes, all.silent.len()), (own, MEMBERS_MAX));
}

/// Under cuts of the network one node told of fewer conflicts than the others: it had lost its connection with a member a
/// moment ago, whom the client could have asked.
#[tokio::test]
async fn a_member_that_the_asked_node_alone_has_lost_is_asked_too() {
    let fixture = Fixture::new(simulated()).await;
    lose(&fixture.host.keyspace, &numbered(3), 1);
    let member = |state| MemberStatus {
        node: None,
        address: fixture.address.clone(),
        connected: false,
        state,
        since_ms: 0,
        born_ms: 0,
        behind: 0,
    };
    for (state, found_count) in [(MemberState::Up, 3), (MemberState::Suspected, 3), (MemberState::Dead, 0)] {
        // The first is the node that was asked.
        let members = vec![member(MemberState::Up), member(state)];
        let (transport, query) = (fixture.transport.clone(), ConflictQuery::default());
        let found = within(gather_conflicts(Vec::new(), members, Access::plain(transport), query)).await;
        assert_eq!((found.writes.len(), found.silent.is_empty()), (found_count, found_count > 0), "{state:?}");
    }
}
