//! The task that owns the core: waits for what happens, lets the core handle it, does what the core says.

use std::{
    collections::{BTreeMap, VecDeque},
    sync::Arc,
};

use parking_lot::Mutex;
use tokio::{
    sync::{mpsc, oneshot, watch},
    task::{self, AbortHandle, JoinSet},
    time::{self, Instant, MissedTickBehavior},
};

use super::{
    driver::{Request, Shown},
    durable::{opened, Gate},
    replica::{Action, Event, Now, Replica, ReplicaConfig, SessionId},
    Dialer, Eventual, PeerStream,
};
use crate::{
    env::Clock,
    error::{Error, ErrorCode, Result},
    limits::{CONNECT_TIMEOUT, LEAVE_GRACE, REPLICA_QUEUE_EVENTS_MAX, REPLICA_TICK},
    types::{Address, NodeId, PeerMessage},
};

/// The core with its streams and tasks.
pub(super) struct Shell {
    replica: Replica,
    keyspace: Arc<Eventual>,
    dialer: Arc<dyn Dialer>,
    clock: Arc<dyn Clock>,
    shown: Arc<Mutex<Shown>>,
    ready: watch::Sender<bool>,
    removed: watch::Sender<bool>,
    streams: BTreeMap<SessionId, Stream>,
    gate: Gate,
    /// The version of the members that were last written down.
    members_kept: u64,
    last_session: u64,
    /// Readers and dials. They end with the shell.
    tasks: JoinSet<()>,
    /// Where they report.
    reports: mpsc::Sender<Report>,
    inbox: mpsc::Receiver<Report>,
    farewell: Option<Farewell>,
}

/// An open stream: its sending half, and the task that reads the other.
struct Stream {
    outbound: mpsc::Sender<PeerMessage>,
    reader: AbortHandle,
}

/// What the small tasks report.
enum Report {
    Dialled { address: Address, outcome: Result<PeerStream> },
    Received { session: SessionId, message: PeerMessage },
    Closed { session: SessionId, problem: Option<Error> },
}

/// What woke the task.
enum Wake {
    Report(Report),
    /// `None`: nobody can ask any more.
    Request(Option<Request>),
    Tick,
    News,
    /// Messages that waited for the disk may be sent.
    Synced,
}

/// A shutdown that waits for the peers.
struct Farewell {
    /// Of the hand-over, then of the goodbye. `None`: beyond the end of time.
    deadline: Option<Instant>,
    /// Whether every peer had everything when the goodbye was said; `None`: it was not said yet.
    drained: Option<bool>,
    done: oneshot::Sender<bool>,
}

impl Shell {
    /// A core that has met nobody.
    pub(super) fn new(
        config: ReplicaConfig,
        keyspace: Arc<Eventual>,
        dialer: Arc<dyn Dialer>,
        clock: Arc<dyn Clock>,
        (ready, removed): (watch::Sender<bool>, watch::Sender<bool>),
    ) -> Shell {
        let (reports, inbox) = mpsc::channel(REPLICA_QUEUE_EVENTS_MAX);
        let replica = Replica::new(config, Arc::clone(&keyspace), read(&*clock));
        let shown = Shown { status: replica.status(clock.wall_ms()), members: replica.members() };
        Shell {
            replica,
            keyspace,
            dialer,
            clock,
            shown: Arc::new(Mutex::new(shown)),
            ready,
            removed,
            streams: BTreeMap::new(),
            gate: Gate::default(),
            members_kept: 0,
            last_session: 0,
            tasks: JoinSet::new(),
            reports,
            inbox,
            farewell: None,
        }
    }

    /// What this shell shows to the world.
    pub(super) fn shown(&self) -> Arc<Mutex<Shown>> {
        Arc::clone(&self.shown)
    }

