//! The object that histories are compared with: registers with versions, written together or not at all.

use std::fmt;

use super::{Action, Change, ConflictFound, Guard, Outcome, Reading, Write};

/// The values of some keys, and what is known of their versions.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct State {
    registers: Vec<Register>,
    /// Where nobody names a version they are not counted, so that states which differ in nothing else are one.
    is_versioned: bool,
}

/// One key. Its version is one of a set, because a write may not tell its own: the set is that of `lowest` alone if
/// `is_exact`, else of everything from `lowest` on but `excluded`. While the key is absent, `lowest` is a version that
/// the next one exceeds.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Register {
    value: Option<i64>,
    lowest: u64,
    is_exact: bool,
    /// Versions above `lowest` that a refused guard has ruled out, ascending.
    excluded: Vec<u64>,
}

/// What an operation did to a state with which its answer agrees.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Effect {
    /// Nothing was written. More may be known of versions.
    Nothing,
    Written,
}

impl State {
    /// All keys absent.
    pub(super) fn new(keys: usize, is_versioned: bool) -> State {
        let absent = Register { value: None, lowest: 0, is_exact: true, excluded: Vec::new() };
        State { registers: vec![absent; keys], is_versioned }
    }

    pub(super) fn value(&self, key: usize) -> Option<i64> {
        self.registers[key].value
    }

    /// The state afterwards; `None` if the answer does not agree with it. An unknown outcome means here that it took
    /// effect.
    pub(super) fn after(&self, action: &Action<usize>, outcome: Outcome) -> Option<State> {
        // Most of what fails are reads: not worth a copy.
        if let Action::Read(readings) = action {
            if readings.iter().any(|reading| !self.shows(reading)) {
                return None;
            }
        }
        let mut state = self.clone();
        state.apply(action, outcome).map(|_| state)
    }

    /// As [`State::after`], in place. Of no use any more once it has said `None`.
    pub(super) fn apply(&mut self, action: &Action<usize>, outcome: Outcome) -> Option<Effect> {
        let version = match outcome {
            Outcome::Done { version } => version,
            Outcome::Unknown => None,
            Outcome::Conflict { guard, found } => return self.refuse(action, guard, found),
            Outcome::Refused => return Some(Effect::Nothing),
        };
        match action {
            Action::Read(readings) => {
                for reading in readings {
                    if !self.shows(reading) {
                        return None;
                    }
                    let register = &mut self.registers[reading.key];
                    if let Some(version) = reading.found.and_then(|found| found.version) {
                        register.pin(version)?;
                    }
                }
                Some(Effect::Nothing)
            }
            Action::Transact { guards, writes } => {
                for guard in guards {
                    self.holds(guard)?;
                }
                self.write(writes, version)
            }
        }
    }

    fn shows(&self, reading: &Reading<usize>) -> bool {
        self.registers[reading.key].value == reading.found.map(|found| found.value)
    }

    fn holds(&mut self, guard: &Guard<usize>) -> Option<()> {
        let register = &mut self.registers[*guard.key()];
        let is_present = register.value.is_some();
        match guard {
            Guard::Version { version, .. } if is_present => register.pin(*version),
            Guard::Version { .. } => None,
            Guard::Absent { .. } => (!is_present).then_some(()),
            Guard::Present { .. } => is_present.then_some(()),
        }
    }

    fn refuse(&mut self, action: &Action<usize>, guard: usize, found: ConflictFound) -> Option<Effect> {
        let Action::Transact { guards, .. } = action else { return None };
        let guard = guards.get(guard)?;
        let register = &mut self.registers[*guard.key()];
        match (found, register.value) {
            (ConflictFound::Absent, Some(_)) | (ConflictFound::Version(_), None) => return None,
            (ConflictFound::Version(version), Some(_)) => register.pin(version)?,
            (ConflictFound::Absent, None) | (ConflictFound::NotTold, _) => {}
        }
        let is_present = register.value.is_some();
        let fails = match guard {
            Guard::Version { version, .. } if is_present => register.exclude(*version),
            Guard::Version { .. } => Some(()),
            Guard::Absent { .. } => is_present.then_some(()),
            Guard::Present { .. } => (!is_present).then_some(()),
        };
        fails.map(|()| Effect::Nothing)
    }

