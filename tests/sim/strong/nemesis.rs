//! Breaks things, and mends them again. A link has one fault at a time, as turmoil has it.

mod members;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use kvstore::types::GroupRole;
use rand::{rngs::StdRng, seq::IndexedRandom, Rng, SeedableRng};
use turmoil::Sim;

use super::{plan::Fault, workload::Shared};
use crate::plan::mix;

/// What a link suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Cut,
    OneWay,
    Held,
    Slow,
}

enum Mended {
    Links(Vec<(String, String)>),
    Restart(usize),
    Clock(usize),
    Space(usize),
    /// A node whose log has failed is killed and started again.
    Replace(usize),
    /// What was taken out of the group is killed, and somebody new comes.
    Renew(usize),
}

/// How far from the right time a wall clock jumps.
const JUMP_MAX_MS: i64 = 100_000;

/// What cannot be done now is drawn anew a little later.
const TRY_AGAIN: Duration = Duration::from_millis(100);

/// For so long all voters have to be there before one may go for good: a change of the members is over then.
const WHOLE_FOR: Duration = Duration::from_millis(1500);

pub struct Nemesis {
    shared: Rc<Shared>,
    rng: StdRng,
    next: Duration,
    next_look: Duration,
    links: BTreeMap<(String, String), Broken>,
    mends: Vec<(Duration, Mended)>,
    stopping: BTreeSet<usize>,
    armed: BTreeSet<usize>,
    failed: BTreeSet<usize>,
    /// Nodes that were taken out of the group, or are about to be, and that go on.
    leaving: BTreeSet<usize>,
    /// Since when all voters have been there, and none more.
    whole_since: Option<Duration>,
    /// The next leader that is seen loses a voter; in which term the last one was.
    waits_for_election: Option<u64>,
    /// Since when groups of nodes have been fully connected, by a mask of the nodes.
    connected_since: BTreeMap<u32, Duration>,
    pub counts: BTreeMap<&'static str, u64>,
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.min(b).to_string(), a.max(b).to_string())
}

impl Nemesis {
    pub fn new(shared: Rc<Shared>) -> Nemesis {
        let rng = StdRng::seed_from_u64(mix(&[shared.plan.base.seed, 25]));
        let (links, mends, stopping, armed, failed, whole_since) = Default::default();
        let (leaving, waits_for_election, connected_since, counts) = Default::default();
        let next = Duration::from_millis(3000);
        Nemesis {
            shared,
            rng,
            next,
            next_look: Duration::ZERO,
            links,
            mends,
            stopping,
            armed,
            failed,
            leaving,
            whole_since,
            waits_for_election,
            connected_since,
            counts,
        }
    }

    /// Between two steps of the simulation.
    pub fn tick(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        self.watch(sim);
        while let Some(due) = self.mends.iter().position(|(at, _)| *at <= now) {
            let (_, what) = self.mends.swap_remove(due);
            self.mend(sim, what);
        }
        if now < self.next {
            return;
        }
        let kinds = self.shared.plan.faults.clone();
        let fault = *kinds.choose(&mut self.rng).expect("a plan has a fault");
        if self.inject(sim, fault) {
            self.count(fault);
            let average = self.shared.plan.base.fault_every.as_millis() as u64;
            self.next = now + Duration::from_millis(self.rng.random_range(average / 2..average * 3 / 2));
        } else {
            self.next = now + TRY_AGAIN;
        }
    }

    fn count(&mut self, fault: Fault) {
        *self.counts.entry(fault.name()).or_default() += 1;
    }

    /// Mends everything, and starts what does not run.
    pub fn calm(&mut self, sim: &mut Sim<'_>) {
        self.watch(sim);
        for (a, b) in std::mem::take(&mut self.links).into_keys() {
            self.heal_link(sim, &a, &b);
        }
        for (_, what) in std::mem::take(&mut self.mends) {
            if let Mended::Renew(_) | Mended::Space(_) = what {
                self.mend(sim, what);
            }
        }
        for node in 0..self.shared.hosts.nodes.len() {
            self.shared.hosts.nodes[node].clock.mend(sim.elapsed());
            let has_failed = self.shared.hosts.nodes[node].disk().is_some_and(|disk| disk.log_failed().is_some());
            if (has_failed || self.armed.contains(&node)) && self.is_up(sim, node) {
                self.kill(sim, node, true);
            }
            self.restart(sim, node);
        }
    }

    pub fn has_stops(&self) -> bool {
        !self.stopping.is_empty()
    }

