//! Whether clients are served from here: the keyspace `default` may be strong, and then it is kept elsewhere.
//!
//! Replication does not ask: what a peer sends is taken in and told on in any case.

use super::Eventual;
use crate::{
    error::{Error, ErrorCode, Result},
    sync::Ordering,
    types::DefaultKeyspace,
};

impl Eventual {
    /// What the keyspace `default` is.
    pub fn default_keyspace(&self) -> DefaultKeyspace {
        // Nothing else is published with it, and a call that comes at the moment of a change may find either.
        let found = self.default_keyspace.load(Ordering::Relaxed);
        DefaultKeyspace::ALL.into_iter().find(|default| *default as u64 == found).unwrap_or_default()
    }

    /// Says what it is from now on. Unless somebody says so it is eventual. Watches that have no place here any more end.
    pub fn set_default_keyspace(&self, default: DefaultKeyspace) {
        self.default_keyspace.store(default as u64, Ordering::Relaxed);
        self.listeners.wake();
    }

    /// Whether clients read and write here.
    #[inline]
    pub fn serves_clients(&self) -> bool {
        self.default_keyspace.load(Ordering::Relaxed) == DefaultKeyspace::Eventual as u64
    }

    /// Refuses a client that is not to be served here.
    ///
    /// # Errors
    /// `DEFAULT_IS_STRONG`; `NO_LEADER` while nobody has said what the keyspace is.
    #[inline]
    pub fn check_clients(&self) -> Result<()> {
        match self.serves_clients() {
            true => Ok(()),
            false => Err(refusal(self.default_keyspace())),
        }
    }
}

#[cold]
fn refusal(default: DefaultKeyspace) -> Error {
    match default {
        DefaultKeyspace::Eventual | DefaultKeyspace::Undecided => {
            let text = "keyspace `default`: it is to be strong (default_consistency), and this node has not found the \
                        strong group of its cluster yet";
            Error::new(ErrorCode::NoLeader, text)
        }
        DefaultKeyspace::Strong => {
            let text = "keyspace `default`: it is strong in this cluster, and was asked for as an eventual one";
            Error::new(ErrorCode::DefaultIsStrong, text)
        }
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        env::SimulatedClock,
        replication::{eventual::Watcher, execute},
        types::{
            Answer, Command, CommandKind, Key, KeyRange, NodeId, Operation, Value, WatchFilter, WatchRequest,
            WatchStart,
        },
    };

    #[test]
    fn clients_are_refused_by_reason_and_nothing_is_done() {
        let keyspace = Eventual::new(NodeId(1), Arc::new(SimulatedClock::new(1)));
        let key = Key::new(b"k").unwrap();
        let kind = CommandKind::Put { value: Value::new(b"v").unwrap(), flags: 0, ttl_ms: None };
        let operations = [
            Operation::Write(Command { key: key.clone(), kind }),
            Operation::Get { key, metadata_only: false },
            Operation::Count(KeyRange::default()),
        ];
        for (default, code) in
            [(DefaultKeyspace::Undecided, ErrorCode::NoLeader), (DefaultKeyspace::Strong, ErrorCode::DefaultIsStrong)]
        {
            keyspace.set_default_keyspace(default);
            assert_eq!(keyspace.default_keyspace(), default);
            for operation in operations.clone() {
                let refused = execute(&keyspace, operation).unwrap_err();
                assert_eq!((refused.code(), refused.is_maybe_applied()), (code, false));
            }
            assert_eq!(execute(&keyspace, Operation::Ping), Ok(Answer::Pong), "it concerns no keyspace");
        }
        keyspace.set_default_keyspace(DefaultKeyspace::Eventual);
        assert_eq!(execute(&keyspace, operations[2].clone()), Ok(Answer::Count(0)));
        execute(&keyspace, operations[0].clone()).unwrap();
        assert_eq!(execute(&keyspace, operations[2].clone()), Ok(Answer::Count(1)));
    }

    #[tokio::test]
    async fn a_watch_ends_when_the_keyspace_turns_out_to_be_elsewhere() {
        let keyspace = Arc::new(Eventual::new(NodeId(1), Arc::new(SimulatedClock::new(1))));
        let request = WatchRequest { filter: WatchFilter::All, start: WatchStart::Now };
        let mut watcher = Watcher::new(keyspace.clone(), request).unwrap();
        watcher.next().await.unwrap();
        let (next, ()) = tokio::join!(watcher.next(), async { keyspace.set_default_keyspace(DefaultKeyspace::Strong) });
        assert_eq!(next.unwrap_err().code(), ErrorCode::DefaultIsStrong);
    }
}
