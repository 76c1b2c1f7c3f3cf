//! Which node one connection turns to next, and when.
//!
//! The nodes are tried one after the other at once, each of them once in a round; after a round in which none answered there is
//! a pause, as the client's [`Retry`] says. What is known of them is in the [`Directory`], which all connections of a client
//! share.

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{directory::Directory, retry::Retry};
use crate::{env::Env, types::Address};

/// In which order nodes are tried.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Order {
    /// As they were given, for clients that go by their list; with the place of the one to try.
    Given(usize),
    /// The best first.
    Best,
    /// The best but the one that calls go to.
    Second,
}

/// See the module.
pub(super) struct Endpoints {
    directory: Arc<Mutex<Directory>>,
    env: Env,
    order: Order,
    /// The last one that was chosen.
    current: Option<Address>,
    /// Since one answered; when all are among them, all may be tried again.
    tried: BTreeSet<Address>,
    /// Attempts since the last success.
    failures: u32,
}

impl Endpoints {
    /// Nothing was tried yet.
    pub(super) fn new(directory: Arc<Mutex<Directory>>, env: Env, order: Order) -> Endpoints {
        Endpoints { directory, env, order, current: None, tried: BTreeSet::new(), failures: 0 }
    }

    /// The one to try now.
    pub(super) fn next(&mut self) -> Address {
        let mut directory = self.directory.lock();
        let home_left_out = usize::from(self.order == Order::Second);
        if self.tried.len() + home_left_out >= directory.len() {
            self.tried.clear();
        }
        let now = self.env.clock.monotonic();
        let chosen = match self.order {
            Order::Given(place) => directory.address(place).clone(),
            Order::Best => directory.choose(now, draw(&self.env), &self.tried),
            Order::Second => {
                let home = directory.home().cloned();
                directory.pick(now, draw(&self.env), &self.tried.iter().cloned().chain(home).collect())
            }
        };
        self.current = Some(chosen.clone());
        chosen
    }

    /// The chosen one answered.
    pub(super) fn reached(&mut self) {
        if let Some(current) = &self.current {
            let mut directory = self.directory.lock();
            match self.order {
                Order::Given(_) => directory.settle(current),
                Order::Best | Order::Second => directory.reached(current),
            }
        }
        self.tried.clear();
    }

    /// The chosen one is of no use for now.
    pub(super) fn failed(&mut self, problem: String) {
        self.failures = self.failures.saturating_add(1);
        self.leave(Some(problem));
    }

    /// The chosen one answered, and has left since; another is next, at once.
    pub(super) fn left(&mut self, why: &str) {
        self.failures = 0;
        // In a list that is gone through in order, having left is no problem of a node.
        let is_list = matches!(self.order, Order::Given(_));
        self.leave((!is_list).then(|| why.to_string()));
    }

    /// The chosen one is well, but cannot do this; another is next.
    pub(super) fn pass(&mut self) {
        self.leave(None);
    }

    /// Whatever was tried may be tried again.
    pub(super) fn begin_anew(&mut self) {
        (self.current, self.failures) = (None, 0);
        self.tried.clear();
    }

    fn leave(&mut self, problem: Option<String>) {
        let Some(current) = self.current.take() else { return };
        if let Some(problem) = problem {
            let mut directory = self.directory.lock();
            match self.order {
                Order::Given(_) => directory.note(&current, problem),
                Order::Best | Order::Second => {
                    directory.failed(&current, self.env.clock.monotonic(), draw(&self.env), problem);
                }
            }
        }
        if let Order::Given(place) = &mut self.order {
            *place += 1;
        }
        self.tried.insert(current);
    }

    /// Whether as many tries have failed as there are nodes, since one answered or since this was so the last time.
    pub(super) fn is_round_over(&self) -> bool {
        self.failures > 0 && self.failures.is_multiple_of(self.directory.lock().len() as u32)
    }

    /// How long to wait before the next attempt; `draw` is any number.
    pub(super) fn pause(&self, retry: &Retry, draw: u64) -> Duration {
        if !self.is_round_over() {
            return Duration::ZERO;
        }
        retry.pause(self.failures / self.directory.lock().len() as u32, draw)
    }

    /// Why no node could be reached, for people.
    pub(super) fn problems(&self) -> String {
        self.directory.lock().problems()
    }
}

/// Any number. Without entropy always the same, which is a pity and no error: pauses have no jitter then, and clients spread less.
pub(super) fn draw(env: &Env) -> u64 {
    env.rng.next_u64().unwrap_or(0)
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::env::SeededRng;

    fn endpoints(count: u16, order: Order) -> Endpoints {
        let targets: Vec<Address> = (1..=count).map(|port| Address::new("h", port).unwrap()).collect();
        let env = Env { rng: Arc::new(SeededRng::new(7)), ..Env::system() };
        Endpoints::new(Arc::new(Mutex::new(Directory::new(&targets))), env, order)
    }

    proptest! {
        #[test]
        fn pauses_come_after_whole_rounds(count in 1u16..5, attempts in 1u32..200, draw: u64) {
            for order in [Order::Given(0), Order::Best] {
                let mut endpoints = endpoints(count, order);
                for _ in 0..attempts {
                    endpoints.next();
                    endpoints.failed("refused".into());
                }
                let pause = endpoints.pause(&Retry::default(), draw);
                prop_assert_eq!(pause.is_zero(), attempts % u32::from(count) != 0);
            }
        }

        #[test]
        fn in_a_round_each_is_tried_once(count in 1u16..6, rounds in 1usize..5) {
            let mut endpoints = endpoints(count, Order::Best);
            for _ in 0..rounds {
                let mut round = BTreeSet::new();
                for _ in 0..count {
                    prop_assert!(round.insert(endpoints.next()));
                    endpoints.failed("refused".into());
                }
            }
        }
    }

    #[test]
    fn those_of_a_list_are_tried_in_turn_and_their_problems_are_told() {
        let mut endpoints = endpoints(2, Order::Given(0));
        assert_eq!(endpoints.next().to_string(), "h:1");
        endpoints.failed("refused".into());
        assert_eq!(endpoints.next().to_string(), "h:2");
        endpoints.failed("silent".into());
        assert_eq!(endpoints.next().to_string(), "h:1");
        assert_eq!(endpoints.problems(), "h:1: refused; h:2: silent");
    }

    #[test]
    fn a_node_that_left_is_followed_by_the_next_without_a_pause() {
        let mut endpoints = endpoints(2, Order::Given(0));
        for _ in 0..2 {
            endpoints.next();
            endpoints.failed("refused".into());
        }
        assert_eq!(endpoints.next().port(), 1);
        endpoints.left("stopped");
        assert_eq!((endpoints.next().port(), endpoints.pause(&Retry::default(), 7)), (2, Duration::ZERO));
    }

    #[test]
    fn the_second_is_never_where_calls_go_if_there_is_another() {
        let first = &mut endpoints(3, Order::Best);
        let home = first.next();
        let mut second = Endpoints { order: Order::Second, ..endpoints(3, Order::Best) };
        second.directory = first.directory.clone();
        for _ in 0..20 {
            assert_ne!(second.next(), home);
            second.failed("refused".into());
        }
        assert_eq!(first.next(), home);
    }

    #[test]
    fn the_only_node_is_tried_again_at_once_when_it_has_left() {
        let mut endpoints = endpoints(1, Order::Best);
        let only = endpoints.next();
        endpoints.reached();
        endpoints.left("stopped");
        assert_eq!((endpoints.next(), endpoints.pause(&Retry::default(), 7)), (only, Duration::ZERO));
    }
}
