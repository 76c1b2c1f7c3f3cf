//! Many detectors in one thread, on links that lose, cut and stand still, all drawn from one seed.

use rand::Rng;

use super::*;

const TICK: Duration = Duration::from_millis(25);

/// The promise: a dead member is seen dead by all within this.
const DETECTED_WITHIN: Duration = Duration::from_secs(5);

struct Cluster {
    rng: StdRng,
    now: Duration,
    nodes: Vec<Node>,
    /// Which pairs have a link.
    links: Vec<Vec<bool>>,
    /// Of 100 messages.
    loss_percent: u32,
}

struct Node {
    detector: Detector,
    is_up: bool,
    is_paused: bool,
    /// What arrived and was not read yet.
    inbox: VecDeque<(NodeId, Bytes)>,
}

fn id(index: usize) -> NodeId {
    NodeId(index as u64 + 1)
}

impl Cluster {
    /// All are linked with all and have met.
    fn new(seed: u64, size: usize) -> Cluster {
        let mut rng = StdRng::seed_from_u64(seed);
        let node = |index| Node {
            detector: Detector::new(id(index), rng.next_u64(), Duration::ZERO),
            is_up: true,
            is_paused: false,
            inbox: VecDeque::new(),
        };
        let nodes = (0..size).map(node).collect();
        let links = vec![vec![false; size]; size];
        let mut cluster = Cluster { rng, now: Duration::ZERO, nodes, links, loss_percent: 0 };
        cluster.link(|_, _| true);
        cluster.run(Duration::from_secs(2));
        cluster.assert_all_alive();
        cluster
    }

    /// From now on these pairs have links; a new one begins with a greeting from both sides.
    fn link(&mut self, is_linked: impl Fn(usize, usize) -> bool) {
        for a in 0..self.nodes.len() {
            for b in (0..self.nodes.len()).filter(|&b| b != a) {
                let is_linked = is_linked(a, b) && self.nodes[a].is_up && self.nodes[b].is_up;
                match (is_linked, self.links[a][b]) {
                    (true, false) => self.nodes[a].detector.linked(self.now, id(b)),
                    (false, true) => self.nodes[a].detector.parted(id(b)),
                    (true, true) | (false, false) => {}
                }
                self.links[a][b] = is_linked;
            }
        }
    }

    fn kill(&mut self, index: usize) {
        self.nodes[index].is_up = false;
        let links = self.links.clone();
        self.link(|a, b| links[a][b]);
    }

    fn run(&mut self, time: Duration) {
        let end = self.now + time;
        while self.now < end {
            self.now += TICK;
            for index in 0..self.nodes.len() {
                self.step(index);
            }
        }
    }

    fn step(&mut self, index: usize) {
        let node = &mut self.nodes[index];
        if !node.is_up || node.is_paused {
            return;
        }
        node.detector.tick(self.now);
        for (from, message) in std::mem::take(&mut node.inbox) {
            node.detector.handle(self.now, from, &message).unwrap();
        }
        for (to, message) in node.detector.take_messages().collect::<Vec<_>>() {
            let to = to.0 as usize - 1;
            if self.links[index][to] && self.rng.random_range(0..100) >= self.loss_percent {
                self.nodes[to].inbox.push_back((id(index), message));
            }
        }
    }

    fn verdict(&self, of: usize, on: usize) -> Option<Verdict> {
        self.nodes[of].detector.verdicts().get(&id(on)).copied()
    }

    /// The opinions that the living have of a member.
    fn verdicts_on(&self, on: usize) -> Vec<Option<Verdict>> {
        let others = (0..self.nodes.len()).filter(|&of| of != on && self.nodes[of].is_up);
        others.map(|of| self.verdict(of, on)).collect()
    }

    fn assert_all_alive(&self) {
        for on in 0..self.nodes.len() {
            let verdicts = self.verdicts_on(on);
            assert!(verdicts.iter().all(|verdict| *verdict == Some(Verdict::Alive)), "{on}: {verdicts:?}");
        }
    }
}

#[test]
fn a_killed_member_is_seen_down_by_all_in_time_and_nobody_else_is() {
    for (seed, size) in (0..40).zip([2, 3, 4, 5, 9].into_iter().cycle()) {
        let mut cluster = Cluster::new(seed, size);
        let phase = Duration::from_millis(cluster.rng.random_range(0..2000));
        cluster.run(phase);
        cluster.kill(0);
        cluster.run(DETECTED_WITHIN);
        assert!(cluster.verdicts_on(0).iter().all(|verdict| *verdict == Some(Verdict::Down)), "seed {seed}");
        for on in 1..size {
            assert!(cluster.verdicts_on(on).iter().all(|verdict| *verdict == Some(Verdict::Alive)), "seed {seed}");
        }
    }
}

