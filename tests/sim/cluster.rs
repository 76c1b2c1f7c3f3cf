//! The hosts of a simulation and what runs on them.

use std::{
    collections::BTreeSet,
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc, Weak,
    },
    time::Duration,
};

use kvstore::{
    config::NodeConfig,
    env::{Env, SeededRng, SimDisk},
    limits::{REDIAL_MAX, SESSION_LOST_AFTER, SESSION_SILENCE_MAX},
    node::Running,
    replication::eventual::Eventual,
    types::{Address, NodeId},
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use turmoil::Sim;

use super::{
    doors::{Contact, SimClock, SimTransport, Traffic},
    plan::{mix, Fault, Plan},
};

const PORT: u16 = 7001;

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
}

impl Host {
    fn new(name: String) -> Host {
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
        }
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
    /// Some wall clock may be wrong at some time.
    pub has_clock_faults: bool,
    /// Guards whom the cluster was told to remove.
    removed: Mutex<BTreeSet<NodeId>>,
    /// When a link was last seen broken, in milliseconds; 0: never.
    cut_ms: AtomicU64,
    seed: u64,
}

impl Hosts {
    pub fn new(plan: &Plan) -> Arc<Hosts> {
        let nodes = (0..plan.nodes).map(|number| Host::new(format!("n{number}"))).collect();
        let has_clock_faults = plan.faults.iter().any(|fault| matches!(fault, Fault::ClockJump | Fault::ClockRate));
        let (traffic, removed, cut_ms) = Default::default();
        Arc::new(Hosts { nodes, traffic, has_clock_faults, removed, cut_ms, seed: plan.seed })
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

    /// The doors of a host: its clock, its own randomness, the simulated network, a disk in memory.
    pub fn env(self: &Arc<Hosts>, clock: Arc<SimClock>, seed: u64, contact: Contact) -> Env {
        let transport = Arc::new(SimTransport { hosts: self.clone(), contact });
        let disk = Arc::new(SimDisk::new(seed));
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
        host.is_stopping.store(false, Ordering::Relaxed);
        let incarnation = host.started.fetch_add(1, Ordering::Relaxed);
        if incarnation == 0 {
            tokio::time::sleep(late).await;
        }
        let seed = mix(&[self.seed, number as u64, incarnation]);
        let config = NodeConfig {
            port: PORT,
            advertise: Some(host.address.clone()),
            peers: peers.iter().map(|&peer| self.nodes[peer].address.clone()).collect(),
            ..NodeConfig::default()
        };
        let env = self.env(host.clock.clone(), seed, Contact::default());
        let running = Arc::new(Running::open(&config, &env, Some(NodeId(seed | 1))).await?);
        *host.running.lock() = Arc::downgrade(&running);
        *host.keyspace.lock() = Some(running.keyspace().clone());
        stop.notified().await;
        running.close(STOP_PATIENCE).await;
        Ok(())
    }
}
