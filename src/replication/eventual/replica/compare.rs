//! Anti-entropy: the contents of a partition are a function of its vector, so a peer with the same vector and another
//! digest means that memory was damaged or that this code is wrong. Both sides then fetch all that the other holds.

use super::{ask, Action, Now, Replica, SessionId};
use crate::types::PartitionPosition;

impl Replica {
    /// Compares where a peer stands with where we stand. A difference counts when it is there a second time with nothing
    /// changed on either side.
    pub(super) fn compare(
        &mut self,
        now: Now,
        id: SessionId,
        positions: &[PartitionPosition],
        actions: &mut Vec<Action>,
    ) {
        for position in positions {
            let partition = position.partition;
            let Some(theirs) = position.digest else { continue };
            let standing = self.keyspace.standing(partition);
            let Some(link) = self.sessions.get_mut(&id).and_then(|session| session.link_mut()) else { return };
            let before = link.suspects.remove(&partition);
            let Some(ours) = standing.digest.filter(|&ours| ours != theirs) else { continue };
            if standing.vector != position.vector {
                continue;
            }
            let suspect = (standing.vector, theirs, ours);
            if before.as_ref() != Some(&suspect) {
                link.suspects.insert(partition, suspect);
                continue;
            }
            let peer = link.peer.address.clone();
            let Some(request) = self.pulls.begin_repair(now.monotonic, id, partition) else {
                // Others are under way; the next round sees it again.
                link.suspects.insert(partition, suspect);
                continue;
            };
            tracing::error!(%peer, partition = partition.0, "equal vectors, different contents: repairing");
            self.counters.divergences += 1;
            actions.push(ask(request));
        }
    }
}
