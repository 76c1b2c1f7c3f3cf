//! What calls need and what they leave, known before the search begins: so that it sees early where an order leads
//! nowhere.

use std::collections::{BTreeMap, BTreeSet};

use super::{search::Call, Action, Change, ConflictFound, Guard, Outcome};

/// A version that a call tells of a key, and whether the call wrote it.
#[derive(Clone, Copy)]
struct Told {
    key: usize,
    version: u64,
    is_written: bool,
}

/// A call that has to come, or one that may, by its place.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Maker {
    Known(usize),
    Unknown(usize),
}

#[derive(Clone, Copy)]
struct Adder {
    maker: Maker,
    by: i64,
    initial: i64,
}

/// Beyond so many sums of adders it is not asked which of them are possible.
const SUMS_MAX: usize = 256;

/// Which calls are not in the order yet.
pub(super) trait Left {
    fn known(&self, call: usize) -> bool;
    fn unknown(&self, call: usize) -> bool;
}

/// Before the search begins.
struct Everything;

impl Left for Everything {
    fn known(&self, _call: usize) -> bool {
        true
    }

    fn unknown(&self, _call: usize) -> bool {
        true
    }
}

pub(super) struct Outlook<'a> {
    known: &'a [Call],
    unknown: &'a [Call],
    /// What each of `known` tells of versions.
    told: Vec<Vec<Told>>,
    /// Which of `known` have to find this value at this key.
    needed: BTreeMap<(usize, Option<i64>), Vec<usize>>,
    /// Who leaves this value at this key.
    makers: BTreeMap<(usize, Option<i64>), Vec<Maker>>,
    /// Who adds to this key without telling the sum.
    adders: BTreeMap<usize, Vec<Adder>>,
}

impl<'a> Outlook<'a> {
    pub(super) fn new(known: &'a [Call], unknown: &'a [Call]) -> Outlook<'a> {
        let mut outlook = Outlook {
            known,
            unknown,
            told: known.iter().map(told).collect(),
            needed: BTreeMap::new(),
            makers: BTreeMap::new(),
            adders: BTreeMap::new(),
        };
        for (at, call) in known.iter().enumerate() {
            outlook.note_makers(call, Maker::Known(at));
            for need in needs(call) {
                outlook.needed.entry(need).or_default().push(at);
            }
        }
        for (at, call) in unknown.iter().enumerate() {
            outlook.note_makers(call, Maker::Unknown(at));
        }
        outlook
    }

    fn note_makers(&mut self, call: &Call, maker: Maker) {
        let Action::Transact { writes, .. } = &call.action else { return };
        for write in writes.iter().filter(|_| !matches!(call.outcome, Outcome::Conflict { .. })) {
            let value = match write.change {
                Change::Put(value) => Some(value),
                Change::Delete => None,
                Change::Increment { sum: Some(sum), .. } => Some(sum),
                Change::Increment { by, initial, sum: None } => {
                    self.adders.entry(write.key).or_default().push(Adder { maker, by, initial });
                    continue;
                }
            };
            self.makers.entry((write.key, value)).or_default().push(maker);
        }
    }

    /// Whether any call names a version.
    pub(super) fn is_versioned(&self) -> bool {
        let names_version = |call: &Call| match &call.action {
            Action::Read(_) => false,
            Action::Transact { guards, .. } => guards.iter().any(|guard| matches!(guard, Guard::Version { .. })),
        };
        self.told.iter().any(|told| !told.is_empty()) || self.known.iter().chain(self.unknown).any(names_version)
    }

    /// The version that a call made, if it told.
    pub(super) fn made(&self, call: usize) -> Option<u64> {
        self.told[call].iter().find(|told| told.is_written).map(|told| told.version)
    }

    /// Whether one of the others, which have to come too, tells an older version of a key that this one writes.
    pub(super) fn is_too_early(&self, call: usize, others: &[usize]) -> bool {
        let mut written = self.told[call].iter().filter(|told| told.is_written);
        written.any(|own| {
            let is_older = |told: &Told| told.key == own.key && told.version < own.version;
            others.iter().any(|&other| other != call && self.told[other].iter().any(is_older))
        })
    }

    /// Whether a key that had the value before, and has another one now, had it to keep for a call that is left,
    /// because nobody who is left brings it back in time.
    pub(super) fn is_lost(&self, key: usize, before: Option<i64>, after: Option<i64>, left: &impl Left) -> bool {
        let Some(needed) = self.needed.get(&(key, before)) else { return false };
        let is_lost = |&&call: &&usize| left.known(call) && !self.can_be(key, before, after, (call, left));
        before != after && needed.iter().any(|call| is_lost(&call))
    }

    /// The first to return of the calls that have to find what nobody ever leaves in time.
    pub(super) fn unexplained(&self) -> Option<usize> {
        let needs = self.needed.iter().filter(|((_, value), _)| value.is_some());
        let calls = needs.flat_map(|(&(key, value), calls)| calls.iter().map(move |&call| (key, value, call)));
        let unexplained = calls.filter(|&(key, value, call)| !self.can_be(key, value, None, (call, &Everything)));
        unexplained.map(|(_, _, call)| call).min_by_key(|&call| self.known[call].returned)
    }

    /// Whether a key that has the value `now` can have the value `wanted` when a call is next.
    fn can_be(&self, key: usize, wanted: Option<i64>, now: Option<i64>, (call, left): (usize, &impl Left)) -> bool {
        let back = self.known[call].returned;
        let is_in_time = |maker: Maker| match maker {
            Maker::Known(at) => at != call && self.known[at].called <= back && left.known(at),
            Maker::Unknown(at) => self.unknown[at].called <= back && left.unknown(at),
        };
        let is_made =
            |value| self.makers.get(&(key, value)).is_some_and(|makers| makers.iter().any(|&maker| is_in_time(maker)));
        if is_made(wanted) {
            return true;
        }
        let (Some(wanted), Some(adders)) = (wanted, self.adders.get(&key)) else { return false };
        let adders: Vec<&Adder> = adders.iter().filter(|adder| is_in_time(adder.maker)).collect();
        let mut sums = BTreeSet::from([0_i64]);
        for adder in &adders {
            let more: Vec<i64> = sums.iter().filter_map(|sum| sum.checked_add(adder.by)).collect();
            sums.extend(more);
            if sums.len() > SUMS_MAX {
                return true;
            }
        }
        let can_be_absent = now.is_none() || is_made(None);
        let can_begin = |base: i64| {
            now == Some(base)
                || is_made(Some(base))
                || can_be_absent && adders.iter().any(|adder| adder.initial == base)
        };
        sums.iter().filter_map(|sum| wanted.checked_sub(*sum)).any(can_begin)
    }
}

