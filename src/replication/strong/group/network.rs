//! How the consensus library reaches the other members: its requests as messages over a [`Courier`].

use std::{
    future::Future,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::Duration,
};

use openraft::{
    error::{Fatal, NetworkError, RPCError, RaftError, ReplicationClosed, StreamingError, Unreachable},
    network::{Backoff, RPCOption, RaftNetwork, RaftNetworkFactory},
    raft::{AppendEntriesRequest, AppendEntriesResponse, SnapshotResponse, VoteRequest, VoteResponse},
    BasicNode, OptionalSend, Snapshot,
};

use tokio::time::Instant;

use super::{
    message::{Message, Reply},
    silence::Silence,
};
use crate::{
    env::BoxFuture,
    error::{Error, ErrorCode, Result},
    faults::is_mutant,
    limits::{GROUP_CALL_TIMEOUT, GROUP_HEARTBEAT, GROUP_NOTICE_WITHIN, GROUP_SNAPSHOT_TIMEOUT},
    replication::strong::{
        log_store::LogStore,
        types::{GroupTypes, SnapshotMeta, Vote},
    },
    types::Address,
};

/// Carries messages between members.
pub trait Courier: Send + Sync + 'static {
    /// Hands `body` to whoever is at `address`, provided that it is `member` (0: whoever it is); its answer. Whoever asks waits for
    /// `patience`, and the receiver does no longer.
    ///
    /// # Errors
    /// `UNREACHABLE` when nobody is there: the message did not arrive. Any other error leaves that open, but for those
    /// that the receiver gave.
    fn exchange(
        &self,
        address: Address,
        member: u64,
        body: Vec<u8>,
        patience: Duration,
    ) -> BoxFuture<'_, Result<bytes::Bytes>>;
}

type Failed<E = RaftError<u64>> = RPCError<u64, BasicNode, E>;
type Append = AppendEntriesRequest<GroupTypes>;

/// Makes links to members.
#[derive(Clone)]
pub(super) struct Network {
    pub(super) courier: Arc<dyn Courier>,
    pub(super) silence: Arc<Silence>,
    /// Of this member.
    pub(super) log: LogStore,
    /// Numbers the snapshots that are sent.
    pub(super) transfers: Arc<AtomicU64>,
}

/// The way to one member.
pub(super) struct Link {
    network: Network,
    member: u64,
    address: String,
    /// When the last request was sent over this link that the member agreed to.
    agreed: Option<Instant>,
}

impl Network {
    pub(super) fn new(courier: Arc<dyn Courier>, silence: Arc<Silence>, log: LogStore, first_transfer: u64) -> Network {
        Network { courier, silence, log, transfers: Arc::new(AtomicU64::new(first_transfer)) }
    }

    /// Asks a member, and waits no longer than this.
    ///
    /// # Errors
    /// Those of [`Courier::exchange`]; `DEADLINE_EXCEEDED`; `MALFORMED_MESSAGE`.
    pub(super) async fn ask(&self, to: (u64, &str), message: &Message, timeout: Duration) -> Result<Reply> {
        let (member, address) = to;
        let address = address.parse()?;
        let exchange = self.courier.exchange(address, member, message.encode(), timeout);
        let answer = tokio::time::timeout(timeout, exchange).await;
        Reply::decode(&answer.unwrap_or_else(|_| Err(Error::deadline("a member of the group", timeout)))?)
    }
}

impl RaftNetworkFactory<GroupTypes> for Network {
    type Network = Link;

    async fn new_client(&mut self, target: u64, node: &BasicNode) -> Link {
        Link { network: self.clone(), member: target, address: node.addr.clone(), agreed: None }
    }
}

impl Link {
    async fn ask(&self, message: &Message, timeout: Duration) -> Result<Reply> {
        self.network.ask((self.member, &self.address), message, timeout).await
    }

    /// Whether a request tells nothing but what is committed, and that to a member that agreed a moment ago. The library sends one for
    /// each commit and sends no entries before it is answered, which would cost each batch a round trip more. It is told that the
    /// member agrees, and so counts it as heard from for up to [`GROUP_NOTICE_WITHIN`] longer than it was; by that alone is
    /// decided when a leader falls silent. A round that confirms a leader asks over a link of its own, which has heard nothing
    /// yet: it is never a notice.
    fn is_notice(&self, request: &Append) -> bool {
        let has_agreed = self.agreed.is_some_and(|agreed| agreed.elapsed() < GROUP_NOTICE_WITHIN);
        (has_agreed || is_mutant("strong_round_not_asked")) && request.entries.is_empty()
    }

