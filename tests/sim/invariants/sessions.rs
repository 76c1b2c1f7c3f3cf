//! EV-7 A session keeps its four guarantees at whatever node answers (Terry et al., "Session Guarantees for Weakly
//! Consistent Replicated Data", 1994): a session read shows nothing older than what the session has written or read before,
//! and what it writes is above all of that. When writes went with a node, `SESSION_LOST` says so, and the session goes on
//! without them; it is said of nothing else.
//!
//! A miss is known only by the version that the node held when it was asked: the answer to a miss tells none. Versions may
//! stay below what a session has seen where clocks jump (`CLOCK_SKEW`), so that half is judged in runs with good clocks.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kvstore::{
    node::Running,
    types::{NodeId, ReadLevel},
};

use super::{Invariant, Reopening, Verdict};
use crate::{
    cluster::Hosts,
    history::{History, Outcome, Read, Write},
};

pub struct Sessions {
    hosts: Arc<Hosts>,
    /// The version that each session knows of each key.
    known: BTreeMap<(usize, String), u64>,
    /// The greatest version that each session has seen.
    greatest: BTreeMap<usize, u64>,
    /// What that was when its last call began. (A read of a call that lost its connection is sent again, and may be answered
    /// after the writes of the call; so the operations of one call have no order.)
    before: BTreeMap<usize, (Duration, u64)>,
    /// Who answered each session last.
    at: BTreeMap<usize, NodeId>,
    moves: u64,
    losses: u64,
    checked: u64,
    /// What sessions had read and a crash took back.
    taken_back: u64,
}

impl Sessions {
    pub fn new(hosts: Arc<Hosts>) -> Sessions {
        let (known, greatest, before, at) = Default::default();
        Sessions { hosts, known, greatest, before, at, moves: 0, losses: 0, checked: 0, taken_back: 0 }
    }

    fn see(&mut self, session: usize, key: &str, version: u64) {
        let known = self.known.entry((session, key.to_string())).or_default();
        *known = version.max(*known);
        let greatest = self.greatest.entry(session).or_default();
        *greatest = version.max(*greatest);
    }

    /// What the session had seen when this call began.
    fn before(&mut self, session: usize, asked: Duration) -> u64 {
        let greatest = self.greatest.get(&session).copied().unwrap_or(0);
        let before = self.before.entry(session).or_insert((asked, greatest));
        if before.0 < asked {
            *before = (asked, greatest);
        }
        before.1
    }

    fn follow(&mut self, session: usize, by: Option<NodeId>) {
        let Some(by) = by else { return };
        let before = self.at.insert(session, by);
        self.moves += u64::from(before.is_some_and(|before| before != by) && self.greatest.contains_key(&session));
    }
}

impl Invariant for Sessions {
    fn name(&self) -> &'static str {
        "EV-7 session"
    }

    fn on_write(&mut self, write: &Write, _history: &History) -> Verdict {
        let Outcome::Acked { version, by } = write.outcome else { return Ok(()) };
        let greatest = self.before(write.session, write.asked);
        self.follow(write.session, by);
        self.see(write.session, &write.key, version);
        if version <= greatest && !self.hosts.has_clock_faults {
            return Err(format!("{write:?} after the session has seen version {greatest}"));
        }
        Ok(())
    }

    fn on_read(&mut self, read: &Read, history: &History) -> Verdict {
        if read.level != ReadLevel::Session {
            return Ok(());
        }
        self.checked += 1;
        self.before(read.session, read.asked);
        self.follow(read.session, read.by);
        let known = self.known.get(&(read.session, read.key.clone())).copied().unwrap_or(0);
        let known = known.max(read.held.unwrap_or(0));
        let is_good = match &read.found {
            Some((version, _)) => *version >= known,
            None => known == 0 || history.may_be_absent(&read.key, known),
        };
        let shown = read.found.as_ref().map_or(0, |(version, _)| *version);
        self.see(read.session, &read.key, shown.max(known));
        if is_good {
            return Ok(());
        }
        Err(format!("{read:?} although the session knows version {known}"))
    }

    /// A read may show what is not on the disk of its node yet. When a crash takes it back, the session knows more than there is.
    fn on_opened(&mut self, reopening: &Reopening<'_>, _history: &History) -> Verdict {
        for (_, made) in reopening.lost {
            let before = self.known.len();
            let version = made.record.timestamp.0;
            self.known.retain(|(_, key), known| *key != made.key || *known != version);
            self.taken_back += (before - self.known.len()) as u64;
        }
        Ok(())
    }

    fn on_session_lost(&mut self, session: usize, by: Option<&Running>, history: &History) -> Verdict {
        self.losses += 1;
        let live = self.hosts.live();
        self.known.retain(|(of, key), version| {
            let mut makers = history.chronicle.at(key, *version);
            let is_everywhere =
                |(partition, dot)| live.iter().all(|node| node.keyspace().vector(partition).covers(dot));
            let is_lost = history.chronicle.lost_at(key, *version).next().is_some();
            *of != session || (!is_lost && makers.all(|(name, _)| is_everywhere(name)))
        });
        let Some(by) = by else { return Ok(()) };
        let is_cut = self.hosts.was_cut_lately() || history.removed.contains(&by.keyspace().me());
        if is_cut || history.chronicle.lacks_of(by.keyspace(), |node| history.is_gone(node)) {
            return Ok(());
        }
        Err(format!(
            "session {session} is told of a loss by {}, which has all that the dead ever wrote",
            by.keyspace().me()
        ))
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("session reads checked", self.checked),
            ("sessions moved", self.moves),
            ("sessions told of a loss", self.losses),
            ("session reads excused: a crash took back what they showed", self.taken_back),
        ]
    }
}
