//! A snapshot comes whole, or not at all.

use std::path::Path;

use super::*;
use crate::{
    env::{Disk, OpenMode, SimDisk, SimulatedClock},
    replication::eventual::write_snapshot,
    storage::snapshot::verify,
};

/// With this key among its data a node sends a byte that is not what it wrote.
const DAMAGES: &str = "damages";
/// With this one it breaks off in the middle.
const BREAKS_OFF: &str = "breaks off";

fn has(keyspace: &Eventual, key: &str) -> bool {
    keyspace.look(key.as_bytes(), |_| ()).is_some()
}

/// What the host of these tests sends.
pub(super) async fn send(keyspace: &Arc<Eventual>, pieces: &mpsc::Sender<Result<Bytes>>) -> Result<()> {
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(1));
    disk.create_dir_all(Path::new("/sent")).unwrap();
    let path = Path::new("/sent/file");
    let clock = SimulatedClock::new(1_700_000_000_000);
    let length = write_snapshot(&disk, &clock, (keyspace, "test"), path).await?;
    let mut bytes = vec![0; usize::try_from(length).unwrap()];
    disk.open(path, OpenMode::Read).unwrap().read_at(0, &mut bytes).unwrap();
    if has(keyspace, DAMAGES) {
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
    }
    if has(keyspace, BREAKS_OFF) {
        bytes.truncate(100);
    }
    for piece in bytes.chunks(1000) {
        pieces.send(Ok(piece.to_vec().into())).await.unwrap();
    }
    match has(keyspace, BREAKS_OFF) {
        true => Err(Error::new(ErrorCode::DiskFull, "no room for the rest")),
        false => Ok(()),
    }
}

async fn fetch(keys: &[&str], path: &Path) -> (Arc<dyn Disk>, Result<u64>) {
    let world = World::simulated();
    let (listener, address) = world.listen().await;
    let _server = Server::spawn(listener, Arc::new(Data::new(&world.data, None)), Gate::open()).await;
    for key in keys {
        let kind = CommandKind::Put { value: Value::new(&[7; 3000]).unwrap(), flags: 0, ttl_ms: None };
        world.data.write(Command { key: Key::new(key.as_bytes()).unwrap(), kind }).unwrap();
    }
    let disk: Arc<dyn Disk> = Arc::new(SimDisk::new(2));
    disk.create_dir_all(Path::new("/backups")).unwrap();
    let env = Env { disk: disk.clone(), ..world.env.clone() };
    let config = ClientConfig::new(vec![address]);
    let client = Client::new(config, env, tokio::runtime::Handle::current()).unwrap();
    let fetched = client.snapshot(path.into(), Some(Duration::from_secs(20))).await;
    (disk, fetched)
}

#[tokio::test]
async fn a_snapshot_comes_whole_and_under_its_name() {
    let path = Path::new("/backups/today");
    let (disk, fetched) = fetch(&["a", "b", "c"], path).await;
    let report = verify(&*disk, path).unwrap();
    assert!(report.is_valid());
    assert_eq!((report.readable.records, Ok(report.file_bytes)), (3, fetched));
    assert_eq!(report.header.unwrap().node, NodeId(7));
    assert_eq!(disk.list(Path::new("/backups")).unwrap(), ["today"]);
}

#[tokio::test]
async fn what_is_not_whole_is_refused_and_leaves_nothing() {
    for (key, code) in [(DAMAGES, ErrorCode::Corrupt), (BREAKS_OFF, ErrorCode::DiskFull)] {
        let (disk, fetched) = fetch(&["a", key], Path::new("/backups/today")).await;
        assert_eq!(fetched.unwrap_err().code(), code, "{key}");
        assert!(disk.list(Path::new("/backups")).unwrap().is_empty(), "{key}");
    }
}

#[tokio::test]
async fn a_place_that_is_not_there_is_named() {
    let (_, fetched) = fetch(&["a"], Path::new("/nowhere/today")).await;
    let error = fetched.unwrap_err();
    assert_eq!(error.code(), ErrorCode::DiskFailed);
    assert!(error.message().contains("/nowhere/today"), "{error}");
}
