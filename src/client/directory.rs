//! The nodes that a client knows, and which of them is the best: as a state machine without I/O.
//!
//! Some were *given* by the user; they stay for ever. Others were *learned* from the answers of nodes; they go when the cluster
//! has removed them, or when nobody tells of them any more. A node of another cluster than the first that answered is refused.
//!
//! The best is any of those that are as near as the nearest, at random: the latency window of MongoDB's server selection, which
//! needs to know nothing about the load of nodes and yet spreads clients over all that are near. Its members are those that have
//! answered a question; before them a client has only the nodes that were given, all alike, so that many clients with the same
//! list spread from the beginning. A node that failed is avoided for a time that doubles, and comes after every other one then,
//! until it has answered again.
//!
//! All calls of a client go to one node, its *home*, for as long as it is well: a change costs a question about the session.
//! Another one becomes home when this one fails, or when the other is clearly nearer ([`Directory::move_home`]).
//!
//! Not done: nothing is known of the load of nodes, so clients do not move to a node that has come back to have less company.

use std::{collections::BTreeSet, time::Duration};

use crate::{
    limits::{
        CLIENT_ABSENCES_MAX, CLIENT_AVOID_FIRST, CLIENT_AVOID_MAX, CLIENT_LOOKS_MAX, CLIENT_MOVE_GAIN,
        CLIENT_MOVE_GAIN_LEARNED, CLIENT_NEAR,
    },
    types::{Address, ClusterView, NodeId},
};

/// See the module.
pub(super) struct Directory {
    /// Given ones first, in their order.
    nodes: Vec<Node>,
    /// As the first answer said.
    cluster: Option<String>,
    /// Where calls go.
    home: Option<Address>,
    /// How often a nearer node became home.
    moves: u64,
}

struct Node {
    address: Address,
    is_given: bool,
    /// As it said itself, or others of it.
    id: Option<NodeId>,
    /// The round trip to it; `None`: not measured.
    distance: Option<Duration>,
    trouble: Option<Trouble>,
    /// Answers in a row that did not mention it.
    absences: u32,
}

/// Why a node is avoided.
struct Trouble {
    problem: String,
    /// In a row.
    failures: u32,
    until: Duration,
}

/// Which nodes come first.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Rank {
    /// It answered when it was asked last.
    Proven,
    Given,
    Learned,
    /// It failed a while ago, and has not answered since.
    Doubtful,
    Avoided,
}

impl Node {
    fn new(address: Address, is_given: bool) -> Node {
        Node { address, is_given, id: None, distance: None, trouble: None, absences: 0 }
    }

    fn rank(&self, now: Duration) -> Rank {
        match &self.trouble {
            Some(trouble) if now < trouble.until => Rank::Avoided,
            Some(_) => Rank::Doubtful,
            None if self.distance.is_some() => Rank::Proven,
            None if self.is_given => Rank::Given,
            None => Rank::Learned,
        }
    }
}

impl Directory {
    /// At least one node.
    pub(super) fn new(given: &[Address]) -> Directory {
        assert!(!given.is_empty(), "a client has at least one target");
        let mut nodes: Vec<Node> = Vec::with_capacity(given.len());
        for address in given {
            if nodes.iter().all(|node| node.address != *address) {
                nodes.push(Node::new(address.clone(), true));
            }
        }
        Directory { nodes, cluster: None, home: None, moves: 0 }
    }

    /// How many nodes there are to try.
    pub(super) fn len(&self) -> usize {
        self.nodes.len()
    }

    /// One by its place: given ones first, in their order.
    pub(super) fn address(&self, place: usize) -> &Address {
        &self.nodes[place % self.nodes.len()].address
    }

    /// Whether a node is still one of them.
    pub(super) fn knows(&self, address: &Address) -> bool {
        self.node(address).is_some()
    }

    /// Where a node is, if it is known and not avoided.
    pub(super) fn address_of(&self, id: NodeId, now: Duration) -> Option<&Address> {
        let node = self.nodes.iter().find(|node| node.id == Some(id))?;
        (node.rank(now) != Rank::Avoided).then_some(&node.address)
    }

    /// Where calls go.
    pub(super) fn home(&self) -> Option<&Address> {
        self.home.as_ref()
    }

