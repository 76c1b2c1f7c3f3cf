//! Lets operators listen to the calls of a node: a sample of them, with keys and sizes, without values.
//!
//! While nobody listens a call costs one relaxed load ([`Tap::is_on`]). While somebody does, each call takes a lock or two for
//! a moment. Nobody waits for who listens: beyond [`MONITOR_QUEUE_MAX`] calls are dropped, and counted.
//!
//! A call does not carry which client made it. Whoever reads calls off a client's stream says so around them ([`called_by`]); of
//! all others it is not known. What is not told at all: calls about leases and keyspaces.

use std::{cell::RefCell, collections::VecDeque, sync::Arc, time::Duration};

use parking_lot::Mutex;
use rand::{rngs::StdRng, Rng, SeedableRng};
use tokio::sync::Notify;

use crate::{
    env::Clock,
    error::{Error, ErrorCode, Result},
    limits::{MONITORS_MAX, MONITOR_MARK_INTERVAL, MONITOR_PAGE_MAX, MONITOR_QUEUE_BYTES_MAX, MONITOR_QUEUE_MAX},
    sync::{AtomicBool, Ordering},
    types::{ClientName, SamplePage, SampledCall, Sampling, SHARE_WHOLE},
};

thread_local! {
    /// Whose calls this thread is making.
    static CALLER: RefCell<Option<ClientName>> = const { RefCell::new(None) };
}

/// Makes calls of a client that has a name: whoever listens to them is told it. They have to be made on this thread, in `run`.
pub fn called_by<R>(client: &ClientName, run: impl FnOnce() -> R) -> R {
    /// Also when `run` panics.
    struct Restore(Option<ClientName>);
    impl Drop for Restore {
        fn drop(&mut self) {
            CALLER.set(self.0.take());
        }
    }
    let _restore = Restore(CALLER.replace(Some(client.clone())));
    run()
}

/// Where calls pass by. See the module.
pub struct Tap {
    clock: Arc<dyn Clock>,
    is_on: AtomicBool,
    /// Those who listen; `is_on` says whether there are any.
    ears: Mutex<Vec<Arc<Ear>>>,
}

/// One who listens. Ends when it is dropped.
pub struct Listening {
    tap: Arc<Tap>,
    ear: Arc<Ear>,
}

/// Those who are to be told of a call.
pub struct Picked<'a> {
    tap: &'a Tap,
    ears: Vec<Arc<Ear>>,
    at: Duration,
}

struct Ear {
    queue: Mutex<Queue>,
    changed: Notify,
}

/// What one who listens has not taken yet.
struct Queue {
    sampling: Sampling,
    rng: StdRng,
    /// Of a rate: what is left of the calls that may be told, and as of when.
    left: f64,
    filled: Duration,
    calls: VecDeque<SampledCall>,
    key_bytes: usize,
    seen: u64,
    dropped: u64,
}

impl Tap {
    /// Nobody listens.
    pub fn new(clock: Arc<dyn Clock>) -> Tap {
        Tap { clock, is_on: AtomicBool::new(false), ears: Mutex::default() }
    }

    /// Whether anybody listens, so that a call has to be looked at.
    #[inline]
    pub fn is_on(&self) -> bool {
        // A call that comes at the moment of a change may find either.
        self.is_on.load(Ordering::Relaxed)
    }

    /// Counts a call that is about to be made, and says who is to be told of it; `None`: nobody.
    #[cold]
    pub fn pick(&self) -> Option<Picked<'_>> {
        let at = self.clock.monotonic();
        let ears = self.ears.lock().clone();
        let wanted: Vec<Arc<Ear>> = ears.into_iter().filter(|ear| ear.queue.lock().wants(at)).collect();
        (!wanted.is_empty()).then_some(Picked { tap: self, ears: wanted, at })
    }

    /// Begins to listen.
    ///
    /// # Errors
    /// `OVERLOADED` when [`MONITORS_MAX`] do.
    pub fn listen(self: &Arc<Tap>, sampling: Sampling) -> Result<Listening> {
        let mut ears = self.ears.lock();
        if ears.len() >= MONITORS_MAX {
            let text = format!("monitors: this node has {MONITORS_MAX}, which is the limit");
            return Err(Error::new(ErrorCode::Overloaded, text));
        }
        let filled = self.clock.monotonic();
        let queue = Queue {
            sampling,
            // It has to be fair, not secret.
            rng: StdRng::seed_from_u64(filled.as_nanos() as u64),
            left: 1.0,
            filled,
            calls: VecDeque::new(),
            key_bytes: 0,
            seen: 0,
            dropped: 0,
        };
        let ear = Arc::new(Ear { queue: Mutex::new(queue), changed: Notify::new() });
        ears.push(ear.clone());
        self.is_on.store(true, Ordering::Relaxed);
        Ok(Listening { tap: self.clone(), ear })
    }
}

