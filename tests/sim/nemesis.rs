//! Breaks things, and mends them again.
//!
//! turmoil keeps one state a link, so a link has one fault at a time, and simulated TCP never retransmits: a lost segment
//! stalls its connection until a deadline or a keepalive ends it.

mod disks;

use std::{
    collections::{BTreeMap, BTreeSet},
    rc::Rc,
    time::Duration,
};

use kvstore::types::NodeId;
use rand::{rngs::StdRng, seq::IndexedRandom, Rng, SeedableRng};
use turmoil::Sim;

use super::{
    plan::{mix, Fault},
    watchers::ADMIN,
    workload::Shared,
};

/// What a link suffers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Broken {
    Cut,
    OneWay,
    Held,
    Lossy,
    Slow,
}

/// When a broken thing is mended.
struct Mend {
    at: Duration,
    what: Mended,
}

enum Mended {
    Links(Vec<(String, String)>),
    Restart(usize),
    /// A removed node is killed, and comes back as a new one.
    Reincarnate(usize),
    Clock(usize),
    /// A node whose log has failed is killed and started again.
    Replace(usize),
    /// There is room on the disk again.
    Space(usize),
}

/// How far from the right time a wall clock jumps: twice what a node lets a peer's clock be ahead.
const JUMP_MAX_MS: i64 = 20_000;

/// What cannot be done now is drawn anew a little later.
const TRY_AGAIN: Duration = Duration::from_millis(100);

pub struct Nemesis {
    shared: Rc<Shared>,
    rng: StdRng,
    next: Duration,
    links: BTreeMap<(String, String), Broken>,
    mends: Vec<Mend>,
    /// Nodes that were told to stop and are not gone yet.
    stopping: Vec<(usize, Option<NodeId>)>,
    /// Nodes whose disk is going to fail, and how many failures it had before.
    armed: BTreeMap<usize, u64>,
    /// Nodes that die at some call of their disk, or at this time.
    dying: BTreeMap<usize, disks::Death>,
    /// Nodes whose log has failed, that are about to be replaced.
    failed: BTreeSet<usize>,
    pub counts: BTreeMap<&'static str, u64>,
}

fn pair(a: &str, b: &str) -> (String, String) {
    (a.min(b).to_string(), a.max(b).to_string())
}

impl Nemesis {
    pub fn new(shared: Rc<Shared>) -> Nemesis {
        let rng = StdRng::seed_from_u64(mix(&[shared.plan.seed, 3]));
        let (links, mends, stopping, armed, dying, failed, counts) = Default::default();
        let next = Duration::from_millis(500);
        Nemesis { shared, rng, next, links, mends, stopping, armed, dying, failed, counts }
    }

    /// Between two steps of the simulation.
    pub fn tick(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        self.watch_stops(sim);
        self.watch_disks(sim);
        if !self.links.is_empty() || self.is_any_asleep(sim) {
            self.shared.hosts.note_cut(now);
        }
        while let Some(due) = self.mends.iter().position(|mend| mend.at <= now) {
            let mend = self.mends.swap_remove(due);
            self.mend(sim, mend.what);
        }
        if now >= self.next {
            let kinds = &self.shared.plan.faults;
            let fault = *kinds.choose(&mut self.rng).expect("a plan has a fault");
            if self.inject(sim, fault) {
                *self.counts.entry(fault.name()).or_default() += 1;
                let average = self.shared.plan.fault_every.as_millis() as u64;
                self.next = now + Duration::from_millis(self.rng.random_range(average / 2..average * 3 / 2));
            } else {
                self.next = now + TRY_AGAIN;
            }
        }
    }

    /// Mends everything, and starts what does not run.
    pub fn calm(&mut self, sim: &mut Sim<'_>) {
        self.watch_stops(sim);
        for (a, b) in std::mem::take(&mut self.links).into_keys() {
            self.heal_link(sim, &a, &b);
        }
        self.mends.clear();
        self.calm_disks(sim);
        for node in 0..self.shared.plan.nodes {
            self.shared.hosts.nodes[node].clock.mend(sim.elapsed());
            self.reincarnate(sim, node);
            self.restart(sim, node);
        }
    }

    /// Whether a node that was told to stop is not gone yet; then it is not to be restarted.
    pub fn has_stops(&self) -> bool {
        !self.stopping.is_empty()
    }

    /// Looks who is gone of those that were told to.
    pub fn watch_stops(&mut self, sim: &mut Sim<'_>) {
        let stopping = std::mem::take(&mut self.stopping);
        for (node, id) in stopping {
            if sim.is_host_running(self.name(node)) {
                // One that was restarted meanwhile, because its disk had failed, knows nothing of it any more.
                self.stopping.extend(self.shared.hosts.nodes[node].is_stopping().then_some((node, id)));
                continue;
            }
            self.note(sim, &format!("{node} has stopped"));
            self.shared.judge.borrow_mut().died(sim.elapsed(), &self.shared.hosts.members());
            self.later(sim, 3000, Mended::Restart(node));
        }
    }

    fn name(&self, node: usize) -> &str {
        &self.shared.hosts.nodes[node].name
    }

