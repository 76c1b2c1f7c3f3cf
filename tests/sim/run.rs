//! One seed: chaos, then calm.

use std::{cell::Cell, cell::RefCell, process::ExitCode, rc::Rc, sync::Arc, time::Duration};

use kvstore::{
    env::seed_ambient,
    limits::{CLOCK_RESERVE, REDIAL_MAX, SESSION_SILENCE_MAX},
    node::Running,
    types::PeerState,
};
use turmoil::{Builder, Sim};

use super::{
    cluster::Hosts,
    driver::Kind,
    history::{held, Judge},
    nemesis::Nemesis,
    plan::{mix, Fault, Plan, Storage},
    report::Report,
    strong,
    watchers::{administer, Watcher, ADMIN},
    workload::{Phase, Shared, Worker},
};

/// A step of the simulation: time between two deliveries. Shorter ones cost processor time, longer ones coarsen the
/// order of what happens on different hosts.
const STEP: Duration = Duration::from_millis(2);

/// How often the invariants look into the nodes.
const LOOK_EVERY: Duration = Duration::from_millis(100);

/// Within this a healed cluster has to agree: the keepalives of connections that lost a segment, the longest back-off,
/// and fetching state, one after the other.
const CONVERGE_MAX: Duration = Duration::from_secs(45);

/// After this nothing is left of what was broken: connections that lost a segment have been given up, and opened again.
const SETTLE: Duration = SESSION_SILENCE_MAX.saturating_add(REDIAL_MAX);

/// Within this a write in a healed and idle cluster is everywhere (EV-5).
const LAG_MAX: Duration = Duration::from_secs(2);

/// Segments that a connection holds before its writer waits.
const TCP_CAPACITY: usize = 1024;

/// A run with less than this tells nothing.
const ACKED_MIN: u64 = 20;
const FAULTS_MIN: u64 = 3;

/// A run that takes longer than this, in real time, hangs.
const HANGS_AFTER: Duration = Duration::from_secs(120);

/// Runs a seed, prints one line of JSON.
pub fn run_and_report(kind: Kind, seed: u64) -> ExitCode {
    let (_alive, dead) = std::sync::mpsc::channel::<()>();
    #[allow(clippy::disallowed_methods, reason = "it has to end the process when the simulation does not")]
    let _watchdog = std::thread::spawn(move || {
        if dead.recv_timeout(HANGS_AFTER) == Err(std::sync::mpsc::RecvTimeoutError::Timeout) {
            eprintln!("seed {seed} hangs");
            std::process::exit(3);
        }
    });
    let report = match kind {
        Kind::Eventual => run(seed),
        Kind::Strong => strong::run::run(seed),
    };
    println!("{}", report.to_json());
    if report.violations.is_empty() {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}

struct Scene {
    shared: Rc<Shared>,
    nemesis: Nemesis,
    next_look: Duration,
    report: Report,
}

fn run(seed: u64) -> Report {
    // The members of the strong group throw dice, too.
    seed_ambient(mix(&[seed, 20]));
    let plan = Plan::of(seed);
    let mut sim = build(&plan);
    let hosts = Hosts::new(&plan);
    let judge = RefCell::new(Judge::new(&hosts));
    let shared = Rc::new(Shared {
        plan,
        hosts,
        judge,
        phase: Cell::new(Phase::Chaos),
        markers: RefCell::default(),
        orders: RefCell::default(),
        removals: Cell::default(),
        is_admin_gone: Cell::default(),
        served: Cell::default(),
        caught_up: RefCell::default(),
        sessions: Cell::default(),
    });
    shared.hosts.populate(&mut sim, &shared.plan);
    for number in 0..shared.plan.clients {
        sim.client(format!("c{number}"), Worker::new(number, shared.clone()).run());
    }
    for number in 0..shared.plan.watchers {
        sim.client(format!("w{number}"), Watcher::new(number, shared.clone()).run());
    }
    sim.client(ADMIN, administer(shared.clone()));
    let nemesis = Nemesis::new(shared.clone());
    let report = Report { seed, ..Report::default() };
    let mut scene = Scene { shared, nemesis, next_look: Duration::ZERO, report };
    if let Err(error) = scene.play(&mut sim) {
        let text = format!("the simulation broke off: {error}");
        scene.shared.judge.borrow_mut().violated(sim.elapsed(), &text);
    }
    scene.conclude(sim.elapsed())
}

fn build(plan: &Plan) -> Sim<'static> {
    let (min_ms, max_ms) = plan.latency_ms;
    let mut builder = Builder::new();
    builder
        .rng_seed(plan.seed)
        .enable_random_order()
        .tick_duration(STEP)
        .simulation_duration(plan.chaos * 2 + CONVERGE_MAX * 6)
        .tcp_capacity(TCP_CAPACITY)
        .min_message_latency(Duration::from_millis(min_ms))
        .max_message_latency(Duration::from_millis(max_ms));
    builder.build()
}

