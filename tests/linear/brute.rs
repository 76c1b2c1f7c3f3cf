//! The dumb twin of the search: every order that the times allow, every version that a write could have made, with no
//! memory of what was tried. For histories of a handful of operations.

use std::collections::BTreeMap;

use super::linear::{Action, Change, ConflictFound, Found, Guard, Operation, Outcome, Write};

#[derive(Clone, Default)]
struct Store {
    items: BTreeMap<String, (i64, u64)>,
    /// The version of the last write of each key, deletes too.
    last: BTreeMap<String, u64>,
}

/// Whether some order explains every answer.
pub fn is_linearizable(history: &[Operation]) -> bool {
    let counts = |operation: &&Operation| match operation.outcome {
        Outcome::Done { .. } | Outcome::Conflict { .. } => true,
        Outcome::Unknown => matches!(operation.action, Action::Transact { .. }),
        Outcome::Refused => false,
    };
    let left: Vec<&Operation> = history.iter().filter(counts).collect();
    let highest = history.iter().flat_map(versions).max().unwrap_or(0);
    is_explained(&left, &Store::default(), highest)
}

fn is_explained(left: &[&Operation], store: &Store, highest: u64) -> bool {
    if left.iter().all(|operation| operation.outcome == Outcome::Unknown) {
        return true;
    }
    (0..left.len()).any(|next| {
        let is_after = |other: &&Operation| back(other) < left[next].called;
        if left.iter().any(is_after) {
            return false;
        }
        let mut rest = left.to_vec();
        rest.remove(next);
        store.after(left[next], highest).iter().any(|store| is_explained(&rest, store, highest))
    })
}

fn back(operation: &Operation) -> u64 {
    if operation.outcome == Outcome::Unknown {
        return u64::MAX;
    }
    operation.returned.expect("what was answered has returned")
}

/// Every version that anybody names.
fn versions(operation: &Operation) -> Vec<u64> {
    let mut named = Vec::new();
    match operation.outcome {
        Outcome::Done { version } => named.extend(version),
        Outcome::Conflict { found: ConflictFound::Version(version), .. } => named.push(version),
        Outcome::Conflict { .. } | Outcome::Refused | Outcome::Unknown => {}
    }
    match &operation.action {
        Action::Read(readings) => named.extend(readings.iter().filter_map(|reading| reading.found?.version)),
        Action::Transact { guards, .. } => named.extend(guards.iter().filter_map(|guard| match guard {
            Guard::Version { version, .. } => Some(*version),
            Guard::Absent { .. } | Guard::Present { .. } => None,
        })),
    }
    named
}

impl Store {
    /// Every state that the operation may leave; none if it cannot be next.
    fn after(&self, operation: &Operation, highest: u64) -> Vec<Store> {
        match (&operation.action, operation.outcome) {
            (Action::Read(readings), _) => {
                let is_so = readings.iter().all(|reading| self.shows(&reading.key, reading.found));
                Vec::from_iter(is_so.then(|| self.clone()))
            }
            (Action::Transact { guards, .. }, Outcome::Conflict { guard, found }) => {
                let key = guards[guard].key();
                let item = self.items.get(key);
                let is_told = match found {
                    ConflictFound::NotTold => true,
                    ConflictFound::Absent => item.is_none(),
                    ConflictFound::Version(version) => item.is_some_and(|item| item.1 == version),
                };
                Vec::from_iter((is_told && !self.holds(&guards[guard])).then(|| self.clone()))
            }
            (Action::Transact { guards, writes }, outcome) => {
                if !guards.iter().all(|guard| self.holds(guard)) {
                    return Vec::new();
                }
                let version = if let Outcome::Done { version } = outcome { version } else { None };
                self.written(writes, version, highest)
            }
        }
    }

    fn shows(&self, key: &str, found: Option<Found>) -> bool {
        match (found, self.items.get(key)) {
            (None, None) => true,
            (Some(found), Some(item)) => found.value == item.0 && found.version.is_none_or(|told| told == item.1),
            _ => false,
        }
    }

    fn holds(&self, guard: &Guard<String>) -> bool {
        let item = self.items.get(guard.key());
        match guard {
            Guard::Version { version, .. } => item.is_some_and(|item| item.1 == *version),
            Guard::Absent { .. } => item.is_none(),
            Guard::Present { .. } => item.is_some(),
        }
    }

    fn written(&self, writes: &[Write<String>], version: Option<u64>, highest: u64) -> Vec<Store> {
        let mut values: BTreeMap<String, i64> = self.items.iter().map(|(key, item)| (key.clone(), item.0)).collect();
        for write in writes {
            if write.existed.is_some_and(|existed| existed != values.contains_key(&write.key)) {
                return Vec::new();
            }
            match write.change {
                Change::Put(value) => drop(values.insert(write.key.clone(), value)),
                Change::Delete => drop(values.remove(&write.key)),
                Change::Increment { by, initial, sum } => {
                    let total = values.get(&write.key).unwrap_or(&initial) + by;
                    if sum.is_some_and(|sum| sum != total) {
                        return Vec::new();
                    }
                    values.insert(write.key.clone(), total);
                }
            }
        }
        let mut changed: Vec<&String> = writes.iter().map(|write| &write.key).collect();
        changed.sort();
        changed.dedup();
        changed.retain(|key| self.items.contains_key(*key) || values.contains_key(*key));
        if changed.is_empty() && version.is_some() {
            return Vec::new();
        }
        let mut stores = vec![self.clone()];
        for key in changed {
            stores = stores.iter().flat_map(|store| store.set(key, values.get(key), version, highest)).collect();
        }
        stores
    }

    /// The key with its new value, once for each version that the write may have made.
    fn set(&self, key: &str, value: Option<&i64>, version: Option<u64>, highest: u64) -> Vec<Store> {
        let last = self.last.get(key).copied().unwrap_or(0);
        let versions: Vec<u64> = match version {
            Some(version) => Vec::from_iter((version > last).then_some(version)),
            // Nobody can tell apart those beyond the highest that is named.
            None => (last + 1..=highest).chain([last.max(highest) + 1]).collect(),
        };
        let with = |version| {
            let mut store = self.clone();
            store.last.insert(key.to_string(), version);
            match value {
                Some(value) => drop(store.items.insert(key.to_string(), (*value, version))),
                None => drop(store.items.remove(key)),
            }
            store
        };
        versions.into_iter().map(with).collect()
    }
}
