//! Calls from the caller's side.

use std::{sync::Arc, time::Duration};

use tonic::{Request, Response, Status};

use super::{
    answers::decode_submitted,
    batch::{part, Lane},
    changes::encode_watch,
    leader::Leader,
    questions::{decode_keyspaces, decode_lease, decode_leases, decode_lock, encode_await_lock},
    reads::{decode_read_answers, encode_reads},
    submissions::encode_submission,
    v1::{self, strong_client::StrongClient},
    watch::RpcPages,
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::STRONG_MESSAGE_BYTES_MAX,
    replication::strong::{Call, Freshness, GroupWatch, ReadCall, Reply},
    rpc::{
        channel::Channel,
        conversation::{Conversation, Line, Unanswered},
        status::{from_status, is_from_a_node},
    },
};

/// Calls that take about as long share a message, which is answered with the slowest of them: a read of what the node has must not
/// wait for a majority, or for a node that is behind.
#[derive(Clone, Default)]
struct Lanes {
    changes: Lane,
    linearizable: Lane,
    session: Lane,
    local: Lane,
}

/// Calls over a connection; clones share it.
#[derive(Clone)]
pub struct StrongRpc {
    client: StrongClient<Channel>,
    lanes: Lanes,
    /// Over which all go.
    line: Arc<Line<v1::StrongBatchRequest, v1::StrongBatchResponse>>,
    /// Who leads, as the node says.
    leader: Leader,
}

impl StrongRpc {
    /// Calls over `channel`. Whoever leads, as the node says, is noted in `leader`.
    pub fn new(channel: Channel, leader: Leader) -> StrongRpc {
        let client = StrongClient::new(channel)
            .max_decoding_message_size(STRONG_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(STRONG_MESSAGE_BYTES_MAX);
        StrongRpc { client, lanes: Lanes::default(), line: Arc::default(), leader }
    }

    pub(super) fn client(&self) -> StrongClient<Channel> {
        self.client.clone()
    }

    /// Asks over the stream; opens it if need be.
    pub(super) async fn ask(
        &self,
        question: impl FnOnce(u64) -> v1::StrongBatchRequest,
    ) -> std::result::Result<v1::StrongBatchResponse, Unanswered> {
        let stream = match self.line.stream() {
            Some(stream) => stream,
            None => self.line.or_open(self.open()).await.map_err(|error| Unanswered { error, may_be_heard: false })?,
        };
        let answer = stream.ask(question).await?;
        self.leader.told(answer.leader);
        Ok(answer)
    }

    async fn open(&self) -> Result<Conversation<v1::StrongBatchRequest, v1::StrongBatchResponse>> {
        let (conversation, questions) = Conversation::new();
        conversation.listen(answered(self.client().converse(questions).await)?);
        Ok(conversation)
    }

    /// With what a call shares its messages.
    pub(super) fn lane(&self, call: &Call) -> &Lane {
        match call {
            Call::Submit(_) => &self.lanes.changes,
            Call::Read(ReadCall { freshness: Freshness::Local, .. }) => &self.lanes.local,
            Call::Read(ReadCall { freshness: Freshness::Session(_), .. }) => &self.lanes.session,
            Call::Read(_) | Call::AwaitLock { .. } | Call::Lease(_) | Call::Leases { .. } | Call::Keyspaces => {
                &self.lanes.linearizable
            }
        }
    }

    /// Begins to watch; returns when the node has taken it. To be given a connection of its own: a watch that nobody reads
    /// stops what shares its connection.
    ///
    /// # Errors
    /// `CONNECTION_LOST`, or why the node refused.
    pub async fn watch(&self, watch: &GroupWatch) -> Result<RpcPages> {
        let stream = answered(self.client().watch_changes(encode_watch(watch)).await)?;
        Ok(RpcPages::new(stream))
    }

    /// One try. The node is told how much time there is. Small changes and reads that are asked for while others are under way share
    /// a message.
    ///
    /// # Errors
    /// `CONNECTION_LOST`, `DEADLINE_EXCEEDED`, `MALFORMED_MESSAGE`, or what the node answered. A change may have happened when
    /// the error says so.
    pub async fn call(&self, call: &Call, timeout: Duration) -> Result<Reply> {
        if let Some(part) = part(call)? {
            if let Some(reply) = self.call_with_others(call, part, timeout).await? {
                return Ok(reply);
            }
        }
        // Boxed: rare, and larger than all else that a call takes.
        Box::pin(self.call_alone(call, timeout)).await
    }

    async fn call_alone(&self, call: &Call, timeout: Duration) -> Result<Reply> {
        let mut client = self.client();
        match call {
            Call::Submit(submission) => {
                let answer = client.submit(request(encode_submission(submission)?, timeout)).await;
                let answer = answer.map_err(|status| lost(&status)).map(Response::into_inner)?;
                // Whatever it says, the node has answered, so the change may have happened.
                decode_submitted(&submission.command, answer).map_err(Error::maybe_applied)
            }
            Call::Read(call) => {
                decode_read_answers(call, answered(client.read(request(encode_reads(call), timeout)).await)?)
            }
            Call::AwaitLock { keyspace, lock, lease, wait_ms } => {
                let asked = encode_await_lock(keyspace, lock, *lease, *wait_ms);
                Ok(decode_lock(answered(client.await_lock(request(asked, timeout)).await)?))
            }
            Call::Lease(lease) => {
                let asked = v1::GetLeaseRequest { lease: lease.0 };
                Ok(decode_lease(answered(client.get_lease(request(asked, timeout)).await)?))
            }
            Call::Leases { after } => {
                let asked = v1::ListLeasesRequest { after: after.0 };
                decode_leases(answered(client.list_leases(request(asked, timeout)).await)?)
            }
            Call::Keyspaces => {
                decode_keyspaces(answered(client.keyspaces(request(v1::KeyspacesRequest {}, timeout)).await)?)
            }
        }
    }
}

fn request<T>(message: T, timeout: Duration) -> Request<T> {
    let mut request = Request::new(message);
    request.set_timeout(timeout);
    request
}

pub(super) fn answered<T>(response: Result<Response<T>, Status>) -> Result<T> {
    Ok(response.map_err(|status| from_status(&status))?.into_inner())
}

/// The error of a change. What no node said says nothing about what a node did.
pub(super) fn lost(status: &Status) -> Error {
    let error = from_status(status);
    // These are said before anybody looks at the request: too much at once, no such service.
    let is_untouched = matches!(error.code(), ErrorCode::Overloaded | ErrorCode::Unsupported);
    if is_from_a_node(status) || is_untouched {
        return error;
    }
    error.maybe_applied()
}
