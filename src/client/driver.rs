//! Who runs the tasks of the clients: a thread of their own, or the thread that waits for an answer.
//!
//! With a thread of its own a call changes threads twice more than it has to: the caller wakes that thread to send, and is woken
//! by it with the answer. For many callers this is cheap, for they share it. A thread that makes one call after the other while
//! nobody else waits pays it each time; so such a thread *drives*: it runs the tasks itself until its answer is there. They all
//! run meanwhile, those of other clients too.
//!
//! The runtime has one thread's worth of state that is passed on: whoever calls `block_on` has it or waits for it. That alone
//! keeps two threads from running tasks at once. What is here only chooses, and a wrong choice costs time:
//!
//! * A thread drives when the last calls were made one by one, each soon after the other, and nobody else waits.
//! * Then the own thread stands aside, and looks each [`CLIENT_STAND_ASIDE`] whether it is still not needed. It is when nobody has
//!   driven for so long, and at once when there is work for which nobody drives.
//!
//! All is atomic, without a lock of its own: where the caller is a thread of an interpreter, another one may fork at any time.

use std::{
    future::Future,
    sync::{
        atomic::{AtomicBool, AtomicU32, AtomicU64, AtomicUsize, Ordering},
        Arc, OnceLock,
    },
    thread::{self, Thread},
    time::Duration,
};

use tokio::{
    runtime::{Builder, Handle, Runtime},
    sync::Notify,
};

use crate::{
    env::{Clock, SystemClock},
    error::{Error, ErrorCode, Result},
    limits::{CLIENT_STAND_ASIDE, CLIENT_STREAK_MIN, SIGNAL_CHECK_INTERVAL},
};

/// A runtime for clients on the present machine, and who runs it. Its own thread ends with the process.
pub struct Driver {
    runtime: Runtime,
    clock: SystemClock,
    /// The thread that runs it when no caller does.
    own: OnceLock<Thread>,
    /// The own thread is to let go of the runtime.
    give_way: AtomicBool,
    gives_way: Notify,
    /// The own thread is to come back at once.
    is_needed: AtomicBool,
    /// The own thread stands aside.
    is_aside: AtomicBool,
    /// A caller drives.
    is_driven: AtomicBool,
    /// Threads that wait for the answer to a call.
    waiting: AtomicUsize,
    /// Calls in a row, each soon after the other, during which nobody else waited.
    streak: AtomicU32,
    /// When the last call ended, in nanoseconds of the clock.
    ended: AtomicU64,
}

impl Driver {
    /// A runtime, and its thread.
    ///
    /// # Errors
    /// `OVERLOADED` when the system gives no more threads or descriptors.
    pub fn start() -> Result<Arc<Driver>> {
        let failed = |error| Error::new(ErrorCode::Overloaded, format!("the client's thread cannot start: {error}"));
        let runtime = Builder::new_current_thread().enable_io().enable_time().build().map_err(failed)?;
        let driver = Arc::new(Driver {
            runtime,
            clock: SystemClock::new(),
            own: OnceLock::new(),
            give_way: AtomicBool::new(false),
            gives_way: Notify::new(),
            is_needed: AtomicBool::new(false),
            is_aside: AtomicBool::new(false),
            is_driven: AtomicBool::new(false),
            waiting: AtomicUsize::new(0),
            streak: AtomicU32::new(0),
            ended: AtomicU64::new(0),
        });
        let driven = driver.clone();
        #[allow(clippy::disallowed_methods, reason = "this is the thread of the runtime itself")]
        let own = thread::Builder::new().name("kvstore-client".into()).spawn(move || driven.run()).map_err(failed)?;
        driver.own.get_or_init(|| own.thread().clone());
        Ok(driver)
    }

    /// The runtime, to make clients and tasks on. What is started from a thread that does not wait for it asks for
    /// [`Driver::run_alone`].
    pub fn handle(&self) -> &Handle {
        self.runtime.handle()
    }

