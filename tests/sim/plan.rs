//! What a seed means: the size of the cluster, the load, and which faults there are.
//!
//! Each seed enables a random subset of the faults ("swarm testing", Groce et al., ISSTA 2012): a run with all of them at
//! once hides what needs one of them alone.

use std::time::Duration;

use kvstore::config::{DiskBounds, Durability, GroupBounds};
use rand::{rngs::StdRng, Rng, SeedableRng};

/// The kinds of fault.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub enum Fault {
    /// The process dies; its connections are closed, as a kernel does for it.
    Crash,
    /// The machine dies: nobody hears of it.
    Vanish,
    /// The node is stopped in order, and started again.
    Stop,
    /// The cluster is told to remove a node, dead or alive.
    Remove,
    /// Two groups do not hear each other.
    Split,
    /// One node hears nobody, clients included, and nobody hears it.
    Isolate,
    /// One pair does not hear each other.
    Cut,
    /// One of a pair does not hear the other.
    OneWay,
    /// Everything to and from a node is held, and comes later all at once.
    Pause,
    /// One link loses segments. There are no retransmissions, so each costs a connection.
    Loss,
    /// One link is slow, and overtakes itself from one connection to another.
    Slow,
    /// A wall clock jumps, forwards or back.
    ClockJump,
    /// A wall clock runs fast or slow.
    ClockRate,
    /// All machines die at once. With what they had not synced, all of it is gone.
    Blackout,
    /// A sync or write of a disk fails, once.
    DiskFails,
    /// A disk is full for a while.
    DiskFull,
    /// A machine dies, and when it comes back one bit on its disk has turned over.
    BitFlip,
}

impl Fault {
    pub const ALL: [Fault; 17] = [
        Fault::Crash,
        Fault::Vanish,
        Fault::Stop,
        Fault::Remove,
        Fault::Split,
        Fault::Isolate,
        Fault::Cut,
        Fault::OneWay,
        Fault::Pause,
        Fault::Loss,
        Fault::Slow,
        Fault::ClockJump,
        Fault::ClockRate,
        Fault::Blackout,
        Fault::DiskFails,
        Fault::DiskFull,
        Fault::BitFlip,
    ];

    /// Those that need a disk.
    const OF_DISKS: usize = 4;

    pub fn name(self) -> &'static str {
        match self {
            Fault::Crash => "crash",
            Fault::Vanish => "vanish",
            Fault::Stop => "stop",
            Fault::Remove => "remove",
            Fault::Split => "split",
            Fault::Isolate => "isolate",
            Fault::Cut => "cut",
            Fault::OneWay => "one_way",
            Fault::Pause => "pause",
            Fault::Loss => "loss",
            Fault::Slow => "slow",
            Fault::ClockJump => "clock_jump",
            Fault::ClockRate => "clock_rate",
            Fault::Blackout => "blackout",
            Fault::DiskFails => "disk_fails",
            Fault::DiskFull => "disk_full",
            Fault::BitFlip => "bit_flip",
        }
    }
}

/// Everything that is drawn before a run; the nemesis and the clients draw the rest from generators of their own.
#[derive(Clone, Debug)]
pub struct Plan {
    pub seed: u64,
    pub nodes: usize,
    pub clients: usize,
    pub watchers: usize,
    pub keys: usize,
    /// The members each node is given.
    pub peers: Vec<Vec<usize>>,
    /// When each node comes for the first time.
    pub late: Vec<Duration>,
    /// How long chaos lasts.
    pub chaos: Duration,
    /// The longest wait for something broken to be mended. In long runs it is beyond every retention of the nodes.
    pub mend_max_ms: u64,
    pub faults: Vec<Fault>,
    /// Between two faults, on average.
    pub fault_every: Duration,
    /// The longest pause of a client between two calls.
    pub think_max_ms: u64,
    /// The longest padding of a value, in bytes.
    pub padding_max: usize,
    pub latency_ms: (u64, u64),
    /// `None`: nodes live in memory.
    pub storage: Option<Storage>,
    /// How much of its log a member of the strong group keeps.
    pub group: GroupBounds,
}

/// How nodes keep their data.
#[derive(Clone, Copy, Debug)]
pub struct Storage {
    pub durability: Durability,
    pub bounds: DiskBounds,
    /// The longest that the disk takes for a turn, unless it is stuck.
    pub turn_max_ms: u64,
}

