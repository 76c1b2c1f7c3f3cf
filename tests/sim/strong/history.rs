//! ST-1 and ST-4 once more, from what clients saw alone: the checker of `tests/support/linear` needs neither the log nor
//! revisions. Keys with a lifetime are left out, and reads that may be old.

use std::time::Duration;

use kvstore::{
    error::{ErrorCode, Result},
    replication::strong::{
        Answer, Freshness, Guard, Operation, OperationKind, ReadAnswer, ReadCall, ReadKind, Reply, Space,
    },
    types::Key,
};

use crate::linear::{self, Action, Change, ConflictFound, Found, History, Outcome, Reading, Verdict, Write};

/// Steps for one object: more take longer than a run.
const STEPS_MAX: u64 = 2_000_000;

/// Whether a key has no lifetime, and is read.
fn is_judged(key: &Key) -> bool {
    matches!(key.first(), Some(b'k' | b'n' | b'x'))
}

fn text(key: &Key) -> String {
    String::from_utf8_lossy(key).into_owned()
}

fn nanos(time: Duration) -> u64 {
    u64::try_from(time.as_nanos()).unwrap_or(u64::MAX)
}

/// What clients saw.
#[derive(Default)]
pub struct Seen(History);

impl Seen {
    /// A write to keys of the keyspace that stays.
    pub fn wrote(
        &mut self,
        (called, returned): (Duration, Duration),
        (guards, operations): (&[Guard], &[Operation]),
        outcome: &Result<Reply>,
    ) {
        if !operations.iter().all(|operation| is_judged(&operation.key)) {
            return;
        }
        let guards: Vec<linear::Guard<String>> = guards.iter().filter_map(guard).collect();
        let (outcomes, outcome) = match outcome {
            Ok(Reply::Done(Answer::Written { revision, outcomes })) => {
                (outcomes.clone(), Outcome::Done { version: revision.map(|revision| revision.0) })
            }
            Ok(_) => return,
            Err(error) if error.is_maybe_applied() => (Vec::new(), Outcome::Unknown),
            Err(error) if error.code() == ErrorCode::VersionConflict && guards.len() == 1 => {
                (Vec::new(), Outcome::Conflict { guard: 0, found: ConflictFound::NotTold })
            }
            Err(_) => (Vec::new(), Outcome::Refused),
        };
        let write = |(at, operation): (usize, &Operation)| {
            let told = outcomes.get(at);
            let change = match &operation.kind {
                OperationKind::Put { value, .. } => Change::Put(integer(value)?),
                OperationKind::Delete => Change::Delete,
                OperationKind::Increment { by, initial, .. } => {
                    Change::Increment { by: *by, initial: *initial, sum: told.and_then(|told| told.number) }
                }
                OperationKind::Touch { .. } => return None,
            };
            Some(Write { key: text(&operation.key), change, existed: told.map(|told| told.existed) })
        };
        let writes: Option<Vec<Write<String>>> = operations.iter().enumerate().map(write).collect();
        if let Some(writes) = writes {
            self.push((called, returned), Action::Transact { guards, writes }, outcome, None);
        }
    }

    /// Reads of the keyspace that stays.
    pub fn read(&mut self, times: (Duration, Duration), call: &ReadCall, outcome: &Result<Reply>) {
        let is_key = |kind: &ReadKind| matches!(kind, ReadKind::Key { key, .. } if is_judged(key));
        let is_fit = call.reads.iter().all(|read| read.space == Space::Data && is_key(&read.kind));
        let Ok(Reply::Read(reply)) = outcome else { return };
        if !is_fit || call.freshness != Freshness::Linearizable {
            return;
        }
        let reading = |answer: &ReadAnswer| match answer {
            ReadAnswer::Key { key, item, .. } => {
                let found = |item: &std::sync::Arc<kvstore::replication::strong::Item>| {
                    Some(Found { value: integer(&item.value)?, version: Some(item.modified.0) })
                };
                Some(Reading { key: text(key), found: item.as_ref().and_then(found) })
            }
            _ => None,
        };
        let readings: Option<Vec<Reading<String>>> = reply.answers.iter().map(reading).collect();
        if let Some(readings) = readings {
            self.push(times, Action::Read(readings), Outcome::Done { version: None }, Some(reply.revision.0));
        }
    }

    fn push(
        &mut self,
        (called, returned): (Duration, Duration),
        action: Action<String>,
        outcome: Outcome,
        revision: Option<u64>,
    ) {
        let (called, returned) = (nanos(called), Some(nanos(returned)));
        self.0.push(linear::Operation { client: 0, request: None, called, returned, action, outcome, revision });
    }

    /// How many operations were put into an order; else what is wrong with them, or `None` when nobody can say.
    pub fn judge(&self) -> std::result::Result<u64, Option<String>> {
        let report = linear::check(&self.0, STEPS_MAX);
        match report.verdict {
            Verdict::Linearizable => Ok(report.known as u64),
            Verdict::Undecided => Err(None),
            Verdict::Violated(failure) => {
                let (keys, at) = (failure.keys.join(", "), &self.0[failure.at]);
                Err(Some(format!("no order explains {keys}: {at:?}, before it {:?}", failure.states)))
            }
        }
    }
}

fn guard(guard: &Guard) -> Option<linear::Guard<String>> {
    match guard {
        Guard::Version { key, version } => Some(linear::Guard::Version { key: text(key), version: version.0 }),
        Guard::Absent { key } => Some(linear::Guard::Absent { key: text(key) }),
        Guard::Present { key } => Some(linear::Guard::Present { key: text(key) }),
        Guard::Holds { .. } => None,
    }
}

fn integer(value: &[u8]) -> Option<i64> {
    Some(i64::from_le_bytes(value.try_into().ok()?))
}