    /// Tells what is committed, and waits for nobody: whoever does not hear it is told again with the next request. Where entries
    /// wait to be sent, they say so themselves.
    fn notify(&self, request: Append, timeout: Duration) {
        if self.network.log.last_index() > request.prev_log_id.map(|last| last.index) {
            return;
        }
        let (network, member, address) = (self.network.clone(), self.member, self.address.clone());
        tokio::spawn(async move {
            if let Err(error) = network.ask((member, &address), &Message::Append(request), timeout).await {
                tracing::debug!(%error, peer = member, "what is committed could not be told");
            }
        });
    }

    /// Sends a snapshot piece by piece; the vote of the member once it has installed it.
    async fn send_snapshot(&self, vote: Vote, snapshot: Snapshot<GroupTypes>) -> Result<Vote> {
        let transfer = self.network.transfers.fetch_add(1, Ordering::Relaxed);
        let meta: SnapshotMeta = snapshot.meta;
        self.hand_over(&Message::SnapshotBegin { transfer, vote, meta }, GROUP_CALL_TIMEOUT).await?;
        for (number, chunk) in (0..).zip(snapshot.snapshot.chunks()) {
            let message = Message::SnapshotChunk { transfer, number, chunk };
            self.hand_over(&message, GROUP_SNAPSHOT_TIMEOUT).await?;
        }
        match self.ask(&Message::SnapshotEnd { transfer }, GROUP_SNAPSHOT_TIMEOUT).await? {
            Reply::Snapshot(vote) => Ok(vote),
            other => Err(unexpected(&other)),
        }
    }

    async fn hand_over(&self, message: &Message, timeout: Duration) -> Result<()> {
        match self.ask(message, timeout).await? {
            Reply::Done => Ok(()),
            other => Err(unexpected(&other)),
        }
    }
}

impl RaftNetwork<GroupTypes> for Link {
    async fn append_entries(
        &mut self,
        request: Append,
        option: RPCOption,
    ) -> std::result::Result<AppendEntriesResponse<u64>, Failed> {
        if self.network.silence.is_kept() {
            return Err(failed(&Error::new(ErrorCode::NoLeader, "this leader hears from no majority and is silent")));
        }
        if self.is_notice(&request) {
            self.notify(request, option.hard_ttl());
            return Ok(AppendEntriesResponse::Success);
        }
        let sent = Instant::now();
        match self.ask(&Message::Append(request), option.hard_ttl()).await {
            Ok(Reply::Append(response)) => {
                let agrees = matches!(response, AppendEntriesResponse::Success);
                self.agreed = agrees.then_some(sent);
                Ok(response)
            }
            Ok(other) => Err(failed(&unexpected(&other))),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn vote(
        &mut self,
        request: VoteRequest<u64>,
        option: RPCOption,
    ) -> std::result::Result<VoteResponse<u64>, Failed> {
        match self.ask(&Message::Vote(request), option.hard_ttl()).await {
            Ok(Reply::Vote(response)) => Ok(response),
            Ok(other) => Err(failed(&unexpected(&other))),
            Err(error) => Err(failed(&error)),
        }
    }

    async fn full_snapshot(
        &mut self,
        vote: Vote,
        snapshot: Snapshot<GroupTypes>,
        cancel: impl Future<Output = ReplicationClosed> + OptionalSend + 'static,
        _option: RPCOption,
    ) -> std::result::Result<SnapshotResponse<u64>, StreamingError<GroupTypes, Fatal<u64>>> {
        if self.network.silence.is_kept() {
            let error = Error::new(ErrorCode::NoLeader, "this leader hears from no majority and is silent");
            return Err(StreamingError::Unreachable(Unreachable::new(&error)));
        }
        let sent = tokio::select! {
            closed = cancel => return Err(StreamingError::Closed(closed)),
            sent = self.send_snapshot(vote, snapshot) => sent,
        };
        sent.map(SnapshotResponse::new).map_err(|error| StreamingError::Unreachable(Unreachable::new(&error)))
    }

    /// A member that is back is met within a heartbeat.
    fn backoff(&self) -> Backoff {
        Backoff::new(std::iter::repeat(GROUP_HEARTBEAT))
    }
}

/// The library waits before it tries a member again that nobody reached, and tries others at once.
fn failed(error: &Error) -> Failed {
    match error.code() {
        ErrorCode::DeadlineExceeded => RPCError::Network(NetworkError::new(error)),
        _ => RPCError::Unreachable(Unreachable::new(error)),
    }
}

pub(super) fn unexpected(reply: &Reply) -> Error {
    Error::new(
        ErrorCode::MalformedMessage,
        format!("a member of the group gave an answer to something else: {reply:?}"),
    )
}
