//! What happens to members: they die, come back, leave, are replaced; and what can be asked of those that are left.

use std::{sync::Arc, time::Duration};

use kvstore::{env::SimFault, node::Running, types::GroupRole};
use rand::{seq::IndexedRandom, Rng};
use turmoil::Sim;

use super::{pair, Mended, Nemesis, WHOLE_FOR};

/// How often who votes and who hears whom is looked at.
const LOOK_EVERY: Duration = Duration::from_millis(20);

/// The most calls of a disk before something fails.
const CALLS_MAX: u64 = 12;

/// The room that a disk has left when it fills up.
const ROOM_MAX: u64 = 20_000;

const REPLACED_AFTER_MS: u64 = 2000;

/// The longest that a voter is gone which died in an election.
const ELECTION_CRASH_MS: u64 = 300;

impl Nemesis {
    /// Whether nodes that die for a while come back with all that they have agreed to.
    fn comes_back(&self) -> bool {
        self.shared.hosts.is_synchronous()
    }

    /// Whether a voter may go for good: all others have what it had.
    fn may_lose_one(&self, sim: &Sim<'_>) -> bool {
        self.leaving.is_empty() && self.whole_since.is_some_and(|since| sim.elapsed() >= since + WHOLE_FOR)
    }

    fn is_whole(&self) -> bool {
        let nodes: Vec<Arc<Running>> = self.shared.hosts.live();
        let members: Vec<_> = nodes.iter().map(|node| node.group().member()).collect();
        let statuses: Vec<_> = nodes.iter().map(|node| node.group().status()).collect();
        let newest = statuses.iter().map(|status| status.applied_index).max().unwrap_or_default();
        nodes.len() == self.shared.plan.base.nodes
            && self.stopping.is_empty()
            && statuses.iter().filter(|status| status.role == GroupRole::Leader).count() == 1
            && statuses.iter().all(|status| {
                status.members.len() == members.len()
                    && status.members.iter().all(|member| member.votes && members.contains(&member.member))
                    && status.applied_index + 50 >= newest
            })
    }

