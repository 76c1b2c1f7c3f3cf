//! How a client repeats calls that came to nothing, all within the deadline of the call.
//!
//! A try came to nothing when none of the targets could be reached, when the connection was lost before the answer, or
//! when the node was stopping or knew no leader. Another target is no other try as long as nothing was sent. Watches, waits
//! in line for a lock, and keep-alives are repeated whatever this says: they have an end of their own.

use std::{num::NonZeroU32, time::Duration};

use crate::limits::{CLIENT_JITTER_PERMILLE, CLIENT_PAUSE_FIRST, CLIENT_PAUSE_MAX};

/// Which writes are sent again when they were sent and the answer got lost.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum RepeatedWrites {
    /// Those that the nodes recognise as repeated: those to strong keyspaces, which have an id.
    Safe,
    /// Those to eventual keyspaces too, where one that comes late may replace what others have written meanwhile.
    Always,
    /// None.
    Never,
}

/// See the module. The default tries until the deadline.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Retry {
    /// How often a call is tried, the first time included; `None`: as often as its deadline allows.
    pub attempts: Option<NonZeroU32>,
    /// The first pause; each is twice the one before.
    pub first: Duration,
    /// The longest pause.
    pub cap: Duration,
    /// By how many thousandths a pause is longer or shorter at most.
    pub jitter_permille: u32,
    /// What becomes of writes whose answer got lost.
    pub writes: RepeatedWrites,
}

impl Default for Retry {
    fn default() -> Retry {
        Retry {
            attempts: None,
            first: CLIENT_PAUSE_FIRST,
            cap: CLIENT_PAUSE_MAX,
            jitter_permille: CLIENT_JITTER_PERMILLE,
            writes: RepeatedWrites::Safe,
        }
    }
}

impl Retry {
    /// Never: each call is tried once.
    pub fn never() -> Retry {
        Retry { attempts: Some(NonZeroU32::MIN), writes: RepeatedWrites::Never, ..Retry::default() }
    }

    /// Whether a call that was tried in vain so often has come to its end.
    pub(super) fn is_exhausted(&self, tries: u32) -> bool {
        self.attempts.is_some_and(|attempts| tries >= attempts.get())
    }

    /// The pause after so many failures; `draw` is any number.
    pub(super) fn pause(&self, failures: u32, draw: u64) -> Duration {
        let doublings = failures.saturating_sub(1);
        let middle = self.first.saturating_mul(2_u32.saturating_pow(doublings)).min(self.cap);
        let spread = middle * self.jitter_permille.min(1000) / 1000;
        middle - spread + spread * 2 * (draw % 1024) as u32 / 1024
    }
}

/// Counts the tries of one call. A target that cannot be reached is a part of a try: all of them are one.
#[derive(Default)]
pub(super) struct Tries {
    sends: u32,
    dials: u32,
}

impl Tries {
    /// It was sent, and came to nothing.
    pub(super) fn sent_in_vain(&mut self) {
        self.sends = self.sends.saturating_add(1);
    }

    /// A target could not be reached.
    pub(super) fn dialled_in_vain(&mut self) {
        self.dials = self.dials.saturating_add(1);
    }

    /// How often it was sent in vain.
    pub(super) fn sends(&self) -> u32 {
        self.sends
    }

    /// All, with so many targets to choose from.
    pub(super) fn count(&self, targets: usize) -> u32 {
        self.sends.saturating_add(self.dials / targets.max(1) as u32)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    proptest! {
        #[test]
        fn pauses_double_up_to_the_cap_and_stay_within_the_jitter(failures in 1u32..100, draw: u64, permille in 0u32..=1000) {
            let retry = Retry { jitter_permille: permille, ..Retry::default() };
            let middle = (retry.first * 2_u32.saturating_pow(failures.min(20) - 1)).min(retry.cap);
            let spread = middle * permille / 1000;
            let pause = retry.pause(failures, draw);
            prop_assert!(pause >= middle - spread && pause <= middle + spread, "{pause:?}");
        }
    }

    #[test]
    fn all_targets_that_cannot_be_reached_are_one_try() {
        let mut tries = Tries::default();
        tries.dialled_in_vain();
        assert_eq!((tries.count(1), tries.count(2)), (1, 0));
        tries.dialled_in_vain();
        tries.sent_in_vain();
        assert_eq!((tries.count(1), tries.count(2)), (3, 2));
    }

    #[test]
    fn never_means_one_try_and_the_default_has_no_bound() {
        assert!(Retry::never().is_exhausted(1));
        assert!(!Retry::never().is_exhausted(0));
        assert!(!Retry::default().is_exhausted(u32::MAX));
    }
}
