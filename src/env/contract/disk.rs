//! What a disk promises, real and simulated; and what the simulated one forgets, and how it fails.

use std::{
    io::{self, ErrorKind},
    path::{Path, PathBuf},
    sync::{
        atomic::{AtomicU64, Ordering},
        Arc,
    },
};

use super::within;
use crate::env::{temp::TempDir, Disk, OpenMode, RealDisk, SimDisk, SimFault};

fn kind<T>(result: io::Result<T>) -> Option<ErrorKind> {
    result.err().map(|error| error.kind())
}

fn content(disk: &dyn Disk, path: &Path) -> Vec<u8> {
    let file = disk.open(path, OpenMode::Read).unwrap();
    let mut bytes = vec![0; file.len().unwrap() as usize];
    assert_eq!(file.read_at(0, &mut bytes).unwrap(), bytes.len());
    bytes
}

fn write(disk: &dyn Disk, path: &Path, bytes: &[u8]) {
    let file = disk.open(path, OpenMode::CreateNew).unwrap();
    file.write_all_at(0, bytes).unwrap();
    file.sync().unwrap();
}

fn disk_contract(disk: &dyn Disk, root: &Path) {
    let dir = root.join("a").join("b");
    directories_are_made_with_those_above(disk, &dir);
    modes_say_what_must_be_there(disk, &dir);
    bytes_are_read_where_they_were_written(disk, &dir);
    names_are_listed_renamed_and_removed(disk, &dir);
    a_lock_has_one_holder(disk, &dir);
}

fn directories_are_made_with_those_above(disk: &dyn Disk, dir: &Path) {
    assert_eq!(kind(disk.list(dir)), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.open(&dir.join("x"), OpenMode::CreateNew)), Some(ErrorKind::NotFound));
    disk.create_dir_all(dir).unwrap();
    disk.create_dir_all(dir).unwrap();
    assert_eq!(disk.list(dir).unwrap(), [""; 0]);
    assert_eq!(disk.list(dir.parent().unwrap()).unwrap(), [""; 0], "directories are not listed");
    assert_eq!(disk.list_dirs(dir.parent().unwrap()).unwrap(), ["b"]);
    assert_eq!(kind(disk.list_dirs(&dir.join("none"))), Some(ErrorKind::NotFound));
    disk.sync_dir(dir).unwrap();
    assert_eq!(kind(disk.sync_dir(&dir.join("none"))), Some(ErrorKind::NotFound));
}

fn modes_say_what_must_be_there(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("modes");
    assert_eq!(kind(disk.open(&path, OpenMode::Read)), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.open(&path, OpenMode::ReadWrite)), Some(ErrorKind::NotFound));
    let file = disk.open(&path, OpenMode::CreateNew).unwrap();
    assert!(file.is_empty().unwrap());
    assert_eq!(kind(disk.open(&path, OpenMode::CreateNew)), Some(ErrorKind::AlreadyExists));
    let reader = disk.open(&path, OpenMode::Read).unwrap();
    assert!(reader.write_all_at(0, b"x").is_err(), "opened to read only");
    disk.open(&path, OpenMode::ReadWrite).unwrap().write_all_at(0, b"one").unwrap();
    assert_eq!(content(disk, &path), b"one", "every handle sees what one of them wrote");
    drop(file);
    disk.remove(&path).unwrap();
}

fn bytes_are_read_where_they_were_written(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("bytes");
    let file = disk.open(&path, OpenMode::CreateNew).unwrap();
    file.write_all_at(3, b"def").unwrap();
    file.write_all_at(0, b"a").unwrap();
    file.sync().unwrap();
    assert_eq!(content(disk, &path), b"a\0\0def", "holes are zeros");
    let mut buffer = [9; 4];
    assert_eq!(file.read_at(4, &mut buffer).unwrap(), 2, "short at the end only");
    assert_eq!(&buffer, b"ef\x09\x09");
    assert_eq!(file.read_at(6, &mut buffer).unwrap(), 0);
    assert_eq!(file.read_at(600, &mut buffer).unwrap(), 0);
    file.set_len(4).unwrap();
    file.set_len(6).unwrap();
    assert_eq!(content(disk, &path), b"a\0\0d\0\0", "what was cut does not come back");
    assert_eq!(file.len().unwrap(), 6);
    disk.remove(&path).unwrap();
}

