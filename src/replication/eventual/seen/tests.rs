//! The law: a log answers as a full history of vectors would, whatever was pushed, fetched and trimmed.

use proptest::prelude::*;

use super::*;

const NODES: u64 = 4;

/// The dumb twin: for each write of each node its vector at that moment.
#[derive(Default)]
struct History(BTreeMap<(NodeId, Sequence), VersionVector>);

/// A node reduced to its vector and its log.
struct Node {
    vector: VersionVector,
    log: SeenLog,
}

struct World {
    nodes: BTreeMap<NodeId, Node>,
    history: History,
    /// Whether logs may forget, so that they may answer too little.
    is_bounded: bool,
}

#[derive(Clone, Debug)]
enum Step {
    Write { node: u64 },
    Push { from: u64, to: u64, writes: u64 },
    Fetch { from: u64, to: u64 },
    Positions { from: u64, to: u64 },
}

fn step() -> impl Strategy<Value = Step> {
    let node = || 1..=NODES;
    prop_oneof![
        4 => node().prop_map(|node| Step::Write { node }),
        3 => (node(), node(), 1u64..4).prop_map(|(from, to, writes)| Step::Push { from, to, writes }),
        1 => (node(), node()).prop_map(|(from, to)| Step::Fetch { from, to }),
        1 => (node(), node()).prop_map(|(from, to)| Step::Positions { from, to }),
    ]
}

impl World {
    fn new(steps_max: usize) -> World {
        let node = || Node { vector: VersionVector::new(), log: SeenLog::with_bound(steps_max) };
        let nodes = (1..=NODES).map(|id| (NodeId(id), node())).collect();
        World { nodes, history: History::default(), is_bounded: steps_max < 1000 }
    }

    fn take(&mut self, step: &Step) {
        match *step {
            Step::Write { node } => {
                let id = NodeId(node);
                let node = self.nodes.get_mut(&id).unwrap();
                let sequence = node.vector.sequence(id).next();
                self.history.0.insert((id, sequence), node.vector.clone());
                node.vector.raise(id, sequence);
            }
            Step::Push { from, to, .. } | Step::Fetch { from, to } | Step::Positions { from, to } if from == to => {}
            Step::Push { from, to, writes } => self.push(NodeId(from), NodeId(to), writes),
            Step::Fetch { from, to } => self.fetch(NodeId(from), NodeId(to)),
            Step::Positions { from, to } => {
                let vector = self.nodes[&NodeId(from)].vector.clone();
                let log = &mut self.nodes.get_mut(&NodeId(to)).unwrap().log;
                log.trim(NodeId(from), &vector);
                assert!(!log.has_excess(NodeId(from), &vector));
            }
        }
    }

    fn push(&mut self, from: NodeId, to: NodeId, writes: u64) {
        let position = self.nodes[&to].vector.sequence(from);
        let last = position.plus(writes).min(self.nodes[&from].vector.sequence(from));
        let steps = self.nodes[&from].log.within(from, position.next(), last);
        self.arrive(to, steps, &VersionVector::from_iter([(from, last)]));
    }

    fn fetch(&mut self, from: NodeId, to: NodeId) {
        let vector = self.nodes[&from].vector.clone();
        let steps = self.nodes[&from].log.between(&self.nodes[&to].vector, &vector);
        self.arrive(to, steps, &vector);
    }

    /// A node learns steps, judges the new writes by them, and takes note of what it has now applied.
    fn arrive(&mut self, to: NodeId, steps: Vec<SeenStep>, vector: &VersionVector) {
        let node = self.nodes.get_mut(&to).unwrap();
        steps.into_iter().filter(|step| step.writer != to).for_each(|step| node.log.note(step));
        for (writer, last) in vector.iter().filter(|&(writer, _)| writer != to) {
            let first = node.vector.sequence(writer).next();
            for at in (first.0..=last.0).map(Sequence) {
                let (expected, seen) = (self.history.0[&(writer, at)].sequence(to), node.log.seen(writer, to, at));
                assert!(seen == expected || (self.is_bounded && seen < expected), "{seen} is not {expected}");
            }
            if first <= last {
                node.vector.raise(writer, last);
                node.log.trim_pair(writer, to, last);
                let from = node.vector.sequence(to).next();
                node.log.note(SeenStep { writer: to, of: writer, from, seen: last });
            }
        }
    }
}

fn steps_of(log: &SeenLog) -> usize {
    log.pairs.values().map(BTreeMap::len).sum()
}

proptest! {
    #[test]
    fn a_log_answers_as_a_full_history_would(steps in prop::collection::vec(step(), 0..300)) {
        let mut world = World::new(usize::MAX);
        steps.iter().for_each(|step| world.take(step));
        for node in world.nodes.values() {
            prop_assert_eq!(node.log.steps, steps_of(&node.log));
            prop_assert_eq!(node.log.forgotten(), 0);
        }
    }

    #[test]
    fn a_full_log_stays_full_and_never_answers_too_much(
        steps in prop::collection::vec(step(), 0..300), steps_max in 1usize..20,
    ) {
        let mut world = World::new(steps_max);
        steps.iter().for_each(|step| world.take(step));
        for node in world.nodes.values() {
            prop_assert_eq!(node.log.steps, steps_of(&node.log));
            prop_assert!(node.log.steps <= steps_max);
        }
    }
}

#[test]
fn when_all_have_all_one_step_a_pair_is_left() {
    let mut world = World::new(usize::MAX);
    for round in 0..50 {
        world.take(&Step::Write { node: 1 + round % NODES });
        for (from, to) in (1..=NODES).flat_map(|from| (1..=NODES).map(move |to| (from, to))) {
            world.take(&Step::Push { from, to, writes: 100 });
        }
    }
    for (from, to) in (1..=NODES).flat_map(|from| (1..=NODES).map(move |to| (from, to))) {
        world.take(&Step::Positions { from, to });
    }
    for (id, node) in &mut world.nodes {
        assert!(node.log.steps <= (NODES * (NODES - 1)) as usize, "{} steps", node.log.steps);
        node.log.forget_node(NodeId(1 + id.0 % NODES));
        assert_eq!(node.log.steps, steps_of(&node.log));
        assert!(node.log.pairs.keys().all(|(_, of)| of.0 != 1 + id.0 % NODES));
    }
}
