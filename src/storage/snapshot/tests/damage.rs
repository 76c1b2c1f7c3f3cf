//! Every damage is noticed, told with its place, and never hidden by an older snapshot.

use super::*;
use crate::{
    limits::SNAPSHOT_HEADER_BYTES_MAX,
    storage::{envelope::seal, files::write_whole, snapshot::format::BLOCK_HEAD_BYTES},
};

/// Two blocks of the same length, so that they could be exchanged.
fn small() -> Vec<OwnedBlock> {
    vec![(1, 0, 1, b"one".to_vec()), (1, 1, 1, b"two".to_vec())]
}

fn path() -> std::path::PathBuf {
    dir().join(file_name(5))
}

fn written(blocks: &[OwnedBlock]) -> (SimDisk, Vec<u8>) {
    let (sim, disk) = disk(1);
    write(&disk, &header(5), blocks).unwrap();
    let bytes = content(&sim, &path());
    (sim, bytes)
}

/// Whoever reads it is told, and so is whoever verifies it.
fn assert_damaged(disk: &SimDisk, what: &str) -> Damage {
    let error = read(disk, &path()).expect_err(what);
    assert_eq!(error.code(), ErrorCode::Corrupt, "{what}: {error}");
    let damage = verify(disk, &path()).unwrap().damage.unwrap_or_else(|| panic!("{what}: not noticed"));
    assert_eq!(error.message(), format!("snapshot {}: {damage}", path().display()), "{what}");
    damage
}

fn replace(disk: &SimDisk, bytes: &[u8]) {
    write_whole(disk, &path(), bytes).unwrap();
}

#[test]
fn every_flipped_bit_is_noticed_where_it_is() {
    let (sim, bytes) = written(&small());
    let header_bytes = bytes.len() - 2 * (BLOCK_HEAD_BYTES + 3) - BLOCK_HEAD_BYTES - 32;
    let starts = [0, header_bytes, header_bytes + 20, header_bytes + 40];
    for offset in 0..bytes.len() {
        for bit in 0..8 {
            let disk = sim.copy(1);
            disk.flip_bit(&path(), offset as u64, bit).unwrap();
            let damage = assert_damaged(&disk, &format!("byte {offset}, bit {bit}"));
            let start = starts.iter().copied().filter(|&start| start <= offset).max().unwrap();
            assert_eq!(damage.offset, start as u64, "byte {offset}, bit {bit}: {damage}");
        }
    }
}

#[test]
fn a_snapshot_of_another_length_is_damaged() {
    let (sim, bytes) = written(&small());
    for length in 0..bytes.len() {
        replace(&sim, &bytes[..length]);
        assert_damaged(&sim, &format!("{length} of {} bytes", bytes.len()));
    }
    replace(&sim, &[&bytes[..], &[0]].concat());
    let damage = assert_damaged(&sim, "a byte more");
    assert_eq!((damage.offset, damage.why.as_str()), (bytes.len() as u64, "1 bytes follow the footer"));
}

#[test]
fn blocks_that_are_lost_repeated_or_exchanged_are_noticed() {
    let (sim, bytes) = written(&small());
    let block = BLOCK_HEAD_BYTES + 3;
    let footer = bytes.len() - BLOCK_HEAD_BYTES - 32;
    let (head, tail) = (&bytes[..footer - 2 * block], &bytes[footer..]);
    let (one, two) = (&bytes[footer - 2 * block..footer - block], &bytes[footer - block..footer]);
    for (what, blocks) in [
        ("exchanged", vec![two, one]),
        ("lost", vec![two]),
        ("lost at the end", vec![one]),
        ("all lost", vec![]),
        ("repeated", vec![one, one, two]),
    ] {
        replace(&sim, &[head, &blocks.concat(), tail].concat());
        assert_damaged(&sim, what);
    }
    // A block of another snapshot that is right there.
    let (_, other) = written(&[(1, 0, 1, b"eno".to_vec()), (1, 1, 1, b"two".to_vec())]);
    replace(&sim, &[head, one, &other[footer - block..]].concat());
    assert_damaged(&sim, "of another snapshot");
}

