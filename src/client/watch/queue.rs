//! Pages between the task that follows a node and the program that watches: bounded, so that a slow program slows the
//! node's stream down, and nothing is dropped.

use std::collections::VecDeque;

use parking_lot::Mutex;
use tokio::sync::Notify;

use crate::{
    error::{Error, Result},
    limits::WATCH_BUFFER_BYTES_MAX,
    types::{WatchChange, WatchPage},
};

/// Called once, when there is something to take.
pub type Wake = Box<dyn FnOnce() + Send>;

/// A part of what a watch tells.
pub trait Page: Send + 'static {
    /// How many events it has.
    fn events(&self) -> usize;

    /// Bytes of their keys and values.
    fn bytes(&self) -> usize;
}

/// One task puts pages in, one program takes them out.
pub(in crate::client) struct Queue<P> {
    events_max: usize,
    inner: Mutex<Inner<P>>,
    /// Wakes the task: there is room again.
    room: Notify,
}

struct Inner<P> {
    pages: VecDeque<P>,
    events: usize,
    bytes: usize,
    /// Why nothing more will come.
    end: Option<Error>,
    wake: Option<Wake>,
}

impl<P: Page> Queue<P> {
    pub(super) fn new(events_max: usize) -> Queue<P> {
        let inner = Inner { pages: VecDeque::new(), events: 0, bytes: 0, end: None, wake: None };
        Queue { events_max, inner: Mutex::new(inner), room: Notify::new() }
    }

    /// Puts a page in as soon as there is room: beyond the bounds by this page at most. After the end it is dropped.
    pub(in crate::client) async fn push(&self, page: P) {
        while !self.has_room() {
            self.room.notified().await;
        }
        let mut inner = self.inner.lock();
        // Cancelled meanwhile, by another thread.
        if inner.end.is_some() {
            return;
        }
        inner.events += page.events();
        inner.bytes += page.bytes();
        inner.pages.push_back(page);
        let wake = inner.wake.take();
        drop(inner);
        if let Some(wake) = wake {
            wake();
        }
    }

    fn has_room(&self) -> bool {
        let inner = self.inner.lock();
        inner.events < self.events_max && inner.bytes < WATCH_BUFFER_BYTES_MAX
    }

    /// The next page; `None`: there is none yet.
    pub(super) fn take(&self) -> Result<Option<P>> {
        let mut inner = self.inner.lock();
        let Some(page) = inner.pages.pop_front() else { return inner.end.clone().map_or(Ok(None), Err) };
        inner.events -= page.events();
        inner.bytes -= page.bytes();
        drop(inner);
        self.room.notify_one();
        Ok(Some(page))
    }

    /// Calls `wake` when there is something to take, which may be now. Replaces the one before.
    pub(super) fn on_change(&self, wake: Wake) {
        let mut inner = self.inner.lock();
        if inner.pages.is_empty() && inner.end.is_none() {
            let former = inner.wake.replace(wake);
            drop(inner);
            // It may do anything when it is dropped, so that happens without the lock.
            drop(former);
            return;
        }
        drop(inner);
        wake();
    }

    /// Nothing more will come. The first reason stays.
    pub(super) fn end(&self, why: Error) {
        let mut inner = self.inner.lock();
        inner.end.get_or_insert(why);
        let wake = inner.wake.take();
        drop(inner);
        if let Some(wake) = wake {
            wake();
        }
    }

    /// As [`Queue::end`]; what was not taken is dropped.
    pub(super) fn cancel(&self, why: Error) {
        let (pages, wake) = {
            let mut inner = self.inner.lock();
            (inner.events, inner.bytes) = (0, 0);
            inner.end.get_or_insert(why);
            (std::mem::take(&mut inner.pages), inner.wake.take())
        };
        drop(pages);
        if let Some(wake) = wake {
            wake();
        }
    }
}

impl Page for WatchPage {
    fn events(&self) -> usize {
        self.events.len()
    }

    fn bytes(&self) -> usize {
        let value = |change: &WatchChange| match change {
            WatchChange::Put(entry) => entry.value.len(),
            WatchChange::Delete { .. } | WatchChange::Expire { .. } => 0,
        };
        self.events.iter().map(|event| event.key().len() + value(&event.change)).sum()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::error::ErrorCode;

    #[derive(Debug, PartialEq)]
    struct One(u8);

    impl Page for One {
        fn events(&self) -> usize {
            1
        }

        fn bytes(&self) -> usize {
            1
        }
    }

    #[tokio::test]
    async fn nothing_comes_after_a_cancel_and_all_that_is_there_before_an_end() {
        let why = || Error::new(ErrorCode::WatchCancelled, "over");
        let queue = Queue::new(9);
        queue.push(One(1)).await;
        queue.cancel(why());
        queue.push(One(2)).await;
        assert_eq!(queue.take(), Err(why()));
        let queue = Queue::new(9);
        queue.push(One(1)).await;
        queue.end(why());
        queue.push(One(2)).await;
        assert_eq!((queue.take(), queue.take()), (Ok(Some(One(1))), Err(why())));
    }
}
