//! A transaction: all guards first, then all operations or none.

use std::{collections::BTreeMap, sync::Arc};

use super::{
    answer::{Answer, Outcome, Refusal},
    entry::{Guard, Lifetime, Operation, OperationKind, Transaction},
    ids::{KeyspaceId, LeaseId, Revision},
    item::{Chain, Item, Place, Space, Until, VersionState},
    state::State,
};
use crate::{
    faults,
    limits::check_ttl_ms,
    types::{Key, Value},
};

/// How the AUTO codec marks an integer: eight bytes, little endian.
const INTEGER_FLAGS: u32 = 2;

/// What a transaction makes of the keys that it writes.
struct Draft<'a> {
    state: &'a State,
    keyspace: KeyspaceId,
    time_ms: u64,
    written: BTreeMap<Key, Option<Arc<Item>>>,
}

/// What one operation leaves: the item, unless it has to be deleted.
type Effect = (Outcome, Option<Arc<Item>>);

impl State {
    pub(super) fn transact(&mut self, time_ms: u64, transaction: &Transaction) -> Result<Answer, Refusal> {
        self.check_keyspace(transaction.keyspace)?;
        if !transaction.is_within_bounds() {
            return Err(Refusal::TooLarge);
        }
        for (at, guard) in transaction.guards.iter().enumerate() {
            self.check_guard(transaction.keyspace, at as u64, guard)?;
        }
        if let [operation] = &transaction.operations[..] {
            return self.transact_one(time_ms, transaction.keyspace, operation);
        }
        let mut draft = Draft { state: self, keyspace: transaction.keyspace, time_ms, written: BTreeMap::new() };
        let mut outcomes = Vec::with_capacity(transaction.operations.len());
        for (at, operation) in transaction.operations.iter().enumerate() {
            outcomes.push(draft.apply(at as u64, operation)?);
        }
        draft.check_leases()?;
        let changes = draft.changes();
        let revision = if changes.is_empty() { None } else { Some(self.commit(time_ms, changes)) };
        Ok(Answer::Written { revision, outcomes })
    }

    /// The rest of a transaction of one operation, as most are: as for many, without the books that those need.
    fn transact_one(&mut self, time_ms: u64, keyspace: KeyspaceId, operation: &Operation) -> Result<Answer, Refusal> {
        let mut draft = Draft { state: self, keyspace, time_ms, written: BTreeMap::new() };
        let place = draft.place(&operation.key);
        let chain = draft.state.chain(&place);
        let (is_known, before) = (chain.is_some(), chain.and_then(Chain::live).cloned());
        let existed = before.is_some();
        let (outcome, after) = draft.effect(0, operation, before)?;
        if after.as_ref().is_some_and(|item| matches!(item.until, Until::Lease(_))) {
            draft.written.insert(operation.key.clone(), after.clone());
            draft.check_leases()?;
        }
        let state = match after {
            Some(item) => Some(VersionState::Live(item)),
            None => existed.then_some(VersionState::Deleted),
        };
        let revision = state.map(|state| self.commit_one(time_ms, (place, is_known), state));
        Ok(Answer::Written { revision, outcomes: vec![outcome] })
    }

    fn check_guard(&self, keyspace: KeyspaceId, at: u64, guard: &Guard) -> Result<(), Refusal> {
        let item = |space, key: &Key| self.live(&Place { keyspace, space, key: key.clone() });
        let version = |key| item(Space::Data, key).map_or(Revision::ZERO, |item| item.modified);
        let (holds, found) = match guard {
            Guard::Version { key, version: wanted } => {
                let found = version(key);
                (found == *wanted && found != Revision::ZERO, found)
            }
            Guard::Absent { key } => (version(key) == Revision::ZERO, version(key)),
            Guard::Present { key } => (version(key) != Revision::ZERO, version(key)),
            Guard::Holds { lock, token } => {
                let found = item(Space::Locks, lock).map_or(Revision::ZERO, |item| item.created);
                let is_unchecked = faults::is_mutant("strong_token_not_checked");
                (found == *token && found != Revision::ZERO || is_unchecked, found)
            }
        };
        if holds {
            return Ok(());
        }
        Err(Refusal::Guard { guard: at, found })
    }
}