    /// Changes when a nearer node has become home.
    pub(super) fn moves(&self) -> u64 {
        self.moves
    }

    /// Where to go when these were tried in vain: home, unless that is one of them or not well. Where home is not well, what is
    /// chosen becomes home. `draw` is any number.
    pub(super) fn choose(&mut self, now: Duration, draw: u64, tried: &BTreeSet<Address>) -> Address {
        let home = self.home.as_ref().and_then(|home| self.node(home)).filter(|node| node.trouble.is_none());
        if let Some(home) = home {
            if !tried.contains(&home.address) {
                return home.address.clone();
            }
            return self.pick(now, draw, tried);
        }
        let chosen = self.pick(now, draw, tried);
        self.home = Some(chosen.clone());
        chosen
    }

    /// The best but these, if there are others; `draw` is any number.
    pub(super) fn pick(&self, now: Duration, draw: u64, tried: &BTreeSet<Address>) -> Address {
        let untried: Vec<&Node> = self.nodes.iter().filter(|node| !tried.contains(&node.address)).collect();
        let pool = if untried.is_empty() { self.nodes.iter().collect() } else { untried };
        let rank = pool.iter().map(|node| node.rank(now)).min().expect("there is at least one node");
        let mut best: Vec<&Node> = pool.into_iter().filter(|node| node.rank(now) == rank).collect();
        if rank == Rank::Proven {
            let nearest = best.iter().filter_map(|node| node.distance).min().unwrap_or_default();
            let window = nearest + CLIENT_NEAR.max(nearest / 4);
            best.retain(|node| node.distance.is_some_and(|distance| distance <= window));
        }
        best[(draw % best.len() as u64) as usize].address.clone()
    }

    /// A node answered, and is well.
    pub(super) fn reached(&mut self, address: &Address) {
        if let Some(node) = self.node_mut(address) {
            node.trouble = None;
        }
    }

    /// Calls go to this node, whichever is best.
    pub(super) fn settle(&mut self, address: &Address) {
        self.home = Some(address.clone());
    }

    /// Calls still go to this node, which is well; so it is home, if no other is.
    pub(super) fn settle_if_homeless(&mut self, address: &Address) {
        self.home.get_or_insert_with(|| address.clone());
    }

    /// The round trip to a node was measured.
    pub(super) fn measured(&mut self, address: &Address, distance: Duration) {
        if let Some(node) = self.node_mut(address) {
            (node.distance, node.trouble) = (Some(distance), None);
        }
    }

    /// A node is of no use for now. `draw` is any number.
    pub(super) fn failed(&mut self, address: &Address, now: Duration, draw: u64, problem: String) {
        if self.home.as_ref() == Some(address) {
            self.home = None;
        }
        let Some(node) = self.node_mut(address) else { return };
        let failures = node.trouble.as_ref().map_or(1, |trouble| trouble.failures.saturating_add(1));
        let middle = CLIENT_AVOID_FIRST.saturating_mul(2_u32.saturating_pow(failures - 1)).min(CLIENT_AVOID_MAX);
        // Between three quarters and five quarters, so that many clients do not come back at once.
        let pause = middle * 3 / 4 + middle / 2 * (draw % 1024) as u32 / 1024;
        node.trouble = Some(Trouble { problem, failures, until: now.saturating_add(pause) });
    }

    /// The problem of a node, for lists that are gone through in order.
    pub(super) fn note(&mut self, address: &Address, problem: String) {
        if let Some(node) = self.node_mut(address) {
            node.trouble = Some(Trouble { problem, failures: 1, until: Duration::ZERO });
        }
    }

    /// Why nodes are avoided, for people.
    pub(super) fn problems(&self) -> String {
        let problem = |node: &Node| node.trouble.as_ref().map(|why| format!("{}: {}", node.address, why.problem));
        let problems: Vec<String> = self.nodes.iter().filter_map(problem).collect();
        problems.join("; ")
    }

