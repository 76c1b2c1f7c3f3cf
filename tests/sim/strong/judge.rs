//! What clients were told and how the members look, beside the truth.

use std::{collections::BTreeMap, sync::Arc, time::Duration};

use kvstore::{
    error::{Error, ErrorCode, Result},
    node::Running,
    replication::strong::{
        Answer, Freshness, LeaseId, Place, Read, ReadAnswer, ReadCall, ReadKind, ReadReply, Reply, Revision, Until,
    },
    types::{GroupRole, Key, NodeId},
};
use parking_lot::Mutex;

use super::{history::Seen, truth::Truth};
use crate::{history::Counts, plan::mix};

/// What was acknowledged when a call began: its answer may not be older.
#[derive(Clone, Copy, Debug)]
pub struct Asked {
    revision: Revision,
    index: u64,
}

pub struct Judge {
    pub truth: Arc<Mutex<Truth>>,
    pub counts: Counts,
    /// What is judged without the log.
    pub seen: Seen,
    /// No judge could say whether what was seen is linearizable.
    pub is_undecided: bool,
    /// The newest that was acknowledged.
    acknowledged: (Revision, u64),
    /// Which write was told to have made a revision.
    claimed: BTreeMap<Revision, String>,
    /// Writes that were refused for good, and why.
    refused: Vec<(String, ErrorCode)>,
    unknown: Vec<String>,
    /// Until when a lease was promised to last.
    promised: BTreeMap<LeaseId, Duration>,
    leaders: BTreeMap<u64, NodeId>,
    terms: BTreeMap<NodeId, u64>,
    /// What members are, in which term and under whom.
    roles: BTreeMap<NodeId, (GroupRole, u64, Option<NodeId>)>,
    hash: u64,
}

/// The clock of a leader counts whole milliseconds.
const TICK: Duration = Duration::from_millis(1);

impl Judge {
    pub fn new(truth: Arc<Mutex<Truth>>) -> Judge {
        let (seen, is_undecided, roles) = Default::default();
        let (counts, acknowledged, claimed, refused, unknown, promised, leaders, terms, hash) = Default::default();
        Judge {
            truth,
            counts,
            seen,
            is_undecided,
            roles,
            acknowledged,
            claimed,
            refused,
            unknown,
            promised,
            leaders,
            terms,
            hash,
        }
    }

    /// Puts something into the trace.
    pub fn note(&mut self, now: Duration, text: &str) {
        if std::env::var_os("KVSTORE_SIM_TRACE").is_some() {
            println!("{:10.4} {text}", now.as_secs_f64());
        }
        let numbers = text.bytes().map(u64::from).chain([now.as_nanos() as u64, self.hash]);
        self.hash = mix(&numbers.collect::<Vec<_>>());
    }

    pub fn trace_hash(&self) -> u64 {
        mix(&[self.hash, self.truth.lock().hash])
    }

    pub fn violated(&mut self, now: Duration, text: &str) {
        self.note(now, &format!("VIOLATION {text}"));
        self.truth.lock().violations.push(format!("{:.3} s: {text}", now.as_secs_f64()));
    }

    pub fn count(&mut self, name: &'static str) {
        self.truth.lock().count(name);
    }

    /// A call begins.
    pub fn ask(&self) -> Asked {
        let (revision, index) = self.acknowledged;
        Asked { revision, index }
    }

    fn acknowledge(&mut self, revision: Revision, index: u64) {
        self.acknowledged = (self.acknowledged.0.max(revision), self.acknowledged.1.max(index));
    }

    /// A write that has a tag was answered.
    pub fn wrote(&mut self, now: Duration, asked: Asked, tag: &str, outcome: &Result<Reply>) {
        self.note(now, &format!("{tag} {outcome:?}"));
        let answer = match outcome {
            Ok(Reply::Done(answer)) => answer.clone(),
            Ok(other) => return self.violated(now, &format!("ST-1 {tag} was answered by {other:?}")),
            Err(error) => return self.not_written(asked, now, tag, error),
        };
        self.counts.acked += 1;
        let seen = self.truth.lock().seen(tag).first().cloned();
        let Some(seen) = seen else {
            return self.violated(now, &format!("ST-1 what is acknowledged is in the log: {tag} is not, {answer:?}"));
        };
        if !is_same(&seen.answer, &answer) {
            self.violated(now, &format!("ST-1 an answer is that of the log: {tag}, {answer:?}, not {:?}", seen.answer));
        }
        let revision = match answer {
            Answer::Written { revision, .. } => revision,
            Answer::Held { token } => Some(token),
            Answer::Proclaimed { revision } => Some(revision),
            _ => None,
        };
        let is_write = matches!(seen.answer, Answer::Written { .. } | Answer::Proclaimed { .. });
        if seen.index < asked.index || (is_write && revision.is_some_and(|revision| revision <= asked.revision)) {
            let text = format!("ST-1 real time: {tag} at {} ({revision:?}) was called after {asked:?}", seen.index);
            self.violated(now, &text);
        }
        if let (true, Some(revision)) = (is_write, revision) {
            if let Some(other) = self.claimed.insert(revision, tag.to_string()).filter(|other| other != tag) {
                self.violated(now, &format!("ST-3 a revision is one write: {revision} is {tag} and {other}"));
            }
        }
        self.acknowledge(revision.unwrap_or_default(), seen.index);
    }

