//! One stream to a peer, from the first Hello to the end.

use std::{collections::BTreeMap, time::Duration};

use super::{push::Push, serve::Serves, skew::Skew};
use crate::types::{Address, Member, PartitionId, PartitionPosition, VersionVector};

/// A stream, and how far the two have come on it.
pub(super) struct Session {
    /// The address we dialled; `None`: the peer dialled us.
    pub(super) dialled: Option<Address>,
    pub(super) opened: Duration,
    /// When the last message came.
    pub(super) heard: Duration,
    /// The version of the membership that the peer was told last.
    pub(super) told: u64,
    pub(super) phase: Phase,
}

/// A session begins with greetings; most become links.
pub(super) enum Phase {
    /// The peer has not said Hello yet.
    Greeting,
    /// The two do not fit together. The side that dialled closes; the other waits for that, so that its own Hello
    /// arrives and tells the reason.
    Refused,
    /// They replicate to each other.
    Linked(Box<Link>),
}

/// What two nodes that replicate to each other keep.
pub(super) struct Link {
    pub(super) peer: Member,
    /// When the link began: milliseconds since the Unix epoch. Earlier writes do not count as lagging.
    pub(super) began_ms: u64,
    pub(super) push: Push,
    pub(super) serves: Serves,
    /// Where the peer last said it stands.
    pub(super) positions: BTreeMap<PartitionId, PartitionPosition>,
    /// Where it stood at first: once we cover this, we have caught up with it.
    pub(super) goal: Option<Vec<(PartitionId, VersionVector)>>,
    /// No state is asked of it before: it let us wait in vain.
    pub(super) ask_after: Duration,
    /// How its clock and ours differ.
    pub(super) skew: Skew,
    /// Partitions in which it last stood where we stand, with another digest: its digest and ours.
    pub(super) suspects: BTreeMap<PartitionId, (VersionVector, u64, u64)>,
}

impl Session {
    /// A stream on which nothing was said.
    pub(super) fn new(now: Duration, dialled: Option<Address>, told: u64) -> Session {
        Session { dialled, opened: now, heard: now, told, phase: Phase::Greeting }
    }

    /// The link, if it has come to that.
    pub(super) fn link(&self) -> Option<&Link> {
        match &self.phase {
            Phase::Linked(link) => Some(link),
            Phase::Greeting | Phase::Refused => None,
        }
    }

    /// As [`Session::link`].
    pub(super) fn link_mut(&mut self) -> Option<&mut Link> {
        match &mut self.phase {
            Phase::Linked(link) => Some(link),
            Phase::Greeting | Phase::Refused => None,
        }
    }
}

impl Link {
    /// A link on which only the Hellos were exchanged.
    pub(super) fn new(peer: Member, began_ms: u64) -> Link {
        Link {
            peer,
            began_ms,
            push: Push::new(),
            serves: Serves::default(),
            positions: BTreeMap::new(),
            goal: None,
            ask_after: Duration::ZERO,
            skew: Skew::default(),
            suspects: BTreeMap::new(),
        }
    }
}
