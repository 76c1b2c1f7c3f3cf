//! One seed of the strong group: chaos, then calm.

use std::{cell::Cell, cell::RefCell, rc::Rc, sync::Arc, time::Duration};

use kvstore::{
    env::seed_ambient,
    limits::{REDIAL_MAX, SESSION_SILENCE_MAX},
    node::Running,
    replication::strong::look_on,
    types::{GroupMember, GroupRole},
};
use parking_lot::Mutex;
use turmoil::{Builder, Sim};

use super::{
    holders::Holder,
    judge::Judge,
    nemesis::Nemesis,
    plan::{Fault, StrongPlan},
    truth::{Eyes, Truth},
    watchers::Watcher,
    workload::{Phase, Shared, Worker},
};
use crate::{
    cluster::Hosts,
    plan::{mix, Storage},
    report::Report,
};

/// See the run of the eventual engine.
const STEP: Duration = Duration::from_millis(2);
const TCP_CAPACITY: usize = 1024;

/// How often the watches and their pages are looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// Within this a healed group has one leader, and all members have applied the same.
const CONVERGE_MAX: Duration = Duration::from_secs(45);

/// After this nothing is left of what was broken.
const SETTLE: Duration = SESSION_SILENCE_MAX.saturating_add(REDIAL_MAX);

/// The longest time to live of a lease or key, and within which time after it they end in a healed group.
const LAST_LEASE: Duration = Duration::from_secs(4);
const LATE_MAX: Duration = Duration::from_secs(2);

/// A run with less than this tells nothing.
const ACKED_MIN: u64 = 20;
const FAULTS_MIN: u64 = 3;

/// Violations that are told of a run: one brings more of its kind.
const VIOLATIONS_MAX: usize = 5;

/// Watches in a run.
const WATCHERS: u64 = 3;

struct Scene {
    shared: Rc<Shared>,
    nemesis: Nemesis,
    watchers: Vec<Watcher>,
    next_look: Duration,
    converged: Option<Duration>,
}

pub fn run(seed: u64) -> Report {
    seed_ambient(mix(&[seed, 20]));
    let plan = StrongPlan::of(seed);
    let mut sim = build(&plan);
    let hosts = Hosts::new(&plan.base);
    let truth = Arc::new(Mutex::new(Truth::new()));
    look_on(Box::new(Eyes(truth.clone())));
    let judge = RefCell::new(Judge::new(truth));
    let phase = Cell::new(Phase::Chaos);
    let shared = Rc::new(Shared { plan, hosts, judge, phase, served: Cell::default(), written: RefCell::default() });
    shared.hosts.populate(&mut sim, &shared.plan.base);
    populate(&mut sim, &shared);
    let nemesis = Nemesis::new(shared.clone());
    let watchers = (0..WATCHERS).map(|number| Watcher::new(number, seed)).collect();
    let mut scene = Scene { shared, nemesis, watchers, next_look: Duration::ZERO, converged: None };
    if let Err(error) = scene.play(&mut sim) {
        let text = format!("the simulation broke off: {error}");
        scene.shared.judge.borrow_mut().violated(sim.elapsed(), &text);
    }
    scene.conclude(seed, sim.elapsed())
}

fn populate(sim: &mut Sim<'_>, shared: &Rc<Shared>) {
    let plan = &shared.plan;
    for number in 0..plan.workers {
        let name = format!("c{number}");
        sim.client(name.as_str(), Worker::new(name.clone(), number as i64 + 1, shared.clone()).run());
    }
    for number in 0..plan.holders {
        let name = format!("h{number}");
        sim.client(name.as_str(), Holder::new(name.clone(), number as i64 + 11, shared.clone()).run());
    }
    for node in 0..plan.base.nodes {
        let name = format!("q{node}");
        sim.client(name.as_str(), Worker::new(name.clone(), node as i64 + 21, shared.clone()).probe(node));
    }
}

