//! Changes: what a client submits.

use super::{
    bad, check_call, key, required,
    transactions::{decode_transaction, encode_transaction},
    v1, value,
};
use crate::{
    error::{Error, ErrorCode, Result},
    replication::strong::{Call, ClientId, Command, KeyspaceId, LeaseId, LockName, RequestId, Revision, Submission},
};

/// # Errors
/// `INVALID_ARGUMENT` for a command that is not a client's.
pub(super) fn encode_submission(submission: &Submission) -> Result<v1::SubmitRequest> {
    use v1::submit_request::Command as Body;
    let command = match &submission.command {
        Command::Register => Body::Register(v1::RegisterCommand {}),
        Command::Transact(transaction) => Body::Transact(encode_transaction(transaction)),
        Command::Grant { ttl_ms } => Body::Grant(v1::GrantCommand { ttl_ms: *ttl_ms }),
        Command::KeepAlive { lease } => Body::KeepAlive(v1::KeepAliveCommand { lease: lease.0 }),
        Command::Revoke { lease } => Body::Revoke(v1::RevokeCommand { lease: lease.0 }),
        Command::Acquire { lock, lease, value, wait } => Body::Acquire(v1::AcquireCommand {
            lock: lock.name.to_bytes(),
            lease: lease.0,
            value: value.to_bytes(),
            wait: *wait,
        }),
        Command::Release { lock, lease } => {
            Body::Release(v1::ReleaseCommand { lock: lock.name.to_bytes(), lease: lease.0 })
        }
        Command::Proclaim { lock, token, value } => {
            Body::Proclaim(v1::ProclaimCommand { lock: lock.name.to_bytes(), token: token.0, value: value.to_bytes() })
        }
        Command::CreateKeyspace { .. } => Body::CreateKeyspace(v1::CreateKeyspaceCommand::default()),
        Command::CreateEventual { keep_conflicts, .. } => {
            let eventual = Some(v1::EventualKeyspace { keep_conflicts: *keep_conflicts });
            Body::CreateKeyspace(v1::CreateKeyspaceCommand { eventual })
        }
        Command::DropKeyspace { .. } => Body::DropKeyspace(v1::DropKeyspaceCommand {}),
        Command::Compact { revision } => Body::Compact(v1::CompactCommand { revision: revision.0 }),
        Command::Expire { .. } | Command::Retain(_) | Command::Begin(_) => {
            return Err(Error::new(ErrorCode::InvalidArgument, "command: only a leader says this"));
        }
    };
    let id = submission.id.map(|id| v1::RequestId { client: id.client.0, number: id.number });
    Ok(v1::SubmitRequest { id, keyspace: submission.keyspace.clone(), command: Some(command) })
}

/// The call of a unary submit.
///
/// # Errors
/// `MALFORMED_MESSAGE`, `KEY_EMPTY`, `KEY_TOO_LONG`, `VALUE_TOO_LARGE`, and those of [`check_call`].
pub(super) fn decode_submission(request: v1::SubmitRequest) -> Result<Call> {
    use v1::submit_request::Command as Body;
    let id = request.id.map(decode_id).transpose()?;
    let command = match required("command", request.command)? {
        Body::Register(v1::RegisterCommand {}) => Command::Register,
        Body::Transact(command) => Command::Transact(decode_transaction(command)?),
        Body::Grant(command) => Command::Grant { ttl_ms: command.ttl_ms },
        Body::KeepAlive(command) => Command::KeepAlive { lease: LeaseId(command.lease) },
        Body::Revoke(command) => Command::Revoke { lease: LeaseId(command.lease) },
        Body::Acquire(command) => Command::Acquire {
            lock: lock("acquire.lock", &command.lock)?,
            lease: LeaseId(command.lease),
            value: value("acquire", &command.value)?,
            wait: command.wait,
        },
        Body::Release(command) => {
            Command::Release { lock: lock("release.lock", &command.lock)?, lease: LeaseId(command.lease) }
        }
        Body::Proclaim(command) => Command::Proclaim {
            lock: lock("proclaim.lock", &command.lock)?,
            token: Revision(command.token),
            value: value("proclaim", &command.value)?,
        },
        Body::CreateKeyspace(v1::CreateKeyspaceCommand { eventual: None }) => {
            Command::CreateKeyspace { name: request.keyspace.clone() }
        }
        // The node that serves the call draws the number of the group.
        Body::CreateKeyspace(v1::CreateKeyspaceCommand { eventual: Some(eventual) }) => Command::CreateEventual {
            name: request.keyspace.clone(),
            group: 0,
            keep_conflicts: eventual.keep_conflicts,
        },
        Body::DropKeyspace(v1::DropKeyspaceCommand {}) => Command::DropKeyspace { keyspace: KeyspaceId::default() },
        Body::Compact(command) => Command::Compact { revision: Revision(command.revision) },
    };
    let call = Call::Submit(Submission { id, keyspace: request.keyspace, command });
    check_call(&call)?;
    Ok(call)
}

/// Numbers count from 1: a 0 is a field that was left out.
fn decode_id(id: v1::RequestId) -> Result<RequestId> {
    for (field, number) in [("id.client", id.client), ("id.number", id.number)] {
        if number == 0 {
            return Err(bad(field, "must not be 0"));
        }
    }
    Ok(RequestId { client: ClientId(id.client), number: id.number })
}

/// The node that serves the call knows the keyspace.
fn lock(field: &'static str, name: &[u8]) -> Result<LockName> {
    Ok(LockName { keyspace: KeyspaceId::default(), name: key(field, name)? })
}
