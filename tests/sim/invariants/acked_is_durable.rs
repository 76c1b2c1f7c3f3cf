//! PE-1 What a node acknowledged after it was on its disk is there after any crash, of the process, of the machine, of all
//! machines at once; and the node is who it was (docs/durability.md, "What is promised").
//!
//! A node whose disk was damaged is somebody else afterwards, and has to get everything from others; that is EV-1 and EV-2.

use super::{Invariant, Reopening, Verdict};
use crate::history::{held, History, Outcome};

#[derive(Default)]
pub struct AckedIsDurable {
    checked: u64,
    restarts: u64,
    from_snapshots: u64,
    renewed: u64,
    taken_back: u64,
}

impl AckedIsDurable {
    fn check(&mut self, reopening: &Reopening<'_>, history: &History) -> Verdict {
        let me = reopening.me;
        let Some(running) = reopening.running else { return Ok(()) };
        for write in &history.writes {
            let Outcome::Acked { version, by: Some(by) } = write.outcome else { continue };
            if by != me {
                continue;
            }
            self.checked += 1;
            let mut made = history.chronicle.at(&write.key, version).filter(|((_, dot), _)| dot.node == me);
            let is_there = made.any(|((partition, dot), _)| running.keyspace().vector(partition).covers(dot));
            let record = held(running, &write.key);
            let is_kept = match &record {
                Some(record) => (record.timestamp.0, record.dot.node) >= (version, me),
                None => history.may_be_absent(&write.key, version),
            };
            if !is_there || !is_kept {
                return Err(format!("{write:?} was acknowledged, and {me} came back with {record:?}"));
            }
        }
        Ok(())
    }
}

impl Invariant for AckedIsDurable {
    fn name(&self) -> &'static str {
        "PE-1 acknowledged is durable"
    }

    fn on_opened(&mut self, reopening: &Reopening<'_>, history: &History) -> Verdict {
        let (me, opened) = (reopening.me, reopening.opened);
        let Some(former) = opened.former else { return Ok(()) };
        self.restarts += 1;
        self.from_snapshots += u64::from(opened.has_snapshot);
        self.taken_back += reopening.lost.len() as u64;
        if former != me {
            self.renewed += 1;
            return match opened.must_be_former && !opened.is_flipped {
                true => Err(format!("{former} came back as {me}: {opened:?}")),
                false => Ok(()),
            };
        }
        match opened.may_be_former {
            true if opened.must_be_former => self.check(reopening, history),
            true => Ok(()),
            false => Err(format!("{me} broke off without waiting for its disk, and came back under its id")),
        }
    }

    fn tallies(&self) -> Vec<(&'static str, u64)> {
        vec![
            ("restarts from a disk", self.restarts),
            ("restarts from a snapshot and a log", self.from_snapshots),
            ("restarts under a new id", self.renewed),
            ("acknowledged writes found after a restart", self.checked),
            ("writes taken back before they were acknowledged", self.taken_back),
        ]
    }
}
