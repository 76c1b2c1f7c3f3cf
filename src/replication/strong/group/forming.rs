//! What the keyspace `default` is, which a group decides once, when it is formed.
//!
//! The first entry of a group that is for the machine is the decision: it makes the keyspace, or does not, and then
//! `default` is eventual. The founder writes it, by its own setting, while it is alone: before that it lets nobody join, and
//! takes nothing from clients. So everybody else who is in the group has the decision in its log or snapshot, and a founder that
//! breaks off in between decides when it is back.
//!
//! The same entry says from where the group counts: from the time of its founding. So nothing that a client knows of another group
//! that was here before, and is gone with its memory, means anything in this one: no id of a client or lease, no fencing token, no
//! place in the history.

use openraft::ServerState;

use super::core::{stopped, Core};
use crate::{
    error::Result,
    limits::{GROUP_CALL_TIMEOUT, GROUP_REVISIONS_PER_MS},
    replication::strong::{Command, Entry, Machine, Request, Revision},
    sync::Ordering,
    types::{Consistency, DEFAULT_KEYSPACE},
};

/// What the machine says; `None`: no entry was for it yet.
fn decision_of(machine: &Machine) -> Option<Consistency> {
    // Each entry that it applies is of a term, and terms begin with 1.
    (machine.time().term > 0).then(|| match machine.keyspace_named(DEFAULT_KEYSPACE) {
        Some(_) => Consistency::Strong,
        None => Consistency::Eventual,
    })
}

/// What an entry says, if it is the first.
fn decision_in(entry: &Entry) -> Consistency {
    let makes_it =
        |request: &Request| matches!(&request.command, Command::CreateKeyspace { name } if name == DEFAULT_KEYSPACE);
    match entry.requests.iter().any(makes_it) {
        true => Consistency::Strong,
        false => Consistency::Eventual,
    }
}

impl Core {
    /// Whether the group has decided. Until then it takes nothing and nobody in.
    pub(super) fn is_formed(&self) -> bool {
        if self.formed.load(Ordering::Relaxed) {
            return true;
        }
        let is_formed = decision_of(&self.replica.machine()).is_some();
        if is_formed {
            self.formed.store(true, Ordering::Relaxed);
        }
        is_formed
    }

    /// What `default` is, if this member can know it by now: also from entries that it has not applied yet, after a start
    /// without a leader.
    pub(super) fn decision(&self) -> Option<Consistency> {
        let applied = decision_of(&self.replica.machine());
        applied.or_else(|| self.log.first_for_machine().map(|entry| decision_in(&entry)))
    }

    /// Returns when the group has decided, and this member knows it.
    ///
    /// # Errors
    /// `NOT_RUNNING` when the member is stopped before.
    pub(super) async fn decided(&self) -> Result<Consistency> {
        let mut progress = self.replica.progress();
        loop {
            progress.mark_unchanged();
            if let Some(decision) = self.decision() {
                return Ok(decision);
            }
            progress.changed().await.map_err(|_| stopped())?;
        }
    }

    /// Decides, if this member leads and nobody has. One that is not alone decides for what everybody can have: its group is
    /// of a release that wrote no decision, and had no strong `default`.
    pub(super) async fn see_to_forming(&self) {
        let is_alone = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            // Its log is that of the group, and there is nothing in it that the machine has not seen.
            let has_applied_all = metrics.last_applied.is_some_and(|applied| {
                Some(applied.index) == metrics.last_log_index && applied.leader_id.term == metrics.current_term
            });
            if metrics.state != ServerState::Leader || !has_applied_all {
                return;
            }
            metrics.membership_config.membership().nodes().count() == 1
        };
        // In this order: the metrics may be of a moment before.
        if self.is_formed() {
            return;
        }
        let decision = if is_alone { self.forms } else { Consistency::Eventual };
        let mut commands = vec![Command::Begin(self.first_revision())];
        if decision == Consistency::Strong {
            commands.push(Command::CreateKeyspace { name: DEFAULT_KEYSPACE.to_string() });
        }
        let requests = commands.into_iter().map(|command| Request { id: None, command }).collect();
        // What is not applied in time is looked at again.
        let formed = tokio::time::timeout(GROUP_CALL_TIMEOUT, self.append_decision(requests)).await;
        if formed.is_ok_and(|formed| formed) {
            tracing::info!(default = decision.as_str(), "the strong group is formed");
        }
    }

    /// From where a group counts that is founded now. The group before it, if there was one, has not come so far, unless it made
    /// more revisions than [`GROUP_REVISIONS_PER_MS`], or the clock was set back.
    fn first_revision(&self) -> Revision {
        Revision(self.env.clock.wall_ms().saturating_mul(GROUP_REVISIONS_PER_MS))
    }
}
