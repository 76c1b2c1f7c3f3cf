//! What is read is what was written, and the bytes are those that the documentation draws.

mod crash;
mod damage;
mod records;

use std::{path::Path, sync::Arc};

use proptest::prelude::*;

use super::*;
use crate::{
    env::{temp::TempDir, Disk, OpenMode, RealDisk, SimDisk},
    error::{ErrorCode, Result},
    limits::{SNAPSHOT_BLOCK_BYTES_MAX, SNAPSHOT_SYNC_BYTES},
    types::NodeId,
};

/// Kind, partition, records, payload.
type OwnedBlock = (u8, u32, u32, Vec<u8>);

fn header(log_position: u64) -> Header {
    Header { node: NodeId(7), cluster: "orders".to_string(), log_position, created_ms: 1000 }
}

fn dir() -> &'static Path {
    Path::new("data/snapshots")
}

/// A disk with the directory, and the same one as the writer wants it.
fn disk(seed: u64) -> (SimDisk, Arc<dyn Disk>) {
    let disk = SimDisk::new(seed);
    disk.create_dir_all(dir()).unwrap();
    (disk.clone(), Arc::new(disk))
}

fn write(disk: &Arc<dyn Disk>, header: &Header, blocks: &[OwnedBlock]) -> Result<u64> {
    fill(SnapshotWriter::create(disk, dir(), header)?, blocks)
}

fn fill(mut writer: SnapshotWriter, blocks: &[OwnedBlock]) -> Result<u64> {
    for (kind, partition, records, payload) in blocks {
        writer.block(&Block { kind: *kind, partition: *partition, records: *records, payload })?;
    }
    writer.finish()
}

fn read(disk: &dyn Disk, path: &Path) -> Result<(Header, Vec<OwnedBlock>)> {
    let mut reader = SnapshotReader::open(disk, path)?;
    let mut blocks = Vec::new();
    while let Some(Block { kind, partition, records, payload }) = reader.next_block()? {
        blocks.push((kind, partition, records, payload.to_vec()));
    }
    assert!(reader.next_block()?.is_none(), "the end stays the end");
    assert_eq!(reader.totals().blocks, blocks.len() as u64);
    Ok((reader.header().clone(), blocks))
}

fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

fn blocks() -> impl Strategy<Value = Vec<OwnedBlock>> {
    let payload = prop::collection::vec(any::<u8>(), 0..200);
    prop::collection::vec((1..=u8::MAX, any::<u32>(), any::<u32>(), payload), 0..6)
}

proptest! {
    #[test]
    fn what_is_read_is_what_was_written(
        blocks in blocks(), node in 1..=u64::MAX, cluster in "[a-zä]{0,30}", log_position: u64, created_ms: u64,
    ) {
        let (sim, disk) = disk(1);
        let header = Header { node: NodeId(node), cluster, log_position, created_ms };
        let size = write(&disk, &header, &blocks).unwrap();
        let path = dir().join(file_name(log_position));
        prop_assert_eq!(content(&sim, &path).len() as u64, size);
        prop_assert_eq!(read(&sim, &path).unwrap(), (header.clone(), blocks.clone()));
        let report = verify(&sim, &path).unwrap();
        let records = blocks.iter().map(|block| u64::from(block.2)).sum();
        let payload_bytes = blocks.iter().map(|block| block.3.len() as u64).sum();
        let readable = Totals { blocks: blocks.len() as u64, records, payload_bytes };
        prop_assert_eq!(report, Report { path, file_bytes: size, header: Some(header), readable, damage: None });
    }
}

