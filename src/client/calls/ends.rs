//! How calls end without their answers: late, given up, or with the client.

use std::time::Duration;

use super::{Call, CallId, Calls, Finished, Link};
use crate::error::ErrorCode;

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
