//! What the parts of a group share: the consensus itself, the replica, and who leads.

use std::{sync::Arc, time::Duration};

use openraft::{metrics::RaftServerMetrics, BasicNode, Raft, ServerState};
use parking_lot::Mutex;
use tokio::sync::watch;

use super::{
    founding::Founding, message::Acquaintance, network::Network, proposals::Proposals, reads::Reads, receive::Incoming,
    replica::Replica, silence::Silence,
};
use crate::{
    config::HistoryBounds,
    env::Env,
    error::{Error, ErrorCode, Result},
    replication::strong::{log_store::LogStore, types::GroupTypes, Machine},
    sync::AtomicBool,
    types::Consistency,
};

/// A member of a group at work.
pub(super) struct Core {
    pub(super) me: Acquaintance,
    /// It comes back as who it is; else it is gone when it stops.
    pub(super) is_durable: bool,
    pub(super) env: Env,
    pub(super) raft: Raft<GroupTypes>,
    pub(super) replica: Replica,
    pub(super) log: LogStore,
    pub(super) network: Network,
    pub(super) silence: Arc<Silence>,
    pub(super) proposals: Proposals,
    pub(super) reads: Reads,
    pub(super) founding: Founding,
    /// What `default` is to be, if this member founds the group.
    pub(super) forms: Consistency,
    /// How much of the history is kept while this member leads.
    pub(super) history: HistoryBounds,
    /// Whether the group is known to have decided that.
    pub(super) formed: AtomicBool,
    /// The snapshot that is being received.
    pub(super) incoming: Mutex<Option<Incoming>>,
    pub(super) leader_clock: LeaderClock,
    pub(super) elapsed: Elapsed,
    pub(super) elections: Elections,
    /// When a leader was last heard from, by the monotonic clock; at first when this member began.
    pub(super) heard_from_leader: Mutex<Duration>,
    /// The last term in which an entry of this run was applied while this member led.
    pub(super) settled_in: Mutex<Option<u64>>,
    /// True once the member is being stopped.
    pub(super) stopping: watch::Sender<bool>,
}

/// Who leads, as this member sees it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Leadership {
    pub(super) term: u64,
    /// The leader and where it is; `None`: nobody that is known here.
    pub(super) leader: Option<Acquaintance>,
    /// It is this member.
    pub(super) is_mine: bool,
}

impl Core {
    /// The monotonic clock.
    pub(super) fn now(&self) -> Duration {
        self.env.clock.monotonic()
    }

    pub(super) fn leadership(&self) -> Leadership {
        let metrics = self.raft.server_metrics();
        let metrics = metrics.borrow();
        leadership(&metrics, &self.me)
    }

    /// Returns when somebody else leads than before, or nobody does. Wakes nobody for an entry: of what the library tells, this
    /// part changes with leaders and members alone.
    pub(super) async fn leadership_other_than(&self, before: &Leadership) {
        let mut metrics = self.raft.server_metrics();
        let is_other = |now: &Metrics| leadership(now, &self.me) != *before;
        if metrics.wait_for(is_other).await.is_err() {
            // The consensus has ended; whoever waits is ended by others.
            std::future::pending::<()>().await;
        }
    }

    /// Waits until the replica has applied an entry.
    ///
    /// # Errors
    /// `NOT_RUNNING` when the member is stopped before.
    pub(super) async fn applied(&self, index: Option<u64>) -> Result<()> {
        let applied = self.replica.progress().wait_for(|progress| progress.index >= index).await.is_ok();
        if applied {
            return Ok(());
        }
        Err(stopped())
    }

    /// The machine's own time, and what has passed since by the clock of this member: the machine learns of it with the next entry,
    /// which may be long in coming. For people, who ask how much time is left; nothing ends by it.
    pub(super) fn elapsed_ms(&self, machine: &Machine) -> u64 {
        self.elapsed.now_ms(machine.elapsed_ms(), self.now())
    }

    /// What this member shows as the leader of `term` now. One that was started again in time leads on in its term, and shows
    /// what it has shown before: its wall clock may have been set since.
    pub(super) fn leader_time_ms(&self, term: u64) -> u64 {
        self.leader_clock.show(&self.env, term, || {
            let time = self.replica.machine().time();
            let applied = (time.term == term).then_some(time.shown_ms);
            applied.max(self.log.shown_ms_in(term))
        })
    }

    /// What stands in the way of a leader, for people.
    pub(super) fn no_leader(&self) -> Error {
        let text = match self.founding.why_not() {
            Some(why) => format!("there is no strong group yet: {why}"),
            None => "the strong group has no leader: fewer than a majority of its voters can talk to each other".into(),
        };
        Error::new(ErrorCode::NoLeader, text)
    }
}

type Metrics = RaftServerMetrics<u64, BasicNode>;

fn leadership(metrics: &Metrics, me: &Acquaintance) -> Leadership {
    let is_mine = metrics.state == ServerState::Leader;
    let address = |member: u64| {
        let node = metrics.membership_config.membership().get_node(&member)?;
        Some(Acquaintance { member, address: node.addr.clone() })
    };
    // A member that lost its leadership a moment ago still names itself for a while.
    let leader = metrics.current_leader.filter(|leader| is_mine || *leader != me.member);
    Leadership { term: metrics.vote.leader_id().term, leader: leader.and_then(address), is_mine }
}

