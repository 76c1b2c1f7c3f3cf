//! PE-4, as far as whole nodes show it: damage is said where a bit has turned over, and nowhere else: no crash, failed sync or
//! full disk leaves anything that looks like it. What was damaged is never served: that is EV-9.

use super::{Invariant, Reopening, Verdict};
use crate::history::History;

#[derive(Default)]
pub struct DamageIsNamed {
    named: u64,
}

impl Invariant for DamageIsNamed {
    fn name(&self) -> &'static str {
        "PE-4 damage is named"
    }

    fn on_opened(&mut self, reopening: &Reopening<'_>, _history: &History) -> Verdict {
        let Some(damage) = &reopening.opened.damage else { return Ok(()) };
        self.named += 1;
        match reopening.opened.is_flipped {
            true => Ok(()),
            false => Err(format!("{} says {damage:?}, and no bit has turned over", reopening.me)),
        }
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![("directories found damaged", self.named)]
    }
}
