//! A node (L5): composition and lifecycle.
//!
//! [`Node`] owns the threads and the order in which things start and stop; `running` is the composition root, where the
//! data, replication and the server are put together.

mod data;
mod default;
mod health;
mod heard;
mod owner;
mod running;
mod snapshots;
mod spaces;

use std::{
    future::Future,
    path::PathBuf,
    sync::{
        mpsc::{self, RecvTimeoutError},
        Arc,
    },
    time::Duration,
};

use parking_lot::{Condvar, Mutex, RwLock};
use tokio::runtime::{Builder, Runtime};

pub use self::running::Running;
use self::spaces::Backend;
use crate::{
    config::NodeConfig,
    env::{Env, Speaker},
    error::{Error, ErrorCode, Result},
    limits::{BLOCKING_THREADS_MAX, RUNTIME_GRACE},
    replication::eventual::{draw_id, Eventual},
    rpc::StrongBackend,
    types::{Address, MemberStatus, NodeId, NodeStatus},
};

/// A whole node: store, server, replication, on threads of its own. Starts once, stops once.
pub struct Node {
    config: NodeConfig,
    env: Env,
    /// This incarnation, once it is known: a directory says at the start. Its threads carry it.
    id: Speaker,
    /// Held while the node starts or stops, so that the two do not overlap. Guards the runtime, which has to be dropped
    /// outside of its own threads.
    runtime: Mutex<Option<Runtime>>,
    /// What every other call looks at; never held for long.
    state: RwLock<State>,
    readiness: Arc<Readiness>,
}

enum State {
    New,
    Running(Arc<Running>),
    Stopped,
}

/// Whether the node is ready, for threads that wait without a runtime.
#[derive(Default)]
struct Readiness {
    /// Guards the word the waiting threads wait for.
    word: Mutex<Word>,
    changed: Condvar,
}

#[derive(Clone, Copy, Default, PartialEq, Eq)]
enum Word {
    #[default]
    NotYet,
    Ready,
    Stopped,
}

impl Readiness {
    /// Says it. What was stopped stays so.
    fn say(&self, word: Word) {
        let mut current = self.word.lock();
        if *current != Word::Stopped {
            *current = word;
            self.changed.notify_all();
        }
    }

    /// The word, or `NotYet` when the timeout has passed.
    fn wait(&self, timeout: Duration) -> Word {
        let mut word = self.word.lock();
        self.changed.wait_while_for(&mut word, |word| *word == Word::NotYet, timeout);
        *word
    }
}

impl Node {
    /// A node that is not running yet, with a new identity. Opens nothing.
    ///
    /// # Errors
    /// Those of [`NodeConfig::check`]; `INTERNAL` when there is no randomness to draw an identity from.
    pub fn new(config: NodeConfig, env: Env) -> Result<Node> {
        config.check()?;
        let id = Speaker::default();
        if config.data_dir.is_none() {
            id.call(draw_id(&env)?);
        }
        let state = RwLock::new(State::New);
        Ok(Node { config, env, id, runtime: Mutex::new(None), state, readiness: Arc::default() })
    }

    /// Binds the port and runs; returns when the port is open. Does nothing when it is running. Blocks: not for use
    /// inside a tokio runtime.
    ///
    /// # Errors
    /// `BAD_SETTING` for the files of `tls`; `ADDRESS_IN_USE` (names the owner if it is a node), `BIND_FAILED`; `NOT_RUNNING` after a stop: make a new node.
    pub fn start(&self) -> Result<()> {
        self.start_unless(std::future::pending())
    }

    /// As [`Node::start`], but gives it up when `given_up` ends first, which the calling thread polls. It may be started again.
    ///
    /// # Errors
    /// Those of [`Node::start`]; `NOT_RUNNING` when it was given up.
    pub fn start_unless(&self, given_up: impl Future<Output = ()>) -> Result<()> {
        let mut runtime_slot = self.runtime.lock();
        match &*self.state.read() {
            State::New => {}
            State::Running(_) => return Ok(()),
            State::Stopped => return Err(Error::new(ErrorCode::NotRunning, "a stopped node does not start again")),
        }
        let runtime = build_runtime(self.config.threads, self.id.clone())?;
        let open = async {
            tokio::select! {
                opened = Running::open(&self.config, &self.env, self.id()) => opened,
                () = given_up => Err(Error::new(ErrorCode::NotRunning, "the start was given up")),
            }
        };
        let running = match self.id.speak(|| runtime.block_on(open)) {
            Ok(running) => Arc::new(running),
            Err(error) => {
                runtime.shutdown_timeout(RUNTIME_GRACE);
                return Err(error);
            }
        };
        self.id.call(running.keyspace().me());
        let (ready, readiness) = (running.ready(), self.readiness.clone());
        runtime.spawn(async move {
            ready.await;
            readiness.say(Word::Ready);
        });
        *self.state.write() = State::Running(running);
        *runtime_slot = Some(runtime);
        Ok(())
    }

