//! A server over both transports, with a fake node behind it.

mod calls;
mod hostile;
mod lifecycle;
mod peers;
mod pipeline;
mod watch;

use std::{sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;
use tokio::sync::mpsc;
use tonic::Status;

use super::*;
use crate::{
    env::{SimulatedClock, SimulatedNetwork, TcpTransport, Transport},
    error::{Error, ErrorCode},
    limits::{MEMBERS_MAX, MESSAGE_BYTES_MAX},
    replication::eventual::{Eventual, PeerStream},
    types::{Address, MemberStatus, NodeId, NodeStatus, PeerState, PeerStatus, ReplicationLag},
    wire::v1::kv_client::KvClient,
};

/// Longer than anything here takes; only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(20);

struct FakeHost {
    keyspace: Arc<Eventual>,
    /// Guards where accepted streams go.
    accepted: Mutex<mpsc::UnboundedSender<PeerStream>>,
    refusal: Option<Error>,
}

impl Host for FakeHost {
    fn keyspace(&self) -> &Arc<Eventual> {
        &self.keyspace
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
            conflicts: 4,
            peers: vec![PeerStatus {
                node: None,
                address: "[::1]:7002".parse().unwrap(),
                state: PeerState::Refused,
                unacknowledged: 5,
                transfers: 6,
                problem: "another cluster".to_string(),
            }],
            replication_lag: ReplicationLag { samples: 1, p50_ms: 0.5, p99_ms: 1.5, max_ms: 2.5 },
            digests: if digests { self.keyspace.digests() } else { Vec::new() },
            ready: true,
        }
    }

    fn members(&self) -> Vec<MemberStatus> {
        let member = |port| {
            let address = Address::new("127.0.0.1", port).unwrap();
            MemberStatus { node: (port % 2 == 0).then_some(NodeId(port.into())), address, connected: port % 3 == 0 }
        };
        (1..=MEMBERS_MAX as u16 + 1).map(member).collect()
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

    async fn with_refusal(transport: Arc<dyn Transport>, refusal: Option<Error>) -> Fixture {
        let clock = Arc::new(SimulatedClock::new(1_700_000_000_000));
        let (sender, accepted) = mpsc::unbounded_channel();
        let keyspace = Arc::new(Eventual::new(NodeId(7), clock));
        let host = Arc::new(FakeHost { keyspace, accepted: Mutex::new(sender), refusal });
        let listener = transport.listen("127.0.0.1", 0).await.unwrap();
        let address = Address::new("127.0.0.1", listener.port()).unwrap();
        let server = Server::spawn(listener, host.clone()).await;
        Fixture { transport, server, address, host, accepted }
    }

    async fn channel(&self) -> Channel {
        connect(&*self.transport, &self.address).await.unwrap()
    }

    async fn client(&self) -> KvClient<Channel> {
        let client = KvClient::new(self.channel().await);
        client.max_decoding_message_size(MESSAGE_BYTES_MAX).max_encoding_message_size(2 * MESSAGE_BYTES_MAX)
    }
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
