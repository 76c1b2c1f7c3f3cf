//! A keyspace is eventual or strong, and a program need not know which: its calls are made as for an eventual one, and go to the
//! group where that has it.
//!
//! A node of this process knows, or asks the group. A client asks in the eventual way first, which costs nothing where it is
//! right, keeps what was asked, and asks again in the strong way when a node refuses by [`ErrorCode::DefaultIsStrong`] or
//! [`ErrorCode::KeyspaceIsStrong`]: that has changed nothing. From the first answer on the client knows, and keeps nothing.
//!
//! Not done: a client that was served in the eventual way by a node which did not know better gets the refusal of the next
//! node once, as an error. So does one that knew a keyspace which was dropped, when another sort of the same name was made.

use std::{mem, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    answer::{mismatch, Outcome},
    convert::Level,
    request::Asked,
    started::Started,
    strong,
};
use crate::{
    client::{as_eventual, as_strong, told, Book, Client, Known, StrongClient, StrongTicket, Told},
    env::{Clock, SystemClock},
    error::{Error, ErrorCode, Result},
    replication::strong::{Call, Reply},
    types::{Answer, Consistency, Key, Operation, ReadLevel, DEFAULT_KEYSPACE},
};

/// Called once with the outcome of a call.
pub(super) type Done = Box<dyn FnOnce(Result<Outcome>) + Send>;

/// Called once with the reply to a call.
pub(super) type Note = Box<dyn FnOnce(&Result<Reply>) + Send>;

/// What the group answered, as if in the eventual way.
///
/// # Errors
/// Those of the call; `NO_LEADER` when it has no such keyspace because that is eventual, as was found a moment ago.
pub(super) fn settled(name: &str, reply: Result<Reply>) -> Result<Outcome> {
    let answers = match reply {
        Ok(Reply::Done(answer)) => as_eventual(answer).ok_or_else(mismatch)?,
        Ok(reply @ Reply::Read(_)) => strong::answers(reply)?,
        Ok(_) => return Err(mismatch()),
        Err(error) if is_eventual(name, &error) => {
            let name = if name.is_empty() { DEFAULT_KEYSPACE } else { name };
            let text = format!("keyspace `{name}`: it was found to be eventual just now; nothing was done, call again");
            return Err(Error::new(ErrorCode::NoLeader, text));
        }
        Err(error) => return Err(error),
    };
    Ok(Outcome::Answers(answers))
}

/// Whether the group says that a keyspace is eventual. Of an eventual `default` it knows nothing.
fn is_eventual(name: &str, error: &Error) -> bool {
    match error.code() {
        ErrorCode::KeyspaceIsEventual => true,
        ErrorCode::UnknownKeyspace => name.is_empty(),
        _ => false,
    }
}

/// Takes note of what the answer to any call of the group says of its keyspace, when there is one.
pub(super) fn note(book: &Book, call: &Call) -> Note {
    use crate::replication::strong::{Command, ReadCall, Submission};
    let of = |name: &String, consistency| Some((book.of(name), consistency));
    let (told, is_made) = match call {
        Call::Submit(Submission { keyspace, command, .. }) => match command {
            Command::CreateEventual { .. } => (of(keyspace, Some(Consistency::Eventual)), true),
            Command::CreateKeyspace { .. } => (of(keyspace, Some(Consistency::Strong)), true),
            Command::DropKeyspace { .. } => (of(keyspace, None), true),
            _ if keyspace.is_empty() => (None, false),
            _ => (of(keyspace, Some(Consistency::Strong)), false),
        },
        Call::Read(ReadCall { keyspace, .. }) | Call::AwaitLock { keyspace, .. } => {
            (of(keyspace, Some(Consistency::Strong)), false)
        }
        Call::Lease(_) | Call::Leases { .. } | Call::Keyspaces => (None, false),
    };
    Box::new(move |reply| {
        let Some((known, consistency)) = told else { return };
        match reply.as_ref().map_err(Error::code) {
            Ok(_) => known.tell(consistency),
            Err(ErrorCode::KeyspaceIsEventual) => known.tell(Some(Consistency::Eventual)),
            Err(ErrorCode::KeyspaceExists) if is_made => known.tell(None),
            Err(_) => {}
        }
    })
}

/// Starts a call about a keyspace of which so much is known.
///
/// # Errors
/// `UNSUPPORTED`, when the keyspace is eventual and does not promise such reads.
pub(super) fn start(
    (client, strong): (Client, StrongClient),
    (asked, known): (Asked, Arc<Known>),
    (read, timeout): (Level, Option<Duration>),
    done: Done,
) -> Result<Started> {
    let Asked { keyspace, operations } = asked;
    let name = keyspace.as_deref().unwrap_or_default();
    let is_eventual = known.get() == Some(Consistency::Eventual);
    let Some(call) = (!is_eventual).then(|| as_strong(name, &operations, read.strong())).flatten() else {
        let done = Box::new(move |answers: Result<Vec<_>>| {
            if told(&answers) == Told::Strong {
                known.set(Consistency::Strong);
            }
            done(answers.map(Outcome::Answers));
        });
        let call = client.submit_in(name, operations, read.eventual()?, timeout, done);
        return Ok(Started::Operations(client, call));
    };
    if known.get() == Some(Consistency::Strong) {
        return Ok(Started::Strong(ask_group(&strong, call, timeout, (keyspace, known, done))));
    }
    let stage = Arc::new(Mutex::new(Stage::First));
    let refused = read.eventual().err();
    // Where such a read is not promised nothing is to be done before it is known that it is.
    let (operations, level) = match &refused {
        Some(_) => (vec![question()?], ReadLevel::Local),
        None => (operations, read.eventual()?),
    };
    let (clock, kept) = (SystemClock::new(), stage.clone());
    let trial = Trial { keyspace: keyspace.clone(), call, refused, strong, known, clock, timeout, stage: kept, done };
    let first = client.submit_in(name, operations, level, timeout, Box::new(|answers| trial.settle(answers)));
    Ok(Started::Trial(client, first, Ticket(stage)))
}

/// Asks in the strong way; what comes of it says what the keyspace is.
fn ask_group(
    strong: &StrongClient,
    call: Call,
    timeout: Option<Duration>,
    (keyspace, known, done): (Option<Arc<str>>, Arc<Known>, Done),
) -> StrongTicket {
    let done = Box::new(move |reply: Result<Reply>| {
        let name = keyspace.as_deref().unwrap_or_default();
        match &reply {
            Ok(_) => known.set(Consistency::Strong),
            Err(error) if is_eventual(name, error) => known.set(Consistency::Eventual),
            Err(error) if error.code() == ErrorCode::UnknownKeyspace => known.tell(None),
            Err(_) => {}
        }
        done(settled(name, reply));
    });
    strong.submit(call, timeout, done)
}

/// A read whose answer does not matter.
pub(super) fn question() -> Result<Operation> {
    Ok(Operation::Get { key: Key::new(DEFAULT_KEYSPACE.as_bytes())?, metadata_only: true })
}

/// A call of a client that does not know yet.
struct Trial {
    keyspace: Option<Arc<str>>,
    /// In the strong way.
    call: Call,
    /// Why it is not to be done in the eventual way.
    refused: Option<Error>,
    strong: StrongClient,
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
        let Trial { keyspace, call, strong, known, clock, timeout, stage, done, .. } = self;
        let left = timeout.map(|timeout| timeout.saturating_sub(clock.monotonic()));
        let mut stage = stage.lock();
        if !matches!(*stage, Stage::GivenUp) {
            *stage = Stage::Second(ask_group(&strong, call, left, (keyspace, known, done)));
        }
    }
}
