//! Standing for election: when a member stands again after it has lost, and when it stands because another should not win.
//!
//! The library has a follower stand once the lease of its leader and a patience of its own have passed. It draws that patience once for
//! the life of a member, so that two which once stood at the same moment would do so for ever, and it lets a member that is refused for
//! its shorter log try again before the one that refused it moves. Both cost whole timeouts after the death of a leader that was at
//! work. Ongaro & Ousterhout 2014, section 5.2, has each election draw anew.

use std::{sync::Arc, time::Duration};

use openraft::{BasicNode, RaftMetrics, ServerState};

use super::{
    core::{stopped, Core},
    message::Reply,
};
use crate::{
    error::Result,
    limits::{
        GROUP_CALL_TIMEOUT, GROUP_CAMPAIGN_MAX, GROUP_CANDIDACY_LOSSES_MAX, GROUP_CANDIDACY_PAUSE,
        GROUP_CANDIDACY_SPREAD, GROUP_ELECTION_MOST, GROUP_HEARTBEAT, GROUP_STEP_UP_SPREAD,
    },
    replication::strong::types::VoteRequest,
};

/// What a member that stands for election does next.
#[derive(Debug, PartialEq, Eq)]
enum Next {
    /// It does not stand: the clock of the library says when it does.
    Follow,
    /// It waits for the votes of the others, or for them to agree on somebody else.
    Wait,
    /// It stands again.
    Stand,
}

/// The elections that this member has lost one after the other.
#[derive(Default)]
pub(super) struct Candidacy {
    /// The last term in which it stood.
    term: u64,
    losses: u32,
    /// When it stands again, by the monotonic clock.
    again: Duration,
}

impl Candidacy {
    /// What to do, given the term in which the member stands now, if it does. `draw` gives a number below its argument.
    fn next(&mut self, now: Duration, stands_in: Option<u64>, draw: impl FnOnce(u64) -> u64) -> Next {
        let Some(term) = stands_in else {
            *self = Candidacy::default();
            return Next::Follow;
        };
        let is_new = term > self.term;
        if !is_new && now < self.again {
            return Next::Wait;
        }
        // Longer each time: whoever cannot win, because it is cut off or its log is too short, should not drive the terms up.
        self.losses = (self.losses + 1).min(GROUP_CANDIDACY_LOSSES_MAX);
        let spread_ms = u64::try_from(GROUP_CANDIDACY_SPREAD.as_millis()).unwrap_or(u64::MAX);
        let drawn = Duration::from_millis(draw(spread_ms.saturating_mul(self.losses.into())));
        self.again = now + GROUP_CANDIDACY_PAUSE + drawn;
        self.term = term;
        if is_new {
            Next::Wait
        } else {
            Next::Stand
        }
    }
}

fn is_candidate(metrics: &RaftMetrics<u64, BasicNode>) -> bool {
    metrics.state == ServerState::Candidate
}

impl Core {
    /// Has a member that lost an election stand again in its time.
    pub(super) async fn see_to_elections(&self, candidacy: &mut Candidacy) {
        let stands_in = {
            let metrics = self.raft.metrics();
            let metrics = metrics.borrow();
            is_candidate(&metrics).then_some(metrics.current_term)
        };
        let next = candidacy.next(self.now(), stands_in, |below| self.draw(below));
        self.raft.runtime_config().elect(next == Next::Follow);
        if next == Next::Stand {
            if let Err(error) = self.raft.trigger().elect().await {
                tracing::debug!(%error, "the group is being stopped");
            }
        }
    }

    /// A number below `below`. Without entropy 0: nobody waits longer than another then, which is what it was before.
    fn draw(&self, below: u64) -> u64 {
        self.env.rng.next_u64().map_or(0, |number| number % below.max(1))
    }

    /// Notes that a leader was heard from.
    pub(super) fn note_leader(&self) {
        *self.heard_from_leader.lock() = self.now();
    }

