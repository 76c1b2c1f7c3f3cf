//! Bytes that change on disk, and files that end too early: never a wrong entry, never a silent loss of what was proven.

use proptest::prelude::*;

use super::*;
use crate::env::OpenMode;

/// What a log says after damage: the first so many entries, or damage with file and place.
#[derive(Debug, PartialEq, Eq)]
enum Outcome {
    Entries(u64),
    Corrupt(String),
}

fn outcome(disk: &SimDisk) -> Outcome {
    let read = || -> Result<Vec<Entry>> {
        let log = open(disk, &small(Durability::Sync))?;
        log.entries_from(log.first())?.collect()
    };
    let outcome = read();
    disk.kill();
    match outcome {
        Ok(entries) => {
            let found: Vec<u64> = entries.iter().map(serial).collect();
            assert_eq!(found, (0..found.len() as u64).collect::<Vec<_>>());
            Outcome::Entries(found.len() as u64)
        }
        Err(error) => {
            assert_eq!(error.code(), ErrorCode::Corrupt, "{error}");
            Outcome::Corrupt(error.message().to_string())
        }
    }
}

fn segments(disk: &SimDisk) -> Vec<PathBuf> {
    let names = disk.list(&dir()).unwrap();
    names.iter().filter(|name| name.ends_with(".log")).map(|name| dir().join(name)).collect()
}

/// A log of 30 entries in several segments, some in batches together, killed or closed.
async fn made(is_closed: bool) -> SimDisk {
    let disk = SimDisk::new(1);
    let log = open_small(&disk);
    append_synced(&log, 0..20).await;
    log.close().await.unwrap();
    let log = open_small(&disk);
    for serial in (20..30).step_by(2) {
        append(&log, serial);
        let position = append(&log, serial + 1);
        log.synced(position).await.unwrap();
    }
    if is_closed {
        log.close().await.unwrap();
    }
    disk.kill();
    disk.copy(2)
}

/// Where the last batch with entries begins, in the last segment.
fn last_batch(disk: &SimDisk) -> (PathBuf, u64) {
    let path = segments(disk).pop().unwrap();
    let mut segment = segment::Segment::open(disk, &path).unwrap();
    let mut last = 0;
    loop {
        let offset = segment.offset;
        match segment.next_batch().unwrap() {
            segment::Next::Batch(batch) if batch.header.count > 0 => last = offset,
            segment::Next::Batch(_) => {}
            segment::Next::End | segment::Next::Bad(_) => return (path, last),
        }
    }
}

#[tokio::test(start_paused = true)]
async fn a_flipped_bit_is_found_or_lies_in_the_last_batch_of_a_log_that_was_killed() {
    for is_closed in [false, true] {
        let disk = made(is_closed).await;
        let (last_path, last_at) = last_batch(&disk);
        let (mut found, mut cut, mut harmless) = (0, 0, 0);
        for path in segments(&disk) {
            for offset in 0..content(&disk, &path).len() as u64 {
                let disk = disk.copy(1);
                disk.flip_bit(&path, offset, (offset * 5 % 8) as u8).unwrap();
                let place = format!("closed {is_closed}, {} at {offset}", path.display());
                match outcome(&disk) {
                    Outcome::Corrupt(message) => {
                        assert!(
                            message.contains(&format!("{} is damaged at byte ", path.display())),
                            "{place}: {message}"
                        );
                        found += 1;
                    }
                    Outcome::Entries(30) => harmless += 1,
                    Outcome::Entries(count) => {
                        assert!(!is_closed && path == last_path && offset >= last_at, "{place}: {count} entries");
                        assert_eq!(count, 28, "{place}: only the last batch");
                        cut += 1;
                    }
                }
            }
        }
        assert!(found > 1000 && (cut > 0) != is_closed && harmless > 0, "{is_closed} {found} {cut} {harmless}");
    }
}

#[tokio::test(start_paused = true)]
async fn a_log_that_ends_anywhere_is_read_up_to_the_last_whole_batch() {
    let disk = made(false).await;
    let path = segments(&disk).pop().unwrap();
    let mut ends = Vec::new();
    let mut segment = segment::Segment::open(&disk, &path).unwrap();
    while let segment::Next::Batch(batch) = segment.next_batch().unwrap() {
        ends.push((segment.offset, batch.header.end().0));
    }
    let first = segment.header.first.0;
    assert!(ends.len() >= 3, "{ends:?}");
    for len in 48..content(&disk, &path).len() as u64 {
        let disk = disk.copy(1);
        disk.open(&path, OpenMode::ReadWrite).unwrap().set_len(len).unwrap();
        let whole = ends.iter().take_while(|(end, _)| *end <= len).last().map_or(first, |(_, position)| *position);
        assert_eq!(outcome(&disk), Outcome::Entries(whole), "{len} bytes");
        assert_eq!(outcome(&disk), Outcome::Entries(whole), "{len} bytes, once more");
    }
}