fn build(plan: &StrongPlan) -> Sim<'static> {
    let (min_ms, max_ms) = plan.base.latency_ms;
    let mut builder = Builder::new();
    builder
        .rng_seed(plan.base.seed)
        .enable_random_order()
        .tick_duration(STEP)
        .simulation_duration(plan.base.chaos * 2 + CONVERGE_MAX * 6)
        .tcp_capacity(TCP_CAPACITY)
        .min_message_latency(Duration::from_millis(min_ms))
        .max_message_latency(Duration::from_millis(max_ms));
    builder.build()
}

impl Scene {
    fn play(&mut self, sim: &mut Sim<'_>) -> turmoil::Result {
        let chaos = self.shared.plan.base.chaos;
        while !self.is_lost(sim.elapsed())
            && (sim.elapsed() < chaos || (sim.elapsed() < chaos * 2 && self.is_too_little()))
        {
            self.step(sim)?;
            self.nemesis.tick(sim);
        }
        self.shared.phase.set(Phase::Calm);
        while self.nemesis.has_stops() {
            self.step(sim)?;
            self.nemesis.watch(sim);
            if self.is_lost(sim.elapsed()) {
                return Err("a node that was told to stop does not".into());
            }
        }
        self.nemesis.calm(sim);
        let healed = sim.elapsed();
        self.shared.judge.borrow_mut().note(healed, "calm");
        if !self.converge(sim, healed)? {
            return Ok(());
        }
        self.converged = Some(sim.elapsed() - healed);
        // Connections that lost a segment are given up, and opened again.
        let settled = sim.elapsed() + SETTLE;
        while sim.elapsed() < settled {
            self.step(sim)?;
        }
        if !self.converge(sim, settled)? {
            return Ok(());
        }
        self.shared.phase.set(Phase::Serve);
        while self.shared.served.get() < self.clients() {
            self.step(sim)?;
            if self.is_lost(sim.elapsed()) {
                return Err("not all clients came to their ends".into());
            }
        }
        // Keys and leases come to their ends, unless they are kept.
        let ends = sim.elapsed() + LAST_LEASE + LATE_MAX;
        while sim.elapsed() < ends {
            self.step(sim)?;
        }
        let quiet = sim.elapsed();
        if !self.converge(sim, quiet)? || !self.catch_up(sim)? {
            return Ok(());
        }
        self.shared.judge.borrow_mut().finish(sim.elapsed());
        self.shared.phase.set(Phase::Over);
        Ok(())
    }

    /// So much is violated that the rest of the run tells nothing, or a part of it does not end.
    fn is_lost(&self, now: Duration) -> bool {
        let plan = &self.shared.plan.base;
        self.shared.judge.borrow().truth.lock().violations.len() > VIOLATIONS_MAX
            || now > plan.chaos * 2 + CONVERGE_MAX * 4
    }

    fn clients(&self) -> usize {
        let plan = &self.shared.plan;
        plan.workers + plan.holders + plan.base.nodes
    }

    fn is_too_little(&self) -> bool {
        self.shared.judge.borrow().counts.acked < ACKED_MIN || self.faults() < FAULTS_MIN
    }

    fn faults(&self) -> u64 {
        Fault::ALL.iter().filter_map(|fault| self.nemesis.counts.get(fault.name())).sum()
    }

    fn step(&mut self, sim: &mut Sim<'_>) -> turmoil::Result {
        sim.step()?;
        let now = sim.elapsed();
        let nodes = self.shared.hosts.live();
        let mut judge = self.shared.judge.borrow_mut();
        let hosts = &self.shared.hosts;
        judge.look(now, &nodes, |node| {
            let host = hosts.nodes.iter().find(|host| host.address == *node.address());
            host.and_then(|host| host.disk()).is_some_and(|disk| disk.log_failed().is_some())
        });
        if now >= self.next_look {
            self.next_look = now + LOOK_EVERY;
            self.watchers.iter_mut().for_each(|watcher| watcher.look(now, &nodes, &mut judge));
        }
        Ok(())
    }

