//! The member table: who counts, who is gone, and how each one is.
//!
//! A node counts from the moment that it was linked with, or that a linked peer told of it as one it counts. It ceases to
//! count when it leaves, when a new incarnation takes its address, or when an administrator removes it; each of these
//! puts it among the removed, for good. Removed sets are merged by union, and beat every claim that a node counts: so all
//! nodes that hear of each other agree in the end, in whatever order they hear.

use std::{
    collections::{BTreeMap, BTreeSet},
    time::Duration,
};

use super::{removed::Removed, Verdict};
use crate::{
    limits::{GONE_SHOWN, HEARD_RECENTLY, MEMBERS_MAX, PROBE_PERIOD, SUSPICION_TIMEOUT},
    types::{Address, Member, MemberState, Membership, NodeId},
};

/// What is known of a member from outside the table.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Evidence {
    /// When the last message came over the link with it; `None`: there is no link.
    pub heard: Option<Duration>,
    /// What the failure detector thinks; `None`: it never heard of it.
    pub verdict: Option<Verdict>,
}

/// Why a member no longer counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Gone {
    /// It said so itself.
    Left,
    /// An administrator, or somebody else who knows.
    Removed,
    /// A new incarnation has its address. Not shown: the new one is.
    Replaced,
}

/// A line of the table.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Entry {
    /// Who it is.
    pub member: Member,
    /// How it is, by the last [`Members::observe`].
    pub state: MemberState,
    /// When that began: milliseconds since the Unix epoch.
    pub since_ms: u64,
    /// Own writes that it had acknowledged when it was last linked.
    pub acknowledged: u64,
    /// It was linked with, not only told of.
    is_met: bool,
    /// Since when there is no link.
    apart: Duration,
    /// When and why it ceased to count.
    gone: Option<(Duration, Gone)>,
}

/// The member table of one node, itself left out.
#[derive(Debug)]
pub struct Members {
    me: Member,
    entries: BTreeMap<NodeId, Entry>,
    removed: Removed,
    /// There was no room for a member that a peer counts.
    is_partial: bool,
    version: u64,
}

impl Members {
    /// A table that knows nobody.
    pub fn new(me: Member) -> Members {
        Members { me, entries: BTreeMap::new(), removed: Removed::default(), is_partial: false, version: 1 }
    }

    /// Changes whenever [`Members::membership`] does.
    pub fn version(&self) -> u64 {
        self.version
    }

    /// The members that count.
    pub fn counted(&self) -> impl Iterator<Item = &Member> {
        self.entries.values().filter(|entry| entry.gone.is_none()).map(|entry| &entry.member)
    }

    /// Every node that counts; `None`: there are more than this table can hold, and nothing may be concluded from what
    /// those in it say.
    pub fn others(&self) -> Option<BTreeSet<NodeId>> {
        (!self.is_partial).then(|| self.counted().map(|member| member.node).collect())
    }

    /// Whether a member counts.
    pub fn counts(&self, node: NodeId) -> bool {
        self.entries.get(&node).is_some_and(|entry| entry.gone.is_none())
    }

    /// Whether a node was removed for good.
    pub fn is_removed(&self, node: NodeId) -> bool {
        self.removed.contains(node)
    }

    /// An order-independent hash of the removed nodes.
    pub fn removed_digest(&self) -> u64 {
        self.removed.digest()
    }

    /// Who belongs to the cluster, as told to peers.
    pub fn membership(&self) -> Membership {
        Membership { members: self.counted().cloned().collect(), removed: self.removed.iter().collect() }
    }

    /// Those who count, and for [`GONE_SHOWN`] those who left or were removed, unless another has their address now.
    pub fn shown(&self) -> impl Iterator<Item = &Entry> {
        let others = self.counted().map(|member| &member.address);
        let taken: BTreeSet<&Address> = others.chain([&self.me.address]).collect();
        let is_shown = move |entry: &&Entry| match entry.gone {
            None => true,
            Some((_, Gone::Left | Gone::Removed)) => !taken.contains(&entry.member.address),
            Some((_, Gone::Replaced)) => false,
        };
        self.entries.values().filter(is_shown)
    }

