//! Causal stability: up to which stamp every member has every write, so that a tombstone below can never be needed again
//! (Wuu and Bernstein, "Efficient solutions to the replicated log and dictionary problems", PODC 1984: a delete may be
//! forgotten once everybody is known to know it). Pure: reports come in, the stable time comes out.
//!
//! Each member P tells, with its clock t, how many own writes it has made in each partition; those stamped up to t are
//! among them and later ones are stamped beyond. Who has that many of P's writes is **complete** for P up to t. The
//! least of these over all members is what a node tells as **low**: it has every write of every member up to there. The
//! least low over all members is the **stable** time: everybody has everything up to there.
//!
//! A tombstone T stamped up to the stable time may be dropped once every member has said that its vector covers T:
//!
//! * A write W that T hides and that a member lacks cannot exist: W is stamped before T, so the member has it.
//! * A member that lacks T, and would keep W for ever, cannot exist: it has said that it has T.
//! * A conflict cannot be missed: whoever writes what this node has yet to get had T before, because it counts what a
//!   member has only from reports whose own writes are all here. So what replaces T later had seen it.
//! * T cannot be missed in a state transfer, because whoever asks is a member and has it.
//! * Writes of nodes that are no members any more are in nobody's low. Therefore a node tells a low only while it has
//!   all that any member has of them, and while all members agree who was removed, so that nobody still takes writes
//!   from one of them.
//!
//! The tombstones of a sweep ([`super::Eventual::sweep`]) break the rule that later writes are stamped beyond the clock
//! that was told. That is harmless: they hide one write only, the expired one right before, and whoever has them has
//! that write replaced.
//!
//! A node that nobody counts yet has no say in this. Three things protect the cluster from its old writes and it from
//! theirs: the grace of [`crate::limits::TOMBSTONE_GRACE`]; the rule that own writes up to the told low are not pushed to
//! whoever was met later, but fetched as state, in which a delete has removed what it hides ([`Stability::told`]); and
//! [`super::reissue`].

use std::collections::{BTreeMap, BTreeSet};

use crate::{
    limits::PARTITIONS,
    types::{NodeId, PartitionId, Positions, Sequence, Timestamp, VersionVector},
};

/// What is known of how far the members are.
#[derive(Debug)]
pub(super) struct Stability {
    /// By member, then by partition.
    heard: BTreeMap<NodeId, Vec<Option<Heard>>>,
    partitions: Vec<Settled>,
}

/// What a member told of one partition.
#[derive(Debug)]
struct Heard {
    low: Timestamp,
    removed_digest: u64,
    /// We have all of its writes up to here, and this is what it had then.
    complete: Timestamp,
    confirmed: VersionVector,
    /// What it told last, and the oldest that we could not confirm yet: under a steady stream of writes the last is
    /// always ahead of us, and the oldest is not.
    last: Report,
    oldest: Report,
}

/// How far a member was at one moment.
#[derive(Clone, Debug)]
struct Report {
    clock: Timestamp,
    /// How many own writes it had made.
    own: Sequence,
    vector: VersionVector,
}

/// What came of it for one partition.
#[derive(Clone, Debug, Default)]
struct Settled {
    /// The greatest low that this node has told.
    told: Timestamp,
    stable: Timestamp,
    /// The greatest stable time there was, for people.
    reached: Timestamp,
    covered: VersionVector,
}

/// Who counts, when the stable time is worked out.
pub(super) struct Members<'a> {
    pub(super) me: NodeId,
    /// `None`: this node does not know all.
    pub(super) others: &'a Option<BTreeSet<NodeId>>,
    pub(super) removed_digest: u64,
}

impl Stability {
    /// Nobody has said anything.
    pub(super) fn new() -> Stability {
        Stability { heard: BTreeMap::new(), partitions: vec![Settled::default(); usize::from(PARTITIONS)] }
    }

    /// A member says where it stands.
    pub(super) fn hear(&mut self, from: NodeId, positions: &Positions) {
        let slots = self.heard.entry(from).or_insert_with(|| (0..PARTITIONS).map(|_| None).collect());
        for position in &positions.partitions {
            let Some(slot) = slots.get_mut(position.partition.index()) else { continue };
            let (clock, vector) = (positions.clock, position.vector.clone());
            let last = Report { clock, own: vector.sequence(from), vector };
            let (low, removed_digest) = (position.low, positions.removed_digest);
            let (complete, confirmed, oldest) = match slot.take() {
                // What was confirmed already has nothing to wait for.
                Some(before) if before.oldest.clock <= before.complete => {
                    (before.complete, before.confirmed, last.clone())
                }
                Some(before) => (before.complete, before.confirmed, before.oldest),
                None => (Timestamp::ZERO, VersionVector::new(), last.clone()),
            };
            *slot = Some(Heard { low, removed_digest, complete, confirmed, last, oldest });
        }
    }