    fn note(&self, sim: &Sim<'_>, what: &str) {
        self.shared.judge.borrow_mut().note(sim.elapsed(), what);
    }

    fn later(&mut self, sim: &Sim<'_>, max_ms: u64, what: Mended) {
        let at = sim.elapsed() + Duration::from_millis(self.rng.random_range(100..max_ms));
        self.mends.push(Mend { at, what });
    }

    /// Those that are there and were not told to stop.
    fn steady(&self, sim: &mut Sim<'_>) -> Vec<usize> {
        let hosts = self.shared.hosts.clone();
        let nodes = 0..hosts.nodes.len();
        let is_member = |node: &usize| hosts.nodes[*node].last().is_none_or(|id| !hosts.is_removed(id));
        nodes
            .filter(|&node| hosts.nodes[node].running().is_some() && !hosts.nodes[node].is_stopping())
            .filter(is_member)
            .filter(|&node| sim.is_host_running(hosts.nodes[node].name.as_str()))
            .collect()
    }

    /// False when it cannot be done now.
    fn inject(&mut self, sim: &mut Sim<'_>, fault: Fault) -> bool {
        let steady = self.steady(sim);
        let Some(&node) = steady.choose(&mut self.rng) else { return false };
        // With the last node the data would be gone, and rightly so.
        let is_last = steady.len() == 1 && !self.shared.hosts.is_synchronous();
        let is_majority_left = steady.len() >= 3;
        match fault {
            Fault::Crash | Fault::Vanish | Fault::Stop | Fault::BitFlip | Fault::DiskFails if is_last => false,
            Fault::Crash => self.crash(sim, node, false),
            Fault::Vanish => self.crash(sim, node, true),
            Fault::Blackout => self.black_out(sim),
            Fault::BitFlip => self.flip_bit(sim, node),
            Fault::DiskFails => self.arm(sim, node),
            Fault::DiskFull => self.fill_up(sim, node),
            Fault::Stop => {
                self.note(sim, &format!("stop {node}"));
                let id = self.shared.hosts.nodes[node].running().map(|running| running.keyspace().me());
                self.shared.hosts.nodes[node].stop();
                self.stopping.push((node, id));
                true
            }
            Fault::Remove => self.remove(sim, node, is_majority_left),
            Fault::Split => {
                let side: Vec<bool> = self.everyone().iter().map(|_| self.rng.random_bool(0.5)).collect();
                let links = self.links_where(|a, b| side[a] != side[b]);
                self.break_links(sim, links, Broken::Cut)
            }
            Fault::Isolate => self.break_links(sim, self.links_where(|a, b| a == node || b == node), Broken::Cut),
            Fault::Pause => self.break_links(sim, self.links_where(|a, b| a == node || b == node), Broken::Held),
            Fault::Cut => self.break_one(sim, Broken::Cut),
            Fault::OneWay => self.break_one(sim, Broken::OneWay),
            Fault::Loss => self.break_one(sim, Broken::Lossy),
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
                self.later(sim, self.shared.plan.mend_max_ms, Mended::Clock(node));
                true
            }
        }
    }

    fn crash(&mut self, sim: &mut Sim<'_>, node: usize, is_silent: bool) -> bool {
        if !self.dies_slowly(sim, node, is_silent) {
            self.crash_now(sim, node, is_silent);
            self.later(sim, self.shared.plan.mend_max_ms, Mended::Restart(node));
        }
        true
    }

    /// Ends whatever runs on a host.
    fn crash_now(&mut self, sim: &mut Sim<'_>, node: usize, is_silent: bool) {
        self.note(sim, &format!("crash {node} {is_silent}"));
        let name = self.name(node).to_string();
        let others = self.everyone().into_iter().filter(|other| *other != name).collect::<Vec<_>>();
        // A cut drops what is on the way, so that nobody gets what a dying process still says.
        let mut silenced = Vec::new();
        for other in others.iter().filter(|_| is_silent) {
            if !self.links.contains_key(&pair(&name, other)) {
                sim.partition(name.as_str(), other.as_str());
                silenced.push(other.clone());
            }
        }
        self.kill_host(sim, node);
        for other in silenced {
            sim.repair(name.as_str(), other.as_str());
        }
        self.shared.judge.borrow_mut().died(sim.elapsed(), &self.shared.hosts.members());
    }

    /// Orders the removal of a dead node if there is one, else of `alive`, which may go on for a while without the others.
    fn remove(&mut self, sim: &mut Sim<'_>, alive: usize, may_be_alive: bool) -> bool {
        let hosts = self.shared.hosts.clone();
        let gone = (0..hosts.nodes.len()).find(|&node| {
            !sim.is_host_running(self.name(node)) && hosts.nodes[node].last().is_some_and(|id| !hosts.is_removed(id))
        });
        let node = gone.unwrap_or(alive);
        let Some(id) = hosts.nodes[node].last().filter(|_| gone.is_some() || may_be_alive) else { return false };
        self.note(sim, &format!("remove {node}, {id}"));
        hosts.remove(id);
        self.shared.orders.borrow_mut().push_back(id);
        self.shared.judge.borrow_mut().remove(sim.elapsed(), id, &hosts.members());
        if gone.is_none() {
            self.later(sim, self.shared.plan.mend_max_ms, Mended::Reincarnate(node));
        }
        true
    }

    /// Ends a removed node that lives, and starts a new one.
    fn reincarnate(&mut self, sim: &mut Sim<'_>, node: usize) {
        let hosts = self.shared.hosts.clone();
        let name = self.name(node).to_string();
        let is_removed = hosts.nodes[node].last().is_some_and(|id| hosts.is_removed(id));
        if is_removed && sim.is_host_running(name.as_str()) {
            self.note(sim, &format!("end of the removed {node}"));
            self.kill_host(sim, node);
            // The new node takes the place of the old one, whose last deeds have to be seen before.
            self.shared.judge.borrow_mut().stepped(sim.elapsed(), &hosts, true);
            self.shared.judge.borrow_mut().died(sim.elapsed(), &hosts.members());
            self.restart(sim, node);
        }
    }

    fn restart(&mut self, sim: &mut Sim<'_>, node: usize) {
        let name = self.name(node).to_string();
        if !sim.is_host_running(name.as_str()) {
            self.note(sim, &format!("restart {node}"));
            let hosts = self.shared.hosts.clone();
            self.shared.judge.borrow_mut().stepped(sim.elapsed(), &hosts, true);
            hosts.prepare_restart(node);
            sim.bounce(name.as_str());
        }
    }

    /// Nodes, then clients.
    fn everyone(&self) -> Vec<String> {
        let clients = (0..self.shared.plan.clients).map(|number| format!("c{number}"));
        let watchers = (0..self.shared.plan.watchers).map(|number| format!("w{number}"));
        let nodes = self.shared.hosts.nodes.iter().map(|host| host.name.clone());
        nodes.chain(clients).chain(watchers).chain([ADMIN.to_string()]).collect()
    }

    /// Links of a node that are whole, chosen by the places of their ends among everyone.
    fn links_where(&self, is_hit: impl Fn(usize, usize) -> bool) -> Vec<(String, String)> {
        let everyone = self.everyone();
        let mut links = Vec::new();
        for a in 0..self.shared.plan.nodes {
            for b in a + 1..everyone.len() {
                let link = pair(&everyone[a], &everyone[b]);
                if is_hit(a, b) && !self.links.contains_key(&link) {
                    links.push(link);
                }
            }
        }
        links
    }

    fn break_one(&mut self, sim: &mut Sim<'_>, how: Broken) -> bool {
        let clients_too = self.rng.random_bool(0.3);
        let nodes = self.shared.plan.nodes;
        let links = self.links_where(|_, b| clients_too || b < nodes);
        let Some(link) = links.choose(&mut self.rng).cloned() else { return false };
        self.break_links(sim, vec![link], how)
    }

    fn break_links(&mut self, sim: &mut Sim<'_>, links: Vec<(String, String)>, how: Broken) -> bool {
        if links.is_empty() {
            return false;
        }
        self.note(sim, &format!("{how:?} {links:?}"));
        let (is_forward, slow_ms) = (self.rng.random_bool(0.5), self.rng.random_range(50..1500));
        let fail_rate = self.rng.random_range(0.002..0.05);
        for (a, b) in &links {
            let (a, b) = if is_forward { (a.as_str(), b.as_str()) } else { (b.as_str(), a.as_str()) };
            match how {
                Broken::Cut => sim.partition(a, b),
                Broken::OneWay => sim.partition_oneway(a, b),
                Broken::Held => sim.hold(a, b),
                Broken::Lossy => sim.set_link_fail_rate(a, b, fail_rate),
                Broken::Slow => sim.set_link_max_message_latency(a, b, Duration::from_millis(slow_ms)),
            }
            self.links.insert(pair(a, b), how);
        }
        self.later(sim, self.shared.plan.mend_max_ms, Mended::Links(links));
        true
    }

    fn mend(&mut self, sim: &mut Sim<'_>, what: Mended) {
        match what {
            Mended::Links(links) => {
                self.note(sim, &format!("heal {links:?}"));
                for (a, b) in links {
                    self.links.remove(&pair(&a, &b));
                    self.heal_link(sim, &a, &b);
                }
            }
            Mended::Restart(node) => self.restart(sim, node),
            Mended::Reincarnate(node) => self.reincarnate(sim, node),
            Mended::Replace(node) => self.replace(sim, node),
            Mended::Space(node) => self.make_room(sim, node),
            Mended::Clock(node) => {
                self.note(sim, &format!("clock of {node} is right"));
                self.shared.hosts.nodes[node].clock.mend(sim.elapsed());
            }
        }
    }

    fn heal_link(&self, sim: &mut Sim<'_>, a: &str, b: &str) {
        sim.set_link_fail_rate(a, b, 0.0);
        sim.set_link_max_message_latency(a, b, Duration::from_millis(self.shared.plan.latency_ms.1));
        // Held messages come now; those that were cut are gone.
        sim.release(a, b);
    }
}