impl Picked<'_> {
    /// Tells them of the call, of which `at` is filled in, and `client` if it is known.
    pub fn tell(self, call: SampledCall) {
        let call = SampledCall { at: self.at, client: CALLER.with_borrow(Clone::clone), ..call };
        let ears = self.tap.ears.lock().clone();
        // Those who have left meanwhile need not be told.
        for ear in self.ears.iter().filter(|ear| ears.iter().any(|other| Arc::ptr_eq(ear, other))) {
            ear.queue.lock().push(call.clone());
            ear.changed.notify_one();
        }
    }
}

impl Queue {
    fn wants(&mut self, now: Duration) -> bool {
        self.seen += 1;
        match self.sampling {
            Sampling::Share(share) => self.rng.random_range(0..SHARE_WHOLE) < share,
            Sampling::Rate(rate) => {
                // A bucket of one second's calls, as of a leaky bucket (Turner, "New Directions in Communications", 1986).
                let rate = f64::from(rate);
                let passed = now.saturating_sub(self.filled).as_secs_f64();
                self.left = (self.left + passed * rate).min(rate.max(1.0));
                self.filled = now;
                let is_told = self.left >= 1.0;
                self.left -= if is_told { 1.0 } else { 0.0 };
                is_told
            }
        }
    }

    fn push(&mut self, call: SampledCall) {
        let bytes = call.key.len() + call.keyspace.len();
        if self.calls.len() >= MONITOR_QUEUE_MAX || self.key_bytes + bytes > MONITOR_QUEUE_BYTES_MAX {
            self.dropped += 1;
            return;
        }
        self.key_bytes += bytes;
        self.calls.push_back(call);
    }

    /// The next page, with no calls on it when there are none.
    fn page(&mut self, now: Duration) -> SamplePage {
        let count = self.calls.len().min(MONITOR_PAGE_MAX);
        let calls: Vec<_> = self.calls.drain(..count).map(|call| (now.saturating_sub(call.at), call)).collect();
        self.key_bytes -= calls.iter().map(|(_, call)| call.key.len() + call.keyspace.len()).sum::<usize>();
        SamplePage {
            calls: calls.into_iter().map(|(age, call)| (call, age)).collect(),
            seen: std::mem::take(&mut self.seen),
            dropped: std::mem::take(&mut self.dropped),
        }
    }
}

impl Listening {
    /// The next page: as soon as there is a call on it, and at the latest after [`MONITOR_MARK_INTERVAL`]. What was given up
    /// half way is not lost.
    pub async fn next(&mut self) -> SamplePage {
        let is_something = async {
            while self.ear.queue.lock().calls.is_empty() {
                self.ear.changed.notified().await;
            }
        };
        // Without a call it is still said how many there were.
        let _in_time = tokio::time::timeout(MONITOR_MARK_INTERVAL, is_something).await;
        self.ear.queue.lock().page(self.tap.clock.monotonic())
    }
}

