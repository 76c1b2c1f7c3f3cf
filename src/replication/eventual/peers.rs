//! Whom to dial: the addresses of the cluster, and how it went with each.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use rand::{rngs::StdRng, Rng};

use super::replica::SessionId;
use crate::{
    error::{Error, ErrorCode, ErrorKind},
    limits::{HEARSAY_FORGOTTEN_AFTER, MEMBERS_MAX, REDIAL_FIRST, REDIAL_MAX},
    types::{Address, Member, NodeId, PeerState},
};

/// Where an address comes from, in the order of trust: what is configured or was once met is dialled for ever, what
/// was only heard of is forgotten when it does not answer.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Source {
    Hearsay,
    Met,
    Configured,
}

/// What is going on with an address on our side.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Dial {
    Waiting { due: Duration },
    Dialling,
    Open(SessionId),
}

/// An address, and what is known of the node there.
#[derive(Debug)]
pub(super) struct Peer {
    /// The last node that was reached here, or that is said to be here.
    pub(super) node: Option<NodeId>,
    /// Why the last attempt failed.
    pub(super) problem: String,
    /// Own writes that the node had acknowledged when it was last connected.
    pub(super) acknowledged: u64,
    source: Source,
    dial: Dial,
    /// Attempts that failed since the last that did well.
    failures: u32,
    failing_since: Option<Duration>,
    is_refused: bool,
}

impl Peer {
    /// How things are with this address while it is not connected.
    pub(super) fn state(&self) -> PeerState {
        if self.is_refused {
            PeerState::Refused
        } else {
            PeerState::Connecting
        }
    }
}

/// Whether a node says that the two have nothing to say to each other, rather than that it is not there.
pub(super) fn is_refusal(problem: &Error) -> bool {
    problem.code() == ErrorCode::WrongCluster || problem.kind() == ErrorKind::Denied
}

/// The address book. Never holds this node's own address.
#[derive(Debug)]
pub(super) struct Peers {
    book: BTreeMap<Address, Peer>,
    /// Addresses that turned out to be this node, the advertised one first of all.
    ourselves: BTreeSet<Address>,
}

impl Peers {
    /// A book that begins with the configured addresses.
    pub(super) fn new(me: &Address, configured: &[Address]) -> Peers {
        let mut peers = Peers { book: BTreeMap::new(), ourselves: BTreeSet::from([me.clone()]) };
        for address in configured {
            peers.learn(address, None, Source::Configured);
        }
        peers
    }

    /// Every address with what is known of it.
    pub(super) fn iter(&self) -> impl Iterator<Item = (&Address, &Peer)> {
        self.book.iter()
    }

    /// Whether any address was configured that is not this node itself.
    pub(super) fn has_configured(&self) -> bool {
        self.book.values().any(|peer| peer.source == Source::Configured)
    }

    /// Takes note of a member that a peer told of.
    pub(super) fn hear_of(&mut self, member: &Member) {
        self.learn(&member.address, Some(member.node), Source::Hearsay);
    }

    /// Takes note of a node that said Hello, at the address it advertises and at the one that was dialled.
    pub(super) fn meet(&mut self, member: &Member, dialled: Option<(&Address, SessionId)>) {
        self.learn(&member.address, Some(member.node), Source::Met);
        if let Some((address, session)) = dialled {
            self.learn(address, Some(member.node), Source::Met);
            if let Some(peer) = self.book.get_mut(address) {
                peer.dial = Dial::Open(session);
            }
        }
        let reached = [Some(&member.address), dialled.map(|(address, _)| address)];
        for peer in self.book.iter_mut().filter(|(address, _)| reached.contains(&Some(address))).map(|(_, peer)| peer) {
            peer.problem.clear();
            peer.is_refused = false;
            peer.failing_since = None;
        }
    }

    /// An address is this node itself: it is never dialled again.
    pub(super) fn forget_ourselves(&mut self, address: &Address) {
        self.book.remove(address);
        if self.ourselves.len() < MEMBERS_MAX {
            self.ourselves.insert(address.clone());
        }
    }