    /// A node counts from now on. What was stable without it is not any more: this node may even have been alone, and
    /// now lacks writes that are older than what it took for stable.
    pub(super) fn meet(&mut self) {
        self.partitions.iter_mut().for_each(|settled| settled.stable = Timestamp::ZERO);
    }

    /// A node is no member any more.
    pub(super) fn forget(&mut self, node: NodeId) {
        self.heard.remove(&node);
    }

    /// Works out the stable time of a partition of which this node has `ours`; `clock` was drawn before that was read.
    /// Returns the low to tell: zero when it cannot say.
    pub(super) fn settle(
        &mut self,
        partition: PartitionId,
        ours: &VersionVector,
        clock: Timestamp,
        members: &Members<'_>,
    ) -> Timestamp {
        let Some(settled) = self.partitions.get_mut(partition.index()) else { return Timestamp::ZERO };
        let Some(others) = members.others else { return Timestamp::ZERO };
        let mut heard = Vec::new();
        for (&node, slots) in self.heard.iter_mut().filter(|(node, _)| others.contains(node)) {
            let Some(Some(member)) = slots.get_mut(partition.index()) else { return Timestamp::ZERO };
            member.confirm(ours.sequence(node));
            heard.push(&*member);
        }
        if heard.len() < others.len() {
            return Timestamp::ZERO;
        }
        let complete = heard.iter().map(|member| member.complete).min().unwrap_or(clock);
        let is_gone = |origin: NodeId| origin != members.me && !others.contains(&origin);
        let has_all_of_the_gone = |member: &&Heard| {
            let mut gone = member.last.vector.iter().filter(|&(origin, _)| is_gone(origin));
            gone.all(|(origin, sequence)| ours.sequence(origin) >= sequence)
        };
        let agree = heard.iter().all(|member| member.removed_digest == members.removed_digest);
        let can_say = agree && heard.iter().all(has_all_of_the_gone);
        let low = if can_say { complete.min(clock) } else { Timestamp::ZERO };
        settled.told = settled.told.max(low);
        let stable = heard.iter().map(|member| member.low).chain([low]).min().unwrap_or(low);
        settled.stable = settled.stable.max(stable);
        settled.reached = settled.reached.max(settled.stable);
        let least = |origin| heard.iter().map(|member| member.confirmed.sequence(origin)).min();
        let entry = |(origin, sequence): (NodeId, Sequence)| (origin, least(origin).unwrap_or(sequence).min(sequence));
        settled.covered = ours.iter().map(entry).collect();
        low
    }

    /// Up to which stamp every member has every write of a partition. Grows, until a new member is met.
    pub(super) fn stable(&self, partition: PartitionId) -> Timestamp {
        self.settled(partition).map_or(Timestamp::ZERO, |settled| settled.stable)
    }

    /// What every member had of a partition when it had made no other writes than those that are here: whatever they wrote
    /// or write beyond what this node has, they had this before.
    pub(super) fn covered(&self, partition: PartitionId) -> Option<&VersionVector> {
        self.settled(partition).map(|settled| &settled.covered)
    }

    /// The greatest low that this node has told of a partition. Whoever was not counted then must not get an own write
    /// from before by push: others may have dropped, on the word of this node, the tombstone that hides it.
    pub(super) fn told(&self, partition: PartitionId) -> Timestamp {
        self.settled(partition).map_or(Timestamp::ZERO, |settled| settled.told)
    }

    /// The least of the stable times that the partitions have reached.
    pub(super) fn least_reached(&self) -> Timestamp {
        self.partitions.iter().map(|settled| settled.reached).min().unwrap_or(Timestamp::ZERO)
    }

    /// The members whose writes we lack beyond `bound`, and if there are none, those who told a low before it.
    pub(super) fn held_back_by(&self, bound: Timestamp, members: &BTreeSet<NodeId>) -> Vec<NodeId> {
        let is_behind = |node: &NodeId, look: fn(&Heard) -> Timestamp| {
            let Some(slots) = self.heard.get(node) else { return true };
            slots.iter().any(|slot| slot.as_ref().is_none_or(|member| look(member) < bound))
        };
        let away: Vec<NodeId> =
            members.iter().copied().filter(|node| is_behind(node, |member| member.complete)).collect();
        if !away.is_empty() {
            return away;
        }
        members.iter().copied().filter(|node| is_behind(node, |member| member.low)).collect()
    }

    fn settled(&self, partition: PartitionId) -> Option<&Settled> {
        self.partitions.get(partition.index())
    }
}

impl Heard {
    /// We have so many of its writes.
    fn confirm(&mut self, position: Sequence) {
        for report in [&self.oldest, &self.last] {
            if position >= report.own && report.clock > self.complete {
                self.complete = report.clock;
                self.confirmed = report.vector.clone();
            }
        }
    }
}

#[cfg(test)]
mod tests;