    /// Takes in what the node at this address says of itself and of the others.
    ///
    /// # Errors
    /// Why nothing may be asked of it: it is of another cluster, or does not serve while others may.
    pub(super) fn heard(&mut self, address: &Address, view: ClusterView) -> Result<(), String> {
        let first = self.cluster.get_or_insert_with(|| view.cluster.clone()).clone();
        if first != view.cluster {
            return Err(format!("it belongs to cluster \"{}\", and not to \"{first}\"", view.cluster));
        }
        if !self.is_given(address) && !self.is_related(&view) {
            return Err(format!("it belongs to another cluster that is called \"{first}\", too"));
        }
        let Some(me) = view.nodes.first() else { return Ok(()) };
        let id = me.node;
        if !view.serving || me.gone {
            // It may have been cut off from the others, so nothing is learned from it either.
            let is_alone = self.nodes.len() == 1;
            return if is_alone { Ok(()) } else { Err("it does not serve".to_string()) };
        }
        if let Some(node) = self.node_mut(address) {
            node.id = Some(id);
        }
        self.learn(&view);
        Ok(())
    }

    /// Whether a node is known, or knows one that is known. A learned address may lead to another node where we are than where the
    /// members are, and clusters may have one name.
    fn is_related(&self, view: &ClusterView) -> bool {
        let mut known = self.nodes.iter().filter_map(|node| node.id);
        known.any(|id| view.nodes.iter().any(|node| node.node == id))
    }

    fn is_given(&self, address: &Address) -> bool {
        self.node(address).is_some_and(|node| node.is_given)
    }

    fn learn(&mut self, view: &ClusterView) {
        let is_gone = |address: &Address| {
            let mut named = view.nodes.iter().filter(|node| node.address == *address).peekable();
            named.peek().is_some() && named.all(|node| node.gone)
        };
        for node in &mut self.nodes {
            let named = view.nodes.iter().find(|named| named.address == node.address && !named.gone);
            node.absences = if named.is_some() { 0 } else { node.absences.saturating_add(1) };
            node.id = named.map(|named| named.node).or(node.id);
        }
        // A node that was given may have another name among the members.
        let given: BTreeSet<NodeId> =
            self.nodes.iter().filter(|node| node.is_given).filter_map(|node| node.id).collect();
        let is_alias = |node: &Node| node.id.is_some_and(|id| given.contains(&id));
        self.nodes.retain(|node| {
            node.is_given || !(is_gone(&node.address) || is_alias(node) || node.absences >= CLIENT_ABSENCES_MAX)
        });
        for named in view.nodes.iter().filter(|named| !named.gone && !given.contains(&named.node)) {
            if self.node(&named.address).is_none() {
                self.nodes.push(Node { id: Some(named.node), ..Node::new(named.address.clone(), false) });
            }
        }
    }

    /// Which nodes to measure beside home: once all that were given and not measured, else one; none that is avoided. `draw` is any
    /// number.
    pub(super) fn to_measure(&self, now: Duration, draw: u64) -> Vec<Address> {
        let is_open = |node: &&Node| node.rank(now) != Rank::Avoided && self.home.as_ref() != Some(&node.address);
        let others: Vec<&Node> = self.nodes.iter().filter(is_open).collect();
        let new = others.iter().filter(|node| node.rank(now) == Rank::Given).take(CLIENT_LOOKS_MAX);
        let new: Vec<Address> = new.map(|node| node.address.clone()).collect();
        if !new.is_empty() || others.is_empty() {
            return new;
        }
        vec![others[(draw % others.len() as u64) as usize].address.clone()]
    }

    /// Whether a node at one distance is worth a move from home at the other.
    pub(super) fn is_clearly_nearer(&self, other: &Address, distance: Duration, home: Duration) -> bool {
        let gain = if self.is_given(other) { CLIENT_MOVE_GAIN } else { CLIENT_MOVE_GAIN_LEARNED };
        distance * 2 + gain < home
    }

    /// Another one is home from now on.
    pub(super) fn move_home(&mut self, to: Address) {
        self.home = Some(to);
        self.moves += 1;
    }

    fn node(&self, address: &Address) -> Option<&Node> {
        self.nodes.iter().find(|node| node.address == *address)
    }

    fn node_mut(&mut self, address: &Address) -> Option<&mut Node> {
        self.nodes.iter_mut().find(|node| node.address == *address)
    }
}

#[cfg(test)]
mod tests;
