//! How slow a network is.

use std::time::Duration;

use crate::error::{Error, ErrorCode, Result};

/// After so long the system sends again what was not acknowledged, and after twice as long each further time: Linux's least
/// timeout, RFC 6298.
const RETRANSMISSION: Duration = Duration::from_millis(200);

/// Times that a piece is sent again at most: by then its connection has been given up for silent.
const RETRANSMISSIONS_MAX: u32 = 10;

/// The longest delay: what is slower than that is cut off.
const DELAY_MAX_S: f64 = 3600.0;

/// How much later things arrive. TCP loses nothing, so a lost piece is a late one, and everything behind it waits.
#[derive(Clone, Copy, Debug, Default, PartialEq)]
pub struct Slowness {
    delay: Duration,
    jitter: Duration,
    drop: f64,
}

impl Slowness {
    /// Each piece arrives `delay_s` seconds later, and up to `jitter_s` more; it is lost with the probability `drop`, and then
    /// sent again. With a `drop` of 1 nothing arrives.
    ///
    /// # Errors
    /// `INVALID_ARGUMENT`, by name.
    pub fn new(delay_s: f64, jitter_s: f64, drop: f64) -> Result<Slowness> {
        let seconds = |name: &str, value: f64| {
            let is_good = (0.0..=DELAY_MAX_S).contains(&value);
            is_good.then(|| Duration::from_secs_f64(value)).ok_or_else(|| bad(name, value, "seconds from 0 to 3600"))
        };
        let (delay, jitter) = (seconds("delay", delay_s)?, seconds("jitter", jitter_s)?);
        if !(0.0..=1.0).contains(&drop) {
            return Err(bad("drop", drop, "a probability from 0 to 1"));
        }
        Ok(Slowness { delay, jitter, drop })
    }

    pub(super) fn is_none(self) -> bool {
        self == Slowness::default()
    }

    pub(super) fn loses_all(self) -> bool {
        self.drop >= 1.0
    }

    /// How much later the next piece arrives.
    pub(super) fn draw(self, mut random: impl FnMut() -> u64) -> Duration {
        // The upper half of a number is as random as the whole, and a fraction of it is exact.
        let mut fraction = || f64::from((random() >> 32) as u32) / (f64::from(u32::MAX) + 1.0);
        let jitter = self.jitter.mul_f64(fraction());
        let losses = (0..RETRANSMISSIONS_MAX).take_while(|_| fraction() < self.drop).count();
        let waits = (0..losses).map(|loss| RETRANSMISSION * (1 << loss)).sum::<Duration>();
        self.delay + jitter + waits
    }
}

fn bad(name: &str, value: f64, what: &str) -> Error {
    Error::new(ErrorCode::InvalidArgument, format!("{name}: {value} is not {what}"))
}
