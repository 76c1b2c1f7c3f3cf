//! What happens to the disks of hosts, and to nodes because of them.

use std::time::Duration;

use kvstore::env::SimFault;
use rand::Rng;
use turmoil::Sim;

use super::{Mended, Nemesis};

/// A node that dies in the middle of its work with the disk, or when it had none for too long.
pub(super) struct Death {
    at: Duration,
    failures: u64,
    is_silent: bool,
}

/// The most calls of a disk before something fails.
const CALLS_MAX: u64 = 12;

/// How long a node that is to die in a call of its disk may go on without one.
const DEATH_MAX: Duration = Duration::from_millis(500);

/// The room that a disk has left when it fills up.
const ROOM_MAX: u64 = 20_000;

/// The longest that nobody runs after a blackout, and that a node with a failed log goes on.
const BLACKOUT_MAX_MS: u64 = 3000;
const REPLACED_AFTER_MS: u64 = 3000;

impl Nemesis {
    fn failures(&self, node: usize) -> u64 {
        self.shared.hosts.nodes[node].disk().map_or(0, |disk| disk.sim.faults_happened())
    }

    /// Half of the nodes with a disk die at some call of it: in the middle of a batch, a snapshot, a recovery.
    pub(super) fn dies_slowly(&mut self, sim: &Sim<'_>, node: usize, is_silent: bool) -> bool {
        let Some(disk) = self.shared.hosts.nodes[node].disk() else { return false };
        if self.rng.random_bool(0.5) || self.dying.contains_key(&node) {
            return false;
        }
        let calls = self.rng.random_range(0..CALLS_MAX);
        self.note(sim, &format!("{node} dies in {calls} calls of its disk"));
        let death = Death { at: sim.elapsed() + DEATH_MAX, failures: self.failures(node), is_silent };
        disk.sim.set_fault(SimFault::DieAt(calls));
        self.dying.insert(node, death);
        true
    }

    /// Ends the processes of a host, and what of its disk goes with them.
    pub(super) fn kill_host(&mut self, sim: &mut Sim<'_>, node: usize) {
        let hosts = self.shared.hosts.clone();
        let host = &hosts.nodes[node];
        let Some(disk) = host.disk() else { return sim.crash(host.name.as_str()) };
        // Nothing that a destructor does reaches the disk.
        disk.sim.mark_dying();
        sim.crash(host.name.as_str());
        let is_kill = self.rng.random_bool(0.3);
        self.note(sim, if is_kill { "the process was killed" } else { "the power was cut" });
        disk.end(is_kill);
        self.armed.remove(&node);
        self.dying.remove(&node);
        self.failed.remove(&node);
        self.shared.judge.borrow_mut().stepped(sim.elapsed(), &hosts, true);
    }

    pub(super) fn black_out(&mut self, sim: &mut Sim<'_>) -> bool {
        self.note(sim, "blackout");
        for node in 0..self.shared.hosts.nodes.len() {
            if sim.is_host_running(self.name(node)) {
                self.crash_now(sim, node, true);
                self.later(sim, BLACKOUT_MAX_MS, Mended::Restart(node));
            }
        }
        true
    }

    /// A machine dies, and a bit of its disk turns over before it comes back.
    pub(super) fn flip_bit(&mut self, sim: &mut Sim<'_>, node: usize) -> bool {
        self.crash_now(sim, node, false);
        self.later(sim, self.shared.plan.mend_max_ms, Mended::Restart(node));
        let hosts = self.shared.hosts.clone();
        let host = &hosts.nodes[node];
        let Some(flipped) = host.disk().and_then(|disk| disk.flip_bit(&mut self.rng, hosts.is_synchronous())) else {
            return false;
        };
        self.note(sim, &flipped);
        host.note_flip();
        // From here on nothing can be expected of what only this disk has.
        self.shared.judge.borrow_mut().died(sim.elapsed(), &hosts.members());
        true
    }

