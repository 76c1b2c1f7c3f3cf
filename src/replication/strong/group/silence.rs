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
    /// Since when it leads, as far as was noted.
    leads: Option<Duration>,
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

    /// To be told from time to time for how long a leader has not heard from a majority, `Some(None)` if it never has; `None`: it
    /// does not lead.
    pub(super) fn note(&self, now: Duration, unheard: Option<Option<Duration>>) {
        let turns = &mut *self.turns.lock();
        let Some(unheard) = unheard else {
            self.is_kept.store(false, Ordering::Relaxed);
            (turns.until, turns.leads) = (None, None);
            return;
        };
        let leads = *turns.leads.get_or_insert(now);
        let unheard = unheard.unwrap_or(now.saturating_sub(leads));
        let until = &mut turns.until;
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
            (turns.until, turns.early) = (Some(now), Some(now));
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

    /// A leader has not heard from a majority for so long.
    fn note(silence: &Silence, now: Duration, unheard: Duration) {
        silence.note(now, Some(Some(unheard)));
    }

    #[test]
    fn a_leader_without_a_majority_is_silent_but_for_short_tries() {
        let (silence, second) = (Silence::default(), Duration::from_secs(1));
        note(&silence, second, Duration::from_millis(100));
        assert!(!silence.is_kept());
        note(&silence, 2 * second, 2 * second);
        assert!(silence.is_kept());
        note(&silence, 13 * second, 13 * second);
        assert!(silence.is_kept(), "12 s of silence");
        note(&silence, Duration::from_millis(14_050), 14 * second);
        assert!(!silence.is_kept(), "a try");
        note(&silence, Duration::from_millis(14_100), 14 * second);
        assert!(!silence.is_kept(), "the try goes on");
        note(&silence, Duration::from_millis(14_300), 14 * second);
        assert!(silence.is_kept());
        silence.note(40 * second, None);
        assert!(!silence.is_kept(), "another leads");
    }

    #[test]
    fn a_leader_that_never_heard_a_majority_is_silent_in_the_end_too() {
        let (silence, ms) = (Silence::default(), Duration::from_millis);
        for (now, is_kept) in [(10_000, false), (11_800, false), (11_850, true)] {
            silence.note(ms(now), Some(None));
            assert_eq!(silence.is_kept(), is_kept, "{now}");
        }
        silence.note(ms(12_000), None);
        silence.note(ms(13_000), Some(None));
        assert!(!silence.is_kept(), "it leads anew");
    }

    #[test]
    fn a_silent_leader_tries_early_for_a_member_that_is_back_but_not_often() {
        let (silence, second, ms) = (Silence::default(), Duration::from_secs(1), Duration::from_millis);
        silence.try_early(second);
        note(&silence, 2 * second, 2 * second);
        assert!(silence.is_kept(), "what was asked of a leader that speaks changes nothing");
        silence.try_early(3 * second);
        assert!(silence.is_kept());
        note(&silence, ms(3050), 3 * second);
        assert!(!silence.is_kept(), "a try");
        note(&silence, ms(3300), 3 * second);
        assert!(silence.is_kept(), "nobody has answered");
        let again = 3 * second + GROUP_ELECTION_MOST * GROUP_EARLY_TRIES_TIMEOUTS;
        for now in [ms(3400), again - ms(1)] {
            silence.try_early(now);
            note(&silence, now, now);
            assert!(silence.is_kept(), "it has tried a moment ago");
        }
        silence.try_early(again);
        note(&silence, again, again);
        assert!(!silence.is_kept());
        note(&silence, again + ms(100), ms(50));
        note(&silence, again + second, ms(50));
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