#[tokio::test(start_paused = true)]
async fn a_segment_that_is_missing_or_of_another_log_is_damage() {
    let disk = made(true).await;
    let paths = segments(&disk);
    assert!(paths.len() >= 3, "{paths:?}");
    let gone = disk.copy(1);
    gone.remove(&paths[1]).unwrap();
    assert!(matches!(outcome(&gone), Outcome::Corrupt(message) if message.contains("is missing")));

    let other = SimDisk::new(5);
    let log = Log::open(
        &Env { rng: Arc::new(crate::env::SeededRng::new(9)), ..env_of(&other) },
        &dir(),
        &small(Durability::Sync),
    );
    append_synced(&log.unwrap(), 0..20).await;
    let foreign = content(&other, &paths[0]);
    let mixed = disk.copy(1);
    mixed.remove(&paths[0]).unwrap();
    mixed.open(&paths[0], OpenMode::CreateNew).unwrap().write_all_at(0, &foreign).unwrap();
    assert!(matches!(outcome(&mixed), Outcome::Corrupt(message) if message.contains("another log")));
}

#[tokio::test(start_paused = true)]
async fn bytes_of_the_log_that_are_stored_as_a_value_are_not_taken_for_batches() {
    let disk = SimDisk::new(1);
    let options = LogOptions { preallocate_bytes: 0, ..LogOptions::default() };
    let log = open(&disk, &options).unwrap();
    append_synced(&log, 0..5).await;
    let path = segments(&disk).pop().unwrap();
    let own = content(&disk, &path);
    let at = own.len() as u64;
    let position = log.append(1, 1, &own).unwrap();
    log.synced(position).await.unwrap();
    disk.kill();
    // The last batch, with all those headers in it, is torn: its own header does not match any more.
    disk.flip_bit(&path, at + 5, 1).unwrap();
    assert_eq!(outcome(&disk), Outcome::Entries(5));
}

#[tokio::test(start_paused = true)]
async fn verify_tells_what_is_readable_and_where_damage_is() {
    let disk = made(false).await;
    let reports = verify(&disk, &dir()).unwrap();
    let ends: Vec<u64> = reports.iter().map(|report| report.end.0).collect();
    assert_eq!(ends.last(), Some(&30));
    assert!(reports.windows(2).all(|pair| pair[0].end == pair[1].first), "{ends:?}");
    assert!(reports.iter().all(|report| report.damage.is_none() && report.torn_at.is_none()));

    let (path, offset) = last_batch(&disk);
    let torn = disk.copy(1);
    torn.flip_bit(&path, offset + 50, 0).unwrap();
    let steps = torn.steps();
    assert_eq!(verify(&torn, &dir()).unwrap().last().unwrap().torn_at, Some(offset));
    assert_eq!(torn.steps(), steps, "it changes nothing");

    let damaged = disk.copy(1);
    damaged.flip_bit(&reports[0].path, 60, 0).unwrap();
    damaged.flip_bit(&reports[1].path, 3, 0).unwrap();
    let reports = verify(&damaged, &dir()).unwrap();
    assert_eq!(reports[0].damage.as_ref().map(|damage| damage.offset), Some(48));
    assert_eq!(reports[1].damage.as_ref().map(|damage| damage.offset), Some(0));
    assert_eq!(reports.last().unwrap().damage, None);
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(64))]

    /// Files of nothing but noise end in an error or an empty log, never in entries or a panic.
    #[test]
    fn noise_is_never_taken_for_entries(noise in proptest::collection::vec(any::<u8>(), 0..2000), keeps_header in any::<bool>()) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        let _guard = runtime.enter();
        let disk = SimDisk::new(1);
        drop(open_small(&disk));
        disk.kill();
        let path = segments(&disk).pop().unwrap();
        let at = if keeps_header { 48 } else { 0 };
        disk.open(&path, OpenMode::ReadWrite).unwrap().write_all_at(at, &noise).unwrap();
        if let Outcome::Entries(count) = outcome(&disk) {
            prop_assert_eq!(count, 0);
        }
    }
}
