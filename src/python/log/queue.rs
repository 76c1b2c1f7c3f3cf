//! Records on their way to Python's `logging`. Threads of nodes and clients put them in and go on; a thread of Python takes them
//! out. Neither waits for the other: what finds no place is counted, and that is told.
//!
//! In a forked child the lock of the queue may be held for ever, by a thread that is not there. So each process has a queue of its
//! own, behind that of its parent, and a child that wants none gets nothing.

use std::{collections::VecDeque, mem, sync::OnceLock, time::Duration};

use parking_lot::{Condvar, Mutex};

use crate::{limits::LOG_RECORDS_MAX, python::runtime::generation};

/// What is told once.
#[derive(Debug)]
pub(super) struct Record {
    /// As `logging` counts them.
    pub(super) level: u8,
    /// What comes after `kvstore.` in the name of the logger.
    pub(super) part: &'static str,
    pub(super) message: String,
    /// Where in the source.
    pub(super) file: &'static str,
    pub(super) line: u32,
    /// Since the Unix epoch.
    pub(super) time_ms: u64,
    /// Which node of this process; `None`: it is about a client, or the node has no name yet.
    pub(super) node: Option<String>,
    /// The other side, if there is one.
    pub(super) peer: Option<String>,
    /// Of the strong group.
    pub(super) term: Option<u64>,
}

/// What the thread that takes them gets.
pub(super) struct Taken {
    pub(super) records: VecDeque<Record>,
    /// How many found no place since it was asked last.
    pub(super) dropped: u64,
    /// More may come.
    pub(super) is_open: bool,
}

/// The queue of one process.
#[derive(Default)]
pub(super) struct Queue {
    generation: u32,
    inner: Mutex<Inner>,
    filled: Condvar,
    /// That of a forked child.
    next: OnceLock<Box<Queue>>,
}

#[derive(Default)]
struct Inner {
    records: VecDeque<Record>,
    dropped: u64,
    is_open: bool,
}

static FIRST: OnceLock<Queue> = OnceLock::new();

impl Queue {
    fn new() -> Queue {
        Queue { generation: generation(), ..Queue::default() }
    }

    /// That of this process; `None`: nobody asked for one.
    pub(super) fn of_process() -> Option<&'static Queue> {
        let mut queue = FIRST.get()?;
        while queue.generation != generation() {
            queue = queue.next.get()?;
        }
        Some(queue)
    }

    /// That of this process, made if there is none. To be called with the GIL held, so that no fork comes between.
    fn made() -> &'static Queue {
        let mut queue = FIRST.get_or_init(Queue::new);
        while queue.generation != generation() {
            queue = queue.next.get_or_init(|| Box::new(Queue::new()));
        }
        queue
    }

    /// Opens that of this process, with the GIL held; false: it was open.
    pub(super) fn open() -> bool {
        !mem::replace(&mut Queue::made().inner.lock().is_open, true)
    }

    /// What comes from now on is not taken in.
    pub(super) fn close(&self) {
        self.inner.lock().is_open = false;
        self.filled.notify_all();
    }

    pub(super) fn push(&self, record: Record) {
        let mut inner = self.inner.lock();
        if !inner.is_open {
            return;
        }
        if inner.records.len() >= LOG_RECORDS_MAX {
            inner.dropped += 1;
            return;
        }
        inner.records.push_back(record);
        drop(inner);
        self.filled.notify_one();
    }

    /// All that is there; waits for something for at most `patience`, with the GIL released.
    pub(super) fn take(&self, patience: Duration) -> Taken {
        let mut inner = self.inner.lock();
        if inner.is_open && inner.records.is_empty() {
            self.filled.wait_for(&mut inner, patience);
        }
        let (records, dropped) = (mem::take(&mut inner.records), mem::take(&mut inner.dropped));
        Taken { records, dropped, is_open: inner.is_open }
    }
}
