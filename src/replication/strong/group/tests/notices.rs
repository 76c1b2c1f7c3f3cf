//! What is committed is told without waiting, and only to a member that agreed a moment ago.

use std::collections::VecDeque;

use bytes::Bytes;
use openraft::{
    network::{RPCOption, RaftNetwork, RaftNetworkFactory},
    raft::{AppendEntriesRequest, AppendEntriesResponse},
    storage::RaftLogStorageExt,
    BasicNode, CommittedLeaderId, EntryPayload,
};
use parking_lot::Mutex;
use tokio::sync::Semaphore;

use super::super::{
    message::{Message, Reply},
    network::{Link, Network},
    *,
};
use crate::{
    env::BoxFuture,
    limits::GROUP_NOTICE_WITHIN,
    replication::strong::{
        log_store::LogStore,
        types::{LogEntry, LogId, Vote},
    },
};

type Append = AppendEntriesRequest<crate::replication::strong::types::GroupTypes>;

/// A member that keeps what it is told, and answers when it may.
struct Member {
    heard: Mutex<Vec<Append>>,
    may_answer: Semaphore,
    /// It agrees to all that follow.
    answers: Mutex<VecDeque<AppendEntriesResponse<u64>>>,
}

impl Courier for Member {
    fn exchange(
        &self,
        _address: Address,
        _member: u64,
        body: Vec<u8>,
        _patience: Duration,
    ) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(async move {
            let Message::Append(request) = Message::decode(&body)? else { panic!("something else was sent") };
            self.heard.lock().push(request);
            let _turn = self.may_answer.acquire().await.unwrap();
            let answer = self.answers.lock().pop_front().unwrap_or(AppendEntriesResponse::Success);
            Ok(Reply::Append(answer).encode().into())
        })
    }
}

struct Scene {
    member: Arc<Member>,
    network: Network,
    log: LogStore,
}

fn log_id(index: u64) -> LogId {
    LogId::new(CommittedLeaderId::new(1, 9), index)
}

fn entry(index: u64) -> LogEntry {
    LogEntry { log_id: log_id(index), payload: EntryPayload::Blank }
}

/// The entries after `prev`, and what is committed.
fn append(prev: u64, entries: Vec<LogEntry>, committed: u64) -> Append {
    let vote = Vote { committed: true, ..Vote::new(1, 9) };
    let (prev_log_id, leader_commit) = (Some(log_id(prev)), Some(log_id(committed)));
    AppendEntriesRequest { vote, prev_log_id, entries, leader_commit }
}

impl Scene {
    /// With a log that ends with entry 5.
    async fn new() -> Scene {
        let may_answer = Semaphore::new(Semaphore::MAX_PERMITS);
        let member = Arc::new(Member { heard: Mutex::default(), may_answer, answers: Mutex::default() });
        let mut log = LogStore::in_memory();
        log.blocking_append((0..=5).map(entry)).await.unwrap();
        let network = Network::new(member.clone(), Arc::default(), log.clone(), 0);
        Scene { member, network, log }
    }

    async fn link(&self) -> Link {
        self.network.clone().new_client(7, &BasicNode::new("h:7")).await
    }

    fn fall_silent(&self) {
        self.member.may_answer.forget_permits(Semaphore::MAX_PERMITS);
    }

    fn heard(&self) -> usize {
        self.member.heard.lock().len()
    }
}

/// How the request ends; `None`: it is still waited for.
async fn outcome(link: &mut Link, request: Append) -> Option<AppendEntriesResponse<u64>> {
    let asked = link.append_entries(request, RPCOption::new(Duration::from_secs(3600)));
    let outcome = tokio::time::timeout(Duration::from_millis(1), asked).await.ok()?;
    Some(outcome.unwrap())
}

#[tokio::test(start_paused = true)]
async fn who_agreed_a_moment_ago_is_told_and_not_waited_for() {
    let scene = Scene::new().await;
    let mut link = scene.link().await;
    assert_eq!(outcome(&mut link, append(4, vec![entry(5)], 4)).await, Some(AppendEntriesResponse::Success));
    scene.fall_silent();
    assert_eq!(outcome(&mut link, append(5, vec![], 5)).await, Some(AppendEntriesResponse::Success));
    tokio::time::sleep(Duration::from_millis(1)).await;
    assert_eq!(scene.member.heard.lock().last().unwrap().leader_commit, Some(log_id(5)), "it is told");
    tokio::time::sleep(GROUP_NOTICE_WITHIN).await;
    assert_eq!(outcome(&mut link, append(5, vec![], 5)).await, None, "that was long ago");
}

#[tokio::test(start_paused = true)]
async fn entries_that_wait_say_themselves_what_is_committed() {
    let mut scene = Scene::new().await;
    let mut link = scene.link().await;
    outcome(&mut link, append(4, vec![entry(5)], 4)).await.unwrap();
    scene.log.blocking_append([entry(6)]).await.unwrap();
    let before = scene.heard();
    assert_eq!(outcome(&mut link, append(5, vec![], 5)).await, Some(AppendEntriesResponse::Success));
    tokio::time::sleep(GROUP_NOTICE_WITHIN).await;
    assert_eq!(scene.heard(), before);
    outcome(&mut link, append(5, vec![], 5)).await.unwrap();
    assert_eq!(scene.heard(), before + 1, "it is asked again in time, whatever waits");
}

/// A round that confirms a leader uses a link of its own (openraft 0.9, `handle_check_is_leader_request`).
#[tokio::test(start_paused = true)]
async fn over_a_new_link_every_answer_is_the_members_own() {
    let scene = Scene::new().await;
    outcome(&mut scene.link().await, append(4, vec![entry(5)], 4)).await.unwrap();
    scene.fall_silent();
    for _ in 0..3 {
        assert_eq!(outcome(&mut scene.link().await, append(5, vec![], 5)).await, None);
    }
}

#[tokio::test(start_paused = true)]
async fn who_disagreed_is_waited_for() {
    let scene = Scene::new().await;
    let mut link = scene.link().await;
    outcome(&mut link, append(4, vec![entry(5)], 4)).await.unwrap();
    scene.member.answers.lock().push_back(AppendEntriesResponse::Conflict);
    assert_eq!(outcome(&mut link, append(4, vec![entry(5)], 5)).await, Some(AppendEntriesResponse::Conflict));
    scene.fall_silent();
    assert_eq!(outcome(&mut link, append(5, vec![], 5)).await, None);
}
