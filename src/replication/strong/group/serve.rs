//! What clients ask: names become ids, reads wait until they are fresh enough, refusals become errors.

use std::time::Duration;

use futures_util::future::join_all;

use super::{
    core::{stopped, Core},
    proposals::Pending,
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{GROUP_LOCK_WAIT_MAX, GROUP_READ_BYTES_TARGET, LEASES_PER_PAGE_MAX},
    replication::strong::{
        Answer, Call, Command, Freshness, Item, KeyspaceFacts, KeyspaceId, Lease, LeaseId, Machine, Read, ReadAnswer,
        ReadCall, ReadKind, ReadReply, Refusal, Reply, Request, Revision, Space, Submission, Until,
    },
    types::{Consistency, Key},
};

impl Core {
    /// Does what a client asks.
    ///
    /// # Errors
    /// Those of [`Core::propose`] and [`Core::ready_to_read`]; a refusal of the machine; `UNKNOWN_KEYSPACE`, `COMPACTED`.
    pub(super) async fn call(&self, call: Call, timeout: Duration) -> Result<Reply> {
        match call {
            Call::Submit(submission) => self.submit(submission, timeout).await,
            Call::Read(call) => self.read(call, timeout).await.map(Reply::Read),
            Call::AwaitLock { keyspace, lock, lease, wait_ms } => {
                let wait = Duration::from_millis(wait_ms).min(GROUP_LOCK_WAIT_MAX).min(timeout);
                self.await_lock((&keyspace, &lock, lease), wait, timeout).await.map(Reply::Lock)
            }
            Call::Lease(lease) => {
                self.ready_to_read(Freshness::Linearizable, timeout).await?;
                let machine = self.replica.machine();
                let found = machine.lease(lease).ok_or(Refusal::UnknownLease { lease })?;
                Ok(Reply::Lease(self.as_of_now(&machine, found)))
            }
            Call::Leases { after } => {
                self.ready_to_read(Freshness::Linearizable, timeout).await?;
                let machine = self.replica.machine();
                let mut page = machine.leases_after(after, LEASES_PER_PAGE_MAX);
                for (_, lease) in &mut page.leases {
                    *lease = self.as_of_now(&machine, *lease);
                }
                Ok(Reply::Leases(page))
            }
            Call::Keyspaces => {
                self.ready_to_read(Freshness::Linearizable, timeout).await?;
                let machine = self.replica.machine();
                let mut keyspaces: Vec<KeyspaceFacts> = machine.keyspaces().map(|(_, facts)| facts).collect();
                keyspaces.sort_by(|one, other| one.name.cmp(&other.name));
                Ok(Reply::Keyspaces(keyspaces))
            }
        }
    }

    /// What is left of a lease when the time since the last entry is counted too.
    fn as_of_now(&self, machine: &Machine, lease: Lease) -> Lease {
        let unseen_ms = self.elapsed_ms(machine).saturating_sub(machine.elapsed_ms());
        Lease { remaining_ms: lease.remaining_ms.saturating_sub(unseen_ms), ..lease }
    }

    /// Does what clients ask together, as [`Core::call`] does each; the answers in order. The transactions are on their way before
    /// anybody waits, and the linearizable reads share a round and a look at the machine.
    pub(super) async fn call_many(&self, calls: Vec<Call>, timeout: Duration) -> Vec<Result<Reply>> {
        let mut answers: Vec<Option<Result<Reply>>> = calls.iter().map(|_| None).collect();
        let (mut proposed, mut reads, mut others) = (Vec::new(), Vec::new(), Vec::new());
        for (place, call) in calls.into_iter().enumerate() {
            match self.request_of(call) {
                Ok(request) => match self.hand_in(request) {
                    Ok(pending) => proposed.push((place, pending)),
                    Err(error) => answers[place] = Some(Err(error)),
                },
                Err(Call::Read(read)) if read.freshness == Freshness::Linearizable => {
                    match self.check_may_be_strong(&read.keyspace) {
                        Ok(()) => reads.push((place, read)),
                        Err(error) => answers[place] = Some(Err(error)),
                    }
                }
                Err(call) => others.push(async move { (place, self.call(call, timeout).await) }),
            }
        }
        let (places, proposed): (Vec<usize>, Vec<Pending>) = proposed.into_iter().unzip();
        let (changed, read, others) =
            tokio::join!(self.outcomes(proposed, timeout), self.read_many(reads, timeout), join_all(others));
        let changed = places.into_iter().zip(changed.into_iter().map(|answer| answer.and_then(done)));
        for (place, answer) in changed.chain(read).chain(others) {
            answers[place] = Some(answer);
        }
        answers.into_iter().map(|answer| answer.expect("each call has gone one of the ways")).collect()
    }