    fn name(&self, node: usize) -> String {
        self.shared.hosts.nodes[node].name.clone()
    }

    fn note(&self, sim: &Sim<'_>, what: &str) {
        self.shared.judge.borrow_mut().note(sim.elapsed(), what);
    }

    fn later(&mut self, sim: &Sim<'_>, max_ms: u64, what: Mended) {
        let at = sim.elapsed() + Duration::from_millis(self.rng.random_range(100..max_ms));
        self.mends.push((at, what));
    }

    fn mend_max_ms(&self) -> u64 {
        self.shared.plan.base.mend_max_ms
    }

    fn is_up(&self, sim: &mut Sim<'_>, node: usize) -> bool {
        sim.is_host_running(self.shared.hosts.nodes[node].name.as_str())
    }

    /// Those that are there and were not told to stop.
    fn steady(&self, sim: &mut Sim<'_>) -> Vec<usize> {
        let hosts = self.shared.hosts.clone();
        let is_steady = |&node: &usize| {
            let host = &hosts.nodes[node];
            host.running().is_some() && !host.is_stopping() && sim.is_host_running(host.name.as_str())
        };
        (0..hosts.nodes.len()).filter(is_steady).collect()
    }

    /// Who leads, as it sees itself, in the greatest term.
    fn leader(&self) -> Option<(usize, u64)> {
        let hosts = self.shared.hosts.nodes.iter().enumerate();
        let statuses = hosts.filter_map(|(node, host)| Some((node, host.running()?.group().status())));
        let leaders = statuses.filter(|(_, status)| status.role == GroupRole::Leader);
        leaders.map(|(node, status)| (node, status.term)).max_by_key(|(_, term)| *term)
    }

    /// A node that is there, the leader every other time.
    fn choose(&mut self, steady: &[usize]) -> Option<usize> {
        let leader = self.leader().map(|(node, _)| node).filter(|node| steady.contains(node));
        match leader.filter(|_| self.rng.random_bool(0.5)) {
            Some(leader) => Some(leader),
            None => steady.choose(&mut self.rng).copied(),
        }
    }

    /// False when it cannot be done now.
    fn inject(&mut self, sim: &mut Sim<'_>, fault: Fault) -> bool {
        let steady = self.steady(sim);
        let Some(node) = self.choose(&steady) else { return false };
        match fault {
            Fault::Crash => self.crash(sim, node),
            Fault::Minority => self.crash_minority(sim, &steady),
            Fault::Blackout => self.black_out(sim),
            Fault::ElectionCrash => self.wait_for_election(sim),
            Fault::Stop => self.stop(sim, node),
            Fault::Wipe => self.wipe(sim, node),
            Fault::Remove => self.remove(sim, node),
            Fault::MoveLeader => self.move_leader(sim),
            Fault::Split => {
                let side: Vec<bool> = steady.iter().map(|_| self.rng.random_bool(0.5)).collect();
                let is_left = |node: usize| steady.iter().position(|other| *other == node).is_some_and(|at| side[at]);
                let links = self.links_where(|a, b| is_left(a) != is_left(b));
                self.break_links(sim, links, Broken::Cut)
            }
            Fault::Isolate => {
                let mut links = self.links_where(|a, b| a == node || b == node);
                if self.rng.random_bool(0.5) {
                    links.extend(self.links_to_clients(node, false));
                }
                self.break_links(sim, links, Broken::Cut)
            }
            Fault::Bridge => self.bridge(sim, node),
            Fault::Pause => {
                let mut links = self.links_where(|a, b| a == node || b == node);
                links.extend(self.links_to_clients(node, true));
                self.break_links(sim, links, Broken::Held)
            }
            Fault::Cut => self.break_one(sim, Broken::Cut),
            Fault::OneWay => self.break_one(sim, Broken::OneWay),
            Fault::Slow => self.break_one(sim, Broken::Slow),
            Fault::ClockJump => {
                let ahead_ms = self.rng.random_range(-JUMP_MAX_MS..JUMP_MAX_MS);
                self.note(sim, &format!("clock of {node} jumps to {ahead_ms}"));
                self.shared.hosts.nodes[node].clock.jump(sim.elapsed(), ahead_ms);
                true
            }
            Fault::ClockRate => {
                let rate_ppm = self.rng.random_range(-500_000..1_000_000);
                self.note(sim, &format!("clock of {node} gains {rate_ppm}"));
                self.shared.hosts.nodes[node].clock.set_rate(sim.elapsed(), rate_ppm);
                self.later(sim, self.mend_max_ms(), Mended::Clock(node));
                true
            }
            Fault::DiskFails => self.arm(sim, node),
            Fault::DiskFull => self.fill_up(sim, node),
        }
    }