fn names_are_listed_renamed_and_removed(disk: &dyn Disk, dir: &Path) {
    for name in ["c", "a", "b"] {
        write(disk, &dir.join(name), name.as_bytes());
    }
    assert_eq!(disk.list(dir).unwrap(), ["a", "b", "c"]);
    disk.rename(&dir.join("a"), &dir.join("b")).unwrap();
    assert_eq!(disk.list(dir).unwrap(), ["b", "c"]);
    assert_eq!(content(disk, &dir.join("b")), b"a", "a rename replaces");
    assert_eq!(kind(disk.rename(&dir.join("a"), &dir.join("d"))), Some(ErrorKind::NotFound));
    assert_eq!(kind(disk.remove(&dir.join("a"))), Some(ErrorKind::NotFound));
    let open = disk.open(&dir.join("c"), OpenMode::Read).unwrap();
    disk.remove(&dir.join("c")).unwrap();
    let mut byte = [0];
    assert_eq!((open.read_at(0, &mut byte).unwrap(), &byte), (1, b"c"), "open files outlive their names");
    disk.remove(&dir.join("b")).unwrap();
    disk.sync_dir(dir).unwrap();
}

fn a_lock_has_one_holder(disk: &dyn Disk, dir: &Path) {
    let path = dir.join("lock");
    let held = disk.lock(&path).unwrap();
    assert_eq!(kind(disk.lock(&path)), Some(ErrorKind::WouldBlock));
    assert!(disk.lock(&dir.join("other")).is_ok());
    drop(held);
    drop(disk.lock(&path).unwrap());
}

async fn work_is_done_and_waited_for(disk: &dyn Disk) {
    let done = Arc::new(AtomicU64::new(0));
    let count = done.clone();
    let work = async move {
        tokio::time::sleep(std::time::Duration::from_millis(1)).await;
        count.fetch_add(1, Ordering::SeqCst);
    };
    disk.spawn("work", Box::pin(work)).unwrap().join().await.unwrap();
    assert_eq!(done.load(Ordering::SeqCst), 1);
    let panics = disk.spawn("panics", Box::pin(async { panic!("on purpose") })).unwrap();
    assert!(panics.join().await.is_err(), "a panic is told");
}

#[tokio::test]
async fn the_real_disk_keeps_the_contract() {
    let temp = TempDir::new();
    disk_contract(&RealDisk, temp.path());
    within(work_is_done_and_waited_for(&RealDisk)).await;
}

#[tokio::test]
async fn the_simulated_disk_keeps_the_contract() {
    let disk = SimDisk::new(1);
    disk_contract(&disk, Path::new("/data"));
    within(work_is_done_and_waited_for(&disk)).await;
}

fn sim() -> (SimDisk, PathBuf) {
    sim_of(7)
}

fn sim_of(seed: u64) -> (SimDisk, PathBuf) {
    let (disk, dir) = (SimDisk::new(seed), PathBuf::from("/data"));
    disk.create_dir_all(&dir).unwrap();
    (disk, dir)
}

#[test]
fn a_crash_keeps_what_was_synced_with_its_name() {
    for seed in 0..50 {
        let (disk, dir) = sim_of(seed);
        write(&disk, &dir.join("kept"), &[1; 1000]);
        disk.sync_dir(&dir).unwrap();
        disk.crash();
        assert_eq!(content(&disk, &dir.join("kept")), [1; 1000]);
    }
}

#[test]
fn a_crash_keeps_any_part_of_what_was_not_synced() {
    let (mut whole, mut nothing, mut torn, mut reordered) = (0, 0, 0, 0);
    for seed in 0..200 {
        let (disk, dir) = sim_of(seed);
        let path = dir.join("file");
        write(&disk, &path, &[1; 640]);
        disk.sync_dir(&dir).unwrap();
        disk.open(&path, OpenMode::ReadWrite).unwrap().write_all_at(0, &[2; 640]).unwrap();
        disk.crash();
        let bytes = content(&disk, &path);
        assert_eq!(bytes.len(), 640);
        let is_new: Vec<bool> = bytes.chunks(64).map(|block| block == [2; 64]).collect();
        assert!(bytes.chunks(64).all(|block| block == [1; 64] || block == [2; 64]), "a block is whole");
        match is_new.iter().filter(|is_new| **is_new).count() {
            0 => nothing += 1,
            10 => whole += 1,
            _ if is_new.is_sorted_by(|a, b| a >= b) => torn += 1,
            _ => reordered += 1,
        }
    }
    assert!(whole > 20 && nothing > 20 && torn > 0 && reordered > 20, "{whole} {nothing} {torn} {reordered}");
}

