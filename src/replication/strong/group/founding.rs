//! How a node without a group finds one, or founds it.
//!
//! A node asks everybody it knows: those it was told to talk to, those that have asked it, and those whom they know. If one has a
//! group, the node joins it. Only when all of them have answered that they have none does the one with the lowest address found
//! the group, alone; the others join it.
//!
//! Why no two are founded: a node that answers "I have none" knows the asker from then on, and takes it into account in
//! one step with its own decision. So of two nodes that both decide to found, the one that was asked later by the other
//! (at some distance) had already founded when it was asked, or knew of the lower address.
//!
//! The price: a node that was asked by one which then died for good, before either had a group, waits until it is back.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::Weak,
};

use openraft::BasicNode;
use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{
    core::Core,
    message::{Acquaintance, Message, Reply},
};
use crate::{
    limits::{GROUP_ACQUAINTANCES_MAX, GROUP_CALL_TIMEOUT, GROUP_FOUNDING_PAUSE, GROUP_FOUNDING_PAUSE_MAX},
    types::{Address, NodeId},
};

/// What a node knows on its way to a group.
pub(super) struct Founding {
    state: Mutex<State>,
    /// Wakes the node that looks for a group: it was asked by somebody.
    news: Notify,
}

struct State {
    me: Acquaintance,
    /// Addresses to ask; that of the node itself may be among them under another name.
    known: BTreeSet<String>,
    /// Which of them are the node itself.
    own_names: BTreeSet<String>,
    has_group: bool,
    /// There are more addresses than it remembers. Whoever is left out might found a group, so it founds none.
    knows_too_many: bool,
    /// What it waits for, for people.
    waits_for: String,
}

/// What came of a question.
enum Answer {
    HasGroup(String),
    HasNone(Acquaintance),
    Silent,
    Myself,
}

impl Founding {
    pub(super) fn new(me: Acquaintance, peers: &[Address], has_group: bool) -> Founding {
        let known = peers.iter().map(Address::to_string).filter(|peer| *peer != me.address).collect();
        let own_names = BTreeSet::from([me.address.clone()]);
        let state = State { me, known, own_names, has_group, knows_too_many: false, waits_for: String::new() };
        Founding { state: Mutex::new(state), news: Notify::new() }
    }

    /// Answers a node that looks for a group, and knows it from now on. One that it cannot remember gets no answer that counts.
    pub(super) fn asked(&self, sender: Acquaintance, known: Vec<String>) -> Reply {
        let mut state = self.state.lock();
        if !state.has_group && sender.member != state.me.member {
            state.learn([sender.address.clone()].into_iter().chain(known));
            self.news.notify_one();
            if !state.known.contains(&sender.address) && !state.own_names.contains(&sender.address) {
                return Reply::NotLeader(None);
            }
        }
        let receiver = state.me.clone();
        Reply::Asked { receiver, has_group: state.has_group, known: state.known.iter().cloned().collect() }
    }

    /// There is a group, and this node belongs to it.
    pub(super) fn found(&self) {
        self.state.lock().has_group = true;
    }

    /// What this node waits for; `None`: nothing, it has a group.
    pub(super) fn why_not(&self) -> Option<String> {
        let state = self.state.lock();
        (!state.has_group).then(|| state.waits_for.clone())
    }

    fn known(&self) -> Vec<String> {
        self.state.lock().known.iter().cloned().collect()
    }

    /// Decides, in one step with what others are answered, whether this node founds the group, given all that have answered
    /// that they have none.
    fn decide(&self, answered: &BTreeMap<String, Acquaintance>) -> bool {
        let mut state = self.state.lock();
        if state.knows_too_many {
            state.waits_for =
                format!("more than {GROUP_ACQUAINTANCES_MAX} nodes know each other, and none has a group");
            return false;
        }
        let silent: Vec<&str> =
            state.known.iter().filter(|address| !answered.contains_key(*address)).map(String::as_str).collect();
        if !silent.is_empty() {
            state.waits_for = format!("waiting for {}", silent.join(", "));
            return false;
        }
        let me = (&state.me.address, state.me.member);
        let lower = answered.values().find(|other| (&other.address, other.member) < me);
        if let Some(lower) = lower {
            state.waits_for = format!("waiting for {} to found it", lower.address);
            return false;
        }
        state.has_group = true;
        true
    }
}

