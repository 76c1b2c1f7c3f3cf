//! What was told of the clock holds after a restart, and costs no more than the reserve.

use super::*;
use crate::{limits::CLOCK_RESERVE, types::Timestamp};

/// Draws a stamp as for a peer, at this wall time.
async fn told(bench: &Bench, node: &Opened) -> Timestamp {
    let (stamp, ledger) = (node.keyspace.tick(), node.keyspace.ledger().unwrap());
    ledger.tell_clock(stamp, bench.clock.wall_ms());
    ledger.flush().await.unwrap();
    stamp
}

#[test]
fn many_restarts_do_not_push_the_clock_ahead() {
    block_on(async {
        let bench = Bench::new(4, Durability::Sync);
        let mut latest = Timestamp::ZERO;
        for restart in 0..50 {
            let node = bench.open().await.unwrap();
            let stamp = told(&bench, &node).await;
            assert!(stamp > latest, "restart {restart}: {stamp} after {latest}");
            let ahead_ms = stamp.millis() - bench.clock.wall_ms();
            assert!(ahead_ms <= CLOCK_RESERVE.as_millis() as u64 + restart, "restart {restart}: {ahead_ms} ms ahead");
            latest = stamp;
            bench.lose_power(node).await;
        }
    });
}
