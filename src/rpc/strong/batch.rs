//! Calls that share a message: what is asked while others are on their way goes with the next one. A call alone waits for nobody.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use tokio::{sync::oneshot, time::timeout};

use super::{
    answers::decode_submitted,
    client::StrongRpc,
    reads::{decode_read_answers, encode_reads},
    required,
    submissions::encode_submission,
    v1::{self, strong_call::Call as Body, strong_result::Result as ResultBody},
};
use crate::{
    error::{Error, ErrorCode, FailedGuard, Result},
    limits::{STRONG_BATCHED_CALL_BYTES_MAX, STRONG_BATCHES_MAX, STRONG_BATCH_BYTES_TARGET, STRONG_BATCH_CALLS_MAX},
    replication::strong::{Call, Command, ReadKind, Reply, Submission},
    rpc::conversation::Unanswered,
    wire::kv::{decode_failure, encode_failure},
};

/// Reads of one call that shares a message; each may give a value of a megabyte.
const BATCHED_READS_MAX: usize = 4;

/// The calls of a connection that wait for a message. Clones are the same; kinds of calls have one each.
#[derive(Clone, Default)]
pub(super) struct Lane(Arc<Mutex<Waiting>>);

#[derive(Default)]
struct Waiting {
    items: VecDeque<Item>,
    /// Numbers items.
    last: u64,
    /// Messages, and the calls in them.
    under_way: usize,
    calls_under_way: usize,
    /// Somebody is about to send.
    has_sender: bool,
}

impl Waiting {
    /// Whether what waits is to go now: nothing is under way, or as much waits as is. Else it goes when an answer comes, together with
    /// what is asked then; many small messages would cost more than they save.
    fn is_due(&self) -> bool {
        let count = self.items.len();
        let has_place = self.under_way == 0 || self.under_way < STRONG_BATCHES_MAX && count >= self.calls_under_way;
        count > 0 && has_place
    }
}

struct Item {
    number: u64,
    body: Body,
    bytes: usize,
    timeout: Duration,
    done: oneshot::Sender<Result<ResultBody>>,
}

/// What a call is as a part of a message, and its bytes; `None`: it goes alone.
pub(super) fn part(call: &Call) -> Result<Option<(Body, usize)>> {
    Ok(match call {
        Call::Submit(submission) => match bytes_of_change(submission) {
            Some(bytes) => Some((Body::Submit(encode_submission(submission)?), bytes)),
            None => None,
        },
        Call::Read(read) => {
            let bytes_of_key = |kind: &ReadKind| match kind {
                ReadKind::Key { key, .. } => Some(key.len()),
                ReadKind::Page { .. } | ReadKind::Count(_) => None,
            };
            let bytes: Option<usize> = read.reads.iter().map(|read| bytes_of_key(&read.kind)).sum();
            let bytes = bytes.filter(|_| read.reads.len() <= BATCHED_READS_MAX);
            bytes.map(|bytes| (Body::Read(encode_reads(read)), bytes))
        }
        Call::AwaitLock { .. } | Call::Lease(_) | Call::Leases { .. } | Call::Keyspaces => None,
    })
}

/// Only transactions: the others are rare, and some wait for long.
fn bytes_of_change(submission: &Submission) -> Option<usize> {
    let Command::Transact(transaction) = &submission.command else { return None };
    let bytes = transaction.size().1;
    (bytes <= STRONG_BATCHED_CALL_BYTES_MAX).then_some(bytes)
}

impl StrongRpc {
    /// One try of a call that shares its message. `None`: the answer does not fit, ask alone.
    pub(super) async fn call_with_others(
        &self,
        call: &Call,
        (body, bytes): (Body, usize),
        patience: Duration,
    ) -> Result<Option<Reply>> {
        let lane = self.lane(call);
        let (done, answer) = oneshot::channel();
        let number = lane.push(body, bytes, patience, done);
        self.send_if_due(lane);
        let result = match timeout(patience, answer).await {
            Ok(answer) => {
                answer.unwrap_or_else(|_| Err(unknown(call, Error::new(ErrorCode::ConnectionLost, BROKE_OFF))))?
            }
            Err(_) if lane.take_back(number) => return Err(Error::deadline("the node", patience)),
            Err(_) => return Err(unknown(call, Error::deadline("the node", patience))),
        };
        decode_result(call, result)
    }

    /// Sends what waits, if it is due.
    fn send_if_due(&self, lane: &Lane) {
        let mut waiting = lane.0.lock();
        if !waiting.has_sender && waiting.is_due() {
            waiting.has_sender = true;
            drop(waiting);
            tokio::spawn(self.clone().send_due(lane.clone()));
        }
    }

