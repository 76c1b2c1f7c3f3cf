//! Who is let in with which token, for each kind of call; and what is told to whom is not.

use std::sync::atomic::{AtomicUsize, Ordering};

use tokio_stream::StreamExt;

use super::{
    authority::{Authority, Flaw},
    *,
};
use crate::{
    config::NodeConfig,
    env::{BoxFuture, Env, SeededRng, SimDisk},
    limits::{CALL_TIMEOUT, CONNECTIONS_MAX},
    replication::{eventual::Dialer, strong::Courier},
    types::{ConflictQuery, KeyRange, Sampling, Secret, SurveyQuery, TlsFiles, Trust},
    wire::v1::{self, strong_client::StrongClient},
};

pub(super) const TOKEN: &str = "sesame-4711";

pub(super) fn secret(text: &str) -> Secret {
    text.parse().unwrap()
}

/// A world with a disk for certificates.
pub(super) struct World {
    pub(super) disk: Arc<SimDisk>,
    pub(super) authority: Authority,
    env: Env,
}

impl World {
    pub(super) fn new(transport: Arc<dyn Transport>) -> World {
        let disk = Arc::new(SimDisk::new(7));
        let env = Env {
            clock: Arc::new(SimulatedClock::new(1_700_000_000_000)),
            rng: Arc::new(SeededRng::new(7)),
            transport,
            disk: disk.clone(),
        };
        World { authority: Authority::new(&disk, "ours"), disk, env }
    }

    /// What a node is given.
    fn config(&self, tls: Option<&TlsFiles>, token: Option<&str>) -> NodeConfig {
        NodeConfig { tls: tls.cloned(), token: token.map(secret), ..NodeConfig::default() }
    }

    /// A node that is given these.
    pub(super) async fn node(&self, tls: Option<&TlsFiles>, token: Option<&str>) -> Fixture {
        let gate = Gate::read(&self.config(tls, token), &*self.disk).unwrap();
        let listener = self.env.transport.listen("127.0.0.1", 0).await.unwrap();
        Fixture::behind(gate, self.env.transport.clone(), listener, (None, Some(FakeGroup::new()))).await
    }

    /// A certificate for the host of every node here.
    pub(super) fn identity(&self, file: &str) -> TlsFiles {
        self.authority.issue(file, "127.0.0.1", Flaw::None)
    }

    /// The way of a client that is given these.
    pub(super) fn client(&self, trust: Option<&Trust>, token: Token) -> Access {
        Access::of_client(&self.env, trust, token, false).unwrap()
    }

    /// The way of another node that is given these.
    pub(super) fn peer(&self, tls: Option<&TlsFiles>, token: Option<&str>) -> Access {
        Access::of_node(&self.env, &self.config(tls, token)).unwrap()
    }
}

pub(super) fn refused<T>(outcome: Result<T, Error>) -> ErrorCode {
    outcome.map(|_| ()).expect_err("it is refused").code()
}

