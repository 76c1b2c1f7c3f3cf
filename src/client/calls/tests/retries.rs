//! What a client's `Retry` says about calls that came to nothing.

use std::num::NonZeroU32;

use super::*;

fn attempts(count: u32) -> Retry {
    Retry { attempts: NonZeroU32::new(count), ..Retry::default() }
}

impl Desk {
    fn fail_to_connect(&mut self) {
        let finished = self.calls.connecting_failed("h:1: refused".into());
        self.complete(finished);
    }
}

fn stopping() -> Error {
    Error::new(ErrorCode::NotRunning, "the node is stopping")
}

#[test]
fn a_call_waits_for_a_node_as_often_as_it_may_be_tried() {
    let mut desk = Desk::with(attempts(2));
    let (early, _) = desk.submit(0, &[put("a", 1)], None);
    desk.fail_to_connect();
    let (later, _) = desk.submit(0, &[get("a")], None);
    desk.fail_to_connect();
    assert_eq!(desk.error(early), (ErrorCode::Unreachable, false));
    assert_eq!(desk.outcome(later), None);
    desk.fail_to_connect();
    assert_eq!(desk.error(later), (ErrorCode::Unreachable, false));
    assert!(!desk.calls.has_waiting());
}

#[test]
fn without_a_bound_a_call_waits_for_ever() {
    let mut desk = Desk::new();
    let (waiting, _) = desk.submit(0, &[get("a")], None);
    for _ in 0..10_000 {
        desk.fail_to_connect();
    }
    desk.reconnect();
    let ids = desk.send();
    desk.answer(&ids);
    assert!(desk.outcome(waiting).unwrap().is_ok());
}

#[test]
fn lost_connections_and_nodes_that_stop_count_as_tries() {
    let mut desk = Desk::with(attempts(3));
    let (read, _) = desk.submit(0, &[get("a")], None);
    desk.reconnect();
    desk.send();
    desk.lose(0);
    desk.reconnect();
    let ids = desk.send();
    let finished = desk.calls.answer(vec![(ids[0], Err(stopping()))]);
    desk.complete(finished);
    assert_eq!(desk.outcome(read), None);
    desk.lose(0);
    desk.reconnect();
    desk.send();
    desk.lose(0);
    assert_eq!(desk.error(read), (ErrorCode::ConnectionLost, false));
}

#[test]
fn a_call_that_is_never_retried_learns_that_the_node_is_stopping() {
    let mut desk = Desk::with(Retry::never());
    let (write, _) = desk.submit(0, &[put("a", 1)], None);
    desk.reconnect();
    let ids = desk.send();
    let finished = desk.calls.answer(vec![(ids[0], Err(stopping()))]);
    desk.complete(finished);
    let outcome = desk.outcome(write).unwrap().unwrap().remove(0).unwrap_err();
    assert_eq!((outcome.code(), outcome.is_maybe_applied()), (ErrorCode::Unreachable, false));
}

fn always() -> Desk {
    let mut desk = Desk::with(Retry { writes: RepeatedWrites::Always, ..Retry::default() });
    desk.reconnect();
    desk
}

#[test]
fn writes_that_are_always_repeated_are_sent_again_in_order() {
    let mut desk = always();
    let (write, _) = desk.submit(0, &[put("a", 1), put("b", 1)], None);
    assert_eq!(desk.send(), [1, 2]);
    desk.lose(0);
    desk.reconnect();
    assert_eq!(desk.send(), [1, 2]);
    desk.answer(&[1, 2]);
    assert!(desk.outcome(write).unwrap().unwrap().iter().all(Result::is_ok));
}

#[test]
fn a_repeated_write_that_is_not_answered_stays_unknown_whatever_it_waits_for() {
    let mut desk = always();
    let (write, _) = desk.submit(0, &[put("a", 1)], Some(10));
    desk.send();
    desk.lose(5);
    desk.expire(10);
    assert_eq!(desk.error(write), (ErrorCode::DeadlineExceeded, true));
}

#[test]
fn a_refusal_of_a_repeated_write_says_nothing_about_the_first_try() {
    let mut desk = always();
    let (write, _) = desk.submit(0, &[put("a", 1)], None);
    desk.send();
    desk.lose(0);
    desk.reconnect();
    let ids = desk.send();
    let finished = desk.calls.answer(vec![(ids[0], Err(Error::new(ErrorCode::MemoryLimit, "full")))]);
    desk.complete(finished);
    let refusal = desk.outcome(write).unwrap().unwrap().remove(0).unwrap_err();
    assert_eq!((refusal.code(), refusal.is_maybe_applied()), (ErrorCode::MemoryLimit, true));
}