    /// The addresses whose time has come, but for those whose node is connected; they count as being dialled from now.
    pub(super) fn due(&mut self, now: Duration, connected: &BTreeSet<NodeId>) -> Vec<Address> {
        let is_due = |peer: &Peer| {
            let is_connected = peer.node.is_some_and(|node| connected.contains(&node));
            matches!(peer.dial, Dial::Waiting { due } if due <= now) && !is_connected
        };
        let mut due = Vec::new();
        for (address, peer) in self.book.iter_mut().filter(|(_, peer)| is_due(peer)) {
            peer.dial = Dial::Dialling;
            due.push(address.clone());
        }
        due
    }

    /// A session to an address was opened; nothing was said yet.
    pub(super) fn opened(&mut self, address: &Address, session: SessionId) {
        if let Some(peer) = self.book.get_mut(address) {
            peer.dial = Dial::Open(session);
        }
    }

    /// An attempt, or the session it led to, failed. `lived`: for how long the two were connected.
    pub(super) fn failed(
        &mut self,
        address: &Address,
        now: Duration,
        lived: Duration,
        problem: &str,
        rng: &mut StdRng,
    ) {
        let Some(peer) = self.book.get_mut(address) else { return };
        // Only a session that held is a reason to hurry: two nodes that drop each other must not do it in a loop.
        peer.failures = if lived >= REDIAL_MAX { 0 } else { peer.failures.saturating_add(1) };
        peer.dial = Dial::Waiting { due: now + pause(peer.failures, rng) };
        peer.is_refused = false;
        peer.problem = problem.to_string();
        let since = *peer.failing_since.get_or_insert(now);
        if peer.source == Source::Hearsay && now.saturating_sub(since) >= HEARSAY_FORGOTTEN_AFTER {
            self.book.remove(address);
        }
    }

    /// The node at an address and this one do not want to talk to each other, see [`is_refusal`].
    pub(super) fn refused(&mut self, address: &Address, now: Duration, problem: &str) {
        let Some(peer) = self.book.get_mut(address) else { return };
        peer.is_refused = true;
        peer.problem = problem.to_string();
        peer.dial = Dial::Waiting { due: now + REDIAL_MAX };
        peer.failing_since.get_or_insert(now);
    }

    /// A node no longer belongs to the cluster. What was configured is dialled on, because another may come there.
    pub(super) fn forget_node(&mut self, node: NodeId) {
        self.book.retain(|_, peer| peer.node != Some(node) || peer.source == Source::Configured);
        for peer in self.book.values_mut().filter(|peer| peer.node == Some(node)) {
            peer.node = None;
            peer.acknowledged = 0;
        }
    }

    /// A connected node is gone; `acknowledged` own writes had reached it.
    pub(super) fn parted(&mut self, node: NodeId, acknowledged: u64) {
        for peer in self.book.values_mut().filter(|peer| peer.node == Some(node)) {
            peer.acknowledged = acknowledged;
        }
    }

    fn learn(&mut self, address: &Address, node: Option<NodeId>, source: Source) {
        if self.ourselves.contains(address) || !self.has_room(address, source) {
            return;
        }
        let peer = self.book.entry(address.clone()).or_insert_with(|| Peer {
            node,
            problem: String::new(),
            acknowledged: 0,
            source,
            dial: Dial::Waiting { due: Duration::ZERO },
            failures: 0,
            failing_since: None,
            is_refused: false,
        });
        if node.is_some() && peer.node != node {
            peer.node = node;
            peer.acknowledged = 0;
        }
        peer.source = peer.source.max(source);
    }

    /// Hearsay gives way to what is better founded; a book full of that takes no more.
    fn has_room(&mut self, address: &Address, source: Source) -> bool {
        if self.book.contains_key(address) || self.book.len() < MEMBERS_MAX {
            return true;
        }
        let is_idle_hearsay = |peer: &Peer| peer.source == Source::Hearsay && matches!(peer.dial, Dial::Waiting { .. });
        let worst = self.book.iter().find(|(_, peer)| source > Source::Hearsay && is_idle_hearsay(peer));
        let Some(worst) = worst.map(|(address, _)| address.clone()) else { return source == Source::Configured };
        self.book.remove(&worst);
        true
    }
}