    /// Looks who is gone of those that were told to stop, whose log has failed, who was elected.
    pub fn watch(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        for node in self.stopping.clone() {
            if !self.is_up(sim, node) {
                self.stopping.remove(&node);
                self.note(sim, &format!("{node} has stopped"));
                self.later(sim, 3000, Mended::Restart(node));
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
        if now < self.next_look {
            return self.watch_elections(sim);
        }
        self.next_look = now + LOOK_EVERY;
        if !self.is_whole() {
            self.whole_since = None;
        } else if self.whole_since.is_none() {
            self.whole_since = Some(now);
        }
        self.watch_elections(sim);
        self.watch_majorities(sim);
    }

    pub(super) fn crash(&mut self, sim: &mut Sim<'_>, node: usize) -> bool {
        if !self.comes_back() && !self.may_lose_one(sim) {
            return false;
        }
        let is_silent = self.rng.random_bool(0.5);
        self.kill(sim, node, is_silent);
        self.later(sim, self.mend_max_ms(), Mended::Restart(node));
        true
    }

    pub(super) fn crash_minority(&mut self, sim: &mut Sim<'_>, steady: &[usize]) -> bool {
        let count = (self.shared.plan.base.nodes - 1) / 2;
        let chosen: Vec<usize> = steady.choose_multiple(&mut self.rng, count).copied().collect();
        for node in &chosen {
            self.kill(sim, *node, true);
            self.later(sim, self.mend_max_ms(), Mended::Restart(*node));
        }
        !chosen.is_empty()
    }

    pub(super) fn black_out(&mut self, sim: &mut Sim<'_>) -> bool {
        self.note(sim, "blackout");
        for node in 0..self.shared.hosts.nodes.len() {
            if self.is_up(sim, node) {
                self.kill(sim, node, true);
                self.later(sim, 2000, Mended::Restart(node));
            }
        }
        true
    }

    /// Ends whatever runs on a host, and with it what is not on its disk. Silent: nobody is told.
    pub(super) fn kill(&mut self, sim: &mut Sim<'_>, node: usize, is_silent: bool) {
        let name = self.name(node);
        self.note(sim, &format!("crash {name} {is_silent}"));
        let plan = &self.shared.plan;
        let clients = (0..plan.workers).map(|number| format!("c{number}"));
        let holders = (0..plan.holders).map(|number| format!("h{number}"));
        let hosts = self.shared.hosts.clone();
        let nodes = hosts.nodes.iter().map(|host| host.name.clone());
        let others = clients.chain(holders).chain([format!("q{node}")]).chain(nodes).filter(|other| *other != name);
        // A cut drops what is on the way, so that nobody gets what a dying process still says.
        let whole = others.filter(|other| is_silent && !self.links.contains_key(&pair(&name, other)));
        let silenced: Vec<String> = whole.collect();
        silenced.iter().for_each(|other| sim.partition(name.as_str(), other.as_str()));
        let disk = hosts.nodes[node].disk();
        if let Some(disk) = &disk {
            disk.sim.mark_dying();
        }
        sim.crash(name.as_str());
        if let Some(disk) = &disk {
            let is_kill = self.rng.random_bool(0.2);
            self.note(sim, if is_kill { "the process was killed" } else { "the power was cut" });
            disk.end(is_kill);
        }
        silenced.iter().for_each(|other| sim.repair(name.as_str(), other.as_str()));
        self.armed.remove(&node);
        self.failed.remove(&node);
        self.stopping.remove(&node);
    }

    pub(super) fn restart(&mut self, sim: &mut Sim<'_>, node: usize) {
        if !self.is_up(sim, node) {
            self.note(sim, &format!("restart {node}"));
            self.shared.hosts.prepare_restart(node);
            sim.bounce(self.name(node));
        }
    }

    pub(super) fn stop(&mut self, sim: &mut Sim<'_>, node: usize) -> bool {
        if !self.comes_back() && !self.may_lose_one(sim) {
            return false;
        }
        self.note(sim, &format!("stop {node}"));
        self.shared.hosts.nodes[node].stop();
        self.stopping.insert(node)
    }

    /// Its disk is gone, too.
    pub(super) fn wipe(&mut self, sim: &mut Sim<'_>, node: usize) -> bool {
        if !self.may_lose_one(sim) {
            return false;
        }
        self.whole_since = None;
        self.kill(sim, node, true);
        self.forget(node);
        self.later(sim, self.mend_max_ms(), Mended::Restart(node));
        true
    }

    /// The next node of a host begins with nothing.
    fn forget(&self, node: usize) {
        if let Some(id) = self.shared.hosts.nodes[node].last() {
            self.shared.hosts.remove(id);
        }
    }

    /// Takes a member out of the group by the word of any node; it goes on alone for a while.
    pub(super) fn remove(&mut self, sim: &mut Sim<'_>, node: usize) -> bool {
        let steady = self.steady(sim);
        let others: Vec<usize> = steady.into_iter().filter(|other| *other != node).collect();
        let Some(&asked) = others.choose(&mut self.rng).filter(|_| self.may_lose_one(sim)) else { return false };
        let hosts = self.shared.hosts.clone();
        let (Some(gone), Some(asked)) = (hosts.nodes[node].running(), hosts.nodes[asked].running()) else {
            return false;
        };
        self.whole_since = None;
        self.leaving.insert(node);
        let member = gone.group().member();
        self.note(sim, &format!("remove {node}, {member}"));
        let group = asked.group().clone();
        asked.runtime().spawn(async move {
            // It may fail as any call may; then somebody new takes its place all the same.
            drop(group.remove(member).await);
        });
        self.later(sim, self.mend_max_ms(), Mended::Renew(node));
        true
    }

    pub(super) fn renew(&mut self, sim: &mut Sim<'_>, node: usize) {
        if self.is_up(sim, node) {
            self.kill(sim, node, true);
        }
        self.leaving.remove(&node);
        self.whole_since = None;
        self.forget(node);
        self.restart(sim, node);
    }

    pub(super) fn move_leader(&mut self, sim: &mut Sim<'_>) -> bool {
        let steady = self.steady(sim);
        let Some(&asked) = steady.choose(&mut self.rng) else { return false };
        let to = steady.choose(&mut self.rng).filter(|_| self.rng.random_bool(0.5)).copied();
        let hosts = self.shared.hosts.clone();
        let to = to.and_then(|to| hosts.nodes[to].running()).map(|node| node.group().member());
        let Some(asked) = hosts.nodes[asked].running() else { return false };
        self.note(sim, &format!("lead: {to:?}"));
        let group = asked.group().clone();
        asked.runtime().spawn(async move {
            // Nobody may be there to take over.
            drop(group.move_leader(to).await);
        });
        true
    }

    /// The next time that somebody is elected, a voter loses its power at once.
    pub(super) fn wait_for_election(&mut self, sim: &mut Sim<'_>) -> bool {
        if self.waits_for_election.is_some() {
            return false;
        }
        let Some((leader, term)) = self.leader() else { return false };
        self.waits_for_election = Some(term);
        self.note(sim, &format!("an election is waited for after {term}"));
        let links = self.links_where(|a, b| a == leader || b == leader);
        self.break_links(sim, links, super::Broken::Cut);
        true
    }

    fn watch_elections(&mut self, sim: &mut Sim<'_>) {
        let Some(since) = self.waits_for_election else { return };
        let Some((leader, term)) = self.leader().filter(|(_, term)| *term > since) else { return };
        self.waits_for_election = None;
        let others: Vec<usize> = self.steady(sim).into_iter().filter(|node| *node != leader).collect();
        let Some(&voter) = others.choose(&mut self.rng) else { return };
        self.note(sim, &format!("{leader} leads in {term}, {voter} dies"));
        self.kill(sim, voter, true);
        self.later(sim, ELECTION_CRASH_MS, Mended::Restart(voter));
        // Those that did not hear of it may stand for the same term.
        let links = self.links_where(|a, b| (a == leader || b == leader) && a != voter && b != voter);
        self.break_links(sim, links, super::Broken::Cut);
    }

    pub(super) fn arm(&mut self, sim: &Sim<'_>, node: usize) -> bool {
        let Some(disk) = self.shared.hosts.nodes[node].disk() else { return false };
        if self.armed.contains(&node) || disk.log_failed().is_some() {
            return false;
        }
        let calls = self.rng.random_range(0..CALLS_MAX);
        let fault = match self.rng.random_bool(0.7) {
            true => SimFault::Sync(calls),
            false => SimFault::Write(calls, self.rng.random_range(0..200)),
        };
        self.note(sim, &format!("the disk of {node} fails: {fault:?}"));
        self.armed.insert(node);
        disk.sim.set_fault(fault);
        true
    }

    pub(super) fn fill_up(&mut self, sim: &Sim<'_>, node: usize) -> bool {
        let Some(disk) = self.shared.hosts.nodes[node].disk() else { return false };
        let capacity = disk.sim.used_bytes() + self.rng.random_range(0..ROOM_MAX);
        self.note(sim, &format!("the disk of {node} has {capacity} bytes"));
        disk.limit(sim.elapsed(), Some(capacity));
        self.later(sim, self.mend_max_ms(), Mended::Space(node));
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
        if has_failed && self.is_up(sim, node) {
            self.kill(sim, node, true);
            self.restart(sim, node);
        }
    }

    /// ME-3: while some majority is fully connected, writes succeed again within 25 times the longest election timeout.
    fn watch_majorities(&mut self, sim: &mut Sim<'_>) {
        let now = sim.elapsed();
        let nodes = self.shared.plan.base.nodes;
        let hosts = self.shared.hosts.clone();
        let voters = hosts
            .live()
            .iter()
            .map(|node| node.group().status())
            .max_by_key(|status| (status.applied_index, status.term));
        let voters: Vec<_> = voters.map(|status| status.members).unwrap_or_default();
        let is_fit: Vec<bool> = (0..nodes)
            .map(|node| {
                let host = &hosts.nodes[node];
                let is_ill = host.disk().is_some_and(|disk| disk.log_failed().is_some() || disk.may_be_full(now));
                let member = host.running().filter(|_| !host.is_stopping()).map(|running| running.group().member());
                let votes = voters.iter().any(|voter| Some(voter.member) == member && voter.votes);
                let hears_client = !self.links.contains_key(&pair(&host.name, &format!("q{node}")));
                votes && !is_ill && hears_client && !self.armed.contains(&node)
            })
            .collect();
        let count = voters.iter().filter(|voter| voter.votes).count();
        let is_majority = |mask: u32| mask.count_ones() as usize * 2 > count;
        let has = |mask: u32, node: usize| mask & (1 << node) != 0;
        let is_connected = |mask: u32| {
            (0..nodes).filter(|&a| has(mask, a)).all(|a| {
                is_fit[a]
                    && (a + 1..nodes)
                        .filter(|&b| has(mask, b))
                        .all(|b| !self.links.contains_key(&pair(&hosts.nodes[a].name, &hosts.nodes[b].name)))
            })
        };
        let connected: Vec<u32> = (1..1 << nodes).filter(|&mask| is_majority(mask) && is_connected(mask)).collect();
        self.connected_since.retain(|mask, _| connected.contains(mask));
        for mask in connected {
            let since = *self.connected_since.entry(mask).or_insert(now);
            let written = self.shared.written.borrow();
            let last = (0..nodes).filter(|&node| has(mask, node)).filter_map(|node| written.get(&node)).max().copied();
            let waited = now.saturating_sub(since.max(last.unwrap_or_default()));
            drop(written);
            if waited > ME_3 {
                self.connected_since.insert(mask, now);
                let text = format!("ME-3 a connected majority takes writes: not within {waited:?}, nodes {mask:b}");
                self.shared.judge.borrow_mut().violated(now, &text);
            } else if waited > ME_3 / 3 {
                *self.counts.entry("majorities that took a third of their time, in steps").or_default() += 1;
            }
        }
    }
}

/// 25 times the longest election timeout, and what the client needs that writes once in a while.
const ME_3: Duration = Duration::from_millis(25 * 600 + 2500);
