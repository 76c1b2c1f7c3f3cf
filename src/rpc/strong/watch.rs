//! The streams of watches, on both sides. The next page is read when HTTP/2 asks for it, so a client that does not read costs
//! one page, and no task and no queue.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    task::{ready, Context, Poll},
};

use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::{
    changes::{encode_page, Assembly},
    v1, StrongPages,
};
use crate::{
    env::BoxFuture,
    error::{Error, ErrorCode, Result},
    replication::strong::WatchPage,
    rpc::{
        phase::{Phase, PhaseWatch},
        status::from_status,
    },
};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Reading = Boxed<(Box<dyn StrongPages>, Result<WatchPage>)>;

/// The messages of one watch, until the node leaves or the watch fails.
pub(super) struct ServedPages {
    /// Messages of the page that was read last.
    ready: VecDeque<v1::ChangesPage>,
    /// The page that is being read, and who reads it; `None`: the stream is over.
    next: Option<Reading>,
    leaving: Boxed<()>,
}

impl ServedPages {
    /// Reads nothing before it is asked.
    pub(super) fn new(pages: Box<dyn StrongPages>, phase: PhaseWatch) -> ServedPages {
        let leaving = Box::pin(phase.reached(Phase::Leaving));
        ServedPages { ready: VecDeque::new(), next: Some(Box::pin(read(pages))), leaving }
    }

    fn end(&mut self, error: Error) -> Poll<Option<Result<v1::ChangesPage, Status>>> {
        self.next = None;
        Poll::Ready(Some(Err(error.into())))
    }
}

async fn read(mut pages: Box<dyn StrongPages>) -> (Box<dyn StrongPages>, Result<WatchPage>) {
    let page = pages.next().await;
    (pages, page)
}

impl Stream for ServedPages {
    type Item = Result<v1::ChangesPage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        loop {
            if this.next.is_none() {
                return Poll::Ready(None);
            }
            if this.leaving.as_mut().poll(cx).is_ready() {
                return this.end(Error::new(ErrorCode::NotRunning, "the node is being stopped"));
            }
            if let Some(page) = this.ready.pop_front() {
                return Poll::Ready(Some(Ok(page)));
            }
            let Some(next) = &mut this.next else { return Poll::Ready(None) };
            match ready!(next.as_mut().poll(cx)) {
                (pages, Ok(page)) => {
                    this.ready = encode_page(page);
                    this.next = Some(Box::pin(read(pages)));
                }
                (_, Err(error)) => return this.end(error),
            }
        }
    }
}

/// The pages that a node sends. Dropping it ends the watch.
pub struct RpcPages {
    stream: Streaming<v1::ChangesPage>,
    assembly: Assembly,
}

impl RpcPages {
    pub(super) fn new(stream: Streaming<v1::ChangesPage>) -> RpcPages {
        RpcPages { stream, assembly: Assembly::default() }
    }

    async fn read(&mut self) -> Result<WatchPage> {
        loop {
            let message = self.stream.message().await.map_err(|status| from_status(&status))?;
            let ended = || Error::new(ErrorCode::ConnectionLost, "the node ended the stream");
            if let Some(page) = self.assembly.take(message.ok_or_else(ended)?)? {
                return Ok(page);
            }
        }
    }
}

impl StrongPages for RpcPages {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchPage>> {
        Box::pin(self.read())
    }
}