pub(super) fn stopped() -> Error {
    Error::new(ErrorCode::NotRunning, "the member of the group is being stopped")
}

/// The machine's own time as it is now: entries are not written only so that it passes.
#[derive(Default)]
pub(super) struct Elapsed(Mutex<Seen>);

#[derive(Default)]
struct Seen {
    /// What the machine of this member said last.
    machine_ms: u64,
    /// What was known last, and when, by the monotonic clock.
    known_ms: u64,
    at: Duration,
}

impl Elapsed {
    /// To be told often what the machine's time is, so that a change is seen when it comes. The machine may be one of a moment
    /// before.
    fn now_ms(&self, machine_ms: u64, now: Duration) -> u64 {
        let mut seen = self.0.lock();
        if machine_ms > seen.machine_ms {
            *seen = Seen { machine_ms, known_ms: machine_ms, at: now };
        }
        let passed = now.saturating_sub(seen.at).as_millis();
        seen.known_ms.saturating_add(u64::try_from(passed).unwrap_or(u64::MAX))
    }

    /// The leader has said what it is. A member that was away, or stood still, cannot know what has passed since the last entry.
    pub(super) fn told(&self, leader_ms: u64, now: Duration) {
        let mut seen = self.0.lock();
        let known_ms = leader_ms.max(seen.machine_ms);
        *seen = Seen { known_ms, at: now, ..*seen };
    }
}

/// The clock that a leader shows in its entries: it goes on from the wall clock at its election and never jumps within a term.
#[derive(Default)]
pub(super) struct LeaderClock(Mutex<Option<Shown>>);

struct Shown {
    term: u64,
    wall_ms: u64,
    since: Duration,
}

impl LeaderClock {
    /// What the leader of this term shows now: milliseconds since the Unix epoch. `before`: what was shown in it already.
    fn show(&self, env: &Env, term: u64, before: impl FnOnce() -> Option<u64>) -> u64 {
        let mut shown = self.0.lock();
        let now = env.clock.monotonic();
        if shown.as_ref().is_none_or(|shown| shown.term != term) {
            let wall_ms = before().unwrap_or_else(|| env.clock.wall_ms());
            *shown = Some(Shown { term, wall_ms, since: now });
        }
        let Some(Shown { wall_ms, since, .. }) = &*shown else { return env.clock.wall_ms() };
        wall_ms.saturating_add(u64::try_from((now - *since).as_millis()).unwrap_or(u64::MAX))
    }
}

/// How often somebody was elected, as this member saw it.
#[derive(Default)]
pub(super) struct Elections(Mutex<(Option<(u64, u64)>, u64)>);

impl Elections {
    /// Takes note of who leads in which term.
    pub(super) fn note(&self, leadership: &Leadership) {
        let Some(leader) = &leadership.leader else { return };
        let mut seen = self.0.lock();
        let now = (leadership.term, leader.member);
        if seen.0 != Some(now) {
            *seen = (Some(now), seen.1 + 1);
        }
    }

    pub(super) fn count(&self) -> u64 {
        self.0.lock().1
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::env::SimulatedClock;

    #[test]
    fn what_has_passed_is_counted_from_what_the_leader_said() {
        let (elapsed, second) = (Elapsed::default(), Duration::from_secs(1));
        assert_eq!(elapsed.now_ms(1000, 100 * second), 1000, "the last entry, as seen after a start");
        assert_eq!(elapsed.now_ms(1000, 101 * second), 2000);
        elapsed.told(500_000, 102 * second);
        assert_eq!(elapsed.now_ms(1000, 103 * second), 501_000, "it was away for 498 s");
        assert_eq!(elapsed.now_ms(900, 103 * second), 501_000, "asked with the machine of a moment before");
        assert_eq!(elapsed.now_ms(501_100, 104 * second), 501_100, "an entry");
        elapsed.told(400_000, 105 * second);
        assert_eq!(elapsed.now_ms(501_100, 105 * second), 501_100, "what was said before it");
    }

    /// Found by seed 38 of the simulation: a leader that is started again in time leads on in its term.
    #[test]
    fn the_clock_of_a_leader_never_jumps_within_a_term() {
        let clock = Arc::new(SimulatedClock::new(50_000));
        let env = Env { clock: clock.clone(), ..Env::system() };
        let leader = LeaderClock::default();
        assert_eq!(leader.show(&env, 1, || None), 50_000);
        clock.advance(Duration::from_millis(300));
        clock.set_wall_ms(90_000);
        assert_eq!(leader.show(&env, 1, || None), 50_300, "the wall clock was set ahead");
        let started_again = LeaderClock::default();
        assert_eq!(started_again.show(&env, 1, || Some(50_300)), 50_300, "it goes on from what was shown");
        clock.advance(Duration::from_millis(200));
        assert_eq!(started_again.show(&env, 1, || None), 50_500);
        assert_eq!(started_again.show(&env, 2, || None), 90_200, "the clock of another term");
    }
}
