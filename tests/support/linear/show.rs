//! Operations for people.

use std::fmt;

use super::{Action, Change, ConflictFound, Found, Guard, Operation, Outcome, Reading, Write};

impl fmt::Display for Operation {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let returned = self.returned.map_or("never".into(), |returned| returned.to_string());
        write!(out, "client {} [{}, {returned}] {} -> ", self.client, self.called, self.action)?;
        match self.outcome {
            Outcome::Done { version: Some(version) } => write!(out, "ok at version {version}"),
            Outcome::Done { version: None } => write!(out, "ok"),
            Outcome::Conflict { guard, found } => {
                write!(out, "conflict at guard {guard}: ")?;
                match found {
                    ConflictFound::Absent => write!(out, "absent"),
                    ConflictFound::Version(version) => write!(out, "version {version}"),
                    ConflictFound::NotTold => write!(out, "not told why"),
                }
            }
            Outcome::Refused => write!(out, "refused"),
            Outcome::Unknown => write!(out, "unknown"),
        }?;
        self.revision.map_or(Ok(()), |revision| write!(out, ", revision {revision}"))
    }
}

impl<K: fmt::Display> fmt::Display for Action<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        let parts: Vec<String> = match self {
            Action::Read(readings) => readings.iter().map(Reading::to_string).collect(),
            Action::Transact { guards, writes } => {
                guards.iter().map(Guard::to_string).chain(writes.iter().map(Write::to_string)).collect()
            }
        };
        write!(out, "{}", parts.join("; "))
    }
}

impl<K: fmt::Display> fmt::Display for Reading<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.found {
            None => write!(out, "get {}: nothing", self.key),
            Some(Found { value, version: None }) => write!(out, "get {}: {value}", self.key),
            Some(Found { value, version: Some(version) }) => {
                write!(out, "get {}: {value} at version {version}", self.key)
            }
        }
    }
}

impl<K: fmt::Display> fmt::Display for Guard<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Guard::Version { key, version } => write!(out, "if {key} is at version {version}"),
            Guard::Absent { key } => write!(out, "if {key} is absent"),
            Guard::Present { key } => write!(out, "if {key} is present"),
        }
    }
}

impl<K: fmt::Display> fmt::Display for Write<K> {
    fn fmt(&self, out: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.change {
            Change::Put(value) => write!(out, "put {} = {value}", self.key),
            Change::Delete => write!(out, "delete {}", self.key),
            Change::Increment { by, sum: None, .. } => write!(out, "add {by} to {}", self.key),
            Change::Increment { by, sum: Some(sum), .. } => write!(out, "add {by} to {}: {sum}", self.key),
        }?;
        match self.existed {
            None => Ok(()),
            Some(existed) => write!(out, " ({})", if existed { "was there" } else { "was not there" }),
        }
    }
}
