//! Hybrid logical time (Kulkarni et al., "Logical Physical Clocks", OPODIS 2014) as one 64-bit number.

use std::fmt;

/// 48 bits of milliseconds since the Unix epoch, then 16 bits of counter: ordered as time where clocks tick, and by the
/// counter where they do not. Unique together with the id of the node that drew it. This is the `version` users see.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Timestamp(pub u64);

const COUNTER_BITS: u32 = 16;

impl Timestamp {
    /// Before every write.
    pub const ZERO: Timestamp = Timestamp(0);

    /// The first timestamp of a millisecond. Milliseconds beyond 48 bits (the year 10889) are cut to the last one.
    pub fn from_millis(wall_ms: u64) -> Timestamp {
        Timestamp(wall_ms.min((1 << (64 - COUNTER_BITS)) - 1) << COUNTER_BITS)
    }

    /// Milliseconds since the Unix epoch.
    pub fn millis(self) -> u64 {
        self.0 >> COUNTER_BITS
    }

    /// The place within the millisecond.
    pub fn counter(self) -> u16 {
        (self.0 & 0xffff) as u16
    }

    /// The next timestamp: carries into the milliseconds when the counter is full. Saturates at the end of time, which
    /// no clock that the drift bound lets in can reach.
    pub fn next(self) -> Timestamp {
        Timestamp(self.0.saturating_add(1))
    }
}

impl fmt::Display for Timestamp {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}