impl Storage {
    /// About every other seed has disks. Drawn apart from the rest.
    fn of(rng: &mut StdRng) -> Option<Storage> {
        if rng.random_bool(0.5) {
            return None;
        }
        let durability = match rng.random_range(0..8) {
            0 => Durability::Interval,
            1 => Durability::Memory,
            _ => Durability::Sync,
        };
        let bounds = DiskBounds {
            segment_bytes: [8 << 10, 64 << 10, 256 << 10][rng.random_range(0..3)],
            preallocate_bytes: [1 << 10, 16 << 10][rng.random_range(0..2)],
            checkpoint_bytes: [4 << 10, 64 << 10, 1 << 20][rng.random_range(0..3)],
        };
        Some(Storage { durability, bounds, turn_max_ms: [0, 3, 10, 40][rng.random_range(0..4)] })
    }

    pub fn name(storage: Option<Storage>) -> &'static str {
        storage.map_or("no disk", |storage| storage.durability.as_str())
    }
}

impl Plan {
    pub fn of(seed: u64) -> Plan {
        let mut rng = StdRng::seed_from_u64(mix(&[seed, 1]));
        let nodes = [3, 3, 3, 4, 4, 5][rng.random_range(0..6)];
        let (of_all, of_disks) = Fault::ALL.split_at(Fault::ALL.len() - Fault::OF_DISKS);
        let mut faults: Vec<Fault> = of_all.iter().copied().filter(|_| rng.random_bool(0.4)).collect();
        // One kind alone, on a link that is broken already, may not come to three faults.
        for fault in [Fault::Crash, Fault::Cut, Fault::Stop] {
            if faults.len() < 3 && !faults.contains(&fault) {
                faults.push(fault);
            }
        }
        let mut disk_rng = StdRng::seed_from_u64(mix(&[seed, 6]));
        let storage = Storage::of(&mut disk_rng);
        if let Some(Storage { durability, .. }) = storage {
            let may_be = |fault: &Fault| *fault != Fault::Blackout || durability == Durability::Sync;
            faults.extend(of_disks.iter().copied().filter(may_be).filter(|_| disk_rng.random_bool(0.4)));
        }
        let knows_all = rng.random_bool(0.3);
        // Each knows one that was there before it, the first knows the second; of the rest they have to hear.
        let peers = (0..nodes).map(|number| match (knows_all, number) {
            (true, _) => (0..nodes).filter(|&peer| peer != number).collect(),
            (false, 0) => vec![1],
            (false, _) => vec![0],
        });
        let peers = peers.collect();
        let mut late = vec![Duration::ZERO; nodes];
        if rng.random_bool(0.4) {
            late[nodes - 1] = Duration::from_millis(rng.random_range(1000..12_000));
        }
        let is_long = rng.random_bool(0.15);
        let chaos_ms = if is_long { 50_000..70_000 } else { 10_000..20_000 };
        Plan {
            seed,
            nodes,
            clients: rng.random_range(2..=4),
            watchers: rng.random_range(1..=2),
            keys: [3, 12, 40][rng.random_range(0..3)],
            peers,
            late,
            chaos: Duration::from_millis(rng.random_range(chaos_ms)),
            mend_max_ms: if is_long { 45_000 } else { 9000 },
            faults,
            fault_every: Duration::from_millis(rng.random_range(400..2500)),
            think_max_ms: [20, 80, 250][rng.random_range(0..3)] * if is_long { 3 } else { 1 },
            padding_max: [0, 100, 20_000][rng.random_range(0..3)],
            latency_ms: (rng.random_range(1..4), rng.random_range(5..40)),
            storage,
            group: GroupBounds::default(),
        }
    }
}

/// One number of several (the finaliser of SplitMix64, after each).
pub fn mix(numbers: &[u64]) -> u64 {
    numbers.iter().fold(0x9e37_79b9_7f4a_7c15, |state, number| {
        let mut mixed = (state ^ number).wrapping_add(0x9e37_79b9_7f4a_7c15);
        mixed = (mixed ^ mixed >> 30).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        mixed = (mixed ^ mixed >> 27).wrapping_mul(0x94d0_49bb_1331_11eb);
        mixed ^ mixed >> 31
    })
}
