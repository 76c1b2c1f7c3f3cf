//! The log on the machine's own disk, written to by many threads.

use super::*;
use crate::env::temp::TempDir;

const THREADS: u64 = 64;
const EACH: u64 = 40;

fn block_on<T>(future: impl Future<Output = T>) -> T {
    tokio::runtime::Builder::new_current_thread().build().unwrap().block_on(future)
}

#[test]
fn what_many_threads_were_acknowledged_is_there_in_their_order() {
    let temp = TempDir::new();
    let options = LogOptions { segment_bytes: 64 * 1024, preallocate_bytes: 4096, ..LogOptions::default() };
    let log = Log::open(&Env::system(), temp.path(), &options).unwrap();
    std::thread::scope(|scope| {
        for thread in 0..THREADS {
            let log = &log;
            scope.spawn(move || {
                for number in 0..EACH {
                    log.check_room().unwrap();
                    let position = append(log, thread * EACH + number);
                    log.wait_synced(position, Duration::from_secs(60)).unwrap();
                    assert!(log.synced_before() > position);
                }
            });
        }
    });
    let stats = log.stats();
    assert!(stats.batches < THREADS * EACH / 2, "{} batches: they share", stats.batches);
    assert!(stats.segments > 1 && stats.sync_max_us > 0, "{stats:?}");
    let second = Log::open(&Env::system(), temp.path(), &options).map(|_| ());
    assert_eq!(second.unwrap_err().code(), ErrorCode::DataDirInUse);
    // No close: as if the process had died.
    drop(log);

    let log = reopened(temp.path(), &options);
    let found = serials(&log);
    assert_eq!(found.len() as u64, THREADS * EACH);
    for thread in 0..THREADS {
        let own: Vec<u64> = found.iter().copied().filter(|serial| serial / EACH == thread).collect();
        assert_eq!(own, (thread * EACH..(thread + 1) * EACH).collect::<Vec<_>>());
    }
    block_on(log.close()).unwrap();
    assert_eq!(verify(&crate::env::RealDisk, temp.path()).unwrap().last().unwrap().end, Position(THREADS * EACH));
}

/// The thread of a dropped log ends by itself and then lets go of the directory.
fn reopened(dir: &Path, options: &LogOptions) -> Log {
    let clock = crate::env::SystemClock::new();
    loop {
        match Log::open(&Env::system(), dir, options) {
            Err(error) if error.code() == ErrorCode::DataDirInUse => {
                assert!(clock.monotonic() < Duration::from_secs(20), "{error}");
                std::thread::yield_now();
            }
            other => return other.unwrap(),
        }
    }
}
