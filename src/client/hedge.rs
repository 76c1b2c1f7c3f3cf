//! Asks a second node, too, when a read takes long; off unless a client is told to. The first answer wins.
//!
//! That cuts off the tail that is one node's own: a pause, a full queue, a slow disk (Dean and Barroso, "The Tail at Scale",
//! CACM 2013, hedged requests). It is no help when all nodes are slow, and would make that worse, so the second questions are
//! limited to a share of the reads: each read saves up for a tenth of one.
//!
//! A read is as right there as here. The second node gets to know before what the session has seen ([`super::session`]), and what
//! its answer shows is taken into the session before the caller has it: the next read may be at the first node, which then has
//! to have that, too. Writes are never asked of two.

use std::{
    sync::{
        atomic::{AtomicU32, Ordering},
        Arc, OnceLock,
    },
    time::Duration,
};

use parking_lot::Mutex;
use tokio::sync::Notify;

use super::{call::Slot, pipeline, shared::Shared, Completion};
use crate::{
    error::{Error, Result},
    limits::{CLIENT_HEDGES_SAVED_MAX, CLIENT_READS_PER_HEDGE},
    types::{Answer, Operation, ReadLevel},
};

/// See the module.
pub(super) struct Hedge {
    delay: Duration,
    budget: Budget,
    /// The way to the second node, from the first use on.
    second: OnceLock<Arc<Shared>>,
}

impl Hedge {
    /// After `delay` a second node is asked.
    pub(super) fn new(delay: Duration) -> Hedge {
        Hedge { delay, budget: Budget::default(), second: OnceLock::new() }
    }

    /// A read begins: how long to wait for it before a second node may be asked.
    pub(super) fn begin(&self) -> Duration {
        self.budget.earn();
        self.delay
    }

    /// Whether a second node may be asked now; counts it.
    pub(super) fn take(&self) -> bool {
        self.budget.spend()
    }

    /// Ends the connection to the second node.
    pub(super) fn close(&self) {
        if let Some(second) = self.second.get() {
            second.close();
        }
    }

    fn second(&self, first: &Shared, runtime: &tokio::runtime::Handle) -> &Arc<Shared> {
        let second = self.second.get_or_init(|| Arc::new(first.second()));
        if first.is_closed() {
            second.close();
        }
        pipeline::start(second, runtime);
        second
    }
}

/// Whether operations may be asked of two nodes.
pub(super) fn is_hedgeable(operations: &[Operation]) -> bool {
    operations.iter().all(|operation| match operation {
        Operation::Get { .. } | Operation::Count(_) | Operation::Scan { .. } => true,
        // A ping is about the node that is asked.
        Operation::Write(_) | Operation::Ping => false,
    })
}

/// Makes a completion that a second node may be the first to call. `shared` is where the operations are about to be submitted.
pub(super) fn race(
    (shared, hedge): (&Arc<Shared>, &Arc<Hedge>),
    runtime: &tokio::runtime::Handle,
    (keyspace, operations): (&str, Vec<Operation>),
    (read, timeout): (ReadLevel, Option<Duration>),
    done: Completion,
) -> Completion {
    let delay = hedge.begin();
    let race = Arc::new(Race { state: Mutex::new(Some(State { done, runners: 1, error: None })), over: Notify::new() });
    let (second, handle) =
        (Second { race: race.clone(), keyspace: keyspace.to_string(), operations, read }, runtime.clone());
    let (shared, hedge) = (shared.clone(), hedge.clone());
    runtime.spawn(async move {
        tokio::select! {
            biased;
            () = second.race.over.notified() => {}
            () = tokio::time::sleep(delay) => second.run(&shared, &hedge, &handle, timeout.map(|all| all.saturating_sub(delay))),
        }
    });
    let first = Runner { race: Some(race), is_first: true };
    Box::new(move |outcome| first.finish(outcome))
}

/// The question to the second node.
struct Second {
    race: Arc<Race>,
    keyspace: String,
    operations: Vec<Operation>,
    read: ReadLevel,
}

impl Second {
    fn run(self, shared: &Arc<Shared>, hedge: &Hedge, runtime: &tokio::runtime::Handle, left: Option<Duration>) {
        if shared.count_nodes() < 2 || left.is_some_and(|left| left.is_zero()) || !hedge.take() {
            return;
        }
        let second = hedge.second(shared, runtime);
        let of = |shared: &Shared| shared.contact().map(|(address, _)| address);
        if of(second).is_some_and(|address| of(shared) == Some(address)) {
            // The calls have come to go there, too. It goes elsewhere for the next time.
            second.leave_node();
            return;
        }
        if !self.race.enter() {
            return;
        }
        let is_session = self.read == ReadLevel::Session;
        if is_session {
            second.join_session(&shared.session_token());
        }
        let slots = self.operations.iter().map(|operation| Slot::new(&self.keyspace, operation, self.read)).collect();
        let runner = Runner { race: Some(self.race), is_first: false };
        let (asker, asked) = (shared.clone(), second.clone());
        let done: Completion = Box::new(move |outcome| {
            if is_session && outcome.is_ok() {
                asker.join_session(&asked.session_token());
            }
            runner.finish(outcome);
        });
        second.submit(slots, left, done);
    }
}

type Outcome = Result<Vec<Result<Answer>>>;

/// One call at two nodes.
struct Race {
    /// `None`: it is over.
    state: Mutex<Option<State>>,
    over: Notify,
}

struct State {
    done: Completion,
    /// Nodes whose outcome is still to come.
    runners: u32,
    /// Why the first one failed, or else the second.
    error: Option<Error>,
}

