//! The keyspace `default` is eventual or strong, and a program need not know which: its calls are made as for an eventual one,
//! and go to the group where that has it.
//!
//! A node of this process knows. A client asks in the eventual way first, which costs nothing where it is right, keeps what was
//! asked, and asks again in the strong way when a node refuses by [`ErrorCode::DefaultIsStrong`]: that has changed nothing. From
//! the first answer on the client knows, and keeps nothing.
//!
//! Not done: a client that was served in the eventual way by a node which did not know better gets the refusal of the next
//! node once, as an error.

use std::{mem, sync::Arc, time::Duration};

use parking_lot::Mutex;

use super::{
    answer::{mismatch, Outcome},
    client::{Connection, Started},
    convert::Level,
    strong,
};
use crate::{
    client::{as_eventual, as_strong, told, Known, StrongClient, StrongTicket, Told},
    env::{Clock, SystemClock},
    error::{Error, ErrorCode, Result},
    replication::strong::{Call, Reply},
    types::{Answer, Consistency, Key, Operation, ReadLevel, DEFAULT_KEYSPACE},
};

/// Called once with the outcome of a call.
pub(super) type Done = Box<dyn FnOnce(Result<Outcome>) + Send>;

/// What the group answered, as if in the eventual way.
///
/// # Errors
/// Those of the call; `NO_LEADER` when the group was found a moment ago and has no such keyspace.
pub(super) fn settled(reply: Result<Reply>) -> Result<Outcome> {
    let answers = match reply {
        Ok(Reply::Done(answer)) => as_eventual(answer).ok_or_else(mismatch)?,
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
    let is_eventual = known.get() == Some(Consistency::Eventual);
    let Some(call) = (!is_eventual).then(|| as_strong(&operations, read.strong())).flatten() else {
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
        return Ok(Started::Strong(ask_group(&strong, call, timeout, (known, done))));
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

/// Asks in the strong way; what comes of it says what `default` is.
fn ask_group(
    strong: &StrongClient,
    call: Call,
    timeout: Option<Duration>,
    (known, done): (Arc<Known>, Done),
) -> StrongTicket {
    let done = Box::new(move |reply: Result<Reply>| {
        match reply.as_ref().map_err(Error::code) {
            Ok(_) => known.set(Consistency::Strong),
            Err(ErrorCode::UnknownKeyspace) => known.set(Consistency::Eventual),
            Err(_) => {}
        }
        done(settled(reply));
    });
    strong.submit(call, timeout, done)
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
        let Trial { call, strong, known, clock, timeout, stage, done, .. } = self;
        let left = timeout.map(|timeout| timeout.saturating_sub(clock.monotonic()));
        let mut stage = stage.lock();
        if !matches!(*stage, Stage::GivenUp) {
            *stage = Stage::Second(ask_group(&strong, call, left, (known, done)));
        }
    }
}