#[test]
fn what_is_readable_is_told() {
    let (sim, bytes) = written(&small());
    sim.flip_bit(&path(), bytes.len() as u64 - BLOCK_HEAD_BYTES as u64 - 33, 0).unwrap();
    let report = verify(&sim, &path()).unwrap();
    assert_eq!(report.header, Some(header(5)));
    assert_eq!(report.readable, Totals { blocks: 1, records: 1, payload_bytes: 3 });
    assert_eq!(report.damage.unwrap().why, "block.check: the checksum is of other bytes");
    replace(&sim, b"");
    let report = verify(&sim, &path()).unwrap();
    assert_eq!((report.header, report.file_bytes), (None, 0));
    assert_eq!(report.damage.unwrap().why, "header: the bytes end within it");
}

#[test]
fn a_claim_of_great_length_takes_no_memory() {
    let (sim, mut bytes) = written(&small());
    bytes[12..16].copy_from_slice(&u32::MAX.to_le_bytes());
    replace(&sim, &bytes);
    assert_eq!(assert_damaged(&sim, "header").why, "length: 4294967295, the limit is 4076");
    let (_, mut bytes) = written(&small());
    let length = bytes.len() - 2 * (BLOCK_HEAD_BYTES + 3) - BLOCK_HEAD_BYTES - 32 + 9;
    bytes[length..length + 4].copy_from_slice(&u32::MAX.to_le_bytes());
    replace(&sim, &bytes);
    assert_eq!(assert_damaged(&sim, "block").why, "block.length: 4294967295, the limit is 4194304");
}

#[test]
fn a_later_version_is_no_damage_and_is_not_passed_over() {
    let (sim, disk) = disk(1);
    write(&disk, &header(4), &small()).unwrap();
    replace(&sim, &seal(*b"kvsnap\r\n", 2, &vec![0; SNAPSHOT_HEADER_BYTES_MAX - 20]).0);
    let error = newest_valid(&sim, dir()).unwrap_err();
    assert_eq!(error.code(), ErrorCode::FormatTooNew);
    assert!(error.message().contains("its format has version 2, this software knows version 1"), "{error}");
    assert_eq!(SnapshotReader::open(&sim, &path()).map(drop).unwrap_err(), error);
}

#[test]
fn a_damaged_newest_is_told_beside_the_older_valid_one() {
    let (sim, disk) = disk(1);
    for position in [3, 4, 5] {
        write(&disk, &header(position), &small()).unwrap();
    }
    sim.flip_bit(&path(), 0, 0).unwrap();
    sim.flip_bit(&dir().join(file_name(4)), 60, 0).unwrap();
    let search = newest_valid(&sim, dir()).unwrap();
    assert_eq!(search.valid.unwrap().header, Some(header(3)));
    let damaged: Vec<_> = search.damaged.iter().map(|report| report.path.clone()).collect();
    assert_eq!(damaged, [path(), dir().join(file_name(4))]);
    assert_eq!(search.older, []);
    sim.flip_bit(&dir().join(file_name(3)), 60, 0).unwrap();
    let search = newest_valid(&sim, dir()).unwrap();
    assert_eq!((search.valid, search.damaged.len()), (None, 3));
}

#[test]
fn a_snapshot_under_the_name_of_another_is_damaged() {
    let (sim, disk) = disk(1);
    write(&disk, &header(4), &small()).unwrap();
    disk.rename(&dir().join(file_name(4)), &path()).unwrap();
    let search = newest_valid(&sim, dir()).unwrap();
    assert_eq!(search.valid, None);
    assert_eq!(search.damaged[0].damage.as_ref().unwrap().why, "it is of position 4, its name says 5");
}
