//! Histories as text: JSON, one object a line, in any order. Blank lines are passed over; a field that is not known is
//! an error.
//!
//! | field | of | what |
//! | --- | --- | --- |
//! | `op` | all | `get`, `put`, `delete`, `cas`, `incr`, `snapshot`, `txn` |
//! | `client` | all | a number, for the reader of a report; may be left out |
//! | `call`, `return` | all | times, integers of any unit from 0 on; `return` is null if it never returned |
//! | `outcome` | all | `ok`; `conflict` of `cas` and `txn`; `refused`: it has and will have no effect; `unknown` |
//! | `request` | all | the id under which the log has it; may be left out |
//! | `revision` | all | the revision of the store at which it was answered, if it made none; may be left out |
//! | `key` | all but `snapshot`, `txn` | |
//! | `value` | `get`, `put`, `cas` | a 64-bit integer: what was found (null: nothing), or is to be written |
//! | `version` | all but `snapshot` | `get`: that of what was found; else the one that was made; may be left out |
//! | `existed` | `put`, `delete`, `incr`, `cas` | whether the key was there; may be left out |
//! | `expected` | `cas` | the version that has to be there, null: none |
//! | `found` | conflicts | the version that was there, null: none; may be left out |
//! | `by`, `initial`, `sum` | `incr` | `initial` is 0 and `sum` not told if left out |
//! | `reads` | `snapshot` | a list of `{"key", "value", "version"}`, as in `get` |
//! | `guards` | `txn` | a list of `{"key", "expected"}`, as in `cas`, or `{"key", "present": true}` |
//! | `writes` | `txn` | a list of `{"key", "op": "put" or "delete" or "incr", ...}`, as above |
//! | `guard` | conflicts of `txn` | which guard did not hold, from 0 |
//!
//! A line `{"applied": request, "revision": n}` is one of the log, read back: that request was applied and made that
//! revision. If there is one such line, there have to be all.
//!
//! ```json
//! {"client":3,"op":"put","key":"k","value":17,"call":123,"return":456,"outcome":"ok","version":9}
//! {"client":1,"op":"cas","key":"k","expected":8,"value":18,"call":130,"return":470,"outcome":"conflict","found":9}
//! {"client":2,"op":"incr","key":"n","by":1,"call":140,"return":null,"outcome":"unknown","request":"2-7"}
//! {"applied":"2-7","revision":10}
//! ```

use serde::{Deserialize, Deserializer};
use serde_json::{json, Map, Value};

use super::{Action, Applied, Change, ConflictFound, Found, Guard, History, Operation, Outcome, Reading, Write};

/// What a text holds.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Text {
    pub history: History,
    /// `None`: the log is not told.
    pub log: Option<Vec<Applied>>,
}

/// Every field of every line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line {
    op: Option<Kind>,
    #[serde(default)]
    client: u64,
    call: Option<u64>,
    #[serde(rename = "return")]
    returned: Option<u64>,
    outcome: Option<Ended>,
    request: Option<String>,
    revision: Option<u64>,
    applied: Option<String>,
    reads: Option<Vec<Part>>,
    guards: Option<Vec<Part>>,
    writes: Option<Vec<Part>>,
    guard: Option<usize>,
    key: Option<String>,
    #[serde(default, deserialize_with = "told")]
    value: Option<Option<i64>>,
    version: Option<u64>,
    existed: Option<bool>,
    #[serde(default, deserialize_with = "told")]
    expected: Option<Option<u64>>,
    #[serde(default, deserialize_with = "told")]
    found: Option<Option<u64>>,
    by: Option<i64>,
    #[serde(default)]
    initial: i64,
    sum: Option<i64>,
}

/// One of the reads, guards or writes of a line.
#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct Part {
    op: Option<Kind>,
    key: String,
    #[serde(default, deserialize_with = "told")]
    value: Option<Option<i64>>,
    version: Option<u64>,
    existed: Option<bool>,
    #[serde(default, deserialize_with = "told")]
    expected: Option<Option<u64>>,
    present: Option<bool>,
    by: Option<i64>,
    #[serde(default)]
    initial: i64,
    sum: Option<i64>,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Kind {
    Get,
    Put,
    Delete,
    Cas,
    Incr,
    Snapshot,
    Txn,
}

#[derive(Clone, Copy, Debug, Deserialize, PartialEq, Eq)]
#[serde(rename_all = "lowercase")]
enum Ended {
    Ok,
    Conflict,
    Refused,
    Unknown,
}

/// Tells null from nothing.
fn told<'de, D: Deserializer<'de>, T: Deserialize<'de>>(from: D) -> Result<Option<Option<T>>, D::Error> {
    Option::deserialize(from).map(Some)
}

