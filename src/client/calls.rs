//! The calls of a client, as a state machine without I/O: what waits, what is in flight, what is done.
//!
//! Operations get ids that count up, the operations of one call contiguous ones; the first names the call. Each is
//! *waiting* (in the queue, never sent or sent in vain), *sent* (handed to the stream of the present connection), or
//! *answered*. What keeps the promises about outcomes:
//!
//! * An operation leaves the queue only in [`Calls::next_batch`], so one that was never in a batch has had no effect.
//! * When a connection is lost, sent reads wait again; a call with a sent write fails, and its error says that the
//!   write may have been applied. Where writes are always repeated they wait again too, and what is said of them in the end
//!   takes into account what may have come of earlier tries.
//! * A call that was tried in vain as often as it may be fails with the reason of the last try.
//! * A node that is stopping refuses operations without having done anything: they wait for another node, while
//!   those it had taken before are still answered. What it leaves unanswered when it ends the stream in order, it has
//!   not done either.
//! * What waits is in the order in which it was submitted, also what has to be sent again: of two writes to a key the
//!   later one stays the later one.
//! * A session read leaves the queue for `held` while the node has not said that it has what the session has seen
//!   ([`super::session`]), and comes back in front of it; nothing else waits for that.
//! * A call is in the map until its completion is taken out together with its outcome, so none is called twice.
//!
//! Completions are handed back, not called: whoever holds the lock around this calls them after letting go of it.
//!
//! Deadlines cost a comparison a call: only the earliest is kept, and when it has passed all calls are looked at once.

mod ends;
mod refusal;
mod watched;

pub(super) use self::watched::Progress;

use std::{
    collections::{BTreeMap, VecDeque},
    time::Duration,
};

use self::refusal::is_refusal_of_a_node;
use super::{
    call::{Call, Finished, Slot, State},
    retry::{RepeatedWrites, Retry, Tries},
    session::{Session, Verdict},
    CallId, Completion,
};
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{
        CLIENT_BATCH_BYTES_TARGET, CLIENT_BATCH_OPERATIONS_MAX, CLIENT_IN_FLIGHT_MAX, CLIENT_QUEUE_BYTES_MAX,
        CLIENT_QUEUE_OPERATIONS_MAX, CLIENT_SENDS_MAX,
    },
    types::{Answer, LostWrites, Seen},
    wire::v1,
};

/// How the connection stands, as far as the calls need to know.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Link {
    /// There is none, and the last one ended then; `None`: there never was one.
    Down {
        since: Option<Duration>,
    },
    Up,
    /// The node is stopping: it gets nothing more, and what it has will be answered.
    Leaving,
}

/// See the module.
pub(super) struct Calls {
    retry: Retry,
    /// How many nodes there are to try, and whether there may come to be others.
    targets: usize,
    discovers: bool,
    /// By the id of the first operation.
    calls: BTreeMap<u64, Call>,
    /// Operations to send, in order; among them some of calls that are gone.
    queue: VecDeque<u64>,
    /// Session reads that were next in the queue while the node had not caught up with the session.
    held: VecDeque<u64>,
    session: Session,
    /// How many of the queue and the held ones are of calls that are gone.
    queue_gone: usize,
    /// Bytes of the operations in the queue and the held ones, those of calls that are gone left out.
    queue_bytes: usize,
    next_id: u64,
    /// Operations that the present connection was given and has not answered, those of calls that are gone included:
    /// the node still works on them.
    in_flight: usize,
    /// Messages with answers that have come.
    answered: u64,
    /// Somebody looks whether answers come, or nobody has to.
    is_watched: bool,
    /// The connection ends for a move to another node.
    is_moving: bool,
    /// No call's deadline is before this; `None`: no call has one.
    earliest: Option<Duration>,
    link: Link,
    /// Counts connections, so that the remains of an old one get nothing.
    connection: u64,
    /// Why no node could be reached, for the text of errors.
    problem: String,
    is_closed: bool,
}

impl Calls {
    /// With `discovers` there may come to be other targets, and somebody looks whether answers come.
    pub(super) fn new(retry: Retry, targets: usize, discovers: bool) -> Calls {
        Calls {
            retry,
            targets,
            calls: BTreeMap::new(),
            queue: VecDeque::new(),
            held: VecDeque::new(),
            session: Session::default(),
            queue_gone: 0,
            queue_bytes: 0,
            next_id: 1,
            in_flight: 0,
            answered: 0,
            discovers,
            is_watched: !discovers,
            is_moving: false,
            earliest: None,
            link: Link::Down { since: None },
            connection: 0,
            problem: "none has answered yet".to_string(),
            is_closed: false,
        }
    }

