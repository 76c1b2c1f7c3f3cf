//! A group for tests: a real state machine, whose log is nowhere, behind faults that a test orders.

use std::{
    collections::VecDeque,
    sync::{Arc, Weak},
    time::Duration,
};

use parking_lot::Mutex;
use tokio::{
    sync::{Notify, Semaphore},
    time::Instant,
};

use super::{call_each, StrongBackend, StrongPages};
use crate::{
    env::BoxFuture,
    error::{Error, ErrorCode, Result},
    limits::{LEASES_PER_EXPIRY_MAX, LEASES_PER_PAGE_MAX},
    replication::strong::{
        Answer, Bounds, Call, Changes, ChangesQuery, Command, Entry, GroupWatch, Item, KeyspaceId, LeaseId,
        LogPosition, Machine, Read, ReadAnswer, ReadCall, ReadKind, ReadReply, Refusal, Reply, Request, RequestId,
        Revision, Space, Submission, Until, WatchPage,
    },
    types::{Key, NodeId, PageRequest},
};

/// What befalls one call.
#[derive(Clone, Debug)]
pub(crate) enum Fault {
    /// It is refused and has no effect.
    Refuse(Error),
    /// It happens, but the answer is this.
    Lose(Error),
    /// It happens and is never answered.
    Swallow,
    /// It has no effect and is never answered.
    Hang,
    /// It is answered.
    Nothing,
}

/// See the module. The time of its machine is tokio's.
pub(crate) struct FakeGroup {
    /// Guards the machine, and what the test has ordered and wants to know.
    state: Mutex<State>,
    origin: Instant,
    /// Something was applied.
    applied: Notify,
    me: Weak<FakeGroup>,
    /// Each call waits for a permit and keeps it.
    pub(crate) gate: Semaphore,
    /// Who leads, as it says.
    pub(crate) leader: Mutex<Option<NodeId>>,
}

struct State {
    machine: Machine,
    at: LogPosition,
    faults: VecDeque<Fault>,
    calls: Vec<(Call, Duration)>,
    answers_max: usize,
    pages_max: usize,
    watches: Vec<GroupWatch>,
}

impl FakeGroup {
    /// With a keyspace named `jobs`.
    pub(crate) fn new() -> Arc<FakeGroup> {
        FakeGroup::with(Bounds::default())
    }

    pub(crate) fn with(bounds: Bounds) -> Arc<FakeGroup> {
        let mut state = State {
            machine: Machine::new(bounds),
            at: LogPosition { term: 1, index: 0 },
            faults: VecDeque::new(),
            calls: Vec::new(),
            answers_max: usize::MAX,
            pages_max: usize::MAX,
            watches: Vec::new(),
        };
        state.apply(0, None, Command::CreateKeyspace { name: "jobs".into() }).unwrap();
        let gate = Semaphore::new(Semaphore::MAX_PERMITS);
        Arc::new_cyclic(|me| FakeGroup {
            state: Mutex::new(state),
            origin: Instant::now(),
            applied: Notify::new(),
            me: me.clone(),
            gate,
            leader: Mutex::new(None),
        })
    }

    /// What befalls the next calls, in this order; those after them are answered.
    pub(crate) fn order(&self, faults: impl IntoIterator<Item = Fault>) {
        self.state.lock().faults.extend(faults);
    }

    /// Nothing befalls the next calls any more.
    pub(crate) fn forget_faults(&self) {
        self.state.lock().faults.clear();
    }

    /// Reads get so many answers at once.
    pub(crate) fn limit_answers(&self, answers_max: usize) {
        self.state.lock().answers_max = answers_max;
    }

    /// Watches are cut after so many pages.
    pub(crate) fn limit_pages(&self, pages_max: usize) {
        self.state.lock().pages_max = pages_max;
    }

    /// The watches that were begun so far.
    pub(crate) fn watches(&self) -> Vec<GroupWatch> {
        self.state.lock().watches.clone()
    }

    /// The calls so far, and how long each was given.
    pub(crate) fn calls(&self) -> Vec<(Call, Duration)> {
        self.state.lock().calls.clone()
    }

    /// The changes so far.
    pub(crate) fn submissions(&self) -> Vec<Submission> {
        let submission = |(call, _)| match call {
            Call::Submit(submission) => Some(submission),
            _ => None,
        };
        self.calls().into_iter().filter_map(submission).collect()
    }