impl Draft<'_> {
    fn place(&self, key: &Key) -> Place {
        Place { keyspace: self.keyspace, space: Space::Data, key: key.clone() }
    }

    fn apply(&mut self, at: u64, operation: &Operation) -> Result<Outcome, Refusal> {
        let before = match self.written.get(&operation.key) {
            Some(written) => written.clone(),
            None => self.state.live(&self.place(&operation.key)).cloned(),
        };
        let (outcome, after) = self.effect(at, operation, before)?;
        self.written.insert(operation.key.clone(), after);
        Ok(outcome)
    }

    /// What an operation makes of what was there before.
    fn effect(&self, at: u64, operation: &Operation, before: Option<Arc<Item>>) -> Result<Effect, Refusal> {
        match &operation.kind {
            OperationKind::Put { value, flags, lifetime } => self.put(before, value, *flags, *lifetime),
            OperationKind::Delete => Ok((outcome(before.is_some()), None)),
            OperationKind::Touch { lifetime } => self.touch(before, *lifetime),
            OperationKind::Increment { by, initial, lifetime } => self.increment(at, before, *by, *initial, *lifetime),
        }
    }

    fn put(&self, before: Option<Arc<Item>>, value: &Value, flags: u32, lifetime: Lifetime) -> Result<Effect, Refusal> {
        let until = self.until(lifetime)?;
        let existed = before.is_some();
        Ok((outcome(existed), Some(self.item(before.as_deref(), value.clone(), flags, until))))
    }

    fn touch(&self, before: Option<Arc<Item>>, lifetime: Lifetime) -> Result<Effect, Refusal> {
        let until = self.until(lifetime)?;
        let after = before.map(|before| self.item(Some(&before), before.value.clone(), before.flags, until));
        Ok((outcome(after.is_some()), after))
    }

    fn increment(
        &self,
        at: u64,
        before: Option<Arc<Item>>,
        by: i64,
        initial: i64,
        lifetime: Lifetime,
    ) -> Result<Effect, Refusal> {
        let (number, until) = match &before {
            Some(item) => (integer(item).ok_or(Refusal::NotAnInteger { operation: at })?, item.until),
            None => (initial, self.until(lifetime)?),
        };
        let sum = number.checked_add(by).ok_or(Refusal::Overflow { operation: at })?;
        let value = Value::new(&sum.to_le_bytes()).expect("eight bytes are within the bound of a value");
        let after = self.item(before.as_deref(), value, INTEGER_FLAGS, until);
        Ok((Outcome { existed: before.is_some(), number: Some(sum) }, Some(after)))
    }

    fn until(&self, lifetime: Lifetime) -> Result<Until, Refusal> {
        match lifetime {
            Lifetime::Forever => Ok(Until::Deleted),
            Lifetime::Ttl(ttl_ms) => {
                check_ttl_ms(ttl_ms).map_err(|_| Refusal::BadTtl)?;
                Ok(Until::Elapsed(self.state.clock.elapsed_ms.saturating_add(ttl_ms)))
            }
            Lifetime::Lease(lease) if self.state.leases.contains_key(&lease) => Ok(Until::Lease(lease)),
            Lifetime::Lease(lease) => Err(Refusal::UnknownLease { lease }),
        }
    }

    /// What is written at the next revision over `before`. A transaction counts as one write of a key.
    fn item(&self, before: Option<&Item>, value: Value, flags: u32, until: Until) -> Arc<Item> {
        let revision = self.state.revision.next();
        let (created, writes) = match before {
            Some(before) if before.modified == revision => (before.created, before.writes),
            Some(before) => (before.created, before.writes + 1),
            None => (revision, 1),
        };
        Arc::new(Item { value, flags, created, modified: revision, writes, modified_ms: self.time_ms, until })
    }

    /// Checks that no lease has more keys than it may have. Keys that the transaction takes off a lease do not make room.
    fn check_leases(&self) -> Result<(), Refusal> {
        let mut added: BTreeMap<LeaseId, u64> = BTreeMap::new();
        for (key, item) in &self.written {
            let Some(Until::Lease(lease)) = item.as_ref().map(|item| item.until) else { continue };
            let is_new = |state: &Arc<super::leases::LeaseState>| !state.places.contains(&self.place(key));
            if self.state.leases.get(&lease).is_some_and(is_new) {
                *added.entry(lease).or_default() += 1;
            }
        }
        for (lease, added) in added {
            let held = self.state.leases.get(&lease).map_or(0, |state| state.load());
            if held + added > self.state.bounds.lease_keys {
                return Err(Refusal::LeaseFull { lease });
            }
        }
        Ok(())
    }

    /// What really changes: a key that is missing before and after does not.
    fn changes(self) -> BTreeMap<Place, VersionState> {
        let mut changes = BTreeMap::new();
        for (key, item) in &self.written {
            let place = self.place(key);
            match item {
                Some(item) => drop(changes.insert(place, VersionState::Live(item.clone()))),
                None if self.state.live(&place).is_some() => drop(changes.insert(place, VersionState::Deleted)),
                None => {}
            }
        }
        changes
    }
}

fn outcome(existed: bool) -> Outcome {
    Outcome { existed, number: None }
}

fn integer(item: &Item) -> Option<i64> {
    let bytes = item.value.as_slice().try_into().ok()?;
    (item.flags == INTEGER_FLAGS).then(|| i64::from_le_bytes(bytes))
}
