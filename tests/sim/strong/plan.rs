//! What a seed means for the strong group: its size, its disks, the load, and which faults there are.

use std::time::Duration;

use kvstore::config::{DiskBounds, Durability, GroupBounds};
use rand::{rngs::StdRng, seq::IndexedRandom, Rng, SeedableRng};

use crate::plan::{mix, Plan, Storage};

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// A process or machine dies, the leader every other time.
    Crash,
    /// As many die at once as the group can do without.
    Minority,
    /// All machines die at once.
    Blackout,
    /// A voter loses its power in the moment in which somebody is elected, and is back soon.
    ElectionCrash,
    /// A node is stopped in order, and started again.
    Stop,
    /// A node dies for good, with its disk; somebody new comes in its place.
    Wipe,
    /// A member is taken out of the group; somebody new comes in its place.
    Remove,
    /// The leader is told to let another lead.
    MoveLeader,
    /// Two groups do not hear each other.
    Split,
    /// One node, the leader every other time, hears no other.
    Isolate,
    /// One pair does not hear each other.
    Cut,
    /// One of a pair does not hear the other.
    OneWay,
    /// Two groups hear each other through one node alone.
    Bridge,
    /// Everything to and from a node, clients included, is held, and comes later all at once.
    Pause,
    /// One link is slow.
    Slow,
    /// A wall clock jumps.
    ClockJump,
    /// A wall clock runs fast or slow.
    ClockRate,
    /// A sync or write of a disk fails, once.
    DiskFails,
    /// A disk is full for a while.
    DiskFull,
}

impl Fault {
    pub const ALL: [Fault; 19] = [
        Fault::Crash,
        Fault::Minority,
        Fault::Blackout,
        Fault::ElectionCrash,
        Fault::Stop,
        Fault::Wipe,
        Fault::Remove,
        Fault::MoveLeader,
        Fault::Split,
        Fault::Isolate,
        Fault::Cut,
        Fault::OneWay,
        Fault::Bridge,
        Fault::Pause,
        Fault::Slow,
        Fault::ClockJump,
        Fault::ClockRate,
        Fault::DiskFails,
        Fault::DiskFull,
    ];

    pub fn name(self) -> &'static str {
        match self {
            Fault::Crash => "fault: crash",
            Fault::Minority => "fault: minority",
            Fault::Blackout => "fault: blackout",
            Fault::ElectionCrash => "fault: election_crash",
            Fault::Stop => "fault: stop",
            Fault::Wipe => "fault: wipe",
            Fault::Remove => "fault: remove",
            Fault::MoveLeader => "fault: move_leader",
            Fault::Split => "fault: split",
            Fault::Isolate => "fault: isolate",
            Fault::Cut => "fault: cut",
            Fault::OneWay => "fault: one_way",
            Fault::Bridge => "fault: bridge",
            Fault::Pause => "fault: pause",
            Fault::Slow => "fault: slow",
            Fault::ClockJump => "fault: clock_jump",
            Fault::ClockRate => "fault: clock_rate",
            Fault::DiskFails => "fault: disk_fails",
            Fault::DiskFull => "fault: disk_full",
        }
    }

    /// Whether nodes can suffer it that do not come back as who they were, because they have no disk or do not wait for it:
    /// such a group outlives neither the loss of its majority nor a crash before the last one is made good.
    fn is_without_disk(self) -> bool {
        !matches!(self, Fault::Minority | Fault::Blackout | Fault::ElectionCrash | Fault::DiskFails | Fault::DiskFull)
    }
}

/// Everything that is drawn before a run.
#[derive(Clone, Debug)]
pub struct StrongPlan {
    /// Hosts, disks and network, as for the eventual engine.
    pub base: Plan,
    pub faults: Vec<Fault>,
    /// Those that write and read.
    pub workers: usize,
    /// Those that take leases and locks.
    pub holders: usize,
    /// Keys of each kind.
    pub keys: usize,
}

impl StrongPlan {
    pub fn of(seed: u64) -> StrongPlan {
        let mut rng = StdRng::seed_from_u64(mix(&[seed, 21]));
        let nodes = [3, 3, 5][rng.random_range(0..3)];
        let storage = storage(&mut rng);
        let is_synchronous = storage.is_some_and(|storage| storage.durability == Durability::Sync);
        let may_be = |fault: &Fault| is_synchronous || fault.is_without_disk();
        let mut faults: Vec<Fault> = Fault::ALL.into_iter().filter(may_be).filter(|_| rng.random_bool(0.35)).collect();
        while faults.len() < 3 {
            let more =
                *[Fault::Crash, Fault::Isolate, Fault::MoveLeader, Fault::Pause].choose(&mut rng).expect("not empty");
            if !faults.contains(&more) {
                faults.push(more);
            }
        }
        let peers = (0..nodes).map(|number| (0..nodes).filter(|&peer| peer != number).collect()).collect();
        let bounds = GroupBounds {
            snapshot_entries: [20, 60, 300][rng.random_range(0..3)],
            entries_kept: [1, 5, 20][rng.random_range(0..3)],
        };
        // Some bridges stand for longer than it may take to find a leader beside them.
        let is_long = rng.random_bool(0.15);
        let base = Plan {
            seed,
            nodes,
            clients: 0,
            watchers: 0,
            keys: 0,
            peers,
            late: vec![Duration::ZERO; nodes],
            chaos: Duration::from_millis(if is_long {
                rng.random_range(45_000..60_000)
            } else {
                rng.random_range(12_000..24_000)
            }),
            mend_max_ms: if is_long { 30_000 } else { 6000 },
            faults: Vec::new(),
            fault_every: Duration::from_millis(rng.random_range(500..2500)),
            think_max_ms: [30, 100, 200][rng.random_range(0..3)] * if is_long { 2 } else { 1 },
            padding_max: 0,
            latency_ms: (rng.random_range(1..3), rng.random_range(4..25)),
            storage,
            group: bounds,
        };
        let (workers, holders) = (rng.random_range(2..=3), rng.random_range(1..=2));
        StrongPlan { base, faults, workers, holders, keys: rng.random_range(2..=4) }
    }
}

/// Three of four seeds have disks.
fn storage(rng: &mut StdRng) -> Option<Storage> {
    if rng.random_bool(0.25) {
        return None;
    }
    let durability = if rng.random_bool(0.2) { Durability::Interval } else { Durability::Sync };
    let bounds = DiskBounds {
        segment_bytes: [8 << 10, 64 << 10][rng.random_range(0..2)],
        preallocate_bytes: [1 << 10, 16 << 10][rng.random_range(0..2)],
        checkpoint_bytes: [4 << 10, 64 << 10][rng.random_range(0..2)],
    };
    Some(Storage { durability, bounds, turn_max_ms: [0, 3, 10, 25][rng.random_range(0..4)] })
}
