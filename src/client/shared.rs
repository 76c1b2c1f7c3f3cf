//! What the callers of a client and its task share: the calls behind a lock, and what wakes whom.

use std::{
    sync::{
        atomic::{AtomicUsize, Ordering},
        Arc,
    },
    task::Waker,
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::{watch, Notify};

use super::{
    call::{Finished, Slot},
    calls::Calls,
    retry::{Retry, Tries},
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
    pub(super) retry: Retry,
    pub(super) name: Option<ClientName>,
    inner: Mutex<Inner>,
    /// Wakes the task that connects: there is something to send, and no connection.
    pub(super) wanted: Notify,
    /// Wakes the task that keeps deadlines: there is an earlier one.
    pub(super) deadlines: Notify,
    /// The connection, for calls that do not go over the stream.
    channel: watch::Sender<Option<Channel>>,
    /// What came of connecting, for those calls.
    dials: watch::Sender<Dials>,
    /// Calls that wait for `channel`.
    channel_waiters: AtomicUsize,
    closed: watch::Sender<bool>,
}

/// What came of connecting, apart from connections.
#[derive(Clone, Default)]
struct Dials {
    /// How many targets could not be reached.
    in_vain: u64,
    /// How often no target let the client in, and why the last time.
    denied: u64,
    denial: Option<Error>,
}

struct Inner {
    calls: Calls,
    /// Wakes the stream that found nothing to send.
    writer: Option<Waker>,
    is_started: bool,
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
        let ClientConfig { targets, retry, name, tls, token, is_careless } = config;
        let calls = Calls::new(retry.clone(), targets.len());
        Ok(Shared {
            access: Access::of_client(&env, tls.as_ref(), token, is_careless)?,
            env,
            targets,
            retry,
            name,
            inner: Mutex::new(Inner { calls, writer: None, is_started: false }),
            wanted: Notify::new(),
            deadlines: Notify::new(),
            channel: watch::Sender::new(None),
            dials: watch::Sender::new(Dials::default()),
            channel_waiters: AtomicUsize::new(0),
            closed: watch::Sender::new(false),
        })
    }

    fn now(&self) -> Duration {
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
        let inner = &mut *inner;
        take(&mut inner.calls, &mut inner.writer)
    }

    pub(super) fn number_connection(&self) -> u64 {
        self.inner.lock().calls.number_connection()
    }

    pub(super) fn connection_opened(&self, channel: Channel) {
        let mut inner = self.inner.lock();
        inner.calls.connection_opened();
        let writer = inner.writer_to_wake();
        drop(inner);
        if let Some(writer) = writer {
            writer.wake();
        }
        self.channel.send_replace(Some(channel));
    }

    pub(super) fn connection_lost(&self, why: &str) {
        self.channel.send_replace(None);
        let now = self.now();
        let finished = self.inner.lock().calls.connection_lost(now, why);
        complete(finished);
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
    fn out_of_tries(&self) -> Error {
        let inner = self.inner.lock();
        Error::new(ErrorCode::Unreachable, format!("no node could be reached: {}", inner.calls.problem()))
    }

    /// Waits for connections; makes the task connect while it lives.
    pub(super) fn channels(self: &Arc<Shared>) -> Channels {
        self.channel_waiters.fetch_add(1, Ordering::SeqCst);
        self.wanted.notify_one();
        let (receiver, dials) = (self.channel.subscribe(), self.dials.subscribe());
        let known = self.dials.borrow().clone();
        Channels { shared: self.clone(), receiver, dials, known, tries: Tries::default() }
    }
}

/// See [`Shared::channels`].
pub(super) struct Channels {
    shared: Arc<Shared>,
    receiver: watch::Receiver<Option<Channel>>,
    dials: watch::Receiver<Dials>,
    /// What is counted in `tries`.
    known: Dials,
    tries: Tries,
}

impl Channels {
    /// A connection that was not given before.
    ///
    /// # Errors
    /// `UNREACHABLE` when the call was tried as often as it may be; why no node lets the client in.
    pub(super) async fn next(&mut self) -> Result<Channel> {
        loop {
            if let Some(channel) = self.receiver.borrow_and_update().clone() {
                return Ok(channel);
            }
            let dials = self.dials.borrow_and_update().clone();
            if let Some(denial) = dials.denial.filter(|_| dials.denied > self.known.denied) {
                return Err(denial);
            }
            while self.known.in_vain < dials.in_vain {
                self.known.in_vain += 1;
                self.tries.dialled_in_vain();
            }
            if self.is_exhausted() {
                return Err(self.shared.out_of_tries());
            }
            // The senders are fields of what `shared` holds, so they cannot be gone.
            tokio::select! {
                biased;
                _changed = self.receiver.changed() => {}
                _changed = self.dials.changed() => {}
            }
        }
    }

    /// Returns when the connection, over which the call came to nothing, has changed since it was given.
    ///
    /// # Errors
    /// The same, when the call was tried as often as it may be.
    pub(super) async fn lost(&mut self, error: Error) -> Result<()> {
        self.tries.sent_in_vain();
        if self.is_exhausted() {
            return Err(error);
        }
        // The sender is a field of what `shared` holds, so it cannot be gone.
        let _changed = self.receiver.changed().await;
        Ok(())
    }

    fn is_exhausted(&self) -> bool {
        self.shared.retry.is_exhausted(self.tries.count(self.shared.targets.len()))
    }

    /// Whether there is a connection now.
    pub(super) fn is_connected(&self) -> bool {
        self.receiver.borrow().is_some()
    }
}

impl Drop for Channels {
    fn drop(&mut self) {
        self.shared.channel_waiters.fetch_sub(1, Ordering::SeqCst);
    }
}

fn complete(finished: Vec<Finished>) {
    for call in finished {
        call.complete();
    }
}
