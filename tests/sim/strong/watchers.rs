//! Watches, followed from node to node. WA-1 order, WA-2 no duplicate, WA-3 no gap, WA-4 whole transactions, WA-5 going on or an
//! explicit `COMPACTED`, WA-6 no mark ahead of events, WA-7 nothing below the start, WA-8 slow ones too, WA-9 previous values: every
//! page has to be what the log has between the two revisions that it is about, and nothing else.
//!
//! A watch runs inside its node, because no call of the protocol watches a strong keyspace yet.

use std::{collections::VecDeque, sync::Arc, time::Duration};

use kvstore::{
    error::{Error, ErrorCode},
    node::Running,
    replication::strong::{GroupWatch, Item, KeyspaceId, Place, Revision, Space, WatchPage},
    types::{Key, KeyRange, NodeId},
};
use parking_lot::Mutex;
use rand::{rngs::StdRng, seq::IndexedRandom, Rng, SeedableRng};
use tokio::task::JoinHandle;

use super::{
    judge::Judge,
    truth::{Changed, Truth},
    workload::MAIN,
};
use crate::plan::mix;

enum Told {
    Page(WatchPage),
    Ended(Error),
}

/// How long a node may take to begin a watch.
const BEGIN_TIMEOUT: Duration = Duration::from_secs(2);

/// A change as it is compared: the key, what is there, what was before.
type Shown = (Key, Option<Arc<Item>>, Option<Arc<Item>>);

/// A watch on one node.
struct Followed {
    member: NodeId,
    told: Arc<Mutex<VecDeque<Told>>>,
    task: JoinHandle<()>,
    /// It goes on elsewhere at this time.
    hops: Duration,
    /// What the keys were when it began, as far as it is told.
    initial: Option<Vec<(Key, Arc<Item>)>>,
}

/// One watch, from its first page to the end of the run.
pub struct Watcher {
    space: Space,
    prefix: Vec<u8>,
    slow_ms: u64,
    rng: StdRng,
    /// Everything up to here is told; `None`: nothing yet, so it begins with what is there.
    since: Option<Revision>,
    running: Option<Followed>,
    /// Not before this time is the next one tried.
    next: Duration,
    is_hopping: bool,
}

impl Watcher {
    pub fn new(number: u64, seed: u64) -> Watcher {
        let mut rng = StdRng::seed_from_u64(mix(&[seed, 24, number]));
        let space = if number == 0 { Space::Locks } else { Space::Data };
        let prefix = if number == 2 { b"x".to_vec() } else { Vec::new() };
        let slow_ms = [0, 0, 200, 2000][rng.random_range(0..4)];
        let next = Duration::from_millis(rng.random_range(500..3000));
        Watcher { space, prefix, slow_ms, rng, since: None, running: None, next, is_hopping: true }
    }

    /// Whether everything is told up to a revision.
    pub fn is_at(&self, revision: Revision) -> bool {
        self.since.is_some_and(|since| since >= revision)
    }

    /// From now on it stays where it is, and is quick.
    pub fn settle(&mut self) {
        (self.is_hopping, self.slow_ms) = (false, 0);
        self.end();
    }

    pub fn describe(&self) -> String {
        format!("{:?} {:?} since {:?}, {}", self.space, self.prefix, self.since, self.running.is_some())
    }

    fn end(&mut self) {
        if let Some(running) = self.running.take() {
            running.task.abort();
        }
    }

    /// Looks what it was told.
    pub fn look(&mut self, now: Duration, nodes: &[Arc<Running>], judge: &mut Judge) {
        let Some(running) = &self.running else {
            if now >= self.next {
                self.begin(now, nodes, judge);
            }
            return;
        };
        let member = running.member;
        let is_there = nodes.iter().any(|node| node.group().member() == member);
        let told: Vec<Told> = running.told.lock().drain(..).collect();
        let hops = self.is_hopping && now >= running.hops;
        for told in told {
            match told {
                Told::Page(page) => self.page(now, &page, judge),
                Told::Ended(error) => return self.ended(now, (&error, nodes), judge),
            }
        }
        if !is_there || hops {
            judge.count("watches that went on elsewhere");
            self.end();
        }
    }

