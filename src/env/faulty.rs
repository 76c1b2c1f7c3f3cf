//! Faults for tests: the doors of one node, with somebody who leans against them.
//!
//! A test holds [`Faults`]; [`Faults::doors`] puts a decorated transport and clock before the real ones. Nothing of it is in
//! the way of an ordinary node, which is given the plain doors.
//!
//! What a fault does:
//!
//! * **Blocked** addresses: connections that this node opened to them break, and it opens no new ones. A partition is made
//!   by both sides blocking each other, because every connection between nodes is somebody's outgoing one. Whoever
//!   connects to this node, a client above all, is not asked who it is.
//! * **Paused**: nothing is read, written, opened, accepted or closed; time goes on. The threads of the node go on too, so
//!   unlike a process that the system has stopped it may come to conclusions of its own meanwhile.
//! * **Slow**: what is read and what is written arrives later, in order ([`Slowness`]).
//! * **Advanced**: the clocks have jumped ahead, as those of a machine that slept. They never go back.

mod clock;
mod lane;
mod relay;
mod slowness;
#[cfg(test)]
mod tests;
mod transport;

use std::{collections::BTreeSet, sync::Arc, time::Duration};

use tokio::sync::watch;

pub use self::slowness::Slowness;
use self::{
    clock::{AdvancedClock, ClockOffset},
    transport::FaultyTransport,
};
use super::{Env, Rng, SeededRng};
use crate::types::Address;

/// What is wrong with the world of one node, as its test wants it. Clones share it.
#[derive(Clone)]
pub struct Faults {
    rules: Arc<watch::Sender<Rules>>,
    rng: Arc<SeededRng>,
    offset: Arc<ClockOffset>,
}

#[derive(Clone, Default)]
struct Rules {
    blocked: BTreeSet<Address>,
    is_paused: bool,
    slowness: Slowness,
}

impl Faults {
    /// None yet. What is drawn for jitter and loss repeats itself with the seed.
    pub fn new(seed: u64) -> Faults {
        Faults::with_offset(seed, Arc::default())
    }

    /// Those of another node, whose clocks are advanced together with this one's.
    pub fn beside(&self, seed: u64) -> Faults {
        Faults::with_offset(seed, self.offset.clone())
    }

    fn with_offset(seed: u64, offset: Arc<ClockOffset>) -> Faults {
        let (rules, _) = watch::channel(Rules::default());
        Faults { rules: Arc::new(rules), rng: Arc::new(SeededRng::new(seed)), offset }
    }

    /// The doors with these faults before them.
    pub fn doors(&self, env: Env) -> Env {
        let view = View { rules: self.rules.subscribe(), rng: self.rng.clone() };
        Env {
            clock: Arc::new(AdvancedClock::new(env.clock, self.offset.clone())),
            transport: Arc::new(FaultyTransport::new(env.transport, view)),
            ..env
        }
    }

    /// Breaks the node's connections to these addresses, and lets it open none, until they are others.
    pub fn block(&self, addresses: BTreeSet<Address>) {
        self.rules.send_modify(|rules| rules.blocked = addresses);
    }

    /// Has the node neither say nor hear anything, or lets it go on.
    pub fn pause(&self, is_paused: bool) {
        self.rules.send_modify(|rules| rules.is_paused = is_paused);
    }

    /// Makes everything that the node says and hears so slow, from now on. What is under way arrives when it was to, or at
    /// once when nothing is slow any more.
    pub fn slow(&self, slowness: Slowness) {
        self.rules.send_modify(|rules| rules.slowness = slowness);
    }

    /// Sets the clocks ahead.
    pub fn advance(&self, by: Duration) {
        self.offset.advance(by);
    }
}

/// What may be done with a connection.
enum Verdict {
    Goes(Slowness),
    Waits,
    Breaks,
}

/// The faults as the network sees them.
#[derive(Clone)]
struct View {
    rules: watch::Receiver<Rules>,
    rng: Arc<SeededRng>,
}

impl View {
    /// Returns when the node is not paused; at once when nobody can change that any more.
    async fn resumed(&mut self) {
        let _gone = self.rules.wait_for(|rules| !rules.is_paused).await.is_err();
    }

    /// Returns when the rules have changed since they were last looked at; never when nobody can change them any more.
    async fn changed(&mut self) {
        if self.rules.changed().await.is_err() {
            std::future::pending().await
        }
    }

    /// What holds now for a connection that was opened `to` an address, or accepted.
    fn look(&mut self, to: Option<&Address>) -> Verdict {
        let rules = self.rules.borrow_and_update();
        if rules.is_paused || rules.slowness.loses_all() {
            return Verdict::Waits;
        }
        match to.is_some_and(|to| rules.blocked.contains(to)) {
            true => Verdict::Breaks,
            false => Verdict::Goes(rules.slowness),
        }
    }

    /// How much later a piece arrives.
    fn draw(&self, slowness: Slowness) -> Duration {
        // A seeded generator does not run dry.
        slowness.draw(|| self.rng.next_u64().unwrap_or_default())
    }
}
