//! Each fault between two nodes on a simulated network. That a node without faults is as one with plain doors is for the
//! contract suites to say.

use std::{collections::BTreeSet, io, time::Duration};

use tokio::{
    io::{AsyncReadExt, AsyncWriteExt},
    time::Instant,
};

use super::{Faults, Slowness};
use crate::{
    env::{Connection, Env, Listener, SimulatedNetwork},
    types::Address,
};

/// Long enough for everything that does not wait for ever.
const LONG: Duration = Duration::from_secs(60);

/// A listener without faults, and the doors of a node with some.
struct Stage {
    faults: Faults,
    env: Env,
    listener: Box<dyn Listener>,
    address: Address,
}

async fn stage() -> Stage {
    let (faults, network) = (Faults::new(1), SimulatedNetwork::default());
    let env = faults.doors(Env { transport: std::sync::Arc::new(network.clone()), ..Env::system() });
    let listener = crate::env::Transport::listen(&network, "127.0.0.1", 0).await.unwrap();
    let address = Address::new("127.0.0.1", listener.port()).unwrap();
    Stage { faults, env, listener, address }
}

impl Stage {
    /// A connection that the node with faults has opened, and the end of the other.
    async fn pair(&mut self) -> (Box<dyn Connection>, Box<dyn Connection>) {
        let (ours, theirs) = tokio::join!(self.env.transport.connect(&self.address), self.listener.accept());
        (ours.unwrap(), theirs.unwrap().0)
    }

    async fn connect(&self) -> io::Result<Box<dyn Connection>> {
        self.env.transport.connect(&self.address).await
    }
}

/// Whether it does not end, however long it is given.
async fn hangs<T>(future: impl std::future::Future<Output = T>) -> bool {
    tokio::time::timeout(LONG, future).await.is_err()
}

fn slowness(delay_s: f64, jitter_s: f64, drop: f64) -> Slowness {
    Slowness::new(delay_s, jitter_s, drop).unwrap()
}

#[tokio::test(start_paused = true)]
async fn a_blocked_address_is_cut_off_until_it_is_not_blocked_any_more() {
    let mut stage = stage().await;
    let (mut ours, mut theirs) = stage.pair().await;
    let reading = tokio::spawn(async move { ours.read_u8().await.map_err(|error| error.kind()) });
    tokio::task::yield_now().await;
    stage.faults.block(BTreeSet::from([stage.address.clone()]));
    assert!(reading.await.unwrap().is_err(), "it was waiting when the link was cut");
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0, "the other side sees the end");
    let refused = stage.connect().await.map(|_| ()).unwrap_err();
    assert_eq!(refused.kind(), io::ErrorKind::HostUnreachable);
    stage.faults.block(BTreeSet::new());
    let (mut ours, mut theirs) = stage.pair().await;
    ours.write_u8(7).await.unwrap();
    assert_eq!(theirs.read_u8().await.unwrap(), 7);
}

