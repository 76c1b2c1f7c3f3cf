//! The stored forms of entries and their requests.

use super::{bad, invalid, put_bool, put_option, put_signed, take_bool, take_option, take_signed};
use crate::{
    config::HistoryBounds,
    limits::KEYSPACE_NAME_BYTES_MAX,
    replication::strong::machine::{
        Command, Entry, Guard, KeyspaceId, LeaseId, Lifetime, LockName, Operation, OperationKind, Request, RequestId,
        Revision, SeenLease, Transaction,
    },
    storage::codec::{put_list, put_number, put_sized, Decoded, Fault, Reader, Stored},
    types::{Key, Value},
};

impl Stored for Entry {
    const BYTES_LEAST: usize = 9;

    fn put(&self, buf: &mut Vec<u8>) {
        // An entry is large, and growing step by step copies it again and again.
        buf.reserve(2 * Self::BYTES_LEAST + self.weight());
        buf.extend_from_slice(&self.time_ms.to_le_bytes());
        put_list(buf, &self.requests);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Entry> {
        Ok(Entry { time_ms: reader.take_u64("entry.time_ms")?, requests: reader.take_list("entry.requests")? })
    }
}

impl Stored for Request {
    const BYTES_LEAST: usize = 2;

    fn put(&self, buf: &mut Vec<u8>) {
        put_option(buf, self.id.as_ref());
        self.command.put(buf);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Request> {
        let id: Option<RequestId> = take_option(reader, "request.id")?;
        Ok(Request { id, command: Command::take(reader)? })
    }
}

impl Stored for Command {
    const BYTES_LEAST: usize = 1;

