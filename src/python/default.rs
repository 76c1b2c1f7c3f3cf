//! The keyspace `default` is eventual or strong, and a program need not know which: its calls are made as for an eventual one,
//! and go to the group where that has it.
//!
//! A node of this process knows. A client asks in the eventual way first, which costs nothing where it is right, keeps what was
//! asked, and asks again in the strong way when a node refuses by [`ErrorCode::DefaultIsStrong`]: that has changed nothing. From
//! the first answer on the client knows, and keeps nothing.
//!
//! Not done: a client that was served in the eventual way by a node which did not know better gets the refusal of the next
//! node once, as an error.

use std::{
    mem,
    sync::{
        atomic::{AtomicU8, Ordering},
        Arc,
    },
    time::Duration,
};

use parking_lot::Mutex;

use super::{
    answer::{mismatch, Outcome},
    client::{Connection, Started},
    convert::Level,
    strong,
};
use crate::{
    client::StrongTicket,
    env::{Clock, SystemClock},
    error::{Error, ErrorCode, Result},
    replication::strong::{
        self as group, Call, Command, KeyspaceId, Lifetime, OperationKind, Read, ReadCall, ReadKind, Reply, Space,
        Submission, Transaction,
    },
    types::{
        Answer, CommandKind, Consistency, Key, Operation, ReadLevel, Timestamp, Written, DEFAULT_KEYSPACE,
    },
};

/// Called once with the outcome of a call.
pub(super) type Done = Box<dyn FnOnce(Result<Outcome>) + Send>;

/// What a client has been told of `default`.
#[derive(Default)]
pub(super) struct Known(AtomicU8);

impl Known {
    const EVENTUAL: u8 = 1;
    const STRONG: u8 = 2;

    /// `None`: nothing yet.
    pub(super) fn get(&self) -> Option<Consistency> {
        match self.0.load(Ordering::Relaxed) {
            Known::EVENTUAL => Some(Consistency::Eventual),
            Known::STRONG => Some(Consistency::Strong),
            _ => None,
        }
    }

    pub(super) fn set(&self, consistency: Consistency) {
        let known = match consistency {
            Consistency::Eventual => Known::EVENTUAL,
            Consistency::Strong => Known::STRONG,
        };
        self.0.store(known, Ordering::Relaxed);
    }
}

