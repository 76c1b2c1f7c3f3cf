//! A session that comes from another node: waits until this one has what it has seen.

use std::{future::Future, pin::Pin, sync::Arc};

use tokio::time::Instant;

use super::host::Host;
use crate::{
    error::Result,
    replication::eventual::catch_up,
    wire::{
        kv::{decode_catch_up, encode_caught_up},
        v1,
    },
};

/// The end of catching up.
pub(super) type CatchingUp = Pin<Box<dyn Future<Output = Result<v1::CatchUpResponse>> + Send>>;

/// Lets this node's clock take note of what the session has seen, now, and begins to wait.
///
/// # Errors
/// `UNKNOWN_KEYSPACE`, `MALFORMED_MESSAGE`, `CLOCK_SKEW`; later those of [`catch_up()`].
pub(super) fn begin(host: Arc<dyn Host>, request: v1::CatchUpRequest) -> Result<CatchingUp> {
    let question = decode_catch_up(request)?;
    host.keyspace().observe_session(question.wanted.clock)?;
    Ok(Box::pin(async move {
        let deadline = Instant::now() + question.wait;
        let lost = catch_up(host.keyspace(), host.reach(), &question.wanted.vectors, deadline).await?;
        Ok(encode_caught_up(&lost))
    }))
}
