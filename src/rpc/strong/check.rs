//! The bounds of a call, wherever it came from.

use super::within;
use crate::{
    error::{Error, ErrorCode, Result},
    limits::{
        check_keyspace_name, check_transaction, check_ttl_ms, BATCH_BYTES_MAX, GROUP_LOCK_WAIT_MAX, PAGE_KEYS_MAX,
        RANGE_BOUND_BYTES_MAX, STRONG_READS_MAX,
    },
    replication::strong::{
        Call, Command, GroupWatch, Lifetime, OperationKind, ReadCall, ReadKind, Submission, Transaction,
    },
    types::{KeyRange, DEFAULT_KEYSPACE},
};

/// Checks a call against the limits.
///
/// # Errors
/// `INVALID_ARGUMENT`, `BATCH_TOO_LARGE`, `BAD_TTL`, `KEY_TOO_LONG` for a bound of a range that no key reaches.
pub fn check_call(call: &Call) -> Result<()> {
    match call {
        Call::Submit(submission) => check_submission(submission),
        Call::Read(call) => check_reads(call),
        Call::AwaitLock { keyspace, wait_ms, .. } => {
            check_keyspace_name(keyspace)?;
            let most_ms = GROUP_LOCK_WAIT_MAX.as_millis();
            if u128::from(*wait_ms) > most_ms {
                return Err(invalid(format!("wait_ms: {wait_ms} ms, the limit is {most_ms} ms")));
            }
            Ok(())
        }
        Call::Lease(_) | Call::Leases { .. } | Call::Keyspaces => Ok(()),
    }
}

/// Checks what is to be watched against the limits.
///
/// # Errors
/// `INVALID_ARGUMENT`, `KEY_TOO_LONG` for a bound of the range that no key reaches.
pub fn check_watch(watch: &GroupWatch) -> Result<()> {
    check_keyspace_name(&watch.keyspace)?;
    check_range(&watch.range).map(drop)
}

fn invalid(text: String) -> Error {
    Error::new(ErrorCode::InvalidArgument, text)
}

fn check_submission(submission: &Submission) -> Result<()> {
    let keyspace = &submission.keyspace;
    match &submission.command {
        Command::Transact(transaction) => {
            check_keyspace_name(keyspace)?;
            check_sizes(transaction)
        }
        Command::Acquire { .. } | Command::Release { .. } | Command::Proclaim { .. } => check_keyspace_name(keyspace),
        Command::CreateKeyspace { name } | Command::CreateEventual { name, .. } => {
            if name != keyspace {
                return Err(invalid("keyspace: is not the one that the command names".to_string()));
            }
            check_is_not_default(keyspace)?;
            check_keyspace_name(keyspace)
        }
        Command::DropKeyspace { .. } => check_is_not_default(keyspace).and_then(|()| check_keyspace_name(keyspace)),
        Command::Grant { ttl_ms } => check_concerns_none(keyspace).and_then(|()| check_ttl_ms(*ttl_ms)),
        Command::Register | Command::KeepAlive { .. } | Command::Revoke { .. } | Command::Compact { .. } => {
            check_concerns_none(keyspace)
        }
        Command::Expire { .. } | Command::Retain(_) | Command::Begin(_) => {
            Err(invalid("command: only a leader says this".to_string()))
        }
    }
}

/// What it is was decided when the cluster was formed.
fn check_is_not_default(keyspace: &str) -> Result<()> {
    match keyspace {
        DEFAULT_KEYSPACE => Err(invalid(format!(
            "keyspace: {DEFAULT_KEYSPACE:?} is there from the start, and for as long as the cluster"
        ))),
        _ => Ok(()),
    }
}

fn check_concerns_none(keyspace: &str) -> Result<()> {
    if !keyspace.is_empty() {
        return Err(invalid("keyspace: must be empty, the command concerns none".to_string()));
    }
    Ok(())
}

fn check_sizes(transaction: &Transaction) -> Result<()> {
    let (count, bytes) = transaction.size();
    check_transaction(count, bytes)?;
    for (place, operation) in transaction.operations.iter().enumerate() {
        let lifetime = match &operation.kind {
            OperationKind::Put { lifetime, .. }
            | OperationKind::Touch { lifetime }
            | OperationKind::Increment { lifetime, .. } => *lifetime,
            OperationKind::Delete => Lifetime::Forever,
        };
        if let Lifetime::Ttl(ttl_ms) = lifetime {
            check_ttl_ms(ttl_ms).map_err(within(format_args!("operations[{place}]")))?;
        }
    }
    Ok(())
}

/// About how many bytes a call keeps in memory: those of the keys and values of a transaction.
pub fn bytes_of_call(call: &Call) -> usize {
    match call {
        Call::Submit(Submission { command: Command::Transact(transaction), .. }) => transaction.size().1,
        Call::Submit(_)
        | Call::Read(_)
        | Call::AwaitLock { .. }
        | Call::Lease(_)
        | Call::Leases { .. }
        | Call::Keyspaces => 0,
    }
}

fn check_reads(call: &ReadCall) -> Result<()> {
    check_keyspace_name(&call.keyspace)?;
    let count = call.reads.len();
    if count > STRONG_READS_MAX {
        let text = format!("reads: {count} reads, the limit is {STRONG_READS_MAX}");
        return Err(Error::new(ErrorCode::BatchTooLarge, text));
    }
    let mut bytes = 0;
    for (place, read) in call.reads.iter().enumerate() {
        let name = format_args!("reads[{place}]");
        bytes += match &read.kind {
            ReadKind::Key { key, .. } => key.len(),
            ReadKind::Page { page, .. } => {
                check_page_size(page.keys_max).map_err(within(name))?;
                check_range(&page.range).map_err(within(name))?
            }
            ReadKind::Count(range) => check_range(range).map_err(within(name))?,
        };
    }
    if bytes > BATCH_BYTES_MAX {
        let text = format!("reads: {bytes} bytes of keys, the limit is {BATCH_BYTES_MAX}");
        return Err(Error::new(ErrorCode::BatchTooLarge, text));
    }
    Ok(())
}

fn check_page_size(keys_max: usize) -> Result<()> {
    if keys_max == 0 || keys_max > PAGE_KEYS_MAX {
        return Err(invalid(format!("limit: {keys_max} entries, must be 1 to {PAGE_KEYS_MAX}")));
    }
    Ok(())
}

/// The bytes of its bounds.
fn check_range(range: &KeyRange) -> Result<usize> {
    let bounds = [
        ("range.prefix", range.prefix.len()),
        ("range.start", range.start.as_ref().map_or(0, Vec::len)),
        ("range.end", range.end.as_ref().map_or(0, Vec::len)),
    ];
    for (name, length) in bounds {
        if length > RANGE_BOUND_BYTES_MAX {
            let text = format!("{name}: {length} bytes, the limit is {RANGE_BOUND_BYTES_MAX}");
            return Err(Error::new(ErrorCode::KeyTooLong, text));
        }
    }
    Ok(bounds.iter().map(|(_, length)| length).sum())
}
