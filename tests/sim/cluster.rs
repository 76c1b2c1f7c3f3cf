//! The hosts of a simulation and what runs on them.

use std::{
    sync::{
        atomic::{AtomicBool, AtomicU64, Ordering},
        Arc, Weak,
    },
    time::Duration,
};

use kvstore::{
    config::NodeConfig,
    env::{Env, SeededRng, SimDisk},
    node::Running,
    types::{Address, NodeId},
};
use parking_lot::Mutex;
use tokio::sync::Notify;
use turmoil::Sim;

use super::{
    doors::{Contact, SimClock, SimTransport, Traffic},
    plan::{mix, Plan},
};

const PORT: u16 = 7001;

/// How long a node that is told to stop may hand over.
const STOP_PATIENCE: Duration = Duration::from_secs(2);

/// A host that runs nodes, one after the other.
pub struct Host {
    pub name: String,
    pub address: Address,
    pub clock: Arc<SimClock>,
    /// Guards the node that runs there now; the host's own task keeps it alive.
    running: Mutex<Weak<Running>>,
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
            started: AtomicU64::new(0),
            stop: Mutex::default(),
            is_stopping: AtomicBool::new(false),
        }
    }

    /// The node, once it is open and until it is gone.
    pub fn running(&self) -> Option<Arc<Running>> {
        self.running.lock().upgrade()
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
    seed: u64,
}

impl Hosts {
    pub fn new(plan: &Plan) -> Arc<Hosts> {
        let nodes = (0..plan.nodes).map(|number| Host::new(format!("n{number}"))).collect();
        Arc::new(Hosts { nodes, traffic: Arc::default(), seed: plan.seed })
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
        let running = Arc::new(Running::open(&config, &env, NodeId(seed | 1)).await?);
        *host.running.lock() = Arc::downgrade(&running);
        stop.notified().await;
        running.close(STOP_PATIENCE).await;
        Ok(())
    }
}
