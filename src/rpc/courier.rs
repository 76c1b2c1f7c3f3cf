//! Carries messages between the members of a strong group: a stream to each of them, over a connection of its own.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use bytes::Bytes;
use parking_lot::Mutex;

use super::{
    access::Access,
    conversation::{Conversation, Line, Unanswered},
    status::from_status,
};
use crate::{
    env::BoxFuture,
    error::{Error, ErrorCode, Result},
    limits::GROUP_MESSAGE_BYTES_MAX,
    replication::strong::Courier,
    types::Address,
    wire::{
        kv::decode_failure,
        v1::{self, group_answer::Answer as Body, group_client::GroupClient},
    },
};

type Stream = Conversation<v1::GroupMessage, v1::GroupAnswer>;

/// Reaches members over gRPC.
pub struct GroupCourier {
    access: Access,
    cluster: String,
    lines: Mutex<BTreeMap<Address, Arc<Line<v1::GroupMessage, v1::GroupAnswer>>>>,
}

impl GroupCourier {
    /// A courier of this cluster, that reaches members so.
    pub fn new(access: Access, cluster: String) -> GroupCourier {
        GroupCourier { access, cluster, lines: Mutex::default() }
    }

    /// The stream to a member. It is opened by a task of its own: a caller that cannot wait gives up, and the next one finds it
    /// open.
    async fn stream(&self, address: &Address) -> Result<Arc<Stream>> {
        let line = self.lines.lock().entry(address.clone()).or_default().clone();
        if let Some(stream) = line.stream() {
            return Ok(stream);
        }
        let (access, address) = (self.access.clone(), address.clone());
        let opening = tokio::spawn(async move { line.or_open(open(&access, &address)).await });
        let broke_off = |error| Error::new(ErrorCode::Internal, format!("a connection could not be opened: {error}"));
        opening.await.map_err(broke_off)?
    }

    async fn send(&self, address: Address, member: u64, body: Vec<u8>, patience: Duration) -> Result<Bytes> {
        let stream = self.stream(&address).await?;
        let message = |number| v1::GroupMessage {
            cluster: self.cluster.clone(),
            to: member,
            body: body.into(),
            number,
            patience_ms: u64::try_from(patience.as_millis()).unwrap_or(u64::MAX),
        };
        let answer = stream.ask(message).await.map_err(|unanswered| not_answered(&address, unanswered))?;
        match answer.answer {
            Some(Body::Body(body)) => Ok(body),
            Some(Body::Failure(failure)) => Err(decode_failure(failure)),
            Some(Body::End(_)) | None => {
                Err(Error::new(ErrorCode::MalformedMessage, format!("{address}: an answer without a body")))
            }
        }
    }
}

async fn open(access: &Access, address: &Address) -> Result<Stream> {
    let mut client = GroupClient::new(access.connect(address).await?)
        .max_decoding_message_size(GROUP_MESSAGE_BYTES_MAX)
        .max_encoding_message_size(GROUP_MESSAGE_BYTES_MAX);
    let (conversation, questions) = Conversation::new();
    let answers = client.converse(questions).await.map_err(|status| from_status(&status))?;
    conversation.listen(answers.into_inner());
    Ok(conversation)
}

/// Nobody is there for what was surely not heard.
fn not_answered(address: &Address, unanswered: Unanswered) -> Error {
    let Unanswered { error, may_be_heard } = unanswered;
    if may_be_heard {
        return error.maybe_applied();
    }
    Error::new(ErrorCode::Unreachable, format!("{address}: {}", error.message()))
}

impl Courier for GroupCourier {
    fn exchange(
        &self,
        address: Address,
        member: u64,
        body: Vec<u8>,
        patience: Duration,
    ) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(self.send(address, member, body, patience))
    }
}
