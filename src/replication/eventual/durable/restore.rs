//! Makes the directory of a new node out of a snapshot: the way back from a backup.
//!
//! The new node has an id of its own and belongs to a cluster of its own, so nothing that the old ones still do or say can
//! meet it. What the node of the snapshot had written is to the new one what any other node wrote: its sequences stay
//! used up. Members and removed nodes are those of the old cluster, and are left out.

use std::{path::Path, sync::Arc};

use super::{
    checkpoint::{read_block, BlockKind, StoredFacts, StoredHead},
    ledger::Facts,
    open::draw_id,
};
use crate::{
    config::NodeConfig,
    env::{Disk, Env},
    error::{Error, ErrorCode, Result},
    storage::{
        codec::Stored,
        data_dir::create_filled,
        log::Position,
        snapshot::{file_name, verify, Block, Header, SnapshotReader, SnapshotWriter},
    },
    types::NodeId,
};

/// Makes `dir` the directory of a new node of `cluster` that holds what the snapshot holds; the id of the node. The
/// directory counts once all of it is on disk. Blocks while it reads and writes.
///
/// # Errors
/// `CORRUPT` for a damaged snapshot, `FORMAT_TOO_NEW`, `BAD_SETTING` for a directory that is not empty or a name that no
/// cluster has, `DATA_DIR_IN_USE`, `DISK_FULL`, `DISK_FAILED`.
pub fn restore_snapshot(env: &Env, file: &Path, dir: &Path, cluster: &str) -> Result<NodeId> {
    NodeConfig { cluster: cluster.to_string(), ..NodeConfig::default() }.check()?;
    if let Some(damage) = verify(&*env.disk, file)?.damage {
        return Err(Error::new(ErrorCode::Corrupt, format!("snapshot {}: {damage}", file.display())));
    }
    let node = draw_id(env)?;
    create_filled(&env.disk, dir, (node, cluster), |snapshots| {
        let created_ms = env.clock.wall_ms();
        let header = Header { node, cluster: cluster.to_string(), log_position: 0, created_ms };
        rewrite(&env.disk, file, &snapshots.join(file_name(0)), &header)
    })?;
    Ok(node)
}

/// Copies a snapshot, as of the beginning of an empty log.
fn rewrite(disk: &Arc<dyn Disk>, from: &Path, to: &Path, header: &Header) -> Result<()> {
    let mut reader = SnapshotReader::open(&**disk, from)?;
    let mut writer = SnapshotWriter::create_at(disk, to, header)?;
    let copied = copy_blocks(&mut reader, &mut writer);
    match copied {
        Ok(()) => writer.finish().map(drop),
        Err(error) => {
            writer.abandon()?;
            Err(error)
        }
    }
}

