//! What every implementation of a door promises: one suite a trait, run over the real and the simulated one, so that the
//! simulation cannot drift from the world.

mod disk;

use std::{io, sync::Arc, time::Duration};

use tokio::io::{AsyncReadExt, AsyncWriteExt};

use super::{
    Clock, Connection, Env, Faults, Listener, Rng, SeededRng, SimulatedClock, SimulatedNetwork, Slowness, SystemClock,
    SystemRng, TcpTransport, Transport,
};
use crate::types::Address;

/// Only a hang reaches it.
const DEADLINE: Duration = Duration::from_secs(10);

async fn within<T>(future: impl std::future::Future<Output = T>) -> T {
    tokio::time::timeout(DEADLINE, future).await.expect("it ends within the deadline")
}

/// `pass` lets some time pass.
fn clock_contract(clock: &dyn Clock, pass: impl Fn()) {
    let (wall_ms, start) = (clock.wall_ms(), clock.monotonic());
    assert!(wall_ms > 1_600_000_000_000, "milliseconds since the epoch, not {wall_ms}");
    let mut before = start;
    for _ in 0..1000 {
        let now = clock.monotonic();
        assert!(now >= before, "{now:?} after {before:?}");
        before = now;
    }
    // Bounded by the test's own time, not by a count: a real clock ticks when it likes.
    while clock.monotonic() < start + Duration::from_millis(5) {
        pass();
    }
    assert!(clock.wall_ms() >= wall_ms, "both clocks see time pass");
}

#[test]
fn the_system_clock_keeps_the_contract() {
    clock_contract(&SystemClock::new(), std::thread::yield_now);
}

#[test]
fn the_simulated_clock_keeps_the_contract() {
    let clock = SimulatedClock::new(1_700_000_000_000);
    clock_contract(&clock, || clock.advance(Duration::from_millis(1)));
}

#[test]
fn only_the_wall_of_a_simulated_clock_goes_back() {
    let clock = SimulatedClock::new(1000);
    clock.advance(Duration::from_millis(10));
    clock.set_wall_ms(5);
    assert_eq!((clock.wall_ms(), clock.monotonic()), (5, Duration::from_millis(10)));
}

fn rng_contract(rng: &dyn Rng) {
    let drawn: Vec<u64> = (0..1000).map(|_| rng.next_u64().unwrap()).collect();
    let distinct: std::collections::BTreeSet<&u64> = drawn.iter().collect();
    assert_eq!(distinct.len(), drawn.len(), "64 bits do not repeat within a thousand draws");
    for bit in 0..u64::BITS {
        let set = drawn.iter().filter(|number| *number >> bit & 1 == 1).count();
        assert!((350..650).contains(&set), "bit {bit} is set in {set} of 1000");
    }
}

#[test]
fn the_system_rng_keeps_the_contract() {
    rng_contract(&SystemRng);
}

#[test]
fn the_seeded_rng_keeps_the_contract() {
    rng_contract(&SeededRng::new(1));
}

#[test]
fn a_seed_gives_the_same_numbers_again_and_another_seed_others() {
    let draw = |seed| {
        let rng = SeededRng::new(seed);
        (0..8).map(|_| rng.next_u64().unwrap()).collect::<Vec<_>>()
    };
    assert_eq!(draw(7), draw(7));
    assert_ne!(draw(7), draw(8));
}

async fn transport_contract(transport: Arc<dyn Transport>) {
    bytes_arrive_in_order_both_ways(&*transport).await;
    a_dropped_end_is_the_end_of_the_other(&*transport).await;
    connections_do_not_mix(&*transport).await;
    a_taken_port_is_in_use_and_a_dropped_listener_frees_it(&*transport).await;
    nobody_there_is_an_error(&*transport).await;
}

#[tokio::test]
async fn tcp_keeps_the_contract() {
    within(transport_contract(Arc::new(TcpTransport))).await;
}

