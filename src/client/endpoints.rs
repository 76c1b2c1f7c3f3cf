//! Which node to try next, and when.
//!
//! The targets are tried in turn, one after the other at once; after a round in which none answered there is a pause,
//! as the client's [`Retry`] says.

use std::time::Duration;

use super::retry::Retry;
use crate::types::Address;

/// The targets of a client, and how the last attempts went.
pub(super) struct Endpoints {
    targets: Vec<Target>,
    current: usize,
    /// Attempts since the last success.
    failures: u32,
}

struct Target {
    address: Address,
    /// Why the last attempt failed.
    problem: Option<String>,
}

impl Endpoints {
    /// At least one target.
    pub(super) fn new(targets: &[Address]) -> Endpoints {
        assert!(!targets.is_empty(), "a client has at least one target");
        let target = |address: &Address| Target { address: address.clone(), problem: None };
        Endpoints { targets: targets.iter().map(target).collect(), current: 0, failures: 0 }
    }

    /// The one to try now.
    pub(super) fn current(&self) -> &Address {
        &self.targets[self.current].address
    }

    /// The current one is of no use for now; the next is its successor.
    pub(super) fn failed(&mut self, problem: String) {
        self.targets[self.current].problem = Some(problem);
        self.failures = self.failures.saturating_add(1);
        self.advance();
    }

    /// The current one answered, and has left since; the next is its successor, at once.
    pub(super) fn left(&mut self) {
        self.failures = 0;
        self.advance();
    }

    fn advance(&mut self) {
        self.current = (self.current + 1) % self.targets.len();
    }

    /// Whether each target has failed since one answered, or since this was so the last time.
    pub(super) fn is_round_over(&self) -> bool {
        self.failures > 0 && self.failures.is_multiple_of(self.targets.len() as u32)
    }

    /// How long to wait before the next attempt; `draw` is any number.
    pub(super) fn pause(&self, retry: &Retry, draw: u64) -> Duration {
        if !self.is_round_over() {
            return Duration::ZERO;
        }
        retry.pause(self.failures / self.targets.len() as u32, draw)
    }

    /// Why no target could be reached, for people.
    pub(super) fn problems(&self) -> String {
        let problem = |target: &Target| target.problem.as_ref().map(|why| format!("{}: {why}", target.address));
        let problems: Vec<String> = self.targets.iter().filter_map(problem).collect();
        problems.join("; ")
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    fn endpoints(count: u16) -> Endpoints {
        let targets: Vec<Address> = (1..=count).map(|port| Address::new("h", port).unwrap()).collect();
        Endpoints::new(&targets)
    }

    proptest! {
        #[test]
        fn pauses_come_after_whole_rounds(count in 1u16..5, attempts in 1u32..200, draw: u64) {
            let mut endpoints = endpoints(count);
            for _ in 0..attempts {
                endpoints.failed("refused".into());
            }
            let pause = endpoints.pause(&Retry::default(), draw);
            prop_assert_eq!(pause.is_zero(), attempts % u32::from(count) != 0);
        }
    }

    #[test]
    fn each_target_is_tried_in_turn_and_its_problem_is_told() {
        let mut endpoints = endpoints(2);
        assert_eq!(endpoints.current().to_string(), "h:1");
        endpoints.failed("refused".into());
        assert_eq!(endpoints.current().to_string(), "h:2");
        endpoints.failed("silent".into());
        assert_eq!(endpoints.current().to_string(), "h:1");
        assert_eq!(endpoints.problems(), "h:1: refused; h:2: silent");
    }

    #[test]
    fn a_node_that_left_is_followed_by_the_next_without_a_pause() {
        let mut endpoints = endpoints(2);
        endpoints.failed("refused".into());
        endpoints.left();
        assert_eq!((endpoints.current().port(), endpoints.pause(&Retry::default(), 7)), (1, Duration::ZERO));
    }
}