/// What was asked for in the eventual way, as a strong keyspace takes it: reads of one revision, or writes that happen all or
/// not at all. `None`: it concerns no keyspace, or is both.
pub(super) fn as_strong(operations: &[Operation], read: Level) -> Option<Call> {
    if operations.is_empty() {
        return None;
    }
    let keyspace = DEFAULT_KEYSPACE.to_string();
    if let Some(kinds) = operations.iter().map(read_of).collect::<Option<Vec<_>>>() {
        let reads = kinds.into_iter().map(|kind| Read { space: Space::Data, kind }).collect();
        return Some(Call::Read(ReadCall { keyspace, freshness: read.strong(), at: None, reads }));
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

/// What the group answered, as if in the eventual way.
///
/// # Errors
/// Those of the call; `NO_LEADER` when the group was found a moment ago and has no such keyspace.
pub(super) fn settled(reply: Result<Reply>) -> Result<Outcome> {
    let answers = match reply {
        Ok(Reply::Done(group::Answer::Written { revision, outcomes })) => {
            let version = Timestamp(revision.unwrap_or_default().0);
            let written = |outcome: group::Outcome| Ok(Answer::Written(Written { version, existed: outcome.existed }));
            outcomes.into_iter().map(written).collect()
        }
        Ok(reply @ Reply::Read(_)) => strong::answers(reply)?,
        Ok(_) => return Err(mismatch()),
        Err(error) if error.code() == ErrorCode::UnknownKeyspace => {
            let text = "keyspace `default`: it was found to be eventual just now; nothing was done, call again";
            return Err(Error::new(ErrorCode::NoLeader, text));
        }
        Err(error) => return Err(error),
    };
    Ok(Outcome::Answers(answers))
}

/// What the answers of a node say of `default`.
#[derive(PartialEq, Eq)]
enum Told {
    Nothing,
    Eventual,
    Strong,
    /// The node does not know yet.
    Undecided,
}

fn told(answers: &Result<Vec<Result<Answer>>>) -> Told {
    let mut told = Told::Nothing;
    for answer in answers.iter().flatten() {
        match answer.as_ref().map_err(Error::code) {
            Ok(_) => return Told::Eventual,
            Err(ErrorCode::DefaultIsStrong) => told = Told::Strong,
            Err(ErrorCode::NoLeader) if told == Told::Nothing => told = Told::Undecided,
            Err(_) => {}
        }
    }
    told
}

/// Starts a call about `default`.
///
/// # Errors
/// `UNSUPPORTED`, when the keyspace is eventual and does not promise such reads.
pub(super) fn start(
    connection: Connection,
    operations: Vec<Operation>,
    (read, timeout): (Level, Option<Duration>),
    done: Done,
) -> Result<Started> {
    let Connection { client, strong, known } = connection;
    let Some(call) = (known.get() != Some(Consistency::Eventual)).then(|| as_strong(&operations, read)).flatten() else {
        let done = Box::new(move |answers: Result<Vec<_>>| {
            if told(&answers) == Told::Strong {
                known.set(Consistency::Strong);
            }
            done(answers.map(Outcome::Answers));
        });
        let call = client.submit(operations, read.eventual()?, timeout, done);
        return Ok(Started::Operations(client, call));
    };
    if known.get() == Some(Consistency::Strong) {
        return Ok(Started::Strong(strong.submit(call, timeout, Box::new(|reply| done(settled(reply))))));
    }
    let stage = Arc::new(Mutex::new(Stage::First));
    let refused = read.eventual().err();
    // Where such a read is not promised nothing is to be done before it is known that it is.
    let (operations, level) = match &refused {
        Some(_) => (vec![question()?], ReadLevel::Local),
        None => (operations, read.eventual()?),
    };
    let trial = Trial { call, refused, strong, known, clock: SystemClock::new(), timeout, stage: stage.clone(), done };
    let first = client.submit(operations, level, timeout, Box::new(|answers| trial.settle(answers)));
    Ok(Started::Trial(client, first, Ticket(stage)))
}

/// A read whose answer does not matter.
pub(super) fn question() -> Result<Operation> {
    Ok(Operation::Get { key: Key::new(DEFAULT_KEYSPACE.as_bytes())?, metadata_only: true })
}

/// A call of a client that does not know yet.
struct Trial {
    /// In the strong way.
    call: Call,
    /// Why it is not to be done in the eventual way.
    refused: Option<Error>,
    strong: crate::client::StrongClient,
    known: Arc<Known>,
    /// Since the call began.
    clock: SystemClock,
    timeout: Option<Duration>,
    stage: Arc<Mutex<Stage>>,
    done: Done,
}

/// How far a trial is.
enum Stage {
    First,
    Second(StrongTicket),
    GivenUp,
}

/// What gives the second half of a trial up.
pub(super) struct Ticket(Arc<Mutex<Stage>>);

impl Ticket {
    pub(super) fn cancel(self) {
        if let Stage::Second(ticket) = mem::replace(&mut *self.0.lock(), Stage::GivenUp) {
            ticket.cancel();
        }
    }
}

impl Trial {
    fn settle(self, answers: Result<Vec<Result<Answer>>>) {
        match told(&answers) {
            Told::Nothing => (self.done)(answers.map(Outcome::Answers)),
            Told::Eventual => {
                self.known.set(Consistency::Eventual);
                (self.done)(match self.refused {
                    Some(refused) => Err(refused),
                    None => answers.map(Outcome::Answers),
                });
            }
            Told::Strong => {
                self.known.set(Consistency::Strong);
                self.ask_the_group();
            }
            // The group decides, once there is one.
            Told::Undecided => self.ask_the_group(),
        }
    }

    fn ask_the_group(self) {
        let Trial { call, strong, known, clock, timeout, stage, done, .. } = self;
        let left = timeout.map(|timeout| timeout.saturating_sub(clock.monotonic()));
        let done = Box::new(move |reply: Result<Reply>| {
            if reply.is_ok() {
                known.set(Consistency::Strong);
            }
            done(settled(reply));
        });
        let mut stage = stage.lock();
        if !matches!(*stage, Stage::GivenUp) {
            *stage = Stage::Second(strong.submit(call, left, done));
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::types::{Command as Write, KeyRange, PageRequest, Value};

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
        let Some(Call::Read(call)) = as_strong(&reads, Level::Usual) else { panic!("no reads") };
        assert_eq!((call.keyspace.as_str(), call.freshness, call.reads.len()), ("default", group::Freshness::Linearizable, 3));
        let writes = [
            put("a", Some(5)),
            Operation::Write(Write { key: key("b"), kind: CommandKind::Delete }),
            Operation::Write(Write { key: key("c"), kind: CommandKind::Touch { ttl_ms: None } }),
        ];
        let Some(Call::Submit(Submission { command: Command::Transact(transaction), .. })) =
            as_strong(&writes, Level::Local)
        else {
            panic!("no transaction")
        };
        let lifetime = Lifetime::Ttl(5);
        let value = Value::new(b"v").unwrap();
        assert_eq!(transaction.operations[0].kind, OperationKind::Put { value, flags: 7, lifetime });
        assert_eq!(transaction.operations[2].kind, OperationKind::Touch { lifetime: Lifetime::Forever });
        for neither in [vec![], vec![Operation::Ping], vec![get("a"), put("a", None)], vec![put("a", None), get("a")]] {
            assert_eq!(as_strong(&neither, Level::Usual), None);
        }
    }

    #[test]
    fn one_answer_is_enough_to_know_and_a_refusal_only_when_nothing_was_done() {
        let refused = |code| Err(Error::new(code, "no"));
        let (strong, leaderless) = (ErrorCode::DefaultIsStrong, ErrorCode::NoLeader);
        let cases = [
            (Ok(vec![]), Told::Nothing),
            (refused(ErrorCode::Unreachable).map(|()| vec![]), Told::Nothing),
            (Ok(vec![refused(ErrorCode::MemoryLimit)]), Told::Nothing),
            (Ok(vec![refused(leaderless), refused(strong)]), Told::Strong),
            (Ok(vec![refused(leaderless), refused(leaderless)]), Told::Undecided),
            (Ok(vec![refused(leaderless), Ok(Answer::Count(0))]), Told::Eventual),
        ];
        for (answers, expected) in cases {
            assert!(told(&answers) == expected, "{answers:?}");
        }
    }

    #[test]
    fn what_a_group_answers_is_told_operation_by_operation() {
        let outcome = |existed| group::Outcome { existed, number: None };
        let outcomes = vec![outcome(true), outcome(false)];
        let reply = Reply::Done(group::Answer::Written { revision: Some(group::Revision(9)), outcomes });
        let Ok(Outcome::Answers(answers)) = settled(Ok(reply)) else { panic!("no answers") };
        let version = Timestamp(9);
        assert_eq!(answers[0], Ok(Answer::Written(Written { version, existed: true })));
        assert_eq!(answers[1], Ok(Answer::Written(Written { version, existed: false })));
        let code = |reply| settled(reply).err().map(|error| error.code());
        assert_eq!(code(Err(Error::new(ErrorCode::UnknownKeyspace, "none"))), Some(ErrorCode::NoLeader));
        assert_eq!(code(Ok(Reply::Keyspaces(Vec::new()))), Some(ErrorCode::Internal));
    }
}