    fn write(&mut self, writes: &[Write<usize>], version: Option<u64>) -> Option<Effect> {
        let mut after: Vec<(usize, Option<i64>)> = Vec::with_capacity(writes.len());
        for write in writes {
            let own = after.iter().rposition(|(key, _)| *key == write.key);
            let before = own.map_or(self.registers[write.key].value, |own| after[own].1);
            if write.existed.is_some_and(|existed| existed != before.is_some()) {
                return None;
            }
            let value = changed(before, write.change)?;
            match own {
                Some(own) => after[own].1 = value,
                None => after.push((write.key, value)),
            }
        }
        let mut effect = Effect::Nothing;
        for (key, value) in after {
            // A key that is missing before and after does not change.
            if value.is_some() || self.registers[key].value.is_some() {
                match self.is_versioned {
                    true => self.registers[key].set(value, version)?,
                    false => self.registers[key].value = value,
                }
                effect = Effect::Written;
            }
        }
        (version.is_none() || effect == Effect::Written).then_some(effect)
    }

    /// Whether whatever may happen after `other` may happen after this too.
    pub(super) fn dominates(&self, other: &State) -> bool {
        self.registers.iter().zip(&other.registers).all(|(own, other)| own.dominates(other))
    }

    /// For people: each key with its value and version.
    pub(super) fn describe(&self, names: &[String]) -> String {
        let text = |(register, name): (&Register, &String)| match (register.value, self.is_versioned) {
            (Some(value), false) => format!("{name} is {value}"),
            (None, _) | (Some(_), true) => format!("{name} {register}"),
        };
        let texts: Vec<String> = self.registers.iter().zip(names).map(text).collect();
        texts.join(", ")
    }

    /// Some of the keys alone.
    pub(super) fn of(&self, keys: &[usize]) -> State {
        let registers = keys.iter().map(|&key| self.registers[key].clone()).collect();
        State { registers, is_versioned: self.is_versioned }
    }
}

/// The value afterwards; `None` if the change cannot be, or its answer is wrong.
fn changed(before: Option<i64>, change: Change) -> Option<Option<i64>> {
    match change {
        Change::Put(value) => Some(Some(value)),
        Change::Delete => Some(None),
        Change::Increment { by, initial, sum } => {
            let total = before.unwrap_or(initial).checked_add(by)?;
            (sum.is_none() || sum == Some(total)).then_some(Some(total))
        }
    }
}

impl Register {
    /// The version is this one.
    fn pin(&mut self, version: u64) -> Option<()> {
        if !self.may_be(version) {
            return None;
        }
        self.lowest = version;
        self.is_exact = true;
        self.excluded.clear();
        Some(())
    }

    /// The version is another one.
    fn exclude(&mut self, version: u64) -> Option<()> {
        if self.is_exact {
            return (self.lowest != version).then_some(());
        }
        if version < self.lowest {
            return Some(());
        }
        if let Err(at) = self.excluded.binary_search(&version) {
            self.excluded.insert(at, version);
        }
        while self.excluded.first() == Some(&self.lowest) {
            self.excluded.remove(0);
            self.lowest = self.lowest.checked_add(1)?;
        }
        Some(())
    }

    fn set(&mut self, value: Option<i64>, version: Option<u64>) -> Option<()> {
        let next = self.lowest.checked_add(1)?;
        if version.is_some_and(|version| version < next) {
            return None;
        }
        self.value = value;
        self.lowest = version.unwrap_or(next);
        self.is_exact = version.is_some() || value.is_none();
        self.excluded.clear();
        Some(())
    }

    fn may_be(&self, version: u64) -> bool {
        if self.is_exact {
            return version == self.lowest;
        }
        version >= self.lowest && self.excluded.binary_search(&version).is_err()
    }

    fn dominates(&self, other: &Register) -> bool {
        if self.value != other.value {
            return false;
        }
        match (self.value, self.is_exact, other.is_exact) {
            (None, ..) => self.lowest <= other.lowest,
            (Some(_), _, true) => self.may_be(other.lowest),
            (Some(_), true, false) => false,
            (Some(_), false, false) => {
                let is_ruled_out = |version: &u64| other.excluded.binary_search(version).is_ok();
                let mut excluded = self.excluded.iter().filter(|&&version| version >= other.lowest);
                self.lowest <= other.lowest && excluded.all(is_ruled_out)
            }
        }
    }
}

impl fmt::Display for Register {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.value, self.is_exact) {
            (None, _) => write!(out, "is absent"),
            (Some(value), true) => write!(out, "is {value} at version {}", self.lowest),
            (Some(value), false) => write!(out, "is {value} at a version from {} on", self.lowest),
        }
    }
}
