//! A leader that hears from no majority falls silent.
//!
//! Where links are cut between some members only, a leader that has lost its majority can go on reaching a member which the
//! others need for theirs; its heartbeats would keep that one from voting for anybody else for ever (openraft#2080; Cloudflare's
//! outage of 2020-11-02 was of this kind). Not sending is always safe. After a while it tries again for a moment.
//!
//! It tries earlier when a member asks for its vote that cannot win, because it has less of the log: that one is back, as after a
//! pause of its process, and needs this leader. That must not be often, or the heartbeats of all those tries would be what keeps
//! another from being elected.

use std::{
    sync::atomic::{AtomicBool, Ordering},
    time::Duration,
};

use parking_lot::Mutex;

use crate::limits::{
    GROUP_EARLY_TRIES_TIMEOUTS, GROUP_ELECTION_MOST, GROUP_QUORUM_LOST_TIMEOUTS, GROUP_SILENCE_TIMEOUTS,
    GROUP_SILENCE_TRIES,
};

/// Whether a leader sends heartbeats and entries. Votes are sent in any case.
#[derive(Default)]
pub(super) struct Silence {
    is_kept: AtomicBool,
    /// When it changes again, by the monotonic clock.
    turns: Mutex<Turns>,
    /// The leadership was handed over: silent until somebody else leads.
    has_handed_over: AtomicBool,
    /// The leadership is about to be handed over: nothing new is taken in.
    is_paused: AtomicBool,
}

#[derive(Default)]
struct Turns {
    until: Option<Duration>,
    /// When it last tried before its time.
    early: Option<Duration>,
}

impl Silence {
    pub(super) fn is_kept(&self) -> bool {
        self.is_kept.load(Ordering::Relaxed) || self.has_handed_over.load(Ordering::Relaxed)
    }

    /// Whether the leader takes nothing in.
    pub(super) fn is_paused(&self) -> bool {
        self.is_paused.load(Ordering::Relaxed) || self.is_kept()
    }

    /// Has the leader take nothing in, or go on.
    pub(super) fn pause(&self, is_paused: bool) {
        self.is_paused.store(is_paused, Ordering::Relaxed);
    }

    /// Lets another lead, or takes that back.
    pub(super) fn hand_over(&self, is_handed_over: bool) {
        self.has_handed_over.store(is_handed_over, Ordering::Relaxed);
    }

    /// The leadership is being handed over: nothing new is taken in until the answer is dropped.
    pub(super) fn begin_hand_over(&self) -> HandingOver<'_> {
        self.pause(true);
        HandingOver(self)
    }

    /// To be told from time to time for how long a leader has not heard from a majority; `None`: it does not lead.
    pub(super) fn note(&self, now: Duration, unheard: Option<Duration>) {
        let until = &mut self.turns.lock().until;
        let Some(unheard) = unheard else {
            self.is_kept.store(false, Ordering::Relaxed);
            *until = None;
            return;
        };
        if until.is_some_and(|until| now < until) {
            return;
        }
        let is_lost = unheard > GROUP_ELECTION_MOST * GROUP_QUORUM_LOST_TIMEOUTS;
        let was_kept = self.is_kept.load(Ordering::Relaxed);
        match (is_lost, was_kept) {
            (true, false) => {
                tracing::warn!(?unheard, "this leader hears from no majority: it falls silent");
                self.is_kept.store(true, Ordering::Relaxed);
                *until = Some(now + GROUP_ELECTION_MOST * GROUP_SILENCE_TIMEOUTS);
            }
            (true, true) => {
                self.is_kept.store(false, Ordering::Relaxed);
                *until = Some(now + GROUP_SILENCE_TRIES);
            }
            (false, _) => {
                self.is_kept.store(false, Ordering::Relaxed);
                *until = None;
            }
        }
    }

    /// A member asks for a vote that cannot win: a leader that is silent tries now, unless it did so a moment ago. Takes effect with
    /// the next [`Silence::note`].
    pub(super) fn try_early(&self, now: Duration) {
        let mut turns = self.turns.lock();
        let pause = GROUP_ELECTION_MOST * GROUP_EARLY_TRIES_TIMEOUTS;
        let was_tried = turns.early.is_some_and(|early| now < early + pause);
        if !was_tried && self.is_kept.load(Ordering::Relaxed) {
            *turns = Turns { until: Some(now), early: Some(now) };
        }
    }
}

/// A hand-over under way. It ends with this, also when whoever asked for it waits no longer, so that what was done for it is dropped
/// half way: else the leader would be silent for ever.
pub(super) struct HandingOver<'a>(&'a Silence);

impl Drop for HandingOver<'_> {
    fn drop(&mut self) {
        self.0.hand_over(false);
        self.0.pause(false);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_leader_without_a_majority_is_silent_but_for_short_tries() {
        let (silence, second) = (Silence::default(), Duration::from_secs(1));
        silence.note(second, Some(Duration::from_millis(100)));
        assert!(!silence.is_kept());
        silence.note(2 * second, Some(2 * second));
        assert!(silence.is_kept());
        silence.note(13 * second, Some(13 * second));
        assert!(silence.is_kept(), "12 s of silence");
        silence.note(Duration::from_millis(14_050), Some(14 * second));
        assert!(!silence.is_kept(), "a try");
        silence.note(Duration::from_millis(14_100), Some(14 * second));
        assert!(!silence.is_kept(), "the try goes on");
        silence.note(Duration::from_millis(14_300), Some(14 * second));
        assert!(silence.is_kept());
        silence.note(40 * second, None);
        assert!(!silence.is_kept(), "another leads");
    }

    #[test]
    fn a_silent_leader_tries_early_for_a_member_that_is_back_but_not_often() {
        let (silence, second, ms) = (Silence::default(), Duration::from_secs(1), Duration::from_millis);
        silence.try_early(second);
        silence.note(2 * second, Some(2 * second));
        assert!(silence.is_kept(), "what was asked of a leader that speaks changes nothing");
        silence.try_early(3 * second);
        assert!(silence.is_kept());
        silence.note(ms(3050), Some(3 * second));
        assert!(!silence.is_kept(), "a try");
        silence.note(ms(3300), Some(3 * second));
        assert!(silence.is_kept(), "nobody has answered");
        let again = 3 * second + GROUP_ELECTION_MOST * GROUP_EARLY_TRIES_TIMEOUTS;
        for now in [ms(3400), again - ms(1)] {
            silence.try_early(now);
            silence.note(now, Some(now));
            assert!(silence.is_kept(), "it has tried a moment ago");
        }
        silence.try_early(again);
        silence.note(again, Some(again));
        assert!(!silence.is_kept());
        silence.note(again + ms(100), Some(ms(50)));
        silence.note(again + second, Some(ms(50)));
        assert!(!silence.is_kept(), "a majority has answered");
    }

    #[test]
    fn a_hand_over_that_is_dropped_half_way_leaves_a_leader_that_speaks() {
        let silence = Silence::default();
        let handing_over = silence.begin_hand_over();
        assert!(silence.is_paused() && !silence.is_kept());
        silence.hand_over(true);
        assert!(silence.is_kept());
        drop(handing_over);
        assert!(!silence.is_paused());
    }
}
