//! A disk that fails and a disk that is full.

use super::*;
use crate::env::SimFault;

async fn the_log_ends(fault: SimFault) {
    let disk = SimDisk::new(1);
    let log = open_small(&disk);
    append_synced(&log, 0..5).await;
    disk.set_fault(fault);
    let told = Arc::new(Mutex::new(None));
    let (first, second) = (append(&log, 5), append(&log, 6));
    let tell = told.clone();
    log.on_synced(second, move |outcome| *tell.lock() = Some(outcome));
    let error = log.synced(first).await.unwrap_err();
    assert!(error.code() == ErrorCode::DiskFailed && error.is_maybe_applied(), "{error:?}");
    assert!(told.lock().clone().unwrap().unwrap_err().is_maybe_applied());
    assert_eq!(log.wait_synced(second, Duration::from_secs(9)).unwrap_err(), error, "at once, not at the deadline");
    log.synced(Position(4)).await.expect("what was synced before stays synced");
    assert_eq!(log.state(), LogState::Failed);

    let steps = disk.steps();
    let refused = log.append(1, 1, b"later").unwrap_err();
    assert!(refused.code() == ErrorCode::DiskFailed && !refused.is_maybe_applied(), "{refused:?}");
    assert_eq!(log.check_room().unwrap_err().code(), ErrorCode::DiskFailed);
    assert_eq!(log.room().await.unwrap_err().code(), ErrorCode::DiskFailed);
    assert_eq!(log.close().await.unwrap_err().code(), ErrorCode::DiskFailed);
    assert_eq!(disk.steps(), steps, "nothing is tried again");

    disk.crash();
    let log = open_small(&disk);
    assert!(serials(&log).starts_with(&[0, 1, 2, 3, 4]));
    append_synced(&log, 7..9).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_ends_the_log() {
    the_log_ends(SimFault::Sync(0)).await;
}

#[tokio::test(start_paused = true)]
async fn a_failed_write_ends_the_log() {
    the_log_ends(SimFault::Write(0, 20)).await;
}

#[tokio::test(start_paused = true)]
async fn a_sync_that_failed_is_not_believed_by_the_next_start() {
    let disk = SimDisk::new(1);
    let log = open_small(&disk);
    append_synced(&log, 0..3).await;
    disk.set_fault(SimFault::Sync(0));
    let position = append(&log, 3);
    log.synced(position).await.unwrap_err();
    // The process restarts, and reads pages that are in memory only.
    disk.kill();
    let log = open_small(&disk);
    assert_eq!(serials(&log), [0, 1, 2, 3]);
    disk.crash();
    assert_eq!(serials(&open_small(&disk)), [0, 1, 2, 3], "what a start has shown is on the disk");
}

#[tokio::test(start_paused = true)]
async fn a_full_disk_refuses_new_writers_keeps_what_it_took_and_goes_on() {
    let disk = SimDisk::new(1);
    let log = open_small(&disk);
    append_synced(&log, 0..10).await;
    disk.set_capacity(Some(disk.used_bytes() + 300));
    let mut next = 10;
    while log.check_room().is_ok() {
        let position = append(&log, next);
        next += 1;
        let waited = tokio::time::timeout(Duration::from_millis(100), log.synced(position)).await;
        assert!(waited.is_err() || log.state() == LogState::Ok, "not synced, not acknowledged");
    }
    assert_eq!(log.state(), LogState::Full);
    assert_eq!(log.check_room().unwrap_err().code(), ErrorCode::DiskFull);
    assert_eq!(log.wait_for_room(Duration::ZERO).unwrap_err().code(), ErrorCode::DiskFull);
    // One was past the check already.
    let last = append(&log, next);
    tokio::time::sleep(Duration::from_secs(60)).await;
    let acked = log.synced_before();
    assert_eq!(acked.0, next - 1, "all but the one that met the end of the space, and the one after it");
    assert!(log.stats().buffered_bytes > 0);
    assert_eq!(serials(&log), (0..acked.0).collect::<Vec<_>>(), "what is there can be read");

    disk.set_capacity(None);
    log.synced(last).await.unwrap();
    assert_eq!((log.state(), log.failure(), log.stats().buffered_bytes), (LogState::Ok, None, 0));
    log.check_room().unwrap();
    append_synced(&log, next + 1..next + 20).await;
    disk.crash();
    assert_eq!(serials(&open_small(&disk)), (0..next + 20).collect::<Vec<_>>());
}

#[tokio::test(start_paused = true)]
async fn a_close_on_a_full_disk_says_what_was_not_written() {
    let disk = SimDisk::new(1);
    let log = open_small(&disk);
    append_synced(&log, 0..3).await;
    disk.set_capacity(Some(0));
    let mut last = Position(0);
    for serial in 3..30 {
        last = append(&log, serial);
    }
    assert_eq!(log.close().await.unwrap_err().code(), ErrorCode::DiskFull);
    assert!(log.synced(last).await.unwrap_err().is_maybe_applied());
    disk.set_capacity(None);
    disk.crash();
    assert!(serials(&open_small(&disk)).starts_with(&[0, 1, 2]));
}

#[tokio::test(start_paused = true)]
async fn a_failed_sync_of_a_directory_ends_the_log_at_the_next_segment() {
    let disk = SimDisk::new(1);
    let log = open_small(&disk);
    // The sync of the segment, of the new one, and then of the directory.
    let mut serial = 0;
    let segments = log.stats().segments;
    disk.set_fault(SimFault::DieAt(u64::MAX / 2));
    while log.stats().segments == segments {
        append_synced(&log, serial..serial + 1).await;
        serial += 1;
    }
    let per_segment = serial - 1;
    append_synced(&log, serial..serial + per_segment - 1).await;
    serial += per_segment - 1;
    disk.set_fault(SimFault::Sync(1));
    let position = append(&log, serial);
    assert_eq!(log.synced(position).await.unwrap_err().code(), ErrorCode::DiskFailed);
    disk.crash();
    assert!(serials(&open_small(&disk)).starts_with(&(0..serial).collect::<Vec<_>>()));
}