    /// Takes a call in. An error means that nothing of it will be sent; the completion comes back with it.
    pub(super) fn submit(
        &mut self,
        now: Duration,
        slots: Vec<Slot>,
        timeout: Option<Duration>,
        done: Completion,
    ) -> Result<CallId, Finished> {
        let bytes: usize = slots.iter().map(|slot| slot.bytes).sum();
        if let Err(error) = self.check_room(slots.len(), bytes) {
            return Err(Finished { done, outcome: Err(error) });
        }
        if slots.iter().any(|slot| slot.is_session_read) {
            if let Some(loss) = self.session.take_loss() {
                return Err(Finished { done, outcome: Err(loss) });
            }
        }
        let first = self.next_id;
        self.next_id += slots.len() as u64;
        self.queue.extend(first..self.next_id);
        self.queue_bytes += bytes;
        let unanswered = slots.len();
        let call = Call { slots, unanswered, submitted: now, timeout, tries: Tries::default(), done };
        self.expect_deadline(call.deadline());
        self.calls.insert(first, call);
        Ok(CallId(first))
    }

    fn check_room(&self, operations: usize, bytes: usize) -> Result<()> {
        if self.is_closed {
            return Err(Error::new(ErrorCode::ClientClosed, "the client is closed; make a new one"));
        }
        let waiting = self.queue.len() + self.held.len() - self.queue_gone;
        if waiting + operations > CLIENT_QUEUE_OPERATIONS_MAX || self.queue_bytes + bytes > CLIENT_QUEUE_BYTES_MAX {
            let text = format!(
                "{waiting} operations of {} bytes wait already, the limits are {CLIENT_QUEUE_OPERATIONS_MAX} operations \
                 and {CLIENT_QUEUE_BYTES_MAX} bytes; wait for answers first",
                self.queue_bytes
            );
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        Ok(())
    }

    fn expect_deadline(&mut self, deadline: Option<Duration>) {
        if let Some(deadline) = deadline {
            self.earliest = Some(self.earliest.map_or(deadline, |earliest| earliest.min(deadline)));
        }
    }

    /// The time before which [`Calls::expire`] finds nothing.
    pub(super) fn earliest_deadline(&self) -> Option<Duration> {
        self.earliest
    }

    /// Whether a connection would have something to send.
    pub(super) fn has_waiting(&self) -> bool {
        self.queue.len() + self.held.len() > self.queue_gone
    }

    /// Whether there is no connection.
    pub(super) fn is_down(&self) -> bool {
        matches!(self.link, Link::Down { .. })
    }

    /// Whether a batch could be sent now.
    pub(super) fn can_send(&self) -> bool {
        let has_something = !self.queue.is_empty() || self.session.has_question();
        self.link == Link::Up && self.in_flight < CLIENT_IN_FLIGHT_MAX && has_something && self.has_waiting()
    }

    /// The next message for the stream; from here on its operations may have been applied.
    pub(super) fn next_batch(&mut self) -> Option<v1::PipelineRequest> {
        if !self.can_send() {
            return None;
        }
        let room = (CLIENT_IN_FLIGHT_MAX - self.in_flight).min(CLIENT_BATCH_OPERATIONS_MAX);
        let mut operations = Vec::with_capacity(room.min(self.queue.len()) + 1);
        operations.extend(self.session.question());
        let (mut sent, mut batch_bytes) = (0, 0);
        while sent < room && batch_bytes < CLIENT_BATCH_BYTES_TARGET {
            let Some(id) = self.queue.pop_front() else { break };
            let Some((first, call)) = call_of(&mut self.calls, id) else {
                self.queue_gone -= 1;
                continue;
            };
            let slot = &mut call.slots[(id - first) as usize];
            if slot.is_session_read && !self.session.may_read() {
                self.held.push_back(id);
                continue;
            }
            slot.state = State::Sent;
            sent += 1;
            batch_bytes += slot.bytes;
            self.queue_bytes -= slot.bytes;
            operations.push(v1::Operation { id, operation: Some(slot.body.clone()) });
        }
        self.in_flight += sent;
        (!operations.is_empty()).then_some(v1::PipelineRequest { operations })
    }

    /// Takes answers in; gives the calls that have all of theirs.
    pub(super) fn answer(&mut self, answers: Vec<(u64, Result<(Answer, Seen)>)>) -> Vec<Finished> {
        self.answered += 1;
        let (mut finished, mut refused) = (Vec::new(), Vec::new());
        for (id, mut answer) in answers {
            self.in_flight = self.in_flight.saturating_sub(1);
            let Some((first, call)) = call_of(&mut self.calls, id) else { continue };
            let slot = &mut call.slots[(id - first) as usize];
            if !matches!(slot.state, State::Sent) {
                continue;
            }
            let may_turn = self.discovers && self.targets > 1;
            if is_refusal_of_a_node(&answer, may_turn) && call.tries.sends() < CLIENT_SENDS_MAX {
                self.link = Link::Leaving;
                call.tries.sent_in_vain();
                if !self.retry.is_exhausted(call.tries.count(self.targets)) {
                    slot.state = State::Waiting;
                    self.queue_bytes += slot.bytes;
                    refused.push(id);
                    continue;
                }
                // That one node is being stopped does not end the client.
                answer = answer.map_err(|error| Error::new(ErrorCode::Unreachable, error.message()));
            }
            if let (true, Ok((_, seen))) = (slot.is_of_session(), &answer) {
                self.session.raise(seen);
            }
            slot.answer(answer.map(|(answer, _)| answer));
            call.unanswered -= 1;
            if call.unanswered == 0 {
                finished.extend(self.calls.remove(&first).map(Call::finish));
            }
        }
        self.queue_again(refused);
        finished
    }

    /// Operations that were sent in vain wait where they would wait if they had not been sent.
    fn queue_again(&mut self, ids: Vec<u64>) {
        if !ids.is_empty() {
            self.queue.extend(ids);
            self.queue.make_contiguous().sort();
        }
    }

    /// Takes in whether the node has what the session has seen; gives the calls that fail for it.
    pub(super) fn handle_caught_up(&mut self, answer: Result<Vec<LostWrites>>) -> Vec<Finished> {
        self.answered += 1;
        let mut failed = Vec::new();
        match self.session.handle_answer(answer) {
            Verdict::Go => {}
            Verdict::Wait => return failed,
            Verdict::Leave => self.link = Link::Leaving,
            Verdict::Fail(error) => {
                let waiting = self.calls.iter().filter(|(_, call)| call.waits_for_session()).map(|(&id, _)| id);
                let waiting: Vec<u64> = waiting.collect();
                failed = waiting.into_iter().filter_map(|id| self.remove(id)).map(|c| c.fail_with(&error)).collect();
                if failed.is_empty() {
                    self.session.keep_loss(error);
                }
            }
        }
        self.release_held();
        failed
    }

    /// Session reads that were held come before what is in the queue.
    fn release_held(&mut self) {
        self.held.append(&mut self.queue);
        std::mem::swap(&mut self.held, &mut self.queue);
    }

    /// Gives the next connection its number; the one before it is over.
    pub(super) fn number_connection(&mut self) -> u64 {
        self.connection += 1;
        self.connection
    }

    /// Whether a later connection has taken the place of this one, or is about to.
    pub(super) fn is_over(&self, connection: u64) -> bool {
        self.connection != connection || self.is_closed || self.is_moving
    }

    /// The connection stands and takes batches.
    pub(super) fn connection_opened(&mut self) {
        assert_eq!(self.in_flight, 0, "a connection starts with nothing in flight");
        self.link = Link::Up;
        self.session.connected();
    }

    /// Whether the connection has answered everything and will be given nothing more.
    pub(super) fn is_drained(&self) -> bool {
        self.link == Link::Leaving && self.in_flight == 0
    }

    /// The connection ended: sent reads wait again, calls with an unanswered sent write fail.
    pub(super) fn connection_lost(&mut self, now: Duration, why: &str) -> Vec<Finished> {
        self.link = Link::Down { since: Some(now) };
        self.is_moving = false;
        self.in_flight = 0;
        self.release_held();
        self.problem = why.to_string();
        let (mut failed, mut again) = (Vec::new(), Vec::new());
        for (&first, call) in &mut self.calls {
            let is_sent = |slot: &Slot| matches!(slot.state, State::Sent);
            if !call.slots.iter().any(is_sent) {
                continue;
            }
            call.tries.sent_in_vain();
            let is_repeatable = |slot: &Slot| !slot.is_write || self.retry.writes == RepeatedWrites::Always;
            let is_lost = call.slots.iter().any(|slot| is_sent(slot) && !is_repeatable(slot));
            let is_exhausted = self.retry.is_exhausted(call.tries.count(self.targets));
            if is_lost || is_exhausted || call.tries.sends() > CLIENT_SENDS_MAX {
                failed.push(first);
                continue;
            }
            for (id, slot) in (first..).zip(&mut call.slots).filter(|(_, slot)| is_sent(slot)) {
                slot.state = State::Waiting;
                slot.is_repeated = true;
                self.queue_bytes += slot.bytes;
                again.push(id);
            }
        }
        self.queue_again(again);
        let text = format!("the connection was lost before the answer came: {why}");
        failed.into_iter().filter_map(|id| self.remove(id)).map(|c| c.fail(ErrorCode::ConnectionLost, &text)).collect()
    }

    /// Why there is no connection.
    pub(super) fn problem(&self) -> &str {
        &self.problem
    }

    /// Takes a call out, and keeps the queue from filling with what is gone.
    fn remove(&mut self, first: u64) -> Option<Call> {
        let call = self.calls.remove(&first)?;
        let (waiting, bytes) = call.waiting();
        self.queue_gone += waiting;
        self.queue_bytes -= bytes;
        if self.queue_gone > (self.queue.len() + self.held.len()) / 2 {
            let calls = &mut self.calls;
            self.queue.retain(|&id| call_of(calls, id).is_some());
            self.held.retain(|&id| call_of(calls, id).is_some());
            self.queue_gone = 0;
        }
        Some(call)
    }
}

/// The call that an operation belongs to, and the id of its first operation.
fn call_of(calls: &mut BTreeMap<u64, Call>, id: u64) -> Option<(u64, &mut Call)> {
    let (&first, call) = calls.range_mut(..=id).next_back()?;
    (id - first < call.slots.len() as u64).then_some((first, call))
}

#[cfg(test)]
mod tests;
