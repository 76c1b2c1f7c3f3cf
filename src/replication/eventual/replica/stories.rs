//! Stories of a whole cluster in which one thing goes wrong: clocks, long absences, damage.

use super::simulation::Simulation;
use crate::{
    storage::partition_of,
    types::{Key, PeerStatus, Record, RecordRef},
};

const PORTS: [u16; 3] = [1, 2, 3];

fn cluster(seed: u64) -> Simulation {
    let mut simulation = Simulation::calm(seed);
    simulation.start(1, &[]);
    simulation.start(2, &[1]);
    simulation.start(3, &[1]);
    simulation.run(3000);
    simulation
}

fn held(simulation: &Simulation, port: u16, key: &str) -> Option<Record> {
    let partition = partition_of(key.as_bytes());
    simulation.nodes[&port].keyspace.records(partition, |records| records.get(key.as_bytes()).map(RecordRef::to_record))
}

fn shown(simulation: &Simulation, port: u16, key: &str) -> Option<String> {
    let record = simulation.nodes[&port].keyspace.read(key.as_bytes())?;
    record.value.map(|value| String::from_utf8(value.as_slice().to_vec()).unwrap())
}

fn peer_of(simulation: &Simulation, port: u16, peer: u16) -> PeerStatus {
    let status = simulation.nodes[&port].replica.status(0);
    status.peers.into_iter().find(|status| status.address.port() == peer).unwrap()
}

#[test]
fn clocks_a_minute_off_are_refused_and_named_until_they_are_right_again() {
    let mut simulation = cluster(1);
    simulation.set_offset_ms(2, 60_000);
    simulation.set_offset_ms(3, -60_000);
    simulation.write(1, "middle", Some("1"), None);
    simulation.write(2, "ahead", Some("2"), None);
    simulation.write(3, "behind", Some("3"), None);
    simulation.run(5000);
    let shows =
        |simulation: &Simulation, port| ["behind", "middle", "ahead"].map(|key| shown(simulation, port, key).is_some());
    assert_eq!(shows(&simulation, 1), [true, true, false]);
    assert_eq!(shows(&simulation, 2), [true, true, true], "what lies in the past is taken");
    assert_eq!(shows(&simulation, 3), [true, false, false]);
    let (from_ahead, from_behind) = (peer_of(&simulation, 1, 2), peer_of(&simulation, 1, 3));
    assert!((50_000..65_000).contains(&from_ahead.refused_ms), "{from_ahead:?}");
    assert!((50_000..65_000).contains(&from_behind.refuses_ms), "{from_behind:?}");
    assert!((59_000..61_000).contains(&from_ahead.clock_offset_ms), "{from_ahead:?}");
    assert!((50_000..65_000).contains(&peer_of(&simulation, 3, 1).refused_ms));
    assert_eq!((from_ahead.refuses_ms, from_behind.refused_ms), (0, 0));
    // EV-6: the clock of the first never follows.
    let now = simulation.nodes[&1].keyspace.tick();
    assert!(now.millis() <= simulation.highest_wall_ms(), "{now}");

    simulation.set_offset_ms(2, 0);
    simulation.set_offset_ms(3, 0);
    simulation.run(75_000);
    for port in PORTS {
        assert_eq!(shows(&simulation, port), [true, true, true], "{port}");
        for peer in PORTS.into_iter().filter(|&peer| peer != port) {
            let status = peer_of(&simulation, port, peer);
            assert_eq!((status.refused_ms, status.refuses_ms), (0, 0));
            assert!(status.clock_offset_ms.abs() < 4000, "what a message takes: {status:?}");
        }
    }
}

#[test]
fn a_member_that_is_away_holds_tombstones_back_and_is_named() {
    let mut simulation = cluster(2);
    simulation.write(1, "k", Some("v"), None);
    simulation.run(2000);
    simulation.pause(3);
    simulation.write(1, "k", None, None);
    simulation.run(90_000);
    assert!(held(&simulation, 1, "k").is_some() && held(&simulation, 2, "k").is_some(), "the third does not know yet");
    let away = simulation.nodes[&3].keyspace.me();
    let status = simulation.nodes[&1].replica.status(simulation.highest_wall_ms());
    assert_eq!(status.held_back_by, [away]);
    assert!(status.stable_lag_ms > 80_000);
    simulation.resume(3);
    simulation.run(20_000);
    for port in PORTS {
        assert_eq!(held(&simulation, port, "k"), None, "{port}");
        assert_eq!(simulation.nodes[&port].replica.status(simulation.highest_wall_ms()).held_back_by, []);
    }
}

#[test]
fn a_member_that_does_not_come_back_holds_back_until_another_takes_its_place() {
    let mut simulation = cluster(3);
    simulation.kill(3);
    simulation.write(1, "k", None, None);
    simulation.run(30_000);
    assert!(held(&simulation, 1, "k").is_some());
    simulation.start(3, &[1]);
    simulation.run(10_000);
    assert!(PORTS.iter().all(|&port| held(&simulation, port, "k").is_none()));
}

#[test]
fn what_expires_is_swept_once_and_forgotten_by_all() {
    let mut simulation = cluster(4);
    simulation.write(1, "k", Some("v"), Some(6000));
    simulation.run(5000);
    assert!(PORTS.iter().all(|&port| shown(&simulation, port, "k").is_some()));
    simulation.run(15_000);
    assert!(PORTS.iter().all(|&port| held(&simulation, port, "k").is_none()));
    assert_eq!(simulation.nodes.values().map(|node| node.keyspace.expired()).sum::<u64>(), 1);
}

#[test]
fn writes_of_a_node_apart_from_the_start_survive_deletes_that_all_have_forgotten() {
    let mut simulation = Simulation::calm(5);
    simulation.start(1, &[]);
    simulation.start(2, &[]);
    simulation.write(1, "k", Some("old"), None);
    simulation.run(1000);
    simulation.write(2, "k", None, None);
    simulation.run(10_000);
    assert_eq!(held(&simulation, 2, "k"), None, "a node alone forgets its deletes");
    simulation.start(3, &[1, 2]);
    simulation.run(20_000);
    for port in PORTS {
        assert_eq!(shown(&simulation, port, "k").as_deref(), Some("old"), "{port}");
    }
    let first = simulation.nodes[&1].keyspace.digests();
    assert!(simulation.nodes.values().all(|node| node.keyspace.digests() == first));
}

#[test]
fn damage_is_found_and_repaired() {
    let mut simulation = cluster(6);
    for number in 0..20 {
        simulation.write(1, &format!("key{number}"), Some("value"), None);
    }
    simulation.run(3000);
    let expected = simulation.nodes[&1].keyspace.digests();
    simulation.nodes[&2].keyspace.lose(&Key::new(b"key7").unwrap());
    assert_ne!(simulation.nodes[&2].keyspace.digests(), expected);
    simulation.run(8000);
    let counters = |port: u16| {
        let status = simulation.nodes[&port].replica.status(0);
        (status.divergences > 0, status.repairs > 0)
    };
    assert_eq!(counters(2), (true, true));
    for port in PORTS {
        assert_eq!(simulation.nodes[&port].keyspace.digests(), expected, "{port}");
    }
}
