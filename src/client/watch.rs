//! A watch that survives its nodes: one task follows a node, and goes on at the next one with the position it has reached.
//!
//! It has a connection of its own, because a program that does not take its events stops the stream, and with it what a
//! connection may have on the way.

mod queue;

use std::{future::Future, sync::Arc};

use tokio::{sync::oneshot, task::AbortHandle};

pub(super) use self::queue::Queue;
pub use self::queue::{Page, Wake};
use super::{
    endpoints::draw,
    shared::{silent, Shared},
    Client,
};
use crate::{
    error::{Error, ErrorCode, ErrorKind, Result},
    limits::{CLIENT_CONNECT_TIMEOUT, WATCH_BUFFER_EVENTS_MAX},
    replication::eventual::{Eventual, Watcher},
    rpc::{open_watch, WatchAnswers},
    types::{Address, Space, WatchFilter, WatchPage, WatchPosition, WatchRequest, WatchStart},
    wire::kv::{decode_watch_page, encode_watch},
};

/// A watch under way. Ends when it is dropped.
pub struct Watch<P: Page = WatchPage> {
    queue: Arc<Queue<P>>,
    task: AbortHandle,
}

impl Client {
    /// Watches keys through any of the targets, over lost connections and nodes, until it is cancelled or dropped. At most
    /// `buffer` events and one page more wait to be taken. Connects at once; never blocks.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` when the buffer is none or over [`WATCH_BUFFER_EVENTS_MAX`]; `CLIENT_CLOSED`.
    pub fn watch(&self, request: WatchRequest, buffer: usize) -> Result<Watch> {
        self.watch_in("", request, buffer)
    }

    /// As [`Client::watch`], in a keyspace; an empty name means `default`.
    ///
    /// # Errors
    /// Those of [`Client::watch`]. A keyspace that is none, or strong, ends the watch.
    pub fn watch_in(&self, keyspace: &str, request: WatchRequest, buffer: usize) -> Result<Watch> {
        check_buffer(buffer)?;
        let course = Course::new(keyspace, request);
        let shared = self.handle.shared.clone();
        if shared.is_closed() {
            return Err(super::closed());
        }
        Ok(Watch::spawn(buffer, &self.handle.runtime, super::closed(), |queue| async move {
            tokio::select! {
                biased;
                () = shared.closed() => super::closed(),
                error = follow_nodes(&shared, &queue, course) => error,
            }
        }))
    }
}

impl Watch {
    /// Watches keys of `default` of this process, whose node runs on `runtime`.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` as for [`Client::watch`], `OVERLOADED` as for [`Watcher::new`].
    pub fn local(
        keyspace: Arc<Eventual>,
        request: WatchRequest,
        buffer: usize,
        runtime: &tokio::runtime::Handle,
    ) -> Result<Watch> {
        check_buffer(buffer)?;
        let course = Course::new("", request);
        let watcher = Watcher::new(keyspace.clone(), course.request())?;
        let stopped = Error::new(ErrorCode::NotRunning, "the node was stopped");
        Ok(Watch::spawn(buffer, runtime, stopped, |queue| async move {
            follow_keyspace((keyspace, Space::Default), watcher, &queue, course).await
        }))
    }

    /// As [`Watch::local`], of any keyspace by its name; `refresh` asks the group, for one that the node has not heard of.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT` as for [`Client::watch`]. What is wrong with the keyspace ends the watch.
    pub fn local_in(
        keyspace: Arc<Eventual>,
        name: String,
        refresh: impl Future<Output = Result<()>> + Send + 'static,
        (request, buffer): (WatchRequest, usize),
        runtime: &tokio::runtime::Handle,
    ) -> Result<Watch> {
        check_buffer(buffer)?;
        let course = Course::new("", request);
        let stopped = Error::new(ErrorCode::NotRunning, "the node was stopped");
        Ok(Watch::spawn(buffer, runtime, stopped, |queue| async move {
            let opening = async {
                let space = match keyspace.space_named(&name)? {
                    Some(space) => space,
                    None => {
                        refresh.await?;
                        keyspace.space_settled(&name)?
                    }
                };
                Ok((space, Watcher::new_in(keyspace.clone(), space, course.request())?))
            };
            match opening.await {
                Ok((space, watcher)) => follow_keyspace((keyspace, space), watcher, &queue, course).await,
                Err(error) => error,
            }
        }))
    }
}

