//! An identity is durable before it is used, is never replaced, and every damage of it is noticed.

use super::*;
use crate::env::{temp::TempDir, RealDisk, SimDisk, SimFault};

const CLUSTER: &str = "orders";

fn open(disk: &SimDisk, id: u64) -> Result<DataDir> {
    open_in(Arc::new(disk.clone()), Path::new("data"), id)
}

fn open_in(disk: Arc<dyn Disk>, path: &Path, id: u64) -> Result<DataDir> {
    DataDir::open(disk, path, CLUSTER, || Ok(NodeId(id)))
}

fn error(result: Result<DataDir>) -> (ErrorCode, String) {
    let error = result.expect_err("it is refused");
    (error.code(), error.message().to_string())
}

fn identity() -> PathBuf {
    Path::new("data").join(IDENTITY)
}

fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

fn put(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    disk.create_dir_all(path.parent().unwrap()).unwrap();
    write_whole(disk, path, bytes).unwrap();
}

fn a_node_keeps_its_id(disk: Arc<dyn Disk>, path: &Path) {
    let dir = open_in(disk.clone(), path, 7).unwrap();
    assert!(dir.is_new());
    assert_eq!((dir.node(), dir.cluster()), (NodeId(7), CLUSTER));
    assert_eq!(disk.list(&dir.log_dir()).unwrap(), [""; 0]);
    assert_eq!(disk.list(&dir.snapshots_dir()).unwrap(), [""; 0]);

    let (code, text) = error(open_in(disk.clone(), path, 8));
    assert_eq!(code, ErrorCode::DataDirInUse);
    assert!(text.contains(&path.display().to_string()), "{text}");
    drop(dir);

    let dir = open_in(disk, path, 8).unwrap();
    assert!(!dir.is_new());
    assert_eq!(dir.node(), NodeId(7));
}

#[test]
fn a_node_keeps_its_id_and_shares_its_directory_with_nobody() {
    a_node_keeps_its_id(Arc::new(SimDisk::new(1)), Path::new("data"));
    let temporary = TempDir::new();
    a_node_keeps_its_id(Arc::new(RealDisk), &temporary.path().join("data"));
}

#[test]
fn a_dead_holder_leaves_the_lock() {
    let disk = SimDisk::new(1);
    let dir = open(&disk, 7).unwrap();
    disk.crash();
    assert_eq!(open(&disk, 8).unwrap().node(), NodeId(7));
    drop(dir);
}

#[test]
fn a_node_of_another_cluster_is_refused() {
    let disk = SimDisk::new(1);
    drop(open(&disk, 7).unwrap());
    let other = DataDir::open(Arc::new(disk), Path::new("data"), "invoices", || Ok(NodeId(8)));
    let text = "data_dir: data is of the cluster \"orders\", this node is of \"invoices\"".to_string();
    assert_eq!(error(other), (ErrorCode::WrongCluster, text));
}

#[test]
fn every_flipped_bit_of_an_identity_is_noticed_and_it_is_not_replaced() {
    let good = SimDisk::new(1);
    drop(open(&good, 7).unwrap());
    let bytes = content(&good, &identity());
    for offset in 0..bytes.len() {
        for bit in 0..8 {
            let disk = good.copy(1);
            disk.flip_bit(&identity(), offset as u64, bit).unwrap();
            let damaged = content(&disk, &identity());
            let (code, text) = error(open(&disk, 8));
            assert_eq!(code, ErrorCode::Corrupt, "byte {offset}, bit {bit}: {text}");
            assert!(text.starts_with("identity data/identity: damaged: "), "{text}");
            assert_eq!(content(&disk, &identity()), damaged);
        }
    }
}

#[test]
fn an_identity_of_another_length_is_damaged() {
    let disk = SimDisk::new(1);
    drop(open(&disk, 7).unwrap());
    let bytes = content(&disk, &identity());
    let longer = [&bytes[..], &[0]].concat();
    let huge = vec![b'x'; 3 * IDENTITY_BYTES_MAX];
    for other in (0..bytes.len()).map(|length| &bytes[..length]).chain([&longer[..], &huge]) {
        put(&disk, &identity(), other);
        assert_eq!(error(open(&disk, 8)).0, ErrorCode::Corrupt, "{} bytes", other.len());
    }
}