impl State {
    fn learn(&mut self, addresses: impl IntoIterator<Item = String>) {
        for address in addresses {
            if self.own_names.contains(&address) || self.known.contains(&address) {
                continue;
            }
            match self.known.len() < GROUP_ACQUAINTANCES_MAX {
                true => drop(self.known.insert(address)),
                false => self.knows_too_many = true,
            }
        }
    }

    fn is_me(&mut self, name: &str) {
        self.known.remove(name);
        self.own_names.insert(name.to_string());
    }
}

impl Core {
    /// Asks one address.
    async fn ask_for_group(&self, address: &str) -> Answer {
        let message = Message::Ask { sender: self.me.clone(), known: self.founding.known() };
        let Ok(Reply::Asked { receiver, has_group, known }) =
            self.network.ask((0, address), &message, GROUP_CALL_TIMEOUT).await
        else {
            return Answer::Silent;
        };
        if receiver.member == self.me.member {
            self.founding.state.lock().is_me(address);
            return Answer::Myself;
        }
        if has_group {
            return Answer::HasGroup(address.to_string());
        }
        self.founding.state.lock().learn(known);
        Answer::HasNone(receiver)
    }

    /// One attempt. True: this node has a group.
    async fn look_for_group(&self) -> bool {
        if self.is_member() {
            self.founding.found();
            return true;
        }
        let mut answered = BTreeMap::new();
        let mut open = self.founding.known();
        while let Some(address) = open.pop() {
            match self.ask_for_group(&address).await {
                Answer::HasGroup(address) => {
                    self.ask_to_join(&address).await;
                    return false;
                }
                Answer::HasNone(other) => drop(answered.insert(address, other)),
                Answer::Silent | Answer::Myself => {}
            }
        }
        if !self.founding.decide(&answered) {
            return false;
        }
        let founder = BTreeMap::from([(self.me.member, BasicNode::new(&self.me.address))]);
        match self.raft.initialize(founder).await {
            Ok(()) => tracing::info!(member = %NodeId(self.me.member), "a strong group was founded"),
            // Somebody has made this node a member in the meantime.
            Err(error) => tracing::info!(%error, "no strong group was founded here"),
        }
        true
    }

    async fn ask_to_join(&self, address: &str) {
        let joined = self.network.ask((0, address), &Message::Join(self.me.clone()), GROUP_CALL_TIMEOUT).await;
        let why = match joined {
            Ok(Reply::Done) => "joining; waiting for its leader".to_string(),
            Ok(_) => format!("{address} knows no leader of its group"),
            Err(error) => format!("{address} did not let this node join: {error}"),
        };
        self.founding.state.lock().waits_for = why;
    }

    /// Whether the log says that this node belongs to a group.
    pub(super) fn is_member(&self) -> bool {
        let metrics = self.raft.metrics();
        let metrics = metrics.borrow();
        metrics.membership_config.membership().get_node(&self.me.member).is_some()
    }
}