    /// Sends what is due, a message after the other, each by a task of its own.
    async fn send_due(self, lane: Lane) {
        loop {
            // Callers that were answered together ask again together: whoever is about to goes with the first of them.
            tokio::task::yield_now().await;
            let Some(batch) = lane.next() else { return };
            let (rpc, lane) = (self.clone(), lane.clone());
            tokio::spawn(async move {
                let count = batch.len();
                rpc.send(batch).await;
                lane.ended(count);
                rpc.send_if_due(&lane);
            });
        }
    }

    async fn send(&self, batch: Vec<Item>) {
        let patience = batch.iter().map(|item| item.timeout).max().unwrap_or_default();
        let (calls, waiters): (Vec<v1::StrongCall>, Vec<_>) = batch
            .into_iter()
            .map(|Item { body, done, .. }| {
                let is_change = matches!(body, Body::Submit(_));
                (v1::StrongCall { call: Some(body) }, (is_change, done))
            })
            .unzip();
        // 0 would say nothing.
        let patience_ms = u64::try_from(patience.as_millis()).unwrap_or(u64::MAX).max(1);
        let asking = self.ask(|number| v1::StrongBatchRequest { calls, number, patience_ms });
        let outcome = timeout(patience, asking).await;
        let late = |_| Unanswered { error: Error::deadline("the node", patience), may_be_heard: true };
        let mut results = match outcome.map_err(late).and_then(|answered| answered) {
            Ok(v1::StrongBatchResponse { failure: Some(failure), .. }) => {
                Err(Unanswered { error: decode_failure(failure), may_be_heard: false })
            }
            Ok(answer) => Ok(answer.results.into_iter()),
            Err(unanswered) => Err(unanswered),
        };
        for (is_change, done) in waiters {
            let result = match &mut results {
                Ok(results) => {
                    let result = required("results", results.next().and_then(|result| result.result));
                    result.map_err(|error| if is_change { error.maybe_applied() } else { error })
                }
                Err(Unanswered { error, may_be_heard: true }) if is_change => Err(error.clone().maybe_applied()),
                Err(unanswered) => Err(unanswered.error.clone()),
            };
            // A caller that has given up wants no answer.
            drop(done.send(result));
        }
    }
}

impl Lane {
    fn push(&self, body: Body, bytes: usize, timeout: Duration, done: oneshot::Sender<Result<ResultBody>>) -> u64 {
        let mut waiting = self.0.lock();
        waiting.last += 1;
        let number = waiting.last;
        waiting.items.push_back(Item { number, body, bytes, timeout, done });
        number
    }

    /// True: the call was not sent, and will not be.
    fn take_back(&self, number: u64) -> bool {
        let mut waiting = self.0.lock();
        let before = waiting.items.len();
        waiting.items.retain(|item| item.number != number);
        waiting.items.len() < before
    }

    /// What goes into the next message; `None`: nothing is due, and whoever sends is to stop.
    fn next(&self) -> Option<Vec<Item>> {
        let mut waiting = self.0.lock();
        if !waiting.is_due() {
            waiting.has_sender = false;
            return None;
        }
        let (mut bytes, mut count) = (0, 0);
        for item in waiting.items.iter().take(STRONG_BATCH_CALLS_MAX) {
            if count > 0 && bytes + item.bytes > STRONG_BATCH_BYTES_TARGET {
                break;
            }
            (bytes, count) = (bytes + item.bytes, count + 1);
        }
        waiting.under_way += 1;
        waiting.calls_under_way += count;
        Some(waiting.items.drain(..count).collect())
    }

    /// A message of so many calls is answered.
    fn ended(&self, calls: usize) {
        let mut waiting = self.0.lock();
        waiting.under_way -= 1;
        waiting.calls_under_way -= calls;
    }
}

const BROKE_OFF: &str = "the connection ended while the call was under way";

/// The error of a call that may have arrived.
fn unknown(call: &Call, error: Error) -> Error {
    match call {
        Call::Submit(_) => error.maybe_applied(),
        Call::Read(_) | Call::AwaitLock { .. } | Call::Lease(_) | Call::Leases { .. } | Call::Keyspaces => error,
    }
}

/// The reply to one call of a batch; `None`: it does not fit.
///
/// # Errors
/// What the node answered. What is malformed leaves it open whether a change was applied.
fn decode_result(call: &Call, result: ResultBody) -> Result<Option<Reply>> {
    match (call, result) {
        (_, ResultBody::Failure(failure)) => {
            Err(decode_strong_failure(failure).unwrap_or_else(|malformed| unknown(call, malformed)))
        }
        (_, ResultBody::TooLarge(_)) => Ok(None),
        (Call::Submit(submission), ResultBody::Submit(answer)) => {
            decode_submitted(&submission.command, answer).map_err(Error::maybe_applied).map(Some)
        }
        (Call::Read(read), ResultBody::Read(answer)) => decode_read_answers(read, answer).map(Some),
        _ => super::other_answer().map_err(|error| unknown(call, error)),
    }
}