#[tokio::test]
async fn the_simulated_network_keeps_the_contract() {
    within(transport_contract(Arc::new(SimulatedNetwork::default()))).await;
}

/// A whole network with faults: each end of each connection has them.
fn faulty(slowness: Slowness) -> Arc<dyn Transport> {
    let faults = Faults::new(1);
    faults.slow(slowness);
    faults.doors(Env { transport: Arc::new(SimulatedNetwork::default()), ..Env::system() }).transport
}

#[tokio::test]
async fn a_network_without_any_fault_keeps_the_contract() {
    within(transport_contract(faulty(Slowness::default()))).await;
}

#[tokio::test]
async fn a_slow_network_keeps_the_contract() {
    within(transport_contract(faulty(Slowness::new(0.001, 0.001, 0.001).unwrap()))).await;
}

#[test]
fn a_clock_that_can_be_advanced_keeps_the_contract() {
    clock_contract(&*Faults::new(1).doors(Env::system()).clock, std::thread::yield_now);
}

async fn listen(transport: &dyn Transport) -> (Box<dyn Listener>, Address) {
    let listener = transport.listen("127.0.0.1", 0).await.unwrap();
    let address = Address::new("127.0.0.1", listener.port()).unwrap();
    (listener, address)
}

async fn pair(transport: &dyn Transport) -> (Box<dyn Connection>, Box<dyn Connection>) {
    let (mut listener, address) = listen(transport).await;
    let (ours, theirs) = tokio::join!(transport.connect(&address), listener.accept());
    let (theirs, from) = theirs.unwrap();
    assert!(!from.is_empty());
    (ours.unwrap(), theirs)
}

async fn bytes_arrive_in_order_both_ways(transport: &dyn Transport) {
    let (mut ours, mut theirs) = pair(transport).await;
    // More than any buffer on the way holds, so that the writer has to wait for the reader.
    let sent: Vec<u8> = (0..4_000_000u32).map(|i| (i % 251) as u8).collect();
    for _ in 0..2 {
        let mut received = vec![0; sent.len()];
        let (written, read) = tokio::join!(ours.write_all(&sent), theirs.read_exact(&mut received));
        written.unwrap();
        read.unwrap();
        assert!(received == sent, "the bytes are those that were sent");
        std::mem::swap(&mut ours, &mut theirs);
    }
}

async fn a_dropped_end_is_the_end_of_the_other(transport: &dyn Transport) {
    let (mut ours, mut theirs) = pair(transport).await;
    ours.write_all(b"last words").await.unwrap();
    ours.shutdown().await.unwrap();
    drop(ours);
    let mut received = Vec::new();
    theirs.read_to_end(&mut received).await.unwrap();
    assert_eq!(received, b"last words");
}

async fn connections_do_not_mix(transport: &dyn Transport) {
    let (mut first, mut first_end) = pair(transport).await;
    let (mut second, mut second_end) = pair(transport).await;
    first.write_all(b"1").await.unwrap();
    second.write_all(b"2").await.unwrap();
    let mut byte = [0];
    first_end.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"1");
    second_end.read_exact(&mut byte).await.unwrap();
    assert_eq!(&byte, b"2");
}

async fn a_taken_port_is_in_use_and_a_dropped_listener_frees_it(transport: &dyn Transport) {
    let (listener, address) = listen(transport).await;
    let taken = transport.listen("127.0.0.1", address.port()).await.map(|_| ());
    assert_eq!(taken.map_err(|error| error.kind()), Err(io::ErrorKind::AddrInUse));
    drop(listener);
    assert_eq!(transport.listen("127.0.0.1", address.port()).await.unwrap().port(), address.port());
}

async fn nobody_there_is_an_error(transport: &dyn Transport) {
    let (listener, address) = listen(transport).await;
    drop(listener);
    let refused = transport.connect(&address).await.map(|_| ());
    assert_eq!(refused.map_err(|error| error.kind()), Err(io::ErrorKind::ConnectionRefused));
}
