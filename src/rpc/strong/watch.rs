//! The streams of watches, on both sides. The next page is read when HTTP/2 asks for it, so a client that does not read costs
//! one page, and no task and no queue.
//!
//! A node that is cut off from the majority has nothing to tell, as one where nothing happens. So a watch that is silent for
//! long ends when its node cannot prove that it is not the former: its client goes on at another node.

use std::{
    collections::VecDeque,
    future::Future,
    pin::Pin,
    sync::Arc,
    task::{ready, Context, Poll},
};

use tokio_stream::Stream;
use tonic::{Status, Streaming};

use super::{
    changes::{encode_page, Assembly},
    v1, StrongBackend, StrongPages,
};
use crate::{
    env::BoxFuture,
    error::{Error, ErrorCode, Result},
    limits::{CALL_TIMEOUT, STRONG_WATCH_SILENCE},
    replication::strong::{Call, WatchPage},
    rpc::{
        phase::{Phase, PhaseWatch},
        status::from_status,
    },
};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;
type Reading = Boxed<(Box<dyn StrongPages>, Result<WatchPage>)>;

/// The messages of one watch, until the node leaves or the watch fails.
pub(super) struct ServedPages {
    backend: Arc<dyn StrongBackend>,
    /// Messages of the page that was read last.
    ready: VecDeque<v1::ChangesPage>,
    /// The page that is being read, and who reads it; `None`: the stream is over.
    next: Option<Reading>,
    leaving: Boxed<()>,
}

impl ServedPages {
    /// Reads nothing before it is asked.
    pub(super) fn new(pages: Box<dyn StrongPages>, backend: Arc<dyn StrongBackend>, phase: PhaseWatch) -> ServedPages {
        let leaving = Box::pin(phase.reached(Phase::Leaving));
        let next: Reading = Box::pin(read(pages, backend.clone()));
        ServedPages { backend, ready: VecDeque::new(), next: Some(next), leaving }
    }

    fn end(&mut self, error: Error) -> Poll<Option<Result<v1::ChangesPage, Status>>> {
        self.next = None;
        Poll::Ready(Some(Err(error.into())))
    }
}

async fn read(
    mut pages: Box<dyn StrongPages>,
    backend: Arc<dyn StrongBackend>,
) -> (Box<dyn StrongPages>, Result<WatchPage>) {
    let page = page_or_proof(&mut *pages, &*backend).await;
    (pages, page)
}

/// The next page, or why the node cannot say that there is none.
async fn page_or_proof(pages: &mut dyn StrongPages, backend: &dyn StrongBackend) -> Result<WatchPage> {
    let mut next = pages.next();
    loop {
        match tokio::time::timeout(STRONG_WATCH_SILENCE, &mut next).await {
            Ok(page) => return page,
            // Any linearizable read proves it.
            Err(_) => drop(backend.call(Call::Keyspaces, CALL_TIMEOUT).await?),
        }
    }
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
                    this.next = Some(Box::pin(read(pages, this.backend.clone())));
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