    fn put(&self, buf: &mut Vec<u8>) {
        match self {
            Command::Register => buf.push(1),
            Command::Transact(transaction) => {
                buf.push(2);
                transaction.put(buf);
            }
            Command::Grant { ttl_ms } => {
                buf.push(3);
                put_number(buf, *ttl_ms);
            }
            Command::KeepAlive { lease } => put_tagged(buf, 4, lease),
            Command::Revoke { lease } => put_tagged(buf, 5, lease),
            Command::Expire { term, leases } => {
                buf.push(6);
                put_number(buf, *term);
                put_list(buf, leases);
            }
            Command::Acquire { lock, lease, value, wait } => {
                put_tagged(buf, 7, lock);
                lease.put(buf);
                value.put(buf);
                put_bool(buf, *wait);
            }
            Command::Release { lock, lease } => {
                put_tagged(buf, 8, lock);
                lease.put(buf);
            }
            Command::Proclaim { lock, token, value } => {
                put_tagged(buf, 9, lock);
                token.put(buf);
                value.put(buf);
            }
            Command::CreateKeyspace { name } => {
                buf.push(10);
                put_sized(buf, name.as_bytes());
            }
            Command::CreateEventual { name, group, keep_conflicts } => {
                buf.push(13);
                put_sized(buf, name.as_bytes());
                buf.extend_from_slice(&group.to_le_bytes());
                put_number(buf, *keep_conflicts);
            }
            Command::DropKeyspace { keyspace } => put_tagged(buf, 11, keyspace),
            Command::Compact { revision } => put_tagged(buf, 12, revision),
            Command::Retain(HistoryBounds { changes, bytes, age_ms }) => {
                buf.push(14);
                [changes, bytes, age_ms].into_iter().for_each(|number| put_number(buf, *number));
            }
            Command::Begin(first) => put_tagged(buf, 15, first),
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Command> {
        Ok(match reader.take_u8("command")? {
            1 => Command::Register,
            2 => Command::Transact(Transaction::take(reader)?),
            3 => Command::Grant { ttl_ms: reader.take_number("grant.ttl_ms")? },
            4 => Command::KeepAlive { lease: LeaseId::take(reader)? },
            5 => Command::Revoke { lease: LeaseId::take(reader)? },
            6 => {
                Command::Expire { term: reader.take_number("expire.term")?, leases: reader.take_list("expire.leases")? }
            }
            7 => Command::Acquire {
                lock: LockName::take(reader)?,
                lease: LeaseId::take(reader)?,
                value: Value::take(reader)?,
                wait: take_bool(reader, "acquire.wait")?,
            },
            8 => Command::Release { lock: LockName::take(reader)?, lease: LeaseId::take(reader)? },
            9 => Command::Proclaim {
                lock: LockName::take(reader)?,
                token: Revision::take(reader)?,
                value: Value::take(reader)?,
            },
            10 => Command::CreateKeyspace { name: take_name(reader)? },
            11 => Command::DropKeyspace { keyspace: KeyspaceId::take(reader)? },
            12 => Command::Compact { revision: Revision::take(reader)? },
            13 => Command::CreateEventual {
                name: take_name(reader)?,
                group: reader.take_u64("create.group")?,
                keep_conflicts: reader.take_number("create.keep_conflicts")?,
            },
            14 => Command::Retain(HistoryBounds {
                changes: reader.take_number("retain.changes")?,
                bytes: reader.take_number("retain.bytes")?,
                age_ms: reader.take_number("retain.age_ms")?,
            }),
            15 => Command::Begin(Revision::take(reader)?),
            other => return invalid("command", other),
        })
    }
}

fn put_tagged(buf: &mut Vec<u8>, tag: u8, value: &impl Stored) {
    buf.push(tag);
    value.put(buf);
}

/// A name within its upper bound; the machine refuses one that is empty.
pub(super) fn take_name(reader: &mut Reader<'_>) -> Decoded<String> {
    reader.take_text("keyspace.name", KEYSPACE_NAME_BYTES_MAX).map(str::to_string)
}

impl Stored for SeenLease {
    const BYTES_LEAST: usize = 2;

    fn put(&self, buf: &mut Vec<u8>) {
        self.lease.put(buf);
        put_number(buf, self.generation);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<SeenLease> {
        Ok(SeenLease { lease: LeaseId::take(reader)?, generation: reader.take_number("lease.generation")? })
    }
}

impl Stored for LockName {
    const BYTES_LEAST: usize = 1 + Key::BYTES_LEAST;

    fn put(&self, buf: &mut Vec<u8>) {
        self.keyspace.put(buf);
        self.name.put(buf);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<LockName> {
        Ok(LockName { keyspace: KeyspaceId::take(reader)?, name: Key::take(reader)? })
    }
}

impl Stored for Transaction {
    const BYTES_LEAST: usize = 3;

    fn put(&self, buf: &mut Vec<u8>) {
        self.keyspace.put(buf);
        put_list(buf, &self.guards);
        put_list(buf, &self.operations);
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Transaction> {
        Ok(Transaction {
            keyspace: KeyspaceId::take(reader)?,
            guards: reader.take_list("transaction.guards")?,
            operations: reader.take_list("transaction.operations")?,
        })
    }
}

impl Stored for Guard {
    const BYTES_LEAST: usize = 1 + Key::BYTES_LEAST;

    fn put(&self, buf: &mut Vec<u8>) {
        match self {
            Guard::Version { key, version } => {
                put_tagged(buf, 1, key);
                version.put(buf);
            }
            Guard::Absent { key } => put_tagged(buf, 2, key),
            Guard::Present { key } => put_tagged(buf, 3, key),
            Guard::Holds { lock, token } => {
                put_tagged(buf, 4, lock);
                token.put(buf);
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Guard> {
        let kind = reader.take_u8("guard")?;
        let key = Key::take(reader)?;
        Ok(match kind {
            1 => Guard::Version { key, version: Revision::take(reader)? },
            2 => Guard::Absent { key },
            3 => Guard::Present { key },
            4 => Guard::Holds { lock: key, token: Revision::take(reader)? },
            other => return invalid("guard", other),
        })
    }
}

impl Stored for Operation {
    const BYTES_LEAST: usize = Key::BYTES_LEAST + 1;

    fn put(&self, buf: &mut Vec<u8>) {
        self.key.put(buf);
        match &self.kind {
            OperationKind::Put { value, flags, lifetime } => {
                buf.push(1);
                value.put(buf);
                put_number(buf, (*flags).into());
                lifetime.put(buf);
            }
            OperationKind::Delete => buf.push(2),
            OperationKind::Touch { lifetime } => put_tagged(buf, 3, lifetime),
            OperationKind::Increment { by, initial, lifetime } => {
                buf.push(4);
                put_signed(buf, *by);
                put_signed(buf, *initial);
                lifetime.put(buf);
            }
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Operation> {
        let key = Key::take(reader)?;
        let kind = match reader.take_u8("operation")? {
            1 => OperationKind::Put {
                value: Value::take(reader)?,
                flags: reader.take_number_u32("operation.flags")?,
                lifetime: Lifetime::take(reader)?,
            },
            2 => OperationKind::Delete,
            3 => OperationKind::Touch { lifetime: Lifetime::take(reader)? },
            4 => OperationKind::Increment {
                by: take_signed(reader, "operation.by")?,
                initial: take_signed(reader, "operation.initial")?,
                lifetime: Lifetime::take(reader)?,
            },
            other => return invalid("operation", other),
        };
        Ok(Operation { key, kind })
    }
}

impl Stored for Lifetime {
    const BYTES_LEAST: usize = 1;

    fn put(&self, buf: &mut Vec<u8>) {
        match self {
            Lifetime::Forever => buf.push(0),
            Lifetime::Ttl(ttl_ms) => {
                buf.push(1);
                put_number(buf, *ttl_ms);
            }
            Lifetime::Lease(lease) => put_tagged(buf, 2, lease),
        }
    }

    fn take(reader: &mut Reader<'_>) -> Decoded<Lifetime> {
        match reader.take_u8("lifetime")? {
            0 => Ok(Lifetime::Forever),
            1 => reader.take_number("lifetime.ttl_ms").map(Lifetime::Ttl),
            2 => LeaseId::take(reader).map(Lifetime::Lease),
            other => bad("lifetime", Fault::Invalid(other.into())),
        }
    }
}