#[test]
fn lost_messages_kill_nobody() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(seed, 5);
        cluster.loss_percent = 10;
        for _ in 0..240 {
            cluster.run(Duration::from_millis(250));
            for on in 0..5 {
                let verdicts = cluster.verdicts_on(on);
                assert!(!verdicts.contains(&Some(Verdict::Down)), "seed {seed}: {on} is thought {verdicts:?}");
            }
        }
        // So much loss may raise a false alarm, which is taken back.
        cluster.loss_percent = 30;
        cluster.run(Duration::from_secs(60));
        cluster.loss_percent = 0;
        cluster.run(Duration::from_secs(8));
        cluster.assert_all_alive();
    }
}

#[test]
fn a_broken_link_alone_is_no_death_because_others_vouch() {
    for seed in 0..10 {
        let mut cluster = Cluster::new(seed, 3);
        cluster.link(|a, b| a + b != 1);
        for _ in 0..60 {
            cluster.run(Duration::from_millis(250));
            assert_ne!(cluster.verdict(0, 1), Some(Verdict::Down), "seed {seed}");
            assert_ne!(cluster.verdict(1, 0), Some(Verdict::Down), "seed {seed}");
        }
    }
}

#[test]
fn halves_that_declared_each_other_dead_find_together_again() {
    for (seed, size) in (0..20).zip([2, 3, 4, 7].into_iter().cycle()) {
        let mut cluster = Cluster::new(seed, size);
        cluster.link(|a, b| (a < size / 2) == (b < size / 2));
        cluster.run(Duration::from_secs(20));
        assert_eq!(cluster.verdict(0, size - 1), Some(Verdict::Down), "seed {seed}");
        cluster.link(|_, _| true);
        cluster.run(Duration::from_secs(10));
        cluster.assert_all_alive();
    }
}

#[test]
fn a_pause_of_a_second_kills_nobody_and_a_long_one_is_forgiven() {
    for seed in 0..20 {
        let mut cluster = Cluster::new(seed, 3);
        for (pause, may_die) in [(1000, false), (10_000, true)] {
            cluster.nodes[0].is_paused = true;
            cluster.run(Duration::from_millis(pause));
            assert_eq!(cluster.verdicts_on(0).contains(&Some(Verdict::Down)), may_die, "seed {seed}, {pause} ms");
            cluster.nodes[0].is_paused = false;
            for _ in 0..20 {
                cluster.run(Duration::from_millis(250));
                for on in 1..3 {
                    assert_ne!(cluster.verdict(0, on), Some(Verdict::Down), "seed {seed}: it was itself that slept");
                }
                assert!(may_die || !cluster.verdicts_on(0).contains(&Some(Verdict::Down)), "seed {seed}");
            }
            cluster.run(Duration::from_secs(5));
            cluster.assert_all_alive();
        }
    }
}

#[test]
fn a_forgotten_member_is_unknown() {
    let mut cluster = Cluster::new(1, 3);
    cluster.kill(0);
    let now = cluster.now;
    (1..3).for_each(|of| cluster.nodes[of].detector.forget(now, id(0)));
    assert_eq!(cluster.verdicts_on(0), [None, None]);
    assert_eq!(cluster.verdict(1, 2), Some(Verdict::Alive));
}

#[test]
fn what_no_correct_member_sends_is_refused() {
    let mut detector = Detector::new(id(0), 1, Duration::ZERO);
    detector.linked(Duration::ZERO, id(1));
    let (to, greeting) = detector.take_messages().next().unwrap();
    assert_eq!(to, id(1));
    let mut other = Detector::new(id(1), 2, Duration::ZERO);
    assert_eq!(other.handle(Duration::ZERO, id(2), &greeting), Err(DetectorError::WrongSender));
    let cut = other.handle(Duration::ZERO, id(0), &greeting[..20]);
    assert!(matches!(cut, Err(DetectorError::Malformed(_))), "{cut:?}");
    assert!(other.verdicts().is_empty());
    assert_eq!(other.handle(Duration::ZERO, id(0), &greeting), Ok(()));
    assert_eq!(other.verdicts(), BTreeMap::from([(id(0), Verdict::Alive)]));
}

#[test]
fn what_a_hostile_member_can_make_it_remember_is_bounded() {
    let mut detector = Detector::new(id(0), 1, Duration::ZERO);
    for stranger in 0..2 * DETECTED_MEMBERS_MAX {
        let mut other = Detector::new(id(stranger + 1), 1, Duration::ZERO);
        other.linked(Duration::ZERO, id(0));
        let (_, greeting) = other.take_messages().next().unwrap();
        detector.handle(Duration::ZERO, id(stranger + 1), &greeting).unwrap();
        let _answers = detector.take_messages().count();
    }
    assert_eq!(detector.verdicts().len(), DETECTED_MEMBERS_MAX);
}