/// The versions that an answer tells.
fn told(call: &Call) -> Vec<Told> {
    let read = |key, version| Told { key, version, is_written: false };
    match (&call.action, call.outcome) {
        (Action::Read(readings), _) => {
            let told = readings.iter().filter_map(|reading| Some((reading.key, reading.found?.version?)));
            told.map(|(key, version)| read(key, version)).collect()
        }
        (Action::Transact { guards, .. }, Outcome::Conflict { guard, found: ConflictFound::Version(version) }) => {
            guards.get(guard).map(|guard| read(*guard.key(), version)).into_iter().collect()
        }
        (Action::Transact { writes, .. }, Outcome::Done { version: Some(version) }) => {
            // What is deleted in a transaction of many may not have been there, which writes nothing.
            let deleted = |key| writes.iter().any(|write| write.key == key && write.change == Change::Delete);
            let written = writes.iter().filter(|write| writes.len() == 1 || !deleted(write.key));
            written.map(|write| Told { key: write.key, version, is_written: true }).collect()
        }
        (
            Action::Transact { .. },
            Outcome::Done { .. } | Outcome::Conflict { .. } | Outcome::Refused | Outcome::Unknown,
        ) => Vec::new(),
    }
}

/// The values without which the answer would be wrong; not all of them, where there is a choice.
fn needs(call: &Call) -> Vec<(usize, Option<i64>)> {
    let Action::Transact { guards, writes } = &call.action else {
        let Action::Read(readings) = &call.action else { return Vec::new() };
        return readings.iter().map(|reading| (reading.key, reading.found.map(|found| found.value))).collect();
    };
    if let Outcome::Conflict { guard, found } = call.outcome {
        let guard = guards.get(guard).filter(|_| found == ConflictFound::Absent);
        return guard.map(|guard| (*guard.key(), None)).into_iter().collect();
    }
    let mut needs = Vec::new();
    for guard in guards {
        if let Guard::Absent { key } = guard {
            needs.push((*key, None));
        }
    }
    for (at, write) in writes.iter().enumerate() {
        let is_first = writes[..at].iter().all(|before| before.key != write.key);
        match write.change {
            _ if !is_first => {}
            _ if write.existed == Some(false) => needs.push((write.key, None)),
            Change::Increment { by, initial, sum: Some(sum) } => {
                let before = sum.checked_sub(by).filter(|&before| before != initial || write.existed == Some(true));
                needs.extend(before.map(|before| (write.key, Some(before))));
            }
            Change::Increment { sum: None, .. } | Change::Put(_) | Change::Delete => {}
        }
    }
    needs
}
