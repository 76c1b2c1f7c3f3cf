//! A watch of an eventual keyspace: from the pages that a node tells to events, each with its position.

use std::{collections::VecDeque, sync::Arc};

use parking_lot::Mutex;

use super::{Place, Source, Told};
use crate::{
    client::{Wake, Watch},
    error::Result,
    types::{
        Dot, PartitionId, VersionVector, WatchChange, WatchEvent, WatchFilter, WatchPage, WatchPosition, WatchRequest,
        WatchStart,
    },
    wire::kv::encode_position,
};

/// What is known of a watch under way.
pub(super) struct Eventual {
    watch: Watch,
    keyspace: Arc<str>,
    filter: WatchFilter,
    state: Mutex<State>,
}

struct State {
    is_begun: bool,
    /// After the last event that was handed out.
    position: WatchPosition,
    /// Of the last page, those that were not handed out.
    events: VecDeque<(WatchEvent, usize)>,
    trail: Arc<Trail>,
    /// Reached once the events are handed out.
    marks: Vec<(PartitionId, VersionVector)>,
}

/// From where the events of a page lead where: the positions are made when somebody asks for one.
pub(super) struct Trail {
    keyspace: Arc<str>,
    filter: WatchFilter,
    base: WatchPosition,
    dots: Vec<(PartitionId, Dot)>,
}

impl Trail {
    pub(super) fn position(&self, place: usize) -> Vec<u8> {
        let mut position = self.base.clone();
        self.dots.iter().take(place + 1).for_each(|&(partition, dot)| position.pass(partition, dot));
        encode_position(&self.keyspace, &self.filter, &position)
    }
}

impl Eventual {
    /// A watch that `open` begins.
    ///
    /// # Errors
    /// Those of `open`.
    pub(super) fn open(
        keyspace: String,
        request: WatchRequest,
        open: impl FnOnce(WatchRequest) -> Result<Watch>,
    ) -> Result<Eventual> {
        let keyspace: Arc<str> = keyspace.into();
        let position = match &request.start {
            WatchStart::Now | WatchStart::Initial => WatchPosition::new(),
            WatchStart::After(position) | WatchStart::InitialAfter(position) => position.clone(),
        };
        let filter = request.filter.clone();
        let trail =
            Trail { keyspace: keyspace.clone(), filter: filter.clone(), base: WatchPosition::new(), dots: Vec::new() };
        let is_begun = !matches!(request.start, WatchStart::Now);
        let state = State { is_begun, position, events: VecDeque::new(), trail: Arc::new(trail), marks: Vec::new() };
        Ok(Eventual { watch: open(request)?, keyspace, filter, state: Mutex::new(state) })
    }
}

impl Source for Eventual {
    fn on_change(&self, wake: Wake) {
        self.watch.on_change(wake);
    }

    fn pop(&self) -> Result<Option<Told>> {
        let mut state = self.state.lock();
        state.fill((&self.keyspace, &self.filter), &self.watch)?;
        let Some((event, place)) = state.events.pop_front() else { return Ok(None) };
        state.position.pass(event.partition, event.dot);
        if state.events.is_empty() {
            state.reach_marks();
        }
        Ok(Some(told(event, Place::Trail(state.trail.clone(), place))))
    }

    fn is_begun(&self) -> Result<bool> {
        let mut state = self.state.lock();
        state.fill((&self.keyspace, &self.filter), &self.watch)?;
        Ok(state.is_begun)
    }

    fn position(&self) -> Vec<u8> {
        encode_position(&self.keyspace, &self.filter, &self.state.lock().position)
    }

    fn is_inside(&self) -> bool {
        false
    }

    fn cancel(&self) {
        self.watch.cancel();
        let mut state = self.state.lock();
        state.marks.clear();
        let untold = std::mem::take(&mut state.events);
        drop(state);
        drop(untold);
    }
}

fn told(event: WatchEvent, place: Place) -> Told {
    let (key, version) = (bytes::Bytes::copy_from_slice(event.key()), event.version().0);
    let (kind, entry) = match event.change {
        WatchChange::Put(entry) => ("put", Some(entry)),
        WatchChange::Delete { .. } => ("delete", None),
        WatchChange::Expire { .. } => ("expire", None),
    };
    Told { kind, key, version, entry, previous: None, revision: None, initial: event.is_initial, place }
}

impl State {
    /// Takes pages until one has events, or there is none.
    fn fill(&mut self, (keyspace, filter): (&Arc<str>, &WatchFilter), watch: &Watch) -> Result<()> {
        while self.events.is_empty() {
            let Some(WatchPage { events, marks, is_initial_done: _ }) = watch.take()? else { return Ok(()) };
            self.is_begun = true;
            let dots = events.iter().map(|event| (event.partition, event.dot)).collect();
            let (keyspace, filter) = (keyspace.clone(), filter.clone());
            self.trail = Arc::new(Trail { keyspace, filter, base: self.position.clone(), dots });
            self.events = events.into_iter().zip(0..).collect();
            self.marks = marks;
            if self.events.is_empty() {
                self.reach_marks();
            }
        }
        Ok(())
    }

    fn reach_marks(&mut self) {
        for (partition, vector) in std::mem::take(&mut self.marks) {
            self.position.reach(partition, &vector);
        }
    }
}