#[test]
fn a_crash_may_undo_names_that_were_not_synced() {
    let outcome = |seed| {
        let (disk, dir) = sim_of(seed);
        write(&disk, &dir.join("old"), b"old");
        disk.sync_dir(&dir).unwrap();
        write(&disk, &dir.join("new"), b"new");
        disk.rename(&dir.join("new"), &dir.join("newer")).unwrap();
        disk.remove(&dir.join("old")).unwrap();
        disk.crash();
        disk.list(&dir).unwrap().join(" ")
    };
    let outcomes: std::collections::BTreeSet<String> = (0..100).map(outcome).collect();
    let expected = ["newer", "new old", "newer old", "old"];
    assert_eq!(outcomes, expected.into_iter().map(String::from).collect(), "the first so many of three changes");
    assert_eq!(outcome(3), outcome(3), "the seed says which");
}

#[test]
fn the_end_of_a_process_loses_its_handles_and_locks_only() {
    let (disk, dir) = sim();
    let file = disk.open(&dir.join("file"), OpenMode::CreateNew).unwrap();
    file.write_all_at(0, b"written").unwrap();
    let lock = disk.lock(&dir.join("lock")).unwrap();
    disk.kill();
    assert!(file.write_all_at(0, b"by a dead process").is_err());
    let again = disk.lock(&dir.join("lock")).unwrap();
    drop(lock);
    assert_eq!(kind(disk.lock(&dir.join("lock"))), Some(ErrorKind::WouldBlock), "a dead lock frees nobody's");
    drop(again);
    assert_eq!(content(&disk, &dir.join("file")), b"written");
}

#[test]
fn after_a_failed_sync_the_next_one_succeeds_and_the_bytes_are_lost() {
    let (disk, dir) = sim();
    let path = dir.join("file");
    write(&disk, &path, &[1; 64]);
    disk.sync_dir(&dir).unwrap();
    disk.set_fault(SimFault::Sync(0));
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_all_at(0, &[2; 64]).unwrap();
    assert!(file.sync().is_err());
    assert_eq!(disk.faults_happened(), 1);
    assert_eq!(content(&disk, &path), [2; 64], "readers see what is nowhere else");
    file.sync().unwrap();
    disk.crash();
    assert_eq!(content(&disk, &path), [1; 64]);
}

#[test]
fn a_full_disk_says_so_and_takes_writes_again_once_there_is_space() {
    let (disk, dir) = sim();
    let file = disk.open(&dir.join("file"), OpenMode::CreateNew).unwrap();
    file.write_all_at(0, &[1; 100]).unwrap();
    disk.set_capacity(Some(150));
    assert_eq!(kind(file.write_all_at(100, &[2; 60])), Some(ErrorKind::StorageFull));
    file.write_all_at(0, &[3; 150]).unwrap();
    assert_eq!(disk.used_bytes(), 150);
    assert_eq!(kind(file.set_len(151)), Some(ErrorKind::StorageFull));
    disk.set_capacity(None);
    file.write_all_at(100, &[2; 60]).unwrap();
}

#[test]
fn writes_tear_bits_flip_and_dying_hosts_do_nothing() {
    let (disk, dir) = sim();
    let path = dir.join("file");
    write(&disk, &path, b"0000");
    disk.set_fault(SimFault::Write(1, 2));
    let file = disk.open(&path, OpenMode::ReadWrite).unwrap();
    file.write_all_at(0, b"1111").unwrap();
    assert!(file.write_all_at(0, b"2222").is_err());
    assert_eq!(content(&disk, &path), b"2211");
    disk.flip_bit(&path, 3, 0).unwrap();
    assert_eq!(content(&disk, &path), b"2210");
    assert_eq!(kind(disk.flip_bit(&path, 4, 0)), Some(ErrorKind::InvalidInput));
    disk.set_fault(SimFault::DieAt(1));
    file.sync().unwrap();
    assert!(file.sync().is_err());
    assert!(file.len().is_err() && disk.list(&dir).is_err());
    disk.kill();
    disk.mark_dying();
    assert!(disk.sync_dir(&dir).is_err());
}
