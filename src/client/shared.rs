//! What the callers of a client and its task share: the calls behind a lock, and what wakes whom.

mod nodes;

pub(super) use self::nodes::silent;

use std::{
    sync::{
        atomic::{AtomicBool, AtomicUsize, Ordering},
        Arc,
    },
    task::Waker,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{oneshot, watch, Notify};

use super::{
    call::{Finished, Slot},
    calls::Calls,
    directory::Directory,
    endpoints::Order,
    hedge::Hedge,
    retry::Retry,
    CallId, ClientConfig, Completion,
};
use crate::{
    env::Env,
    error::{Error, ErrorCode, Result},
    rpc::{Access, Channel},
    types::{Address, Answer, ClientName, LostWrites, Seen},
};

/// Shared by the clones of a client and its task.
pub(super) struct Shared {
    pub(super) env: Env,
    /// How nodes are reached.
    pub(super) access: Access,
    pub(super) targets: Vec<Address>,
    /// The nodes that all connections of the client choose from.
    pub(super) directory: Arc<Mutex<Directory>>,
    /// How this chooses from them.
    order: Order,
    /// Whether nodes are asked for others.
    discover: bool,
    /// `None`: no read is asked of two nodes.
    pub(super) hedge: Option<Arc<Hedge>>,
    pub(super) retry: Retry,
    pub(super) name: Option<ClientName>,
    inner: Mutex<Inner>,
    /// Wakes the task that connects: there is something to send, and no connection.
    pub(super) wanted: Notify,
    /// Wakes the task that keeps deadlines: there is an earlier one.
    pub(super) deadlines: Notify,
    /// The connection, for calls that do not go over the stream.
    pub(super) channel: watch::Sender<Option<Channel>>,
    /// What came of connecting, for those calls.
    pub(super) dials: watch::Sender<Dials>,
    /// Calls that wait for `channel`.
    pub(super) channel_waiters: AtomicUsize,
    /// Wakes the lookout: calls have come while it slept.
    pub(super) busy: Notify,
    /// Calls to strong keyspaces have come since the lookout has looked; they have connections of their own.
    is_strong_busy: AtomicBool,
    closed: watch::Sender<bool>,
}

/// What came of connecting, apart from connections.
#[derive(Clone, Default)]
pub(super) struct Dials {
    /// How many targets could not be reached.
    pub(super) in_vain: u64,
    /// How often no target let the client in, and why the last time.
    pub(super) denied: u64,
    pub(super) denial: Option<Error>,
}

struct Inner {
    calls: Calls,
    /// Wakes the stream that found nothing to send.
    writer: Option<Waker>,
    is_started: bool,
    contact: Option<Contact>,
}

/// The node at the other end of the stream.
struct Contact {
    address: Address,
    channel: Channel,
    /// Ends the connection, for a reason.
    abandon: oneshot::Sender<String>,
}

impl Inner {
    /// The writer, when it has to be told that there is something to send.
    fn writer_to_wake(&mut self) -> Option<Waker> {
        if !self.calls.can_send() {
            return None;
        }
        self.writer.take()
    }
}

impl Shared {
    /// # Errors
    /// `BAD_SETTING` for the files of `tls`.
    pub(super) fn new(env: Env, config: ClientConfig) -> Result<Shared> {
        let access = Access::of_client(&env, config.tls.as_ref(), config.token.clone(), config.is_careless)?;
        let directory = Arc::new(Mutex::new(Directory::new(&config.targets)));
        let order = if config.discover { Order::Best } else { Order::Given(0) };
        Ok(Shared::with((env, access), config, directory, order))
    }

    /// Of a second connection for the same client, to another node than its calls go to.
    pub(super) fn second(&self) -> Shared {
        let (retry, name) = (self.retry.clone(), self.name.clone());
        let config = ClientConfig { discover: self.discover, retry, name, ..ClientConfig::new(self.targets.clone()) };
        Shared::with((self.env.clone(), self.access.clone()), config, self.directory.clone(), Order::Second)
    }

    fn with(
        (env, access): (Env, Access),
        config: ClientConfig,
        directory: Arc<Mutex<Directory>>,
        order: Order,
    ) -> Shared {
        let ClientConfig { targets, discover, hedge, retry, name, .. } = config;
        let calls = Calls::new(retry.clone(), directory.lock().len(), order == Order::Best);
        Shared {
            access,
            env,
            targets,
            directory,
            order,
            discover,
            hedge: hedge.map(|delay| Arc::new(Hedge::new(delay))),
            retry,
            name,
            inner: Mutex::new(Inner { calls, writer: None, is_started: false, contact: None }),
            wanted: Notify::new(),
            deadlines: Notify::new(),
            channel: watch::Sender::new(None),
            dials: watch::Sender::new(Dials::default()),
            channel_waiters: AtomicUsize::new(0),
            busy: Notify::new(),
            is_strong_busy: AtomicBool::new(false),
            closed: watch::Sender::new(false),
        }
    }

    pub(super) fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    /// True the first time: the caller has to start the task.
    pub(super) fn start(&self) -> bool {
        let mut inner = self.inner.lock();
        !inner.calls.is_closed() && !std::mem::replace(&mut inner.is_started, true)
    }

    /// Takes a call in, and wakes at most one of those who have to know.
    pub(super) fn submit(&self, slots: Vec<Slot>, timeout: Option<Duration>, done: Completion) -> Option<CallId> {
        let now = self.now();
        let mut inner = self.inner.lock();
        let deadline = inner.calls.earliest_deadline();
        let call = match inner.calls.submit(now, slots, timeout, done) {
            Ok(call) => call,
            Err(refused) => {
                drop(inner);
                refused.complete();
                return None;
            }
        };
        let writer = inner.writer_to_wake();
        let is_down = inner.calls.is_down();
        let is_earlier = inner.calls.earliest_deadline() != deadline;
        drop(inner);
        if let Some(writer) = writer {
            writer.wake();
        }
        if is_down {
            self.wanted.notify_one();
        }
        if is_earlier {
            self.deadlines.notify_one();
        }
        Some(call)
    }

    pub(super) fn cancel(&self, call: CallId) {
        let cancelled = self.inner.lock().calls.cancel(call);
        // Its completion may do anything when it is dropped, so that happens here, without the lock.
        drop(cancelled);
    }

    /// Takes answers in and completes the calls that have all of theirs. True when the connection is of no more use.
    pub(super) fn answer(&self, answers: Vec<(u64, Result<(Answer, Seen)>)>) -> bool {
        let mut inner = self.inner.lock();
        let finished = inner.calls.answer(answers);
        let writer = inner.writer_to_wake();
        let is_drained = inner.calls.is_drained();
        drop(inner);
        if let Some(writer) = writer {
            writer.wake();
        }
        complete(finished);
        is_drained
    }

    /// The node has ended the stream in order.
    pub(super) fn refuse_rest(&self) {
        let finished = self.inner.lock().calls.refuse_rest();
        complete(finished);
    }

    /// Takes in whether the node has what the session has seen. True when the connection is of no more use.
    pub(super) fn handle_caught_up(&self, answer: Result<Vec<LostWrites>>) -> bool {
        let mut inner = self.inner.lock();
        let failed = inner.calls.handle_caught_up(answer);
        let writer = inner.writer_to_wake();
        let is_drained = inner.calls.is_drained();
        drop(inner);
        if let Some(writer) = writer {
            writer.wake();
        }
        complete(failed);
        is_drained
    }

    /// Fails what is late; gives the time until something else can be.
    pub(super) fn expire(&self) -> Option<Duration> {
        let now = self.now();
        let mut inner = self.inner.lock();
        let finished = inner.calls.expire(now);
        let next = inner.calls.earliest_deadline();
        drop(inner);
        complete(finished);
        next.map(|next| next.saturating_sub(now))
    }

    /// Whether a connection would be of use.
    pub(super) fn is_wanted(&self) -> bool {
        self.channel_waiters.load(Ordering::SeqCst) > 0 || self.inner.lock().calls.has_waiting()
    }

    /// The calls, for the stream: with the waker to leave behind when there is nothing to send.
    pub(super) fn next_batch<T>(&self, take: impl FnOnce(&mut Calls, &mut Option<Waker>) -> T) -> T {
        let mut inner = self.inner.lock();
        let taken = {
            let inner = &mut *inner;
            take(&mut inner.calls, &mut inner.writer)
        };
        let is_unwatched = inner.calls.begin_watch();
        drop(inner);
        if is_unwatched {
            self.busy.notify_one();
        }
        taken
    }

    pub(super) fn number_connection(&self) -> u64 {
        self.inner.lock().calls.number_connection()
    }

    /// The stream stands; gives what says that the connection is to be given up, and why.
    pub(super) fn connection_opened(&self, channel: Channel, address: &Address) -> oneshot::Receiver<String> {
        let (abandon, abandoned) = oneshot::channel();
        let mut inner = self.inner.lock();
        inner.calls.connection_opened();
        inner.contact = Some(Contact { address: address.clone(), channel: channel.clone(), abandon });
        let writer = inner.writer_to_wake();
        drop(inner);
        if let Some(writer) = writer {
            writer.wake();
        }
        self.channel.send_replace(Some(channel));
        abandoned
    }

    /// The connection ended; whether that was for a move to a nearer node.
    pub(super) fn connection_lost(&self, why: &str) -> bool {
        self.channel.send_replace(None);
        let now = self.now();
        let mut inner = self.inner.lock();
        inner.contact = None;
        let is_moving = inner.calls.is_moving();
        let finished = inner.calls.connection_lost(now, why);
        drop(inner);
        complete(finished);
        is_moving
    }

    pub(super) fn connecting_failed(&self, problem: String) {
        let finished = self.inner.lock().calls.connecting_failed(problem);
        self.dials.send_modify(|dials| dials.in_vain += 1);
        complete(finished);
    }

    /// No target lets this client in.
    pub(super) fn denied(&self, error: Error) {
        let finished = self.inner.lock().calls.denied(&error);
        self.dials.send_modify(|dials| {
            dials.denied += 1;
            dials.denial = Some(error);
        });
        complete(finished);
    }

    /// Fails everything, ends the task, for good.
    pub(super) fn close(&self) {
        let (finished, writer) = {
            let mut inner = self.inner.lock();
            (inner.calls.close(), inner.writer.take())
        };
        self.channel.send_replace(None);
        self.closed.send_replace(true);
        if let Some(hedge) = &self.hedge {
            hedge.close();
        }
        // A stream that waits for something to send would never end, and its connection with it.
        if let Some(writer) = writer {
            writer.wake();
        }
        complete(finished);
    }

    /// Whether the client is closed.
    pub(super) fn is_closed(&self) -> bool {
        *self.closed.borrow()
    }

    /// Returns once the client is closed.
    pub(super) async fn closed(&self) {
        let mut closed = self.closed.subscribe();
        // The sender is a field of what is borrowed here, so it cannot be gone.
        let _closed = closed.wait_for(|&closed| closed).await;
    }

    /// Why a call without a connection came to nothing.
    pub(super) fn unreachable(&self, within: Duration) -> Error {
        let inner = self.inner.lock();
        let (within, problem) = (within.as_secs_f64(), inner.calls.problem());
        Error::new(ErrorCode::Unreachable, format!("no node could be reached within {within:.3} s: {problem}"))
    }

    /// Why a call that may not be tried again came to nothing.
    pub(super) fn out_of_tries(&self) -> Error {
        let inner = self.inner.lock();
        Error::new(ErrorCode::Unreachable, format!("no node could be reached: {}", inner.calls.problem()))
    }

    /// How many nodes there are to try.
    pub(super) fn count_nodes(&self) -> usize {
        self.directory.lock().len()
    }
}

fn complete(finished: Vec<Finished>) {
    for call in finished {
        call.complete();
    }
}
