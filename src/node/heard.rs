//! What operators who listen hear of calls to strong keyspaces: the single operations, each with its key.

use std::time::Duration;

use bytes::Bytes;

use crate::{
    error::Result,
    replication::{
        strong::{Call, Command, Operation, OperationKind, Read, ReadAnswer, ReadKind, Reply, Submission},
        Picked, Tap,
    },
    types::SampledCall,
};

/// The operations of a call, and who is to be told of each.
pub(super) struct Heard<'a>(Vec<(Option<Picked<'a>>, SampledCall)>);

impl Heard<'_> {
    /// Before the call is made.
    #[cold]
    pub(super) fn of<'a>(tap: &'a Tap, call: &Call) -> Heard<'a> {
        Heard(operations(call).into_iter().map(|operation| (tap.pick(), operation)).collect())
    }

    /// Tells them, once there is an answer: of reads it says how large the values are.
    pub(super) fn tell(self, reply: &Result<Reply>) {
        let found = match reply {
            Ok(Reply::Read(reply)) => reply.answers.iter().map(value_bytes).collect(),
            _ => Vec::new(),
        };
        for (at, (picked, operation)) in self.0.into_iter().enumerate() {
            let value_bytes = found.get(at).copied().unwrap_or(operation.value_bytes);
            if let Some(picked) = picked {
                picked.tell(SampledCall { value_bytes, ..operation });
            }
        }
    }
}

/// Of calls about leases and keyspaces nothing is told.
fn operations(call: &Call) -> Vec<SampledCall> {
    let sampled = |keyspace: &str, kind: &'static str, key: &[u8], value_bytes: usize| SampledCall {
        kind: kind.into(),
        keyspace: keyspace.to_string(),
        key: Bytes::copy_from_slice(key),
        client: None,
        value_bytes: value_bytes as u64,
        at: Duration::ZERO,
    };
    match call {
        Call::Submit(Submission { keyspace, command, .. }) => match command {
            Command::Transact(transaction) => {
                let told = |Operation { key, kind }: &Operation| match kind {
                    OperationKind::Put { value, .. } => sampled(keyspace, "put", key, value.len()),
                    OperationKind::Delete => sampled(keyspace, "delete", key, 0),
                    OperationKind::Touch { .. } => sampled(keyspace, "touch", key, 0),
                    OperationKind::Increment { .. } => sampled(keyspace, "incr", key, 0),
                };
                transaction.operations.iter().map(told).collect()
            }
            Command::Acquire { lock, value, .. } => vec![sampled(keyspace, "lock", &lock.name, value.len())],
            Command::Release { lock, .. } => vec![sampled(keyspace, "unlock", &lock.name, 0)],
            Command::Proclaim { lock, value, .. } => vec![sampled(keyspace, "proclaim", &lock.name, value.len())],
            Command::Register
            | Command::Grant { .. }
            | Command::KeepAlive { .. }
            | Command::Revoke { .. }
            | Command::Expire { .. }
            | Command::CreateKeyspace { .. }
            | Command::CreateEventual { .. }
            | Command::DropKeyspace { .. }
            | Command::Compact { .. }
            | Command::Retain(_)
            | Command::Begin(_) => Vec::new(),
        },
        Call::Read(call) => {
            let told = |Read { kind, .. }: &Read| match kind {
                ReadKind::Key { key, .. } => sampled(&call.keyspace, "get", key, 0),
                ReadKind::Page { page, .. } => sampled(&call.keyspace, "scan", &page.range.prefix, 0),
                ReadKind::Count(range) => sampled(&call.keyspace, "count", &range.prefix, 0),
            };
            call.reads.iter().map(told).collect()
        }
        Call::AwaitLock { .. } | Call::Lease(_) | Call::Leases { .. } | Call::Keyspaces => Vec::new(),
    }
}

fn value_bytes(answer: &ReadAnswer) -> u64 {
    match answer {
        ReadAnswer::Key { item, .. } => item.as_ref().map_or(0, |item| item.value.len() as u64),
        ReadAnswer::Page { page, .. } => page.items.iter().map(|(_, item)| item.value.len() as u64).sum(),
        ReadAnswer::Count(_) => 0,
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::{
        env::SimulatedClock,
        error::{Error, ErrorCode},
        replication::strong::{Freshness, KeyspaceId, Lifetime, ReadCall, ReadReply, Space, Transaction},
        types::{Key, KeyRange, Sampling, Value, SHARE_WHOLE},
    };

    fn key(text: &str) -> Key {
        Key::new(text.as_bytes()).unwrap()
    }

    #[tokio::test]
    async fn each_operation_is_told_by_itself() {
        let tap = Arc::new(Tap::new(Arc::new(SimulatedClock::new(1))));
        let mut listening = tap.listen(Sampling::Share(SHARE_WHOLE)).unwrap();
        let put = OperationKind::Put { value: Value::new(b"xyz").unwrap(), flags: 0, lifetime: Lifetime::Forever };
        let operations =
            vec![Operation { key: key("a"), kind: put }, Operation { key: key("b"), kind: OperationKind::Delete }];
        let transaction = Transaction { keyspace: KeyspaceId(0), guards: Vec::new(), operations };
        let command = Command::Transact(transaction);
        let change = Call::Submit(Submission { id: None, keyspace: "jobs".into(), command });
        Heard::of(&tap, &change).tell(&Err(Error::new(ErrorCode::NoLeader, "nobody leads")));
        let read = Read { space: Space::Data, kind: ReadKind::Count(KeyRange::prefix(b"p")) };
        let call = ReadCall { keyspace: "jobs".into(), freshness: Freshness::Local, at: None, reads: vec![read] };
        let reply = ReadReply { answers: vec![ReadAnswer::Count(7)], ..ReadReply::default() };
        Heard::of(&tap, &Call::Read(call)).tell(&Ok(Reply::Read(reply)));
        Heard::of(&tap, &Call::Keyspaces).tell(&Ok(Reply::Keyspaces(Vec::new())));
        let page = listening.next().await;
        let told = page.calls.iter().map(|(call, _)| (&*call.kind, &call.key[..], call.value_bytes));
        let expected = [("put", &b"a"[..], 3), ("delete", &b"b"[..], 0), ("count", &b"p"[..], 0)];
        assert_eq!(told.collect::<Vec<_>>(), expected);
        assert!(page.calls.iter().all(|(call, _)| call.keyspace == "jobs"));
        assert_eq!(page.seen, 3);
    }
}