/// Reads a history. An error names the line.
pub fn parse(text: &str) -> Result<Text, String> {
    let mut parsed = Text::default();
    for (number, line) in text.lines().enumerate().filter(|(_, line)| !line.trim().is_empty()) {
        let in_line = |why: String| format!("line {}: {why}", number + 1);
        let line: Line = serde_json::from_str(line).map_err(|error| in_line(error.to_string()))?;
        match line.applied.clone() {
            Some(request) => {
                let revision = needed(line.revision, "revision").map_err(in_line)?;
                parsed.log.get_or_insert_default().push(Applied { request, revision });
            }
            None => parsed.history.push(operation(line).map_err(in_line)?),
        }
    }
    Ok(parsed)
}

fn needed<T>(field: Option<T>, name: &str) -> Result<T, String> {
    field.ok_or_else(|| format!("`{name}` is missing"))
}

fn operation(line: Line) -> Result<Operation, String> {
    let called = needed(line.call, "call")?;
    let ended = needed(line.outcome, "outcome")?;
    if line.returned.is_some_and(|returned| returned < called) {
        return Err("`return` is before `call`".into());
    }
    if line.returned.is_none() && ended != Ended::Unknown {
        return Err("only what is unknown may have no `return`".into());
    }
    let action = action(&line, needed(line.op, "op")?)?;
    let outcome = outcome(&line, ended, &action)?;
    Ok(Operation {
        client: line.client,
        request: line.request,
        called,
        returned: line.returned,
        action: if matches!(ended, Ended::Ok) { action } else { action.unanswered() },
        outcome,
        revision: line.revision,
    })
}

fn outcome(line: &Line, ended: Ended, action: &Action<String>) -> Result<Outcome, String> {
    let is_read = matches!(action, Action::Read(_));
    Ok(match ended {
        Ended::Ok if is_read => Outcome::Done { version: None },
        Ended::Ok => Outcome::Done { version: line.version },
        Ended::Refused => Outcome::Refused,
        Ended::Unknown => Outcome::Unknown,
        Ended::Conflict => {
            let Action::Transact { guards, .. } = action else { return Err("a read has no conflict".into()) };
            let guard = if line.op == Some(Kind::Txn) { needed(line.guard, "guard")? } else { 0 };
            if guard >= guards.len() {
                return Err(format!("there is no guard {guard}"));
            }
            let found = match line.found {
                None => ConflictFound::NotTold,
                Some(None) => ConflictFound::Absent,
                Some(Some(version)) => ConflictFound::Version(version),
            };
            Outcome::Conflict { guard, found }
        }
    })
}

fn action(line: &Line, kind: Kind) -> Result<Action<String>, String> {
    let is_answered = line.outcome == Some(Ended::Ok);
    match kind {
        Kind::Snapshot => Ok(Action::Read(
            needed(line.reads.as_ref(), "reads")?
                .iter()
                .map(|part| reading(part, is_answered))
                .collect::<Result<_, _>>()?,
        )),
        Kind::Txn => Ok(Action::Transact {
            guards: line.guards.iter().flatten().map(guard).collect::<Result<_, _>>()?,
            writes: needed(line.writes.as_ref(), "writes")?.iter().map(write).collect::<Result<_, _>>()?,
        }),
        Kind::Get | Kind::Put | Kind::Delete | Kind::Cas | Kind::Incr => {
            let part = Part {
                op: Some(if kind == Kind::Cas { Kind::Put } else { kind }),
                key: needed(line.key.clone(), "key")?,
                value: line.value,
                version: line.version,
                existed: line.existed,
                expected: line.expected,
                present: None,
                by: line.by,
                initial: line.initial,
                sum: line.sum,
            };
            if kind == Kind::Get {
                return Ok(Action::Read(vec![reading(&part, is_answered)?]));
            }
            let guards = if kind == Kind::Cas { vec![guard(&part)?] } else { Vec::new() };
            Ok(Action::Transact { guards, writes: vec![write(&part)?] })
        }
    }
}

fn reading(part: &Part, is_answered: bool) -> Result<Reading<String>, String> {
    let value = if is_answered { needed(part.value, "value")? } else { None };
    Ok(Reading { key: part.key.clone(), found: value.map(|value| Found { value, version: part.version }) })
}

fn guard(part: &Part) -> Result<Guard<String>, String> {
    let key = part.key.clone();
    match (part.expected, part.present) {
        (Some(Some(version)), None) => Ok(Guard::Version { key, version }),
        (Some(None), None) => Ok(Guard::Absent { key }),
        (None, Some(true)) => Ok(Guard::Present { key }),
        _ => Err(format!("the guard of {key} needs `expected`, or `present` that is true")),
    }
}

