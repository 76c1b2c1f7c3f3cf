//! What the calls of a client promise, whatever happens in whatever order.

use std::{collections::BTreeMap, sync::Arc};

use parking_lot::Mutex;
use proptest::prelude::*;

mod moves;
mod retries;
mod sessions;
mod stops;

use super::*;
use crate::types::{Command, CommandKind, Key, Operation, ReadLevel, Timestamp, Value, Written};

type Outcome = Result<Vec<Result<Answer>>>;

fn get(key: &str) -> Operation {
    Operation::Get { key: Key::new(key.as_bytes()).unwrap(), metadata_only: false }
}

fn put(key: &str, bytes: usize) -> Operation {
    let kind = CommandKind::Put { value: Value::new(&vec![0; bytes]).unwrap(), flags: 0, ttl_ms: None };
    Operation::Write(Command { key: Key::new(key.as_bytes()).unwrap(), kind })
}

/// The calls, with a note of every completion.
struct Desk {
    calls: Calls,
    outcomes: Arc<Mutex<BTreeMap<u64, Vec<Outcome>>>>,
    submitted: u64,
}

impl Desk {
    fn new() -> Desk {
        Desk::with(Retry::default())
    }

    fn with(retry: Retry) -> Desk {
        Desk { calls: Calls::new(retry, 1, false), outcomes: Arc::default(), submitted: 0 }
    }

    fn connected() -> Desk {
        let mut desk = Desk::new();
        desk.calls.number_connection();
        desk.calls.connection_opened();
        desk
    }

    /// Submits; gives the number under which the outcome is noted, and the id of the call.
    fn submit(&mut self, now_ms: u64, operations: &[Operation], timeout_ms: Option<u64>) -> (u64, CallId) {
        self.submit_at(now_ms, operations, ReadLevel::Session, timeout_ms)
    }

    fn submit_at(
        &mut self,
        now_ms: u64,
        operations: &[Operation],
        read: ReadLevel,
        timeout_ms: Option<u64>,
    ) -> (u64, CallId) {
        self.submitted += 1;
        let (number, outcomes) = (self.submitted, self.outcomes.clone());
        let done: Completion = Box::new(move |outcome| outcomes.lock().entry(number).or_default().push(outcome));
        let slots = operations.iter().map(|operation| Slot::new("", operation, read)).collect();
        let timeout = timeout_ms.map(Duration::from_millis);
        match self.calls.submit(Duration::from_millis(now_ms), slots, timeout, done) {
            Ok(call) => (number, call),
            Err(refused) => {
                refused.complete();
                (number, CallId(0))
            }
        }
    }

    /// The ids of the next message.
    fn send(&mut self) -> Vec<u64> {
        let batch = self.calls.next_batch().map(|batch| batch.operations).unwrap_or_default();
        batch.into_iter().map(|operation| operation.id).collect()
    }

    fn complete(&self, finished: Vec<Finished>) {
        finished.into_iter().for_each(Finished::complete);
    }

    fn answer(&mut self, ids: &[u64]) {
        let answers = ids.iter().map(|&id| (id, Ok((Answer::Count(id), Seen::Nothing)))).collect();
        let finished = self.calls.answer(answers);
        self.complete(finished);
    }

    fn lose(&mut self, now_ms: u64) {
        let finished = self.calls.connection_lost(Duration::from_millis(now_ms), "reset");
        self.complete(finished);
    }

    fn reconnect(&mut self) {
        self.calls.number_connection();
        self.calls.connection_opened();
    }

    fn expire(&mut self, now_ms: u64) {
        let finished = self.calls.expire(Duration::from_millis(now_ms));
        self.complete(finished);
    }

    /// The one outcome of a call.
    fn outcome(&self, number: u64) -> Option<Outcome> {
        let outcomes = self.outcomes.lock();
        let of_call = outcomes.get(&number)?;
        assert_eq!(of_call.len(), 1, "call {number} was completed more than once");
        of_call.first().cloned()
    }

    fn error(&self, number: u64) -> (ErrorCode, bool) {
        let error = self.outcome(number).unwrap().unwrap_err();
        (error.code(), error.is_maybe_applied())
    }
}

#[test]
fn answers_come_in_any_order_and_find_their_operations() {
    let mut desk = Desk::connected();
    let (first, _) = desk.submit(0, &[get("a"), get("b")], None);
    let (second, _) = desk.submit(0, &[get("c")], None);
    assert_eq!(desk.send(), [1, 2, 3]);
    desk.answer(&[3, 2]);
    assert_eq!(desk.outcome(second), Some(Ok(vec![Ok(Answer::Count(3))])));
    assert_eq!(desk.outcome(first), None);
    desk.answer(&[1]);
    assert_eq!(desk.outcome(first), Some(Ok(vec![Ok(Answer::Count(1)), Ok(Answer::Count(2))])));
}

#[test]
fn nothing_is_sent_without_a_connection() {
    let mut desk = Desk::new();
    desk.submit(0, &[get("a")], None);
    assert!(desk.calls.has_waiting());
    assert!(desk.send().is_empty());
    desk.reconnect();
    assert_eq!(desk.send(), [1]);
}