#[tokio::test(start_paused = true)]
async fn nothing_that_is_said_after_the_cut_gets_through() {
    let mut stage = stage().await;
    let (mut ours, mut theirs) = stage.pair().await;
    stage.faults.block(BTreeSet::from([stage.address.clone()]));
    // The task of the connection has not run since.
    ours.write_u8(1).await.unwrap();
    assert_eq!(theirs.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn other_addresses_are_not_blocked_and_accepted_connections_are_not_asked() {
    let mut stage = stage().await;
    let mut listener = stage.env.transport.listen("127.0.0.1", 0).await.unwrap();
    let own = Address::new("127.0.0.1", listener.port()).unwrap();
    let (inbound, accepted) = tokio::join!(stage.env.transport.connect(&own), listener.accept());
    let (mut inbound, mut accepted) = (inbound.unwrap(), accepted.unwrap().0);
    let (mut ours, mut theirs) = stage.pair().await;
    stage.faults.block(BTreeSet::from([Address::new("127.0.0.1", 9).unwrap(), own]));
    ours.write_u8(1).await.unwrap();
    assert_eq!(theirs.read_u8().await.unwrap(), 1);
    accepted.write_u8(2).await.unwrap();
    assert!(inbound.read_u8().await.is_err(), "that end was opened by the node itself");
    assert!(!hangs(accepted.write_u8(2)).await);
}

#[tokio::test(start_paused = true)]
async fn a_paused_node_keeps_everything_and_says_nothing() {
    let mut stage = stage().await;
    let (mut ours, mut theirs) = stage.pair().await;
    let (given_up, mut left) = stage.pair().await;
    stage.faults.pause(true);
    theirs.write_u8(1).await.unwrap();
    ours.write_u8(2).await.unwrap();
    assert!(hangs(ours.read_u8()).await && hangs(theirs.read_u8()).await && hangs(stage.connect()).await);
    drop(given_up);
    assert!(hangs(left.read_u8()).await, "a process that stands still closes nothing");
    let mut listener = stage.env.transport.listen("127.0.0.1", 0).await.unwrap();
    assert!(hangs(listener.accept()).await);
    stage.faults.pause(false);
    assert_eq!((ours.read_u8().await.unwrap(), theirs.read_u8().await.unwrap()), (1, 2));
    assert_eq!(left.read(&mut [0]).await.unwrap(), 0);
}

#[tokio::test(start_paused = true)]
async fn whoever_waits_goes_on_when_the_pause_ends() {
    let mut stage = stage().await;
    let (mut ours, mut theirs) = stage.pair().await;
    stage.faults.pause(true);
    theirs.write_u8(1).await.unwrap();
    let reading = tokio::spawn(async move { ours.read_u8().await });
    tokio::time::sleep(LONG).await;
    assert!(!reading.is_finished());
    stage.faults.pause(false);
    assert_eq!(reading.await.unwrap().unwrap(), 1);
}

/// Between two writes.
const GAP: Duration = Duration::from_millis(20);

/// How many milliseconds each of `count` bytes took.
async fn journeys(mut from: Box<dyn Connection>, mut to: Box<dyn Connection>, count: u8) -> Vec<u128> {
    let start = Instant::now();
    let writing = async {
        for byte in 0..count {
            from.write_u8(byte).await.unwrap();
            tokio::time::sleep(GAP).await;
        }
    };
    let reading = async {
        let mut took = Vec::new();
        for byte in 0..count {
            assert_eq!(to.read_u8().await.unwrap(), byte, "in order");
            took.push((start.elapsed() - GAP * u32::from(byte)).as_millis());
        }
        took
    };
    tokio::join!(writing, reading).1
}

#[tokio::test(start_paused = true)]
async fn a_slow_node_is_slow_in_both_directions_and_has_many_pieces_on_the_way() {
    let mut stage = stage().await;
    stage.faults.slow(slowness(0.2, 0.0, 0.0));
    let (ours, theirs) = stage.pair().await;
    assert!(journeys(ours, theirs, 20).await.iter().all(|ms| (200..210).contains(ms)), "what it says");
    let (ours, theirs) = stage.pair().await;
    assert!(journeys(theirs, ours, 20).await.iter().all(|ms| (200..210).contains(ms)), "what it hears");
}

#[tokio::test(start_paused = true)]
async fn jitter_differs_from_piece_to_piece_and_repeats_itself_with_the_seed() {
    let mut runs = Vec::new();
    for _ in 0..2 {
        let mut stage = stage().await;
        stage.faults.slow(slowness(0.0, 1.0, 0.0));
        let (ours, theirs) = stage.pair().await;
        runs.push(journeys(ours, theirs, 20).await);
    }
    assert_eq!(runs[0], runs[1]);
    assert!(runs[0].iter().collect::<BTreeSet<_>>().len() > 2, "{:?}", runs[0]);
    assert!(runs[0].iter().all(|ms| *ms <= 1010));
}

#[tokio::test(start_paused = true)]
async fn what_is_lost_is_sent_again_later() {
    let mut stage = stage().await;
    stage.faults.slow(slowness(0.0, 0.0, 0.5));
    let (ours, theirs) = stage.pair().await;
    let arrived = journeys(ours, theirs, 20).await;
    assert!(arrived.iter().any(|ms| *ms >= 200), "{arrived:?}");
}

#[tokio::test(start_paused = true)]
async fn nothing_gets_through_when_all_is_lost() {
    let mut stage = stage().await;
    let (mut ours, mut theirs) = stage.pair().await;
    stage.faults.slow(slowness(0.0, 0.0, 1.0));
    theirs.write_u8(1).await.unwrap();
    ours.write_u8(2).await.unwrap();
    assert!(hangs(ours.read_u8()).await && hangs(theirs.read_u8()).await);
    stage.faults.slow(Slowness::default());
    assert_eq!((ours.read_u8().await.unwrap(), theirs.read_u8().await.unwrap()), (1, 2));
}

#[tokio::test(start_paused = true)]
async fn what_is_under_way_arrives_at_once_when_nothing_is_slow_any_more() {
    let mut stage = stage().await;
    stage.faults.slow(slowness(1000.0, 0.0, 0.0));
    let (mut ours, mut theirs) = stage.pair().await;
    let start = Instant::now();
    ours.write_u8(1).await.unwrap();
    theirs.write_u8(2).await.unwrap();
    let reading = tokio::spawn(async move { ours.read_u8().await });
    tokio::time::sleep(LONG).await;
    stage.faults.slow(Slowness::default());
    assert_eq!((theirs.read_u8().await.unwrap(), reading.await.unwrap().unwrap()), (1, 2));
    assert!(start.elapsed() < LONG + Duration::from_secs(1));
}

#[tokio::test(start_paused = true)]
async fn a_slow_end_comes_after_everything_that_was_written() {
    let mut stage = stage().await;
    stage.faults.slow(slowness(0.1, 0.1, 0.1));
    let (mut ours, mut theirs) = stage.pair().await;
    // More than may be on the way, so that the writer has to wait.
    let sent: Vec<u8> = (0..3_000_000u32).map(|i| (i % 251) as u8).collect();
    let (sending, copy) = (
        sent.clone(),
        tokio::spawn(async move {
            let mut received = Vec::new();
            theirs.read_to_end(&mut received).await.map(|_| received)
        }),
    );
    ours.write_all(&sending).await.unwrap();
    ours.shutdown().await.unwrap();
    assert!(copy.await.unwrap().unwrap() == sent);
}

#[test]
fn clocks_go_ahead_together_and_never_back() {
    let first = Faults::new(1);
    let (plain, one, other) = (Env::system(), first.doors(Env::system()), first.beside(2).doors(Env::system()));
    first.advance(Duration::from_secs(100));
    first.advance(Duration::from_secs(20));
    for env in [&one, &other] {
        let ahead = env.clock.wall_ms() - plain.clock.wall_ms();
        assert!((119_000..=125_000).contains(&ahead), "{ahead} ms ahead");
        assert!(env.clock.monotonic() >= Duration::from_secs(120));
    }
}

#[test]
fn what_is_no_slowness_is_refused_by_name() {
    for (name, bad) in [
        ("delay", (-1.0, 0.0, 0.0)),
        ("delay", (f64::NAN, 0.0, 0.0)),
        ("jitter", (0.0, 1e9, 0.0)),
        ("drop", (0.0, 0.0, 1.1)),
        ("drop", (0.0, 0.0, f64::NAN)),
    ] {
        let error = Slowness::new(bad.0, bad.1, bad.2).unwrap_err();
        assert!(error.message().starts_with(name), "{error}");
    }
}