    /// Works until it is asked to shut down, or nobody can ask any more. All streams and tasks have ended afterwards.
    pub(super) async fn run(mut self, mut requests: mpsc::Receiver<Request>) {
        let mut ticker = time::interval(REPLICA_TICK);
        ticker.set_missed_tick_behavior(MissedTickBehavior::Delay);
        loop {
            let has_backlog = self.replica.has_backlog();
            // Else writers would wake this task for nothing, again and again.
            let heeds_news = self.replica.heeds_news(read(&*self.clock));
            let wake = tokio::select! {
                Some(report) = self.inbox.recv() => Wake::Report(report),
                request = requests.recv() => Wake::Request(request),
                _ = ticker.tick() => Wake::Tick,
                () = self.keyspace.news(), if heeds_news => Wake::News,
                () = opened(&self.keyspace, self.gate.waits_for(&self.keyspace)) => Wake::Synced,
                // Other tasks, and what came in meanwhile, get their turn between two pieces of work.
                () = task::yield_now(), if has_backlog => Wake::News,
            };
            match wake {
                Wake::Report(report) => self.handle_report(report),
                Wake::Request(Some(Request::Accept(stream))) => {
                    let session = self.add_stream(stream);
                    self.handle(Event::Accepted { session });
                }
                Wake::Request(Some(Request::Shutdown { patience, done })) => {
                    let deadline = Instant::now().checked_add(patience);
                    self.farewell.get_or_insert(Farewell { deadline, drained: None, done });
                }
                Wake::Request(Some(Request::CheckRemoval { node, force, answer })) => {
                    // An error says that who asked has stopped waiting.
                    let _ = answer.send(self.replica.check_removal(node, force).map(|_| ()));
                }
                Wake::Request(Some(Request::Remove { node, force, done })) => {
                    // An error says that who asked has stopped waiting.
                    let _ = done.send(self.remove_member(node, force));
                }
                Wake::Request(Some(Request::Reach { wanted, answer })) => {
                    // An error says that who asked has stopped waiting.
                    let _ = answer.send(self.replica.out_of_reach(&wanted));
                }
                Wake::Request(None) => break,
                Wake::Tick => self.handle_tick(),
                Wake::News => self.handle(Event::News),
                Wake::Synced => self.send_synced(),
            }
            if self.is_over() {
                break;
            }
        }
        self.end().await;
    }

    /// Says goodbye once the peers have everything, or the patience is at its end. It is over when all have hung up, or
    /// had the time to.
    fn is_over(&mut self) -> bool {
        let is_past = |deadline: Option<Instant>| deadline.is_some_and(|deadline| Instant::now() >= deadline);
        let Some(farewell) = &mut self.farewell else { return false };
        if farewell.drained.is_some() {
            return self.streams.is_empty() || is_past(farewell.deadline);
        }
        // Looks into every partition: only for who waits for it, since this runs after every turn.
        let is_drained = self.replica.is_drained();
        if is_drained || is_past(farewell.deadline) {
            farewell.drained = Some(is_drained);
            if self.keyspace.ledger().is_some() {
                // It comes back as who it is: the others go on counting it.
                return true;
            }
            farewell.deadline = Instant::now().checked_add(LEAVE_GRACE);
            self.handle(Event::Leave);
        }
        self.farewell.as_ref().is_some_and(|farewell| farewell.drained.is_some()) && self.streams.is_empty()
    }

    fn remove_member(&mut self, node: NodeId, force: bool) -> Result<()> {
        let mut actions = Vec::new();
        self.replica.remove_member(read(&*self.clock), node, force, &mut actions)?;
        for action in actions {
            if let Some(event) = self.perform(action) {
                self.handle(event);
            }
        }
        self.show();
        Ok(())
    }

    async fn end(mut self) {
        self.handle(Event::Shutdown);
        self.tasks.shutdown().await;
        self.show();
        if let Some(farewell) = self.farewell.take() {
            // An error says that who asked has stopped waiting.
            let _ = farewell.done.send(farewell.drained.unwrap_or_default());
        }
    }

    fn handle_tick(&mut self) {
        self.handle(Event::Tick);
        self.send_synced();
        while self.tasks.try_join_next().is_some() {}
        self.show();
    }

    fn handle_report(&mut self, report: Report) {
        match report {
            Report::Dialled { address, outcome: Ok(stream) } => {
                let session = self.add_stream(stream);
                self.handle(Event::DialSucceeded { address, session });
            }
            Report::Dialled { address, outcome: Err(problem) } => self.handle(Event::DialFailed { address, problem }),
            Report::Received { session, message } => self.handle(Event::Received { session, message }),
            Report::Closed { session, problem } => {
                self.streams.remove(&session);
                self.handle(Event::Closed { session, problem });
            }
        }
    }