#[test]
fn a_lost_connection_fails_sent_writes_and_sends_reads_again() {
    let mut desk = Desk::connected();
    let (read, _) = desk.submit(0, &[get("a")], None);
    let (write, _) = desk.submit(0, &[put("b", 1)], None);
    desk.send();
    let (unsent, _) = desk.submit(0, &[put("c", 1)], None);
    desk.lose(5);
    assert_eq!(desk.error(write), (ErrorCode::ConnectionLost, true));
    desk.reconnect();
    assert_eq!(desk.send(), [1, 3]);
    desk.answer(&[1, 3]);
    assert!(desk.outcome(read).unwrap().is_ok());
    assert!(desk.outcome(unsent).unwrap().is_ok());
}

#[test]
fn a_batch_of_which_a_write_was_answered_is_unknown_as_a_whole_when_it_fails() {
    let mut desk = Desk::connected();
    let (batch, _) = desk.submit(0, &[put("a", 1), get("b")], Some(10));
    desk.send();
    let written = Answer::Written(Written { version: Timestamp(1), existed: false });
    let finished = desk.calls.answer(vec![(1, Ok((written, Seen::Nothing)))]);
    desk.complete(finished);
    desk.expire(10);
    assert_eq!(desk.error(batch), (ErrorCode::DeadlineExceeded, true));
}

#[test]
fn a_deadline_tells_what_is_known() {
    let mut desk = Desk::new();
    let (unreached, _) = desk.submit(0, &[put("a", 1)], Some(10));
    desk.calls.connecting_failed("h:1: refused".into());
    desk.expire(9);
    assert_eq!(desk.outcome(unreached), None);
    desk.expire(10);
    assert_eq!(desk.error(unreached), (ErrorCode::Unreachable, false));
    assert!(desk.outcome(unreached).unwrap().unwrap_err().message().contains("h:1: refused"));

    let mut desk = Desk::connected();
    let (sent_write, _) = desk.submit(0, &[put("a", 1)], Some(10));
    let (sent_read, _) = desk.submit(0, &[get("a")], Some(10));
    desk.send();
    let (unsent_write, _) = desk.submit(0, &[put("a", 1)], Some(10));
    desk.expire(10);
    assert_eq!(desk.error(sent_write), (ErrorCode::DeadlineExceeded, true));
    assert_eq!(desk.error(sent_read), (ErrorCode::DeadlineExceeded, false));
    assert_eq!(desk.error(unsent_write), (ErrorCode::DeadlineExceeded, false));
    assert_eq!(desk.calls.earliest_deadline(), None);
    assert!(!desk.calls.has_waiting());
}

#[test]
fn a_cancelled_call_is_never_completed_and_keeps_its_place_in_flight() {
    let mut desk = Desk::connected();
    let (sent, sent_id) = desk.submit(0, &[get("a")], None);
    desk.send();
    let (unsent, unsent_id) = desk.submit(0, &[get("b")], None);
    drop(desk.calls.cancel(sent_id));
    drop(desk.calls.cancel(unsent_id));
    assert!(desk.send().is_empty());
    assert_eq!(desk.calls.in_flight, 1);
    desk.answer(&[1, 1, 2, 99]);
    assert_eq!(desk.calls.in_flight, 0);
    assert_eq!((desk.outcome(sent), desk.outcome(unsent)), (None, None));
}

#[test]
fn messages_and_what_is_in_flight_stay_in_their_bounds() {
    let mut desk = Desk::connected();
    let many = vec![get("a"); 4096];
    for _ in 0..5 {
        desk.submit(0, &many, None);
    }
    let mut sent = Vec::new();
    loop {
        let batch = desk.send();
        assert!(batch.len() <= CLIENT_BATCH_OPERATIONS_MAX);
        if batch.is_empty() {
            break;
        }
        sent.extend(batch);
    }
    assert_eq!(sent.len(), CLIENT_IN_FLIGHT_MAX);
    desk.answer(&sent[..10]);
    assert_eq!(desk.send().len(), 10);

    let mut desk = Desk::connected();
    desk.submit(0, &[put("a", 200 * 1024), put("b", 200 * 1024), put("c", 1)], None);
    assert_eq!(desk.send(), [1, 2]);
}

#[test]
fn a_full_queue_refuses_and_frees_what_is_gone() {
    let mut desk = Desk::new();
    let many = vec![get("a"); 4096];
    for _ in 0..CLIENT_QUEUE_OPERATIONS_MAX / 4096 {
        desk.submit(0, &many, Some(10));
    }
    let (refused, _) = desk.submit(0, &[put("a", 1)], Some(10));
    assert_eq!(desk.error(refused), (ErrorCode::Overloaded, false));
    desk.expire(10);
    assert_eq!((desk.calls.queue.len(), desk.calls.queue_bytes), (0, 0));
    let (taken, _) = desk.submit(10, &[put("a", 1)], None);
    assert_eq!(desk.outcome(taken), None);
}