impl Race {
    /// A second runner; false when the race is over.
    fn enter(&self) -> bool {
        let mut state = self.state.lock();
        state.as_mut().map(|state| state.runners += 1).is_some()
    }

    fn finish(&self, is_first: bool, outcome: Outcome) {
        let mut held = self.state.lock();
        let Some(state) = held.as_mut() else { return };
        state.runners -= 1;
        let is_over = outcome.is_ok() || state.runners == 0;
        if let (true, Err(error)) = (is_first || state.error.is_none(), &outcome) {
            state.error = Some(error.clone());
        }
        let Some(State { done, error, .. }) = held.take_if(|_| is_over) else { return };
        drop(held);
        self.over.notify_one();
        // Whoever waits is called without the lock.
        done(match (outcome, error) {
            (Err(_), Some(error)) => Err(error),
            (outcome, _) => outcome,
        });
    }

    fn give_up(&self) {
        let state = self.state.lock().take();
        self.over.notify_one();
        drop(state);
    }
}

/// One node's part in a race.
struct Runner {
    /// `None`: it has told its outcome.
    race: Option<Arc<Race>>,
    is_first: bool,
}

impl Runner {
    fn finish(mut self, outcome: Outcome) {
        if let Some(race) = self.race.take() {
            race.finish(self.is_first, outcome);
        }
    }
}

/// A completion that is dropped says that the caller has given the call up.
impl Drop for Runner {
    fn drop(&mut self) {
        if let Some(race) = self.race.take() {
            race.give_up();
        }
    }
}

/// Counts reads, of which each saves up for a part of a second question.
struct Budget {
    /// In reads.
    saved: AtomicU32,
}

impl Default for Budget {
    /// Enough for one, so that the first slow read of a client need not be waited for.
    fn default() -> Budget {
        Budget { saved: AtomicU32::new(CLIENT_READS_PER_HEDGE) }
    }
}

impl Budget {
    fn earn(&self) {
        let more = |saved| (saved < CLIENT_HEDGES_SAVED_MAX * CLIENT_READS_PER_HEDGE).then_some(saved + 1);
        // An error says that enough is saved.
        let _ = self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, more);
    }

    fn spend(&self) -> bool {
        let less = |saved: u32| saved.checked_sub(CLIENT_READS_PER_HEDGE);
        self.saved.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::error::ErrorCode;

    proptest! {
        #[test]
        fn second_questions_stay_within_their_share(reads in prop::collection::vec(any::<bool>(), 0..500)) {
            let budget = Budget::default();
            let mut hedges = 0;
            for (number, is_slow) in (1u32..).zip(&reads) {
                budget.earn();
                hedges += u32::from(*is_slow && budget.spend());
                prop_assert!(hedges <= 1 + number / CLIENT_READS_PER_HEDGE, "{hedges} of {number}");
            }
        }
    }

    #[test]
    fn a_burst_gets_what_was_saved_and_no_more() {
        let budget = Budget::default();
        (0..10_000).for_each(|_| budget.earn());
        assert_eq!((0..1000).filter(|_| budget.spend()).count(), CLIENT_HEDGES_SAVED_MAX as usize);
    }

    /// A race of two, and the outcomes that its caller gets.
    fn race() -> (Runner, Runner, std::sync::mpsc::Receiver<Outcome>) {
        let (sender, outcomes) = std::sync::mpsc::channel();
        let done: Completion = Box::new(move |outcome| sender.send(outcome).unwrap());
        let state = Mutex::new(Some(State { done, runners: 1, error: None }));
        let race = Arc::new(Race { state, over: Notify::new() });
        assert!(race.enter());
        let runner = |is_first| Runner { race: Some(race.clone()), is_first };
        (runner(true), runner(false), outcomes)
    }

    fn failed(code: ErrorCode) -> Outcome {
        Err(Error::new(code, "no"))
    }

    #[test]
    fn the_first_answer_wins_and_is_the_only_one() {
        for is_first_first in [true, false] {
            let (first, second, outcomes) = race();
            let (winner, loser) = if is_first_first { (first, second) } else { (second, first) };
            winner.finish(Ok(Vec::new()));
            loser.finish(failed(ErrorCode::ConnectionLost));
            assert_eq!(outcomes.iter().collect::<Vec<_>>(), [Ok(Vec::new())]);
        }
    }

    #[test]
    fn an_error_waits_for_the_other_and_the_first_node_is_the_one_that_is_told() {
        for is_first_first in [true, false] {
            let (first, second, outcomes) = race();
            let (lost, behind) = (failed(ErrorCode::ConnectionLost), failed(ErrorCode::SessionBehind));
            if is_first_first {
                first.finish(lost.clone());
                assert!(outcomes.try_recv().is_err());
                second.finish(behind);
            } else {
                second.finish(behind);
                assert!(outcomes.try_recv().is_err());
                first.finish(lost.clone());
            }
            assert_eq!(outcomes.iter().collect::<Vec<_>>(), [lost]);
        }
        let (first, second, outcomes) = race();
        first.finish(failed(ErrorCode::ConnectionLost));
        second.finish(Ok(Vec::new()));
        assert_eq!(outcomes.iter().collect::<Vec<_>>(), [Ok(Vec::new())]);
    }

    #[test]
    fn whoever_gave_up_is_not_called() {
        let (first, second, outcomes) = race();
        drop(first);
        second.finish(Ok(Vec::new()));
        assert_eq!(outcomes.iter().count(), 0);
    }
}
