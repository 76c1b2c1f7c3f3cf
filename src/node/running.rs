//! The composition root: where the data, replication and the server of a running node are put together, and taken apart
//! in the one order that loses nothing.

mod removal;

use std::{future::Future, path::PathBuf, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    data::{Data, Durable},
    default,
    health::health,
    owner::bind_error,
    snapshots::{Pieces, Snapshots},
    spaces::{self, Backend},
};
use crate::{
    config::NodeConfig,
    env::{Env, Listener},
    error::Result,
    limits::CLOSE_GRACE,
    replication::{
        eventual::{Eventual, PeerStream, Reach, Replication, ReplicationConfig},
        strong::{Group, GroupConfig},
    },
    rpc::{
        gather_conflicts, survey, Accepting, Access, Gate, GroupCourier, Host, Loading, Moving, Refreshing, Removing,
        RpcDialer, Sending, Server, StrongBackend, Unfit,
    },
    storage::log::Position,
    types::{
        Address, ConflictQuery, Conflicts, Consistency, Health, LostWrite, MemberStatus, NodeId, NodeStatus, Survey,
        SurveyQuery,
    },
    VERSION,
};

/// A node with an open port, on whatever tokio runtime it was opened on. [`super::Node`] gives it one of its own.
pub struct Running {
    inside: Arc<Inside>,
    /// Taken when the node closes.
    server: Mutex<Option<Server>>,
}

/// What the server serves.
struct Inside {
    address: Address,
    port: u16,
    cluster: String,
    env: Env,
    /// How it reaches its peers.
    access: Access,
    /// Where it runs.
    runtime: tokio::runtime::Handle,
    /// By the monotonic clock.
    started: Duration,
    keyspace: Arc<Eventual>,
    /// What is open on disk; `None`: the node lives in memory.
    durable: Option<Durable>,
    snapshots: Snapshots,
    replication: Replication,
    group: Group,
    /// What the setting says of `default`; the group decides.
    wanted: Consistency,
}

impl Running {
    /// Binds, reads what is on disk, then starts replication and the server on the current runtime. A node that lives in
    /// memory is `id`, or somebody new.
    ///
    /// # Errors
    /// `BAD_SETTING` for the files of `tls`, `ADDRESS_IN_USE`, `BIND_FAILED`, and those of the directory ([`open`](crate::replication::eventual::open)).
    pub async fn open(config: &NodeConfig, env: &Env, id: Option<NodeId>) -> Result<Running> {
        // Before the port is open: what is wrong with a file must not be told to those who connect.
        let (gate, access) = (Gate::read(config, &*env.disk)?, Access::of_node(env, config)?);
        let listener = match env.transport.listen(&config.host, config.port).await {
            Ok(listener) => listener,
            Err(error) => return Err(bind_error(config, &access, &error).await),
        };
        let port = listener.port();
        let address = match &config.advertise {
            Some(address) => address.clone(),
            None => Address::new(&config.host, port)?,
        };
        let (listener, Data { keyspace, membership, durable, group }) =
            read(config, env, id, (listener, &gate)).await?;
        let id = keyspace.me();
        // Before replication, so that nothing is written before everything else is there.
        let settings = GroupConfig {
            address: address.clone(),
            peers: config.peers.clone(),
            bounds: config.group,
            history: config.history,
            forms: default::forms(config, &keyspace),
        };
        let courier = Arc::new(GroupCourier::new(access.clone(), config.cluster.clone()));
        let group = Group::spawn(group, settings, courier, env.clone()).await?;
        default::begin(&keyspace, group.default_consistency(), config.default_consistency);
        keyspace.take_catalogue(group.catalogue());
        let replication = Replication::spawn(
            ReplicationConfig {
                cluster: config.cluster.clone(),
                advertise: address.clone(),
                peers: config.peers.clone(),
                membership,
            },
            keyspace.clone(),
            Arc::new(RpcDialer::new(access.clone())),
            env.clone(),
        );
        let (cluster, started) = (config.cluster.clone(), env.clock.monotonic());
        tracing::info!(node = %id, %address, %cluster, "node started");
        if config.is_exposed() {
            tracing::warn!(node = %id, host = %config.host, "others can reach this node, and tls or token is missing");
        }
        let (env, runtime) = (env.clone(), tokio::runtime::Handle::current());
        let dir = durable.as_ref().and_then(Durable::snapshots_dir);
        let snapshots = Snapshots::new(env.clone(), cluster.clone(), dir);
        let inside = Arc::new(Inside {
            address,
            port,
            cluster,
            env,
            access,
            runtime,
            started,
            keyspace,
            durable,
            snapshots,
            replication,
            group,
            wanted: config.default_consistency,
        });
        tokio::spawn(default::learn(inside.keyspace.clone(), inside.group.clone(), inside.wanted));
        tokio::spawn(spaces::learn(inside.keyspace.clone(), inside.group.clone()));
        tokio::spawn(removal::retire_when_removed(inside.clone()));
        let server = Server::spawn(listener, inside.clone(), gate).await;
        Ok(Running { inside, server: Mutex::new(Some(server)) })
    }

