//! The failure detector: SWIM by `foca`, which only this file and its codec name.
//!
//! Each member probes the others in turn. One that does not answer is probed again through others, then suspected, and
//! declared down unless it contradicts in time; the news of all this travels with the probes. A member that is declared
//! down although it lives learns of it from the first it speaks to, and goes on under the next **life**: the same node,
//! a new identity for the detector, which never forgives within one.
//!
//! What the members say to each other travels over the streams of replication (`docs/decisions/0007`), and is dropped
//! where there is none: to SWIM that is a lost datagram.

mod codec;

use std::{
    collections::{BTreeMap, BTreeSet, VecDeque},
    convert::Infallible,
    num::{NonZeroU8, NonZeroUsize},
    time::Duration,
};

use bytes::Bytes;
use foca::{Config, Foca, Identity, NoCustomBroadcast, Notification, PeriodicParams, Runtime, State, Timer};
use rand::{rngs::StdRng, RngCore, SeedableRng};

use self::codec::WireCodec;
use crate::{
    limits::{
        ANNOUNCE_PERIOD, DETECTED_MEMBERS_MAX, DETECTOR_PAUSE_MAX, DETECTOR_TIMERS_MAX, DOWN_REMEMBERED,
        GOSSIP_BYTES_MAX, GOSSIP_PERIOD, GOSSIP_TRANSMISSIONS, GREETING_PERIOD, INDIRECT_PROBES, PROBE_PERIOD,
        PROBE_RTT, SUSPICION_TIMEOUT,
    },
    types::NodeId,
};

/// What the members of a cluster think of one of them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    /// It answers, to us or to others.
    Alive,
    /// It did not answer, and has a little time to contradict.
    Suspected,
    /// It did not contradict.
    Down,
}

/// Why a message of the failure detector cannot be.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum DetectorError {
    /// It does not decode.
    #[error("a message of the failure detector cannot be read: {0}")]
    Malformed(String),
    /// It speaks for another node than the one that sent it.
    #[error("a message of the failure detector names another sender")]
    WrongSender,
}

/// A member as the detector knows it. Conflicts are only between lives of one node: two incarnations at one address
/// are two members here, and `Members` decides between them.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Peer {
    node: NodeId,
    life: u32,
}

impl Identity for Peer {
    type Addr = NodeId;

    fn renew(&self) -> Option<Peer> {
        // After four billion false alarms it stays down.
        Some(Peer { node: self.node, life: self.life.checked_add(1)? })
    }

    fn addr(&self) -> NodeId {
        self.node
    }

    fn win_addr_conflict(&self, adversary: &Peer) -> bool {
        self.life > adversary.life
    }
}

/// One node's failure detector.
pub struct Detector {
    foca: Foca<Peer, WireCodec, SeededRng, NoCustomBroadcast>,
    world: World,
    /// Who can be spoken to.
    linked: BTreeSet<NodeId>,
    greetings_due: Duration,
    /// When [`Detector::tick`] was called last.
    ticked: Duration,
}

/// What foca asks of its surroundings, kept until it is fetched.
struct World {
    now: Duration,
    timers: BTreeMap<(Duration, u64), Timer<Peer>>,
    serial: u64,
    messages: VecDeque<(NodeId, Bytes)>,
}

impl Runtime<Peer> for &mut World {
    fn notify(&mut self, notification: Notification<'_, Peer>) {
        tracing::debug!(?notification, "failure detector");
    }

    fn send_to(&mut self, to: Peer, data: &[u8]) {
        self.messages.push_back((to.node, Bytes::copy_from_slice(data)));
    }

    fn submit_after(&mut self, event: Timer<Peer>, after: Duration) {
        self.serial += 1;
        if self.timers.len() < DETECTOR_TIMERS_MAX {
            self.timers.insert((self.now + after, self.serial), event);
        }
    }
}

impl Detector {
    /// A detector that knows only its own node.
    pub fn new(me: NodeId, seed: u64, now: Duration) -> Detector {
        let rng = SeededRng(StdRng::seed_from_u64(seed));
        let foca = Foca::new(Peer { node: me, life: 0 }, settings(), rng, WireCodec);
        let world = World { now, timers: BTreeMap::new(), serial: 0, messages: VecDeque::new() };
        Detector { foca, world, linked: BTreeSet::new(), greetings_due: now, ticked: now }
    }

    /// A link with a node was made: asks it whom it knows, which also makes it known.
    pub fn linked(&mut self, now: Duration, node: NodeId) {
        self.linked.insert(node);
        self.world.now = now;
        self.greet(node);
    }

    /// There is no link with a node any more.
    pub fn parted(&mut self, node: NodeId) {
        self.linked.remove(&node);
    }

    fn greet(&mut self, node: NodeId) {
        // Any life of it takes the greeting.
        let outcome = self.foca.announce(Peer { node, life: 0 }, &mut self.world);
        note(outcome);
    }