/// An error of one call of a batch.
pub(super) fn encode_strong_failure(error: &Error) -> v1::StrongFailure {
    let guard = error.failed_guard();
    v1::StrongFailure {
        failure: Some(encode_failure(error)),
        guard: guard.map(|guard| guard.index),
        found: guard.map_or(0, |guard| guard.found),
    }
}

fn decode_strong_failure(failure: v1::StrongFailure) -> Result<Error> {
    let error = decode_failure(required("failure", failure.failure)?);
    Ok(match failure.guard {
        Some(index) => error.at_guard(FailedGuard { index, found: failure.found }),
        None => error,
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::replication::strong::{Freshness, KeyspaceId, ReadCall, Transaction};

    fn item(number: usize) -> (Body, usize) {
        (Body::Read(v1::ReadRequest { seen: number as u64, ..v1::ReadRequest::default() }), 10)
    }

    #[tokio::test]
    async fn what_waits_shares_a_message_within_its_bounds_and_in_order() {
        let lane = Lane::default();
        let mut answers = Vec::new();
        for number in 0..STRONG_BATCH_CALLS_MAX + 3 {
            let (body, bytes) = item(number);
            let (done, answer) = oneshot::channel();
            lane.push(body, bytes, Duration::ZERO, done);
            answers.push(answer);
        }
        assert_eq!(lane.next().unwrap().len(), STRONG_BATCH_CALLS_MAX);
        assert!(lane.next().is_none(), "less waits than is under way");
        lane.ended(STRONG_BATCH_CALLS_MAX);
        let rest: Vec<u64> = lane.next().unwrap().iter().map(|item| item.number).collect();
        assert_eq!(rest, [513, 514, 515]);
        let (done, answer) = oneshot::channel();
        answers.push(answer);
        lane.push(item(0).0, 10, Duration::ZERO, done);
        assert!(lane.next().is_none(), "less waits than is under way");
        for number in 1..3 {
            let (done, answer) = oneshot::channel();
            answers.push(answer);
            lane.push(item(number).0, 10, Duration::ZERO, done);
        }
        assert_eq!(lane.next().unwrap().len(), 3, "as much waits as is under way");
        lane.ended(3);
        lane.ended(3);
        let waiting = lane.0.lock();
        assert_eq!((waiting.under_way, waiting.calls_under_way), (0, 0));
    }

    #[tokio::test]
    async fn a_large_call_has_a_message_of_its_own_and_one_that_waits_can_be_taken_back() {
        let lane = Lane::default();
        let mut numbers = Vec::new();
        for bytes in [STRONG_BATCH_BYTES_TARGET, 10, 10] {
            let (done, _answer) = oneshot::channel();
            numbers.push(lane.push(item(0).0, bytes, Duration::ZERO, done));
        }
        assert!(lane.take_back(numbers[1]));
        assert_eq!(lane.next().unwrap()[0].number, numbers[0]);
        assert!(!lane.take_back(numbers[0]), "it was sent");
        assert_eq!(lane.next().unwrap()[0].number, numbers[2]);
    }

    #[test]
    fn a_failure_comes_back_with_its_guard() {
        let guarded = Error::new(ErrorCode::VersionConflict, "why").at_guard(FailedGuard { index: 3, found: 9 });
        let unknown = Error::new(ErrorCode::DeadlineExceeded, "late").maybe_applied();
        for error in [guarded, unknown] {
            assert_eq!(decode_strong_failure(encode_strong_failure(&error)), Ok(error));
        }
    }

    #[test]
    fn a_malformed_answer_leaves_it_open_whether_a_change_was_applied() {
        let transaction = Transaction { keyspace: KeyspaceId(0), guards: Vec::new(), operations: Vec::new() };
        let command = Command::Transact(transaction);
        let change = Call::Submit(Submission { id: None, keyspace: "s".into(), command });
        let nothing = || ResultBody::Failure(v1::StrongFailure::default());
        for result in [nothing(), ResultBody::Read(v1::ReadResponse::default())] {
            let error = decode_result(&change, result).expect_err("it is malformed");
            assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::MalformedMessage, true));
        }
        let read = Call::Read(ReadCall {
            keyspace: "s".into(),
            freshness: Freshness::Linearizable,
            at: None,
            reads: Vec::new(),
        });
        for result in [nothing(), ResultBody::Submit(v1::SubmitResponse::default())] {
            let error = decode_result(&read, result).expect_err("it is malformed");
            assert_eq!((error.code(), error.is_maybe_applied()), (ErrorCode::MalformedMessage, false));
        }
    }
}