#[test]
fn a_snapshot_goes_to_any_path_of_a_real_disk() {
    let temporary = TempDir::new();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    disk.create_dir_all(temporary.path()).unwrap();
    let path = temporary.path().join("monday.backup");
    let blocks = vec![(1, 2, 3, vec![4; 100_000]), (5, 6, 0, Vec::new())];
    for position in [1, 2] {
        let writer = SnapshotWriter::create_at(&disk, &path, &header(position)).unwrap();
        fill(writer, &blocks).unwrap();
        assert_eq!(read(&*disk, &path).unwrap(), (header(position), blocks.clone()));
    }
    assert_eq!(disk.list(temporary.path()).unwrap(), ["monday.backup"]);
    let nameless = SnapshotWriter::create_at(&disk, Path::new("/"), &header(1)).map(drop);
    assert_eq!(nameless.unwrap_err().code(), ErrorCode::BadSetting);
}

#[test]
fn the_newest_is_found_and_the_older_go() {
    let (sim, disk) = disk(1);
    assert_eq!(newest_valid(&sim, dir()).unwrap(), Search::default());
    assert_eq!(remove_older(&sim, dir(), 1).unwrap(), None);
    // Other digits than those of a name, so that text and number would sort differently.
    for position in [9, 100, 20] {
        write(&disk, &header(position), &[(1, 0, 1, vec![0; 10])]).unwrap();
    }
    let positions = |snapshots: &[Listed]| snapshots.iter().map(|listed| listed.log_position).collect::<Vec<_>>();
    assert_eq!(positions(&list(&sim, dir()).unwrap()), [100, 20, 9]);
    let search = newest_valid(&sim, dir()).unwrap();
    assert_eq!(search.valid.unwrap().header, Some(header(100)));
    assert_eq!(positions(&search.older), [20, 9]);
    assert_eq!(remove_older(&sim, dir(), 2).unwrap(), Some(20));
    assert_eq!(positions(&list(&sim, dir()).unwrap()), [100, 20]);
    assert_eq!(remove_older(&sim, dir(), 0).unwrap(), Some(100), "one always stays");
}

#[test]
fn other_files_are_not_taken_for_snapshots() {
    let (sim, disk) = disk(1);
    for name in ["1.snapshot", "x.snapshot", "00000000000000000001.snapshot.tmp", "+0000000000000000001.snapshot"] {
        sim.open(&dir().join(name), OpenMode::CreateNew).unwrap();
    }
    assert_eq!(list(&sim, dir()).unwrap(), []);
    remove_leftovers(&*disk, dir()).unwrap();
    assert_eq!(sim.list(dir()).unwrap(), ["+0000000000000000001.snapshot", "1.snapshot", "x.snapshot"]);
}

#[test]
fn a_writer_that_is_dropped_or_gives_up_leaves_no_snapshot() {
    let (sim, disk) = disk(1);
    SnapshotWriter::create(&disk, dir(), &header(1)).unwrap().abandon().unwrap();
    assert_eq!(sim.list(dir()).unwrap(), [""; 0]);
    let mut dropped = SnapshotWriter::create(&disk, dir(), &header(1)).unwrap();
    dropped.block(&Block { kind: 1, partition: 0, records: 0, payload: &[1; 1000] }).unwrap();
    drop(dropped);
    assert_eq!(list(&sim, dir()).unwrap(), []);
    write(&disk, &header(1), &[]).unwrap();
    assert_eq!(sim.list(dir()).unwrap(), [file_name(1)]);
    assert_eq!(read(&sim, &dir().join(file_name(1))).unwrap(), (header(1), vec![]));
}

fn one_writer_a_name(disk: &Arc<dyn Disk>, path: &Path) {
    let writer = SnapshotWriter::create_at(disk, path, &header(1)).unwrap();
    let second = SnapshotWriter::create_at(disk, path, &header(2)).map(drop).unwrap_err();
    assert_eq!(second.code(), ErrorCode::Conflict, "{second}");
    fill(writer, &[(1, 0, 0, vec![1])]).unwrap();
    let next = SnapshotWriter::create_at(disk, path, &header(3)).unwrap();
    assert_eq!(read(&**disk, path).unwrap(), (header(1), vec![(1, 0, 0, vec![1])]));
    fill(next, &[]).unwrap();
    assert_eq!(read(&**disk, path).unwrap(), (header(3), vec![]));
}