    /// Answers a request for a vote. A request that is refused because this member has more of the log says that there is no leader, and
    /// that its sender cannot be the next: this member stands then, and does not wait until its patience has passed. If it is a leader
    /// that has fallen silent, it speaks again: the library would have it stand only when it has heard that its term is over.
    pub(super) async fn vote(self: &Arc<Core>, request: VoteRequest) -> Result<Reply> {
        let (asked_in, asked_for) = (request.vote.leader_id().term, request.last_log_id);
        let response = self.raft.vote(request).await.map_err(|_| stopped())?;
        let is_too_short = !response.vote_granted && response.last_log_id > asked_for;
        let has_leader = self.now().saturating_sub(*self.heard_from_leader.lock()) <= GROUP_ELECTION_MOST;
        if is_too_short && self.leadership().is_mine {
            self.silence.try_early(self.now());
        } else if is_too_short && !has_leader {
            self.step_up(asked_in);
        }
        Ok(Reply::Vote(response))
    }

    /// Stands for election in a term after `term`, unless somebody wins before.
    fn step_up(self: &Arc<Core>, term: u64) {
        let core = self.clone();
        let spread_ms = u64::try_from(GROUP_STEP_UP_SPREAD.as_millis()).unwrap_or(u64::MAX);
        let pause = Duration::from_millis(self.draw(spread_ms));
        self.spawn_until_stopped(async move {
            let mut metrics = core.raft.metrics();
            let vote = metrics.borrow().vote;
            // Several may have refused the same sender, and this member votes for the one that is first.
            if tokio::time::timeout(pause, metrics.wait_for(|now| now.vote != vote)).await.is_ok() {
                return;
            }
            loop {
                let before = metrics.borrow().current_term;
                // In the term in which the sender stood, it has voted for itself.
                if before > term || core.raft.trigger().elect().await.is_err() {
                    return;
                }
                let stood = metrics.wait_for(|now| now.current_term > before);
                // A member without a vote does not stand.
                if !tokio::time::timeout(GROUP_CALL_TIMEOUT, stood).await.is_ok_and(|stood| stood.is_ok()) {
                    return;
                }
            }
        });
    }

    /// Stands for election again and again: the others refuse while the lease of the present leader lasts.
    pub(super) fn campaign(self: &Arc<Core>) {
        let core = self.clone();
        let before = core.leadership();
        self.spawn_until_stopped(async move {
            let ends = core.now() + GROUP_CAMPAIGN_MAX;
            while core.now() < ends {
                let now = core.leadership();
                let is_settled = now.is_mine || now.leader.is_some() && now.leader != before.leader;
                if is_settled || core.raft.trigger().elect().await.is_err() {
                    return;
                }
                // Not until something changes: each try changes the term, and thousands a second would be in the way of all.
                tokio::time::sleep(GROUP_HEARTBEAT).await;
            }
        });
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_member_that_has_lost_an_election_stands_again_after_a_pause_that_is_drawn_and_grows() {
        let (mut candidacy, ms) = (Candidacy::default(), Duration::from_millis);
        let never = |_| panic!("it has drawn for this election already");
        assert_eq!(candidacy.next(ms(0), None, never), Next::Follow);
        let spread = u64::try_from(GROUP_CANDIDACY_SPREAD.as_millis()).unwrap();
        let mut draws = Vec::new();
        let mut now = ms(50);
        for term in 3..12 {
            let draw = |below| {
                draws.push(below);
                below / 2
            };
            assert_eq!(candidacy.next(now, Some(term), draw), Next::Wait, "it stands in term {term}");
            let pause = GROUP_CANDIDACY_PAUSE + ms(draws.last().unwrap() / 2);
            assert_eq!(candidacy.next(now + pause - ms(1), Some(term), never), Next::Wait);
            assert_eq!(candidacy.next(now + pause, Some(term), |_| 0), Next::Stand);
            assert_eq!(
                candidacy.next(now + pause + ms(1), Some(term), never),
                Next::Wait,
                "that takes a moment to show"
            );
            now += pause + ms(2);
        }
        assert_eq!(draws[0], spread);
        assert!(draws.windows(2).all(|two| two[0] <= two[1]), "{draws:?}");
        assert_eq!(*draws.last().unwrap(), spread * u64::from(GROUP_CANDIDACY_LOSSES_MAX));
        assert_eq!(candidacy.next(now, None, never), Next::Follow);
        assert_eq!(
            candidacy.next(now, Some(20), |below| {
                assert_eq!(below, spread);
                0
            }),
            Next::Wait,
            "begins anew"
        );
    }
}
