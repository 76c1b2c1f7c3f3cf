//! The hosts of a simulation and what runs on them.

use std::{
    collections::{BTreeMap, BTreeSet},
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc, Weak,
    },
    time::Duration,
};

use kvstore::{
    config::{Durability, GroupBounds, NodeConfig},
    env::{Disk, Env, SeededRng, SimDisk},
    error::{Error, ErrorCode},
    limits::{REDIAL_MAX, SESSION_LOST_AFTER, SESSION_SILENCE_MAX},
    node::Running,
    replication::eventual::Eventual,
    types::{Address, NodeId, PartitionId, VersionVector},
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use turmoil::Sim;

use super::{
    disks::{HostDisk, DATA_DIR},
    doors::{Contact, SimClock, SimTransport, Traffic},
    plan::{mix, Fault, Plan, Storage},
};

const PORT: u16 = 7001;

/// After so long a node whose disk did not let it start is started again.
const START_AGAIN: Duration = Duration::from_millis(300);

/// How long a node that is told to stop may hand over.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// For so long after a network was healed nodes may not have found each other again.
const RECONNECT_MAX: Duration = SESSION_SILENCE_MAX.saturating_add(REDIAL_MAX).saturating_add(SESSION_LOST_AFTER);

/// A host that runs nodes, one after the other.
pub struct Host {
    pub name: String,
    pub address: Address,
    pub clock: Arc<SimClock>,
    /// Guards the node that runs there now; the host's own task keeps it alive.
    running: Mutex<Weak<Running>>,
    /// Guards the data of that node; they are looked at once more when it is gone.
    keyspace: Mutex<Option<Arc<Eventual>>>,
    /// Incarnations so far.
    started: AtomicU64,
    /// Tells the present incarnation to stop in order.
    stop: Mutex<Arc<Notify>>,
    /// The present incarnation was told to stop.
    is_stopping: AtomicBool,
    /// Guards the disk, which is another one once its node was removed. `None`: nodes live in memory.
    disk: Mutex<Option<Arc<HostDisk>>>,
    /// The last incarnation has closed in order, with everything on its disk.
    has_closed: AtomicBool,
    /// A bit of the disk has turned over since a node was opened on it.
    is_flipped: AtomicBool,
    /// Guards what was found on the disk by the node that runs there now, until somebody looks.
    opened: Mutex<Option<Opened>>,
    /// Starts that were refused, for whatever reason.
    refused: AtomicU64,
}

/// What a node found on its disk.
#[derive(Clone, Debug)]
pub struct Opened {
    /// Who was there before, on the same disk.
    pub former: Option<NodeId>,
    /// It must be the same, unless something was damaged.
    pub must_be_former: bool,
    /// It may be the same: it waited for its disk, or was told to stop.
    pub may_be_former: bool,
    pub is_flipped: bool,
    pub damage: Option<String>,
    pub has_snapshot: bool,
    pub vectors: BTreeMap<PartitionId, VersionVector>,
}

impl Host {
    fn new(name: String, disk: Option<HostDisk>) -> Host {
        let address = Address::new(&name, PORT).expect("the name is a host name");
        Host {
            name,
            address,
            clock: Arc::default(),
            running: Mutex::default(),
            keyspace: Mutex::default(),
            started: AtomicU64::new(0),
            stop: Mutex::default(),
            is_stopping: AtomicBool::new(false),
            disk: Mutex::new(disk.map(Arc::new)),
            has_closed: AtomicBool::new(false),
            is_flipped: AtomicBool::new(false),
            opened: Mutex::default(),
            refused: AtomicU64::new(0),
        }
    }

    pub fn disk(&self) -> Option<Arc<HostDisk>> {
        self.disk.lock().clone()
    }

    /// What the node that runs there found on its disk; told once.
    pub fn take_opened(&self) -> Option<Opened> {
        self.opened.lock().take()
    }

    /// The directory of a removed node is moved away.
    pub fn replace_disk(&self, disk: HostDisk) {
        *self.disk.lock() = Some(Arc::new(disk));
        *self.keyspace.lock() = None;
        self.is_flipped.store(false, Ordering::Relaxed);
    }

    pub fn note_flip(&self) {
        self.is_flipped.store(true, Ordering::Relaxed);
    }

    /// The node, once it is open and until it is gone.
    pub fn running(&self) -> Option<Arc<Running>> {
        self.running.lock().upgrade()
    }

    /// The data of the node, or of the last one that was there.
    pub fn keyspace(&self) -> Option<Arc<Eventual>> {
        self.keyspace.lock().clone()
    }

    /// The node that is there, or the last one that was.
    pub fn last(&self) -> Option<NodeId> {
        self.keyspace.lock().as_ref().map(|keyspace| keyspace.me())
    }

    /// Tells the node to stop in order.
    pub fn stop(&self) {
        self.is_stopping.store(true, Ordering::Relaxed);
        self.stop.lock().notify_one();
    }

    /// Whether the node was told to stop.
    pub fn is_stopping(&self) -> bool {
        self.is_stopping.load(Ordering::Relaxed)
    }
}

/// Every host that runs nodes.
pub struct Hosts {
    pub nodes: Vec<Host>,
    pub traffic: Arc<Traffic>,
    /// `None`: nodes live in memory.
    pub storage: Option<Storage>,
    /// Some wall clock may be wrong at some time.
    pub has_clock_faults: bool,
    /// Nothing that was acknowledged may be lost, whatever happens: nodes wait for their disks, none is removed, and no bit
    /// turns over.
    pub loses_nothing: bool,
    /// Guards whom the cluster was told to remove.
    removed: Mutex<BTreeSet<NodeId>>,
    /// When a link was last seen broken, in milliseconds; 0: never.
    cut_ms: AtomicU64,
    seed: u64,
    group: GroupBounds,
}

impl Hosts {
    pub fn new(plan: &Plan) -> Arc<Hosts> {
        let disk = |number: usize| plan.storage.map(|storage| new_disk(plan.seed, storage, number, 0));
        let nodes = (0..plan.nodes).map(|number| Host::new(format!("n{number}"), disk(number))).collect();
        let has_clock_faults = plan.faults.iter().any(|fault| matches!(fault, Fault::ClockJump | Fault::ClockRate));
        let (traffic, removed, cut_ms) = Default::default();
        let (storage, seed, group) = (plan.storage, plan.seed, plan.group);
        let loses_nothing = storage.is_some_and(|storage| storage.durability == Durability::Sync)
            && !plan.faults.iter().any(|fault| matches!(fault, Fault::Remove | Fault::BitFlip));
        Arc::new(Hosts { nodes, traffic, storage, has_clock_faults, loses_nothing, removed, cut_ms, seed, group })
    }

    /// Nodes wait for their disks before they acknowledge.
    pub fn is_synchronous(&self) -> bool {
        self.storage.is_some_and(|storage| storage.durability == Durability::Sync)
    }

    /// The nodes that are not there now, and will be again with everything that they acknowledged.
    pub fn dormant(&self) -> BTreeSet<NodeId> {
        let is_dormant = |host: &&Host| {
            self.is_synchronous() && host.running().is_none() && !host.is_flipped.load(Ordering::Relaxed)
        };
        let ids = self.nodes.iter().filter(is_dormant).filter_map(Host::last);
        ids.filter(|&node| !self.is_removed(node)).collect()
    }

    /// Before a host starts again: a new process, on the disk of the old one unless that one's node was removed.
    pub fn prepare_restart(&self, number: usize) {
        let host = &self.nodes[number];
        let (Some(disk), Some(storage)) = (host.disk(), self.storage) else { return };
        if host.last().is_some_and(|node| self.is_removed(node)) {
            let incarnation = host.started.load(Ordering::Relaxed);
            host.replace_disk(new_disk(self.seed, storage, number, incarnation));
        } else {
            disk.end(true);
        }
    }

    /// The nodes that are there and were not removed.
    pub fn members(&self) -> Vec<Arc<Running>> {
        let removed = self.removed.lock();
        self.live().into_iter().filter(|node| !removed.contains(&node.keyspace().me())).collect()
    }

    /// The cluster is told to remove a node.
    pub fn remove(&self, node: NodeId) {
        self.removed.lock().insert(node);
    }

    pub fn is_removed(&self, node: NodeId) -> bool {
        self.removed.lock().contains(&node)
    }

    /// By how much two wall clocks ever differed.
    pub fn clock_spread(&self) -> Duration {
        let ahead = || self.nodes.iter().map(|host| host.clock.ahead_ms());
        let most = ahead().map(|(_, most)| most).max().unwrap_or(0);
        let least = ahead().map(|(least, _)| least).min().unwrap_or(0);
        Duration::from_millis(most.saturating_sub(least).unsigned_abs())
    }

    /// Some link is broken now.
    pub fn note_cut(&self, now: Duration) {
        self.cut_ms.store(now.as_millis() as u64, Ordering::Relaxed);
    }

    /// Whether nodes that are there may not hear each other.
    pub fn was_cut_lately(&self) -> bool {
        let now = turmoil::sim_elapsed().unwrap_or_default();
        let cut = Duration::from_millis(self.cut_ms.load(Ordering::Relaxed));
        !cut.is_zero() && now.saturating_sub(cut) < RECONNECT_MAX
    }

    /// The nodes that are there.
    pub fn live(&self) -> Vec<Arc<Running>> {
        self.nodes.iter().filter_map(Host::running).collect()
    }

    /// Who runs at an address.
    pub fn incarnation(&self, address: &Address) -> Option<NodeId> {
        let host = self.nodes.iter().find(|host| host.address == *address)?;
        host.running().map(|running| running.keyspace().me())
    }

    /// The doors of a client: its clock, its own randomness, the simulated network, a disk in memory.
    pub fn env(self: &Arc<Hosts>, clock: Arc<SimClock>, seed: u64, contact: Contact) -> Env {
        self.env_on(Arc::new(SimDisk::new(seed)), (clock, seed, contact))
    }

    fn env_on(self: &Arc<Hosts>, disk: Arc<dyn Disk>, (clock, seed, contact): (Arc<SimClock>, u64, Contact)) -> Env {
        let transport = Arc::new(SimTransport { hosts: self.clone(), contact });
        Env { clock, rng: Arc::new(SeededRng::new(seed)), transport, disk }
    }

    /// Puts every host into the simulation. A host whose node comes later waits first.
    pub fn populate(self: &Arc<Hosts>, sim: &mut Sim<'_>, plan: &Plan) {
        for (number, host) in self.nodes.iter().enumerate() {
            let (hosts, peers, late) = (self.clone(), plan.peers[number].clone(), plan.late[number]);
            sim.host(host.name.as_str(), move || {
                let (hosts, peers) = (hosts.clone(), peers.clone());
                async move { hosts.run(number, &peers, late).await }
            });
        }
    }

    /// One incarnation, from its start to its stop in order.
    async fn run(self: Arc<Hosts>, number: usize, peers: &[usize], late: Duration) -> turmoil::Result {
        let host = &self.nodes[number];
        let stop = Arc::new(Notify::new());
        *host.stop.lock() = stop.clone();
        let was_stopped = host.is_stopping.swap(false, Ordering::Relaxed);
        let incarnation = host.started.fetch_add(1, Ordering::Relaxed);
        if incarnation == 0 {
            tokio::time::sleep(late).await;
        }
        let seed = mix(&[self.seed, number as u64, incarnation]);
        let config = NodeConfig {
            port: PORT,
            advertise: Some(host.address.clone()),
            peers: peers.iter().map(|&peer| self.nodes[peer].address.clone()).collect(),
            data_dir: self.storage.map(|_| DATA_DIR.into()),
            durability: self.storage.map_or(Durability::Sync, |storage| storage.durability),
            disk: self.storage.map_or_else(Default::default, |storage| storage.bounds),
            group: self.group,
            ..NodeConfig::default()
        };
        let running = self.open(number, &config, (seed, was_stopped)).await?;
        *host.running.lock() = Arc::downgrade(&running);
        *host.keyspace.lock() = Some(running.keyspace().clone());
        stop.notified().await;
        let is_in_order = running.close(STOP_PATIENCE).await;
        host.has_closed.store(is_in_order, Ordering::Relaxed);
        Ok(())
    }

    /// Starts the node, again and again while its disk does not let it.
    async fn open(
        self: &Arc<Hosts>,
        number: usize,
        config: &NodeConfig,
        (seed, was_stopped): (u64, bool),
    ) -> Result<Arc<Running>, Error> {
        let host = &self.nodes[number];
        let mut has_closed = host.has_closed.swap(false, Ordering::Relaxed);
        loop {
            let disk = host.disk();
            let has_snapshot = disk.as_ref().is_some_and(|disk| disk.has_snapshot());
            let env = match &disk {
                Some(disk) => self.env_on(disk.clone(), (host.clock.clone(), seed, Contact::default())),
                None => self.env(host.clock.clone(), seed, Contact::default()),
            };
            let former = host.last();
            match (Running::open(config, &env, Some(NodeId(seed | 1))).await, disk) {
                (Ok(running), None) => return Ok(Arc::new(running)),
                (Ok(running), Some(_)) => {
                    let keyspace = running.keyspace();
                    let opened = Opened {
                        former,
                        may_be_former: self.is_synchronous() || was_stopped,
                        must_be_former: self.is_synchronous() || has_closed,
                        is_flipped: host.is_flipped.swap(false, Ordering::Relaxed),
                        damage: running.status(false).storage.and_then(|storage| storage.damage),
                        has_snapshot,
                        vectors: keyspace.partition_ids().map(|id| (id, keyspace.vector(id))).collect(),
                    };
                    *host.opened.lock() = Some(opened);
                    return Ok(Arc::new(running));
                }
                (Err(error), Some(disk)) if matches!(error.code(), ErrorCode::DiskFull | ErrorCode::DiskFailed) => {
                    host.refused.fetch_add(1, Ordering::Relaxed);
                    has_closed = false;
                    tokio::time::sleep(START_AGAIN).await;
                    disk.end(true);
                }
                (Err(error), _) => return Err(error),
            }
        }
    }
}

/// The disk of a host. It never was another one's.
fn new_disk(seed: u64, storage: Storage, number: usize, incarnation: u64) -> HostDisk {
    HostDisk::new(mix(&[seed, 7, number as u64, incarnation]), storage.turn_max_ms)
}
