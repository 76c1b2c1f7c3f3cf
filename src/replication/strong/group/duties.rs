//! What a leader owes its group (docs/strong.md, "Time"): that time passes, that leases end, that the log stays short; and what
//! every member looks after.

use std::{sync::Weak, time::Duration};

use openraft::ServerState;
use tokio::time::{self, MissedTickBehavior};

use super::{
    core::{Core, Leadership},
    elections::Candidacy,
};
use crate::{
    config::HistoryBounds,
    limits::{
        GROUP_CALL_TIMEOUT, GROUP_LOG_BYTES_TARGET, GROUP_LOOK, HISTORY_STEP_BYTES, HISTORY_STEP_CHANGES,
        LEASES_PER_EXPIRY_MAX,
    },
    replication::strong::{Command, MachineTime, Request, SeenLease},
    types::NodeId,
};

/// Entries with leases that have ended, before all else is looked at again.
const EXPIRIES_PER_LOOK: usize = 16;

/// What is to be proposed now.
#[derive(Debug, PartialEq, Eq)]
enum Due {
    Nothing,
    /// An entry without requests, so that time passes.
    Time,
    Leases(Vec<SeenLease>),
}

impl Core {
    fn due(&self, term: u64) -> Due {
        let now_shown_ms = self.leader_time_ms(term);
        let machine = self.replica.machine();
        let MachineTime { term: shown_in, shown_ms, elapsed_ms } = machine.time();
        let Some(next_ms) = machine.next_deadline_ms() else { return Due::Nothing };
        if shown_in != term {
            // Nothing passes in this term before its leader has shown where its clock stands.
            return Due::Time;
        }
        let now_ms = elapsed_ms.saturating_add(now_shown_ms.saturating_sub(shown_ms));
        let leases = machine.due_leases(now_ms, LEASES_PER_EXPIRY_MAX);
        match leases.is_empty() {
            false => Due::Leases(leases),
            true if next_ms <= now_ms => Due::Time,
            true => Due::Nothing,
        }
    }

    /// Proposes what is due, and waits for a while until it is applied.
    async fn see_to_time(&self) {
        let leadership = self.leadership();
        if !leadership.is_mine {
            return;
        }
        let term = leadership.term;
        for _ in 0..EXPIRIES_PER_LOOK {
            let (requests, is_all) = match self.due(term) {
                Due::Nothing => return,
                Due::Time => (Vec::new(), true),
                Due::Leases(leases) => {
                    let is_all = leases.len() < LEASES_PER_EXPIRY_MAX;
                    (vec![Request { id: None, command: Command::Expire { term, leases } }], is_all)
                }
            };
            // What is not applied in time is due again.
            let in_time = time::timeout(GROUP_CALL_TIMEOUT, self.append_own(requests)).await;
            if is_all || in_time.is_err() {
                return;
            }
        }
    }

    /// Has the group keep as much of its history as this leader is set to: what is too much is taken away step by step, since an entry
    /// that forgets much takes long.
    async fn see_to_history(&self) {
        if !self.leadership().is_mine {
            return;
        }
        let (bounds, size) = self.replica.machine().history();
        let next = next_bounds(self.history, size);
        if next == bounds {
            return;
        }
        let requests = vec![Request { id: None, command: Command::Retain(next) }];
        // What is not applied in time is looked at again.
        let _in_time = time::timeout(GROUP_CALL_TIMEOUT, self.append_own(requests)).await;
    }

    /// A log of few large entries is cut short like one of many small ones.
    async fn see_to_log(&self) {
        let (entries, bytes) = self.log.size();
        if entries > 1 && bytes > GROUP_LOG_BYTES_TARGET {
            if let Err(error) = self.raft.trigger().snapshot().await {
                tracing::debug!(%error, "the group is being stopped");
            }
        }
    }

    /// False when the consensus has ended by itself: a disk that failed, or a bug.
    fn is_alive(&self) -> bool {
        let running = self.raft.metrics().borrow().running_state.clone();
        if let Err(error) = &running {
            tracing::error!(%error, "this node takes no part in the strong group any more until it is started again");
        }
        running.is_ok()
    }

