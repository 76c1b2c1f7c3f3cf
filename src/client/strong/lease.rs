//! A lease that is kept alive, and that knows when it may have ended.
//!
//! The group lets a lease last for its time to live from when it applies a keep-alive, which is after it was sent. So
//! counting from when the last successful one was sent, this side gives up first. That holds while the clocks of both sides
//! run at about the same rate; one that stands still, as that of a suspended machine does, notices too late. Writes are
//! safe all the same when they name the fencing token of their lock.

use std::{sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::task::AbortHandle;

use super::{session::Session, StrongClient};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::STRONG_TRY_FIRST,
    replication::strong::{Answer, Call, Command, LeaseId, Reply, Submission},
};

/// A keep-alive is due when this part of the time to live has passed: two may fail.
const KEEP_ALIVES_PER_TTL: u32 = 3;

/// A lease that is kept alive until this is dropped or stopped, which revokes nothing. Whoever revokes it stops this first.
pub struct KeptLease {
    lease: LeaseId,
    keeper: Arc<Keeper>,
    task: AbortHandle,
}

/// What the owner of a kept lease and the task that keeps it share.
struct Keeper {
    client: StrongClient,
    /// Guards what is known of the lease, and who is to be told.
    state: Mutex<State>,
}

struct State {
    standing: Standing,
    /// When the lease may have ended; until `is_known`, when to give up.
    deadline: Duration,
    /// A request that made it last was sent at a known moment.
    is_known: bool,
    to_tell: Vec<Box<dyn FnOnce() + Send>>,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Standing {
    Kept,
    Lost,
    Stopped,
}

impl KeptLease {
    pub(super) fn start(client: StrongClient, lease: LeaseId, ttl: Duration) -> KeptLease {
        let session = client.session.clone();
        let granted = session.take_grant(lease);
        let deadline = granted.unwrap_or_else(|| session.now()).saturating_add(ttl);
        let state = State { standing: Standing::Kept, deadline, is_known: granted.is_some(), to_tell: Vec::new() };
        let keeper = Arc::new(Keeper { client, state: Mutex::new(state) });
        let ending = Ending(keeper.clone());
        let task = session.runtime().spawn(async move {
            let keeper = &ending.0;
            tokio::select! {
                biased;
                () = keeper.session().closed() => {}
                () = keeper.keep(lease, ttl) => {}
            }
        });
        KeptLease { lease, keeper, task: task.abort_handle() }
    }

    /// Which.
    pub fn lease(&self) -> LeaseId {
        self.lease
    }

    /// Whether it has not ended for sure: its deadline has not passed, nobody refused to keep it, and it was not stopped.
    pub fn is_alive(&self) -> bool {
        let now = self.keeper.session().now();
        let state = self.keeper.state.lock();
        state.standing == Standing::Kept && now < state.deadline
    }

    /// How long it lasts at least from now on, if no further keep-alive succeeds. Zero when it is lost or stopped, and before
    /// the first keep-alive of a lease that this session has not granted.
    pub fn remaining(&self) -> Duration {
        let now = self.keeper.session().now();
        let state = self.keeper.state.lock();
        if state.standing != Standing::Kept || !state.is_known {
            return Duration::ZERO;
        }
        state.deadline.saturating_sub(now)
    }

    /// Calls `tell` once when the lease is lost: when the group says that it has ended, when its deadline passes, or when the
    /// client is closed. At once if it is lost already; never after [`KeptLease::stop`]. Called from a thread of the runtime;
    /// must not block or panic.
    pub fn on_lost(&self, tell: Box<dyn FnOnce() + Send>) {
        let mut state = self.keeper.state.lock();
        match state.standing {
            Standing::Kept => state.to_tell.push(tell),
            Standing::Lost => {
                drop(state);
                tell();
            }
            Standing::Stopped => {}
        }
    }

    /// Ends the keep-alives. The lease lasts until its time is over, or until it is revoked. Idempotent.
    pub fn stop(&self) {
        drop(self.keeper.end(Standing::Stopped));
        self.task.abort();
    }
}

impl Drop for KeptLease {
    fn drop(&mut self) {
        self.stop();
    }
}

/// A task that keeps a lease ends with the lease lost, unless it was stopped: also when its runtime ends.
struct Ending(Arc<Keeper>);

impl Drop for Ending {
    fn drop(&mut self) {
        for tell in self.0.end(Standing::Lost) {
            tell();
        }
    }
}

impl Keeper {
    fn session(&self) -> &Session {
        &self.client.session
    }

    /// Ends it in one way or the other, the first time; gives those who are to be told, outside of the lock.
    fn end(&self, standing: Standing) -> Vec<Box<dyn FnOnce() + Send>> {
        let mut state = self.state.lock();
        if state.standing == Standing::Kept {
            state.standing = standing;
        }
        std::mem::take(&mut state.to_tell)
    }

    /// Returns when the lease is lost.
    async fn keep(&self, lease: LeaseId, ttl: Duration) {
        let mut failures = 0;
        // One that was granted a moment ago has time; of another one nothing is known.
        let mut wait = if self.state.lock().is_known { self.until_due(ttl) } else { Duration::ZERO };
        loop {
            tokio::time::sleep(wait.min(self.left())).await;
            let (sent, left) = (self.session().now(), self.left());
            if left.is_zero() {
                tracing::warn!(%lease, "a lease was not kept alive in time");
                return;
            }
            let trying = self.keep_alive(lease, left.min(STRONG_TRY_FIRST));
            match tokio::time::timeout(left, trying).await {
                Ok(Ok(lasts)) => {
                    self.kept(sent.saturating_add(lasts));
                    (failures, wait) = (0, self.until_due(lasts));
                }
                Ok(Err(error)) if error.code() == ErrorCode::LeaseLost => {
                    tracing::warn!(%lease, "a lease that was kept has ended");
                    return;
                }
                Ok(Err(error)) => {
                    failures += 1;
                    tracing::debug!(%lease, %error, failures, "a keep-alive failed");
                    wait = self.session().pause(failures).min(ttl / 10);
                }
                Err(_) => wait = Duration::ZERO,
            }
        }
    }

    /// How long the lease lasts from when the answer's request was applied.
    async fn keep_alive(&self, lease: LeaseId, timeout: Duration) -> Result<Duration> {
        let change = Submission { id: None, keyspace: String::new(), command: Command::KeepAlive { lease } };
        match self.session().try_once(Call::Submit(change), timeout).await? {
            Reply::Done(Answer::Leased { ttl_ms, .. }) => Ok(Duration::from_millis(ttl_ms)),
            other => Err(Error::new(ErrorCode::Internal, format!("a keep-alive was answered by {other:?}"))),
        }
    }

    fn kept(&self, deadline: Duration) {
        let mut state = self.state.lock();
        // A lease that this session has not granted may be shorter than the caller believed.
        state.deadline = if state.is_known { state.deadline.max(deadline) } else { deadline };
        state.is_known = true;
    }

    fn left(&self) -> Duration {
        let now = self.session().now();
        self.state.lock().deadline.saturating_sub(now)
    }

    /// Until a third of its time has passed since the request was sent that the deadline counts from.
    fn until_due(&self, ttl: Duration) -> Duration {
        self.left().saturating_sub(ttl - ttl / KEEP_ALIVES_PER_TTL)
    }
}