    /// A line of the table.
    pub fn entry(&self, node: NodeId) -> Option<&Entry> {
        self.entries.get(&node)
    }

    /// A node says Hello. Gives the former incarnations at its address, which it replaces: they are removed.
    ///
    /// Of two nodes that are both heard from (`is_heard`) and advertise one address, the later born stays. A node whose
    /// rival is silent is the later one, whatever the clocks of its machine showed at the two starts.
    ///
    /// # Errors
    /// Why it is refused: it was removed, or it is the earlier born of two.
    pub fn meet(
        &mut self,
        now: Duration,
        member: &Member,
        is_heard: impl Fn(NodeId) -> bool,
    ) -> Result<Vec<NodeId>, String> {
        if self.is_removed(member.node) {
            return Err(format!("node {} was removed from the cluster", member.node));
        }
        let rivals = self.counted().filter(|other| other.address == member.address && other.node != member.node);
        let rivals: Vec<Member> =
            rivals.cloned().chain((self.me.address == member.address).then(|| self.me.clone())).collect();
        for rival in &rivals {
            let is_later = (rival.born_ms, rival.node) > (member.born_ms, member.node);
            if rival.node == self.me.node || (is_later && is_heard(rival.node)) {
                return Err(format!("node {} has the address {} too", rival.node, rival.address));
            }
        }
        if !self.entries.contains_key(&member.node) && !self.make_room() {
            return Err(format!("this cluster has {MEMBERS_MAX} members, which is the most it can have"));
        }
        let replaced: Vec<NodeId> = rivals.iter().map(|rival| rival.node).collect();
        for &rival in &replaced {
            self.remove(now, rival, Gone::Replaced);
        }
        self.add(now, member, true);
        Ok(replaced)
    }

    /// A linked peer tells whom it counts and whom it knows to be removed. Gives those that are removed only now.
    pub fn hear(&mut self, now: Duration, membership: &Membership) -> Vec<NodeId> {
        let told = membership.removed.iter().copied();
        let newly: Vec<NodeId> = told.filter(|&node| self.remove(now, node, Gone::Removed)).collect();
        for member in &membership.members {
            if member.node == self.me.node || self.is_removed(member.node) {
                continue;
            }
            if self.entries.len() >= MEMBERS_MAX && !self.entries.contains_key(&member.node) {
                self.is_partial = true;
                continue;
            }
            self.add(now, member, false);
        }
        newly
    }

    /// A member no longer counts, for good. True when that is new. A later, better reason is kept: one that said itself
    /// that it left has not been removed by others.
    pub fn remove(&mut self, now: Duration, node: NodeId, why: Gone) -> bool {
        let is_new = self.removed.insert(node);
        self.version += u64::from(is_new);
        if let Some(entry) = self.entries.get_mut(&node) {
            let (since, _) = *entry.gone.get_or_insert((now, why));
            if why == Gone::Left {
                entry.gone = Some((since, why));
            }
        }
        is_new
    }

    /// A link has ended; so many own writes were acknowledged over it.
    pub fn parted(&mut self, now: Duration, node: NodeId, acknowledged: u64) {
        if let Some(entry) = self.entries.get_mut(&node) {
            entry.apart = now;
            entry.acknowledged = acknowledged;
        }
    }