impl Scene {
    fn play(&mut self, sim: &mut Sim<'_>) -> turmoil::Result {
        // A network that was down for most of the time leaves too little to look at: then it goes on.
        let chaos = self.shared.plan.chaos;
        while sim.elapsed() < chaos || (sim.elapsed() < chaos * 2 && self.is_too_little()) {
            self.step(sim)?;
            self.nemesis.tick(sim);
        }
        self.shared.phase.set(Phase::Calm);
        while self.nemesis.has_stops() || !self.shared.is_admin_gone.get() {
            self.step(sim)?;
            self.nemesis.watch_stops(sim);
        }
        self.nemesis.calm(sim);
        let healed = sim.elapsed();
        self.shared.judge.borrow_mut().note(healed, "calm");
        // Versions from a clock that was far ahead are not taken before the others have caught up.
        let lead = self.shared.hosts.nodes.iter().map(|host| host.clock.lead(healed)).max().unwrap_or_default();
        if !self.converge(sim, healed + lead)? {
            return Ok(());
        }
        self.report.converged_ms = Some((sim.elapsed() - healed).as_millis() as u64);
        // A node with a disk goes on after what it told of its clock, which may have been ahead.
        let settled = (sim.elapsed() + SETTLE).max(healed + lead + CLOCK_RESERVE);
        while sim.elapsed() < settled {
            self.step(sim)?;
        }
        if !self.converge(sim, settled)? {
            return Ok(());
        }
        self.shared.phase.set(Phase::Serve);
        while self.shared.served.get() < self.shared.plan.clients {
            self.step(sim)?;
        }
        let served = sim.elapsed();
        if !self.converge(sim, served)? {
            return Ok(());
        }
        self.shared.phase.set(Phase::Watching { since: sim.elapsed() });
        while self.shared.caught_up.borrow().len() < self.shared.plan.watchers {
            self.step(sim)?;
        }
        let nodes = self.shared.hosts.live();
        self.shared.judge.borrow_mut().finish(sim.elapsed(), &nodes);
        self.shared.phase.set(Phase::Watched);
        while !self.step(sim)? {}
        Ok(())
    }

    fn is_too_little(&self) -> bool {
        let faults: u64 = self.nemesis.counts.values().sum();
        self.shared.judge.borrow().history.counts.acked < ACKED_MIN || faults < FAULTS_MIN
    }