    /// Reports who leads when that has changed; `told` is what was reported last.
    fn tell_leader(&self, told: &mut Option<(u64, u64)>) {
        let Leadership { term, leader, is_mine } = self.leadership();
        let now = leader.map(|leader| (term, leader.member));
        if now == *told {
            return;
        }
        match now {
            Some(_) if is_mine => tracing::info!(term, "this node leads the strong group"),
            Some((_, leader)) => tracing::info!(term, peer = %NodeId(leader), "another node leads the strong group"),
            None => tracing::info!(term, "nobody is known to lead the strong group"),
        }
        *told = now;
    }

    fn see_to_silence(&self) {
        let unheard = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            let others = metrics.membership_config.membership().voter_ids().count() > 1;
            let leads = metrics.state == ServerState::Leader && others;
            leads.then(|| metrics.millis_since_quorum_ack.map(Duration::from_millis))
        };
        self.silence.note(self.now(), unheard);
        self.elections.note(&self.leadership());
    }
}

/// The bounds on the way to those that are wanted, for a history of so many changes and bytes.
fn next_bounds(wanted: HistoryBounds, (changes, bytes): (u64, u64)) -> HistoryBounds {
    HistoryBounds {
        changes: wanted.changes.max(changes.saturating_sub(HISTORY_STEP_CHANGES)),
        bytes: wanted.bytes.max(bytes.saturating_sub(HISTORY_STEP_BYTES)),
        age_ms: wanted.age_ms,
    }
}

/// Looks after the group for as long as the member runs.
pub(super) async fn run(core: Weak<Core>) {
    let mut ticker = time::interval(GROUP_LOOK);
    ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
    let (mut looks, mut candidacy, mut told) = (0u32, Candidacy::default(), None);
    loop {
        ticker.tick().await;
        let Some(core) = core.upgrade() else { return };
        if !core.is_alive() {
            return;
        }
        core.see_to_silence();
        core.tell_leader(&mut told);
        // So that the time which has passed is counted from when the machine's changed, not from when somebody asks.
        core.elapsed_ms(&core.replica.machine());
        core.see_to_elections(&mut candidacy).await;
        if !core.is_formed() {
            core.see_to_forming().await;
        }
        core.see_to_time().await;
        core.see_to_history().await;
        looks = looks.wrapping_add(1);
        if looks.is_multiple_of(LOOKS_BETWEEN_CHANGES) {
            core.see_to_members().await;
            core.see_to_log().await;
        }
        if looks.is_multiple_of(LOOKS_BETWEEN_QUESTIONS) {
            core.see_to_own_membership();
        }
    }
}

/// How often a member without a vote asks whether it still belongs to the group.
const LOOKS_BETWEEN_QUESTIONS: u32 = 40;

/// Members are looked after less often: each change of them is two entries of the log.
const LOOKS_BETWEEN_CHANGES: u32 = 4;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_history_is_shortened_in_steps_and_lengthened_at_once() {
        const STEP: (u64, u64) = (HISTORY_STEP_CHANGES, HISTORY_STEP_BYTES);
        let wanted = HistoryBounds { changes: 10_000, bytes: 16 << 20, age_ms: 5 };
        // Each step forgets what is over the bounds of the one before.
        let (mut size, mut steps) = ((10_000 + 7 * STEP.0 + 1, (16 << 20) + 3 * STEP.1), 0);
        while (size.0, size.1) != (wanted.changes, wanted.bytes) {
            let next = next_bounds(wanted, size);
            assert!(size.0 - next.changes <= STEP.0 && size.1 - next.bytes <= STEP.1, "{size:?} to {next:?}");
            (size, steps) = ((size.0.min(next.changes), size.1.min(next.bytes)), steps + 1);
        }
        assert_eq!(steps, 8);
        for little in [size, (0, 0)] {
            assert_eq!(next_bounds(wanted, little), wanted);
        }
    }
}
