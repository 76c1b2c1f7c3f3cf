//! What session reads wait for, and what they are told.

use super::*;
use crate::{
    client::session::QUESTION_ID,
    types::{Dot, Mark, NodeId, PartitionId, Sequence, VersionVector},
    wire::kv::decode_catch_up,
};

/// A write of node 1 in partition 3.
fn seen(sequence: u64) -> Seen {
    let dot = Dot { node: NodeId(1), sequence: Sequence(sequence) };
    Seen::Write(Mark { partition: PartitionId(3), dot, version: Timestamp(100 + sequence) })
}

fn lost(last_here: u64) -> Vec<LostWrites> {
    vec![LostWrites { partition: PartitionId(3), node: NodeId(1), last_here: Sequence(last_here) }]
}

fn written() -> Answer {
    Answer::Written(Written { version: Timestamp(1), existed: false })
}

impl Desk {
    /// A session that has made write 5 of node 1, and lost its connection afterwards.
    fn moved() -> Desk {
        let mut desk = Desk::connected();
        desk.submit(0, &[put("a", 1)], None);
        assert_eq!(desk.send(), [1]);
        let finished = desk.calls.answer(vec![(1, Ok((written(), seen(5))))]);
        desk.complete(finished);
        desk.lose(0);
        desk.reconnect();
        desk
    }

    fn caught_up(&mut self, answer: Result<Vec<LostWrites>>) {
        let finished = self.calls.handle_caught_up(answer);
        self.complete(finished);
    }

    /// What the next message asks the node to have, and the ids of its other operations.
    fn question(&mut self) -> (Vec<(PartitionId, VersionVector)>, Timestamp, Vec<u64>) {
        let mut operations = self.calls.next_batch().expect("there is a message").operations;
        let question = operations.remove(0);
        assert_eq!(question.id, QUESTION_ID);
        let Some(v1::operation::Operation::CatchUp(request)) = question.operation else { panic!("{question:?}") };
        let wanted = decode_catch_up(request).unwrap().wanted;
        (wanted.vectors, wanted.clock, operations.into_iter().map(|operation| operation.id).collect())
    }
}

#[test]
fn a_session_that_stays_with_its_node_asks_nothing() {
    let mut desk = Desk::connected();
    desk.submit(0, &[put("a", 1)], None);
    assert_eq!(desk.send(), [1]);
    let finished = desk.calls.answer(vec![(1, Ok((written(), seen(5))))]);
    desk.complete(finished);
    desk.submit(0, &[get("a")], None);
    assert_eq!(desk.send(), [2]);
}

#[test]
fn a_new_connection_begins_with_the_question_and_only_session_reads_wait_for_its_answer() {
    let mut desk = Desk::moved();
    let (read, _) = desk.submit(0, &[get("a")], None);
    desk.submit(0, &[put("b", 1)], None);
    desk.submit_at(0, &[get("c")], ReadLevel::Local, None);
    let (wanted, clock, others) = desk.question();
    let of_node_1: VersionVector = [(NodeId(1), Sequence(5))].into_iter().collect();
    assert_eq!((wanted, clock), (vec![(PartitionId(3), of_node_1)], Timestamp(105)));
    assert_eq!(others, [3, 4]);
    assert!(desk.send().is_empty());
    desk.submit(0, &[get("d")], None);
    desk.answer(&[3, 4]);
    assert!(desk.send().is_empty());
    desk.caught_up(Ok(Vec::new()));
    assert_eq!(desk.send(), [2, 5]);
    desk.answer(&[2, 5]);
    assert!(desk.outcome(read).unwrap().is_ok());
}

#[test]
fn a_touch_waits_and_a_delete_does_not() {
    let mut desk = Desk::moved();
    let key = Key::new(b"a").unwrap();
    let touch = Command { key: key.clone(), kind: CommandKind::Touch { ttl_ms: None } };
    desk.submit(0, &[Operation::Write(touch)], None);
    desk.submit(0, &[Operation::Write(Command { key, kind: CommandKind::Delete }), Operation::Ping], None);
    assert_eq!(desk.question().2, [3, 4]);
    desk.caught_up(Ok(Vec::new()));
    assert_eq!(desk.send(), [2]);
}

#[test]
fn what_was_read_is_asked_for_and_what_was_read_locally_is_not() {
    let mut desk = Desk::connected();
    desk.submit(0, &[get("a")], None);
    desk.submit_at(0, &[get("b")], ReadLevel::Local, None);
    desk.send();
    let answers = vec![(1, Ok((Answer::Entry(None), seen(7)))), (2, Ok((Answer::Entry(None), seen(9))))];
    let finished = desk.calls.answer(answers);
    desk.complete(finished);
    desk.lose(0);
    desk.reconnect();
    desk.submit(0, &[get("a")], None);
    let of_node_1: VersionVector = [(NodeId(1), Sequence(7))].into_iter().collect();
    assert_eq!(desk.question().0, [(PartitionId(3), of_node_1)]);
}

