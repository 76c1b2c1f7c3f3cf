//! A session over a backend: see [`super`] for what it promises.

use std::{
    collections::BTreeMap,
    future::Future,
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{sync::Semaphore, time::Instant};

use super::{
    attempt::{is_worth_another_try, needs_id, try_timeout, Deadline, Progress},
    registration::{Place, Registration},
};
use crate::{
    client::{
        closed,
        retry::{RepeatedWrites, Retry, Tries},
        shared::Shared,
    },
    env::Env,
    error::{Error, ErrorCode, Result},
    faults::is_mutant,
    limits::{STRONG_CALLS_BYTES_MAX, STRONG_CALLS_MAX, STRONG_GRANTS_MAX, STRONG_LOCK_WAITS_MAX, STRONG_TRY_GRACE},
    replication::strong::{
        Answer, Call, ClientId, Command, Freshness, GroupWatch, LeaseId, ReadCall, ReadReply, Reply, Revision,
        Submission,
    },
    rpc::{bytes_of_call, check_call, StrongBackend, StrongPages},
};

/// See the module.
pub(in crate::client) struct Session {
    backend: Arc<dyn StrongBackend>,
    runtime: tokio::runtime::Handle,
    env: Env,
    retry: Retry,
    /// The client with which this ends.
    client: Option<Arc<Shared>>,
    /// The present registration.
    registration: Mutex<Arc<Registration>>,
    /// The greatest revision that an answer has shown.
    seen: AtomicU64,
    /// How many calls were taken in and are not over, and their bytes.
    taken: Mutex<(usize, usize)>,
    lock_waits: Semaphore,
    /// When the request was sent that granted a lease, for leases that nobody keeps yet.
    grants: Mutex<BTreeMap<LeaseId, Duration>>,
}

/// A call that was taken in, until it is over.
pub(super) struct Taken {
    session: Arc<Session>,
    bytes: usize,
}

impl Drop for Taken {
    fn drop(&mut self) {
        let mut taken = self.session.taken.lock();
        *taken = (taken.0 - 1, taken.1 - self.bytes);
    }
}

impl Session {
    pub(super) fn new(
        backend: Arc<dyn StrongBackend>,
        runtime: tokio::runtime::Handle,
        env: Env,
        client: Option<Arc<Shared>>,
    ) -> Session {
        let retry = client.as_ref().map(|client| client.retry.clone()).unwrap_or_default();
        Session {
            backend,
            runtime,
            env,
            retry,
            client,
            registration: Mutex::new(Arc::new(Registration::new())),
            seen: AtomicU64::new(0),
            taken: Mutex::new((0, 0)),
            lock_waits: Semaphore::new(STRONG_LOCK_WAITS_MAX),
            grants: Mutex::new(BTreeMap::new()),
        }
    }

    pub(super) fn runtime(&self) -> &tokio::runtime::Handle {
        &self.runtime
    }

    /// Time as deadlines of leases count it.
    pub(super) fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    /// How long to wait after so many failures.
    pub(super) fn pause(&self, failures: u32) -> Duration {
        // Without entropy there is no jitter, which is a pity and no error.
        self.retry.pause(failures, self.env.rng.next_u64().unwrap_or(0))
    }

    /// Checks a call and counts it.
    ///
    /// # Errors
    /// `OVERLOADED`, and those of [`check_call`].
    pub(super) fn take_in(self: &Arc<Session>, call: &Call) -> Result<Taken> {
        check_call(call)?;
        let bytes = bytes_of_call(call);
        let mut taken = self.taken.lock();
        let (calls, total) = (taken.0 + 1, taken.1 + bytes);
        if calls > STRONG_CALLS_MAX || total > STRONG_CALLS_BYTES_MAX {
            let text = format!(
                "{calls} calls of {total} bytes are under way, the limits are {STRONG_CALLS_MAX} and {STRONG_CALLS_BYTES_MAX}"
            );
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        *taken = (calls, total);
        Ok(Taken { session: self.clone(), bytes })
    }

    /// Whether the client is closed.
    pub(super) fn is_closed(&self) -> bool {
        self.client.as_ref().is_some_and(|client| client.is_closed())
    }

    /// Returns once the client is closed.
    pub(super) async fn closed(&self) {
        match &self.client {
            Some(client) => client.closed().await,
            None => std::future::pending().await,
        }
    }

    /// The outcome of a call, at the latest shortly after the timeout.
    pub(super) async fn run(&self, call: Call, timeout: Option<Duration>, progress: &Progress) -> Result<Reply> {
        let deadline = Deadline::after(timeout);
        tokio::select! {
            biased;
            () = self.closed() => Err(progress.settle(closed())),
            outcome = self.perform(call, deadline, progress) => outcome,
        }
    }

    async fn perform(&self, call: Call, deadline: Deadline, progress: &Progress) -> Result<Reply> {
        match call {
            Call::Submit(submission) => self.change(submission, deadline, progress).await,
            Call::Read(call) => self.read(call, deadline, progress).await,
            // Boxed: it waits for long anyway, and every call would be larger by it.
            call @ Call::AwaitLock { .. } => Box::pin(self.wait_in_line(call, deadline, progress)).await,
            call @ (Call::Lease(_) | Call::Leases { .. } | Call::Keyspaces) => {
                self.try_until(&call, deadline, progress).await
            }
        }
    }

    async fn wait_in_line(&self, call: Call, deadline: Deadline, progress: &Progress) -> Result<Reply> {
        let place = before(deadline, self.lock_waits.acquire()).await?;
        let _place = place.expect("the semaphore is never closed");
        self.try_until(&call, deadline, progress).await
    }

    async fn change(&self, change: Submission, deadline: Deadline, progress: &Progress) -> Result<Reply> {
        if change.id.is_some() || !needs_id(&change.command) || is_mutant("strong_retry_without_id") {
            return self.try_until(&Call::Submit(change), deadline, progress).await;
        }
        let is_grant = matches!(change.command, Command::Grant { .. });
        let (mut call, mut has_begun_anew) = (Call::Submit(change), false);
        loop {
            let place = match self.free_place() {
                Some(place) => place,
                // Boxed: it is rare, and every change would be larger by it.
                None => Box::pin(self.place(deadline)).await?,
            };
            if let Call::Submit(change) = &mut call {
                change.id = Some(place.id);
            }
            let sent = self.now();
            let outcome = self.try_until(&call, deadline, progress).await;
            match &outcome {
                Ok(Reply::Done(Answer::Leased { lease, .. })) if is_grant => self.granted(*lease, sent),
                Err(error) if error.code() == ErrorCode::RequestForgotten => {
                    self.forgotten(&place.registration);
                    // Refused when it was asked for the first time: it cannot have happened, so it may be asked for as somebody new.
                    if progress.was_sent_once() && !has_begun_anew {
                        progress.begin_anew();
                        has_begun_anew = true;
                        continue;
                    }
                }
                Ok(_) | Err(_) => {}
            }
            return outcome;
        }
    }

    /// A number for a request, if there is one without waiting.
    fn free_place(&self) -> Option<Place> {
        let registration = self.registration.lock().clone();
        let client = *registration.client.get()?;
        registration.free_place(client)
    }

    /// A number for a request; registers first if that is still to be done.
    async fn place(&self, deadline: Deadline) -> Result<Place> {
        let registration = self.registration.lock().clone();
        let registering = registration.client.get_or_try_init(|| self.register(deadline));
        let client = *before(deadline, registering).await??;
        before(deadline, registration.place(client)).await
    }

    async fn register(&self, deadline: Deadline) -> Result<ClientId> {
        let change = Submission { id: None, keyspace: String::new(), command: Command::Register };
        let call = Call::Submit(change);
        let progress = Progress::of(&call);
        // One registration more or less is of no matter: the caller's change was not sent.
        let definite = |error: Error| Error::new(error.code(), error.message());
        match self.try_until(&call, deadline, &progress).await.map_err(definite)? {
            Reply::Done(Answer::Registered(client)) => Ok(client),
            other => Err(Error::new(ErrorCode::Internal, format!("a registration was answered by {other:?}"))),
        }
    }

    /// The next change registers anew. Others may have noticed before.
    fn forgotten(&self, registration: &Arc<Registration>) {
        let mut present = self.registration.lock();
        if Arc::ptr_eq(&present, registration) {
            tracing::warn!("the group has forgotten this session; the next change begins another one");
            *present = Arc::new(Registration::new());
        }
    }

    fn granted(&self, lease: LeaseId, sent: Duration) {
        let mut grants = self.grants.lock();
        grants.insert(lease, sent);
        while grants.len() > STRONG_GRANTS_MAX {
            grants.pop_first();
        }
    }

    /// When the request was sent that granted a lease, if that was through this session and is remembered.
    pub(super) fn take_grant(&self, lease: LeaseId) -> Option<Duration> {
        self.grants.lock().remove(&lease)
    }

    /// All answers to reads, at one revision.
    pub(super) async fn read(&self, mut call: ReadCall, deadline: Deadline, progress: &Progress) -> Result<Reply> {
        if let Freshness::Session(wanted) = call.freshness {
            call.freshness = Freshness::Session(wanted.max(self.seen()));
        }
        let mut whole: Option<ReadReply> = None;
        loop {
            let part = match self.try_until(&Call::Read(call.clone()), deadline, progress).await? {
                Reply::Read(part) => part,
                other => return Err(Error::new(ErrorCode::Internal, format!("reads were answered by {other:?}"))),
            };
            let answered = part.answers.len();
            if answered > call.reads.len() || (answered == 0 && !call.reads.is_empty()) {
                let text = format!("{} reads were answered by {answered} answers", call.reads.len());
                return Err(Error::new(ErrorCode::Internal, text));
            }
            call.reads.drain(..answered);
            // The rest as of the same revision, which the next node may not have reached yet.
            (call.at, call.freshness) = (call.at.or(Some(part.revision)), Freshness::Session(part.revision));
            match &mut whole {
                Some(whole) => whole.answers.extend(part.answers),
                None => whole = Some(part),
            }
            if let Some(whole) = whole.take_if(|_| call.reads.is_empty()) {
                return Ok(Reply::Read(whole));
            }
        }
    }

    /// Tries until there is an answer, an error that no further try would change, or the deadline.
    async fn try_until(&self, call: &Call, deadline: Deadline, progress: &Progress) -> Result<Reply> {
        let (started, mut failures, mut last, mut tries) = (Instant::now(), 0, None, Tries::default());
        loop {
            let left = deadline.left();
            if left.is_zero() {
                return Err(progress.settle(deadline.passed(last)));
            }
            let before = progress.begin_try();
            let (next, timeout) = next_try(call, started.elapsed(), failures, left);
            let error = match self.try_once(next, timeout).await {
                Ok(reply) => return Ok(reply),
                Err(error) => error,
            };
            progress.try_failed(before, &error);
            if !is_worth_another_try(&error) || self.is_last_try(call, &error, &mut tries, progress) {
                return Err(progress.settle(error));
            }
            failures += 1;
            tracing::debug!(%error, failures, "a call about a strong keyspace is tried again");
            last = Some(error);
            tokio::time::sleep(self.pause(failures).min(deadline.left())).await;
        }
    }

    /// Whether a call that came to nothing may not be tried again. A wait in line for a lock always may.
    fn is_last_try(&self, call: &Call, error: &Error, tries: &mut Tries, progress: &Progress) -> bool {
        if error.code() == ErrorCode::Unreachable && !error.is_maybe_applied() {
            tries.dialled_in_vain();
        } else {
            tries.sent_in_vain();
        }
        let is_repeatable = match call {
            Call::AwaitLock { .. } => return false,
            Call::Submit(change) => self.retry.writes != RepeatedWrites::Never || !needs_id(&change.command),
            Call::Read(_) | Call::Lease(_) | Call::Leases { .. } | Call::Keyspaces => true,
        };
        let targets = self.client.as_ref().map_or(1, |client| client.count_nodes());
        self.retry.is_exhausted(tries.count(targets)) || (!is_repeatable && progress.is_unknown())
    }

    /// One try. A backend that does not answer in time is taken for silent.
    pub(super) async fn try_once(&self, call: Call, timeout: Duration) -> Result<Reply> {
        let is_change = matches!(call, Call::Submit(_));
        let trying = self.backend.call(call, timeout);
        let outcome = tokio::time::timeout(timeout.saturating_add(STRONG_TRY_GRACE), trying).await;
        let reply = outcome.unwrap_or_else(|_| {
            let error = Error::deadline("call", timeout);
            Err(if is_change { error.maybe_applied() } else { error })
        })?;
        self.saw(&reply);
        Ok(reply)
    }

    /// The greatest revision that an answer has shown.
    pub(super) fn seen(&self) -> Revision {
        Revision(self.seen.load(Ordering::SeqCst))
    }

    /// An answer or a watch has shown this revision.
    pub(super) fn saw_revision(&self, revision: Revision) {
        self.seen.fetch_max(revision.0, Ordering::SeqCst);
    }

    /// One try to begin a watch.
    pub(super) async fn open_watch(&self, watch: GroupWatch, timeout: Duration) -> Result<Box<dyn StrongPages>> {
        let opening = self.backend.watch(watch, timeout);
        let outcome = tokio::time::timeout(timeout.saturating_add(STRONG_TRY_GRACE), opening).await;
        outcome.unwrap_or_else(|_| Err(Error::deadline("watch", timeout)))
    }

    fn saw(&self, reply: &Reply) {
        let revision = match reply {
            Reply::Done(Answer::Written { revision: Some(revision), .. } | Answer::Proclaimed { revision }) => {
                *revision
            }
            Reply::Done(Answer::Held { token }) | Reply::Lock(Some(token)) => *token,
            Reply::Read(reply) => reply.revision,
            Reply::Done(_) | Reply::Lock(None) | Reply::Lease(_) | Reply::Leases(_) | Reply::Keyspaces(_) => return,
        };
        self.saw_revision(revision);
    }
}

/// The next try of a call, and how long it may take. A wait for a lock gets what is left of its own time on top.
fn next_try(call: &Call, elapsed: Duration, failures: u32, left: Duration) -> (Call, Duration) {
    let (mut call, mut timeout) = (call.clone(), try_timeout(failures));
    if let Call::AwaitLock { wait_ms, .. } = &mut call {
        let wanted = Duration::from_millis(*wait_ms).saturating_sub(elapsed);
        let wait = wanted.min(left.saturating_sub(STRONG_TRY_GRACE));
        *wait_ms = u64::try_from(wait.as_millis()).unwrap_or(u64::MAX);
        timeout = timeout.saturating_add(wait);
    }
    (call, timeout.min(left))
}

/// What `step` gives, unless the deadline passes: then nothing was sent. A step that keeps the deadline itself may say why.
async fn before<T>(deadline: Deadline, step: impl Future<Output = T>) -> Result<T> {
    let left = deadline.left().saturating_add(2 * STRONG_TRY_GRACE);
    tokio::time::timeout(left, step).await.map_err(|_| deadline.passed(None))
}