impl Drop for Listening {
    fn drop(&mut self) {
        let mut ears = self.tap.ears.lock();
        ears.retain(|ear| !Arc::ptr_eq(ear, &self.ear));
        if ears.is_empty() {
            self.tap.is_on.store(false, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use bytes::Bytes;

    use super::*;
    use crate::env::SimulatedClock;

    fn a_call(key: &str) -> SampledCall {
        let (keyspace, key) = ("default".to_string(), Bytes::copy_from_slice(key.as_bytes()));
        SampledCall { kind: "get".into(), keyspace, key, client: None, value_bytes: 3, at: Duration::ZERO }
    }

    /// A call passes by.
    fn pass(tap: &Tap, key: &str) -> bool {
        let picked = tap.is_on().then(|| tap.pick()).flatten();
        let is_told = picked.is_some();
        picked.into_iter().for_each(|picked| picked.tell(a_call(key)));
        is_told
    }

    fn tap() -> (Arc<SimulatedClock>, Arc<Tap>) {
        let clock = Arc::new(SimulatedClock::new(1));
        (clock.clone(), Arc::new(Tap::new(clock)))
    }

    #[tokio::test]
    async fn who_listens_to_all_is_told_each_call_with_its_age() {
        let (clock, tap) = tap();
        assert!(!pass(&tap, "before"));
        let mut listening = tap.listen(Sampling::Share(SHARE_WHOLE)).unwrap();
        assert!(pass(&tap, "a") && pass(&tap, "b"));
        clock.advance(Duration::from_millis(5));
        let page = listening.next().await;
        let told: Vec<_> = page.calls.iter().map(|(call, age)| (&call.key[..], call.value_bytes, *age)).collect();
        let age = Duration::from_millis(5);
        assert_eq!(told, [(&b"a"[..], 3, age), (&b"b"[..], 3, age)]);
        assert_eq!((page.seen, page.dropped), (2, 0));
        drop(listening);
        assert!(!tap.is_on() && !pass(&tap, "after"));
    }

    #[tokio::test]
    async fn whose_calls_are_made_is_told_while_they_are_made() {
        let (_, tap) = tap();
        let mut listening = tap.listen(Sampling::Share(SHARE_WHOLE)).unwrap();
        let (outer, inner): (ClientName, ClientName) = ("outer".parse().unwrap(), "inner".parse().unwrap());
        called_by(&outer, || {
            called_by(&inner, || pass(&tap, "a"));
            pass(&tap, "b");
        });
        pass(&tap, "c");
        let page = listening.next().await;
        let told: Vec<_> = page.calls.into_iter().map(|(call, _)| call.client).collect();
        assert_eq!(told, [Some(inner), Some(outer), None]);
    }

    #[tokio::test]
    async fn a_share_is_drawn_and_all_are_counted() {
        let (_, tap) = tap();
        let mut listening = tap.listen(Sampling::Share(SHARE_WHOLE / 10)).unwrap();
        let told = (0..3000).filter(|at| pass(&tap, &at.to_string())).count();
        assert!((200..400).contains(&told), "{told}");
        assert_eq!(listening.next().await.seen, 3000);
    }

    #[tokio::test]
    async fn a_rate_is_kept_and_never_saved_up_for_longer_than_a_second() {
        let (clock, tap) = tap();
        let _listening = tap.listen(Sampling::Rate(10)).unwrap();
        let told = || (0..50).filter(|at| pass(&tap, &at.to_string())).count();
        assert_eq!(told(), 1);
        clock.advance(Duration::from_millis(500));
        assert_eq!(told(), 5);
        clock.advance(Duration::from_secs(60));
        assert_eq!(told(), 10);
    }

    #[tokio::test]
    async fn a_slow_reader_loses_calls_and_is_told_how_many() {
        let (_, tap) = tap();
        let mut listening = tap.listen(Sampling::Share(SHARE_WHOLE)).unwrap();
        (0..MONITOR_QUEUE_MAX + 7).for_each(|_| assert!(pass(&tap, "k")));
        let first = listening.next().await;
        assert_eq!((first.calls.len(), first.dropped), (MONITOR_PAGE_MAX, 7));
        let mut left = 0;
        for _ in 1..MONITOR_QUEUE_MAX / MONITOR_PAGE_MAX {
            left += listening.next().await.calls.len();
        }
        assert_eq!(left, MONITOR_QUEUE_MAX - MONITOR_PAGE_MAX);
        let long = "x".repeat(8 * 1024);
        (0..200).for_each(|_| assert!(pass(&tap, &long)));
        assert!(listening.next().await.dropped > 70, "a megabyte of keys waits at most");
    }

    #[tokio::test(start_paused = true)]
    async fn who_is_told_of_no_call_is_told_that() {
        let (_, tap) = tap();
        let mut listening = tap.listen(Sampling::Share(1)).unwrap();
        assert_eq!(listening.next().await, SamplePage::default());
    }

    #[test]
    fn only_so_many_listen() {
        let (_, tap) = tap();
        let listening: Vec<_> = (0..MONITORS_MAX).map(|_| tap.listen(Sampling::Rate(1)).unwrap()).collect();
        assert_eq!(tap.listen(Sampling::Rate(1)).err().unwrap().code(), ErrorCode::Overloaded);
        drop(listening);
        assert!(tap.listen(Sampling::Rate(1)).is_ok());
    }
}
