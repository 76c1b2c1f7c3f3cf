//! Transactions: guards, operations and lifetimes.

use super::{key, required, v1, value, within};
use crate::{
    error::Result,
    replication::strong::{Guard, KeyspaceId, LeaseId, Lifetime, Operation, OperationKind, Revision, Transaction},
    types::Key,
};

pub(super) fn encode_transaction(transaction: &Transaction) -> v1::TransactCommand {
    v1::TransactCommand {
        guards: transaction.guards.iter().map(encode_guard).collect(),
        operations: transaction.operations.iter().map(encode_operation).collect(),
    }
}

pub(super) fn decode_transaction(command: v1::TransactCommand) -> Result<Transaction> {
    let guard = |(place, guard)| decode_guard(guard).map_err(within(format_args!("guards[{place}]")));
    let operation =
        |(place, operation)| decode_operation(operation).map_err(within(format_args!("operations[{place}]")));
    Ok(Transaction {
        keyspace: KeyspaceId::default(),
        guards: command.guards.into_iter().enumerate().map(guard).collect::<Result<_>>()?,
        operations: command.operations.into_iter().enumerate().map(operation).collect::<Result<_>>()?,
    })
}

fn encode_guard(guard: &Guard) -> v1::Guard {
    use v1::guard::Guard as Body;
    let body = match guard {
        Guard::Version { key, version } => Body::Version(v1::VersionGuard { key: key.to_bytes(), version: version.0 }),
        Guard::Absent { key } => Body::Absent(key.to_bytes()),
        Guard::Present { key } => Body::Present(key.to_bytes()),
        Guard::Holds { lock, token } => Body::Holds(v1::HoldsGuard { lock: lock.to_bytes(), token: token.0 }),
    };
    v1::Guard { guard: Some(body) }
}

fn decode_guard(guard: v1::Guard) -> Result<Guard> {
    use v1::guard::Guard as Body;
    Ok(match required("guard", guard.guard)? {
        Body::Version(guard) => Guard::Version { key: key("version", &guard.key)?, version: Revision(guard.version) },
        Body::Absent(bytes) => Guard::Absent { key: key("absent", &bytes)? },
        Body::Present(bytes) => Guard::Present { key: key("present", &bytes)? },
        Body::Holds(guard) => Guard::Holds { lock: key("holds.lock", &guard.lock)?, token: Revision(guard.token) },
    })
}

fn encode_operation(operation: &Operation) -> v1::StrongOperation {
    use v1::strong_operation::Operation as Body;
    let body = match &operation.kind {
        OperationKind::Put { value, flags, lifetime } => {
            Body::Put(v1::StrongPut { value: value.to_bytes(), flags: *flags, lifetime: encode_lifetime(*lifetime) })
        }
        OperationKind::Delete => Body::Delete(v1::StrongDelete {}),
        OperationKind::Touch { lifetime } => Body::Touch(encode_lifetime(*lifetime).unwrap_or_default()),
        OperationKind::Increment { by, initial, lifetime } => {
            Body::Increment(v1::StrongIncrement { by: *by, initial: *initial, lifetime: encode_lifetime(*lifetime) })
        }
    };
    v1::StrongOperation { key: operation.key.to_bytes(), operation: Some(body) }
}

fn decode_operation(operation: v1::StrongOperation) -> Result<Operation> {
    use v1::strong_operation::Operation as Body;
    let kind = match required("operation", operation.operation)? {
        Body::Put(put) => OperationKind::Put {
            value: value("put", &put.value)?,
            flags: put.flags,
            lifetime: decode_lifetime(put.lifetime),
        },
        Body::Delete(v1::StrongDelete {}) => OperationKind::Delete,
        Body::Touch(lifetime) => OperationKind::Touch { lifetime: decode_lifetime(Some(lifetime)) },
        Body::Increment(increment) => OperationKind::Increment {
            by: increment.by,
            initial: increment.initial,
            lifetime: decode_lifetime(increment.lifetime),
        },
    };
    Ok(Operation { key: Key::new(&operation.key)?, kind })
}

/// Absent: for ever.
fn encode_lifetime(lifetime: Lifetime) -> Option<v1::Lifetime> {
    use v1::lifetime::Lifetime as Body;
    let body = match lifetime {
        Lifetime::Forever => return None,
        Lifetime::Ttl(ttl_ms) => Body::TtlMs(ttl_ms),
        Lifetime::Lease(lease) => Body::Lease(lease.0),
    };
    Some(v1::Lifetime { lifetime: Some(body) })
}

/// The bounds of a time to live are checked with the whole transaction.
fn decode_lifetime(lifetime: Option<v1::Lifetime>) -> Lifetime {
    use v1::lifetime::Lifetime as Body;
    match lifetime.and_then(|lifetime| lifetime.lifetime) {
        None => Lifetime::Forever,
        Some(Body::TtlMs(ttl_ms)) => Lifetime::Ttl(ttl_ms),
        Some(Body::Lease(lease)) => Lifetime::Lease(LeaseId(lease)),
    }
}
