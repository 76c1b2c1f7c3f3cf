//! Leaving a node for another that is as good or better, and noticing one that says nothing.

use super::*;
use crate::types::{Dot, Mark, NodeId, PartitionId, Sequence, SessionToken};

/// Calls that may go to one of two nodes.
fn connected() -> Desk {
    let mut desk = Desk { calls: Calls::new(Retry::default(), 2, true), ..Desk::new() };
    desk.reconnect();
    desk
}

fn seen(sequence: u64) -> Seen {
    let dot = Dot { node: NodeId(1), sequence: Sequence(sequence) };
    Seen::Write(Mark { partition: PartitionId(3), dot, version: Timestamp(100 + sequence) })
}

/// What a session knows that has seen so many writes.
fn token(sequence: u64) -> SessionToken {
    let mut token = SessionToken::default();
    token.raise(&seen(sequence));
    token
}

#[test]
fn a_move_waits_for_what_is_on_its_way_and_sends_nothing_more() {
    let mut desk = connected();
    let (first, _) = desk.submit(0, &[put("a", 1)], None);
    assert_eq!(desk.send(), [1]);
    let connection = desk.calls.progress();
    assert!(desk.calls.begin_move() && !desk.calls.begin_move());
    let (second, _) = desk.submit(0, &[put("a", 1)], None);
    assert_eq!(desk.send(), [] as [u64; 0]);
    assert!(!desk.calls.is_drained());
    desk.answer(&[1]);
    assert!(desk.calls.is_drained() && desk.calls.is_moving());
    assert!(desk.outcome(first).unwrap().is_ok());
    // The end of the stream is owed: a node that is stuck may not keep the calls.
    let ending = desk.calls.progress();
    assert!(ending.is_stuck(&ending));
    desk.lose(0);
    desk.reconnect();
    assert!(!desk.calls.is_moving() && desk.calls.progress() != connection);
    assert_eq!(desk.send(), [2]);
    desk.answer(&[2]);
    assert!(desk.outcome(second).unwrap().is_ok());
}

#[test]
fn a_session_that_waits_for_its_node_does_not_move() {
    let mut desk = connected();
    desk.calls.join_session(&token(5));
    assert!(!desk.calls.begin_move());
    desk.submit(0, &[get("a")], None);
    assert_eq!(desk.send(), [crate::client::session::QUESTION_ID]);
    assert!(!desk.calls.begin_move());
    desk.calls.handle_caught_up(Ok(Vec::new()));
    assert!(desk.calls.begin_move());
}

#[test]
fn what_a_session_has_seen_elsewhere_is_asked_for_also_while_a_question_is_under_way() {
    const QUESTION: u64 = crate::client::session::QUESTION_ID;
    let mut desk = connected();
    desk.calls.join_session(&token(5));
    desk.submit(0, &[get("a")], None);
    assert_eq!(desk.send(), [QUESTION]);
    // What is known already makes no question, what is new does.
    desk.calls.join_session(&token(4));
    desk.calls.join_session(&token(6));
    desk.calls.handle_caught_up(Ok(Vec::new()));
    assert_eq!(desk.send(), [QUESTION]);
    desk.calls.handle_caught_up(Ok(Vec::new()));
    assert_eq!(desk.send(), [1]);
    desk.calls.join_session(&token(6));
    desk.submit(0, &[get("a")], None);
    assert_eq!(desk.send(), [2]);
}

#[test]
fn only_a_node_that_owes_answers_and_gives_none_is_stuck() {
    let mut desk = connected();
    let idle = desk.calls.progress();
    desk.submit(0, &[get("a"), get("b")], None);
    let waiting = desk.calls.progress();
    assert!(!desk.calls.begin_watch(), "nothing was sent yet");
    desk.send();
    assert!(desk.calls.begin_watch() && !desk.calls.begin_watch());
    let sent = desk.calls.progress();
    assert!(sent.is_stuck(&sent) && !idle.is_stuck(&sent) && !waiting.is_stuck(&sent));
    assert!(!desk.calls.end_watch(&sent), "the answers are owed");
    desk.answer(&[1]);
    assert!(!sent.is_stuck(&desk.calls.progress()));
    desk.answer(&[2]);
    assert!(!desk.calls.end_watch(&idle), "there were calls since");
    assert!(desk.calls.end_watch(&sent));
    desk.submit(0, &[get("a")], None);
    desk.send();
    assert!(desk.calls.begin_watch());
}

#[test]
fn what_a_removed_node_refuses_is_asked_of_another_if_there_is_one() {
    let refused = || Err(Error::new(ErrorCode::MemberRemoved, "removed"));
    for targets in [1, 2] {
        let mut desk = connected();
        desk.calls.set_targets(targets);
        let (number, _) = desk.submit(0, &[put("a", 1)], None);
        desk.send();
        let finished = desk.calls.answer(vec![(1, refused())]);
        desk.complete(finished);
        if targets == 1 {
            assert_eq!(desk.outcome(number).unwrap().unwrap(), [refused().map(|(answer, _): (Answer, Seen)| answer)]);
            continue;
        }
        assert!(desk.calls.is_drained() && desk.outcome(number).is_none());
        desk.lose(0);
        desk.reconnect();
        assert_eq!(desk.send(), [1]);
        desk.answer(&[1]);
        assert!(desk.outcome(number).unwrap().is_ok());
    }
}
