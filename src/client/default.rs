//! A keyspace is eventual or strong, and a program need not know which: what was asked for in the eventual way is asked for in the
//! strong way where a node says so. Here is how one becomes the other; who asks is elsewhere.

use std::{
    collections::BTreeMap,
    sync::{
        atomic::{AtomicU8, Ordering},
        Arc,
    },
};

use parking_lot::Mutex;

use crate::{
    error::{Error, ErrorCode, Result},
    limits::KEYSPACES_MAX,
    replication::strong::{
        self as group, Call, Command, Freshness, KeyspaceId, Lifetime, OperationKind, Read, ReadCall, ReadKind, Space,
        Submission, Transaction,
    },
    types::{Answer, CommandKind, Consistency, Operation, Timestamp, Written, DEFAULT_KEYSPACE},
};

/// What a client has been told of a keyspace.
#[derive(Default)]
pub struct Known(AtomicU8);

impl Known {
    const EVENTUAL: u8 = 1;
    const STRONG: u8 = 2;

    /// `None`: nothing yet.
    pub fn get(&self) -> Option<Consistency> {
        match self.0.load(Ordering::Relaxed) {
            Known::EVENTUAL => Some(Consistency::Eventual),
            Known::STRONG => Some(Consistency::Strong),
            _ => None,
        }
    }

    /// Takes note.
    pub fn set(&self, consistency: Consistency) {
        self.tell(Some(consistency));
    }

    /// Takes note; `None`: it is to be found out again.
    pub fn tell(&self, consistency: Option<Consistency>) {
        let known = match consistency {
            None => 0,
            Some(Consistency::Eventual) => Known::EVENTUAL,
            Some(Consistency::Strong) => Known::STRONG,
        };
        self.0.store(known, Ordering::Relaxed);
    }
}

/// What a client has been told of all keyspaces.
#[derive(Default)]
pub struct Book {
    /// That of `default`, which most calls are about.
    default: Arc<Known>,
    /// By name. Nothing else is locked while it is held.
    others: Mutex<BTreeMap<String, Arc<Known>>>,
}

impl Book {
    /// What is known of the keyspace of that name, for whoever reads or tells it.
    pub fn of(&self, name: &str) -> Arc<Known> {
        if name.is_empty() || name == DEFAULT_KEYSPACE {
            return self.default.clone();
        }
        let mut others = self.others.lock();
        if let Some(known) = others.get(name) {
            return known.clone();
        }
        // A program that has asked for so many names asks for some of them once more.
        if others.len() as u64 >= KEYSPACES_MAX {
            others.clear();
        }
        others.entry(name.to_string()).or_default().clone()
    }
}

/// What was asked for in the eventual way, as a strong keyspace takes it: reads of one revision, or writes that happen all or
/// not at all. `None`: it concerns no keyspace, or is both.
pub fn as_strong(keyspace: &str, operations: &[Operation], freshness: Freshness) -> Option<Call> {
    if operations.is_empty() {
        return None;
    }
    let keyspace = if keyspace.is_empty() { DEFAULT_KEYSPACE } else { keyspace }.to_string();
    if let Some(kinds) = operations.iter().map(read_of).collect::<Option<Vec<_>>>() {
        let reads = kinds.into_iter().map(|kind| Read { space: Space::Data, kind }).collect();
        return Some(Call::Read(ReadCall { keyspace, freshness, at: None, reads }));
    }
    let operations = operations.iter().map(write_of).collect::<Option<Vec<_>>>()?;
    // The node that serves the call knows the id of the keyspace.
    let transaction = Transaction { keyspace: KeyspaceId(0), guards: Vec::new(), operations };
    Some(Call::Submit(Submission { id: None, keyspace, command: Command::Transact(transaction) }))
}

fn read_of(operation: &Operation) -> Option<ReadKind> {
    Some(match operation {
        Operation::Get { key, metadata_only } => ReadKind::Key { key: key.clone(), metadata_only: *metadata_only },
        Operation::Count(range) => ReadKind::Count(range.clone()),
        Operation::Scan { page, keys_only } => ReadKind::Page { page: page.clone(), keys_only: *keys_only },
        Operation::Write(_) | Operation::Ping => return None,
    })
}

fn write_of(operation: &Operation) -> Option<group::Operation> {
    let Operation::Write(command) = operation else { return None };
    let lifetime = |ttl_ms: Option<u64>| ttl_ms.map_or(Lifetime::Forever, Lifetime::Ttl);
    let kind = match &command.kind {
        CommandKind::Put { value, flags, ttl_ms } => {
            OperationKind::Put { value: value.clone(), flags: *flags, lifetime: lifetime(*ttl_ms) }
        }
        CommandKind::Delete => OperationKind::Delete,
        CommandKind::Touch { ttl_ms } => OperationKind::Touch { lifetime: lifetime(*ttl_ms) },
    };
    Some(group::Operation { key: command.key.clone(), kind })
}

/// What the group answered to writes, as if in the eventual way; `None`: it is no answer to writes.
pub fn as_eventual(answer: group::Answer) -> Option<Vec<Result<Answer>>> {
    let group::Answer::Written { revision, outcomes } = answer else { return None };
    let version = Timestamp(revision.unwrap_or_default().0);
    let written = |outcome: group::Outcome| Ok(Answer::Written(Written { version, existed: outcome.existed }));
    Some(outcomes.into_iter().map(written).collect())
}