    /// Links between nodes that are whole.
    fn links_where(&self, is_hit: impl Fn(usize, usize) -> bool) -> Vec<(String, String)> {
        let nodes = self.shared.hosts.nodes.len();
        let pairs = (0..nodes).flat_map(|a| (a + 1..nodes).map(move |b| (a, b)));
        let links = pairs.filter(|&(a, b)| is_hit(a, b)).map(|(a, b)| pair(&self.name(a), &self.name(b)));
        links.filter(|link| !self.links.contains_key(link)).collect()
    }

    /// Links of a node to clients; those of the one that writes there alone only if it has to be.
    fn links_to_clients(&self, node: usize, all: bool) -> Vec<(String, String)> {
        let plan = &self.shared.plan;
        let workers = (0..plan.workers).map(|number| format!("c{number}"));
        let holders = (0..plan.holders).map(|number| format!("h{number}"));
        let probe = all.then(|| format!("q{node}"));
        let links = workers.chain(holders).chain(probe).map(|client| pair(&self.name(node), &client));
        links.filter(|link| !self.links.contains_key(link)).collect()
    }

    fn break_one(&mut self, sim: &mut Sim<'_>, how: Broken) -> bool {
        let links = self.links_where(|_, _| true);
        let Some(link) = links.choose(&mut self.rng).cloned() else { return false };
        self.break_links(sim, vec![link], how)
    }

    /// The sides of a node hear each other no more, but both hear the node.
    fn bridge(&mut self, sim: &mut Sim<'_>, leader: usize) -> bool {
        let nodes = self.shared.hosts.nodes.len();
        let mut others: Vec<usize> = (0..nodes).filter(|node| *node != leader).collect();
        let bridge = others.swap_remove(self.rng.random_range(0..others.len()));
        // The old leader hears the bridge alone; of five, the fifth may hear nobody (openraft#2080).
        let lonely = (nodes == 5 && self.rng.random_bool(0.5)).then(|| others.swap_remove(0));
        let is_hit = |a: usize, b: usize| {
            let of_leader = (a == leader || b == leader) && a != bridge && b != bridge;
            of_leader || Some(a) == lonely || Some(b) == lonely
        };
        let links = self.links_where(is_hit);
        self.break_links(sim, links, Broken::Cut)
    }

    fn break_links(&mut self, sim: &mut Sim<'_>, links: Vec<(String, String)>, how: Broken) -> bool {
        if links.is_empty() {
            return false;
        }
        self.note(sim, &format!("{how:?} {links:?}"));
        let (is_forward, slow_ms) = (self.rng.random_bool(0.5), self.rng.random_range(50..1000));
        for (a, b) in &links {
            let (a, b) = if is_forward { (a.as_str(), b.as_str()) } else { (b.as_str(), a.as_str()) };
            match how {
                Broken::Cut => sim.partition(a, b),
                Broken::OneWay => sim.partition_oneway(a, b),
                Broken::Held => sim.hold(a, b),
                Broken::Slow => sim.set_link_max_message_latency(a, b, Duration::from_millis(slow_ms)),
            }
            self.links.insert(pair(a, b), how);
        }
        self.later(sim, self.mend_max_ms(), Mended::Links(links));
        true
    }

    fn mend(&mut self, sim: &mut Sim<'_>, what: Mended) {
        match what {
            Mended::Links(links) => {
                self.note(sim, &format!("heal {links:?}"));
                for (a, b) in links {
                    if self.links.remove(&pair(&a, &b)).is_some() {
                        self.heal_link(sim, &a, &b);
                    }
                }
            }
            Mended::Restart(node) => self.restart(sim, node),
            Mended::Replace(node) => self.replace(sim, node),
            Mended::Renew(node) => self.renew(sim, node),
            Mended::Space(node) => self.make_room(sim, node),
            Mended::Clock(node) => {
                self.note(sim, &format!("clock of {node} is right"));
                self.shared.hosts.nodes[node].clock.mend(sim.elapsed());
            }
        }
    }

    fn heal_link(&self, sim: &mut Sim<'_>, a: &str, b: &str) {
        sim.set_link_max_message_latency(a, b, Duration::from_millis(self.shared.plan.base.latency_ms.1));
        // Held messages come now; those that were cut are gone.
        sim.release(a, b);
    }
}