#[test]
fn no_two_writers_write_one_file() {
    let (_, disk) = disk(1);
    one_writer_a_name(&disk, &dir().join("a"));
    let temporary = TempDir::new();
    let disk: Arc<dyn Disk> = Arc::new(RealDisk);
    disk.create_dir_all(temporary.path()).unwrap();
    one_writer_a_name(&disk, &temporary.path().join("a"));
}

#[test]
fn a_block_has_a_bound_and_a_kind_of_its_own() {
    let (sim, disk) = disk(1);
    let largest = vec![7; SNAPSHOT_BLOCK_BYTES_MAX];
    write(&disk, &header(1), &[(1, 0, 0, largest.clone())]).unwrap();
    assert_eq!(read(&sim, &dir().join(file_name(1))).unwrap().1, [(1, 0, 0, largest.clone())]);
    let too_large = [&largest[..], &[7]].concat();
    for block in [(1, 0, 0, too_large), (BLOCK_KIND_FOOTER, 0, 0, Vec::new())] {
        assert_eq!(write(&disk, &header(2), &[block]).unwrap_err().code(), ErrorCode::Internal);
    }
    let long = Header { cluster: "x".repeat(65), ..header(3) };
    assert_eq!(write(&disk, &long, &[]).unwrap_err().code(), ErrorCode::BadSetting);
}

#[test]
fn a_large_snapshot_is_synced_as_it_is_written() {
    let (sim, disk) = disk(1);
    let block = vec![7; SNAPSHOT_BLOCK_BYTES_MAX];
    let mut writer = SnapshotWriter::create(&disk, dir(), &header(1)).unwrap();
    sim.set_fault(crate::env::SimFault::Sync(0));
    let mut written = 0;
    let failed = loop {
        let block = Block { kind: 1, partition: 0, records: 0, payload: &block };
        match writer.block(&block) {
            Ok(()) => written += block.payload.len() as u64,
            Err(error) => break error,
        }
    };
    assert_eq!(failed.code(), ErrorCode::DiskFailed);
    assert!((1..SNAPSHOT_SYNC_BYTES).contains(&written), "it was not synced before {written} bytes");
    assert_eq!(sim.list(dir()).unwrap(), [""; 0], "what cannot be a snapshot any more is gone");
}

/// The form is part of the files that exist: a change of one of these bytes needs a new version.
#[test]
fn golden_bytes() {
    let (sim, disk) = disk(1);
    write(&disk, &header(0x0102), &[(9, 0x0304, 2, b"ada".to_vec())]).unwrap();
    let bytes = content(&sim, &dir().join("00000000000000000258.snapshot"));
    let body = b"\x07\0\0\0\0\0\0\0\x02\x01\0\0\0\0\0\0\xe8\x03\0\0\0\0\0\0\x06orders";
    let mut covered = [&b"kvsnap\r\n\x01\0\0\0\x1f\0\0\0"[..], body].concat();
    let mut expected = covered.clone();
    expected.extend(crc32c::crc32c(&covered).to_le_bytes());
    let footer: Vec<u8> = [1u64, 2, 3, 120].iter().flat_map(|number| number.to_le_bytes()).collect();
    let blocks =
        [(&b"\x09\x04\x03\0\0\x02\0\0\0\x03\0\0\0"[..], &b"ada"[..]), (b"\0\0\0\0\0\0\0\0\0\x20\0\0\0", &footer)];
    for (head, payload) in blocks {
        // The check covers all before it but the other checks.
        covered.extend([head, payload].concat());
        expected.extend([head, &crc32c::crc32c(&covered).to_le_bytes(), payload].concat());
    }
    assert_eq!(bytes, expected);
    assert_eq!((bytes.len(), crc32c::crc32c(&bytes)), (120, 246_440_931));
}
