//! Who belongs to the cluster, as this node sees it: everybody it was ever linked with or heard of and who was not removed,
//! connected or not. A node is removed when another incarnation takes its place at its address.

use std::collections::{BTreeMap, BTreeSet};

use xxhash_rust::xxh3::xxh3_64;

use crate::{
    limits::{MEMBERS_MAX, REMOVED_MAX},
    types::{Member, Membership, NodeId},
};

/// The other members, and the nodes that were removed. Two views that saw the same are equal, in whatever order.
#[derive(Debug)]
pub(super) struct View {
    me: Member,
    others: BTreeMap<NodeId, Member>,
    removed: BTreeSet<NodeId>,
    /// There was no room for a member: nothing may be concluded from what the others say.
    is_partial: bool,
}

impl View {
    /// Nobody but this node.
    pub(super) fn new(me: Member) -> View {
        View { me, others: BTreeMap::new(), removed: BTreeSet::new(), is_partial: false }
    }

    /// Takes note of a member. True when it was not counted before.
    pub(super) fn see(&mut self, member: &Member) -> bool {
        let is_known = self.others.contains_key(&member.node) || member.node == self.me.node;
        if is_known || self.removed.contains(&member.node) {
            return false;
        }
        if self.others.len() >= MEMBERS_MAX {
            self.is_partial = true;
            return false;
        }
        // Of two incarnations at one address the later one stands.
        let age = |member: &Member| (member.born_ms, member.node);
        let here = self.others.values().chain([&self.me]).find(|other| other.address == member.address);
        match here.map(|other| (other.node, age(other) > age(member))) {
            Some((_, true)) => {
                self.remove(member.node);
                return false;
            }
            Some((former, false)) if former != self.me.node => self.remove(former),
            Some(_) | None => {}
        }
        self.others.insert(member.node, member.clone());
        true
    }

    /// A node was removed for good.
    pub(super) fn remove(&mut self, node: NodeId) {
        if node == self.me.node {
            return;
        }
        self.others.remove(&node);
        self.removed.insert(node);
        if self.removed.len() > REMOVED_MAX {
            self.removed.pop_first();
        }
    }

    /// Whether a node counts as a member.
    pub(super) fn counts(&self, node: NodeId) -> bool {
        self.others.contains_key(&node)
    }

    /// Every member but this node; `None` when there are too many to know all.
    pub(super) fn others(&self) -> Option<BTreeSet<NodeId>> {
        (!self.is_partial).then(|| self.others.keys().copied().collect())
    }

    /// As told to peers.
    pub(super) fn membership(&self) -> Membership {
        Membership { members: self.others.values().cloned().collect(), removed: self.removed.iter().copied().collect() }
    }

    /// An order-independent hash of the removed nodes.
    pub(super) fn removed_digest(&self) -> u64 {
        self.removed.iter().fold(0, |sum: u64, node| sum.wrapping_add(xxh3_64(&node.0.to_le_bytes())))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::Address;

    fn member(node: u64, port: u16, born_ms: u64) -> Member {
        Member { node: NodeId(node), address: Address::new("node", port).unwrap(), born_ms }
    }

    #[test]
    fn of_two_incarnations_the_later_stands_in_whatever_order_they_are_seen() {
        for order in [[7, 8], [8, 7]] {
            let mut view = View::new(member(1, 1, 0));
            for node in order {
                view.see(&member(node, 2, node));
            }
            assert_eq!(view.others(), Some(BTreeSet::from([NodeId(8)])));
            assert_eq!(view.membership().removed, [NodeId(7)]);
            assert!(!view.see(&member(7, 2, 7)), "what was removed does not come back");
        }
    }

    #[test]
    fn a_view_without_room_for_a_member_knows_that_it_is_partial() {
        let mut view = View::new(member(1, 1, 0));
        (0..MEMBERS_MAX as u16).for_each(|number| assert!(view.see(&member(u64::from(number) + 2, number + 2, 0))));
        assert!(view.others().is_some());
        view.see(&member(9999, 9999, 0));
        assert_eq!(view.others(), None);
    }
}