    /// What is at a key of `jobs`.
    pub(crate) fn item(&self, key: &Key) -> Option<Arc<Item>> {
        let state = self.state.lock();
        let keyspace = state.keyspace("jobs").unwrap();
        state.machine.get(keyspace, Space::Data, key).unwrap().cloned()
    }

    async fn answer(&self, call: Call, timeout: Duration) -> Result<Reply> {
        self.state.lock().calls.push((call.clone(), timeout));
        let _permit = self.gate.acquire().await.unwrap();
        let fault = self.state.lock().faults.pop_front().unwrap_or(Fault::Nothing);
        match fault {
            Fault::Refuse(error) => Err(error),
            Fault::Lose(error) => self.happen(call).await.and(Err(error)),
            Fault::Swallow => {
                self.happen(call).await.unwrap();
                std::future::pending().await
            }
            Fault::Hang => std::future::pending().await,
            Fault::Nothing => self.happen(call).await,
        }
    }

    async fn happen(&self, call: Call) -> Result<Reply> {
        if let Call::AwaitLock { keyspace, lock, lease, wait_ms } = call {
            let deadline = Instant::now() + Duration::from_millis(wait_ms);
            return self.wait_for_lock(&keyspace, &lock, lease, deadline).await;
        }
        let elapsed_ms = self.origin.elapsed().as_millis() as u64;
        let mut state = self.state.lock();
        state.expire(elapsed_ms);
        let reply = match call {
            Call::Submit(change) => state.submit(elapsed_ms, change).map(Reply::Done),
            Call::Read(call) => state.read(&call).map(Reply::Read),
            Call::Lease(lease) => match state.machine.lease(lease) {
                Some(lease) => Ok(Reply::Lease(lease)),
                None => Err(Refusal::UnknownLease { lease }.into()),
            },
            Call::Leases { after } => Ok(Reply::Leases(state.machine.leases_after(after, LEASES_PER_PAGE_MAX))),
            Call::Keyspaces => Ok(Reply::Keyspaces(state.machine.keyspaces().map(|(_, facts)| facts).collect())),
            Call::AwaitLock { .. } => panic!("it was answered above"),
        };
        drop(state);
        self.applied.notify_waiters();
        reply
    }

    fn has_lease(&self, lease: LeaseId) -> bool {
        self.state.lock().machine.lease(lease).is_some()
    }

    async fn wait_for_lock(&self, keyspace: &str, lock: &Key, lease: LeaseId, deadline: Instant) -> Result<Reply> {
        loop {
            let applied = self.applied.notified();
            let held = {
                let state = self.state.lock();
                let keyspace = state.keyspace(keyspace)?;
                state.machine.get(keyspace, Space::Locks, lock)?.cloned()
            };
            match held {
                Some(item) if item.until == Until::Lease(lease) => {
                    return Ok(Reply::Lock(Some(item.created)));
                }
                Some(_) | None if self.has_lease(lease) => {}
                Some(_) | None => return Err(Refusal::NotHolder { token: Revision::ZERO }.into()),
            }
            if tokio::time::timeout_at(deadline, applied).await.is_err() {
                return Ok(Reply::Lock(None));
            }
        }
    }
}

impl State {
    fn keyspace(&self, name: &str) -> Result<KeyspaceId> {
        let unknown = || Error::new(ErrorCode::UnknownKeyspace, format!("keyspace: there is no {name:?}"));
        self.machine.keyspace_named(name).ok_or_else(unknown)
    }

    fn apply(&mut self, elapsed_ms: u64, id: Option<RequestId>, command: Command) -> Result<Answer> {
        self.at.index += 1;
        let entry = Entry { time_ms: 1_700_000_000_000 + elapsed_ms, requests: vec![Request { id, command }] };
        match self.machine.apply(self.at, &entry).remove(0) {
            Answer::Refused(refusal) => Err(refusal.into()),
            answer => Ok(answer),
        }
    }

    /// Lets time pass, and ends leases as a leader does.
    fn expire(&mut self, elapsed_ms: u64) {
        let none = Command::Expire { term: 1, leases: Vec::new() };
        self.apply(elapsed_ms, None, none).unwrap();
        let leases = self.machine.due_leases(self.machine.elapsed_ms(), LEASES_PER_EXPIRY_MAX);
        self.apply(elapsed_ms, None, Command::Expire { term: 1, leases }).unwrap();
    }

