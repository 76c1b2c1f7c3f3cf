//! What a member makes of a log that ends before, or with, the decision what `default` is.

use std::collections::{BTreeMap, BTreeSet};

use futures_util::future::BoxFuture;
use openraft::{storage::RaftLogStorageExt, BasicNode, CommittedLeaderId, EntryPayload, Membership};

use super::super::*;
use crate::{
    env::{Clock, SystemClock},
    replication::strong::{
        types::{LogEntry, LogId},
        Call, Command, Entry, Freshness, ReadCall, Request,
    },
    types::DEFAULT_KEYSPACE,
};

pub(super) const ME: NodeId = NodeId(7);

/// Only a hang reaches it.
pub(super) const DEADLINE: Duration = Duration::from_secs(20);

/// Nobody is anywhere.
struct Alone;

impl Courier for Alone {
    fn exchange(
        &self,
        _address: Address,
        _member: u64,
        _body: Vec<u8>,
        _patience: Duration,
    ) -> BoxFuture<'_, Result<bytes::Bytes>> {
        Box::pin(async { Err(Error::new(ErrorCode::Unreachable, "nobody is here")) })
    }
}

/// As a founder writes it first, with these members.
pub(super) fn founded(members: &[u64]) -> LogEntry {
    let nodes: BTreeMap<u64, BasicNode> =
        members.iter().map(|member| (*member, BasicNode::new(format!("h:{member}")))).collect();
    let voters: BTreeSet<u64> = members.iter().copied().collect();
    let payload = EntryPayload::Membership(Membership::new(vec![voters], nodes));
    LogEntry { log_id: LogId::new(CommittedLeaderId::new(0, 0), 0), payload }
}

pub(super) fn entry(index: u64, commands: Vec<Command>) -> LogEntry {
    let requests = commands.into_iter().map(|command| Request { id: None, command }).collect();
    let log_id = LogId::new(CommittedLeaderId::new(1, ME.0), index);
    LogEntry { log_id, payload: EntryPayload::Normal(Arc::new(Entry { time_ms: 1, requests })) }
}

pub(super) fn create(name: &str) -> Command {
    Command::CreateKeyspace { name: name.to_string() }
}

pub(super) async fn spawn(entries: Vec<LogEntry>, forms: Consistency) -> Group {
    let mut store = GroupStore::in_memory(ME);
    store.log.blocking_append(entries).await.unwrap();
    let config = GroupConfig {
        address: Address::new("h", 7).unwrap(),
        peers: Vec::new(),
        bounds: GroupBounds::default(),
        history: HistoryBounds::default(),
        forms,
    };
    Group::spawn(store, config, Arc::new(Alone), Env::system()).await.unwrap()
}

async fn reads(group: &Group) -> Result<()> {
    let (keyspace, freshness) = (DEFAULT_KEYSPACE.to_string(), Freshness::Linearizable);
    let call = Call::Read(ReadCall { keyspace, freshness, at: None, reads: Vec::new() });
    group.call(call, DEADLINE).await.map(drop)
}

#[tokio::test]
async fn a_founder_that_broke_off_before_it_decided_decides_when_it_is_back() {
    for forms in [Consistency::Strong, Consistency::Eventual] {
        let group = spawn(vec![founded(&[ME.0])], forms).await;
        assert_eq!(group.default_consistency(), None);
        assert_eq!(tokio::time::timeout(DEADLINE, group.decided_default()).await.unwrap(), Ok(forms));
        assert_eq!(reads(&group).await.is_ok(), forms == Consistency::Strong);
        group.retire().await;
    }
}

#[tokio::test]
async fn what_was_decided_once_stays_whatever_is_wanted_later() {
    let other = [(vec![], Consistency::Strong), (vec![create(DEFAULT_KEYSPACE)], Consistency::Eventual)];
    for (decision, forms) in other {
        let decided = if decision.is_empty() { Consistency::Eventual } else { Consistency::Strong };
        let group = spawn(vec![founded(&[ME.0]), entry(1, decision), entry(2, vec![create("jobs")])], forms).await;
        assert_eq!(group.default_consistency(), Some(decided));
        assert_eq!(reads(&group).await.is_ok(), decided == Consistency::Strong);
        assert_eq!(group.default_consistency(), Some(decided));
        group.retire().await;
    }
}

#[tokio::test]
async fn a_member_without_a_majority_knows_from_its_log_and_decides_nothing_itself() {
    let log = vec![founded(&[ME.0, 8]), entry(1, vec![create(DEFAULT_KEYSPACE)])];
    let group = spawn(log, Consistency::Eventual).await;
    assert_eq!(group.default_consistency(), Some(Consistency::Strong));
    group.retire().await;
    let group = spawn(vec![founded(&[ME.0, 8])], Consistency::Strong).await;
    let clock = SystemClock::new();
    // It has stood for election in vain by then.
    while group.status().term < 2 && clock.monotonic() < DEADLINE {
        tokio::task::yield_now().await;
    }
    assert_eq!(group.default_consistency(), None);
    group.retire().await;
}