    /// The request that a call is, if that takes no waiting: a transaction in a strong keyspace that this member knows.
    fn request_of(&self, call: Call) -> Result<Request, Call> {
        let Call::Submit(Submission { id, keyspace, command: Command::Transact(mut transaction) }) = call else {
            return Err(call);
        };
        let known = strong_keyspace(&self.replica.machine(), &keyspace);
        match known {
            Ok(known) => {
                transaction.keyspace = known;
                Ok(Request { id, command: Command::Transact(transaction) })
            }
            Err(_) => Err(Call::Submit(Submission { id, keyspace, command: Command::Transact(transaction) })),
        }
    }

    /// Linearizable reads by their places.
    async fn read_many(&self, reads: Vec<(usize, ReadCall)>, timeout: Duration) -> Vec<(usize, Result<Reply>)> {
        if reads.is_empty() {
            return Vec::new();
        }
        let ready = self.ready_to_read(Freshness::Linearizable, timeout).await;
        let machine = Machine::resume(self.replica.machine().capture());
        let answer = |read| ready.clone().and_then(|()| self.read_in(&machine, read)).map(Reply::Read);
        reads.into_iter().map(|(place, read)| (place, answer(read))).collect()
    }

    async fn submit(&self, submission: Submission, timeout: Duration) -> Result<Reply> {
        let Submission { id, keyspace, mut command } = submission;
        let deadline = self.now() + timeout;
        match &mut command {
            Command::CreateKeyspace { name } => *name = keyspace,
            Command::CreateEventual { name, group, .. } => {
                (*name, *group) = (keyspace, self.env.rng.next_u64()?);
            }
            Command::Transact(transaction) => transaction.keyspace = self.resolve(&keyspace, timeout).await?,
            Command::Acquire { lock, .. } | Command::Release { lock, .. } | Command::Proclaim { lock, .. } => {
                lock.keyspace = self.resolve(&keyspace, timeout).await?;
            }
            Command::DropKeyspace { keyspace: id } => *id = self.resolve_any(&keyspace, timeout).await?,
            Command::Register
            | Command::Grant { .. }
            | Command::KeepAlive { .. }
            | Command::Revoke { .. }
            | Command::Compact { .. } => {}
            Command::Expire { .. } | Command::Retain(_) | Command::Begin(_) => {
                return Err(Error::new(ErrorCode::InvalidArgument, "command: only a leader says this"));
            }
        }
        let left = deadline.saturating_sub(self.now());
        self.propose(Request { id, command }, left).await.and_then(done)
    }

    /// The strong keyspace of a name.
    async fn resolve(&self, name: &str, timeout: Duration) -> Result<KeyspaceId> {
        let found = self.resolve_any(name, timeout).await?;
        strong_keyspace(&self.replica.machine(), name).map(|_| found)
    }

    /// The keyspace of a name. One that this member has not heard of may have been made a moment ago.
    async fn resolve_any(&self, name: &str, timeout: Duration) -> Result<KeyspaceId> {
        let known = self.replica.machine().keyspace_named(name);
        if let Some(known) = known {
            return Ok(known);
        }
        self.ready_to_read(Freshness::Linearizable, timeout).await?;
        self.replica.machine().keyspace_named(name).ok_or_else(|| unknown_keyspace(name))
    }

    async fn read(&self, call: ReadCall, timeout: Duration) -> Result<ReadReply> {
        // That it is eventual is known also where no leader is.
        self.check_may_be_strong(&call.keyspace)?;
        self.ready_to_read(call.freshness, timeout).await?;
        if call.freshness != Freshness::Linearizable {
            self.resolve(&call.keyspace, timeout).await?;
        }
        // A copy, so that long reads keep nobody from writing, and all of them are of one revision.
        let machine = Machine::resume(self.replica.machine().capture());
        self.read_in(&machine, call)
    }

    /// What a machine says that is fresh enough.
    fn read_in(&self, machine: &Machine, call: ReadCall) -> Result<ReadReply> {
        let keyspace = strong_keyspace(machine, &call.keyspace)?;
        let revision = call.at.unwrap_or(machine.revision());
        let mut reply = ReadReply { revision, elapsed_ms: self.elapsed_ms(machine), answers: Vec::new() };
        let mut bytes = 0;
        for read in call.reads {
            if bytes >= GROUP_READ_BYTES_TARGET {
                break;
            }
            let answer = answer(machine, keyspace, read, revision)?;
            bytes += weight(&answer);
            reply.answers.push(answer);
        }
        Ok(reply)
    }

