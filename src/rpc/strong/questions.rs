//! Questions: for a lock, leases, the keyspaces.

use super::{bad, check_call, key, other_reply, v1};
use crate::{
    error::Result,
    limits::{check_keyspace_name, KEYSPACES_MAX, LEASES_PER_PAGE_MAX},
    replication::strong::{Call, KeyspaceFacts, Lease, LeaseId, LeasePage, Reply, Revision},
    types::{Consistency, Key},
};

pub(super) fn encode_await_lock(keyspace: &str, lock: &Key, lease: LeaseId, wait_ms: u64) -> v1::AwaitLockRequest {
    v1::AwaitLockRequest {
        keyspace: keyspace.to_string(),
        lock: lock.to_bytes(),
        lease: lease.0,
        wait_ms: u32::try_from(wait_ms).unwrap_or(u32::MAX),
    }
}

/// # Errors
/// `KEY_EMPTY`, `KEY_TOO_LONG`, and those of [`check_call`].
pub(super) fn decode_await_lock(request: v1::AwaitLockRequest) -> Result<Call> {
    let (lock, lease) = (key("lock", &request.lock)?, LeaseId(request.lease));
    let call = Call::AwaitLock { keyspace: request.keyspace, lock, lease, wait_ms: request.wait_ms.into() };
    check_call(&call)?;
    Ok(call)
}

pub(super) fn encode_lock(reply: Reply) -> Result<v1::AwaitLockResponse> {
    let Reply::Lock(token) = reply else { return other_reply(&reply) };
    Ok(v1::AwaitLockResponse { token: token.unwrap_or_default().0 })
}

pub(super) fn decode_lock(response: v1::AwaitLockResponse) -> Reply {
    Reply::Lock((response.token != 0).then_some(Revision(response.token)))
}

pub(super) fn encode_lease(reply: Reply) -> Result<v1::GetLeaseResponse> {
    let Reply::Lease(Lease { ttl_ms, remaining_ms, places, .. }) = reply else { return other_reply(&reply) };
    Ok(v1::GetLeaseResponse { ttl_ms, remaining_ms, places })
}

pub(super) fn decode_lease(response: v1::GetLeaseResponse) -> Reply {
    let v1::GetLeaseResponse { ttl_ms, remaining_ms, places } = response;
    Reply::Lease(Lease { ttl_ms, remaining_ms, generation: 0, places })
}

pub(super) fn encode_leases(reply: Reply) -> Result<v1::ListLeasesResponse> {
    let Reply::Leases(LeasePage { leases, more }) = reply else { return other_reply(&reply) };
    let encode = |(id, Lease { ttl_ms, remaining_ms, places, .. }): (LeaseId, Lease)| v1::StrongLease {
        lease: id.0,
        ttl_ms,
        remaining_ms,
        places,
    };
    Ok(v1::ListLeasesResponse { leases: leases.into_iter().map(encode).collect(), more })
}

/// # Errors
/// `MALFORMED_MESSAGE` for too many of them.
pub(super) fn decode_leases(response: v1::ListLeasesResponse) -> Result<Reply> {
    let count = response.leases.len();
    if count > LEASES_PER_PAGE_MAX {
        return Err(bad("leases", format!("{count} leases, the limit is {LEASES_PER_PAGE_MAX}")));
    }
    let decode = |found: v1::StrongLease| {
        let v1::StrongLease { lease, ttl_ms, remaining_ms, places } = found;
        (LeaseId(lease), Lease { ttl_ms, remaining_ms, generation: 0, places })
    };
    Ok(Reply::Leases(LeasePage { leases: response.leases.into_iter().map(decode).collect(), more: response.more }))
}

pub(super) fn encode_keyspaces(reply: Reply) -> Result<v1::KeyspacesResponse> {
    let Reply::Keyspaces(keyspaces) = reply else { return other_reply(&reply) };
    let facts = |facts: KeyspaceFacts| v1::StrongKeyspace {
        name: facts.name,
        keys: facts.keys,
        bytes: facts.bytes,
        eventual: facts.consistency == Consistency::Eventual,
    };
    Ok(v1::KeyspacesResponse { keyspaces: keyspaces.into_iter().map(facts).collect() })
}

/// # Errors
/// `MALFORMED_MESSAGE`, `INVALID_ARGUMENT` for a name out of its bounds.
pub(super) fn decode_keyspaces(response: v1::KeyspacesResponse) -> Result<Reply> {
    let count = response.keyspaces.len();
    if count as u64 > KEYSPACES_MAX {
        return Err(bad("keyspaces", format!("{count} keyspaces, the limit is {KEYSPACES_MAX}")));
    }
    let facts = |keyspace: v1::StrongKeyspace| {
        check_keyspace_name(&keyspace.name)?;
        let consistency = if keyspace.eventual { Consistency::Eventual } else { Consistency::Strong };
        Ok(KeyspaceFacts { name: keyspace.name, consistency, keys: keyspace.keys, bytes: keyspace.bytes })
    };
    Ok(Reply::Keyspaces(response.keyspaces.into_iter().map(facts).collect::<Result<_>>()?))
}
