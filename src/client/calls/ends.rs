//! How calls end without their answers: late, given up, or with the client.

use std::time::Duration;

use super::{Call, CallId, Calls, Finished, Link, Slot, State};
use crate::error::{Error, ErrorCode};

impl Calls {
    /// Fails the calls whose deadline has passed.
    pub(in crate::client) fn expire(&mut self, now: Duration) -> Vec<Finished> {
        if self.earliest.is_none_or(|earliest| earliest > now) {
            return Vec::new();
        }
        let is_late = |call: &Call| call.deadline().is_some_and(|deadline| deadline <= now);
        let late: Vec<u64> = self.calls.iter().filter(|(_, call)| is_late(call)).map(|(&id, _)| id).collect();
        let late: Vec<Call> = late.into_iter().filter_map(|id| self.remove(id)).collect();
        self.earliest = self.calls.values().filter_map(Call::deadline).min();
        late.into_iter().map(|call| self.fail_late(call)).collect()
    }

    /// A deadline that passed without any connection says why there was none.
    fn fail_late(&self, call: Call) -> Finished {
        let name = if call.slots.len() == 1 { call.slots[0].name } else { "the batch" };
        let timeout = call.timeout.unwrap_or_default().as_secs_f64();
        let was_connected = match self.link {
            Link::Up | Link::Leaving => true,
            Link::Down { since } => since.is_some_and(|since| since >= call.submitted),
        };
        if self.link == Link::Up && !self.session.may_read() && call.waits_for_session() {
            let text = format!("{name}: the node had not caught up with this session within {timeout:.3} s");
            return call.fail(ErrorCode::SessionBehind, &text);
        }
        if was_connected {
            return call.fail(ErrorCode::DeadlineExceeded, &format!("{name} got no answer within {timeout:.3} s"));
        }
        call.fail(ErrorCode::Unreachable, &format!("no node could be reached within {timeout:.3} s: {}", self.problem))
    }

    /// Another attempt to reach a node failed; `problem` tells of all targets. Gives the calls that fail for it.
    pub(in crate::client) fn connecting_failed(&mut self, problem: String) -> Vec<Finished> {
        self.problem = problem;
        if self.retry.attempts.is_none() {
            return Vec::new();
        }
        let mut failed = Vec::new();
        for (&first, call) in &mut self.calls {
            call.tries.dialled_in_vain();
            if self.retry.is_exhausted(call.tries.count(self.targets)) {
                failed.push(first);
            }
        }
        let text = format!("no node could be reached: {}", self.problem);
        failed.into_iter().filter_map(|id| self.remove(id)).map(|c| c.fail(ErrorCode::Unreachable, &text)).collect()
    }

    /// No node lets this client in: every call fails, which has not been tried by another way.
    pub(in crate::client) fn denied(&mut self, error: &Error) -> Vec<Finished> {
        self.problem = error.message().to_string();
        let all: Vec<u64> = self.calls.keys().copied().collect();
        all.into_iter().filter_map(|id| self.remove(id)).map(|call| call.fail_with(error)).collect()
    }

    /// The node has ended the stream in order: what it has not answered it has not done and will not do. That is as if
    /// it had refused the rest one by one.
    pub(in crate::client) fn refuse_rest(&mut self) -> Vec<Finished> {
        self.link = Link::Leaving;
        let is_sent = |slot: &Slot| matches!(slot.state, State::Sent);
        let of_call = |(&first, call): (&u64, &Call)| {
            let sent = (first..).zip(&call.slots).filter(|(_, slot)| is_sent(slot));
            sent.map(|(id, _)| id).collect::<Vec<_>>()
        };
        let rest: Vec<u64> = self.calls.iter().flat_map(of_call).collect();
        let refusal = || Err(Error::new(ErrorCode::NotRunning, "the node is being stopped"));
        self.answer(rest.into_iter().map(|id| (id, refusal())).collect())
    }

    /// Gives up a call; what it held is to be dropped outside of the lock.
    pub(in crate::client) fn cancel(&mut self, call: CallId) -> Option<Call> {
        self.remove(call.0)
    }

    /// Fails everything, for good.
    pub(in crate::client) fn close(&mut self) -> Vec<Finished> {
        self.is_closed = true;
        self.queue.clear();
        self.held.clear();
        (self.queue_gone, self.queue_bytes, self.earliest) = (0, 0, None);
        let calls = std::mem::take(&mut self.calls).into_values();
        calls.map(|call| call.fail(ErrorCode::ClientClosed, "the client was closed during the call")).collect()
    }

    pub(in crate::client) fn is_closed(&self) -> bool {
        self.is_closed
    }
}