    /// Takes in a message that came over the link with `from`.
    ///
    /// # Errors
    /// When no correct node sends such a message; nothing is changed then.
    pub fn handle(&mut self, now: Duration, from: NodeId, message: &[u8]) -> Result<(), DetectorError> {
        if codec::sender(message)? != from {
            return Err(DetectorError::WrongSender);
        }
        if self.foca.iter_membership_state().len() >= DETECTED_MEMBERS_MAX {
            tracing::warn!(
                limit = DETECTED_MEMBERS_MAX,
                "the failure detector knows too many members: message dropped"
            );
            return Ok(());
        }
        self.world.now = now;
        match self.foca.handle_data(message, &mut self.world) {
            Err(foca::Error::Decode(error)) => Err(DetectorError::Malformed(error.to_string())),
            Err(foca::Error::MalformedPacket | foca::Error::DataTooBig) => {
                Err(DetectorError::Malformed("it has another length".to_string()))
            }
            outcome => {
                note(outcome);
                Ok(())
            }
        }
    }

    /// Does what is due. When this node itself stood still, everything is due later by as much.
    pub fn tick(&mut self, now: Duration) {
        let pause = now.saturating_sub(std::mem::replace(&mut self.ticked, now));
        if pause > DETECTOR_PAUSE_MAX {
            let pause = pause - DETECTOR_PAUSE_MAX;
            let timers = std::mem::take(&mut self.world.timers);
            self.world.timers =
                timers.into_iter().map(|((due, serial), timer)| ((due + pause, serial), timer)).collect();
        }
        self.world.now = now;
        // What a timer starts is due later, so this ends.
        while let Some(entry) = self.world.timers.first_entry().filter(|entry| entry.key().0 <= now) {
            let timer = entry.remove();
            let outcome = self.foca.handle_timer(timer, &mut self.world);
            note(outcome);
        }
        if now >= self.greetings_due {
            self.greetings_due = now + GREETING_PERIOD;
            self.greet_strangers();
        }
    }

    /// Greets the linked that are unknown here, or thought down. foca does it only while it knows one that is alive:
    /// two that declared each other dead would never speak again.
    fn greet_strangers(&mut self) {
        let verdicts = self.verdicts();
        let is_stranger = |node: &NodeId| matches!(verdicts.get(node), None | Some(Verdict::Down));
        for node in self.linked.iter().copied().filter(is_stranger).collect::<Vec<_>>() {
            self.greet(node);
        }
    }

    /// What was to be sent since the last call. What cannot be sent may be dropped.
    pub fn take_messages(&mut self) -> impl Iterator<Item = (NodeId, Bytes)> + '_ {
        self.world.messages.drain(..)
    }

    /// The verdict on each member it knows, this node left out.
    pub fn verdicts(&self) -> BTreeMap<NodeId, Verdict> {
        let verdict = |state| match state {
            State::Alive => Verdict::Alive,
            State::Suspect => Verdict::Suspected,
            State::Down => Verdict::Down,
        };
        self.foca.iter_membership_state().map(|member| (member.id().node, verdict(member.state()))).collect()
    }

    /// A member is gone for good.
    pub fn forget(&mut self, now: Duration, node: NodeId) {
        self.world.now = now;
        let known = self.foca.iter_membership_state().find(|member| member.id().node == node);
        let Some(peer) = known.map(|member| *member.id()) else { return };
        let down = std::iter::once(foca::Member::down(peer));
        let outcome = self.foca.apply_many(down, false, &mut self.world);
        note(outcome);
        let outcome = self.foca.handle_timer(Timer::RemoveDown(peer), &mut self.world);
        note(outcome);
    }
}

/// foca's errors are about single messages and timers that came at a bad time; its state stays sound.
fn note(outcome: Result<(), foca::Error>) {
    if let Err(error) = outcome {
        tracing::debug!(%error, "failure detector");
    }
}

fn settings() -> Config {
    let nonzero = |count| NonZeroUsize::new(count).unwrap_or(NonZeroUsize::MIN);
    let periodic = |frequency, members| Some(PeriodicParams { frequency, num_members: nonzero(members) });
    Config {
        probe_period: PROBE_PERIOD,
        probe_rtt: PROBE_RTT,
        num_indirect_probes: nonzero(INDIRECT_PROBES),
        max_transmissions: NonZeroU8::new(GOSSIP_TRANSMISSIONS).unwrap_or(NonZeroU8::MIN),
        suspect_to_down_after: SUSPICION_TIMEOUT,
        remove_down_after: Some(DOWN_REMEMBERED),
        max_packet_size: nonzero(GOSSIP_BYTES_MAX),
        notify_down_members: true,
        periodic_announce: periodic(ANNOUNCE_PERIOD, 1),
        // Without it two halves that declared each other dead never meet again (caio/foca#15).
        periodic_announce_to_down_members: periodic(ANNOUNCE_PERIOD, 2),
        periodic_gossip: periodic(GOSSIP_PERIOD, INDIRECT_PROBES),
    }
}

/// Our generator behind the traits of the version of rand that foca uses.
struct SeededRng(StdRng);

impl rand_core::TryRng for SeededRng {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        Ok(self.0.next_u32())
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        Ok(self.0.next_u64())
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        self.0.fill_bytes(bytes);
        Ok(())
    }
}

#[cfg(test)]
mod tests;