    fn submit(&mut self, elapsed_ms: u64, change: Submission) -> Result<Answer> {
        let mut command = change.command;
        match &mut command {
            Command::Transact(transaction) => transaction.keyspace = self.keyspace(&change.keyspace)?,
            Command::Acquire { lock, .. } | Command::Release { lock, .. } | Command::Proclaim { lock, .. } => {
                lock.keyspace = self.keyspace(&change.keyspace)?;
            }
            Command::DropKeyspace { keyspace } => *keyspace = self.keyspace(&change.keyspace)?,
            _ => {}
        }
        self.apply(elapsed_ms, change.id, command)
    }

    fn read(&self, call: &ReadCall) -> Result<ReadReply> {
        let keyspace = self.keyspace(&call.keyspace)?;
        let revision = call.at.unwrap_or(self.machine.revision());
        let answer = |read: &Read| self.read_one(keyspace, read, revision);
        let answers = call.reads.iter().take(self.answers_max).map(answer).collect::<Result<_>>()?;
        Ok(ReadReply { revision, elapsed_ms: self.machine.elapsed_ms(), answers })
    }

    fn read_one(&self, keyspace: KeyspaceId, read: &Read, revision: Revision) -> Result<ReadAnswer> {
        let page = |page: &PageRequest| self.machine.page_at(keyspace, read.space, page, revision);
        Ok(match &read.kind {
            ReadKind::Key { key, metadata_only } => {
                let item = self.machine.get_at(keyspace, read.space, key, revision)?.cloned();
                ReadAnswer::Key { key: key.clone(), item, metadata_only: *metadata_only }
            }
            ReadKind::Page { page: request, keys_only } => {
                ReadAnswer::Page { page: page(request)?, keys_only: *keys_only }
            }
            ReadKind::Count(range) => {
                let all = PageRequest {
                    range: range.clone(),
                    reverse: false,
                    keys_max: usize::MAX,
                    bytes_target: usize::MAX,
                };
                ReadAnswer::Count(page(&all)?.items.len() as u64)
            }
        })
    }
}

impl StrongBackend for FakeGroup {
    fn call(&self, call: Call, timeout: Duration) -> BoxFuture<'_, Result<Reply>> {
        Box::pin(self.answer(call, timeout))
    }

    fn call_many(&self, calls: Vec<Call>, timeout: Duration) -> BoxFuture<'_, Vec<Result<Reply>>> {
        call_each(self, calls, timeout)
    }

    fn leader(&self) -> Option<NodeId> {
        *self.leader.lock()
    }

    fn watch(&self, watch: GroupWatch, _timeout: Duration) -> BoxFuture<'_, Result<Box<dyn StrongPages>>> {
        Box::pin(async move { Ok(Box::new(self.begin(watch)?) as Box<dyn StrongPages>) })
    }
}

/// A watch, which keeps its group.
struct FakePages {
    group: Arc<FakeGroup>,
    query: ChangesQuery,
    told: usize,
}

impl FakeGroup {
    fn begin(&self, watch: GroupWatch) -> Result<FakePages> {
        let mut state = self.state.lock();
        state.watches.push(watch.clone());
        let keyspace = state.keyspace(&watch.keyspace)?;
        assert!(!watch.initial, "what is there is read");
        let since = watch.since.unwrap_or(state.machine.revision());
        let query = ChangesQuery { keyspace, space: watch.space, range: watch.range, since, changes_target: 4 };
        state.machine.changes_since(&query)?;
        Ok(FakePages { group: self.me.upgrade().unwrap(), query, told: 0 })
    }
}

impl FakePages {
    async fn read(&mut self) -> Result<WatchPage> {
        loop {
            let mut applied = std::pin::pin!(self.group.applied.notified());
            applied.as_mut().enable();
            {
                let state = self.group.state.lock();
                if self.told >= state.pages_max {
                    return Err(Error::new(ErrorCode::ConnectionLost, "cut"));
                }
                let Changes { transactions, until, .. } = state.machine.changes_since(&self.query)?;
                self.query.since = until;
                if !transactions.is_empty() || self.told == 0 {
                    self.told += 1;
                    let elapsed_ms = state.machine.elapsed_ms();
                    return Ok(WatchPage { transactions, until, initial: false, elapsed_ms });
                }
            }
            applied.await;
        }
    }
}

impl StrongPages for FakePages {
    fn next(&mut self) -> BoxFuture<'_, Result<WatchPage>> {
        Box::pin(self.read())
    }
}