/// How a call of each kind ends that clients make.
async fn client_calls(access: &Access, to: &Address) -> Vec<(&'static str, ErrorCode)> {
    let channel = access.connect(to).await.unwrap();
    let mut found = Vec::new();
    let mut kv = KvClient::new(channel.clone());
    found.push(("get", code(kv.get(v1::GetRequest { key: b"k".as_slice().into(), ..Default::default() }).await)));
    let put = v1::PutRequest { key: b"k".as_slice().into(), ..Default::default() };
    found.push(("put", code(kv.put(put).await)));
    found.push(("scan", code(kv.scan(v1::ScanRequest::default()).await.map(|_| ()))));
    let pipeline = open_pipeline(channel.clone(), None, tokio_stream::pending::<v1::PipelineRequest>()).await;
    found.push(("pipeline", refused(pipeline)));
    found.push(("watch", refused(open_watch(channel.clone(), v1::WatchRequest::default()).await)));
    found.push(("conflicts", refused(node_conflicts(channel.clone(), &ConflictQuery::default()).await)));
    found.push(("status", refused(node_status(channel.clone(), false).await)));
    found.push(("members", refused(node_members(channel.clone()).await)));
    found.push(("remove", refused(remove_member(channel.clone(), NodeId(9), true).await)));
    found.push(("leader", refused(move_leader(channel.clone(), None).await)));
    found.push(("holdings", refused(node_holdings(channel.clone()).await)));
    let query = SurveyQuery { keyspace: String::new(), range: KeyRange::default(), share: 1, top: 1 };
    found.push(("survey", refused(node_survey(channel.clone(), query).await)));
    found.push(("monitor", refused(open_monitor(channel.clone(), Sampling::Rate(1)).await)));
    found.push(("snapshot", refused(open_snapshot(channel.clone()).await)));
    found.push(("delete", code(kv.delete(v1::DeleteRequest::default()).await)));
    found.push(("touch", code(kv.touch(v1::TouchRequest::default()).await)));
    found.push(("count", code(kv.count(v1::CountRequest::default()).await)));
    found.push(("batch get", code(kv.batch_get(v1::BatchGetRequest::default()).await)));
    found.push(("batch put", code(kv.batch_put(v1::BatchPutRequest::default()).await)));
    found.push(("batch delete", code(kv.batch_delete(v1::BatchDeleteRequest::default()).await)));
    found.push(("catch up", code(kv.catch_up(v1::CatchUpRequest::default()).await)));
    let mut strong = StrongClient::new(channel.clone());
    found.push(("submit", code(strong.submit(v1::SubmitRequest::default()).await)));
    found.push(("read", code(strong.read(v1::ReadRequest::default()).await)));
    found.push(("batch", code(strong.batch(v1::StrongBatchRequest::default()).await)));
    let stream = strong.converse(tokio_stream::empty()).await;
    found.push(("stream of batches", code(stream.map(|_| ()))));
    found.push(("await lock", code(strong.await_lock(v1::AwaitLockRequest::default()).await)));
    found.push(("lease", code(strong.get_lease(v1::GetLeaseRequest::default()).await)));
    found.push(("leases", code(strong.list_leases(v1::ListLeasesRequest::default()).await)));
    found.push(("keyspaces", code(strong.keyspaces(v1::KeyspacesRequest::default()).await)));
    let changes = strong.watch_changes(v1::WatchChangesRequest::default()).await;
    found.push(("strong watch", code(changes.map(|_| ()))));
    found
}

/// How a call of each kind ends that nodes make.
pub(super) async fn node_calls(access: &Access, to: &Address) -> Vec<(&'static str, ErrorCode)> {
    let stream = RpcDialer::new(access.clone()).dial(to.clone()).await.map(|_| ());
    let courier = GroupCourier::new(access.clone(), "default".to_string());
    let exchange = courier.exchange(to.clone(), 1, Vec::new(), CALL_TIMEOUT).await;
    vec![("peer", refused(stream)), ("group", refused(exchange))]
}

#[tokio::test]
async fn without_the_token_no_call_of_any_kind_is_made() {
    for transport in transports() {
        let world = World::new(transport);
        let mut node = world.node(None, Some(TOKEN)).await;
        for token in [Token::None, Token::Fixed(secret("sesame-4712"))] {
            let access = world.client(None, token);
            for (call, code) in within(client_calls(&access, &node.address)).await {
                assert_eq!(code, ErrorCode::TokenRefused, "{call}");
            }
            for (call, code) in within(node_calls(&access, &node.address)).await {
                assert_eq!(code, ErrorCode::TokenRefused, "{call}");
            }
        }
        assert_eq!((node.host.keyspace.stats().keys, node.accepted.try_recv().is_err()), (0, true));
    }
}

#[tokio::test]
async fn with_the_token_calls_are_made() {
    for transport in transports() {
        let world = World::new(transport);
        let mut node = world.node(None, Some(TOKEN)).await;
        let channel = world.client(None, Token::Fixed(secret(TOKEN))).connect(&node.address).await.unwrap();
        let put = v1::PutRequest { key: b"k".as_slice().into(), ..Default::default() };
        KvClient::new(channel.clone()).put(put).await.unwrap();
        assert_eq!(node_status(channel, false).await.unwrap().node, NodeId(7));
        let _stream = RpcDialer::new(world.peer(None, Some(TOKEN))).dial(node.address.clone()).await.unwrap();
        assert!(within(node.accepted.recv()).await.is_some());
    }
}

#[tokio::test]
async fn health_is_told_to_everybody() {
    use tonic_health::pb::{health_client::HealthClient, HealthCheckRequest};
    let world = World::new(simulated());
    let node = world.node(None, Some(TOKEN)).await;
    let channel = world.client(None, Token::None).connect(&node.address).await.unwrap();
    let answer = HealthClient::new(channel).check(HealthCheckRequest::default()).await.unwrap();
    assert_eq!(answer.into_inner().status, 1);
}

