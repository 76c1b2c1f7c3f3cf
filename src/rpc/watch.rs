//! The `Watch` stream: the next page is read when HTTP/2 asks for it, so a client that does not read costs one page at
//! most, and no task and no queue.

use std::{
    future::Future,
    pin::Pin,
    task::{ready, Context, Poll},
};

use tokio_stream::Stream;
use tonic::Status;

use super::phase::{Phase, PhaseWatch};
use crate::{
    error::{Error, ErrorCode, Result},
    replication::eventual::Watcher,
    types::WatchPage,
    wire::{kv::encode_watch_page, v1},
};

type Boxed<T> = Pin<Box<dyn Future<Output = T> + Send>>;

/// The pages of one watch, until the node leaves or the watch fails.
pub(super) struct WatchPages {
    /// The page that is being read, and who reads it; `None`: the stream is over.
    next: Option<Boxed<(Watcher, Result<WatchPage>)>>,
    leaving: Boxed<()>,
}

impl WatchPages {
    /// Reads nothing before it is asked.
    pub(super) fn new(watcher: Watcher, phase: PhaseWatch) -> WatchPages {
        WatchPages { next: Some(Box::pin(read(watcher))), leaving: Box::pin(phase.reached(Phase::Leaving)) }
    }

    fn end(&mut self, error: Error) -> Poll<Option<Result<v1::WatchPage, Status>>> {
        self.next = None;
        Poll::Ready(Some(Err(error.into())))
    }
}

async fn read(mut watcher: Watcher) -> (Watcher, Result<WatchPage>) {
    let page = watcher.next().await;
    (watcher, page)
}

impl Stream for WatchPages {
    type Item = Result<v1::WatchPage, Status>;

    fn poll_next(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let this = &mut *self;
        let Some(next) = &mut this.next else { return Poll::Ready(None) };
        if this.leaving.as_mut().poll(cx).is_ready() {
            return this.end(Error::new(ErrorCode::NotRunning, "the node is being stopped"));
        }
        let (watcher, page) = ready!(next.as_mut().poll(cx));
        match page {
            Ok(page) => {
                this.next = Some(Box::pin(read(watcher)));
                Poll::Ready(Some(Ok(encode_watch_page(page))))
            }
            Err(error) => this.end(error),
        }
    }
}