#[test]
fn an_identity_of_a_later_version_is_refused_as_such() {
    let disk = SimDisk::new(1);
    put(&disk, &identity(), &seal(MAGIC, 2, b"whatever it will be").0);
    let text =
        "identity data/identity: its format has version 2, this software knows version 1: use the version of the \
                software that wrote it, or a later one";
    assert_eq!(error(open(&disk, 8)), (ErrorCode::FormatTooNew, text.to_string()));
}

#[test]
fn what_is_somebody_elses_is_not_touched() {
    let disk = SimDisk::new(1);
    put(&disk, Path::new("data/notes.txt"), b"mine");
    let (code, text) = error(open(&disk, 7));
    assert_eq!(code, ErrorCode::BadSetting);
    assert!(text.contains("data is not empty (\"notes.txt\" is in it)"), "{text}");
    assert_eq!(disk.list(Path::new("data")).unwrap(), ["notes.txt"]);

    let disk = SimDisk::new(1);
    disk.create_dir_all(Path::new("data/photos")).unwrap();
    assert!(error(open(&disk, 7)).1.contains("\"photos\""));
    assert_eq!(disk.list(Path::new("data")).unwrap(), [""; 0]);
}

#[test]
fn a_lost_identity_is_not_replaced() {
    let disk = SimDisk::new(1);
    drop(open(&disk, 7).unwrap());
    disk.remove(&identity()).unwrap();
    let text = "data/identity is missing although there is a log/ beside it: bring it back".to_string();
    assert_eq!(error(open(&disk, 8)), (ErrorCode::Corrupt, text));
}

#[test]
fn an_error_of_the_draw_makes_no_node() {
    let disk = SimDisk::new(1);
    let draw = || Err(Error::new(ErrorCode::Internal, "no entropy"));
    let refused = DataDir::open(Arc::new(disk.clone()), Path::new("data"), CLUSTER, draw);
    assert_eq!(error(refused).0, ErrorCode::Internal);
    assert_eq!(open(&disk, 8).unwrap().node(), NodeId(8));
}

#[test]
fn a_full_disk_makes_no_node_and_one_with_room_again_does() {
    let disk = SimDisk::new(1);
    let bytes = {
        let other = SimDisk::new(1);
        drop(open(&other, 7).unwrap());
        other.used_bytes()
    };
    for capacity in 0..bytes {
        disk.set_capacity(Some(capacity));
        assert_eq!(error(open(&disk, 7)).0, ErrorCode::DiskFull, "{capacity} bytes");
    }
    disk.set_capacity(None);
    assert_eq!(open(&disk, 8).unwrap().node(), NodeId(8));
}

/// Whoever was told an id before the crash has it after the crash: it may have told others.
#[test]
fn an_id_that_was_given_survives_a_crash_at_every_step() {
    for seed in 0..100 {
        for step in 0.. {
            let disk = SimDisk::new(seed);
            disk.set_fault(SimFault::DieAt(step));
            let given = open(&disk, 7).map(|dir| dir.node());
            let is_through = disk.faults_happened() == 0;
            disk.crash();
            let after = open(&disk, 8).unwrap_or_else(|error| panic!("seed {seed}, step {step}: {error}")).node();
            match given {
                Ok(node) => assert_eq!(after, node, "seed {seed}, step {step}"),
                Err(_) => assert!([NodeId(7), NodeId(8)].contains(&after)),
            }
            if is_through {
                break;
            }
        }
    }
}

/// The form is part of the directories that exist: a change of one of these bytes needs a new version.
#[test]
fn golden_bytes() {
    let disk = SimDisk::new(1);
    drop(open(&disk, 0x0102_0304_0506_0708).unwrap());
    let body = b"\x08\x07\x06\x05\x04\x03\x02\x01\x06orders";
    let before = [&b"kvnode\r\n\x01\0\0\0\x0f\0\0\0"[..], body].concat();
    assert_eq!(content(&disk, &identity()), [&before[..], b"\x92\xc7\x52\x30"].concat());
}
