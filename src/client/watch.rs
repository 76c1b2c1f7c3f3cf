//! A watch that survives its nodes: one task follows a node, and goes on at the next one with the position it has reached.
//!
//! It has a connection of its own, because a program that does not take its events stops the stream, and with it what a
//! connection may have on the way.

mod queue;

use std::sync::Arc;

use tokio::{sync::oneshot, task::AbortHandle};

pub(super) use self::queue::Queue;
pub use self::queue::{Page, Wake};
use super::{endpoints::Endpoints, shared::Shared, Client};
use crate::{
    error::{Error, ErrorCode, ErrorKind, Result},
    limits::{CLIENT_CONNECT_TIMEOUT, WATCH_BUFFER_EVENTS_MAX},
    replication::eventual::{Eventual, Watcher},
    rpc::{open_watch, WatchAnswers},
    types::{Address, WatchFilter, WatchPage, WatchPosition, WatchRequest, WatchStart},
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
        check_buffer(buffer)?;
        let shared = self.handle.shared.clone();
        if shared.is_closed() {
            return Err(super::closed());
        }
        Ok(Watch::spawn(buffer, &self.handle.runtime, super::closed(), |queue| async move {
            tokio::select! {
                biased;
                () = shared.closed() => super::closed(),
                error = follow_nodes(&shared, &queue, Course::new(request)) => error,
            }
        }))
    }
}

impl Watch {
    /// Watches keys of a keyspace of this process, whose node runs on `runtime`.
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
        let course = Course::new(request);
        let watcher = Watcher::new(keyspace.clone(), course.request())?;
        let stopped = Error::new(ErrorCode::NotRunning, "the node was stopped");
        Ok(Watch::spawn(buffer, runtime, stopped, |queue| follow_keyspace(keyspace, watcher, queue, course)))
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
    filter: WatchFilter,
    start: WatchStart,
    /// `None`: it has not begun.
    position: Option<WatchPosition>,
    is_initial: bool,
}

impl Course {
    fn new(request: WatchRequest) -> Course {
        let WatchRequest { filter, start } = request;
        let is_initial = matches!(start, WatchStart::Initial | WatchStart::InitialAfter(_));
        Course { filter, start, position: None, is_initial }
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
    let mut endpoints = Endpoints::new(&shared.targets);
    loop {
        let target = endpoints.current().clone();
        let (has_told, error) = match open(shared, &target, &course).await {
            Ok(answers) => follow_node(answers, queue, &mut course).await,
            Err(error) => (false, error),
        };
        if is_final(&error) {
            return error;
        }
        tracing::debug!(%target, %error, "a watch moves on");
        if has_told {
            endpoints.left();
        } else {
            endpoints.failed(error.message().to_string());
        }
        // Without entropy the pause has no jitter, which is a pity and no error.
        let pause = endpoints.pause(&shared.retry, shared.env.rng.next_u64().unwrap_or(0));
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
        let channel = shared.access.connect(target).await?;
        open_watch(channel, encode_watch(&course.request())).await
    };
    let silent = |_| {
        let seconds = CLIENT_CONNECT_TIMEOUT.as_secs_f64();
        Error::new(ErrorCode::Unreachable, format!("{target}: it did not answer within {seconds} s"))
    };
    tokio::time::timeout(CLIENT_CONNECT_TIMEOUT, opening).await.map_err(silent)?
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
    keyspace: Arc<Eventual>,
    mut watcher: Watcher,
    queue: Arc<Queue<WatchPage>>,
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
                watcher = match Watcher::new(keyspace.clone(), course.request()) {
                    Ok(watcher) => watcher,
                    Err(error) => return error,
                };
            }
        }
    }
}