    fn step(&mut self, sim: &mut Sim<'_>) -> turmoil::Result<bool> {
        let is_finished = sim.step()?;
        let now = sim.elapsed();
        let hosts = self.shared.hosts.clone();
        self.shared.judge.borrow_mut().stepped(now, &hosts, now >= self.next_look);
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            for node in hosts.live().iter().filter(|node| hosts.is_removed(node.keyspace().me())) {
                let knows = node.status(false).removed;
                self.shared.judge.borrow_mut().look_at_removed(now, node.keyspace().me(), knows);
            }
            self.shared.judge.borrow_mut().look_apart(now, &hosts);
            self.shared.judge.borrow_mut().look(now, &hosts.members());
        }
        if self.shared.phase.get() == Phase::Serve {
            self.watch_markers(now);
        }
        Ok(is_finished)
    }

    /// EV-5 bounded lag.
    fn watch_markers(&mut self, now: Duration) {
        let nodes = self.shared.hosts.live();
        let is_there = |node: &Arc<Running>, key: &str, version: u64| {
            held(node, key).is_some_and(|record| record.timestamp.0 >= version)
        };
        let mut markers = self.shared.markers.borrow_mut();
        let mut late = Vec::new();
        markers.retain(|marker| {
            let lag = now.saturating_sub(marker.acked);
            let is_everywhere = nodes.iter().all(|node| is_there(node, &marker.key, marker.version));
            if is_everywhere {
                self.report.lags_ms.push(lag.as_millis() as u64);
            } else if lag > LAG_MAX {
                late.push(marker.key.clone());
            }
            !is_everywhere && lag <= LAG_MAX
        });
        for key in late {
            let text = format!("EV-5 bounded lag: {key} is not everywhere after {LAG_MAX:?}");
            self.shared.judge.borrow_mut().violated(now, &text);
        }
    }

    /// Steps until all nodes agree; false when they do not in time.
    fn converge(&mut self, sim: &mut Sim<'_>, since: Duration) -> turmoil::Result<bool> {
        loop {
            self.step(sim)?;
            let nodes = self.shared.hosts.live();
            let all_there = nodes.len() == self.shared.plan.nodes && self.shared.markers.borrow().is_empty();
            let has_to_repair = self.shared.judge.borrow().history.apart.were;
            if all_there && sim.elapsed().as_millis() % 50 == 0 && agree(&nodes, has_to_repair) {
                return Ok(true);
            }
            if sim.elapsed() > since + CONVERGE_MAX {
                let text = format!("EV-1 convergence: not within {CONVERGE_MAX:?}: {}", describe(&nodes));
                self.shared.judge.borrow_mut().violated(sim.elapsed(), &text);
                return Ok(false);
            }
        }
    }

    fn conclude(mut self, now: Duration) -> Report {
        let mut judge = self.shared.judge.borrow_mut();
        let plan = &self.shared.plan;
        let mut report = std::mem::take(&mut self.report);
        report.parameters = format!(
            "{} nodes, {} clients, {} keys, {}",
            plan.nodes,
            plan.clients,
            plan.keys,
            Storage::name(plan.storage)
        );
        report.counts = judge.history.counts;
        report.faults = Fault::ALL.map(|fault| self.nemesis.counts.get(fault.name()).copied().unwrap_or(0)).to_vec();
        report.virtual_ms = now.as_millis() as u64;
        report.tallies = judge.tallies().into_iter().map(|(name, count)| (name.to_string(), count)).collect();
        report.tallies.insert("runs with nodes apart from the start".to_string(), judge.history.apart.were.into());
        report.tallies.insert("members removed".to_string(), self.shared.removals.get());
        report.segments = self.shared.hosts.traffic.count();
        report.trace_hash = mix(&[judge.trace_hash(), self.shared.hosts.traffic.hash()]);
        report.violations = std::mem::take(&mut judge.violations);
        let is_too_little = report.counts.acked < ACKED_MIN || report.faults.iter().sum::<u64>() < FAULTS_MIN;
        report.is_unknown = report.violations.is_empty() && is_too_little;
        drop(judge);
        report
    }
}

/// Everybody is connected with everybody and stands at the same vectors; `by_digest`: and holds the same, which elsewhere
/// follows from it, and is looked at in the end.
fn agree(nodes: &[Arc<Running>], by_digest: bool) -> bool {
    let Some((first, others)) = nodes.split_first() else { return false };
    let is_connected = |node: &Arc<Running>| {
        let status = node.status(false);
        let connected = status.peers.iter().filter(|peer| peer.state == PeerState::Connected).count();
        connected + 1 == nodes.len() && status.ready
    };
    nodes.iter().all(is_connected)
        && first.keyspace().partition_ids().all(|partition| {
            let vector = first.keyspace().vector(partition);
            others.iter().all(|other| other.keyspace().vector(partition) == vector)
        })
        && (!by_digest || others.iter().all(|other| other.keyspace().digests() == first.keyspace().digests()))
}

/// Why they do not agree, for people.
fn describe(nodes: &[Arc<Running>]) -> String {
    let of = |node: &Arc<Running>| {
        let status = node.status(false);
        let peers = status.peers.iter().map(|peer| format!("{} {:?} {}", peer.address, peer.state, peer.problem));
        format!("{} {}: {:?}", status.address, status.node, peers.collect::<Vec<_>>())
    };
    nodes.iter().map(of).collect::<Vec<_>>().join("; ")
}
