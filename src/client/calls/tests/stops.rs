//! Nodes that are stopped in order: nothing is lost, in doubt, or out of its place.

use super::*;

#[test]
fn a_stopping_node_answers_what_it_has_and_is_given_nothing_more() {
    let mut desk = Desk::connected();
    let (taken, _) = desk.submit(0, &[put("a", 1)], None);
    let (refused, _) = desk.submit(0, &[put("b", 1)], None);
    desk.send();
    let refusal = Error::new(ErrorCode::NotRunning, "stopping");
    assert!(desk.calls.answer(vec![(2, Err(refusal))]).is_empty());
    assert!(desk.send().is_empty());
    assert!(!desk.calls.is_drained());
    desk.answer(&[1]);
    assert!(desk.outcome(taken).unwrap().is_ok());
    assert!(desk.calls.is_drained());
    desk.lose(1);
    desk.reconnect();
    assert_eq!(desk.send(), [2]);
    desk.answer(&[2]);
    assert!(desk.outcome(refused).unwrap().is_ok());
}

#[test]
fn what_a_stopping_node_refuses_keeps_its_place_among_what_waits() {
    let mut desk = Desk::connected();
    for _ in 0..3 {
        desk.submit(0, &[put("a", 1)], None);
    }
    assert_eq!(desk.send(), [1, 2, 3]);
    desk.submit(0, &[put("a", 1)], None);
    let refusal = |id| (id, Err(Error::new(ErrorCode::NotRunning, "stopping")));
    assert!(desk.calls.answer(vec![refusal(1), refusal(3)]).is_empty());
    assert!(desk.calls.answer(vec![refusal(2)]).is_empty());
    desk.lose(1);
    desk.reconnect();
    assert_eq!(desk.send(), [1, 2, 3, 4]);
}

#[test]
fn what_a_node_leaves_unanswered_when_it_ends_in_order_is_asked_of_the_next() {
    let mut desk = Desk::connected();
    let (answered, _) = desk.submit(0, &[put("a", 1)], None);
    let (unanswered, _) = desk.submit(0, &[put("b", 1), get("c")], None);
    let (_, given_up) = desk.submit(0, &[put("d", 1)], None);
    desk.send();
    let (unsent, _) = desk.submit(0, &[put("e", 1)], None);
    drop(desk.calls.cancel(given_up));
    desk.answer(&[1]);
    let finished = desk.calls.refuse_rest();
    desk.complete(finished);
    desk.lose(1);
    desk.reconnect();
    assert_eq!(desk.send(), [2, 3, 5]);
    desk.answer(&[2, 3, 5]);
    for call in [answered, unanswered, unsent] {
        assert!(desk.outcome(call).unwrap().is_ok());
    }
}
