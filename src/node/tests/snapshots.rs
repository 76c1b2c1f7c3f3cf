//! Snapshots of whole nodes: written to a file, and sent in pieces.

use std::path::{Path, PathBuf};

use tokio::sync::mpsc;

use super::*;
use crate::{
    env::{Disk, OpenMode},
    node::snapshots::Snapshots,
    storage::snapshot::verify,
};

const DIR: &str = "/files";

fn files(disk: &dyn Disk) -> Vec<String> {
    disk.list(Path::new(DIR)).unwrap()
}

#[test]
fn a_node_of_either_kind_writes_itself_to_a_file() {
    for data_dir in [None, Some(PathBuf::from("/node"))] {
        let env = simulated_env(&SimulatedNetwork::default(), 1);
        env.disk.create_dir_all(Path::new(DIR)).unwrap();
        let node = started(NodeConfig { data_dir, ..config(1, &[]) }, env.clone());
        (0..300).for_each(|number| put(&node, &format!("k{number}"), "value"));
        let path = Path::new(DIR).join("one");
        let bytes = node.snapshot(path.clone(), DEADLINE).unwrap();
        let report = verify(&*env.disk, &path).unwrap();
        assert!(report.is_valid());
        assert_eq!((report.file_bytes, report.readable.records), (bytes, 300));
        assert_eq!(report.header.unwrap().node, node.id().unwrap());
        let nowhere = node.snapshot("/nowhere/one".into(), DEADLINE).unwrap_err();
        assert_eq!(nowhere.code(), ErrorCode::DiskFailed);
        node.stop(DEADLINE).unwrap();
        assert_eq!(node.snapshot(path, DEADLINE).unwrap_err().code(), ErrorCode::NotRunning);
    }
}

#[tokio::test]
async fn what_is_sent_is_the_file_and_nothing_of_it_stays() {
    let env = simulated_env(&SimulatedNetwork::default(), 1);
    env.disk.create_dir_all(Path::new(DIR)).unwrap();
    let keyspace = Arc::new(Eventual::new(NodeId(7), env.clock.clone()));
    let snapshots = Snapshots::new(env.clone(), "c".into(), Some(DIR.into()));
    let (pieces, mut received) = mpsc::channel::<Result<bytes::Bytes>>(2);
    let taken = tokio::spawn(async move {
        let mut all = Vec::new();
        while let Some(piece) = received.recv().await {
            all.extend_from_slice(&piece.unwrap());
        }
        all
    });
    snapshots.send((&keyspace, None), &pieces).await.unwrap();
    drop(pieces);
    let copy = Path::new(DIR).join("copy");
    env.disk.open(&copy, OpenMode::CreateNew).unwrap().write_all_at(0, &taken.await.unwrap()).unwrap();
    assert!(verify(&*env.disk, &copy).unwrap().is_valid());
    assert_eq!(files(&*env.disk), ["copy"]);
}

#[tokio::test]
async fn a_receiver_that_goes_away_frees_the_file_and_the_place() {
    let env = simulated_env(&SimulatedNetwork::default(), 1);
    env.disk.create_dir_all(Path::new(DIR)).unwrap();
    let keyspace = Arc::new(Eventual::new(NodeId(7), env.clock.clone()));
    let snapshots = Snapshots::new(env.clone(), "c".into(), Some(DIR.into()));
    for _ in 0..5 {
        let (pieces, received) = mpsc::channel(2);
        drop(received);
        snapshots.send((&keyspace, None), &pieces).await.unwrap();
        assert!(files(&*env.disk).is_empty());
    }
}