    /// Refuses clients, hands over to peers, closes every connection. Within `patience` and a short grace. False when
    /// something had to be cut short.
    pub async fn close(&self, patience: Duration) -> bool {
        let Some(server) = self.server.lock().take() else { return true };
        // A write that were acknowledged after the hand-over would be lost.
        server.leave().await;
        let (handed_over, _left_group) =
            tokio::join!(self.inside.replication.shutdown(patience), self.inside.group.shutdown(patience));
        // A client that does not answer the goodbye is no reason to call the stop cut short: nothing of it is lost.
        let _in_order = server.shutdown(CLOSE_GRACE.min(patience)).await;
        let is_written = match &self.inside.durable {
            Some(durable) => durable.close(&self.inside.keyspace).await,
            None => true,
        };
        tracing::info!(node = %self.inside.keyspace.me(), handed_over, "node stopped");
        handed_over && is_written
    }

    /// Gives up what is open on disk, as a crash would. For when nothing of the node runs any more.
    pub async fn abandon(&self) {
        if let Some(durable) = &self.inside.durable {
            durable.abandon(&self.inside.keyspace).await;
        }
    }

    /// Returns when the node has caught up with at least one peer, or has none.
    pub fn ready(&self) -> impl Future<Output = ()> + Send + 'static {
        let inside = self.inside.clone();
        async move { inside.replication.ready().await }
    }

    /// The address by which others reach it.
    pub fn address(&self) -> &Address {
        &self.inside.address
    }

    /// The port it listens on.
    pub fn port(&self) -> u16 {
        self.inside.port
    }

    /// The data.
    pub fn keyspace(&self) -> &Arc<Eventual> {
        &self.inside.keyspace
    }

    /// Its part of the strong group.
    pub fn group(&self) -> &Group {
        &self.inside.group
    }

    /// Where it runs.
    pub fn runtime(&self) -> &tokio::runtime::Handle {
        &self.inside.runtime
    }

    /// How it is, without I/O. `digests` reads every record.
    pub fn status(&self, digests: bool) -> NodeStatus {
        self.inside.status(digests)
    }

    /// The members it knows, itself first.
    pub fn members(&self) -> Vec<MemberStatus> {
        self.inside.members()
    }

    /// Its own conflicts and those of every member that it does not take for dead, the newest first.
    ///
    /// # Errors
    /// Those of [`Eventual::space_settled`] for the keyspace, and of asking the group for it.
    pub async fn conflicts(&self, query: ConflictQuery) -> Result<Conflicts> {
        let keyspace = self.keyspace();
        let space = spaces::find(keyspace, &self.inside.group, &query.keyspace).await?;
        let own = keyspace.conflicts(space, &query).iter().map(|conflict| LostWrite::new(space, conflict)).collect();
        Ok(gather_conflicts(own, self.members(), self.inside.access.clone(), query).await)
    }

    /// How much room keys take here, one page.
    ///
    /// # Errors
    /// Those of [`survey`](crate::rpc::survey).
    pub async fn survey(&self, query: SurveyQuery) -> Result<Survey> {
        survey(&*self.inside, query).await
    }

    /// Writes everything that the node holds to a file of this machine; its bytes.
    ///
    /// # Errors
    /// Those of the disk; `NOT_RUNNING` when the node is being stopped; `DEFAULT_IS_STRONG` when there is nothing to write.
    pub async fn snapshot(&self, path: PathBuf) -> Result<u64> {
        default::check_snapshot(&self.inside.keyspace)?;
        self.inside.snapshots.write((&self.inside.keyspace, self.inside.durable.as_ref()), path).await
    }

    /// Removes a member for good, also one that is up with `force`.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER`, `MEMBER_UP`, `INVALID_ARGUMENT` for this node itself.
    pub async fn remove_member(&self, node: NodeId, force: bool) -> Result<()> {
        self.inside.remove(node, force).await
    }

    /// Has another node lead the strong group, or for `None` whoever is best at it; who leads then.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER` when it has no vote, `NO_LEADER`.
    pub async fn move_leader(&self, to: Option<NodeId>) -> Result<NodeId> {
        self.inside.group.move_leader(to).await
    }
}

