//! Whose thread this is, for what it reports: several nodes may run in one process.

use std::{
    cell::RefCell,
    sync::{Arc, OnceLock},
};

use crate::types::NodeId;

thread_local! {
    static SPEAKER: RefCell<Option<Speaker>> = const { RefCell::new(None) };
}

/// The name of a node, which its threads carry. It may be found out after they have begun.
#[derive(Clone, Debug, Default)]
pub struct Speaker(Arc<OnceLock<NodeId>>);

impl Speaker {
    /// That of the thread which asks; `None`: it belongs to no node, or nobody knows the node's name yet.
    pub fn of_thread() -> Option<NodeId> {
        // A thread that is ending has forgotten it.
        SPEAKER.try_with(|speaker| speaker.borrow().as_ref().and_then(Speaker::name)).unwrap_or_default()
    }

    /// What a thread that this one makes has to carry.
    pub(super) fn inherited() -> Option<Speaker> {
        SPEAKER.with(|speaker| speaker.borrow().clone())
    }

    /// The name, once it is known.
    pub fn name(&self) -> Option<NodeId> {
        self.0.get().copied()
    }

    /// The first name that is said stays.
    pub fn call(&self, name: NodeId) {
        self.0.get_or_init(|| name);
    }

    /// This thread carries it until it ends.
    pub fn begin(&self) {
        SPEAKER.with(|speaker| *speaker.borrow_mut() = Some(self.clone()));
    }

    /// This thread carries it while it does something.
    pub fn speak<T>(&self, run: impl FnOnce() -> T) -> T {
        /// Gives the thread back, also when it panics.
        struct Before(Option<Speaker>);
        impl Drop for Before {
            fn drop(&mut self) {
                SPEAKER.with(|speaker| *speaker.borrow_mut() = self.0.take());
            }
        }
        let _before = Before(SPEAKER.with(|speaker| speaker.borrow_mut().replace(self.clone())));
        run()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_thread_carries_the_name_it_was_given_and_gives_it_back() {
        assert_eq!(Speaker::of_thread(), None);
        let (outer, inner) = (Speaker::default(), Speaker::default());
        inner.call(NodeId(2));
        outer.speak(|| {
            assert_eq!(Speaker::of_thread(), None, "nobody knows its name yet");
            outer.call(NodeId(1));
            outer.call(NodeId(7));
            assert_eq!(Speaker::of_thread(), Some(NodeId(1)), "the first name stays");
            inner.speak(|| assert_eq!(Speaker::of_thread(), Some(NodeId(2))));
            assert_eq!(Speaker::of_thread(), Some(NodeId(1)));
        });
        assert_eq!(Speaker::of_thread(), None);
    }
}