    /// The life of the own thread.
    fn run(&self) {
        loop {
            self.runtime.block_on(self.asked_to_give_way());
            self.is_aside.store(true, Ordering::SeqCst);
            while !self.is_wanted_back() {
                thread::park_timeout(CLIENT_STAND_ASIDE);
            }
            self.give_way.store(false, Ordering::SeqCst);
            self.is_needed.store(false, Ordering::SeqCst);
            self.is_aside.store(false, Ordering::SeqCst);
        }
    }

    async fn asked_to_give_way(&self) {
        while !self.give_way.load(Ordering::SeqCst) {
            self.gives_way.notified().await;
        }
    }

    fn is_wanted_back(&self) -> bool {
        self.is_needed.load(Ordering::SeqCst) || (!self.is_driven.load(Ordering::SeqCst) && !self.is_recent(self.now()))
    }

    fn now(&self) -> u64 {
        u64::try_from(self.clock.monotonic().as_nanos()).unwrap_or(u64::MAX)
    }

    /// Whether the last call ended a moment ago.
    fn is_recent(&self, now: u64) -> bool {
        Duration::from_nanos(now.saturating_sub(self.ended.load(Ordering::Relaxed))) < CLIENT_STAND_ASIDE
    }

    /// There is work that no thread waits for by a [`Turn`]: the own thread has to run it.
    pub fn run_alone(&self) {
        self.streak.store(0, Ordering::Relaxed);
        self.call_back();
    }

    /// Has the own thread run the tasks, if it stands aside. Where it is just about to, it comes back by itself.
    fn call_back(&self) {
        if self.is_aside.load(Ordering::SeqCst) {
            self.is_needed.store(true, Ordering::SeqCst);
            if let Some(own) = self.own.get() {
                own.unpark();
            }
        }
    }

    /// A thread is about to make a call and to wait for its answer. No tasks run in it before it waits.
    pub fn enter(&self) -> Turn<'_> {
        let is_alone = self.waiting.fetch_add(1, Ordering::SeqCst) == 0;
        let is_in_row = is_alone && self.is_recent(self.now());
        if !is_in_row {
            self.streak.store(0, Ordering::Relaxed);
        }
        let is_due = is_in_row && self.streak.load(Ordering::Relaxed) >= CLIENT_STREAK_MIN;
        let drives = is_due && !self.is_driven.swap(true, Ordering::SeqCst);
        if !drives && !self.is_driven.load(Ordering::SeqCst) {
            self.call_back();
        }
        Turn { driver: self, drives, is_over: false }
    }
}

/// From the start of a call until its answer is there or is given up, which is when it is dropped.
pub struct Turn<'a> {
    driver: &'a Driver,
    /// Whether this thread is the one that runs the tasks.
    drives: bool,
    is_over: bool,
}

impl Turn<'_> {
    /// Whether this thread is to wait by [`Turn::drive`].
    #[must_use]
    pub fn drives(&self) -> bool {
        self.drives
    }

    /// Runs the tasks until `future` ends. If that is not within [`SIGNAL_CHECK_INTERVAL`], the own thread runs them again, and
    /// `None` comes back: somebody has to look for Ctrl-C.
    ///
    /// # Panics
    /// Within a task of any runtime.
    pub fn drive<T>(&mut self, future: impl Future<Output = T>) -> Option<T> {
        let driver = self.driver;
        if !driver.is_aside.load(Ordering::SeqCst) {
            driver.give_way.store(true, Ordering::SeqCst);
            driver.gives_way.notify_one();
        }
        let patience = SIGNAL_CHECK_INTERVAL;
        let output = driver.runtime.block_on(async { tokio::time::timeout(patience, future).await.ok() });
        self.stop_driving();
        if output.is_none() {
            driver.run_alone();
        }
        self.end_with(output)
    }

    /// Has `wait` wait for as long as [`Turn::drive`] does; it gives `None` when it waited in vain.
    pub fn wait<T>(&mut self, wait: impl FnOnce(Duration) -> Option<T>) -> Option<T> {
        let output = wait(SIGNAL_CHECK_INTERVAL);
        self.end_with(output)
    }

    /// A call that has its answer is over at once, whatever its thread waits for next: others may be waiting for theirs.
    fn end_with<T>(&mut self, output: Option<T>) -> Option<T> {
        if output.is_some() {
            self.end();
        }
        output
    }

    fn stop_driving(&mut self) {
        if std::mem::take(&mut self.drives) {
            self.driver.is_driven.store(false, Ordering::SeqCst);
        }
    }

    fn end(&mut self) {
        if std::mem::replace(&mut self.is_over, true) {
            return;
        }
        self.stop_driving();
        let driver = self.driver;
        driver.ended.store(driver.now(), Ordering::Relaxed);
        if driver.waiting.fetch_sub(1, Ordering::SeqCst) == 1 {
            driver.streak.fetch_add(1, Ordering::Relaxed);
        } else {
            driver.run_alone();
        }
    }
}