/// What the answers of a node say of the keyspace that was asked.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Told {
    /// Nothing: something else went wrong.
    Nothing,
    /// One did what was asked.
    Eventual,
    /// All that was asked was refused, because it is strong.
    Strong,
    /// The node does not know yet.
    Undecided,
}

/// See [`Told`].
pub fn told(answers: &Result<Vec<Result<Answer>>>) -> Told {
    let mut told = Told::Nothing;
    for answer in answers.iter().flatten() {
        match answer.as_ref().map_err(Error::code) {
            Ok(_) => return Told::Eventual,
            Err(ErrorCode::DefaultIsStrong | ErrorCode::KeyspaceIsStrong) => told = Told::Strong,
            Err(ErrorCode::NoLeader) if told == Told::Nothing => told = Told::Undecided,
            Err(_) => {}
        }
    }
    told
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Command as Write, Key, KeyRange, PageRequest, Value};

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes()).unwrap()
    }

    fn get(text: &str) -> Operation {
        Operation::Get { key: key(text), metadata_only: false }
    }

    fn put(text: &str, ttl_ms: Option<u64>) -> Operation {
        let kind = CommandKind::Put { value: Value::new(b"v").unwrap(), flags: 7, ttl_ms };
        Operation::Write(Write { key: key(text), kind })
    }

    #[test]
    fn reads_go_together_and_so_do_writes_but_not_both() {
        let page = PageRequest { range: KeyRange::prefix(b"p"), reverse: true, keys_max: 3, bytes_target: 9 };
        let reads = [get("a"), Operation::Count(KeyRange::default()), Operation::Scan { page, keys_only: true }];
        let Some(Call::Read(call)) = as_strong("", &reads, Freshness::Linearizable) else { panic!("no reads") };
        assert_eq!(
            (call.keyspace.as_str(), call.freshness, call.reads.len()),
            ("default", group::Freshness::Linearizable, 3)
        );
        let writes = [
            put("a", Some(5)),
            Operation::Write(Write { key: key("b"), kind: CommandKind::Delete }),
            Operation::Write(Write { key: key("c"), kind: CommandKind::Touch { ttl_ms: None } }),
        ];
        let Some(Call::Submit(Submission { command: Command::Transact(transaction), keyspace, .. })) =
            as_strong("jobs", &writes, Freshness::Local)
        else {
            panic!("no transaction")
        };
        assert_eq!(keyspace, "jobs");
        let lifetime = Lifetime::Ttl(5);
        let value = Value::new(b"v").unwrap();
        assert_eq!(transaction.operations[0].kind, OperationKind::Put { value, flags: 7, lifetime });
        assert_eq!(transaction.operations[2].kind, OperationKind::Touch { lifetime: Lifetime::Forever });
        for neither in [vec![], vec![Operation::Ping], vec![get("a"), put("a", None)], vec![put("a", None), get("a")]] {
            assert_eq!(as_strong("", &neither, Freshness::Linearizable), None);
        }
    }

    #[test]
    fn one_answer_is_enough_to_know_and_a_refusal_only_when_nothing_was_done() {
        let refused = |code| Err::<Answer, Error>(Error::new(code, "no"));
        let (strong, leaderless) = (ErrorCode::DefaultIsStrong, ErrorCode::NoLeader);
        let cases = [
            (Ok(vec![]), Told::Nothing),
            (refused(ErrorCode::Unreachable).map(|_| vec![]), Told::Nothing),
            (Ok(vec![refused(ErrorCode::MemoryLimit)]), Told::Nothing),
            (Ok(vec![refused(leaderless), refused(strong)]), Told::Strong),
            (Ok(vec![refused(ErrorCode::KeyspaceIsStrong)]), Told::Strong),
            (Ok(vec![refused(leaderless), refused(leaderless)]), Told::Undecided),
            (Ok(vec![refused(leaderless), Ok(Answer::Count(0))]), Told::Eventual),
        ];
        for (answers, expected) in cases {
            assert_eq!(told(&answers), expected, "{answers:?}");
        }
    }

    #[test]
    fn what_a_group_answers_is_told_operation_by_operation() {
        let outcome = |existed| group::Outcome { existed, number: None };
        let outcomes = vec![outcome(true), outcome(false)];
        let answer = group::Answer::Written { revision: Some(group::Revision(9)), outcomes };
        let written = |existed| Ok(Answer::Written(Written { version: Timestamp(9), existed }));
        assert_eq!(as_eventual(answer), Some(vec![written(true), written(false)]));
        assert_eq!(as_eventual(group::Answer::Dropped), None);
    }

    #[test]
    fn what_was_told_of_a_name_is_known_of_no_other() {
        let book = Book::default();
        book.of("jobs").set(Consistency::Eventual);
        book.of("").set(Consistency::Strong);
        let known = ["jobs", "default", "", "others"].map(|name| book.of(name).get());
        let (strong, eventual) = (Some(Consistency::Strong), Some(Consistency::Eventual));
        assert_eq!(known, [eventual, strong, strong, None]);
        (0..KEYSPACES_MAX).for_each(|name| drop(book.of(&format!("k{name}"))));
        assert_eq!((book.of("jobs").get(), book.of("default").get()), (None, strong), "there is room for so many");
    }
}