fn write(part: &Part) -> Result<Write<String>, String> {
    let change = match needed(part.op, "op")? {
        Kind::Put => Change::Put(needed(part.value.flatten(), "value")?),
        Kind::Delete => Change::Delete,
        Kind::Incr => Change::Increment { by: needed(part.by, "by")?, initial: part.initial, sum: part.sum },
        Kind::Get | Kind::Cas | Kind::Snapshot | Kind::Txn => {
            return Err("what is written is `put`, `delete` or `incr`".into())
        }
    };
    Ok(Write { key: part.key.clone(), change, existed: part.existed })
}

/// The text of a history, as [`parse`] reads it.
pub fn format(text: &Text) -> String {
    let applied = text.log.iter().flatten();
    let log = applied.map(|applied| json!({"applied": applied.request, "revision": applied.revision}));
    let lines = text.history.iter().map(|operation| Value::Object(line(operation))).chain(log);
    lines.map(|line| format!("{line}\n")).collect()
}

fn line(operation: &Operation) -> Map<String, Value> {
    let mut line = match &operation.action {
        Action::Read(readings) => match &readings[..] {
            [reading] => object(json!({"op": "get"}), reading_fields(reading)),
            _ => {
                let reads: Vec<Value> = readings.iter().map(reading_fields).collect();
                object(json!({"op": "snapshot"}), json!({"reads": reads}))
            }
        },
        Action::Transact { guards, writes } => match (&guards[..], &writes[..]) {
            ([], [write]) => object(json!({}), write_fields(write)),
            ([guard], [write @ Write { change: Change::Put(_), .. }]) if is_compare(guard, write) => {
                object(object(write_fields(write), guard_fields(guard)).into(), json!({"op": "cas"}))
            }
            _ => {
                let guards: Vec<Value> = guards.iter().map(guard_fields).collect();
                let writes: Vec<Value> = writes.iter().map(write_fields).collect();
                object(json!({"op": "txn"}), json!({"guards": guards, "writes": writes}))
            }
        },
    };
    line.extend(object(json!({"client": operation.client, "call": operation.called}), outcome_fields(operation)));
    line.insert("return".into(), json!(operation.returned));
    line.extend(operation.request.iter().map(|request| ("request".into(), json!(request))));
    line.extend(operation.revision.iter().map(|revision| ("revision".into(), json!(revision))));
    line
}

fn is_compare(guard: &Guard<String>, write: &Write<String>) -> bool {
    !matches!(guard, Guard::Present { .. }) && *guard.key() == write.key
}

fn outcome_fields(operation: &Operation) -> Value {
    match operation.outcome {
        Outcome::Done { version: None } => json!({"outcome": "ok"}),
        Outcome::Done { version: Some(version) } => json!({"outcome": "ok", "version": version}),
        Outcome::Refused => json!({"outcome": "refused"}),
        Outcome::Unknown => json!({"outcome": "unknown"}),
        Outcome::Conflict { guard, found } => {
            let mut fields = object(json!({"outcome": "conflict"}), json!({"guard": guard}));
            match found {
                ConflictFound::NotTold => {}
                ConflictFound::Absent => drop(fields.insert("found".into(), Value::Null)),
                ConflictFound::Version(version) => drop(fields.insert("found".into(), json!(version))),
            }
            fields.into()
        }
    }
}

fn reading_fields(reading: &Reading<String>) -> Value {
    let key = &reading.key;
    match reading.found {
        None => json!({"key": key, "value": null}),
        Some(Found { value, version: None }) => json!({"key": key, "value": value}),
        Some(Found { value, version: Some(version) }) => json!({"key": key, "value": value, "version": version}),
    }
}

fn guard_fields(guard: &Guard<String>) -> Value {
    match guard {
        Guard::Version { key, version } => json!({"key": key, "expected": version}),
        Guard::Absent { key } => json!({"key": key, "expected": null}),
        Guard::Present { key } => json!({"key": key, "present": true}),
    }
}

fn write_fields(write: &Write<String>) -> Value {
    let key = &write.key;
    let fields = match write.change {
        Change::Put(value) => json!({"op": "put", "key": key, "value": value}),
        Change::Delete => json!({"op": "delete", "key": key}),
        Change::Increment { by, initial, sum: None } => json!({"op": "incr", "key": key, "by": by, "initial": initial}),
        Change::Increment { by, initial, sum } => {
            json!({"op": "incr", "key": key, "by": by, "initial": initial, "sum": sum})
        }
    };
    let existed = write.existed.map_or(json!({}), |existed| json!({ "existed": existed }));
    object(fields, existed).into()
}

/// The fields of both; those of the second one count where both have them.
fn object(one: Value, other: Value) -> Map<String, Value> {
    let fields = |value| if let Value::Object(fields) = value { fields } else { Map::new() };
    let mut all = fields(one);
    all.extend(fields(other));
    all
}