    fn not_written(&mut self, asked: Asked, now: Duration, tag: &str, error: &Error) {
        if error.code() == ErrorCode::Internal || error.code() == ErrorCode::Corrupt {
            self.violated(now, &format!("ST-1 {tag}: {error}"));
        }
        if error.is_maybe_applied() {
            self.counts.unknown += 1;
            return self.unknown.push(tag.to_string());
        }
        self.counts.refused += 1;
        self.refused.push((tag.to_string(), error.code()));
        let seen = self.truth.lock().seen(tag).first().cloned();
        match seen {
            Some(seen) if matches!(seen.answer, Answer::Refused(_)) => {
                if seen.index < asked.index {
                    self.violated(now, &format!("ST-1 real time: {tag} at {} was called after {asked:?}", seen.index));
                }
                self.acknowledge(Revision::ZERO, seen.index);
            }
            Some(_) | None => {}
        }
    }

    /// A change without a tag was answered.
    pub fn changed(&mut self, now: Duration, what: &str, outcome: &Result<Reply>) {
        self.note(now, &format!("{what} {outcome:?}"));
        match outcome {
            Ok(_) => self.counts.acked += 1,
            Err(error) if error.is_maybe_applied() => self.counts.unknown += 1,
            Err(error) if matches!(error.code(), ErrorCode::Internal | ErrorCode::Corrupt) => {
                self.violated(now, &format!("ST-1 {what}: {error}"));
            }
            Err(_) => self.counts.refused += 1,
        }
    }

    /// Reads were answered.
    pub fn read(&mut self, now: Duration, asked: Asked, call: &ReadCall, outcome: &Result<Reply>) {
        self.note(now, &format!("read {:?} {:?} {outcome:?}", call.freshness, call.reads));
        let reply = match outcome {
            Ok(Reply::Read(reply)) => reply,
            Ok(other) => return self.violated(now, &format!("ST-1 reads were answered by {other:?}")),
            Err(error) => {
                self.counts.reads_failed += 1;
                if matches!(error.code(), ErrorCode::Internal | ErrorCode::Corrupt) {
                    self.violated(now, &format!("ST-1 reads: {error}"));
                }
                return;
            }
        };
        self.counts.reads += 1;
        let least = match call.freshness {
            Freshness::Linearizable => asked.revision,
            Freshness::Session(seen) => seen,
            Freshness::Local => Revision::ZERO,
        };
        if reply.revision < least {
            let text =
                format!("ST-1, ST-5 no read is older than what was acknowledged: {} after {least}", reply.revision);
            self.violated(now, &text);
        }
        if call.freshness == Freshness::Linearizable {
            self.count("linearizable reads");
            self.acknowledge(reply.revision, 0);
        }
        let problem = self.compare(call, reply);
        if let Some(problem) = problem {
            self.violated(now, &problem);
        }
    }

    fn compare(&self, call: &ReadCall, reply: &ReadReply) -> Option<String> {
        let truth = self.truth.lock();
        if reply.revision > truth.revision() {
            return Some(format!("ST-1 a read is of the log: {} of {}", reply.revision, truth.revision()));
        }
        if reply.answers.len() != call.reads.len() {
            return Some(format!("ST-1 {} answers to {} reads", reply.answers.len(), call.reads.len()));
        }
        let keyspaces = truth.keyspaces_named(&call.keyspace);
        let is_right = |keyspace: &kvstore::replication::strong::KeyspaceId| {
            call.reads.iter().zip(&reply.answers).all(|(read, answer)| match (&read.kind, answer) {
                (ReadKind::Key { key, .. }, ReadAnswer::Key { item, .. }) => {
                    let place = Place { keyspace: *keyspace, space: read.space, key: key.clone() };
                    let expected = truth.at(&place, reply.revision);
                    let shown = |item: &Arc<kvstore::replication::strong::Item>| (item.value.clone(), item.modified);
                    expected.as_ref().map(shown) == item.as_ref().map(shown)
                }
                (ReadKind::Page { .. }, ReadAnswer::Page { page, .. }) => {
                    let expected = truth.all_at(*keyspace, read.space, reply.revision);
                    let shown = |(key, item): &(Key, Arc<kvstore::replication::strong::Item>)| {
                        (key.clone(), item.value.clone(), item.modified)
                    };
                    !page.more && expected.iter().map(shown).eq(page.items.iter().map(shown))
                }
                _ => false,
            })
        };
        if keyspaces.iter().any(is_right) {
            return None;
        }
        let at = |read: &Read| match &read.kind {
            ReadKind::Key { key, .. } => keyspaces
                .iter()
                .map(|keyspace| {
                    truth.at(&Place { keyspace: *keyspace, space: read.space, key: key.clone() }, reply.revision)
                })
                .collect(),
            _ => Vec::new(),
        };
        let expected: Vec<_> = call.reads.iter().map(at).collect();
        Some(format!("ST-1, ST-4 a read is what was at its revision: {reply:?}, the log has {expected:?}"))
    }