fn copy_blocks(reader: &mut SnapshotReader, writer: &mut SnapshotWriter) -> Result<()> {
    let mut payload = Vec::new();
    while let Some(block) = reader.next_block()? {
        payload.clear();
        match BlockKind::from_number(block.kind) {
            Some(BlockKind::Facts) => {
                let StoredFacts { facts, .. } = read_block("facts", block.payload)?;
                let facts = Facts { clock_bound: facts.clock_bound, ..Facts::default() };
                StoredFacts { position: Position::default(), facts }.put(&mut payload);
            }
            Some(BlockKind::Head) => {
                let StoredHead { head, .. } = read_block("head", block.payload)?;
                StoredHead { position: Position::default(), head }.put(&mut payload);
            }
            Some(BlockKind::Records | BlockKind::Conflict) => payload.extend_from_slice(block.payload),
            None => {
                let text = format!("block.kind: {} is not known; was it written by a newer version?", block.kind);
                return Err(Error::new(ErrorCode::Corrupt, text));
            }
        }
        writer.block(&Block { payload: &payload, ..block })?;
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::{super::recover::Recovery, *};
    use crate::{
        env::{Clock, SeededRng, SimDisk, SimulatedClock, SimulatedNetwork},
        replication::eventual::{write_snapshot, Eventual},
        storage::{data_dir::DataDir, snapshot},
        types::{Command, CommandKind, Key, Member, Membership, Timestamp, Value},
    };

    const FILE: &str = "/backups/one";

    fn env(disk: &Arc<dyn Disk>) -> Env {
        Env {
            clock: Arc::new(SimulatedClock::new(1_700_000_000_000)),
            rng: Arc::new(SeededRng::new(3)),
            transport: Arc::new(SimulatedNetwork::default()),
            disk: disk.clone(),
        }
    }

    /// A snapshot of some writes of node 7, and what they were.
    async fn saved(disk: &Arc<dyn Disk>) -> Arc<Eventual> {
        disk.create_dir_all(Path::new("/backups")).unwrap();
        let clock: Arc<dyn Clock> = Arc::new(SimulatedClock::new(1_700_000_000_000));
        let keyspace = Arc::new(Eventual::new(NodeId(7), clock.clone()));
        for number in 0..200_u32 {
            let value = Value::new(&number.to_le_bytes()).unwrap();
            let key = Key::new(format!("k{number}").as_bytes()).unwrap();
            keyspace.write(Command { key, kind: CommandKind::Put { value, flags: 0, ttl_ms: None } }).unwrap();
        }
        write_snapshot(disk, &*clock, (&keyspace, "old"), Path::new(FILE)).await.unwrap();
        keyspace
    }

    fn sim_disk() -> (Arc<SimDisk>, Arc<dyn Disk>) {
        let sim = Arc::new(SimDisk::new(5));
        (sim.clone(), sim)
    }

    #[tokio::test]
    async fn the_new_node_is_somebody_else_with_the_same_records() {
        let (_, disk) = sim_disk();
        let keyspace = saved(&disk).await;
        let dir = Path::new("/new");
        let node = restore_snapshot(&env(&disk), Path::new(FILE), dir, "again").unwrap();
        assert_ne!(node, NodeId(7));
        let opened = DataDir::open(disk.clone(), dir, "again", || panic!("it has an identity")).unwrap();
        assert_eq!(opened.node(), node);
        let listed = snapshot::list(&*disk, &opened.snapshots_dir()).unwrap();
        assert_eq!(listed.len(), 1);
        let restored = Eventual::new(node, Arc::new(SimulatedClock::new(1_700_000_000_000)));
        let mut recovery = Recovery::new(&restored);
        let read = recovery.read_snapshot(&*disk, &listed[0].path).unwrap();
        assert_eq!(read.0, Position::default(), "the log begins anew");
        assert_eq!(restored.digests(), keyspace.digests());
        // What node 7 wrote is that of another node now.
        for partition in restored.partition_ids() {
            assert_eq!(restored.vector(partition).sequence(node).0, 0);
            assert_eq!(restored.vector(partition), keyspace.vector(partition));
        }
    }

    #[tokio::test]
    async fn facts_keep_the_clock_and_forget_the_members() {
        let (_, disk) = sim_disk();
        disk.create_dir_all(Path::new("/backups")).unwrap();
        let clock_bound = Timestamp::from_millis(1_800_000_000_000);
        let member = Member { node: NodeId(8), address: "h:1".parse().unwrap(), born_ms: 1 };
        let membership = Membership { members: vec![member], removed: vec![NodeId(9)] };
        let facts = Facts { membership, clock_bound, run: None };
        let mut payload = Vec::new();
        StoredFacts { position: Position(77), facts }.put(&mut payload);
        let header = Header { node: NodeId(7), cluster: "old".into(), log_position: 77, created_ms: 1 };
        let mut writer = SnapshotWriter::create_at(&disk, Path::new(FILE), &header).unwrap();
        let block = Block { kind: BlockKind::Facts as u8, partition: 0, records: 0, payload: &payload };
        writer.block(&block).unwrap();
        writer.finish().unwrap();
        restore_snapshot(&env(&disk), Path::new(FILE), Path::new("/new"), "again").unwrap();
        let mut reader = SnapshotReader::open(&*disk, &Path::new("/new/snapshots").join(file_name(0))).unwrap();
        assert_eq!((reader.header().log_position, reader.header().cluster.as_str()), (0, "again"));
        let block = reader.next_block().unwrap().unwrap();
        let stored: StoredFacts = read_block("facts", block.payload).unwrap();
        assert_eq!((stored.position, stored.facts.clock_bound), (Position::default(), clock_bound));
        assert_eq!(stored.facts.membership, Membership::default());
    }

    #[tokio::test]
    async fn a_restore_that_breaks_off_leaves_no_node_behind() {
        for write in 0..200 {
            let (sim, disk) = sim_disk();
            saved(&disk).await;
            let room = sim.used_bytes() + write * 64;
            sim.set_capacity(Some(room));
            let outcome = restore_snapshot(&env(&disk), Path::new(FILE), Path::new("/new"), "again");
            sim.set_capacity(None);
            let found = DataDir::open(disk.clone(), Path::new("/new"), "again", || Ok(NodeId(1)));
            match (outcome, found) {
                (Ok(node), Ok(dir)) => return assert_eq!(dir.node(), node),
                (Err(error), Err(refused)) => {
                    assert_eq!((error.code(), refused.code()), (ErrorCode::DiskFull, ErrorCode::Corrupt), "{refused}");
                }
                // Nothing was made: an empty directory is free for anybody.
                (Err(error), Ok(dir)) => assert!(error.code() == ErrorCode::DiskFull && dir.is_new()),
                (Ok(node), Err(error)) => panic!("{node} was restored and cannot be opened: {error}"),
            }
        }
        panic!("no room was ever enough");
    }

    #[tokio::test]
    async fn a_damaged_snapshot_and_a_full_directory_are_refused() {
        let (sim, disk) = sim_disk();
        saved(&disk).await;
        let restore =
            |dir: &str, cluster: &str| restore_snapshot(&env(&disk), Path::new(FILE), Path::new(dir), cluster);
        let node = restore("/new", "again").unwrap();
        assert_eq!(restore("/new", "again").unwrap_err().code(), ErrorCode::BadSetting);
        assert_eq!(restore("/other", "no name").unwrap_err().code(), ErrorCode::BadSetting);
        let dir = DataDir::open(disk.clone(), Path::new("/new"), "again", || panic!("it has an identity")).unwrap();
        assert_eq!(dir.node(), node);
        sim.flip_bit(Path::new(FILE), 500, 3).unwrap();
        assert_eq!(restore("/third", "again").unwrap_err().code(), ErrorCode::Corrupt);
        assert!(disk.list(Path::new("/third")).is_err(), "nothing was made");
    }
}
