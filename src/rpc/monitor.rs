//! The `Monitor` stream: what passes by at a node's [`Tap`](crate::replication::Tap), page by page, each made when HTTP/2
//! asks for it. A client that does not read costs a bounded queue.

use std::pin::Pin;

use futures_util::stream::unfold;
use tokio_stream::Stream;
use tonic::Status;

use super::phase::{Phase, PhaseWatch};
use crate::{
    error::{Error, ErrorCode},
    replication::Listening,
    wire::v1,
};

/// What a client gets.
pub(super) type Pages = Pin<Box<dyn Stream<Item = Result<v1::MonitorPage, Status>> + Send>>;

/// The pages of one who listens, until the client is gone or the node leaves.
pub(super) fn pages(listening: Listening, phase: PhaseWatch) -> Pages {
    Box::pin(unfold(Some((listening, phase)), |state| async move {
        let (mut listening, phase) = state?;
        tokio::select! {
            biased;
            () = phase.clone().reached(Phase::Leaving) => {
                let error = Error::new(ErrorCode::NotRunning, "the node is being stopped");
                Some((Err(error.into()), None))
            }
            page = listening.next() => Some((Ok(page.into()), Some((listening, phase)))),
        }
    }))
}