    /// A lease was told to have a lock under a token.
    pub fn holds(&mut self, now: Duration, (place, lease): (Place, LeaseId), token: Revision) {
        self.note(now, &format!("{lease} holds {place:?} under {token}"));
        let item = self.truth.lock().at(&place, token);
        let is_right = item.is_some_and(|item| item.created == token && item.until == Until::Lease(lease));
        if !is_right {
            self.violated(now, &format!("LE-4 a token is that of its holder: {token} of {place:?} for {lease}"));
        }
        self.count("locks held");
    }

    /// A lease was promised to last so long from when it was asked for.
    pub fn promised(&mut self, lease: LeaseId, until: Duration) {
        let promised = self.promised.entry(lease).or_default();
        *promised = until.max(*promised);
    }

    /// Its keeper believes that a lease lasts.
    pub fn believed(&mut self, now: Duration, lease: LeaseId) {
        let expired = self.truth.lock().leases.expired_at(lease);
        if let Some(expired) = expired {
            self.violated(now, &format!("LE-1 who keeps a lease knows that it has ended: {lease}, at {expired:?}"));
        }
    }

    /// Looks at the members: ME-1, PE-3, ST-7.
    pub fn look(&mut self, now: Duration, nodes: &[Arc<Running>], is_ill: impl Fn(&Running) -> bool) {
        for node in nodes {
            let (member, status) = (node.group().member(), node.group().status());
            let (role, term, leader) = (status.role, status.term, status.leader);
            if self.roles.insert(member, (role, term, leader)) != Some((role, term, leader)) {
                self.note(now, &format!("{} {member} is {role:?} in {term} under {leader:?}", node.address()));
            }
            if status.role == GroupRole::Leader {
                let leader = *self.leaders.entry(status.term).or_insert(member);
                if leader != member {
                    self.violated(
                        now,
                        &format!("ME-1 one leader a term: {leader} and {member} in {}: {status:?}", status.term),
                    );
                }
            }
            // What could not be written is not used, but shown.
            let known = self.terms.get(&member).copied().unwrap_or_default();
            let term = if is_ill(node) { known } else { self.terms.insert(member, status.term).unwrap_or_default() };
            if status.term < term {
                self.violated(
                    now,
                    &format!("PE-3 no member forgets a term: {member} is in {} after {term}", status.term),
                );
            }
            let hash = self.truth.lock().hash_at(status.applied_index);
            if status.applied_index > 0 && hash != Some(status.log_hash) {
                let text = format!("ST-7 same log, same state: {member} at {}", status.applied_index);
                self.violated(now, &text);
            }
        }
    }

    /// The last look: what clients were told, once nothing can change any more.
    pub fn finish(&mut self, now: Duration) {
        let mut problems = Vec::new();
        let ordered = self.seen.judge().unwrap_or_else(|problem| {
            self.is_undecided = problem.is_none();
            problems.extend(problem.map(|problem| format!("ST-1, ST-4 linearizable: {problem}")));
            0
        });
        {
            let mut truth = self.truth.lock();
            for (tag, code) in &self.refused {
                let is_written = |seen: &super::truth::Seen| !matches!(seen.answer, Answer::Refused(_));
                if truth.seen(tag).iter().any(is_written) {
                    problems
                        .push(format!("ST-2 a definite error never takes effect: {tag} was told {}", code.as_str()));
                }
            }
            for tag in &self.unknown {
                let is_applied = !truth.seen(tag).is_empty();
                truth.count(if is_applied {
                    "unknown writes found in the log"
                } else {
                    "unknown writes that never were"
                });
            }
            for (lease, promised) in &self.promised {
                let expired = truth.leases.expired_at(*lease);
                if expired.is_some_and(|expired| expired + TICK < *promised) {
                    problems
                        .push(format!("LE-1 no lease ends before its time: {lease} at {expired:?}, not {promised:?}"));
                }
            }
            if truth.leases.alive() > 0 {
                problems.push(format!("LE-1 a lease ends when its time is over: {} have not", truth.leases.alive()));
            }
            let count = self.claimed.len() as u64;
            *truth.tallies.entry("acknowledged writes found in the log").or_default() += count;
            *truth.tallies.entry("operations put into an order without the log").or_default() += ordered;
            *truth.tallies.entry("histories undecided").or_default() += u64::from(self.is_undecided);
            *truth.tallies.entry("leases looked at").or_default() += self.promised.len() as u64;
            *truth.tallies.entry("terms with a leader").or_default() += self.leaders.len() as u64;
        }
        problems.iter().for_each(|problem| self.violated(now, problem));
    }
}

/// Whether an answer that came over the wire is that of the log.
fn is_same(logged: &Answer, told: &Answer) -> bool {
    match (logged, told) {
        // A wait in line ends with the lock, which is told apart.
        (Answer::Queued { .. }, Answer::Queued { .. }) => true,
        _ => logged == told,
    }
}