    /// Waits until this node has caught up with at least one peer, or has none. May be called again after a timeout, so
    /// that a caller can wait in slices.
    ///
    /// # Errors
    /// `DEADLINE_EXCEEDED`, `NOT_RUNNING`.
    pub fn wait_ready(&self, timeout: Duration) -> Result<()> {
        self.running()?;
        match self.readiness.wait(timeout) {
            Word::Ready => Ok(()),
            Word::NotYet => Err(Error::deadline("wait_ready", timeout)),
            Word::Stopped => Err(not_running()),
        }
    }

    /// Hands over what connected peers lack, closes everything, ends all threads. Idempotent. Blocks: not for use inside
    /// a tokio runtime. Data that somebody still holds through [`Node::keyspace`] stays readable.
    ///
    /// # Errors
    /// `DEADLINE_EXCEEDED` when it had to be cut short; it is stopped all the same.
    pub fn stop(&self, timeout: Duration) -> Result<()> {
        self.stop_unless(timeout, std::future::pending())
    }

    /// As [`Node::stop`], but cuts it short when `cut_short` ends first, which the calling thread polls: then it ends as by
    /// [`Node::abandon`].
    ///
    /// # Errors
    /// Those of [`Node::stop`].
    pub fn stop_unless(&self, timeout: Duration, cut_short: impl Future<Output = ()>) -> Result<()> {
        let deadline = || Error::deadline("stop", timeout);
        let mut runtime_slot = self.runtime.try_lock_for(timeout).ok_or_else(deadline)?;
        let before = std::mem::replace(&mut *self.state.write(), State::Stopped);
        self.readiness.say(Word::Stopped);
        let (State::Running(running), Some(runtime)) = (before, runtime_slot.take()) else { return Ok(()) };
        // By a thread of the node: this one has to wait for others of its program whenever it polls `cut_short`.
        let closing = running.clone();
        let closed = runtime.spawn(async move { closing.close(timeout).await });
        let close = async {
            tokio::select! {
                // What broke off was not in order.
                in_order = closed => Some(in_order.unwrap_or(false)),
                () = cut_short => None,
            }
        };
        match self.id.speak(|| runtime.block_on(close)) {
            Some(in_order) => {
                drop(running);
                runtime.shutdown_timeout(RUNTIME_GRACE);
                in_order.then_some(()).ok_or_else(deadline)
            }
            None => {
                give_up(runtime, &running);
                Err(deadline())
            }
        }
    }

    /// Ends it as the end of its process would: nothing is handed over, brought to disk or said to anybody. Its port and its
    /// directory are free afterwards. Idempotent. Blocks: not for use inside a tokio runtime.
    pub fn abandon(&self) {
        let mut runtime_slot = self.runtime.lock();
        let before = std::mem::replace(&mut *self.state.write(), State::Stopped);
        self.readiness.say(Word::Stopped);
        let (State::Running(running), Some(runtime)) = (before, runtime_slot.take()) else { return };
        self.id.speak(|| give_up(runtime, &running));
    }

    /// Whether it was started and not stopped.
    pub fn is_running(&self) -> bool {
        self.running().is_ok()
    }

    /// This incarnation; `None`: its directory says, once it is open.
    pub fn id(&self) -> Option<NodeId> {
        self.id.name()
    }

    /// The address by which others reach it; `None` before the start when the port is picked, and after a stop.
    pub fn address(&self) -> Option<Address> {
        if let Ok(running) = self.running() {
            return Some(running.address().clone());
        }
        let configured = || Address::new(&self.config.host, self.config.port).ok();
        self.config.advertise.clone().or_else(configured)
    }

    /// The port it listens on, which an advertised address need not name; the configured one (0: any) unless it runs.
    pub fn port(&self) -> u16 {
        self.running().map_or(self.config.port, |running| running.port())
    }

    /// The data. Cheap, but meant to be kept for a hot path.
    ///
    /// # Errors
    /// `NOT_RUNNING`.
    pub fn keyspace(&self) -> Result<Arc<Eventual>> {
        Ok(self.running()?.keyspace().clone())
    }

    /// The strong keyspaces, for callers in this process.
    ///
    /// # Errors
    /// `NOT_RUNNING`.
    pub fn strong(&self) -> Result<Arc<dyn StrongBackend>> {
        let running = self.running()?;
        Ok(Backend::new(running.group().clone(), running.keyspace().clone()))
    }

    /// The runtime it runs on, for what follows its data. Ends with the node.
    ///
    /// # Errors
    /// `NOT_RUNNING`.
    pub fn runtime(&self) -> Result<tokio::runtime::Handle> {
        Ok(self.running()?.runtime().clone())
    }

