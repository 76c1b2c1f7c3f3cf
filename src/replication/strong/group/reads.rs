//! Linearizable reads (Ongaro, "Consensus: Bridging Theory and Practice", 2014, section 6.4): the leader says which entry a read has to
//! wait for, after a majority has confirmed that it still leads. All reads that wait when a round begins share it.

use std::{
    sync::{Arc, Weak},
    time::Duration,
};

use tokio::sync::{mpsc, oneshot, OwnedSemaphorePermit, Semaphore};

use super::{
    core::{stopped, Core},
    message::{Message, Reply},
};
use crate::{
    error::{Error, ErrorCode, Result},
    faults::is_mutant,
    limits::{GROUP_CALL_TIMEOUT, GROUP_HEARTBEAT, GROUP_READS_WAITING_MAX},
    replication::strong::{types::LogId, Freshness},
};

/// Rounds that are under way at a time: the next may begin while the one before it is on its way.
const ROUNDS_MAX: usize = 2;

type Reader = oneshot::Sender<Option<LogId>>;

/// Where reads wait for a round.
pub(super) struct Reads(mpsc::Sender<Reader>);

impl Reads {
    pub(super) fn new() -> (Reads, mpsc::Receiver<Reader>) {
        let (sender, inbox) = mpsc::channel(GROUP_READS_WAITING_MAX);
        (Reads(sender), inbox)
    }
}

impl Core {
    /// Returns when this member's machine is as fresh as asked.
    ///
    /// # Errors
    /// `NO_LEADER` when no majority confirmed a leader in time, `DEADLINE_EXCEEDED` when the member is behind, `OVERLOADED`,
    /// `NOT_RUNNING`.
    pub(super) async fn ready_to_read(&self, freshness: Freshness, timeout: Duration) -> Result<()> {
        let behind = || Error::deadline("the strong group", timeout);
        match freshness {
            Freshness::Local => Ok(()),
            Freshness::Session(seen) => {
                let mut progress = self.replica.progress();
                let reached = async { progress.wait_for(|progress| progress.revision >= seen).await.is_ok() };
                match tokio::time::timeout(timeout, reached).await {
                    Ok(true) => Ok(()),
                    Ok(false) => Err(stopped()),
                    Err(_) => Err(behind()),
                }
            }
            Freshness::Linearizable if is_mutant("strong_local_read_as_linearizable") => Ok(()),
            Freshness::Linearizable => {
                let deadline = self.now() + timeout;
                let index = tokio::time::timeout(timeout, self.read_index()).await;
                let index = index.unwrap_or_else(|_| Err(self.no_leader()))?;
                let left = deadline.saturating_sub(self.now());
                tokio::time::timeout(left, self.applied(index)).await.unwrap_or_else(|_| Err(behind()))
            }
        }
    }

    /// The entry that a linearizable read has to wait for.
    async fn read_index(&self) -> Result<Option<u64>> {
        let (reader, index) = oneshot::channel();
        self.reads.0.try_send(reader).map_err(|error| match error {
            mpsc::error::TrySendError::Full(_) => {
                let text = format!("{GROUP_READS_WAITING_MAX} reads wait for the group already");
                Error::new(ErrorCode::Overloaded, text)
            }
            mpsc::error::TrySendError::Closed(_) => stopped(),
        })?;
        index.await.map(|log_id| log_id.map(|log_id| log_id.index)).map_err(|_| stopped())
    }

    /// Asks the leader, which may be this member. `None`: nobody who leads answered.
    async fn ask_read_index(&self) -> Option<Option<LogId>> {
        let leadership = self.leadership();
        if leadership.is_mine {
            return self.confirm_leadership().await;
        }
        let leader = leadership.leader.clone()?;
        let asked = self.network.ask((leader.member, &leader.address), &Message::ReadIndex, GROUP_CALL_TIMEOUT);
        tokio::select! {
            answer = asked => match answer {
                Ok(Reply::ReadIndex { log_id, elapsed_ms }) => {
                    self.elapsed.told(elapsed_ms, self.now());
                    Some(log_id)
                }
                Ok(_) | Err(_) => None,
            },
            // One that is gone would be waited for until the end of the deadline.
            () = self.leadership_other_than(&leadership) => None,
        }
    }

    /// `None`: this member does not lead, or no majority says so.
    pub(super) async fn confirm_leadership(&self) -> Option<Option<LogId>> {
        self.settle_what_was_committed().await?;
        self.raft.get_read_log_id().await.ok().map(|(read_log_id, _)| read_log_id)
    }

    /// A leader that was started again in time leads on in its term, and may not remember all that it had committed: nobody is told
    /// where to read before an entry of this run has been applied, and with it all before. `None`: it was not.
    async fn settle_what_was_committed(&self) -> Option<()> {
        let leadership = self.leadership();
        if !leadership.is_mine {
            return None;
        }
        if *self.settled_in.lock() != Some(leadership.term) {
            let applied = tokio::time::timeout(GROUP_CALL_TIMEOUT, self.append_nothing()).await;
            applied.is_ok_and(|applied| applied).then_some(())?;
            *self.settled_in.lock() = Some(leadership.term);
        }
        Some(())
    }

    /// One round, repeated until it succeeds or nobody waits for it any more.
    async fn round(&self, mut readers: Vec<Reader>) {
        loop {
            if let Some(log_id) = self.ask_read_index().await {
                // A reader that has given up wants no answer.
                for reader in readers {
                    let _is_awaited = reader.send(log_id).is_ok();
                }
                return;
            }
            let leadership = self.leadership();
            let patience = self.leadership_other_than(&leadership);
            let _over = tokio::time::timeout(GROUP_HEARTBEAT / 2, patience).await;
            readers.retain(|reader| !reader.is_closed());
            if readers.is_empty() {
                return;
            }
        }
    }
}

/// Runs rounds for as long as the member does.
pub(super) async fn run(core: Weak<Core>, mut inbox: mpsc::Receiver<Reader>) {
    let places = Arc::new(Semaphore::new(ROUNDS_MAX));
    while let Some(first) = inbox.recv().await {
        let Ok(place) = places.clone().acquire_owned().await else { return };
        tokio::task::yield_now().await;
        let mut readers = vec![first];
        while let Ok(reader) = inbox.try_recv() {
            readers.push(reader);
        }
        let Some(core) = core.upgrade() else { return };
        tokio::spawn(finish(core, readers, place));
    }
}

async fn finish(core: Arc<Core>, readers: Vec<Reader>, _place: OwnedSemaphorePermit) {
    let mut stopping = core.stopping.subscribe();
    tokio::select! {
        () = core.round(readers) => {}
        // Those who wait see that their round is gone.
        _ = stopping.wait_for(|stopping| *stopping) => {}
    }
}
