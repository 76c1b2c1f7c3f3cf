//! Carries messages between the members of a strong group: unary calls, over one connection to each of them.

use std::{collections::BTreeMap, sync::Arc};

use bytes::Bytes;
use parking_lot::Mutex;
use tonic::Status;

use super::{access::Access, channel::Channel, status::from_status};
use crate::{
    env::BoxFuture,
    error::{Error, ErrorCode, Result},
    limits::GROUP_MESSAGE_BYTES_MAX,
    replication::strong::Courier,
    types::Address,
    wire::v1::{self, group_client::GroupClient},
};

/// The connection to one member, or none. Guarded by a lock that is held while it is opened, so that it is opened once.
type Line = Arc<tokio::sync::Mutex<Option<Channel>>>;

/// Reaches members over gRPC.
pub struct GroupCourier {
    access: Access,
    cluster: String,
    lines: Mutex<BTreeMap<Address, Line>>,
}

impl GroupCourier {
    /// A courier of this cluster, that reaches members so.
    pub fn new(access: Access, cluster: String) -> GroupCourier {
        GroupCourier { access, cluster, lines: Mutex::default() }
    }

    fn line(&self, address: &Address) -> Line {
        self.lines.lock().entry(address.clone()).or_default().clone()
    }

    /// The connection to a member. It is opened by a task of its own: a caller that cannot wait gives up, and the next one finds it
    /// open.
    async fn channel(&self, line: &Line, address: &Address) -> Result<Channel> {
        if let Some(channel) = line.try_lock().ok().and_then(|open| open.clone()) {
            return Ok(channel);
        }
        let (access, line, address) = (self.access.clone(), line.clone(), address.clone());
        let opening = tokio::spawn(async move {
            let mut open = line.lock().await;
            if let Some(channel) = &*open {
                return Ok(channel.clone());
            }
            let channel = access.connect(&address).await?;
            *open = Some(channel.clone());
            Ok(channel)
        });
        let broke_off = |error| Error::new(ErrorCode::Internal, format!("a connection could not be opened: {error}"));
        opening.await.map_err(broke_off)?
    }

    async fn send(&self, address: Address, member: u64, body: Vec<u8>) -> Result<Bytes> {
        let line = self.line(&address);
        let channel = self.channel(&line, &address).await?;
        let mut client = GroupClient::new(channel)
            .max_decoding_message_size(GROUP_MESSAGE_BYTES_MAX)
            .max_encoding_message_size(GROUP_MESSAGE_BYTES_MAX);
        let message = v1::GroupMessage { cluster: self.cluster.clone(), to: member, body: body.into() };
        match client.exchange(message).await {
            Ok(response) => Ok(response.into_inner().body),
            Err(status) => {
                if is_of_connection(&status) {
                    // The next one opens another.
                    line.lock().await.take();
                }
                Err(from_status(&status))
            }
        }
    }
}

/// A status with a source was made on this side, by the connection.
fn is_of_connection(status: &Status) -> bool {
    std::error::Error::source(status).is_some()
}

impl Courier for GroupCourier {
    fn exchange(&self, address: Address, member: u64, body: Vec<u8>) -> BoxFuture<'_, Result<Bytes>> {
        Box::pin(self.send(address, member, body))
    }
}
