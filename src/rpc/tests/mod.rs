//! A server over both transports, with a fake node behind it.

mod calls;
mod conflicts;
mod conversation;
mod encryption;
mod hostile;
mod lifecycle;
mod operators;
mod peers;
mod pipeline;
mod security;
mod sessions;
mod snapshots;
mod spaces;
mod strong;
mod watch;
mod web;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::{mpsc, oneshot};
use tonic::Status;

use super::{strong::fake::FakeGroup, *};
use crate::{
    env::{Listener, SimulatedClock, SimulatedNetwork, TcpTransport, Transport},
    error::{Error, ErrorCode, Result as OurResult},
    limits::{MEMBERS_MAX, MESSAGE_BYTES_MAX},
    replication::{
        eventual::{Eventual, PeerStream, Reach, Reaching},
        strong::Group,
    },
    types::{
        Address, Catalogue, DefaultKeyspace, Dot, GroupRole, GroupStatus, Health, LogState, MemberState, MemberStatus,
        NodeId, NodeStatus, PartitionId, PeerState, PeerStatus, ReplicationLag, StorageStatus,
    },
    wire::v1::kv_client::KvClient,
};

/// Longer than anything here takes; only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(20);

struct FakeHost {
    keyspace: Arc<Eventual>,
    /// Guards where accepted streams go.
    accepted: Mutex<mpsc::UnboundedSender<PeerStream>>,
    refusal: Option<Error>,
    /// The cluster removes this node.
    removal: tokio::sync::Notify,
    /// `None`: there are no strong keyspaces.
    group: Option<Arc<FakeGroup>>,
    /// What the next question for keyspaces is answered by.
    question: Mutex<Option<Answered>>,
}

/// Waits for the word, and says which keyspaces there are.
type Answered = (oneshot::Receiver<()>, OurResult<Catalogue>);

/// Nobody can bring it anything.
impl Reach for FakeHost {
    fn out_of_reach(&self, wanted: Vec<(PartitionId, Dot)>) -> Reaching<'_> {
        Box::pin(std::future::ready(wanted))
    }
}

impl Host for FakeHost {
    fn keyspace(&self) -> &Arc<Eventual> {
        &self.keyspace
    }

    fn strong(&self) -> Option<Arc<dyn StrongBackend>> {
        Some(self.group.clone()?)
    }

    fn cluster(&self) -> &str {
        "default"
    }

    fn group(&self) -> Option<&Group> {
        None
    }

    fn refresh_spaces(&self) -> Refreshing<'_> {
        let question = self.question.lock().take();
        Box::pin(async move {
            let Some((word, answer)) = question else { return Ok(()) };
            word.await.map_err(|_| Error::new(ErrorCode::Internal, "the test has ended"))?;
            self.keyspace.take_catalogue(answer?);
            Ok(())
        })
    }

    fn reach(&self) -> &dyn Reach {
        self
    }

    fn status(&self, digests: bool) -> NodeStatus {
        NodeStatus {
            node: NodeId(7),
            address: "127.0.0.1:7001".parse().unwrap(),
            cluster: "test".to_string(),
            version: crate::VERSION.to_string(),
            uptime: Duration::from_millis(1234),
            keys: self.keyspace.stats().keys,
            bytes: 2,
            tombstones: 3,
            memory: 17,
            max_memory: Some(18),
            state_bytes: 19,
            change_bytes: 20,
            conflicts: 4,
            conflicts_dropped: 2,
            conflicts_inexact: 1,
            oldest_tombstone_ms: 10,
            stable_lag_ms: 11,
            held_back_by: vec![NodeId(12)],
            divergences: 13,
            repairs: 14,
            expired: 15,
            refused_writes: 16,
            peers: vec![PeerStatus {
                node: None,
                address: "[::1]:7002".parse().unwrap(),
                state: PeerState::Refused,
                unacknowledged: 5,
                transfers: 6,
                problem: "another cluster".to_string(),
                clock_offset_ms: -7,
                refuses_ms: 8,
                refused_ms: 9,
            }],
            replication_lag: ReplicationLag { samples: 1, p50_ms: 0.5, p99_ms: 1.5, max_ms: 2.5 },
            digests: if digests { self.keyspace.digests() } else { Vec::new() },
            ready: true,
            removed: true,
            default_keyspace: DefaultKeyspace::Undecided,
            group: Some(GroupStatus { role: GroupRole::Follower, term: 22, ..GroupStatus::default() }),
            storage: Some(StorageStatus { log_bytes: 21, state: LogState::Full, ..StorageStatus::default() }),
            health: Health { serving: false, problems: vec!["it was removed".to_string()] },
        }
    }

    fn members(&self) -> Vec<MemberStatus> {
        let member = |port| {
            let address = Address::new("127.0.0.1", port).unwrap();
            MemberStatus {
                node: (port % 2 == 0).then_some(NodeId(port.into())),
                address,
                connected: port % 3 == 0,
                state: MemberState::ALL[usize::from(port) % 6],
                since_ms: 1,
                born_ms: 2,
                behind: port.into(),
            }
        };
        (1..=MEMBERS_MAX as u16 + 1).map(member).collect()
    }

    fn remove_member(&self, node: NodeId, force: bool) -> Removing<'_> {
        let refusal = Error::new(ErrorCode::MemberUp, format!("{node} is up"));
        Box::pin(async move {
            if force {
                Ok(())
            } else {
                Err(refusal)
            }
        })
    }

    fn move_leader(&self, _: Option<NodeId>) -> Moving<'_> {
        Box::pin(async { Err(Error::new(ErrorCode::Unsupported, "there is no strong group")) })
    }

    fn unfit(&self) -> Unfit<'_> {
        Box::pin(self.removal.notified())
    }

    fn snapshot<'a>(&'a self, pieces: &'a mpsc::Sender<OurResult<Bytes>>) -> Sending<'a> {
        Box::pin(async move {
            for piece in [&b"one"[..], b"two"] {
                pieces.send(Ok(piece.into())).await.map_err(|_| Error::new(ErrorCode::Internal, "nobody listens"))?;
            }
            Err(Error::new(ErrorCode::DiskFull, "no room for the third"))
        })
    }

    fn accept(&self, stream: PeerStream) -> Accepting<'_> {
        let refusal = self.refusal.clone();
        Box::pin(async move {
            refusal.map_or(Ok(()), Err)?;
            self.accepted.lock().send(stream).map_err(|_| Error::new(ErrorCode::NotRunning, "gone"))
        })
    }
}