impl Drop for Turn<'_> {
    fn drop(&mut self) {
        self.end();
    }
}

#[cfg(test)]
mod tests {
    use std::thread::ThreadId;

    use tokio::sync::oneshot;

    use super::*;

    const LONG: Duration = Duration::from_secs(20);

    /// A call that a task answers with the thread it runs in.
    fn call(driver: &Driver) -> ThreadId {
        let (sender, receiver) = oneshot::channel();
        let mut turn = driver.enter();
        let answer = async move { sender.send(thread::current().id()).unwrap() };
        if turn.drives() {
            let handle = driver.handle().clone();
            let asked = async move {
                drop(handle.spawn(answer));
                receiver.await.unwrap()
            };
            return turn.drive(asked).expect("it is answered at once");
        }
        drop(driver.handle().spawn(answer));
        turn.wait(|_| receiver.blocking_recv().ok()).unwrap()
    }

    /// Calls until the tasks run in this thread.
    fn drive_at_last(driver: &Driver) {
        let clock = SystemClock::new();
        while call(driver) != thread::current().id() {
            assert!(clock.monotonic() < LONG, "a thread that calls one by one drives");
        }
    }

    #[test]
    fn a_thread_that_calls_one_by_one_drives_and_the_own_thread_comes_back_when_it_stops() {
        let driver = Driver::start().unwrap();
        let own = driver.own.get().unwrap().id();
        assert_eq!(call(&driver), own, "not at the first call");
        drive_at_last(&driver);
        // Nobody asks for it, so it comes by itself.
        let (sender, receiver) = oneshot::channel();
        drop(driver.handle().spawn(async move { sender.send(thread::current().id()).unwrap() }));
        assert_eq!(receiver.blocking_recv(), Ok(own));
    }

    #[test]
    fn an_answer_that_is_slow_is_waited_for_beside_the_own_thread() {
        let driver = Driver::start().unwrap();
        drive_at_last(&driver);
        let (sender, receiver) = oneshot::channel::<()>();
        let mut turn = driver.enter();
        while !turn.drives() {
            drop(turn);
            drive_at_last(&driver);
            turn = driver.enter();
        }
        assert_eq!(turn.drive(std::future::pending::<()>()), None);
        assert!(!turn.drives());
        drop(driver.handle().spawn(async move { sender.send(()).unwrap() }));
        assert_eq!(turn.wait(|_| receiver.blocking_recv().ok()), Some(()));
    }

    #[test]
    fn everybody_is_answered_whoever_comes_and_goes() {
        let driver = Driver::start().unwrap();
        let driver = &driver;
        let calls = move |caller| {
            let clock = SystemClock::new();
            for round in 0..2000 {
                let before = clock.monotonic();
                call(driver);
                assert!(clock.monotonic() - before < LONG, "caller {caller}, round {round}");
                if round % 100 == caller {
                    driver.run_alone();
                }
            }
        };
        thread::scope(|scope| {
            for caller in 0..4 {
                scope.spawn(move || calls(caller));
            }
        });
        assert_eq!(driver.waiting.load(Ordering::SeqCst), 0);
        assert!(!driver.is_driven.load(Ordering::SeqCst));
        drive_at_last(driver);
    }
}
