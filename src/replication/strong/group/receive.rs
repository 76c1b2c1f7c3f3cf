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
        types::{GroupTypes, SnapshotMeta, Vote},
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
    /// `NOT_RUNNING`, `MALFORMED_MESSAGE` for entries with a hole, `CORRUPT` and `CONFLICT` of snapshots, those of [`Core::append_for_others`] and of changes of the members.
    pub(super) async fn receive(self: &Arc<Core>, message: Message) -> Result<Reply> {
        match message {
            Message::Append(request) => {
                check_without_holes(&request)?;
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

/// The entries have to follow on what they are said to follow on, and on each other: the library takes that for granted.
fn check_without_holes(request: &AppendEntriesRequest<GroupTypes>) -> Result<()> {
    let first = request.prev_log_id.map_or(0, |prev| prev.index + 1);
    match request.entries.iter().zip(first..).find(|(entry, index)| entry.log_id.index != *index) {
        Some((entry, index)) => Err(Error::new(
            ErrorCode::MalformedMessage,
            format!("entries: there is entry {} where {index} has to be", entry.log_id.index),
        )),
        None => Ok(()),
    }
}

fn not_begun() -> Error {
    Error::new(ErrorCode::Conflict, "snapshot of a group: another one was begun meanwhile")
}

#[cfg(test)]
mod tests {
    use openraft::{CommittedLeaderId, EntryPayload};

    use super::*;
    use crate::replication::strong::types::{LogEntry, LogId};

    #[test]
    fn entries_with_a_hole_are_refused() {
        let log_id = |index| LogId::new(CommittedLeaderId::new(1, 9), index);
        let request = |prev: Option<u64>, indices: &[u64]| AppendEntriesRequest::<GroupTypes> {
            vote: Vote::new(1, 9),
            prev_log_id: prev.map(log_id),
            entries: indices.iter().map(|at| LogEntry { log_id: log_id(*at), payload: EntryPayload::Blank }).collect(),
            leader_commit: None,
        };
        for (prev, indices) in [(None, &[][..]), (None, &[0, 1]), (Some(4), &[]), (Some(4), &[5, 6])] {
            assert_eq!(check_without_holes(&request(prev, indices)), Ok(()));
        }
        for (prev, indices) in [(None, &[1][..]), (Some(4), &[4]), (Some(4), &[6]), (Some(4), &[5, 7])] {
            let refused = check_without_holes(&request(prev, indices)).unwrap_err();
            assert_eq!(refused.code(), ErrorCode::MalformedMessage, "{indices:?}");
        }
    }
}