    /// Looks at the evidence for each member, and forgets those that have been gone for long. Gives those that are
    /// removed now, because they are dead and another has their address: late news of a former incarnation, which came
    /// from a node that had not met the new one.
    pub fn observe(&mut self, now: Duration, wall_ms: u64, evidence: impl Fn(NodeId) -> Evidence) -> Vec<NodeId> {
        let has_expired = |entry: &Entry| entry.gone.is_some_and(|(since, _)| now.saturating_sub(since) >= GONE_SHOWN);
        self.entries.retain(|_, entry| !has_expired(entry));
        let round = PROBE_PERIOD * (self.entries.len() as u32 + 1);
        for (&node, entry) in &mut self.entries {
            let state = entry.judge(now, evidence(node), round);
            if state == entry.state {
                continue;
            }
            let (before, address) = (entry.state.as_str(), &entry.member.address);
            if state == MemberState::Dead {
                tracing::warn!(%node, %address, before, "a member is dead");
            } else {
                tracing::info!(%node, %address, before, state = state.as_str(), "a member changed");
            }
            entry.state = state;
            entry.since_ms = wall_ms;
        }
        let replaced = self.replaced();
        for &node in &replaced {
            self.remove(now, node, Gone::Replaced);
        }
        replaced
    }

    /// The dead at whose address another is.
    fn replaced(&self) -> Vec<NodeId> {
        let counted = || self.entries.values().filter(|entry| entry.gone.is_none());
        let is_taken = |address: &Address| {
            let is_there = |entry: &Entry| entry.is_met && entry.state == MemberState::Up;
            *address == self.me.address || counted().any(|entry| entry.member.address == *address && is_there(entry))
        };
        let dead = counted().filter(|entry| entry.state == MemberState::Dead);
        dead.filter(|entry| is_taken(&entry.member.address)).map(|entry| entry.member.node).collect()
    }

    fn add(&mut self, now: Duration, member: &Member, is_met: bool) {
        let entry = self.entries.entry(member.node).or_insert_with(|| {
            self.version += 1;
            Entry {
                member: member.clone(),
                state: MemberState::Unknown,
                since_ms: 0,
                acknowledged: 0,
                is_met,
                apart: now,
                gone: None,
            }
        });
        // What a node says of itself is better than what others remember.
        if is_met && (!entry.is_met || entry.member != *member) {
            self.version += u64::from(entry.member != *member);
            entry.member = member.clone();
            entry.is_met = true;
        }
    }

    /// A full table gives up those who are gone, then those that were only told of, for one who was met.
    fn make_room(&mut self) -> bool {
        if self.entries.len() < MEMBERS_MAX {
            return true;
        }
        let gone = self.entries.iter().find(|(_, entry)| entry.gone.is_some());
        let worst = gone.or_else(|| self.entries.iter().find(|(_, entry)| !entry.is_met));
        let Some(worst) = worst.map(|(&node, _)| node) else { return false };
        self.version += u64::from(self.counts(worst));
        self.entries.remove(&worst);
        true
    }
}

impl Entry {
    /// Whether it counts.
    pub fn counts(&self) -> bool {
        self.gone.is_none()
    }

    /// Since when it does not count.
    pub fn gone_since(&self) -> Option<Duration> {
        self.gone.map(|(since, _)| since)
    }

    /// `round`: the time in which the failure detector has probed every member.
    fn judge(&self, now: Duration, evidence: Evidence, round: Duration) -> MemberState {
        match self.gone {
            Some((_, Gone::Left)) => return MemberState::Left,
            Some((_, Gone::Removed | Gone::Replaced)) => return MemberState::Removed,
            None => {}
        }
        let is_linked = evidence.heard.is_some();
        if evidence.heard.is_some_and(|heard| now.saturating_sub(heard) < HEARD_RECENTLY) {
            return MemberState::Up;
        }
        let apart = now.saturating_sub(self.apart);
        match evidence.verdict {
            Some(Verdict::Suspected) => MemberState::Suspected,
            Some(Verdict::Down) => MemberState::Dead,
            // The verdict may be older than the loss of the link.
            Some(Verdict::Alive) if !is_linked && apart < round => MemberState::Suspected,
            Some(Verdict::Alive) => MemberState::Up,
            None if is_linked || apart < PROBE_PERIOD + SUSPICION_TIMEOUT => MemberState::Suspected,
            None => MemberState::Dead,
        }
    }
}

#[cfg(test)]
mod tests;
