//! LE-1, LE-2, LE-3: a lease ends when its time is over and not before, by the present leader, and a change of leader neither
//! shortens nor prolongs it. Kept beside the machine, from the entries alone.

use std::{collections::BTreeMap, time::Duration};

use kvstore::replication::strong::{Answer, Command, LeaseId, Machine};

#[derive(Clone, Copy)]
struct Granted {
    ttl_ms: u64,
    /// In the time that passes under leaders.
    deadline_ms: u64,
}

#[derive(Default)]
pub struct Leases {
    term: u64,
    shown_ms: u64,
    elapsed_ms: u64,
    granted: BTreeMap<LeaseId, Granted>,
    /// When a lease ended because its time was over.
    expired: BTreeMap<LeaseId, Duration>,
    last: LeaseId,
}

impl Leases {
    /// Time as an entry shows it: what passes between two entries of one term, by the clock of its leader.
    pub fn observe(&mut self, term: u64, time_ms: u64) {
        if term == self.term {
            self.elapsed_ms += time_ms.saturating_sub(self.shown_ms);
            self.shown_ms = self.shown_ms.max(time_ms);
        } else {
            (self.term, self.shown_ms) = (term, time_ms);
        }
    }

    /// Takes note of what was answered to a request that is not a retry.
    pub fn note(&mut self, command: &Command, answer: &Answer) -> Result<(), String> {
        match (command, answer) {
            (Command::Grant { ttl_ms }, Answer::Leased { lease, .. }) => {
                if *lease <= self.last {
                    return Err(format!("LE-2 the id of a lease is used once: {lease} after {}", self.last));
                }
                self.last = *lease;
                self.granted.insert(*lease, Granted { ttl_ms: *ttl_ms, deadline_ms: self.elapsed_ms + ttl_ms });
            }
            (Command::KeepAlive { lease }, Answer::Leased { .. }) => match self.granted.get_mut(lease) {
                Some(granted) => granted.deadline_ms = self.elapsed_ms + granted.ttl_ms,
                None => return Err(format!("LE-2 what has ended is not kept alive: {lease}")),
            },
            (Command::Revoke { lease }, Answer::Revoked) if self.granted.remove(lease).is_none() => {
                return Err(format!("LE-2 what has ended is not revoked: {lease}"));
            }
            _ => {}
        }
        Ok(())
    }

    /// A lease was ended because of its time, as the leader of the first of these terms wanted, in the log of the second.
    pub fn expired(&mut self, lease: LeaseId, (wanted_in, term): (u64, u64)) -> Result<(), String> {
        self.expired.insert(lease, turmoil::sim_elapsed().unwrap_or_default());
        let Some(granted) = self.granted.remove(&lease) else {
            return Err(format!("LE-2 what has ended does not expire: {lease}"));
        };
        if wanted_in != term {
            return Err(format!("LE-2 a former leader ends nothing: {lease}, by the leader of {wanted_in} in {term}"));
        }
        if granted.deadline_ms > self.elapsed_ms {
            let early_ms = granted.deadline_ms - self.elapsed_ms;
            return Err(format!("LE-1 no lease ends before its time: {lease}, {early_ms} ms early"));
        }
        Ok(())
    }

    /// When a lease expired, if it has.
    pub fn expired_at(&self, lease: LeaseId) -> Option<Duration> {
        self.expired.get(&lease).copied()
    }

    /// Leases that have not ended.
    pub fn alive(&self) -> usize {
        self.granted.len()
    }

    /// Whether the machine has the same leases with the same time left.
    pub fn compare(&self, machine: &Machine, elapsed_ms: u64) -> Vec<String> {
        let mut problems = Vec::new();
        if elapsed_ms != self.elapsed_ms {
            problems.push(format!("LE-3 time passes under leaders: {elapsed_ms} ms, not {}", self.elapsed_ms));
        }
        for (lease, granted) in &self.granted {
            let left_ms = granted.deadline_ms.saturating_sub(self.elapsed_ms);
            match machine.lease(*lease) {
                Some(found) if found.remaining_ms == left_ms && found.ttl_ms == granted.ttl_ms => {}
                found => {
                    problems.push(format!("LE-3 a lease keeps its time: {lease} has {left_ms} ms left, not {found:?}"))
                }
            }
        }
        problems
    }
}