/// Looks for a group until there is one.
pub(super) async fn run(core: Weak<Core>) {
    let mut pause = GROUP_FOUNDING_PAUSE;
    loop {
        let Some(core) = core.upgrade() else { return };
        if core.look_for_group().await {
            return;
        }
        let jitter = u32::try_from(core.env.rng.next_u64().unwrap_or_default() % 100).unwrap_or_default();
        // Whoever asks will have decided in a moment.
        tokio::time::sleep(GROUP_FOUNDING_PAUSE * jitter / 100).await;
        let _asked = tokio::time::timeout(pause, core.founding.news.notified()).await;
        pause = (pause * 5 / 4).min(GROUP_FOUNDING_PAUSE_MAX);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn node(port: u64) -> Acquaintance {
        Acquaintance { member: port, address: format!("h:{port}") }
    }

    fn founding(port: u64, peers: &[u16]) -> Founding {
        let peers: Vec<Address> = peers.iter().map(|port| Address::new("h", *port).unwrap()).collect();
        Founding::new(node(port), &peers, false)
    }

    fn answered(ports: &[u64]) -> BTreeMap<String, Acquaintance> {
        ports.iter().map(|port| (format!("h:{port}"), node(*port))).collect()
    }

    #[test]
    fn only_the_lowest_founds_and_only_when_all_have_answered() {
        let second = founding(2, &[2, 3]);
        assert!(!second.decide(&answered(&[])), "h:3 has not answered");
        assert_eq!(second.why_not().unwrap(), "waiting for h:3");
        second.asked(node(1), Vec::new());
        assert!(!second.decide(&answered(&[3])), "it was asked by h:1 meanwhile");
        assert!(!second.decide(&answered(&[1, 3])), "h:1 is lower");
        assert_eq!(second.why_not().unwrap(), "waiting for h:1 to found it");
        let first = founding(1, &[2]);
        first.asked(node(3), vec!["h:1".to_string(), "h:2".to_string()]);
        assert!(first.decide(&answered(&[2, 3])));
        assert_eq!(first.why_not(), None);
    }

    #[test]
    fn whoever_is_asked_after_it_decided_says_that_there_is_a_group() {
        let alone = founding(5, &[]);
        assert!(alone.decide(&answered(&[])));
        assert!(matches!(alone.asked(node(1), Vec::new()), Reply::Asked { has_group: true, .. }));
    }

    #[test]
    fn whom_a_node_cannot_remember_it_does_not_answer_and_then_it_founds_nothing() {
        let first = founding(1, &[]);
        let last = GROUP_ACQUAINTANCES_MAX as u64 + 1;
        for port in 2..=last {
            assert!(matches!(first.asked(node(port), Vec::new()), Reply::Asked { has_group: false, .. }));
        }
        assert!(matches!(first.asked(node(last + 1), Vec::new()), Reply::NotLeader(None)));
        assert!(matches!(first.asked(node(last), Vec::new()), Reply::Asked { .. }), "that one is known");
        let all: Vec<u64> = (2..=last).collect();
        assert!(!first.decide(&answered(&all)));
        assert!(first.why_not().unwrap().contains("more than 256"), "{:?}", first.why_not());
    }

    /// Every order of questions, answers and decisions of three nodes, whoever lists whom.
    #[test]
    fn no_two_groups_are_founded_in_any_order() {
        let lists: [[&[u16]; 3]; 5] = [
            [&[2, 3], &[1, 3], &[1, 2]],
            [&[2], &[1], &[2]],
            [&[3], &[3], &[1]],
            [&[2], &[3], &[1]],
            [&[2], &[3], &[2]],
        ];
        for list in lists {
            for seed in 0..2_000u64 {
                let founded = founders(list, seed);
                assert!(founded <= 1, "{list:?} seed {seed}: {founded} groups");
            }
        }
    }

    /// Lets three nodes look for a group, a step of one after a step of another as the seed wants, without ever joining.
    fn founders(lists: [&[u16]; 3], seed: u64) -> usize {
        use crate::env::{Rng, SeededRng};
        let rng = SeededRng::new(seed);
        let nodes: Vec<Founding> = (1..).zip(lists).map(|(port, peers)| founding(port, peers)).collect();
        let mut open: Vec<Vec<String>> = nodes.iter().map(Founding::known).collect();
        let mut heard = vec![BTreeMap::new(); 3];
        let mut founded = 0;
        for _ in 0..60 {
            let who = usize::try_from(rng.next_u64().unwrap() % 3).unwrap();
            if nodes[who].why_not().is_none() {
                continue;
            }
            let Some(address) = open[who].pop() else {
                founded += usize::from(nodes[who].decide(&heard[who]));
                (open[who], heard[who]) = (nodes[who].known(), BTreeMap::new());
                continue;
            };
            let to: usize = address[2..].parse::<usize>().unwrap() - 1;
            let port = u64::try_from(who).unwrap() + 1;
            let Reply::Asked { receiver, has_group, known } = nodes[to].asked(node(port), nodes[who].known()) else {
                unreachable!("that is the answer to a question")
            };
            match has_group {
                true => drop(std::mem::take(&mut heard[who])),
                false => {
                    nodes[who].state.lock().learn(known);
                    heard[who].insert(address, receiver);
                }
            }
        }
        founded
    }
}
