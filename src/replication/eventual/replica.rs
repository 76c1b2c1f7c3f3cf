//! The core of replication: what a node does about each thing that happens. No clock, no socket, no task; time is an
//! argument, and what is to be done in the world is returned.
//!
//! Two nodes share one **session**, a stream on which both send Hello, then their positions, then their own writes, in
//! order, from where the other stands ([`super::push`]). A write is pushed by its origin alone. What pushes cannot bring
//! is fetched as state ([`super::pull`], [`super::serve`]).
//!
//! Both may dial each other at once. The session of the smaller node id stays, and **only the side that dialled a
//! session closes it as a duplicate**: it knows best which of its own sessions live, so the two can never close both
//! sessions, each a different one.

mod bounds;
#[cfg(test)]
mod chaos;
mod compare;
#[cfg(test)]
mod conflicts;
mod exchange;
mod greet;
mod membership;
mod report;
#[cfg(test)]
mod simulation;
mod skewed;
#[cfg(test)]
mod stories;
#[cfg(test)]
mod tests;
mod upkeep;

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Arc,
    time::Duration,
};

pub(super) use bounds::Bounds;
use rand::{rngs::StdRng, Rng, SeedableRng};

use super::{
    durable::Lows,
    lag::Lag,
    outbox::Reached,
    peers::{is_refusal, Peers},
    pull::{Pulls, Request, Source},
    reissue::Reissues,
    retention::Retention,
    session::{Link, Phase, Session},
    stability::Stability,
    Eventual,
};
use crate::{
    cluster::{Detector, Members},
    error::{Error, ErrorCode},
    limits::{CONNECT_TIMEOUT, POSITIONS_INTERVAL, SESSION_SILENCE_MAX, STATE_TRANSFER_TIMEOUT},
    types::{Address, Member, Membership, NodeId, PeerMessage, Sequence},
};

/// The time, twice: one clock to wait by, one to compare with timestamps.
#[derive(Clone, Copy, Debug)]
pub(super) struct Now {
    pub(super) monotonic: Duration,
    /// Milliseconds since the Unix epoch.
    pub(super) wall_ms: u64,
}

/// Names a stream on this node.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct SessionId(pub(super) u64);

/// What happens.
#[derive(Debug)]
pub(super) enum Event {
    /// Some time has passed.
    Tick,
    /// There may be own writes to push, or work is left of the last turn.
    News,
    DialSucceeded {
        address: Address,
        session: SessionId,
    },
    DialFailed {
        address: Address,
        problem: Error,
    },
    /// A peer opened a stream.
    Accepted {
        session: SessionId,
    },
    Received {
        session: SessionId,
        message: PeerMessage,
    },
    Closed {
        session: SessionId,
        problem: Option<Error>,
    },
    /// Tell all peers that this node leaves for good. They hang up.
    Leave,
    /// End all streams.
    Shutdown,
}

/// What is to be done, in this order.
#[derive(Debug, PartialEq)]
pub(super) enum Action {
    /// Connect; answered by `DialSucceeded` or `DialFailed`.
    Dial {
        address: Address,
    },
    Send {
        session: SessionId,
        message: PeerMessage,
    },
    /// End a stream; not answered.
    Close {
        session: SessionId,
        why: String,
    },
}

/// What a replica is made with.
pub(super) struct ReplicaConfig {
    pub(super) cluster: String,
    pub(super) advertise: Address,
    pub(super) peers: Vec<Address>,
    pub(super) bounds: Bounds,
    /// Of the generator that jitter comes from.
    pub(super) seed: u64,
    /// Who belonged to the cluster when this node stopped.
    pub(super) membership: Membership,
}

/// What an operator should know of.
#[derive(Debug, Default)]
struct Counters {
    /// Remote writes that were refused because they are stamped too far ahead; each attempt counts.
    refused_writes: u64,
    /// Partitions that were found different from a peer's at equal vectors.
    divergences: u64,
    /// Of those, how many were merged with the peer's.
    repairs: u64,
    /// The members that hold stability back for long.
    held_back_by: Vec<NodeId>,
    /// Bytes of keys and values that came as state.
    state_bytes: u64,
    /// Bytes of keys and values that were pushed.
    change_bytes: u64,
}

