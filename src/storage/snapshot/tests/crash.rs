//! Whatever the moment of a crash, what was there before is there, whole, or what was being written is. With the feature
//! `faults` the tests prove that they would notice a sync that is missing.

use super::*;
use crate::env::SimFault;

const SEEDS: u64 = 100;

fn blocks(fill: u8) -> Vec<OwnedBlock> {
    (0..4).map(|partition| (1, partition, 1, vec![fill; 150])).collect()
}

fn newest(disk: &SimDisk, context: &str) -> (Header, Vec<OwnedBlock>) {
    remove_leftovers(disk, dir()).unwrap();
    let search = newest_valid(disk, dir()).unwrap();
    assert_eq!(search.damaged, [], "{context}: a snapshot that is there is whole");
    let report = search.valid.unwrap_or_else(|| panic!("{context}: there is no snapshot"));
    read(disk, &report.path).unwrap()
}

/// Writes a snapshot over an older one, dies at a step, cuts the power. Returns whether the write got through.
fn crash_at(seed: u64, step: u64, position: u64) -> bool {
    let context = format!("seed {seed}, step {step}, position {position}");
    let (sim, disk) = disk(seed);
    let (old, new) = ((header(10), blocks(1)), (header(position), blocks(2)));
    write(&disk, &old.0, &old.1).unwrap();
    sim.set_fault(SimFault::DieAt(step));
    let written = write(&disk, &new.0, &new.1);
    let is_through = sim.faults_happened() == 0;
    assert_eq!(written.is_ok(), is_through, "{context}");
    sim.crash();
    let found = newest(&sim, &context);
    match is_through {
        true => assert_eq!(found, new, "{context}: it was said to be durable"),
        false => assert!(found == old || found == new, "{context}: {:?}", found.0),
    }
    // What a crash left behind is in nobody's way.
    write(&disk, &header(30), &blocks(3)).unwrap();
    assert_eq!(newest(&sim, &context), (header(30), blocks(3)));
    is_through
}

#[test]
fn a_crash_at_every_step_leaves_the_old_or_the_new_snapshot() {
    for position in [20, 10] {
        for seed in 0..SEEDS {
            let steps = (0..).take_while(|&step| !crash_at(seed, step, position)).count();
            assert!(steps > 8, "{steps} steps are fewer than blocks, syncs and renames");
        }
    }
}

#[test]
fn a_crash_while_older_ones_are_removed_leaves_the_newest() {
    for seed in 0..SEEDS {
        for step in 0..4 {
            let (sim, disk) = disk(seed);
            for position in [1, 2, 3] {
                write(&disk, &header(position), &blocks(position as u8)).unwrap();
            }
            sim.set_fault(SimFault::DieAt(step));
            let removed = remove_older(&sim, dir(), 1);
            sim.crash();
            assert_eq!(newest(&sim, "after the removal"), (header(3), blocks(3)));
            if removed.is_ok() {
                assert_eq!(list(&sim, dir()).unwrap().len(), 1, "seed {seed}: removed is removed");
            }
        }
    }
}

#[test]
fn a_full_disk_keeps_the_old_snapshot_and_nothing_of_the_new() {
    let (sim, disk) = disk(1);
    write(&disk, &header(10), &blocks(1)).unwrap();
    let used = sim.used_bytes();
    for room in 0..used {
        sim.set_capacity(Some(used + room));
        assert_eq!(write(&disk, &header(20), &blocks(2)).unwrap_err().code(), ErrorCode::DiskFull, "{room} bytes");
        assert_eq!(sim.list(dir()).unwrap(), [file_name(10)]);
    }
    assert_eq!(newest(&sim, "full"), (header(10), blocks(1)));
    sim.set_capacity(Some(2 * used));
    write(&disk, &header(20), &blocks(2)).unwrap();
    assert_eq!(newest(&sim, "with room again"), (header(20), blocks(2)));
}

#[test]
fn every_failed_call_is_told_and_keeps_the_old_snapshot() {
    let attempt = |fault| {
        let (sim, disk) = disk(1);
        write(&disk, &header(10), &blocks(1)).unwrap();
        sim.set_fault(fault);
        let written = write(&disk, &header(20), &blocks(2));
        assert_eq!(written.is_err(), sim.faults_happened() > 0, "{fault:?}: {written:?}");
        // With all of its bytes synced and renamed it is there; only its name was not made durable.
        let is_renamed = written.is_ok() || fault == SimFault::Sync(1);
        assert_eq!(newest(&sim, "after a fault").0.log_position, if is_renamed { 20 } else { 10 }, "{fault:?}");
        written.is_ok()
    };
    let writes = (0..).take_while(|&nth| !attempt(SimFault::Write(nth, 5))).count();
    assert_eq!(writes, 1 + 2 * 5, "a header, and four blocks and the footer of two writes each");
    let syncs = (0..).take_while(|&nth| !attempt(SimFault::Sync(nth))).count();
    assert_eq!(syncs, 2, "of the file and of its directory");
}

/// Each known mistake makes a test of this file fail.
#[cfg(feature = "faults")]
#[test]
fn the_known_mistakes_are_caught() {
    use crate::faults::is_caught;
    const TEST: &str = "a_crash_at_every_step_leaves_the_old_or_the_new_snapshot";
    assert!(!is_caught("none", &[TEST]));
    for mutant in ["snapshot_no_sync", "snapshot_no_dir_sync"] {
        assert!(is_caught(mutant, &[TEST]), "{mutant} survived");
    }
}
