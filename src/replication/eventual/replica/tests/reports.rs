//! What a replica tells of itself: members to its peers, lag to who watches.

use super::*;
use crate::types::Change;

#[test]
fn members_are_told_to_all_when_they_change() {
    let mut bench = Bench::new(&[], 10);
    bench.accept(SessionId(1), 8, 8);
    let actions = bench.accept(SessionId(2), 9, 9);
    let told = |action: &&Action| matches!(action, Action::Send { message: PeerMessage::Members(told), .. } if told.members.len() == 2);
    assert_eq!(actions.iter().filter(told).count(), 2);
    let heard = Member { node: NodeId(10), address: address(10), born_ms: 0 };
    bench.receive(SessionId(1), PeerMessage::Members(Membership { members: vec![heard], removed: Vec::new() }));
    assert_eq!(bench.handle(Event::Tick)[0], Action::Dial { address: address(10) });
}

#[test]
fn lag_is_the_time_from_a_write_to_its_acknowledgement() {
    let mut bench = Bench::new(&[], 10);
    bench.accept(SESSION, 8, 8);
    bench.receive(SESSION, positions(&[], 1));
    bench.put("v");
    bench.handle(Event::News);
    let all = PeerMessage::Acknowledgements(vec![(partition_of(b"k"), Sequence(1))]);
    bench.after(Duration::from_millis(7), Event::Received { session: SESSION, message: all });
    let lag = bench.replica.status(bench.now.wall_ms).lag;
    assert_eq!((lag.samples, lag.p50_ms, lag.max_ms), (1, 7.0, 7.0));
}

#[test]
fn a_write_is_out_of_reach_when_neither_its_node_nor_one_that_has_more_is_connected() {
    let wanted = |node, sequence| (partition_of(b"k"), Dot { node: NodeId(node), sequence: Sequence(sequence) });
    let mut bench = Bench::new(&[8], 10);
    // Who has met nobody yet cannot say.
    assert_eq!(bench.replica.out_of_reach(&[wanted(9, 1)]), []);
    bench.accept(SessionId(1), 8, 8);
    bench.receive(SessionId(1), positions(&[], 1));
    assert_eq!(bench.replica.out_of_reach(&[wanted(9, 1)]), [wanted(9, 1)]);
    assert_eq!(bench.replica.out_of_reach(&[wanted(8, 1), wanted(9, 1)]), [wanted(9, 1)]);
    bench.accept(SessionId(2), 9, 9);
    assert_eq!(bench.replica.out_of_reach(&[wanted(9, 1)]), []);
    bench.handle(Event::Closed { session: SessionId(2), problem: None });
    assert_eq!(bench.replica.out_of_reach(&[wanted(9, 1)]), [wanted(9, 1)]);
    bench.receive(SessionId(1), positions(&[(9, 1)], 1));
    assert_eq!(bench.replica.out_of_reach(&[wanted(9, 1)]), []);
}

#[test]
fn what_came_from_peers_is_counted_by_how_it_came() {
    let mut bench = Bench::new(&[], 10);
    bench.accept(SESSION, 8, 8);
    let status = |bench: &Bench| bench.replica.status(bench.now.wall_ms);
    let change = Change {
        key: Key::new(b"k").unwrap(),
        value: Some(Value::new(b"pushed").unwrap()),
        flags: 0,
        timestamp: Timestamp(7),
        expires_ms: None,
    };
    let stretch = PartitionChanges {
        partition: partition_of(b"k"),
        first_sequence: Sequence(1),
        seen: Vec::new(),
        changes: vec![change.clone(), Change { value: None, ..change }],
    };
    bench.receive(SESSION, PeerMessage::Changes(vec![stretch]));
    assert_eq!((status(&bench).change_bytes, status(&bench).state_bytes), (8, 0));
    let (_, transfer) = asked(&bench.receive(SESSION, positions(&[(8, 9)], 5)))[0];
    bench.receive(SESSION, state_chunk(transfer, None));
    assert_eq!((status(&bench).change_bytes, status(&bench).state_bytes), (8, 8));
}
