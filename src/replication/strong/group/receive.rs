//! What other members ask of this one.

use std::sync::Arc;

use openraft::{
    raft::{AppendEntriesRequest, AppendEntriesResponse},
    Snapshot,
};

use super::{
    core::{stopped, Core},
    message::{Message, Reply},
};
use crate::{
    error::{Error, ErrorCode, Result},
    replication::strong::{
        types::{SnapshotMeta, Vote},
        Restore,
    },
};

/// A snapshot that is being received.
pub(super) struct Incoming {
    transfer: u64,
    vote: Vote,
    meta: SnapshotMeta,
    /// The chunk that comes next.
    number: u64,
    restore: Restore,
}

impl Core {
    /// Does what another member asks.
    ///
    /// # Errors
    /// `NOT_RUNNING`, `CORRUPT` and `CONFLICT` of snapshots, those of [`Core::append_for_others`] and of changes of the members.
    pub(super) async fn receive(self: &Arc<Core>, message: Message) -> Result<Reply> {
        match message {
            Message::Append(request) => {
                let response = self.raft.append_entries(request).await.map_err(|_| stopped())?;
                if !matches!(response, AppendEntriesResponse::HigherVote(_)) {
                    self.note_leader();
                }
                Ok(Reply::Append(response))
            }
            Message::Vote(request) => self.vote(request).await,
            Message::SnapshotBegin { transfer, vote, meta } => {
                let begun = Incoming { transfer, vote, meta, number: 0, restore: Restore::new() };
                *self.incoming.lock() = Some(begun);
                Ok(Reply::Done)
            }
            Message::SnapshotChunk { transfer, number, chunk } => self.take_chunk(transfer, number, &chunk),
            Message::SnapshotEnd { transfer } => self.install(transfer).await,
            Message::Propose { requests } => self.append_for_others(requests).await,
            Message::ReadIndex => Ok(match self.confirm_leadership().await {
                Some(log_id) => Reply::ReadIndex { log_id, elapsed_ms: self.elapsed_ms(&self.replica.machine()) },
                None => Reply::NotLeader(self.leadership().leader),
            }),
            Message::Ask { sender, known } => Ok(self.founding.asked(sender, known)),
            Message::Join(joiner) => self.admit(joiner).await,
            Message::Leave { member } => self.dismiss(member).await,
            Message::Campaign => {
                self.campaign();
                Ok(Reply::Done)
            }
            Message::MoveLeader { to } => self.move_leader_here(to).await,
        }
    }

    fn take_chunk(&self, transfer: u64, number: u64, chunk: &[u8]) -> Result<Reply> {
        let mut incoming = self.incoming.lock();
        let Some(begun) = incoming.as_mut().filter(|begun| begun.transfer == transfer && begun.number == number) else {
            return Err(not_begun());
        };
        if let Err(error) = begun.restore.push(chunk) {
            *incoming = None;
            return Err(error);
        }
        begun.number += 1;
        Ok(Reply::Done)
    }

    async fn install(&self, transfer: u64) -> Result<Reply> {
        let whole = self.incoming.lock().take_if(|begun| begun.transfer == transfer).ok_or_else(not_begun)?;
        let machine = whole.restore.finish()?;
        let position = whole.meta.last_log_id.map(|last| (last.leader_id.term, last.index));
        if machine.applied().map(|applied| (applied.term, applied.index)) != position {
            return Err(Error::new(ErrorCode::Corrupt, "snapshot of a group: it is of another entry than it says"));
        }
        // In this order: a snapshot of a term that this member has not taken note of would have a former leader begin as one again,
        // after a crash, with what another has committed since.
        let greeting =
            AppendEntriesRequest { vote: whole.vote, prev_log_id: None, entries: Vec::new(), leader_commit: None };
        let response = self.raft.append_entries(greeting).await.map_err(|_| stopped())?;
        if let AppendEntriesResponse::HigherVote(vote) = response {
            return Ok(Reply::Snapshot(vote));
        }
        self.note_leader();
        let captured = machine.capture();
        // The library has the log before it given up while it is being installed, so it has to be on disk by then.
        self.replica.keep(whole.meta.clone(), captured.clone()).await;
        let snapshot = Snapshot { meta: whole.meta, snapshot: Box::new(captured) };
        let installed = self.raft.install_full_snapshot(whole.vote, snapshot).await;
        installed.map(|response| Reply::Snapshot(response.vote)).map_err(|_| stopped())
    }
}

fn not_begun() -> Error {
    Error::new(ErrorCode::Conflict, "snapshot of a group: another one was begun meanwhile")
}