    /// Steps until all members agree; false when they do not in time.
    fn converge(&mut self, sim: &mut Sim<'_>, since: Duration) -> turmoil::Result<bool> {
        loop {
            self.step(sim)?;
            let nodes = self.shared.hosts.live();
            if nodes.len() == self.shared.plan.base.nodes && sim.elapsed().as_millis() % 50 == 0 && agree(&nodes) {
                return Ok(true);
            }
            if self.is_lost(sim.elapsed()) {
                return Ok(false);
            }
            if sim.elapsed() > since + CONVERGE_MAX {
                let text = format!("ME-3 a healed group agrees: not within {CONVERGE_MAX:?}: {}", describe(&nodes));
                self.shared.judge.borrow_mut().violated(sim.elapsed(), &text);
                return Ok(false);
            }
        }
    }

    /// Steps until every watch has told all there is.
    fn catch_up(&mut self, sim: &mut Sim<'_>) -> turmoil::Result<bool> {
        self.watchers.iter_mut().for_each(Watcher::settle);
        let since = sim.elapsed();
        loop {
            self.step(sim)?;
            let revision = self.shared.judge.borrow().truth.lock().revision();
            if self.watchers.iter().all(|watcher| watcher.is_at(revision)) {
                return Ok(true);
            }
            if sim.elapsed() > since + CONVERGE_MAX {
                let late: Vec<String> = self.watchers.iter().map(Watcher::describe).collect();
                let text = format!("WA-3 a watch comes to the end: {revision} is not told: {}", late.join("; "));
                self.shared.judge.borrow_mut().violated(sim.elapsed(), &text);
                return Ok(false);
            }
        }
    }

    fn conclude(self, seed: u64, now: Duration) -> Report {
        let judge = self.shared.judge.borrow();
        let plan = &self.shared.plan;
        let mut report = Report { seed, counts: judge.counts, ..Report::default() };
        let (nodes, storage) = (plan.base.nodes, Storage::name(plan.base.storage));
        report.parameters = format!("{nodes} nodes, {} clients, {storage}", self.clients());
        report.virtual_ms = now.as_millis() as u64;
        report.converged_ms = self.converged.map(|converged| converged.as_millis() as u64);
        report.segments = self.shared.hosts.traffic.count();
        report.trace_hash = mix(&[judge.trace_hash(), self.shared.hosts.traffic.hash()]);
        let truth = judge.truth.lock();
        report.violations = truth.violations.iter().take(VIOLATIONS_MAX).cloned().collect();
        let counts = truth.tallies.iter().chain(&self.nemesis.counts);
        report.tallies = counts.map(|(name, count)| (name.to_string(), *count)).collect();
        let is_too_little = report.counts.acked < ACKED_MIN || self.faults() < FAULTS_MIN;
        report.is_unknown = report.violations.is_empty() && (is_too_little || judge.is_undecided);
        report
    }
}

/// There is one leader, everybody else is a voter, and all have applied all.
fn agree(nodes: &[Arc<Running>]) -> bool {
    let statuses: Vec<_> = nodes.iter().map(|node| node.group().status()).collect();
    let members: Vec<_> = nodes.iter().map(|node| node.group().member()).collect();
    let Some(first) = statuses.first() else { return false };
    statuses.iter().filter(|status| status.role == GroupRole::Leader).count() == 1
        && statuses.iter().all(|status| {
            let is_member = |member: &GroupMember| member.votes && members.contains(&member.member);
            status.leader == first.leader
                && (status.applied_index, status.log_hash) == (first.applied_index, first.log_hash)
                && status.last_index == status.applied_index
                && status.members.len() == nodes.len()
                && status.members.iter().all(is_member)
        })
}

/// Why they do not agree, for people.
fn describe(nodes: &[Arc<Running>]) -> String {
    let of = |node: &Arc<Running>| {
        let status = node.group().status();
        let votes: Vec<_> = status.members.iter().map(|member| (member.member.to_string(), member.votes)).collect();
        format!(
            "{} {} {:?} term {} leader {:?} last {} applied {} {votes:?} {}",
            node.address(),
            node.group().member(),
            status.role,
            status.term,
            status.leader,
            status.last_index,
            status.applied_index,
            status.problem
        )
    };
    nodes.iter().map(of).collect::<Vec<_>>().join("; ")
}