/// The pause after so many failures: doubles up to the longest, half of it jitter, so that nodes do not march in step.
fn pause(failures: u32, rng: &mut StdRng) -> Duration {
    let doubled = REDIAL_FIRST.saturating_mul(1 << failures.saturating_sub(1).min(16));
    let longest = doubled.min(REDIAL_MAX);
    longest / 2 + longest.mul_f64(rng.random_range(0.0..0.5))
}

#[cfg(test)]
mod tests {
    use rand::SeedableRng;

    use super::*;

    fn address(port: u16) -> Address {
        Address::new("node", port).unwrap()
    }

    fn member(node: u64, port: u16) -> Member {
        Member { node: NodeId(node), address: address(port), born_ms: 0 }
    }

    #[test]
    fn pauses_double_up_to_the_longest_and_start_over_after_a_session_that_held() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut peers = Peers::new(&address(1), &[address(2)]);
        let nobody = BTreeSet::new();
        let mut now = Duration::ZERO;
        for failures in 0..20 {
            assert_eq!(peers.due(now, &nobody), [address(2)]);
            peers.failed(&address(2), now, Duration::ZERO, "refused", &mut rng);
            let longest = REDIAL_FIRST.saturating_mul(1 << failures).min(REDIAL_MAX);
            assert!(peers.due(now + longest / 2 - Duration::from_millis(1), &nobody).is_empty());
            now += longest;
        }
        assert_eq!(peers.due(now, &nobody), [address(2)]);
        peers.failed(&address(2), now, REDIAL_MAX, "lost", &mut rng);
        assert_eq!(peers.due(now + REDIAL_FIRST, &nobody), [address(2)]);
    }

    #[test]
    fn hearsay_that_never_answers_is_forgotten_and_the_configured_is_not() {
        let mut rng = StdRng::seed_from_u64(1);
        let mut peers = Peers::new(&address(1), &[address(2)]);
        peers.hear_of(&member(3, 3));
        for now in [Duration::ZERO, HEARSAY_FORGOTTEN_AFTER] {
            peers.failed(&address(2), now, Duration::ZERO, "refused", &mut rng);
            peers.failed(&address(3), now, Duration::ZERO, "refused", &mut rng);
        }
        assert_eq!(peers.iter().map(|(address, _)| address.port()).collect::<Vec<_>>(), [2]);
    }

    #[test]
    fn an_address_that_is_ourselves_is_never_dialled_again() {
        let mut peers = Peers::new(&address(1), &[address(1), address(2)]);
        peers.forget_ourselves(&address(2));
        peers.hear_of(&member(9, 2));
        peers.hear_of(&member(9, 1));
        assert!(peers.due(Duration::MAX, &BTreeSet::new()).is_empty());
        assert!(!peers.has_configured());
    }

    #[test]
    fn a_full_book_takes_no_hearsay_but_makes_room_for_who_was_met() {
        let mut peers = Peers::new(&address(1), &[address(2)]);
        for port in 3..2000 {
            peers.hear_of(&member(u64::from(port), port));
        }
        assert_eq!(peers.iter().count(), MEMBERS_MAX);
        peers.meet(&member(5000, 5000), None);
        assert_eq!(peers.iter().count(), MEMBERS_MAX);
        assert!(peers.iter().any(|(address, _)| address.port() == 5000));
    }

    #[test]
    fn an_address_whose_node_is_connected_is_not_dialled() {
        let mut peers = Peers::new(&address(1), &[address(2)]);
        peers.meet(&member(7, 2), None);
        peers.hear_of(&member(7, 22));
        assert!(peers.due(Duration::ZERO, &BTreeSet::from([NodeId(7)])).is_empty());
        assert_eq!(peers.due(Duration::ZERO, &BTreeSet::new()), [address(2), address(22)]);
    }
}