#[test]
fn a_call_that_breaks_every_connection_comes_to_an_end() {
    let mut desk = Desk::new();
    let (poison, _) = desk.submit(0, &[get("a")], None);
    for _ in 0..=CLIENT_SENDS_MAX {
        desk.reconnect();
        desk.send();
        desk.lose(0);
    }
    assert_eq!(desk.error(poison), (ErrorCode::ConnectionLost, false));
}

#[test]
fn closing_fails_everything_and_lets_nothing_in() {
    let mut desk = Desk::connected();
    let (sent, _) = desk.submit(0, &[put("a", 1)], None);
    desk.send();
    let (unsent, _) = desk.submit(0, &[put("b", 1)], None);
    let finished = desk.calls.close();
    desk.complete(finished);
    let (late, _) = desk.submit(0, &[get("c")], None);
    assert_eq!(desk.error(sent), (ErrorCode::ClientClosed, true));
    assert_eq!(desk.error(unsent), (ErrorCode::ClientClosed, false));
    assert_eq!(desk.error(late), (ErrorCode::ClientClosed, false));
}

#[derive(Clone, Debug)]
enum Step {
    Submit {
        writes: Vec<bool>,
        timeout_ms: Option<u64>,
    },
    Send,
    /// Answers some of what was ever sent, again and again too.
    Answer(Vec<prop::sample::Index>),
    Lose,
    Reconnect,
    Pass(u64),
    Cancel(prop::sample::Index),
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => (prop::collection::vec(any::<bool>(), 1..5), prop::option::of(1..50u64))
            .prop_map(|(writes, timeout_ms)| Step::Submit { writes, timeout_ms }),
        3 => Just(Step::Send),
        3 => prop::collection::vec(any::<prop::sample::Index>(), 0..8).prop_map(Step::Answer),
        1 => Just(Step::Lose),
        1 => Just(Step::Reconnect),
        1 => (1..30u64).prop_map(Step::Pass),
        1 => any::<prop::sample::Index>().prop_map(Step::Cancel),
    ]
}

proptest! {
    /// Whatever happens in whatever order: each call that was not given up is completed exactly once, an error without
    /// a doubt means that no write of the call was ever sent, and the queue's books are right.
    #[test]
    fn every_call_ends_once_and_tells_the_truth(steps in prop::collection::vec(step(), 1..80)) {
        let mut desk = Desk::new();
        let (mut now, mut is_up) = (0, false);
        let (mut sent, mut sent_ever, mut cancelled) = (Vec::new(), Vec::new(), Vec::new());
        let mut calls = Vec::new();
        for step in steps {
            match step {
                Step::Submit { writes, timeout_ms } => {
                    let operation = |&write: &bool| if write { put("k", 3) } else { get("k") };
                    let operations: Vec<Operation> = writes.iter().map(operation).collect();
                    let (number, id) = desk.submit(now, &operations, timeout_ms);
                    calls.push((number, id, writes));
                }
                Step::Send => {
                    let batch = desk.send();
                    sent.extend(&batch);
                    sent_ever.extend(batch);
                }
                Step::Answer(which) if !sent.is_empty() => {
                    let ids: Vec<u64> = which.iter().map(|index| *index.get(&sent)).collect();
                    desk.answer(&ids);
                }
                Step::Answer(_) => {}
                Step::Lose => {
                    desk.lose(now);
                    sent.clear();
                    is_up = false;
                }
                Step::Reconnect if !is_up => {
                    desk.reconnect();
                    is_up = true;
                }
                Step::Reconnect => {}
                Step::Pass(ms) => {
                    now += ms;
                    desk.expire(now);
                }
                Step::Cancel(index) if !calls.is_empty() => {
                    let (number, id, _) = index.get(&calls);
                    if desk.calls.cancel(*id).is_some() {
                        cancelled.push(*number);
                    }
                }
                Step::Cancel(_) => {}
            }
            let waiting: usize = desk.calls.calls.values().map(|call| call.waiting().0).sum();
            let waiting_bytes: usize = desk.calls.calls.values().map(|call| call.waiting().1).sum();
            prop_assert_eq!(desk.calls.queue.len() + desk.calls.held.len() - desk.calls.queue_gone, waiting);
            prop_assert_eq!(desk.calls.queue_bytes, waiting_bytes);
        }
        let finished = desk.calls.close();
        desk.complete(finished);
        for (number, id, writes) in calls {
            let outcome = desk.outcome(number);
            prop_assert_eq!(outcome.is_none(), cancelled.contains(&number));
            let write_was_sent =
                (id.0..).zip(&writes).any(|(id, &write)| write && sent_ever.contains(&id));
            match outcome {
                Some(Ok(answers)) => {
                    let expected: Vec<_> = (id.0..).take(writes.len()).map(|id| Ok(Answer::Count(id))).collect();
                    prop_assert_eq!(answers, expected);
                }
                Some(Err(error)) => prop_assert_eq!(error.is_maybe_applied(), write_was_sent),
                None => {}
            }
        }
    }
}