    /// Asks the group which keyspaces there are: afterwards the data knows all that were made before the call. To be polled on
    /// [`Node::runtime`].
    ///
    /// # Errors
    /// `NOT_RUNNING`; later also `NO_LEADER`, `DEADLINE_EXCEEDED`.
    pub fn refresh_spaces(&self) -> Result<impl Future<Output = Result<()>> + Send + 'static> {
        let running = self.running()?;
        Ok(async move { spaces::refresh(running.keyspace(), running.group()).await })
    }

    /// How it is, without I/O. `digests` reads every record.
    ///
    /// # Errors
    /// `NOT_RUNNING`.
    pub fn status(&self, digests: bool) -> Result<NodeStatus> {
        Ok(self.running()?.status(digests))
    }

    /// The members it knows, itself first.
    ///
    /// # Errors
    /// `NOT_RUNNING`.
    pub fn members(&self) -> Result<Vec<MemberStatus>> {
        Ok(self.running()?.members())
    }

    /// Writes everything that it holds to a file of this machine, while reads and writes go on; the bytes of the file,
    /// which is there whole or not at all. Blocks: not for use inside a tokio runtime. After a deadline it goes on.
    ///
    /// # Errors
    /// `DISK_FULL`, `DISK_FAILED`, `BAD_SETTING` for a path without a file name, `NOT_RUNNING`, `DEADLINE_EXCEEDED`.
    pub fn snapshot(&self, path: PathBuf, timeout: Duration) -> Result<u64> {
        self.ask("snapshot", timeout, move |running| async move { running.snapshot(path).await })?
    }

    /// Removes a member for good: it no longer counts, and nobody talks to it again. Blocks: not for use inside a tokio
    /// runtime.
    ///
    /// # Errors
    /// `UNKNOWN_MEMBER`; `MEMBER_UP` when it is up, unless `force`; `INVALID_ARGUMENT` for this node; `NOT_RUNNING`.
    pub fn remove_member(&self, node: NodeId, force: bool) -> Result<()> {
        let running = self.running()?;
        let runtime = self.runtime.lock().as_ref().map(|runtime| runtime.handle().clone()).ok_or_else(not_running)?;
        runtime.block_on(running.remove_member(node, force))
    }

    /// Does something on the runtime of the node, and waits for it.
    fn ask<T, F>(&self, name: &str, timeout: Duration, ask: impl FnOnce(Arc<Running>) -> F) -> Result<T>
    where
        T: Send + 'static,
        F: Future<Output = T> + Send + 'static,
    {
        let asked = ask(self.running()?);
        let (sender, answer) = mpsc::sync_channel(1);
        // Held for no longer than the task takes to start: a stop must not wait for members that keep silent.
        let runtime = self.runtime.lock();
        runtime.as_ref().ok_or_else(not_running)?.spawn(async move {
            // A caller that has given up wants no answer.
            drop(sender.send(asked.await));
        });
        drop(runtime);
        answer.recv_timeout(timeout).map_err(|error| match error {
            RecvTimeoutError::Timeout => Error::deadline(name, timeout),
            RecvTimeoutError::Disconnected => not_running(),
        })
    }

    /// What runs. It is to be let go of soon: a stop does not wait for it.
    ///
    /// # Errors
    /// `NOT_RUNNING`.
    pub fn running(&self) -> Result<Arc<Running>> {
        match &*self.state.read() {
            State::Running(running) => Ok(running.clone()),
            State::New | State::Stopped => Err(not_running()),
        }
    }
}

/// A node that was never stopped leaves without a word to its peers, and does not wait.
impl Drop for Node {
    fn drop(&mut self) {
        if let Some(runtime) = self.runtime.get_mut().take() {
            runtime.shutdown_background();
        }
    }
}

/// Ends what runs, then gives up what is open on disk.
fn give_up(runtime: Runtime, running: &Running) {
    runtime.shutdown_timeout(RUNTIME_GRACE);
    // Of its own: what ran on the other must not run while the disk is given up.
    match Builder::new_current_thread().build() {
        Ok(last) => last.block_on(running.abandon()),
        Err(error) => tracing::error!(%error, "the directory of a node that was given up is not free yet"),
    }
}

fn not_running() -> Error {
    Error::new(ErrorCode::NotRunning, "the node is not running")
}

fn build_runtime(threads: usize, speaker: Speaker) -> Result<Runtime> {
    let mut builder = Builder::new_multi_thread();
    if threads > 0 {
        builder.worker_threads(threads);
    } else {
        // Three nodes with two threads each on two cores made an in-process put half as fast as with one.
        let cores = std::thread::available_parallelism().map_or(1, |cores| cores.get());
        builder.worker_threads(cores.div_ceil(2));
    }
    let builder = builder.thread_name("kvstore-node").max_blocking_threads(BLOCKING_THREADS_MAX).enable_all();
    builder.on_thread_start(move || speaker.begin());
    builder.build().map_err(|error| Error::new(ErrorCode::Internal, format!("no threads for the node: {error}")))
}

#[cfg(test)]
mod tests;