struct Fixture {
    transport: Arc<dyn Transport>,
    server: Server,
    address: Address,
    host: Arc<FakeHost>,
    accepted: mpsc::UnboundedReceiver<PeerStream>,
}

impl Fixture {
    async fn new(transport: Arc<dyn Transport>) -> Fixture {
        Fixture::with_refusal(transport, None).await
    }

    /// With strong keyspaces.
    async fn with_group(transport: Arc<dyn Transport>, group: Arc<FakeGroup>) -> Fixture {
        let listener = transport.listen("127.0.0.1", 0).await.unwrap();
        Fixture::of(transport, listener, None, Some(group)).await
    }

    async fn with_refusal(transport: Arc<dyn Transport>, refusal: Option<Error>) -> Fixture {
        let listener = transport.listen("127.0.0.1", 0).await.unwrap();
        Fixture::over(transport, listener, refusal).await
    }

    async fn over(transport: Arc<dyn Transport>, listener: Box<dyn Listener>, refusal: Option<Error>) -> Fixture {
        Fixture::of(transport, listener, refusal, None).await
    }

    async fn of(
        transport: Arc<dyn Transport>,
        listener: Box<dyn Listener>,
        refusal: Option<Error>,
        group: Option<Arc<FakeGroup>>,
    ) -> Fixture {
        Fixture::behind(Gate::open(), transport, listener, (refusal, group)).await
    }

    /// One that asks for something before it answers.
    async fn behind(
        gate: Gate,
        transport: Arc<dyn Transport>,
        listener: Box<dyn Listener>,
        (refusal, group): (Option<Error>, Option<Arc<FakeGroup>>),
    ) -> Fixture {
        let clock = Arc::new(SimulatedClock::new(1_700_000_000_000));
        let (sender, accepted) = mpsc::unbounded_channel();
        let keyspace = Arc::new(Eventual::new(NodeId(7), clock));
        let (accepted_by, removal) = (Mutex::new(sender), Default::default());
        let host =
            Arc::new(FakeHost { keyspace, accepted: accepted_by, refusal, removal, group, question: Mutex::default() });
        let address = Address::new("127.0.0.1", listener.port()).unwrap();
        let server = Server::spawn(listener, host.clone(), gate).await;
        Fixture { transport, server, address, host, accepted }
    }

    async fn channel(&self) -> Channel {
        connect(&self.transport, &self.address).await.unwrap()
    }

    async fn client(&self) -> KvClient<Channel> {
        let client = KvClient::new(self.channel().await);
        client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(2 * MESSAGE_BYTES_MAX)
    }
}

/// Connects in the clear.
async fn connect(transport: &Arc<dyn Transport>, to: &Address) -> OurResult<Channel> {
    Access::plain(transport.clone()).connect(to).await
}

/// The real transport and the simulated one.
fn transports() -> [Arc<dyn Transport>; 2] {
    [Arc::new(TcpTransport), Arc::new(SimulatedNetwork::default())]
}

fn simulated() -> Arc<dyn Transport> {
    Arc::new(SimulatedNetwork::default())
}

async fn within<T>(future: impl std::future::Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it ends within the deadline")
}

fn code<T: std::fmt::Debug>(result: Result<T, Status>) -> ErrorCode {
    from_status(&result.unwrap_err()).code()
}

fn bytes(length: usize) -> Bytes {
    vec![b'x'; length].into()
}