#[test]
fn a_read_whose_node_does_not_catch_up_ends_at_its_deadline_and_says_so() {
    let mut desk = Desk::moved();
    let (read, _) = desk.submit(0, &[get("a")], Some(10));
    desk.question();
    desk.expire(10);
    assert_eq!(desk.error(read), (ErrorCode::SessionBehind, false));
    assert!(!desk.calls.has_waiting());
    // The question stands: its answer lets later reads pass.
    let (later, _) = desk.submit(11, &[get("a")], Some(10));
    assert!(desk.send().is_empty());
    desk.caught_up(Ok(Vec::new()));
    assert_eq!(desk.send(), [3]);
    desk.answer(&[3]);
    assert!(desk.outcome(later).unwrap().is_ok());
}

#[test]
fn a_node_that_gives_up_waiting_is_asked_again_while_somebody_waits() {
    let mut desk = Desk::moved();
    desk.submit(0, &[get("a")], None);
    desk.question();
    desk.caught_up(Err(Error::new(ErrorCode::SessionBehind, "not yet")));
    assert!(desk.question().2.is_empty());
    desk.caught_up(Ok(Vec::new()));
    assert_eq!(desk.send(), [2]);
}

#[test]
fn lost_writes_are_told_to_those_who_wait_once_and_then_forgotten() {
    let mut desk = Desk::moved();
    let (first, _) = desk.submit(0, &[get("a")], None);
    let (second, _) = desk.submit(0, &[get("b"), put("b", 1)], None);
    desk.question();
    let (unsent, _) = desk.submit(0, &[get("c")], None);
    desk.caught_up(Ok(lost(4)));
    assert_eq!(desk.error(first), (ErrorCode::SessionLost, false));
    assert_eq!(desk.error(second), (ErrorCode::SessionLost, true));
    assert_eq!(desk.error(unsent), (ErrorCode::SessionLost, false));
    let (next, _) = desk.submit(0, &[get("a")], None);
    assert_eq!(desk.send(), [6]);
    desk.answer(&[3, 6]);
    assert!(desk.outcome(next).unwrap().is_ok());
    desk.lose(0);
    desk.reconnect();
    desk.submit(0, &[get("a")], None);
    let of_node_1: VersionVector = [(NodeId(1), Sequence(4))].into_iter().collect();
    assert_eq!(desk.question().0, [(PartitionId(3), of_node_1)]);
}

#[test]
fn lost_writes_that_nobody_waited_for_are_told_to_the_next_session_read() {
    let mut desk = Desk::moved();
    desk.submit(0, &[put("b", 1)], None);
    desk.question();
    desk.caught_up(Ok(lost(0)));
    let (local, _) = desk.submit_at(0, &[get("a")], ReadLevel::Local, None);
    let (write, _) = desk.submit(0, &[put("a", 1)], None);
    let (read, _) = desk.submit(0, &[get("a")], None);
    assert_eq!(desk.error(read), (ErrorCode::SessionLost, false));
    let (next, _) = desk.submit(0, &[get("a")], None);
    assert_eq!(desk.send(), [3, 4, 5]);
    desk.answer(&[3, 4, 5]);
    assert!([local, write, next].iter().all(|&call| desk.outcome(call).unwrap().is_ok()));
}

#[test]
fn a_node_that_refuses_the_question_fails_those_who_wait_and_is_asked_again_by_the_next() {
    let mut desk = Desk::moved();
    let (read, _) = desk.submit(0, &[get("a")], None);
    desk.question();
    desk.caught_up(Err(Error::new(ErrorCode::Overloaded, "too many")));
    assert_eq!(desk.error(read), (ErrorCode::Overloaded, false));
    assert!(desk.send().is_empty());
    desk.submit(0, &[get("a")], None);
    assert!(desk.question().2.is_empty());
}

#[test]
fn a_stopping_node_leaves_the_question_to_the_next() {
    let mut desk = Desk::moved();
    let (read, _) = desk.submit(0, &[get("a")], None);
    desk.question();
    desk.caught_up(Err(Error::new(ErrorCode::NotRunning, "stopping")));
    assert!(desk.calls.is_drained());
    assert_eq!(desk.outcome(read), None);
    desk.lose(1);
    desk.reconnect();
    assert!(desk.question().2.is_empty());
    desk.caught_up(Ok(Vec::new()));
    assert_eq!(desk.send(), [2]);
}

#[test]
fn held_reads_survive_a_lost_connection_and_can_be_cancelled() {
    let mut desk = Desk::moved();
    let (first, _) = desk.submit(0, &[get("a")], None);
    let (gone, id) = desk.submit(0, &[get("b")], None);
    desk.question();
    desk.lose(1);
    desk.reconnect();
    desk.question();
    drop(desk.calls.cancel(id));
    desk.caught_up(Ok(Vec::new()));
    assert_eq!(desk.send(), [2]);
    desk.answer(&[2]);
    assert!(desk.outcome(first).unwrap().is_ok());
    assert_eq!(desk.outcome(gone), None);
}