    /// Refuses what is asked of a keyspace that is known to be eventual.
    ///
    /// # Errors
    /// `KEYSPACE_IS_EVENTUAL`.
    pub(super) fn check_may_be_strong(&self, name: &str) -> Result<()> {
        match self.replica.machine().consistency_of(name) {
            Some(Consistency::Eventual) => Err(eventual_keyspace(name)),
            Some(Consistency::Strong) | None => Ok(()),
        }
    }

    /// Waits until a lease has a lock: its fencing token, or `None` when the time is over.
    async fn await_lock(
        &self,
        (keyspace, lock, lease): (&str, &Key, LeaseId),
        wait: Duration,
        timeout: Duration,
    ) -> Result<Option<Revision>> {
        self.check_may_be_strong(keyspace)?;
        // So that a lease that was granted a moment ago is known here.
        self.ready_to_read(Freshness::Linearizable, timeout).await?;
        let keyspace = self.resolve(keyspace, timeout).await?;
        let mut progress = self.replica.progress();
        let waiting = async {
            loop {
                progress.mark_unchanged();
                if let Some(token) = holder(&self.replica.machine(), keyspace, lock, lease)? {
                    return Ok(Some(token));
                }
                progress.changed().await.map_err(|_| stopped())?;
            }
        };
        tokio::time::timeout(wait, waiting).await.unwrap_or(Ok(None))
    }
}

/// A refusal is an error.
fn done(answer: Answer) -> Result<Reply> {
    match answer {
        Answer::Refused(refusal) => Err(refusal.into()),
        answer => Ok(Reply::Done(answer)),
    }
}

/// The token under which a lease holds a lock; `None`: another holds it.
///
/// # Errors
/// `LOCK_LOST` when the lease has ended.
fn holder(machine: &Machine, keyspace: KeyspaceId, lock: &Key, lease: LeaseId) -> Result<Option<Revision>> {
    let item = machine.get(keyspace, Space::Locks, lock)?;
    let held = item.filter(|item| item.until == Until::Lease(lease)).map(|item| item.created);
    if held.is_none() && machine.lease(lease).is_none() {
        let text = format!("lease {lease} has ended, and with it the place in the line for the lock");
        return Err(Error::new(ErrorCode::LockLost, text));
    }
    Ok(held)
}

fn answer(machine: &Machine, keyspace: KeyspaceId, read: Read, revision: Revision) -> Result<ReadAnswer> {
    let Read { space, kind } = read;
    Ok(match kind {
        ReadKind::Key { key, metadata_only } => {
            let item = machine.get_at(keyspace, space, &key, revision)?.cloned();
            ReadAnswer::Key { key, item, metadata_only }
        }
        ReadKind::Page { page, keys_only } => {
            ReadAnswer::Page { page: machine.page_at(keyspace, space, &page, revision)?, keys_only }
        }
        ReadKind::Count(range) => ReadAnswer::Count(machine.count_at(keyspace, space, &range, revision)?),
    })
}

fn weight(answer: &ReadAnswer) -> usize {
    const ITEM_BYTES: usize = 64;
    let bytes =
        |key: &Key, item: &Item, is_needed: bool| ITEM_BYTES + key.len() + if is_needed { item.value.len() } else { 0 };
    match answer {
        ReadAnswer::Key { key, item, metadata_only } => {
            item.as_ref().map_or(ITEM_BYTES, |item| bytes(key, item, !metadata_only))
        }
        ReadAnswer::Page { page, keys_only } => page.items.iter().map(|(key, item)| bytes(key, item, !keys_only)).sum(),
        ReadAnswer::Count(_) => ITEM_BYTES,
    }
}

/// The strong keyspace of a name, as far as the machine knows.
///
/// # Errors
/// `UNKNOWN_KEYSPACE`, `KEYSPACE_IS_EVENTUAL`.
pub(super) fn strong_keyspace(machine: &Machine, name: &str) -> Result<KeyspaceId> {
    match (machine.keyspace_named(name), machine.consistency_of(name)) {
        (Some(keyspace), Some(Consistency::Strong)) => Ok(keyspace),
        (Some(_), _) => Err(eventual_keyspace(name)),
        (None, _) => Err(unknown_keyspace(name)),
    }
}

fn eventual_keyspace(name: &str) -> Error {
    let text = format!("keyspace {name:?}: it is eventual, and does not promise this; use a strong one");
    Error::new(ErrorCode::KeyspaceIsEventual, text)
}

fn unknown_keyspace(name: &str) -> Error {
    Error::new(ErrorCode::UnknownKeyspace, format!("keyspace {name:?}: there is none"))
}