    /// Lets the core handle an event, and does what it says. A stream that cannot take a message is lost, which is an
    /// event again; each stream is lost once, so this ends.
    fn handle(&mut self, event: Event) {
        let mut actions = Vec::new();
        let mut events = VecDeque::from([event]);
        while let Some(event) = events.pop_front() {
            self.replica.handle(read(&*self.clock), event, &mut actions);
            events.extend(actions.drain(..).filter_map(|action| self.perform(action)));
        }
        self.keep_members();
        if self.replica.is_ready() {
            self.ready.send_if_modified(|is_ready| !std::mem::replace(is_ready, true));
        }
        if self.replica.is_removed() {
            self.removed.send_if_modified(|is_removed| !std::mem::replace(is_removed, true));
        }
    }

    fn perform(&mut self, action: Action) -> Option<Event> {
        match action {
            Action::Dial { address } => {
                tracing::debug!(%address, "dialling");
                self.tasks.spawn(dial(address, Arc::clone(&self.dialer), self.reports.clone()));
            }
            Action::Send { session, message } => {
                let message = self.gate.pass(&self.keyspace, session, message)?;
                return self.send(session, message);
            }
            Action::Close { session, why } => self.end_stream(session, &why),
        }
        None
    }

    fn send(&mut self, session: SessionId, message: PeerMessage) -> Option<Event> {
        let problem = match self.streams.get(&session)?.outbound.try_send(message) {
            Ok(()) => return None,
            Err(mpsc::error::TrySendError::Full(_)) => "the peer is too slow: too many messages wait for it",
            Err(mpsc::error::TrySendError::Closed(_)) => "the connection was lost",
        };
        self.end_stream(session, problem);
        let problem = Some(Error::new(ErrorCode::ConnectionLost, problem));
        Some(Event::Closed { session, problem })
    }

    /// Sends what waited for the disk.
    fn send_synced(&mut self) {
        while let Some((session, message)) = self.gate.next(&self.keyspace) {
            if let Some(event) = self.send(session, message) {
                self.handle(event);
            }
        }
    }

    /// Writes down who belongs to the cluster, when that has changed: a node that comes back must go on counting those
    /// who count on it.
    fn keep_members(&mut self) {
        let version = self.replica.members_version();
        let Some(ledger) = self.keyspace.ledger().filter(|_| version != self.members_kept) else { return };
        ledger.members(self.replica.membership());
        self.members_kept = version;
    }

    fn add_stream(&mut self, stream: PeerStream) -> SessionId {
        self.last_session += 1;
        let session = SessionId(self.last_session);
        let PeerStream { outbound, inbound } = stream;
        let reader = self.tasks.spawn(forward(session, inbound, self.reports.clone()));
        self.streams.insert(session, Stream { outbound, reader });
        session
    }

    fn end_stream(&mut self, session: SessionId, why: &str) {
        if let Some(stream) = self.streams.remove(&session) {
            tracing::info!(session = session.0, why, "peer session closed");
            stream.reader.abort();
        }
    }

    fn show(&self) {
        let shown = Shown { status: self.replica.status(self.clock.wall_ms()), members: self.replica.members() };
        *self.shown.lock() = shown;
    }
}

fn read(clock: &dyn Clock) -> Now {
    Now { monotonic: clock.monotonic(), wall_ms: clock.wall_ms() }
}

async fn dial(address: Address, dialer: Arc<dyn Dialer>, reports: mpsc::Sender<Report>) {
    let outcome = match time::timeout(CONNECT_TIMEOUT, dialer.dial(address.clone())).await {
        Ok(outcome) => outcome,
        Err(_) => Err(Error::deadline("connecting", CONNECT_TIMEOUT)),
    };
    // When the shell is gone, nobody wants the stream.
    drop(reports.send(Report::Dialled { address, outcome }).await);
}

/// Hands on what arrives on a stream. Waits while the queue is full, which slows the peer down through flow control.
async fn forward(session: SessionId, mut inbound: mpsc::Receiver<Result<PeerMessage>>, reports: mpsc::Sender<Report>) {
    loop {
        let report = match inbound.recv().await {
            Some(Ok(message)) => Report::Received { session, message },
            Some(Err(problem)) => Report::Closed { session, problem: Some(problem) },
            None => Report::Closed { session, problem: None },
        };
        let is_end = matches!(report, Report::Closed { .. });
        if reports.send(report).await.is_err() || is_end {
            return;
        }
    }
}