impl<P: Page> Watch<P> {
    /// Runs what fills the queue; `cut` is the reason when the runtime ends first.
    pub(super) fn spawn<F>(
        buffer: usize,
        runtime: &tokio::runtime::Handle,
        cut: Error,
        run: impl FnOnce(Arc<Queue<P>>) -> F,
    ) -> Watch<P>
    where
        F: std::future::Future<Output = Error> + Send + 'static,
    {
        let queue = Arc::new(Queue::new(buffer));
        let guard = EndAtEnd { queue: queue.clone(), cut: Some(cut) };
        let running = run(queue.clone());
        let task = runtime.spawn(async move {
            let mut guard = guard;
            guard.cut = Some(running.await);
        });
        Watch { queue, task: task.abort_handle() }
    }

    /// The next page, if it is there. The first says where the watch begins, in its marks.
    ///
    /// # Errors
    /// Why the watch has ended, once all pages are taken: `COMPACTED`, `CLIENT_CLOSED`, `NOT_RUNNING`, or what the node
    /// refused.
    pub fn take(&self) -> Result<Option<P>> {
        self.queue.take()
    }

    /// Calls `wake` once, when there is something to take, or the watch has ended; at once when that is so now. From a
    /// thread of the runtime, or inside this call; must not block. Replaces a former one.
    pub fn on_change(&self, wake: Wake) {
        self.queue.on_change(wake);
    }

    /// Waits for the next page. Dropping the future loses nothing.
    ///
    /// # Errors
    /// Those of [`Watch::take`].
    pub async fn next(&self) -> Result<P> {
        loop {
            if let Some(page) = self.take()? {
                return Ok(page);
            }
            let (sender, changed) = oneshot::channel();
            // Whoever waits no more needs no call.
            self.on_change(Box::new(|| {
                let _ = sender.send(());
            }));
            // An error says that another waits now; the next round looks again.
            drop(changed.await);
        }
    }

    /// Ends the watch; what was not taken is dropped.
    pub fn cancel(&self) {
        // First the reason, else that of a task that ends would stand.
        self.queue.cancel(Error::new(ErrorCode::WatchCancelled, "the watch was cancelled"));
        self.task.abort();
    }
}

impl<P: Page> Drop for Watch<P> {
    fn drop(&mut self) {
        self.task.abort();
    }
}

/// Nobody may wait for what cannot come: also when the task is dropped with its runtime.
struct EndAtEnd<P: Page> {
    queue: Arc<Queue<P>>,
    cut: Option<Error>,
}

impl<P: Page> Drop for EndAtEnd<P> {
    fn drop(&mut self) {
        if let Some(why) = self.cut.take() {
            self.queue.end(why);
        }
    }
}

pub(super) fn check_buffer(buffer: usize) -> Result<()> {
    if buffer == 0 || buffer > WATCH_BUFFER_EVENTS_MAX {
        let text = format!("buffer: {buffer} events, must be 1 to {WATCH_BUFFER_EVENTS_MAX}");
        return Err(Error::new(ErrorCode::InvalidArgument, text));
    }
    Ok(())
}

/// How far a watch came, and how it goes on.
struct Course {
    /// At nodes elsewhere; empty: `default`.
    keyspace: String,
    filter: WatchFilter,
    start: WatchStart,
    /// `None`: it has not begun.
    position: Option<WatchPosition>,
    is_initial: bool,
}

impl Course {
    fn new(keyspace: &str, request: WatchRequest) -> Course {
        let WatchRequest { filter, start } = request;
        let is_initial = matches!(start, WatchStart::Initial | WatchStart::InitialAfter(_));
        Course { keyspace: keyspace.to_string(), filter, start, position: None, is_initial }
    }

