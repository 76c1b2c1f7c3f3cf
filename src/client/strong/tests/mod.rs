//! A session with a real state machine behind ordered faults: in this process with time that stands still, and over the
//! network.

mod leases;
mod outcomes;
mod remote;
mod sessions;
mod watches;

use tokio::time::Instant;

use super::*;
use crate::{
    env::{Clock, SeededRng},
    error::{Error, ErrorCode},
    replication::strong::{
        Answer, Command, Freshness, KeyspaceId, Lifetime, LockName, Operation, OperationKind, Read, ReadAnswer,
        ReadCall, ReadKind, Revision, Space, Submission, Transaction,
    },
    rpc::{FakeGroup, Fault},
    types::{Key, Value},
};

/// The clock of tokio's own time, which tests stop.
struct TokioClock(Instant);

impl Clock for TokioClock {
    fn wall_ms(&self) -> u64 {
        1_700_000_000_000
    }

    fn monotonic(&self) -> Duration {
        self.0.elapsed()
    }
}

fn env() -> Env {
    Env { clock: Arc::new(TokioClock(Instant::now())), rng: Arc::new(SeededRng::new(1)), ..Env::system() }
}

/// A session with a group of this process.
fn near(group: &Arc<FakeGroup>) -> StrongClient {
    StrongClient::of_backend(group.clone(), tokio::runtime::Handle::current(), env())
}

const SECONDS: Option<Duration> = Some(Duration::from_secs(20));

fn key(text: &str) -> Key {
    Key::new(text.as_bytes()).unwrap()
}

fn change(keyspace: &str, command: Command) -> Call {
    Call::Submit(Submission { id: None, keyspace: keyspace.into(), command })
}

fn transact(operations: Vec<Operation>) -> Call {
    change("jobs", Command::Transact(Transaction { keyspace: KeyspaceId::default(), guards: Vec::new(), operations }))
}

fn put(name: &str, value: &[u8]) -> Call {
    let kind = OperationKind::Put { value: Value::new(value).unwrap(), flags: 0, lifetime: Lifetime::Forever };
    transact(vec![Operation { key: key(name), kind }])
}

fn increment(name: &str) -> Call {
    let kind = OperationKind::Increment { by: 1, initial: 0, lifetime: Lifetime::Forever };
    transact(vec![Operation { key: key(name), kind }])
}

fn read(freshness: Freshness, names: &[&str]) -> Call {
    let read = |name: &&str| Read { space: Space::Data, kind: ReadKind::Key { key: key(name), metadata_only: false } };
    Call::Read(ReadCall { keyspace: "jobs".into(), freshness, at: None, reads: names.iter().map(read).collect() })
}

fn grant(ttl: Duration) -> Call {
    change("", Command::Grant { ttl_ms: ttl.as_millis() as u64 })
}

fn lost() -> Error {
    Error::new(ErrorCode::ConnectionLost, "reset").maybe_applied()
}

fn no_leader() -> Error {
    Error::new(ErrorCode::NoLeader, "no majority")
}

fn revision_of(reply: &Reply) -> Option<Revision> {
    match reply {
        Reply::Done(Answer::Written { revision, .. }) => *revision,
        other => panic!("a transaction was answered by {other:?}"),
    }
}

/// What an increment has made of a key.
fn sum(group: &FakeGroup, name: &str) -> Option<i64> {
    let item = group.item(&key(name))?;
    Some(i64::from_le_bytes(item.value.as_slice().try_into().unwrap()))
}

/// Lets the others run until something is so.
async fn until(what: impl Fn() -> bool) {
    // Time may stand still, so this counts turns: far more than anything here takes.
    for _ in 0..100_000_000 {
        if what() {
            return;
        }
        tokio::task::yield_now().await;
    }
    panic!("it never came to be so");
}