/// Says one token after the other, and counts how often it was asked.
struct Rotating(AtomicUsize, &'static [&'static str]);

impl TokenSource for Rotating {
    fn ask(&self) -> BoxFuture<'_, Result<Secret, Error>> {
        let asked = self.0.fetch_add(1, Ordering::SeqCst);
        Box::pin(async move { Ok(secret(self.1[asked.min(self.1.len() - 1)])) })
    }
}

#[tokio::test]
async fn a_source_is_asked_again_once_after_its_token_was_refused() {
    for transport in transports() {
        let world = World::new(transport);
        let node = world.node(None, Some(TOKEN)).await;
        let source = Arc::new(Rotating(AtomicUsize::new(0), &["old", TOKEN]));
        let access = world.client(None, Token::Asked(source.clone()));
        for _ in 0..3 {
            let channel = within(access.connect(&node.address)).await.unwrap();
            assert_eq!(node_status(channel, false).await.unwrap().node, NodeId(7));
        }
        assert_eq!(source.0.load(Ordering::SeqCst), 2, "what was good is not asked for again");
        let stubborn = Arc::new(Rotating(AtomicUsize::new(0), &["old"]));
        let access = world.client(None, Token::Asked(stubborn.clone()));
        let channel = within(access.connect(&node.address)).await.unwrap();
        assert_eq!(refused(node_status(channel, false).await), ErrorCode::TokenRefused);
        assert_eq!(stubborn.0.load(Ordering::SeqCst), 2);
    }
}

#[tokio::test]
async fn a_token_is_not_sent_in_the_clear_to_another_machine() {
    let world = World::new(simulated());
    let elsewhere = Address::new("10.0.0.1", 1).unwrap();
    let source = Arc::new(Rotating(AtomicUsize::new(0), &[TOKEN]));
    for token in [Token::Fixed(secret(TOKEN)), Token::Asked(source.clone())] {
        let outcome = world.client(None, token.clone()).connect(&elsewhere).await;
        let error = outcome.map(|_| ()).unwrap_err();
        assert_eq!(error.code(), ErrorCode::BadSetting);
        assert!(!error.message().contains(TOKEN), "{error}");
        let careless = Access::of_client(&world.env, None, token, true).unwrap();
        // Nobody listens there; it was tried.
        assert_eq!(refused(careless.connect(&elsewhere).await), ErrorCode::Unreachable);
    }
    let insecure = NodeConfig { insecure: true, ..world.config(None, Some(TOKEN)) };
    for (config, expected) in
        [(world.config(None, Some(TOKEN)), ErrorCode::BadSetting), (insecure, ErrorCode::Unreachable)]
    {
        let access = Access::of_node(&world.env, &config).unwrap();
        assert_eq!(refused(access.connect(&elsewhere).await), expected);
    }
}

#[tokio::test]
async fn a_reserved_place_is_not_kept_by_saying_a_wrong_token() {
    let world = World::new(simulated());
    let node = world.node(None, Some(TOKEN)).await;
    let mut clients = Vec::new();
    for _ in 0..CONNECTIONS_MAX {
        clients.push(world.client(None, Token::Fixed(secret(TOKEN))).connect(&node.address).await.unwrap());
        node_status(clients.last().unwrap().clone(), false).await.unwrap();
    }
    let wrong = RpcDialer::new(world.client(None, Token::Fixed(secret("no")))).dial(node.address.clone()).await;
    assert_eq!(refused(wrong), ErrorCode::TokenRefused);
    let stream = RpcDialer::new(world.peer(None, Some(TOKEN))).dial(node.address.clone()).await;
    assert!(stream.is_ok());
}

#[tokio::test]
async fn a_watch_over_tls_is_told_what_happens() {
    let world = World::new(simulated());
    let node = world.node(Some(&world.identity("node")), Some(TOKEN)).await;
    let access = world.client(Some(&world.authority.trust()), Token::Fixed(secret(TOKEN)));
    let channel = within(access.connect(&node.address)).await.unwrap();
    let mut watch = KvClient::new(channel.clone()).watch(v1::WatchRequest::default()).await.unwrap().into_inner();
    let put = v1::PutRequest { key: b"k".as_slice().into(), ..Default::default() };
    KvClient::new(channel).put(put).await.unwrap();
    let told = async {
        while let Some(page) = watch.next().await {
            if !page.unwrap().events.is_empty() {
                return true;
            }
        }
        false
    };
    assert!(within(told).await);
}