    /// What to ask the next node.
    fn request(&self) -> WatchRequest {
        let start = match &self.position {
            None => self.start.clone(),
            Some(position) if self.is_initial => WatchStart::InitialAfter(position.clone()),
            Some(position) => WatchStart::After(position.clone()),
        };
        WatchRequest { filter: self.filter.clone(), start }
    }

    /// A page was delivered.
    fn advance(&mut self, page: &WatchPage) {
        let begin = || match &self.start {
            WatchStart::Now | WatchStart::Initial => WatchPosition::new(),
            WatchStart::After(position) | WatchStart::InitialAfter(position) => position.clone(),
        };
        page.advance(self.position.get_or_insert_with(begin));
        self.is_initial &= !page.is_initial_done;
    }
}

/// Follows one node after the other; returns why it cannot go on.
async fn follow_nodes(shared: &Shared, queue: &Queue<WatchPage>, mut course: Course) -> Error {
    let mut endpoints = shared.endpoints();
    loop {
        let target = endpoints.next();
        let (has_told, error) = match open(shared, &target, &course).await {
            Ok(answers) => {
                endpoints.reached();
                follow_node(answers, queue, &mut course).await
            }
            Err(error) => (false, error),
        };
        if is_final(&error) {
            return error;
        }
        tracing::debug!(%target, %error, "a watch moves on");
        if has_told {
            endpoints.left(error.message());
        } else {
            endpoints.failed(error.message().to_string());
        }
        let pause = endpoints.pause(&shared.retry, draw(&shared.env));
        if !pause.is_zero() {
            tokio::time::sleep(pause).await;
        }
    }
}

/// Whether every node would say the same.
fn is_final(error: &Error) -> bool {
    match error.kind() {
        ErrorKind::InvalidArgument | ErrorKind::Unsupported | ErrorKind::Conflict | ErrorKind::Denied => true,
        ErrorKind::Unavailable | ErrorKind::Timeout | ErrorKind::Closed | ErrorKind::Corrupt | ErrorKind::Internal => {
            false
        }
    }
}

async fn open(shared: &Shared, target: &Address, course: &Course) -> Result<WatchAnswers> {
    let opening = async {
        let channel = shared.reach(target).await?;
        open_watch(channel, encode_watch(&course.keyspace, &course.request())).await
    };
    tokio::time::timeout(CLIENT_CONNECT_TIMEOUT, opening).await.map_err(|_| silent(target))?
}

/// Hands on what one node tells; returns whether it told anything, and why it ended.
async fn follow_node(mut answers: WatchAnswers, queue: &Queue<WatchPage>, course: &mut Course) -> (bool, Error) {
    let mut has_told = false;
    loop {
        let page = match answers.next().await {
            Ok(Some(page)) => decode_watch_page(page),
            Ok(None) => return (has_told, Error::new(ErrorCode::ConnectionLost, "the node ended the stream")),
            Err(error) => return (has_told, error),
        };
        let page = match page {
            Ok(page) => page,
            Err(error) => return (false, Error::new(ErrorCode::Internal, format!("a page is malformed: {error}"))),
        };
        has_told = true;
        course.advance(&page);
        queue.push(page).await;
    }
}

/// Follows a keyspace of this process.
async fn follow_keyspace(
    (keyspace, space): (Arc<Eventual>, Space),
    mut watcher: Watcher,
    queue: &Queue<WatchPage>,
    mut course: Course,
) -> Error {
    loop {
        match watcher.next().await {
            Ok(page) => {
                course.advance(&page);
                queue.push(page).await;
            }
            Err(error) if is_final(&error) || error.code() == ErrorCode::MemberRemoved => return error,
            // There is no other node to go to: this one may catch up yet.
            Err(error) => {
                tracing::debug!(%error, "a watch begins anew");
                watcher = match Watcher::new_in(keyspace.clone(), space, course.request()) {
                    Ok(watcher) => watcher,
                    Err(error) => return error,
                };
            }
        }
    }
}
