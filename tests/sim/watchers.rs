//! Those who do not write: watchers, with the project's own client, and the operator who removes members.

use std::{rc::Rc, sync::Arc, time::Duration};

use kvstore::{
    client::{Client, ClientConfig, Watch},
    error::ErrorCode,
    types::{WatchFilter, WatchPosition, WatchRequest, WatchStart},
};
use rand::{rngs::StdRng, seq::SliceRandom, Rng, SeedableRng};

use super::{
    doors::{Contact, SimClock},
    history::Watched,
    plan::mix,
    workload::{now, Phase, Shared, PHASE_CHECK},
};

/// The host of the operator.
pub const ADMIN: &str = "admin";

/// Within this a watch in a healed and idle cluster has told of everything: the keepalives of a connection that lost a
/// segment, and what a watch that moves waits for.
const CATCH_UP_MAX: Duration = Duration::from_secs(45);

/// The longest a slow watcher takes for a page.
const SLOW_MAX_MS: u64 = 1500;

/// The deadline of a removal.
const REMOVE_TIMEOUT: Duration = Duration::from_secs(3);

/// One watcher.
pub struct Watcher {
    number: usize,
    shared: Rc<Shared>,
    rng: StdRng,
    prefix: String,
    is_slow: bool,
    /// How often it goes on at another node by itself, of a thousand pages.
    moves_permille: u32,
}

/// How far a watch has come.
struct Course {
    position: WatchPosition,
    /// The initial values are not complete.
    is_initial: bool,
}

impl Watcher {
    pub fn new(number: usize, shared: Rc<Shared>) -> Watcher {
        let mut rng = StdRng::seed_from_u64(mix(&[shared.plan.seed, 4, number as u64]));
        let prefix = ["", "", "k1", "k"][rng.random_range(0..4)].to_string();
        let (is_slow, moves_permille) = (rng.random_bool(0.3), [0, 20, 100][rng.random_range(0..3)]);
        Watcher { number, shared, rng, prefix, is_slow, moves_permille }
    }

    pub async fn run(mut self) -> turmoil::Result {
        // Some begin when there is something.
        tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..4000))).await;
        while !self.is_over() {
            let is_initial = self.rng.random_bool(0.6);
            let begun = Watched::Begun { is_initial, prefix: self.prefix.clone() };
            self.shared.judge.borrow_mut().watched(now(), self.number, &begun);
            self.follow(is_initial).await;
        }
        Ok(())
    }

    fn is_over(&self) -> bool {
        self.shared.phase.get() == Phase::Watched
    }

    /// One watch, from its beginning to `COMPACTED` or to the end of the run.
    async fn follow(&mut self, is_initial: bool) {
        let mut start = if is_initial { WatchStart::Initial } else { WatchStart::Now };
        let mut course = Course { position: WatchPosition::new(), is_initial };
        loop {
            let (client, watch) = self.open(start);
            let is_compacted = self.take_pages(&watch, &mut course).await;
            watch.cancel();
            client.close();
            if is_compacted || self.is_over() {
                return;
            }
            let position = course.position.clone();
            start = if course.is_initial { WatchStart::InitialAfter(position) } else { WatchStart::After(position) };
        }
    }

    fn open(&mut self, start: WatchStart) -> (Client, Watch) {
        let hosts = &self.shared.hosts;
        let mut targets: Vec<_> = hosts.nodes.iter().map(|host| host.address.clone()).collect();
        targets.shuffle(&mut self.rng);
        let env = hosts.env(Arc::new(SimClock::default()), self.rng.random(), Contact::default());
        let client = Client::new(
            ClientConfig { discover: false, ..ClientConfig::new(targets) },
            env,
            tokio::runtime::Handle::current(),
        );
        let client = client.expect("the number of targets is within its bounds");
        let filter = match self.prefix.as_str() {
            "" => WatchFilter::All,
            prefix => WatchFilter::Prefix(prefix.as_bytes().to_vec()),
        };
        let buffer = if self.is_slow { 1 } else { 256 };
        let watch = client.watch(WatchRequest { filter, start }, buffer).expect("the buffer is within its bounds");
        (client, watch)
    }

    /// Takes pages until the watch ends or is to go on elsewhere. True: it is compacted.
    async fn take_pages(&mut self, watch: &Watch, course: &mut Course) -> bool {
        loop {
            let page = match tokio::time::timeout(PHASE_CHECK, watch.next()).await {
                Ok(Ok(page)) => page,
                Ok(Err(error)) if error.code() == ErrorCode::Compacted => {
                    self.shared.judge.borrow_mut().watched(now(), self.number, &Watched::Compacted);
                    return true;
                }
                Ok(Err(error)) => {
                    self.shared.judge.borrow_mut().violated(now(), &format!("WA-5 a watch ended with {error}"));
                    return true;
                }
                Err(_) if self.is_caught_up(course) || self.is_over() => return false,
                Err(_) => continue,
            };
            page.advance(&mut course.position);
            course.is_initial &= !page.is_initial_done;
            self.shared.judge.borrow_mut().watched(now(), self.number, &Watched::Page(page));
            if self.is_slow && self.shared.phase.get() == Phase::Chaos {
                tokio::time::sleep(Duration::from_millis(self.rng.random_range(0..SLOW_MAX_MS))).await;
            }
            if self.rng.random_range(0..1000) < self.moves_permille {
                return false;
            }
        }
    }

    /// Whether the nodes are quiet and the watch has come to where they are.
    fn is_caught_up(&self, course: &Course) -> bool {
        let Phase::Watching { since } = self.shared.phase.get() else { return false };
        let nodes = self.shared.hosts.live();
        let Some(node) = nodes.first() else { return false };
        let keyspace = node.keyspace();
        let is_there = keyspace
            .partition_ids()
            .all(|partition| course.position.vector(partition).covers_all(&keyspace.vector(partition)));
        if is_there {
            self.shared.caught_up.borrow_mut().insert(self.number);
        } else if now() > since + CATCH_UP_MAX {
            let text = format!("WA-3 watcher {} has not caught up within {CATCH_UP_MAX:?}", self.number);
            self.shared.judge.borrow_mut().violated(now(), &text);
            self.shared.caught_up.borrow_mut().insert(self.number);
        }
        false
    }
}

/// Removes members as the nemesis orders it.
pub async fn administer(shared: Rc<Shared>) -> turmoil::Result {
    let targets: Vec<_> = shared.hosts.nodes.iter().map(|host| host.address.clone()).collect();
    let seed = mix(&[shared.plan.seed, 5]);
    let env = shared.hosts.env(Arc::new(SimClock::default()), seed, Contact::default());
    let client = Client::new(
        ClientConfig { discover: false, ..ClientConfig::new(targets) },
        env,
        tokio::runtime::Handle::current(),
    )?;
    while shared.phase.get() == Phase::Chaos {
        let Some(id) = shared.orders.borrow_mut().pop_front() else {
            tokio::time::sleep(PHASE_CHECK).await;
            continue;
        };
        let outcome = client.remove_member(id, true, Some(REMOVE_TIMEOUT)).await;
        shared.judge.borrow_mut().note(now(), &format!("removal of {id}: {outcome:?}"));
        shared.removals.set(shared.removals.get() + u64::from(outcome.is_ok()));
    }
    client.close();
    shared.is_admin_gone.set(true);
    Ok(())
}