/// Reads what is on disk, if the node keeps anything there, while its port says that it is not ready.
async fn read(
    config: &NodeConfig,
    env: &Env,
    id: Option<NodeId>,
    (listener, gate): (Box<dyn Listener>, &Gate),
) -> Result<(Box<dyn Listener>, Data)> {
    if config.data_dir.is_none() {
        return Ok((listener, Data::open(config, env, id).await?));
    }
    let loading = Loading::spawn(listener, gate).await;
    let data = Data::open(config, env, id).await?;
    Ok((loading.end().await?, data))
}

impl Host for Inside {
    fn keyspace(&self) -> &Arc<Eventual> {
        &self.keyspace
    }

    fn refresh_spaces(&self) -> Refreshing<'_> {
        Box::pin(spaces::refresh(&self.keyspace, &self.group))
    }

    fn reach(&self) -> &dyn Reach {
        &self.replication
    }

    fn cluster(&self) -> &str {
        &self.cluster
    }

    fn strong(&self) -> Option<Arc<dyn StrongBackend>> {
        Some(Backend::new(self.group.clone(), self.keyspace.clone()))
    }

    fn group(&self) -> Option<&Group> {
        Some(&self.group)
    }

    fn status(&self, digests: bool) -> NodeStatus {
        let stats = self.keyspace.stats();
        let conflicts = self.keyspace.conflict_counts();
        let replication = self.replication.status();
        let ledger = self.keyspace.ledger();
        let storage = self.durable.as_ref().zip(ledger).map(|(durable, ledger)| durable.status(ledger.log()));
        let mut status = NodeStatus {
            node: self.keyspace.me(),
            address: self.address.clone(),
            cluster: self.cluster.clone(),
            version: VERSION.to_string(),
            uptime: self.env.clock.monotonic().saturating_sub(self.started),
            keys: stats.keys,
            bytes: stats.bytes,
            tombstones: stats.tombstones,
            memory: self.keyspace.memory(),
            max_memory: self.keyspace.max_memory(),
            state_bytes: replication.state_bytes,
            change_bytes: replication.change_bytes,
            conflicts: conflicts.recorded,
            conflicts_dropped: conflicts.dropped,
            conflicts_inexact: conflicts.inexact,
            oldest_tombstone_ms: self.keyspace.oldest_tombstone_ms(),
            stable_lag_ms: replication.stable_lag_ms,
            held_back_by: replication.held_back_by,
            divergences: replication.divergences,
            repairs: replication.repairs,
            expired: self.keyspace.expired(),
            refused_writes: replication.refused_writes,
            replication_lag: replication.lag,
            digests: if digests { self.keyspace.digests() } else { Vec::new() },
            ready: replication.ready,
            removed: replication.removed,
            storage,
            group: Some(self.group.status()),
            default_keyspace: self.keyspace.default_keyspace(),
            health: Health::default(),
            peers: replication.peers,
        };
        let hidden = default::hidden(&self.keyspace);
        status.health = health(&status, &self.replication.members(), (self.wanted, hidden));
        status
    }

    fn members(&self) -> Vec<MemberStatus> {
        self.replication.members()
    }

    fn remove_member(&self, node: NodeId, force: bool) -> Removing<'_> {
        Box::pin(self.remove(node, force))
    }

    fn move_leader(&self, to: Option<NodeId>) -> Moving<'_> {
        Box::pin(self.group.move_leader(to))
    }

    fn unfit(&self) -> Unfit<'_> {
        Box::pin(async move {
            tokio::select! {
                () = self.replication.removed() => {}
                () = failed(&self.keyspace) => {}
            }
        })
    }

    fn snapshot<'a>(&'a self, pieces: &'a Pieces) -> Sending<'a> {
        Box::pin(async move {
            default::check_snapshot(&self.keyspace)?;
            self.snapshots.send((&self.keyspace, self.durable.as_ref()), pieces).await
        })
    }

    fn accept(&self, stream: PeerStream) -> Accepting<'_> {
        Box::pin(self.replication.accept(stream))
    }
}

/// Returns when the log has failed; never for a node that lives in memory.
async fn failed(keyspace: &Eventual) {
    let Some(ledger) = keyspace.ledger() else { return std::future::pending().await };
    if ledger.log().synced(Position(u64::MAX)).await.is_ok() {
        // No log gets there.
        std::future::pending::<()>().await;
    }
}