/// A node's side of replication.
pub(super) struct Replica {
    me: Member,
    cluster: String,
    bounds: Bounds,
    keyspace: Arc<Eventual>,
    rng: StdRng,
    peers: Peers,
    sessions: BTreeMap<SessionId, Session>,
    pulls: Pulls,
    lag: Lag,
    retention: Retention,
    members: Members,
    /// Whom it counted, and at which version of the table, when that was last looked at.
    counted: (u64, BTreeSet<NodeId>),
    detector: Detector,
    /// This node has said that it leaves.
    is_leaving: bool,
    stability: Stability,
    lows: Lows,
    reissues: Reissues,
    /// By node, then by partition: the first own write that it may get by push, because it was met when others may have
    /// relied on this node having told of all that came before (see [`super::stability`]).
    begins_at: BTreeMap<NodeId, Vec<Sequence>>,
    /// By partition: how far the peers are with the own writes.
    reached: Vec<Arc<Reached>>,
    counters: Counters,
    ticked: Duration,
    /// When a peer was lost last, or when this node was started with peers.
    parted: Option<Duration>,
    positions_due: Duration,
    is_ready: bool,
    has_backlog: bool,
}

impl Replica {
    /// A replica that has not met anyone.
    pub(super) fn new(config: ReplicaConfig, keyspace: Arc<Eventual>, now: Now) -> Replica {
        let parted = (!config.peers.is_empty()).then_some(now.monotonic);
        keyspace.set_caught_up(parted.is_none());
        let me = Member { node: keyspace.me(), address: config.advertise, born_ms: now.wall_ms };
        let mut rng = StdRng::seed_from_u64(config.seed);
        let mut replica = Replica {
            peers: Peers::new(&me.address, &config.peers),
            members: Members::new(me.clone()),
            detector: Detector::new(me.node, rng.random(), now.monotonic),
            me,
            cluster: config.cluster,
            bounds: config.bounds,
            reached: keyspace
                .partition_ids()
                .map(|id| keyspace.outbox(id, |outbox| outbox.reached().clone()))
                .collect(),
            keyspace,
            rng,
            sessions: BTreeMap::new(),
            pulls: Pulls::default(),
            lag: Lag::new(now.monotonic),
            retention: Retention::default(),
            counted: (0, BTreeSet::new()),
            is_leaving: false,
            stability: Stability::new(),
            lows: Lows::default(),
            reissues: Reissues::default(),
            begins_at: BTreeMap::new(),
            counters: Counters::default(),
            ticked: now.monotonic,
            parted,
            positions_due: now.monotonic,
            is_ready: false,
            has_backlog: false,
        };
        replica.remember_members(now, &config.membership);
        replica
    }

    /// Takes in what happened and appends what is to be done. A bounded piece of work; see [`Replica::has_backlog`].
    pub(super) fn handle(&mut self, now: Now, event: Event, actions: &mut Vec<Action>) {
        match event {
            Event::Tick => self.handle_tick(now, actions),
            Event::News => {}
            Event::DialSucceeded { address, session } => {
                self.peers.opened(&address, session);
                self.open(now, session, Some(address), actions);
            }
            Event::DialFailed { address, problem } => self.handle_dial_failed(now, &address, &problem),
            Event::Accepted { session } => self.open(now, session, None, actions),
            Event::Leave => self.leave(actions),
            Event::Received { session, message } => self.handle_message(now, session, message, actions),
            Event::Closed { session, problem } => {
                let problem = problem.unwrap_or_else(|| Error::new(ErrorCode::ConnectionLost, "the peer hung up"));
                self.end(now, session, &problem);
            }
            Event::Shutdown => {
                for session in self.sessions.keys().copied().collect::<Vec<_>>() {
                    self.close(now, session, "this node is shutting down", actions);
                }
                return;
            }
        }
        self.work(now, actions);
        self.tell_members(actions);
        self.send_gossip(actions);
    }

    /// Whether a piece of work was left undone, so that [`Event::News`] should follow soon.
    pub(super) fn has_backlog(&self) -> bool {
        self.has_backlog
    }

    /// Whether [`Event::News`] would lead to anything: a peer may be sent more. When that changes, what changed it is an
    /// event, in whose turn news are looked at as well.
    pub(super) fn heeds_news(&self, now: Now) -> bool {
        self.links().any(|(_, link)| !link.push.is_paced(now.monotonic, &self.bounds.push))
    }

    /// The links, and on which sessions they are.
    fn links(&self) -> impl Iterator<Item = (SessionId, &Link)> {
        self.sessions.iter().filter_map(|(&id, session)| Some((id, session.link()?)))
    }

    fn link_mut(&mut self, id: SessionId) -> Option<&mut Link> {
        self.sessions.get_mut(&id)?.link_mut()
    }

    fn connected_nodes(&self) -> BTreeSet<NodeId> {
        self.links().map(|(_, link)| link.peer.node).collect()
    }