    fn begin(&mut self, now: Duration, nodes: &[Arc<Running>], judge: &mut Judge) {
        self.next = now + Duration::from_millis(200);
        let Some(node) = nodes.choose(&mut self.rng) else { return };
        if judge.truth.lock().keyspaces_named(MAIN).is_empty() {
            return;
        }
        // Now and then from a revision that is yet to come.
        if let (Some(since), true) = (&mut self.since, self.is_hopping && self.rng.random_ratio(1, 10)) {
            *since = Revision(since.0 + self.rng.random_range(1..10));
        }
        let range = KeyRange { prefix: self.prefix.clone(), start: None, end: None };
        let initial = self.since.is_none();
        let watch = GroupWatch { keyspace: MAIN.to_string(), space: self.space, range, since: self.since, initial };
        judge.note(now, &format!("watch {watch:?} at {}", node.group().member()));
        let (told, group, slow_ms) = (Arc::new(Mutex::new(VecDeque::new())), node.group().clone(), self.slow_ms);
        let pages = told.clone();
        let task = node.runtime().spawn(async move {
            let mut watcher = match group.watch(watch, BEGIN_TIMEOUT).await {
                Ok(watcher) => watcher,
                Err(error) => return pages.lock().push_back(Told::Ended(error)),
            };
            loop {
                match watcher.next().await {
                    Ok(page) => pages.lock().push_back(Told::Page(page)),
                    Err(error) => return pages.lock().push_back(Told::Ended(error)),
                }
                tokio::time::sleep(Duration::from_millis(slow_ms)).await;
            }
        });
        let hops = now + Duration::from_millis(self.rng.random_range(500..8000));
        let initial = initial.then(Vec::new);
        self.running = Some(Followed { member: node.group().member(), told, task, hops, initial });
    }

    fn ended(&mut self, now: Duration, (error, nodes): (&Error, &[Arc<Running>]), judge: &mut Judge) {
        judge.note(now, &format!("watch ended: {error}"));
        let member = self.running.as_ref().map(|running| running.member);
        self.end();
        if error.code() != ErrorCode::Compacted {
            return;
        }
        judge.count("watches told that they are compacted");
        let node = nodes.iter().find(|node| Some(node.group().member()) == member);
        let compacted = node.map(|node| node.group().status().compacted);
        if compacted.zip(self.since).is_some_and(|(compacted, since)| since.0 >= compacted) {
            let text = format!("WA-5 COMPACTED is said of what is: {:?}, the node has {compacted:?}", self.since);
            judge.violated(now, &text);
        }
        self.since = None;
    }

    fn page(&mut self, now: Duration, page: &WatchPage, judge: &mut Judge) {
        let truth = judge.truth.clone();
        let problem = {
            let truth = truth.lock();
            let keyspace = truth.keyspaces_named(MAIN).first().copied();
            keyspace.and_then(|keyspace| self.check(&truth, keyspace, page))
        };
        let events: usize = page.transactions.iter().map(|transaction| transaction.changes.len()).sum();
        judge.note(now, &format!("page of {events} until {}", page.until));
        *judge.truth.lock().tallies.entry("watch events checked").or_default() += events as u64;
        if let Some(problem) = problem {
            judge.violated(now, &format!("WA-1 to WA-9 a page is what the log has: {problem}"));
        }
    }

    fn check(&mut self, truth: &Truth, keyspace: KeyspaceId, page: &WatchPage) -> Option<String> {
        if page.initial {
            let Some(Followed { initial: Some(initial), .. }) = &mut self.running else {
                return Some(format!("what was there is told to one that goes on: {page:?}"));
            };
            let items = page.transactions.iter().flat_map(|transaction| &transaction.changes);
            initial.extend(items.filter_map(|change| Some((change.key.clone(), change.state.live()?.clone()))));
            return None;
        }
        let (space, prefix) = (self.space, self.prefix.clone());
        let is_wanted =
            |place: &Place| place.keyspace == keyspace && place.space == space && place.key.starts_with(&prefix);
        let initial = self.running.as_mut().and_then(|running| running.initial.take());
        let since = match (initial, self.since) {
            (Some(initial), _) => {
                // It began at the revision before the first change, or at what this page says.
                let began = page.transactions.first().map_or(page.until, |first| Revision(first.revision.0 - 1));
                let expected = |revision| {
                    let all = truth.all_at(keyspace, space, revision).into_iter();
                    all.filter(|(key, _)| key.starts_with(&prefix)).collect::<Vec<_>>()
                };
                if expected(began) != initial {
                    return Some(format!("what was there at {began}: {initial:?}, not {:?}", expected(began)));
                }
                began
            }
            (None, Some(since)) => since,
            (None, None) => return Some(format!("a page of a watch that has not begun: {page:?}")),
        };
        self.since = Some(page.until.max(since));
        if page.until < since
            || (page.until > truth.revision() && !(page.until == since && page.transactions.is_empty()))
        {
            return Some(format!("it is told up to {}, from {since}, of {}", page.until, truth.revision()));
        }
        let expected = truth.changes((since, page.until), is_wanted);
        let told = page.transactions.iter();
        let told: Vec<(Revision, Vec<Shown>)> = told
            .map(|transaction| {
                let changes = transaction.changes.iter();
                let shown =
                    changes.map(|change| (change.key.clone(), change.state.live().cloned(), change.previous.clone()));
                (transaction.revision, shown.collect())
            })
            .collect();
        let shown = |changed: &Changed| (changed.place.key.clone(), changed.after.clone(), changed.before.clone());
        let expected: Vec<_> = expected
            .iter()
            .map(|(revision, changed)| (*revision, changed.iter().map(shown).collect::<Vec<_>>()))
            .collect();
        (told != expected).then(|| format!("after {since} up to {}: {told:?}, not {expected:?}", page.until))
    }
}