    /// Some of the next writes and syncs of the disk fails.
    pub(super) fn arm(&mut self, sim: &Sim<'_>, node: usize) -> bool {
        let Some(disk) = self.shared.hosts.nodes[node].disk() else { return false };
        if self.armed.contains_key(&node) || disk.log_failed().is_some() {
            return false;
        }
        let calls = self.rng.random_range(0..CALLS_MAX);
        let fault = match self.rng.random_bool(0.7) {
            true => SimFault::Sync(calls),
            false => SimFault::Write(calls, self.rng.random_range(0..200)),
        };
        self.note(sim, &format!("the disk of {node} fails: {fault:?}"));
        self.armed.insert(node, self.failures(node));
        disk.sim.set_fault(fault);
        true
    }

    pub(super) fn fill_up(&mut self, sim: &Sim<'_>, node: usize) -> bool {
        let Some(disk) = self.shared.hosts.nodes[node].disk() else { return false };
        let capacity = disk.sim.used_bytes() + self.rng.random_range(0..ROOM_MAX);
        self.note(sim, &format!("the disk of {node} has {capacity} bytes"));
        disk.limit(sim.elapsed(), Some(capacity));
        self.later(sim, self.shared.plan.mend_max_ms, Mended::Space(node));
        true
    }

    pub(super) fn make_room(&mut self, sim: &Sim<'_>, node: usize) {
        if let Some(disk) = self.shared.hosts.nodes[node].disk() {
            self.note(sim, &format!("the disk of {node} has room"));
            disk.limit(sim.elapsed(), None);
        }
    }

    /// A node whose log has failed helps nobody.
    pub(super) fn replace(&mut self, sim: &mut Sim<'_>, node: usize) {
        let has_failed = self.shared.hosts.nodes[node].disk().is_some_and(|disk| disk.log_failed().is_some());
        if has_failed && sim.is_host_running(self.name(node)) {
            self.crash_now(sim, node, false);
            self.restart(sim, node);
        }
    }

    /// Looks whose time has come, and whose log has failed.
    pub(super) fn watch_disks(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        let is_due =
            |nemesis: &Nemesis, node: usize, death: &Death| death.at <= now || nemesis.failures(node) > death.failures;
        let due = self.dying.iter().filter(|(&node, death)| is_due(self, node, death));
        let due: Vec<(usize, bool)> = due.map(|(&node, death)| (node, death.is_silent)).collect();
        for (node, is_silent) in due {
            self.dying.remove(&node);
            if sim.is_host_running(self.name(node)) {
                self.crash_now(sim, node, is_silent);
                self.later(sim, self.shared.plan.mend_max_ms, Mended::Restart(node));
            }
        }
        for node in 0..self.shared.hosts.nodes.len() {
            let host = &self.shared.hosts.nodes[node];
            let has_failed = host.disk().is_some_and(|disk| disk.log_failed().is_some());
            if has_failed && host.running().is_some() && self.failed.insert(node) {
                self.note(sim, &format!("the log of {node} has failed"));
                self.later(sim, REPLACED_AFTER_MS, Mended::Replace(node));
            }
        }
    }

    /// Whether a node is down that others count on.
    pub(super) fn is_any_asleep(&self, sim: &mut Sim<'_>) -> bool {
        let hosts = &self.shared.hosts;
        hosts.storage.is_some() && hosts.nodes.iter().any(|host| !sim.is_host_running(host.name.as_str()))
    }

    /// Takes back what is going to fail, which only a new process does, and makes room.
    pub(super) fn calm_disks(&mut self, sim: &mut Sim<'_>) {
        for node in 0..self.shared.hosts.nodes.len() {
            let Some(disk) = self.shared.hosts.nodes[node].disk() else { return };
            disk.limit(sim.elapsed(), None);
            let is_about_to = self.armed.contains_key(&node) || self.dying.contains_key(&node);
            if (is_about_to || disk.log_failed().is_some()) && sim.is_host_running(self.name(node)) {
                self.crash_now(sim, node, false);
            }
        }
    }
}