    fn handle_tick(&mut self, now: Now, actions: &mut Vec<Action>) {
        let since_last = now.monotonic.saturating_sub(std::mem::replace(&mut self.ticked, now.monotonic));
        if since_last >= SESSION_SILENCE_MAX / 2 {
            // It was this node that stood still, not its peers: what they sent meanwhile is still to be read.
            self.sessions.values_mut().for_each(|session| session.heard = now.monotonic);
        }
        self.close_silent(now, actions);
        let connected = self.connected_nodes();
        if !self.is_leaving && !self.is_removed() {
            let due = self.peers.due(now.monotonic, &connected);
            actions.extend(due.into_iter().map(|address| Action::Dial { address }));
        }
        self.watch_members(now, actions);
        for session in self.pulls.expire(now.monotonic) {
            if let Some(link) = self.link_mut(session) {
                link.ask_after = now.monotonic + STATE_TRANSFER_TIMEOUT;
            }
        }
        self.lag.rotate(now.monotonic);
        self.retention.expire(now.monotonic);
        self.keep_up(now);
        if now.monotonic >= self.positions_due {
            self.positions_due = now.monotonic + POSITIONS_INTERVAL.mul_f64(self.rng.random_range(0.75..1.25));
            self.observe_round(now);
            self.blame(now);
            self.tell_positions(now, actions);
        }
        self.plan_pulls(now, actions);
    }

    fn close_silent(&mut self, now: Now, actions: &mut Vec<Action>) {
        let is_overdue = |session: &Session| match session.phase {
            Phase::Greeting | Phase::Refused => now.monotonic.saturating_sub(session.opened) >= CONNECT_TIMEOUT,
            Phase::Linked(_) => now.monotonic.saturating_sub(session.heard) >= SESSION_SILENCE_MAX,
        };
        let overdue = self.sessions.iter().filter(|(_, session)| is_overdue(session)).map(|(&id, _)| id);
        for session in overdue.collect::<Vec<_>>() {
            self.close(now, session, "the peer is silent", actions);
        }
    }

    fn handle_dial_failed(&mut self, now: Now, address: &Address, problem: &Error) {
        if is_refusal(problem) {
            return self.peers.refused(address, now.monotonic, problem.message());
        }
        self.peers.failed(address, now.monotonic, Duration::ZERO, problem.message(), &mut self.rng);
    }

    /// Ends a session from this side.
    fn close(&mut self, now: Now, id: SessionId, why: &str, actions: &mut Vec<Action>) {
        self.end(now, id, &Error::new(ErrorCode::ConnectionLost, why));
        actions.push(Action::Close { session: id, why: why.to_string() });
    }

    /// Forgets a session.
    fn end(&mut self, now: Now, id: SessionId, problem: &Error) {
        let Some(session) = self.sessions.remove(&id) else { return };
        self.pulls.session_ended(id);
        let lived = session.link().map_or(Duration::ZERO, |_| now.monotonic.saturating_sub(session.opened));
        if let Some(link) = session.link() {
            self.parted = Some(now.monotonic);
            self.keyspace.listeners().peer_parted(link.peer.node);
            self.peers.parted(link.peer.node, link.push.acknowledged());
            self.members.parted(now.monotonic, link.peer.node, link.push.acknowledged());
            if !self.connected_nodes().contains(&link.peer.node) {
                self.detector.parted(link.peer.node);
            }
            if self.members.counts(link.peer.node) {
                self.retention.parted(now.monotonic, link.peer.node, link.push.positions().collect());
            }
        }
        match (&session.dialled, &session.phase) {
            (Some(address), Phase::Refused) => self.peers.refused(address, now.monotonic, problem.message()),
            (Some(address), Phase::Greeting) if is_refusal(problem) => {
                self.peers.refused(address, now.monotonic, problem.message());
            }
            (Some(address), Phase::Greeting | Phase::Linked(_)) => {
                self.peers.failed(address, now.monotonic, lived, problem.message(), &mut self.rng);
            }
            (None, Phase::Greeting | Phase::Refused | Phase::Linked(_)) => {}
        }
    }

    fn observe_round(&mut self, now: Now) {
        let sources = sources(&self.sessions, now);
        self.pulls.observe_round(&self.keyspace, &sources);
    }

    fn plan_pulls(&mut self, now: Now, actions: &mut Vec<Action>) {
        let sources = sources(&self.sessions, now);
        for request in self.pulls.plan(now.monotonic, &self.keyspace, &sources) {
            actions.push(ask(request));
        }
    }
}

/// Asks for state.
fn ask(request: Request) -> Action {
    let Request { session, transfer, partition, vector, is_repair: repair } = request;
    Action::Send { session, message: PeerMessage::StateRequest { transfer, partition, vector, repair } }
}

/// The links, as sources of state.
fn sources(sessions: &BTreeMap<SessionId, Session>, now: Now) -> Vec<Source<'_>> {
    let links = sessions.iter().filter_map(|(&id, session)| Some((id, session.link()?)));
    let mut sources = Vec::new();
    for (session, link) in links {
        let is_slow = now.monotonic < link.ask_after;
        sources.push(Source { session, node: link.peer.node, positions: &link.positions, is_slow });
    }
    sources
}
